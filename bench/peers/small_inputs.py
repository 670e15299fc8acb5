"""Small inputs in plain arrays beside kernels that are compiled already: what the choice costs.

Which of both a call takes depends on its size alone (``fastgen/_dispatch/compiling.py``); the rows
are inputs that take plain arrays, the last of each entry near its limit. CPU time, one thread.

    python bench/peers/small_inputs.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
from report import environment_lines, median, publish, results_file, span
from sklearn.exceptions import ConvergenceWarning

from fastgen._dispatch import compiling
from fastgen.metrics import dist_bures_squared
from fastgen.mixture import GaussianMixture, NonparametricMixture
from fastgen.neighbors import nearest_rows
from fastgen.networks import MixtureNorm2d

RESULTS = results_file("small_inputs.md")


def calls() -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(0)
    for n, m, d in ((50, 500, 100), (1000, 1000, 60)):
        x, y = rng.standard_normal((n, d)), rng.standard_normal((m, d))
        yield f"nearest_rows, {n} x {d} in {m}", lambda x=x, y=y: nearest_rows(x, y)
    for n, d, k in ((500, 5, 3), (1000, 20, 5)):
        x = rng.standard_normal((n, d))
        yield (
            f"GaussianMixture.fit, {n} x {d}, K {k}",
            lambda x=x, k=k: GaussianMixture(k, max_iter=20, tol=0, random_state=0).fit(x),
        )
    for k, d in ((4, 20), (30, 10)):
        c = np.stack([np.cov(rng.standard_normal((d, 3 * d))) for _ in range(k)])
        mean = rng.standard_normal((k, d))
        yield (
            f"dist_bures_squared, {k} x {k}, d {d}",
            lambda mean=mean, c=c: dist_bures_squared(mean, mean, c, c),
        )
    for n, d in ((100, 2), (400, 3)):
        x = rng.standard_normal((n, d)) + 4 * rng.integers(0, 2, (n, 1))
        yield (
            f"NonparametricMixture.fit, {n} x {d}, K 2",
            lambda x=x: NonparametricMixture(2, max_iter=50, tol=0, random_state=0).fit(x),
        )
    for shape in ((4, 4, 6, 6), (16, 8, 6, 6)):
        layer, x = MixtureNorm2d(shape[1]), torch.randn(shape, requires_grad=True)
        yield (
            f"MixtureNorm2d, forward and backward, {shape}",
            lambda layer=layer, x=x: layer(x).square().sum().backward(),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # of fits of so many steps
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rounds = 1 if options.quick else 15
    rows = []
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        for name, call in calls():
            spent: dict[str, list[float]] = {"plain": [], "kernels": []}
            for turn in range(rounds + 1):  # the first one imports and compiles
                for kind, found in spent.items():
                    begin = time.process_time()
                    if kind == "kernels":
                        with compiling.always():
                            call()
                    else:
                        call()
                    if turn:
                        found.append(time.process_time() - begin)
            longer = 1e3 * (median(spent["plain"]) - median(spent["kernels"]))
            rows.append(
                f"| {name} | {span(spent['plain'])} | {span(spent['kernels'])} | {longer:.1f} |"
            )
    lines = [
        "# Small inputs in plain arrays and in kernels",
        "",
        "- Command: `python bench/peers/small_inputs.py`.",
        *environment_lines(),
        "",
        "| call | plain arrays, ms, median (min..max) | compiled kernels, ms | longer by, ms |",
        "|---|---|---|---|",
        *rows,
    ]
    publish("\n".join(lines) + "\n", options, RESULTS)


if __name__ == "__main__":
    main()
