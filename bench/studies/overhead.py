"""What local sampling adds to the sum of its network calls, in processor time of one thread.

    python bench/studies/overhead.py [--quick] [--out FILE]

Half a minute.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from digits import environment_lines, publish

from fastgen.diffusion import alphas_cumprod, local_sample
from fastgen.networks import MLPDenoiser, UNetDenoiser

RESULTS = Path(__file__).resolve().parents[1] / "results" / "overhead.md"
TARGET, BATCH = 0.03, 64


class Timed(torch.nn.Module):
    """A network that adds up the time it takes."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        began = time.process_time()
        found = self.network(x, t)
        self.seconds += time.process_time() - began
        return found


def measure(name: str, network: torch.nn.Module, size: int, steps: int, rounds: int) -> str:
    x = np.random.default_rng(0).uniform(-1, 1, (BATCH, 1, size, size)).astype(np.float32)
    kept, shares, calls = alphas_cumprod("cosine", 1000), [], []
    for _ in range(rounds + 1):
        timed = Timed(network)
        began = time.process_time()
        local_sample(
            timed, x, t=200, steps=steps, alphas_cumprod=kept, random_state=0, progress=False
        )
        whole = time.process_time() - began
        shares.append(whole / timed.seconds - 1)
        calls.append(timed.seconds / steps)
    share = float(np.median(shares[1:]))
    verdict = "met" if share <= TARGET else "MISSED"
    return (
        f"| {name} | {np.median(calls[1:]) * 1e3:.3g} | {share:.1%} "
        f"({min(shares[1:]):.1%}..{max(shares[1:]):.1%}) | {TARGET:.0%}: {verdict} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 1 if options.quick else 5
    rows = [
        measure("MLP of 64 entries", MLPDenoiser((1, 8, 8)), 8, 100, rounds),
        measure("U-Net (16, 32), 8 x 8", UNetDenoiser((1, 8, 8), widths=(16, 32)), 8, 50, rounds),
        measure("U-Net (32, 64), 8 x 8", UNetDenoiser((1, 8, 8)), 8, 30, rounds),
        measure(
            "U-Net (16, 32, 32), 32 x 32",
            UNetDenoiser((1, 32, 32), widths=(16, 32, 32)), 32, 10, rounds,
        ),
    ]  # fmt: skip
    text = "\n".join(
        [
            "# What local sampling adds to its network calls",
            "",
            "- Command: `python bench/studies/overhead.py`.",
            *environment_lines()[:2],
            f"- Batches of {BATCH} images, stochastic steps with noise of each image's own seed, "
            f"one thread, processor time; median (extremes) of {rounds} rounds.",
            "",
            "| network | a call, ms | added | target |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
    publish(text, options, RESULTS)


if __name__ == "__main__":
    main()
