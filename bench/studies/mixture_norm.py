"""MixtureNorm beside BatchNorm: a small CNN on CIFAR-10 images, a DCGAN on MNIST digits.

    python bench/studies/mixture_norm.py [--data FOLDER] [--store FILE] [--quick] [--out FILE]

The folder holds ``cifar10_4000.npz``, ``mnist_test_10000.npz`` and ``mnist_lenet5.npz``. Finished
runs are kept in the store, a JSON file; a second call goes on with the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fastgen.networks import convert_batchnorm

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "peers"))

from report import environment_lines, write  # noqa: E402

ARMS = ("BatchNorm", "MixtureNorm")
SEEDS = (0, 1, 2)
N_COMPONENTS = 3


@dataclasses.dataclass(frozen=True)
class Size:
    width: int  # channels of the first convolution of the CNN; 64 in the note
    epochs: int
    gan_steps: int
    gan_every: int
    samples: int


FULL = Size(width=16, epochs=30, gan_steps=1500, gan_every=100, samples=2000)
QUICK = Size(width=4, epochs=2, gan_steps=20, gan_every=10, samples=200)


# --- the CNN -------------------------------------------------------------------------------------


def cnn(width: int) -> nn.Sequential:
    """Four 5x5 convolutions as in the note, widths in the proportion 1 : 2 : 2 : 4."""

    def block(inputs, outputs, pool):
        return [
            nn.Conv2d(inputs, outputs, 5, padding=2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            pool,
        ]

    return nn.Sequential(
        *block(3, width, nn.MaxPool2d(3, 2)),
        *block(width, 2 * width, nn.MaxPool2d(3, 2)),
        *block(2 * width, 2 * width, nn.MaxPool2d(3, 2)),
        *block(2 * width, 4 * width, nn.AdaptiveAvgPool2d(1)),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )


def cifar(folder: Path):
    """Images in [-1, 1] and labels: 3000 to train, 500 to validate, 500 to test."""
    with np.load(folder / "cifar10_4000.npz", allow_pickle=False) as file:
        images = torch.tensor(file["images"]).float() / 127.5 - 1
        labels = torch.tensor(file["labels"]).long()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    return [(images[part], labels[part]) for part in order.split([3000, 500, 500])]


@torch.no_grad()
def accuracy(model, images, labels) -> float:
    model.eval()
    right = (model(images).argmax(1) == labels).float().mean().item()
    model.train()
    return right


def run_cnn(arm: str, seed: int, size: Size, folder: Path) -> list[list[float]]:
    """(step, validation accuracy, test accuracy) after every epoch."""
    training, validation, test = cifar(folder)
    torch.manual_seed(seed)
    model = cnn(size.width)
    if arm == "MixtureNorm":
        convert_batchnorm(model, N_COMPONENTS, layers=[2])  # the third layer, as in the note
        nn.init.ones_(model[9].weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    order = torch.Generator().manual_seed(seed)
    history, step = [], 0
    for _ in range(size.epochs):
        for chosen in torch.randperm(len(training[0]), generator=order).split(128)[:-1]:
            images, labels = (part[chosen] for part in training)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            step += 1
        history.append([step, accuracy(model, *validation), accuracy(model, *test)])
    return history


# --- the DCGAN -----------------------------------------------------------------------------------


class LeNet(nn.Module):
    """The features of the shared LeNet-5: 84 activations before the last layer."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with np.load(path, allow_pickle=False) as file:
            arrays = [torch.tensor(file[name]) for name in file.files]
        self.kernels = [a for a in arrays if a.ndim == 4]
        self.matrices = [a for a in arrays if a.ndim == 2]
        biases = {len(a): a for a in arrays if a.ndim == 1}
        self.biases = [biases[len(a)] for a in (*self.kernels, *self.matrices)]

    @torch.no_grad()
    def forward(self, images):
        """Features of images (n, 1, 28, 28) in [0, 1]."""
        x = nn.functional.interpolate(images, size=32, mode="bilinear", align_corners=False)
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=False)):
            x = nn.functional.conv2d(x, kernel, bias).relu()
            x = nn.functional.max_pool2d(x, 2) if i < 2 else x.flatten(1)
        return (x @ self.matrices[0].T + self.biases[3]).relu()

    def logits(self, images):
        return self(images) @ self.matrices[1].T + self.biases[4]


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Frechet distance between Gaussians fitted to two sets of features."""
    means = first.mean(0), second.mean(0)
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)).sum()
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    return float(((means[0] - means[1]) ** 2).sum() + traces - 2 * overlap)


def generator() -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(64, 64, 7, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, 2, 1),
        nn.Tanh(),
    )


def discriminator() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 7),
        nn.Flatten(0),
    )


def mnist(folder: Path):
    """Digits in [-1, 1] to train on (7000) and held out (3000)."""
    with np.load(folder / "mnist_test_10000.npz", allow_pickle=False) as file:
        images = torch.tensor(file["images"])[:, None].float() / 127.5 - 1
        labels = torch.tensor(file["labels"]).long()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    return (images[order[:7000]], images[order[7000:]]), labels[order[7000:]]


def start(module: nn.Module) -> nn.Module:
    """DCGAN's N(0, 0.02^2) for convolutions."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
    return module


