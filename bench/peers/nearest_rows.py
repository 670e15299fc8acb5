"""Nearest rows of a large pool beside faiss, scikit-learn and torch, all threads each.

Every contestant gets the same float32 rows. Agreement first: the distances found, evaluated again
in float64, must be the smallest of a double loop in float64 on some rows, to the rounding of the
contestant. Run from anywhere:

    python bench/peers/nearest_rows.py DATA [--quick] [--out FILE]

DATA is a folder with mnist_test_10000.npz and cifar10_4000.npz (arrays ``images``).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from pathlib import Path

import numpy as np
from report import cores, environment_lines, median, publish, results_file, span, verdict

from fastgen.goof import nearest_rows

RESULTS = results_file("nearest_rows.md")
TARGET = 2.0
CHECKED = 20
SHARE = 4  # of the rows, on which the peers are timed


def jittered(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of ``count`` images moved by up to three pixels, with noise: a pool of samples."""
    rng = np.random.default_rng(seed)
    pick = rng.integers(len(images), size=count)
    shifts = rng.integers(-3, 4, size=(count, 2))
    out = np.empty((count, images[0].size), np.float32)
    for row, (i, (a, b)) in enumerate(zip(pick, shifts, strict=True)):
        out[row] = np.roll(images[i], (a, b), (-2, -1)).reshape(-1)
    out /= 255
    out += 0.05 * rng.standard_normal(out.shape, dtype=np.float32)
    return out


def contestants() -> dict:
    found = {"fastgen": lambda x, pool: nearest_rows(x, pool, n_jobs=-1)[1][:, 0]}
    try:
        import faiss
    except ImportError:
        print("faiss-cpu is not installed: left out")
    else:

        def by_faiss(x, pool):
            index = faiss.IndexFlatL2(x.shape[1])
            index.add(pool)
            return index.search(x, 1)[1][:, 0]

        found["faiss IndexFlatL2"] = by_faiss
    from sklearn.metrics import pairwise_distances_argmin

    found["scikit-learn pairwise_distances_argmin"] = pairwise_distances_argmin
    import torch

    def by_torch(x, pool):
        pool = torch.from_numpy(pool)
        parts = [torch.cdist(part, pool).argmin(1) for part in torch.from_numpy(x).split(256)]
        return torch.cat(parts).numpy()

    found["torch.cdist, 256 rows at a time"] = by_torch
    return found


def disagreement(x: np.ndarray, pool: np.ndarray, index: np.ndarray) -> float:
    """Largest relative excess of the distances found over the smallest ones."""
    worst = 0.0
    for row in range(0, len(x), max(1, len(x) // CHECKED)):
        squares = np.concatenate(
            [
                ((pool[i : i + 5000].astype(np.float64) - x[row]) ** 2).sum(1)
                for i in range(0, len(pool), 5000)
            ]
        )
        worst = max(worst, squares[index[row]] / squares.min() - 1)
    return worst


def measure(name: str, x: np.ndarray, pool: np.ndarray, rounds: int) -> list[str]:
    methods = contestants()
    part = x[: len(x) // SHARE]
    given = {label: x if label == "fastgen" else part for label in methods}
    excess = {
        label: disagreement(part, pool, method(part, pool)) for label, method in methods.items()
    }
    if excess["fastgen"] != 0 or max(excess.values()) > 1e-4:
        sys.exit(f"{name}: the answers differ, nothing is timed: {excess}")
    times: dict[str, list[float]] = {label: [] for label in methods}
    for _ in range(rounds):
        for label, method in methods.items():
            started = time.perf_counter()
            method(given[label], pool)
            seconds = time.perf_counter() - started
            times[label].append(seconds * len(x) / len(given[label]))
    ours = median(times["fastgen"])
    fastest = min((median(t), label) for label, t in times.items() if label != "fastgen")[1]
    lines = [
        f"{name}: {len(x)} rows, pool of {len(pool)}, {x.shape[1]} columns, float32. The peers are "
        f"timed on {len(part)} of the rows; their times are linear in them.",
        "",
        "| contestant | ms, median (min..max) | fastgen is faster by | target | excess distance |",
        "|---|---|---|---|---|",
    ]
    for label, seconds in times.items():
        ratio = verdict(median(seconds) / ours, TARGET if label == fastest else None)
        lines.append(f"| {label} | {span(seconds)} | {ratio} {excess[label]:.1g} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the images")
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    mnist = np.load(options.data / "mnist_test_10000.npz")["images"]
    cifar = np.load(options.data / "cifar10_4000.npz")["images"]
    small = 20 if options.quick else 1
    body = []
    for name, images, n, m in (
        ("MNIST", mnist, 10_000, 100_000),
        ("CIFAR-10 pixels", cifar, 4000, 50_000),
    ):
        x = images[: n // small].reshape(n // small, -1).astype(np.float32) / 255
        body += measure(name, x, jittered(images, m // small, 0), 1 if options.quick else 3)
    text = "\n".join(
        [
            "# Nearest rows beside faiss, scikit-learn and torch",
            "",
            "- Command: `python bench/peers/nearest_rows.py DATA`.",
            *environment_lines(),
            f"- All {cores()} cores for everybody. "
            + ", ".join(
                f"{package} {importlib.metadata.version(package)}"
                for package in ("faiss-cpu", "scikit-learn", "torch")
                if any(d.name == package for d in importlib.metadata.distributions())
            )
            + ".",
            "- The pool: images moved by up to three pixels, with noise of standard deviation "
            "0.05. Excess distance: of the row found over the nearest in float64, on 20 rows.",
            "",
            *body,
        ]
    )
    publish(text, options, RESULTS)


if __name__ == "__main__":
    main()
