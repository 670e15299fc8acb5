"""FID and WaM of clean images against noisy copies, their floors beside them.

Features of a LeNet-5 on MNIST, pixels of CIFAR-10 after PCA, and Gaussian data on which the FID's
model is right. The first two need the data folder; it is not part of the package.

    python bench/studies/wam.py DATA_FOLDER [--seeds 20] [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
import xarray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
from report import environment_lines, publish

from fastgen.metrics import ratio_study
from fastgen.metrics.features import ModuleFeatures, PCAFeatures, Pixels

RESULTS = Path(__file__).resolve().parents[1] / "results" / "wam.md"
REG_COVAR = 1e-3


class LeNet(torch.nn.Module):
    """LeNet-5 up to its layer of 84 rectified features, from images of 32 x 32 pixels."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with np.load(path, allow_pickle=False) as file:
            self.weights = {name: torch.from_numpy(file[name]) for name in file.files}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        function, w = torch.nn.functional, self.weights
        x = function.interpolate(images, (32, 32), mode="bilinear")
        for name in ("c1", "c3", "c5"):
            x = function.conv2d(x, w[f"convnet.{name}.weight"], w[f"convnet.{name}.bias"]).relu()
            if name != "c5":
                x = function.max_pool2d(x, 2)
        return function.linear(x.flatten(1), w["fc.f6.weight"], w["fc.f6.bias"]).relu()

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        w = self.weights
        return torch.nn.functional.linear(features, w["fc.f7.weight"], w["fc.f7.bias"])


def noisy(images: np.ndarray, extract):
    """Features of copies with normal noise on pixels in [0, 1], clipped to that interval."""

    def perturb(level, rng):
        noise = level * rng.standard_normal(images.shape)
        return extract(np.clip(images + noise, 0, 1))

    return perturb


def mnist(folder: Path, quick: bool) -> tuple[xarray.Dataset, str]:
    with np.load(folder / "mnist_test_10000.npz", allow_pickle=False) as file:
        images, labels = file["images"][:, None] / 255, file["labels"]
    net = LeNet(folder / "mnist_lenet5.npz")
    extract = ModuleFeatures(net, batch_size=500)
    features = extract(images)
    scores = net.logits(torch.from_numpy(features).float()).argmax(dim=1).numpy()
    accuracy = (scores == labels).mean()
    if accuracy < 0.99:
        sys.exit(f"the network classifies {accuracy:.2%}: its forward pass is not the trained one")
    order = np.random.default_rng(0).permutation(len(images))
    first, second = np.array_split(order, 2)
    study = ratio_study(
        features[first],
        features[second],
        noisy(images[second], extract),
        levels=[0.2] if quick else [0.05, 0.1, 0.2, 0.4],
        n_components=[1, 5] if quick else [1, 5, 10],
        n_splits=4,
        reg_covar=REG_COVAR,
        random_state=0,
    )
    return study, f"accuracy of the network {accuracy:.2%}"


def cifar(folder: Path, quick: bool) -> tuple[xarray.Dataset, str]:
    with np.load(folder / "cifar10_4000.npz", allow_pickle=False) as file:
        images = file["images"] / 255
    order = np.random.default_rng(0).permutation(len(images))
    first, second = (images[part] for part in np.array_split(order, 2))
    extract = PCAFeatures(64).fit(first)
    kept = extract.pca_.explained_variance_ratio_.sum()
    study = ratio_study(
        extract(first),
        extract(second),
        noisy(second, extract),
        levels=[0.2] if quick else [0.05, 0.1, 0.2, 0.4],
        n_components=[1, 3] if quick else [1, 3, 6],
        n_splits=4,
        reg_covar=REG_COVAR,
        random_state=0,
    )
    return study, f"{kept:.1%} of the variance of {Pixels()(first).shape[1]} pixels kept"


def gaussian(seeds: int, quick: bool) -> xarray.Dataset:
    """Exactly Gaussian data; a shift by a unit vector adds 1 to both distances."""
    n, d = (1000, 16) if quick else (4000, 64)
    deviations = 2 * np.arange(1, d + 1) ** -0.5
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
        first, second = (rng.standard_normal((n, d)) * deviations @ basis for _ in range(2))
        moved = second + np.eye(1, d)
        study = ratio_study(
            first,
            second,
            lambda level, rng, moved=moved: moved,
            levels=[1.0],
            n_components=[1, 5] if quick else [1, 5, 10, 20],
            random_state=seed,
        )
        found.append(study)
        print(f"Gaussian data, seed {seed + 1} of {seeds}", file=sys.stderr)
    return xarray.concat(found, "trial")


def table(study: xarray.Dataset) -> list[str]:
    """One line for each way of fitting, number of components and level; medians over trials."""
    lines = [
        "| fit | K | level | FID | floor | WaM^2 | floor | R | R less floors |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    middle = study.median("trial")
    for fit in study.fit.values:
        for k in study.n_components.values:
            for level in study.level.values:
                cell = middle.sel(fit=fit, n_components=k, level=level)
                ratios = "- | -"
                if level > 0:
                    ratios = f"{float(cell.ratio):.3g} | {float(cell.ratio_debiased):.3g}"
                lines.append(
                    f"| {fit} | {k} | {level:g} | {float(cell.fid):.4g} | "
                    f"{float(cell.fid_floor):.4g} | {float(cell.wam2):.4g} | "
                    f"{float(cell.wam2_floor):.4g} | {ratios} |"
                )
    return [*lines, ""]


def about(study: xarray.Dataset, what: str) -> list[str]:
    a = study.attrs
    return [
        f"{a['n_reference']} reference and {a['n_original']} other samples of one set, d "
        f"{a['n_features']}, full covariances, reg_covar {a['reg_covar']:g}; {what}.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--seeds", type=int, default=20, help="draws of the Gaussian data")
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    started = time.perf_counter()
    warnings.simplefilter("error", RuntimeWarning)
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        body = []
        for title, run in (("MNIST, LeNet-5 features", mnist), ("CIFAR-10, PCA of pixels", cifar)):
            study, what = run(options.data, options.quick)
            what += "; level is the standard deviation of noise on pixels in [0, 1]"
            body += [f"## {title}", "", *about(study, what), *table(study)]
        study = gaussian(options.seeds, options.quick)
        what = f"level is a shift that adds its square to both; medians of {options.seeds} draws"
        body += ["## Gaussian data", "", *about(study, what), *table(study)]
        head = [
            "# FID and WaM of clean against noisy copies",
            "",
            f"- Command: `python bench/studies/wam.py DATA_FOLDER --seeds {options.seeds}`, "
            f"{(time.perf_counter() - started) / 60:.0f} minutes.",
            *environment_lines(),
            "- R is the factor by which the perturbation raises the FID over that for WaM^2, as in",
            "  the paper on WaM; R less floors is the ratio of both distances less their floors.",
            "- Floors are of random halves of the reference, as `fastgen.metrics.wam` has them.",
            '- "separate" fits a mixture to each set, as the paper does; "shared" one to both.',
            "",
        ]
    text = "\n".join([*head, *body])
    publish(text, options, RESULTS)


if __name__ == "__main__":
    main()
