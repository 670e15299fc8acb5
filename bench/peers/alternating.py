"""The semi-supervised problems P3 and P4 beside the usual NumPy loop, one thread each.

The peer is an alternation with an SVD per step and 200 steps per cell, in the coordinates of the
data. Both start from the same generators. Run from anywhere:

    python bench/peers/alternating.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import threadpoolctl
from linear_peers import symmetric_root
from report import environment_lines, median, results_file, span, verdict, write

from fastgen.linear import SpikedGaussian, sweep

RESULTS = results_file("alternating.md")
SEED = 0
STEPS = 200
WEIGHT = 10.0
TARGET = 15.0
PROBLEMS = ("penalized", "constrained")


@dataclasses.dataclass(frozen=True)
class Case:
    dim: int
    n: int
    pairs: int
    dims: tuple[int, ...]
    trials: int
    timed: tuple[int, ...]
    timed_trials: int
    rounds: int


FULL = Case(64, 40, 20, tuple(range(1, 121)), 50, (1, *range(8, 121, 8)), 2, 3)
QUICK = Case(64, 40, 20, tuple(range(1, 121, 10)), 4, (1, 21, 61), 1, 1)


def draws(case: Case, index: int):
    """Covariance, data, latents and first generators of a trial, as the sweep draws them."""
    rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(index,)))
    model = SpikedGaussian(case.dim).draw(rng)
    x = model.sample(case.n, random_state=rng).T
    z = rng.standard_normal((case.dims[-1], case.n))
    return model.covariance_, x, z, rng.standard_normal((case.dims[-1], case.dim))


def alternate(problem: str, half: np.ndarray, x, z, g, pairs: int) -> np.ndarray:
    """The loop as it is written: polar factor, then the solve, 200 times."""
    xs, zs = x[:, :pairs], z[:, :pairs]
    if problem == "penalized":
        a = WEIGHT / pairs
        solve = np.linalg.inv(a * zs @ zs.T + np.eye(len(zs)))
        fixed = a * xs @ zs.T
    else:
        inverse = np.linalg.pinv(zs)
        solve = np.eye(len(zs)) - zs @ inverse
        fixed = xs @ inverse
    for _ in range(STEPS):
        u, _, vt = np.linalg.svd(half @ g, full_matrices=False)
        if problem == "penalized":
            g = (fixed + half @ (u @ vt)) @ solve
        else:
            g = fixed + half @ (u @ vt) @ solve
    return g


def peer(case: Case, index: int) -> tuple[np.ndarray, np.ndarray]:
    """W2 and seconds (problem, latent_dim) of the loop on the timed latent dimensions."""
    covariance, x, z, starts = draws(case, index)
    half, root = symmetric_root(x @ x.T / case.n), symmetric_root(covariance)
    values = np.empty((len(PROBLEMS), len(case.timed)))
    seconds = np.empty_like(values)
    for i, problem in enumerate(PROBLEMS):
        for j, k in enumerate(case.timed):
            started = time.process_time()
            g = alternate(problem, half, x, z[:k], starts[:k].T / np.sqrt(k), case.pairs)
            overlap = np.linalg.norm(root @ g, "nuc")
            values[i, j] = np.trace(covariance) + (g**2).sum() - 2 * overlap
            seconds[i, j] = time.process_time() - started
    return values, seconds


def ours(case: Case):
    return sweep(
        SpikedGaussian(case.dim),
        latent_dims=case.dims,
        n_samples=case.n,
        n_supervised=case.pairs,
        problems=PROBLEMS,
        weight=WEIGHT,
        n_trials=case.trials,
        random_state=SEED,
        n_jobs=1,
        progress=False,
    )


def measure(case: Case) -> list[str]:
    """Check agreement, time in turn, return the lines of the report."""
    result = ours(case)
    agreeing, cells = 0, 0
    for index in range(case.timed_trials):
        values, _ = peer(case, index)
        mine = result.w2.squeeze("n_supervised").sel(latent_dim=list(case.timed), trial=index)
        agreeing += int((abs(mine.values - values) <= 1e-2 * abs(values)).sum())
        cells += values.size
    # Both stop short of the minimum and starts may end in different stationary points.
    if agreeing < 0.9 * cells:
        sys.exit(f"only {agreeing} of {cells} cells agree to 1 %: nothing is timed")
    fast, slow = [], []
    for _ in range(case.rounds):
        started = time.process_time()
        ours(case)
        fast.append((time.process_time() - started) / case.trials)
        for index in range(case.timed_trials):
            _, seconds = peer(case, index)
            slow.append(sum(np.interp(case.dims, case.timed, row).sum() for row in seconds))
    ratio = median(slow) / median(fast)
    return [
        f"d {case.dim}, n {case.n}, {case.pairs} pairs, k {case.dims[0]}..{case.dims[-1]}, "
        f"P3 (weight {WEIGHT:g}) and P4; fastgen on all {case.trials} trials, the loop on "
        f"{case.timed_trials} of them and {len(case.timed)} k, cost linear between.",
        "",
        "| contestant | ms of processor time per trial, median (min..max) | ratio | target |",
        "|---|---|---|---|",
        f"| fastgen (stops at 1e-9, at most 400 steps) | {span(fast)} | 1x | |",
        f"| NumPy loop, {STEPS} steps | {span(slow)} | {verdict(ratio, TARGET)}",
        "",
        f"Agreement to 1 % in W2 on {agreeing} of {cells} cells; all cells of fastgen that "
        f"converged: {float(result.converged.mean()):.1%}, {float(result.n_iter.mean()):.1f} steps "
        "on average.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    out = options.out or (None if options.quick else RESULTS)
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        body = measure(QUICK if options.quick else FULL)
        head = ["# Semi-supervised linear generators beside a NumPy loop", ""]
        head += ["- Command: `python bench/peers/alternating.py`.", *environment_lines(), ""]
    text = "\n".join([*head, *body]) + "\n"
    print(text)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
