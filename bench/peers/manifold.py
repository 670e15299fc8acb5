"""Precision, recall, density, coverage and memorization figures beside what users run.

The package prdc is not needed: its published formula (``compute_prdc``, all distances by
scikit-learn's ``pairwise_distances``) is written here, and so are those of AuthPct, of the copying
test, of near copies and of MiFID's term, as their authors publish them, with scikit-learn's
distances and searches. Everything runs in one thread, and what is compared is CPU time, so that
other work on the machine does not enter. Agreement first. Run from anywhere:

    python bench/peers/manifold.py [--rows 10000] [--rounds 1] [--mnist FILE.npz] [--out FILE]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import threadpoolctl
from report import environment_lines, median, results_file, span, verdict, write

from fastgen.metrics import Manifold, manifold, neighbor_pass
from fastgen.metrics.memorization import memorization_of

RESULTS = results_file("manifold.md")
K, CELLS, SEED = 5, 20, 0
PRDC = ("precision", "recall", "density", "coverage")


def features(n: int, d: int, seed: int, decay: float) -> np.ndarray:
    """Gaussian rows about a common mean, with variances ``i**-decay`` in a random basis."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((d, d)).astype(np.float32))[0]
    scales = np.arange(1, d + 1, dtype=np.float32) ** np.float32(-decay / 2)
    return (rng.standard_normal((n, d), dtype=np.float32) * scales) @ basis + np.float32(0.4)


def kth(distances: np.ndarray, k: int) -> np.ndarray:
    """``get_kth_value`` of prdc."""
    indices = np.argpartition(distances, k, axis=-1)[..., :k]
    return np.take_along_axis(distances, indices, axis=-1).max(axis=-1)


def by_prdc(real: np.ndarray, generated: np.ndarray) -> dict:
    """``compute_prdc``; it takes ``<``, which differs from ours for rows on a sphere only."""
    from sklearn.metrics import pairwise_distances

    radii = kth(pairwise_distances(real, real, metric="euclidean"), K + 1)
    others = kth(pairwise_distances(generated, generated, metric="euclidean"), K + 1)
    across = pairwise_distances(real, generated, metric="euclidean")
    return {
        "precision": (across < radii[:, None]).any(axis=0).mean(),
        "recall": (across < others[None]).any(axis=1).mean(),
        "density": (across < radii[:, None]).sum(axis=0).mean() / K,
        "coverage": (across.min(axis=1) < radii).mean(),
    }


def by_formulas(train: np.ndarray, generated: np.ndarray, holdout: np.ndarray) -> dict:
    """`by_prdc`, AuthPct, C_T, near copies and MiFID's term, each as its authors publish it."""
    from scipy.stats import mannwhitneyu
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    found = by_prdc(train, generated)
    own = pairwise_distances(train, train, metric="euclidean")
    np.fill_diagonal(own, np.inf)
    across = pairwise_distances(train, generated, metric="euclidean")
    found["authenticity"] = (own.min(0)[across.argmin(0)] < across.min(0)).mean()
    del own, across
    search = NearestNeighbors(n_neighbors=2).fit(train)
    mine, held = (search.kneighbors(rows)[0] for rows in (generated, holdout))
    for name, distances in (("near_copies", mine), ("near_copies_holdout", held)):
        found[name] = (distances[:, 0] <= distances[:, 1] / 3).mean()
    mean = train.mean(0, dtype=np.float64)
    seed = int(np.random.default_rng(SEED).integers(2**31))
    kmeans = KMeans(CELLS, n_init=1, max_iter=50, random_state=seed)
    kmeans.fit((train - mean).astype(train.dtype))
    cells = [kmeans.predict((rows - mean).astype(rows.dtype)) for rows in (generated, holdout)]
    # the published code looks for neighbors in each cell; one search serves all cells
    distances = [NearestNeighbors(n_neighbors=1).fit(train).kneighbors(rows)[0][:, 0]
                 for rows in (generated, holdout)]  # fmt: skip
    total, weight = 0.0, 0
    for cell in range(CELLS):
        a, b = (d[c == cell] for d, c in zip(distances, cells, strict=True))
        if len(a) >= 20 and len(b):
            m, h = len(a), len(b)
            u = mannwhitneyu(a, b, method="asymptotic").statistic
            total += h * (u - m * h / 2) / np.sqrt(m * h * (m + h + 1) / 12)
            weight += h
    found["copying_z"] = total / weight
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (generated, train)]
    found["mifid_distance"] = (1 - np.abs(units[0] @ units[1].T)).min(1).mean()
    return found


def ours_prdc(real: np.ndarray, generated: np.ndarray) -> dict:
    found = manifold(real, generated, n_neighbors=K)
    return {name: getattr(found, name) for name in PRDC}


