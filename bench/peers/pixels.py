"""The sweep on image pixels, large matrices, beside the expert's NumPy loop; one thread each.

Needs an array of images (n_images, ...) in an .npz file, for example 4000 images of CIFAR-10:

    python bench/peers/pixels.py images.npz:images [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import threadpoolctl
from linear_peers import METRICS, PROBLEMS, Expert, Trial
from report import environment_lines, median, results_file, span, verdict, write

from fastgen.cli import data as images
from fastgen.linear import sweep

RESULTS = results_file("pixels.md")
SEED = 0
TARGET = 20.0


def draw(rows: np.ndarray, n_samples: int, k_max: int) -> Trial:
    """Return trial 0 of the sweep, as its docstring describes the split."""
    rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(0,)))
    order = rng.permutation(len(rows))
    population = rows[order[: len(rows) // 2]]
    mean = population.mean(axis=0)
    x = (rows[order[len(rows) // 2 :][:n_samples]] - mean).T
    z = rng.standard_normal((k_max, n_samples))
    return Trial((population - mean).T @ (population - mean) / len(population), x, z)


def expert_cells(rows, n_samples, dims, timed):
    """Values (metric, problem, k) and seconds for all of ``dims``, linear between ``timed``."""
    started = time.perf_counter()
    user = Expert(draw(rows, n_samples, dims[-1]))
    setup = time.perf_counter() - started
    values = np.empty((len(METRICS), len(PROBLEMS), len(timed)))
    seconds = np.empty(values.shape[1:])
    for j, k in enumerate(timed):
        for i, problem in enumerate(PROBLEMS):
            started = time.perf_counter()
            values[:, i, j] = getattr(user, problem)(k)
            seconds[i, j] = time.perf_counter() - started
        print(f"expert: k {k}, {seconds[:, j].sum():.1f} s", flush=True)
    return values, setup + sum(np.interp(dims, timed, row).sum() for row in seconds), user.trace


def measure(rows: np.ndarray, quick: bool) -> list[str]:
    """Check agreement, time both, return the lines of the report."""
    n_samples, n_trials = (200, 1) if quick else (1000, 5)
    dims = [int(k) for k in np.linspace(n_samples / 20, 3 * n_samples, 60)]
    timed = [dims[i] for i in (0, 9, 19, 29, 39, 49, 59)]
    arguments = dict(
        latent_dims=dims, n_samples=n_samples, random_state=SEED, n_jobs=1, progress=False
    )
    sweep(rows, **{**arguments, "latent_dims": dims[:3]}, n_trials=1)
    values, slow, trace = expert_cells(rows, n_samples, dims, timed)
    started = time.perf_counter()
    result = sweep(rows, **arguments, n_trials=n_trials)
    fast = (time.perf_counter() - started) / n_trials
    first = result.isel(trial=0, n_supervised=0).sel(latent_dim=timed)
    worst = 0.0
    for i, name in enumerate(METRICS):
        unit = 1.0 if name == "gain" else trace
        difference = abs(first[name].to_numpy() - values[i])
        worst = max(worst, float((difference / np.maximum(abs(values[i]), 1e-3 * unit)).max()))
    if not worst < 1e-8:
        raise SystemExit(f"the two differ by {worst:.2g} relative: nothing is reported")
    return [
        f"d {rows.shape[1]}, n {n_samples}, 60 latent dimensions {dims[0]}..{dims[-1]}, P0 and P1, "
        f"{n_trials} trials; the expert on 7 of the latent dimensions of one trial, cost linear "
        f"between. Largest relative difference on those: {worst:.1e}.",
        "",
        "| contestant | ms per trial | ratio | target |",
        "|---|---|---|---|",
        f"| fastgen | {span([fast])} | 1x | |",
        f"| expert NumPy | {span([slow])} | {verdict(slow / median([fast]), TARGET)}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", help="FILE.npz:KEY, FILE.npy or a folder of images")
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    rows = images.load(options.images) / 255.0
    out = options.out or (None if options.quick else RESULTS)
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        body = measure(rows, options.quick)
        name = Path(options.images).name
        head = ["# The sweep on image pixels beside a NumPy loop", ""]
        head += [f"- Command: `python bench/peers/pixels.py {name}`.", *environment_lines(), ""]
    text = "\n".join([*head, *body]) + "\n"
    print(text)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
