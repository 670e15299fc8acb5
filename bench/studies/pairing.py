"""Pairing of noise with data on digits and MNIST: five rules, two samplers.

Every rule trains the same network from the same start, on one thread. What is compared is the error
of denoising held-out digits with independent noise, and the energy distance of samples to them; the
losses of the training are lower for paired noise by construction and are not looked at.

    python bench/studies/pairing.py [--mnist FILE] [--seeds 3] [--quick] [--out FILE]

FILE is an .npz with an array ``images`` (n, 28, 28) of at least 5000 digits in 0..255. On a core of
its own the digits of scikit-learn take some four minutes, MNIST some twenty.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from digits import (
    CLIP,
    denoiser_of,
    digits,
    energy_distance,
    environment_lines,
    mean_and_error,
    publish,
)  # fmt: skip

from fastgen.diffusion import Denoiser, FitResult, local_sample, pairing

RESULTS = Path(__file__).resolve().parents[1] / "results" / "pairing.md"
RULES = {
    "iid": {},
    "fixed": {},
    "mix": {"share": 0.5},
    "assignment": {},
    "knn": {"candidates": 4},
}
NAMES = {"mix": "mix, share 0.5", "knn": "knn, 4 candidates"}
SAMPLERS = {"DDIM, 20 steps": (0.0, 20), "DDPM, 100 steps": (1.0, 100)}


def sampled(found: FitResult, like: np.ndarray, eta: float, steps: int, seed: int) -> np.ndarray:
    """Return as many global samples as ``like`` has rows.

    The score is asked also of networks that know none, to show what comes of it.
    """
    kept = found.denoiser
    anyway = Denoiser(kept, levels=kept.levels, network=kept.network)
    zeros = np.zeros_like(like)
    made = local_sample(
        anyway, zeros, ratio=1.0, eta=eta, steps=steps, clip=CLIP, batch_size=len(like),
        random_state=seed, progress=False,
    )  # fmt: skip
    return made.samples[:, 0]


class Case(NamedTuple):
    """A data set, and the size of what is trained on it."""

    name: str
    split: Callable[[int], Any]
    width: int
    steps: int


class Split(NamedTuple):
    train: np.ndarray
    test: np.ndarray


def mnist(path: Path) -> Callable[[int], Split]:
    """Return what draws 4000 images to train on and 1000 held out, in [-1, 1], for a seed.

    Pixels are averaged two by two, to 14 x 14: a network of 512 units a layer cannot tell the noise
    of 784 pixels.
    """
    with np.load(path) as file:
        images = file["images"]
    coarse = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    rows = (coarse.reshape(len(images), -1) / 127.5 - 1).astype(np.float32)

    def split(seed: int) -> Split:
        drawn = np.random.default_rng(seed).permutation(len(rows))
        return Split(rows[drawn[:4000]], rows[drawn[4000:5000]])

    return split


def measured(case: Case, data: Any, kind: str, seed: int) -> dict[str, list[float]]:
    rule = pairing(kind, random_state=seed, **RULES[kind])
    found = denoiser_of(data, seed, case.steps, rule, width=case.width)
    figures = {"held-out error": found.noise_error.tolist()}
    for name, (eta, taken) in SAMPLERS.items():
        made = sampled(found, data.test, eta, taken, seed)
        figures[name] = [energy_distance(made, data.test)]
    return figures


def section(case: Case, n_seeds: int) -> list[str]:
    """Run all rules on a data set; a Markdown section."""
    began = time.process_time()
    found: dict[str, list[dict[str, list[float]]]] = {kind: [] for kind in RULES}
    floors = []
    for seed in range(n_seeds):
        data = case.split(seed)
        floors.append(energy_distance(data.train[: len(data.test)], data.test))
        for kind in RULES:
            found[kind].append(measured(case, data, kind, seed))
            print(f"{case.name}, seed {seed}, {kind}", file=sys.stderr, flush=True)
    rows = []
    for kind, runs in found.items():
        errors = np.array([run["held-out error"] for run in runs])
        cells = [mean_and_error(errors[:, 0]), mean_and_error(errors[:, -1])]
        cells += [mean_and_error([run[name][0] for run in runs]) for name in SAMPLERS]
        rows.append(f"| {NAMES.get(kind, kind)} | {' | '.join(cells)} |")
    shape = data.train.shape
    return [
        f"## {case.name}",
        "",
        f"{shape[0]} images to train on, {len(data.test)} held out; `MLPDenoiser({shape[1]}, "
        f"width={case.width})`, cosine schedule of 200 steps, batch 128, {case.steps} steps, "
        f"averaged weights; {n_seeds} seeds of split, start and noise: mean ± standard error. "
        f"{time.process_time() - began:.0f} CPU seconds. Energy distance of {len(data.test)} "
        f"samples to the held-out images; that of images trained on is {mean_and_error(floors)}.",
        "",
        f"| pairing | held-out error at {case.steps // 5} steps | at {case.steps} | energy, "
        + " | energy, ".join(SAMPLERS)
        + " |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, help="file with an array ``images``")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few steps, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [Case("Digits of scikit-learn", digits, 256, 1500)]
    if options.mnist is not None:
        cases.append(Case("MNIST, 14 x 14", mnist(options.mnist), 512, 2000))
    if options.quick:
        cases = [case._replace(steps=50) for case in cases]
    sections = [line for case in cases for line in section(case, options.seeds)]
    text = "\n".join(
        [
            "# Pairing of noise with data",
            "",
            "- Command: `python bench/studies/pairing.py --mnist FILE`.",
            *environment_lines()[:3],
            "- Held-out error: mean squared error of predicting independent noise behind held-out "
            "images, over eight levels of the schedule. The loss of the training is no measure: "
            "paired noise lowers it by construction.",
            "- Clean images are clipped to [-1.2, 1.2] at every step.",
            "- Networks trained with assignment or knn know no score: `local_sample` refuses them "
            "stochastic samplers. The last column shows what would come of it.",
            "",
            *sections,
        ]
    )
    publish(text, options, RESULTS)


if __name__ == "__main__":
    main()