def ours(train: np.ndarray, generated: np.ndarray, holdout: np.ndarray) -> dict:
    found = neighbor_pass(train, generated, K)
    told = memorization_of(found, holdout, n_cells=CELLS, random_state=SEED)
    return {**Manifold.of(found).to_dict(), **told.to_dict()}


def cpu_seconds(work, *sets) -> tuple[float, dict]:
    started = time.process_time()
    found = work(*sets)
    return time.process_time() - started, found


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def grown(n: int, d: int) -> int:
    """Bytes that `ours` needs beyond the features, in a process of its own (Linux)."""
    code = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1]); import manifold as bench\n"
        "n, d = int(sys.argv[2]), int(sys.argv[3]); rng = np.random.default_rng(0)\n"
        "sets = [rng.standard_normal((n, d), dtype=np.float32) for _ in range(3)]\n"
        "bench.ours(*(rows[:500] for rows in sets)); before = bench.peak_bytes()\n"
        "bench.ours(*sets); print(bench.peak_bytes() - before)\n"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, here, str(n), str(d)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def measure(name: str, sets: list[np.ndarray], rounds: int) -> list[str]:
    works = {
        "P, R, D, C": (ours_prdc, by_prdc, sets[:2], 3.0),
        "all": (ours, by_formulas, sets, 10.0),
    }
    for mine, _, given, _ in works.values():  # kernels are compiled before the clock starts
        mine(*(rows[:600] for rows in given))
    lines = [
        f"{name}: {len(sets[0])} rows a set, {sets[0].shape[1]} columns, float32.",
        "",
        "| figures | fastgen, CPU ms | formulas, CPU ms | fastgen is faster by | target | largest "
        "difference |",
        "|---|---|---|---|---|---|",
    ]
    for label, (mine, theirs, given, target) in works.items():
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            pairs = [cpu_seconds(work, *given) for work in (theirs, mine)]
            expected, found = pairs[0][1], pairs[1][1]
            gaps = {key: abs(found[key] - value) for key, value in expected.items()}
            # the ranks of the copying test are of distances that scikit-learn rounds to float32
            gap = max(value for key, value in gaps.items() if key != "copying_z")
            if not (gap <= 1e-6 and gaps.get("copying_z", 0.0) <= 1e-2):
                sys.exit(f"{name}: the figures differ, nothing is told: {expected} and {found}")
            times[1].append(pairs[0][0])
            times[0].append(pairs[1][0])
        ratio = verdict(median(times[1]) / median(times[0]), target)
        lines.append(f"| {label} | {span(times[0])} | {span(times[1])} | {ratio} {gap:.1g} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--mnist", type=Path, help="file with an array ``images``")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    body = []
    import scipy.linalg  # noqa: F401  (whose BLAS must be loaded to be held at one thread)

    with threadpoolctl.threadpool_limits(1):
        for decay in (1.5, 0.0):
            name = f"Gaussian, variances i^-{decay}" if decay else "Gaussian, equal variances"
            sets = [features(options.rows, 2048, seed, decay) for seed in range(3)]
            body += measure(name, sets, options.rounds)
        if options.mnist:
            images = np.load(options.mnist)["images"]
            rows = images.reshape(len(images), -1).astype(np.float32) / 255
            order = np.random.default_rng(0).permutation(len(rows))
            body += measure(
                "MNIST", [rows[part] for part in np.array_split(order, 3)], options.rounds
            )
        header = environment_lines()
    shown = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    memory = grown(options.rows, 2048) / 2**20
    faiss = importlib.util.find_spec("faiss") is not None
    text = "\n".join(
        [
            "# Manifold and memorization figures beside the published formulas",
            "",
            f"- Command: `python bench/peers/manifold.py {' '.join(shown)}`.",
            *header,
            "- One thread for everybody; CPU time of the process, since the machine had other "
            "work. scikit-learn " + importlib.metadata.version("scikit-learn") + ".",
            "- prdc is not installed: its `compute_prdc` is written out. faiss is "
            + ("installed but not compared." if faiss else "not installed and left out."),
            "- All: also AuthPct, the copying test in 20 cells (k-means in both), near copies of "
            "generated and holdout rows, MiFID's term.",
            "- Where variances are equal no coordinate can be left out: the arithmetic is then "
            "that of two products of all pairs in float32 against three in float64, 3x at most.",
            f"- Memory of all, beyond the features: {memory:.0f} MiB at {options.rows} rows a set, "
            f"2048 columns, target 1024 MiB: {'met' if memory <= 1024 else 'MISSED'}.",
            "",
            *body,
        ]
    )
    print(text)
    if options.out is not None:
        write(options.out, text)


if __name__ == "__main__":
    main()
