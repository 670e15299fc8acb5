"""Pairing of noise with data on the digits of scikit-learn: five rules, two samplers.

Every rule trains the same network from the same start, on one thread. What is compared is the error
of denoising held-out digits with independent noise, and the energy distance of samples to them; the
losses of the training are lower for paired noise by construction and are not looked at.

    python bench/studies/pairing.py [--seeds 3] [--steps 1500] [--quick] [--out FILE]

It takes some four minutes on a core of its own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from digits import (
    CLIP,
    Digits,
    denoiser_of,
    digits,
    energy_distance,
    environment_lines,
    mean_and_error,
    write,
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


def sampled(found: FitResult, count: int, eta: float, steps: int, seed: int) -> np.ndarray:
    """Return global samples; the score is asked also of networks that know none, to show it."""
    kept = found.denoiser
    anyway = Denoiser(kept, levels=kept.levels, network=kept.network)
    zeros = np.zeros((count, 64), np.float32)
    made = local_sample(
        anyway, zeros, ratio=1.0, eta=eta, steps=steps, clip=CLIP, batch_size=count,
        random_state=seed, progress=False,
    )  # fmt: skip
    return made.samples[:, 0]


def measured(data: Digits, kind: str, seed: int, steps: int) -> dict[str, list[float]]:
    rule = pairing(kind, random_state=seed, **RULES[kind])
    found = denoiser_of(data, seed, steps, rule)
    figures = {"held-out error": found.noise_error.tolist()}
    for name, (eta, taken) in SAMPLERS.items():
        made = sampled(found, len(data.test), eta, taken, seed)
        figures[name] = [energy_distance(made, data.test)]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--quick", action="store_true", help="few steps, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    steps = 50 if options.quick else options.steps
    torch.set_num_threads(1)
    began = time.process_time()
    found: dict[str, list[dict[str, list[float]]]] = {kind: [] for kind in RULES}
    floors = []
    for seed in range(options.seeds):
        data = digits(seed)
        floors.append(energy_distance(data.train[: len(data.test)], data.test))
        for kind in RULES:
            found[kind].append(measured(data, kind, seed, steps))
    rows = []
    for kind, runs in found.items():
        errors = np.array([run["held-out error"] for run in runs])
        cells = [mean_and_error(errors[:, 0]), mean_and_error(errors[:, -1])]
        cells += [mean_and_error([run[name][0] for run in runs]) for name in SAMPLERS]
        rows.append(f"| {NAMES.get(kind, kind)} | {' | '.join(cells)} |")
    text = "\n".join(
        [
            "# Pairing of noise with data on digits",
            "",
            "- Command: `python bench/studies/pairing.py`.",
            *environment_lines()[:2],
            f"- Digits of scikit-learn, 1347 to train on, 450 held out; `MLPDenoiser(64)`, cosine "
            f"schedule of 200 steps, batch 128, {steps} steps, averaged weights; {options.seeds} "
            f"seeds of split, start and noise: mean ± standard error. "
            f"{time.process_time() - began:.0f} CPU seconds.",
            "- Held-out error: mean squared error of predicting independent noise behind held-out "
            "digits, over eight levels of the schedule. The loss of the training is no measure: "
            "paired noise lowers it by construction.",
            f"- Energy distance of 450 samples to the held-out digits; that of training digits is "
            f"{mean_and_error(floors)}. Clean images are clipped to [-1.2, 1.2] at every step.",
            "- Networks trained with assignment or knn know no score: `local_sample` refuses them "
            "stochastic samplers. The last column shows what would come of it.",
            "",
            f"| pairing | held-out error at {steps // 5} steps | at {steps} | energy, "
            + " | energy, ".join(SAMPLERS)
            + " |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    print(text)
    out = options.out or (None if options.quick else RESULTS)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
