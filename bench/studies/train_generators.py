"""Train the generators that the GOoF benchmarks invert: MLP-GANs and a DCGAN on MNIST images.

    python bench/studies/train_generators.py IMAGES FOLDER [--seed 0] [--minutes 4] [--only mlp_gan]

IMAGES is an .npz with ``images`` (n, 28, 28) uint8. FOLDER gets ``mlp_gan_SEED.safetensors``,
``leaky_gan_SEED.safetensors`` and ``dcgan_SEED.safetensors``: weights only, nothing that runs.
Pixels are scaled to [-1, 1]. Training is the non-saturating game of Goodfellow et al. (2014) with
the zero-centred gradient penalty of Mescheder et al. (2018) on the images, without which the
MLP-GAN keeps a few modes only, and Adam. A smaller penalty makes a generator that saturates more
and is harder to invert. It ends after --epochs or --minutes, whichever is first. The point is a
generator that is hard to invert, not beautiful digits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

MLP_LATENT, DCGAN_LATENT = 64, 100
BATCH = 128


def mlp_gan(kink: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """64-256-256-784, ReLU, tanh: 283,920 parameters."""
    return nn.Sequential(
        nn.Linear(MLP_LATENT, 256),
        kink(),
        nn.Linear(256, 256),
        kink(),
        nn.Linear(256, 784),
        nn.Tanh(),
    )


def leaky_gan() -> nn.Module:
    """As `mlp_gan`, with leaky ReLU."""
    return mlp_gan(lambda: nn.LeakyReLU(0.2))


def dcgan() -> nn.Module:
    """Latents (100, 1, 1) to images (1, 28, 28): three transposed convolutions, batch norm."""
    return nn.Sequential(
        nn.ConvTranspose2d(DCGAN_LATENT, 128, 7, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, 2, 1),
        nn.Tanh(),
    )


GANS = {"mlp_gan": mlp_gan, "leaky_gan": leaky_gan, "dcgan": dcgan}
# Chosen before the search was tuned: what it was tuned on, and what results are reported on. The
# number is the seed of the training or of the weights.
TUNED_ON = ("mlp_gan_1", "vae", "random_0")
HELD_OUT = ("silu", "leaky_gan_2", "mlp_gan_3", "random_1")


def vae_decoder(path: str | Path) -> nn.Module:
    """20-400-784, ReLU, sigmoid, from an .npz of a trained VAE (``fc3``, ``fc4``)."""
    decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid())
    with np.load(path, allow_pickle=False) as arrays, torch.no_grad():
        for layer, name in ((decoder[0], "fc3"), (decoder[2], "fc4")):
            for part in ("weight", "bias"):
                getattr(layer, part).copy_(torch.from_numpy(arrays[f"{name}.{part}"]))
    return decoder.eval()


def silu_decoder(path: str | Path) -> nn.Module:
    """40-300-300-784, SiLU, tanh, from an .npz of a decoder that was not trained here."""
    decoder = nn.Sequential(
        nn.Linear(40, 300),
        nn.SiLU(),
        nn.Linear(300, 300),
        nn.SiLU(),
        nn.Linear(300, 784),
        nn.Tanh(),
    )
    with np.load(path, allow_pickle=False) as arrays:
        decoder.load_state_dict({key: torch.from_numpy(arrays[key]) for key in arrays.files})
    return decoder.eval()


def random_mlp(seed: int) -> nn.Module:
    """As `mlp_gan`, with random weights; the first are large, so the landscape is rough."""
    rng, network = torch.Generator().manual_seed(seed), mlp_gan()
    with torch.no_grad():
        for place, gain in ((0, 3.0), (2, 1.0), (4, 2.0)):
            layer = network[place]
            layer.weight.normal_(0, gain * (2 / layer.in_features) ** 0.5, generator=rng)
            layer.bias.normal_(0, 0.3, generator=rng)
    return network.eval()


def load(name: str, path: str | Path) -> nn.Module:
    """Return a generator of this script, by its name in ``GANS``, with the weights of a file."""
    generator = GANS[name]()
    generator.load_state_dict(load_file(path))
    return generator.eval()


def member(name: str, weights: str | Path, data: str | Path) -> tuple[nn.Module, float, float]:
    """Return a generator of ``TUNED_ON`` or ``HELD_OUT``, and its values for black and white.

    ``weights`` is the folder of what was trained here, ``data`` that of what was not.
    """
    kind, _, seed = name.rpartition("_")
    if name == "vae":
        return vae_decoder(Path(data) / "mnist_vae_k20.npz"), 0.0, 1.0
    if name == "silu":
        return silu_decoder(Path(data) / "mnist_silu_k40.npz"), -1.0, 1.0
    if kind == "random":
        return random_mlp(int(seed)), -1.0, 1.0
    return load(kind, Path(weights) / f"{name}.safetensors"), -1.0, 1.0


def discriminator(name: str) -> nn.Module:
    if name != "dcgan":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 512),
            nn.LeakyReLU(0.2),
            nn.Linear(512, 256),
            nn.LeakyReLU(0.2),
            nn.Linear(256, 1),
        )
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * 49, 1),
    )


def train(
    name: str,
    images: torch.Tensor,
    seed: int,
    epochs: int,
    minutes: float,
    penalty: float,
    penalty_every: int = 1,
) -> nn.Module:
    """Return a trained generator; ``images`` are (n, 1, 28, 28) in [-1, 1].

    The penalty costs most of a step. With ``penalty_every`` = 4 every fourth step pays it, four
    times as heavy (Karras et al., 2020, appendix B).
    """
    torch.manual_seed(seed)
    generator, critic = GANS[name](), discriminator(name)
    latent_shape = (DCGAN_LATENT, 1, 1) if name == "dcgan" else (MLP_LATENT,)
    steps = [torch.optim.Adam(m.parameters(), 1e-3, betas=(0.5, 0.99)) for m in (generator, critic)]
    softplus, start = nn.functional.softplus, time.monotonic()
    for epoch in range(epochs):
        batches = torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]
        for number, rows in enumerate(batches):
            fake = generator(torch.randn(BATCH, *latent_shape)).reshape(BATCH, 1, 28, 28)
            real = images[rows].requires_grad_()
            scores = critic(real)
            loss = softplus(-scores).mean() + softplus(critic(fake.detach())).mean()
            if number % penalty_every == 0:
                (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
                square = slope.square().sum((1, 2, 3)).mean()
                loss = loss + penalty_every * penalty / 2 * square
            critic.zero_grad()
            loss.backward()
            steps[1].step()
            generator_loss = softplus(-critic(fake)).mean()
            generator.zero_grad()
            generator_loss.backward()
            steps[0].step()
        elapsed = time.monotonic() - start
        if epoch % 10 == 9 or elapsed > 60 * minutes:
            print(
                f"{name} seed {seed}: epoch {epoch + 1}, {elapsed:.0f} s, losses "
                f"{loss.item():.3f} (discriminator) {generator_loss.item():.3f} (generator)",
                flush=True,
            )
        if elapsed > 60 * minutes:
            break
    return generator.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", help=".npz with images (n, 28, 28) uint8")
    parser.add_argument("folder", type=Path, help="where the .safetensors go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=4.0, help="per generator")
    parser.add_argument("--penalty", type=float, default=2.0)
    parser.add_argument("--penalty-every", type=int, default=1)
    parser.add_argument("--only", choices=tuple(GANS))
    options = parser.parse_args()
    with np.load(options.images, allow_pickle=False) as arrays:
        images = torch.from_numpy(arrays["images"]).float().div(127.5).sub(1).unsqueeze(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else list(GANS):
        generator = train(
            name, images, options.seed, options.epochs, options.minutes, options.penalty_every
        )
        state = {key: value.contiguous() for key, value in generator.state_dict().items()}
        save_file(state, options.folder / f"{name}_{options.seed}.safetensors")


if __name__ == "__main__":
    main()