def run_gan(arm: str, seed: int, size: Size, folder: Path) -> list[list[float]]:
    """(step, Frechet distance to held-out digits) every so many steps."""
    (training, held_out), labels = mnist(folder)
    lenet = LeNet(folder / "mnist_lenet5.npz")
    right = (lenet.logits((held_out + 1) / 2).argmax(1) == labels).float().mean()
    if right < 0.98:
        sys.exit(f"the LeNet-5 reads only {right:.1%} of the digits: nothing is measured")
    reference = lenet((held_out + 1) / 2).double().numpy()
    torch.manual_seed(seed)
    made, judge = start(generator()), start(discriminator())
    if arm == "MixtureNorm":
        convert_batchnorm(made, N_COMPONENTS)
        for layer in (made[1], made[4]):
            nn.init.ones_(layer.weight)
    optimizers = [
        torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in (made, judge)
    ]
    draws = torch.Generator().manual_seed(seed)
    fixed = torch.randn(size.samples, 64, 1, 1, generator=draws)
    loss, batch = nn.BCEWithLogitsLoss(), 64
    ones, zeros = torch.ones(batch), torch.zeros(batch)
    history = []
    for step in range(1, size.gan_steps + 1):
        real = training[torch.randint(len(training), (batch,), generator=draws)]
        fake = made(torch.randn(batch, 64, 1, 1, generator=draws))
        optimizers[1].zero_grad()
        (loss(judge(real), ones) + loss(judge(fake.detach()), zeros)).backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        loss(judge(fake), ones).backward()
        optimizers[0].step()
        if step % size.gan_every == 0:
            made.eval()
            with torch.no_grad():
                images = (made(fixed) + 1) / 2
            made.train()
            history.append([step, frechet(lenet(images).double().numpy(), reference)])
    return history


# --- the report ----------------------------------------------------------------------------------


def collect(task: str, run, size: Size, folder: Path, store: Path | None) -> dict[str, list]:
    """Histories of all arms and seeds, from the store where they are there."""
    done = json.loads(store.read_text()) if store is not None and store.exists() else {}
    for seed in SEEDS:
        for arm in ARMS:
            key = f"{task} {dataclasses.astuple(size)} {arm} {seed}"
            if key in done:
                continue
            started = time.time()
            done[key] = run(arm, seed, size, folder)
            print(f"{key}: {time.time() - started:.0f} s, {done[key][-1]}", flush=True)
            if store is not None:
                write(store, json.dumps(done))
    return {
        f"{arm} {seed}": done[f"{task} {dataclasses.astuple(size)} {arm} {seed}"]
        for seed in SEEDS
        for arm in ARMS
    }


def reached(history: list[list[float]], goal: float, sign: int) -> str:
    """First step at which the goal is met."""
    steps = [int(row[0]) for row in history if sign * row[1] >= sign * goal]
    return str(steps[0]) if steps else f"not in {int(history[-1][0])}"


def table(histories: dict[str, list], sign: int, number: str) -> list[str]:
    """One line per seed: the baseline's best, and when either arm meets it.

    A third entry of the histories is the test accuracy, shown at each arm's best.
    """
    tested = len(histories[f"{ARMS[0]} {SEEDS[0]}"][0]) > 2
    heads = ["seed", "BatchNorm's best", "its steps", "MixtureNorm's steps to that"]
    heads += ["MixtureNorm's best"]
    heads += [f"{arm}: test" for arm in ARMS] if tested else []
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for seed in SEEDS:
        base, ours = (histories[f"{arm} {seed}"] for arm in ARMS)
        top = [max(history, key=lambda row: sign * row[1]) for history in (base, ours)]
        goal = top[0][1]
        cells = [str(seed), format(goal, number), reached(base, goal, sign)]
        cells += [reached(ours, goal, sign), format(top[1][1], number)]
        cells += [format(row[2], number) for row in top] if tested else []
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def floor(folder: Path, samples: int) -> float:
    """Distance of real training digits, as many as are generated, from the held-out ones."""
    (training, held_out), _ = mnist(folder)
    lenet = LeNet(folder / "mnist_lenet5.npz")
    features = [lenet((x + 1) / 2).double().numpy() for x in (training[:samples], held_out)]
    return frechet(*features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--store", type=Path, help="JSON file of finished runs")
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    out = options.out
    if out is None and not options.quick:
        out = ROOT / "bench" / "results" / "mixture_norm.md"
    images = collect("cnn", run_cnn, size, options.data, options.store)
    digits = collect("gan", run_gan, size, options.data, options.store)
    lines = [
        "# MixtureNorm beside BatchNorm",
        "",
        "- Command: `python bench/studies/mixture_norm.py`.",
        *environment_lines(),
        f"- torch {torch.__version__}. K = {N_COMPONENTS}.",
        "- Both arms of a seed start from the same weights and see the same batches; every "
        "normalization starts with weight 1 and bias 0.",
        "",
        "## A CNN on 4000 CIFAR-10 images",
        "",
        f"3000 images to train, 500 to validate, 500 to test. Four 5x5 convolutions of {size.width}"
        f", {2 * size.width}, {2 * size.width} and {4 * size.width} channels (a quarter of the "
        "note's), BatchNorm, ReLU and pooling after each; in the second arm MixtureNorm after the "
        f"third. Batches of 128, {size.epochs} epochs (note: 256, 100), AdamW 1e-3, weight decay "
        "1e-4, no augmentation. Validation after every epoch; test accuracy is that of the epoch "
        "of the best validation.",
        "",
        *table(images, 1, ".3f"),
        "",
        "## A DCGAN on MNIST",
        "",
        "7000 digits to train, 3000 held out. Generator 64 - 64 - 32 - 1, in the second arm with "
        "MixtureNorm in place of both its BatchNorms; the discriminator is the same. Batches of "
        f"64, Adam 2e-4, {size.gan_steps} steps. Squared Frechet distance between LeNet-5 features "
        f"(84) of {size.samples} generated and the held-out digits, every {size.gan_every} steps, "
        f"evaluation mode; for real training digits it is {floor(options.data, size.samples):.2f}.",
        "",
        *table(digits, -1, ".2f"),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
