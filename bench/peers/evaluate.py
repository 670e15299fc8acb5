"""KID, sliced distances and Vendi scores beside what is used today, one thread each.

python bench/peers/evaluate.py [--quick] [--out FILE]

Agreement first, processor times, contestants in turn.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import threadpoolctl
import torch
from report import environment_lines, results_file, span, verdict, write
from torchmetrics.image.kid import KernelInceptionDistance

from fastgen.metrics import cmmd, kid, sliced_wasserstein, vendi

RESULTS = results_file("evaluate.md")
DIRECTIONS = 1000


def features(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Nonnegative features of falling scales, as of a network, in float32."""
    rng = np.random.default_rng(0)
    scales = np.arange(1, d + 1) ** -0.3
    X, Y = np.abs(rng.standard_normal((2, n, d))) * scales
    return X.astype(np.float32), (1.02 * Y).astype(np.float32)


def timed(run: Callable) -> tuple[float, object]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def compare(runs: list[tuple[str, Callable]], rounds: int) -> list[tuple[str, list[float], object]]:
    times: list[list[float]] = [[] for _ in runs]
    found: list[object] = [None] * len(runs)
    for _ in range(rounds):
        for at, (_, run) in enumerate(runs):
            seconds, found[at] = timed(run)
            times[at].append(seconds)
    names = [name for name, _ in runs]
    return list(zip(names, times, found, strict=True))


def check(ours: float, theirs: float, tolerance: float, what: str) -> None:
    if abs(ours - theirs) > tolerance * abs(theirs):
        sys.exit(f"{what}: {ours!r} and {theirs!r} differ, nothing is timed")


def torchmetrics_kid(X: np.ndarray, Y: np.ndarray, subsets: int, size: int) -> float:
    metric = KernelInceptionDistance(torch.nn.Identity(), subsets=subsets, subset_size=size)
    metric.real_features, metric.fake_features = [torch.from_numpy(X)], [torch.from_numpy(Y)]
    return float(metric.compute()[0])


def torch_mind(X: torch.Tensor, Y: torch.Tensor, *, by_rows: bool) -> float:
    directions = torch.randn(X.shape[1], DIRECTIONS)
    directions /= directions.norm(dim=0)
    left, right = X @ directions, Y @ directions
    if by_rows:
        left, right = (side.T.contiguous().sort(dim=1)[0] for side in (left, right))
    else:
        left, right = (side.sort(dim=0)[0] for side in (left, right))
    return float(((left - right) ** 2).mean())


def vendi_script(X: np.ndarray) -> float:
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    values = scipy.linalg.eigvalsh(rows @ rows.T / len(X))
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


def lines_of(results: list[tuple[str, list[float], object]], target: float | None) -> list[str]:
    first = float(np.median(results[0][1]))
    out = []
    for at, (name, times, _) in enumerate(results):
        ratio = float(np.median(times)) / first
        out.append(f"| {name} | {span(times)} | {verdict(ratio, target if at else None)}")
    return out


def kernel_lines(n: int, d: int, rounds: int) -> list[str]:
    X, Y = features(n, d)
    size = min(n, 1500)
    A, B = X[:size], Y[:size]
    check(kid(A, B).value, torchmetrics_kid(A, B, 1, size), 1e-2, "KID")
    exact = kid(A.astype(float) + 1e-12, B).value  # multiplied in float64
    check(kid(A, B).value, exact, 1e-5, "KID in float32")
    results = compare(
        [
            ("fastgen kid, all pairs, with its standard error", lambda: kid(X, Y)),
            ("torchmetrics, one subset of all", lambda: torchmetrics_kid(X, Y, 1, n)),
            (
                "torchmetrics, its default: 100 subsets of 1000",
                lambda: torchmetrics_kid(X, Y, 100, min(n, 1000)),
            ),
        ],
        rounds,
    )
    own, _ = timed(lambda: cmmd(X, Y, sigma="median"))
    return [*lines_of(results, 2.0), f"| fastgen cmmd, all pairs | {1e3 * own:.4g} | | |"]


def sliced_lines(n: int, d: int, rounds: int) -> list[str]:
    X, Y = features(n, d)
    A, B = torch.from_numpy(X), torch.from_numpy(Y)
    found = sliced_wasserstein(X, Y, n_directions=DIRECTIONS, random_state=0)
    theirs = torch_mind(A, B, by_rows=True)
    check(found.value, theirs, 10 * found.direction_error / found.value, "sliced W2")
    results = compare(
        [
            (
                f"fastgen sliced_wasserstein, d {d}, with floor and standard error",
                lambda: sliced_wasserstein(X, Y, n_directions=DIRECTIONS, random_state=0),
            ),
            ("torch, sorted along the samples' axis", lambda: torch_mind(A, B, by_rows=False)),
            ("torch, transposed first", lambda: torch_mind(A, B, by_rows=True)),
        ],
        rounds,
    )
    return lines_of(results, 2.0)


def vendi_lines(n: int, d: int, rounds: int) -> list[str]:
    X, _ = features(n, d)
    some = X[: min(n, 1500)]
    check(vendi(some).value, vendi_script(some), 1e-4, "Vendi score")
    results = compare(
        [
            (f"fastgen vendi, n {n}, with its standard error", lambda: vendi(X)),
            (f"the n x n script, n {n}", lambda: vendi_script(X)),
        ],
        rounds,
    )
    return lines_of(results, 20.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, not for quoting")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    n, d = (1000, 256) if arguments.quick else (10_000, 2048)
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        small = features(40, 8)
        for warm in (kid, cmmd, sliced_wasserstein):
            warm(*small)
        tables = {
            f"KID, {n} + {n}, d {d}": kernel_lines(n, d, 1),
            f"Sliced W2, {n} + {n}, {DIRECTIONS} directions": [
                *sliced_lines(n, d, 1),
                *sliced_lines(n, d // 32, 1),
            ],
            f"Vendi score, d {d * 3 // 8}": vendi_lines(n, d * 3 // 8, 1),
        }
        text = [
            "# Metrics of samples beside what is used today",
            "",
            "- Command: `python bench/peers/evaluate.py`.",
            *environment_lines(),
            f"- torch {torch.__version__}. Processor times in ms, one thread for everybody; the "
            "lines of a table are compared with its first, or the last fastgen line above.",
        ]
    for title, lines in tables.items():
        text += ["", f"## {title}", "", "| contestant | ms | ratio | target |", "|---|---|---|---|"]
        text += lines
    print("\n".join(text))
    if not arguments.quick:
        write(arguments.out, "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
