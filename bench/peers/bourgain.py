"""Bourgain embeddings beside the loop of the published algorithm, by turns.

The loop is the embedding of the code of BourGAN, written from its description: for every point and
every random set the minimum of a row of the matrix of distances over the members; then the scale
factor over all pairs. It gets the random sets of ours, so that both give the same embedding:
agreement is checked first. Run from anywhere:

    python bench/peers/bourgain.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import threadpoolctl
from report import cores, environment_lines, median, results_file, span, verdict, write
from scipy.spatial.distance import cdist

from fastgen.modes import BourgainEmbedding, grid, subsampling_bound

RESULTS = results_file("bourgain.md")
TARGET = 20.0
AGREEMENT = 1e-9


def angle(x: np.ndarray, y: np.ndarray) -> float:
    """Angle between two points of the plane and the difference of their radii: a user's metric."""
    turn = abs(math.atan2(x[0] * y[1] - x[1] * y[0], x[0] * y[0] + x[1] * y[1]))
    return turn + abs(math.hypot(x[0], x[1]) - math.hypot(y[0], y[1]))


def nearest_member(distances: np.ndarray, point: int, members: np.ndarray) -> float:
    """One coordinate, as the published code takes it."""
    some = distances[point, members]
    return np.min(some) if some.shape[0] else 0.0


def coordinates(distances: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Coordinates of as many points as ``distances`` has rows."""
    out = np.zeros((len(distances), len(members)))
    for point in range(len(distances)):
        for which, some in enumerate(members):
            out[point, which] = nearest_member(distances, point, some)
    return out


def lean_coordinates(distances: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """The same by a careful user: one row at a time, methods in place of functions."""
    return np.array(
        [[row[some].min() if some.size else 0.0 for some in members] for row in distances]
    )


def loop(distances: np.ndarray, sets: np.ndarray, take=coordinates) -> tuple[np.ndarray, float]:
    """Return the centered and scaled embedding, and the scale factor."""
    z = take(distances, [np.flatnonzero(some) for some in sets])
    z = z - z.mean(axis=0)
    z = z / (np.linalg.norm(z) / math.sqrt(len(z))) * math.sqrt(z.shape[1])
    between = cdist(z, z)
    np.fill_diagonal(between, 1.0)
    return z, float(np.sqrt(distances / between).max())


def by_turns(ours, peer, rounds: int, share: float = 1.0) -> dict[str, list[float]]:
    """Seconds of both; ``peer`` does this share of the loop's work."""
    times: dict[str, list[float]] = {"fastgen": [], "loop": []}
    for _ in range(rounds):
        for label, work, part in (("fastgen", ours, 1.0), ("loop", peer, share)):
            started = time.perf_counter()
            work()
            times[label].append((time.perf_counter() - started) / part)
    return times


def line(name: str, times: dict[str, list[float]], target: float | None, gap: float) -> str:
    ratio = median(times["loop"]) / median(times["fastgen"])
    ours, theirs = span(times["fastgen"]), span(times["loop"])
    return f"| {name} | {ours} | {theirs} | {verdict(ratio, target)} {gap:.1g} |"


def agreed(name: str, fit: BourgainEmbedding, distances: np.ndarray) -> float:
    """Largest difference from the loop on the same random sets."""
    z, scale = loop(distances, fit.sets_)
    gap = float(np.abs(fit.embedding_ - z).max())
    if gap > AGREEMENT or abs(fit.scale_ / scale - 1) > AGREEMENT:
        sys.exit(f"{name}: the embeddings differ by {gap:.3g}, nothing is timed")
    return gap


def precomputed(n_per_mode: int, rounds: int) -> list[str]:
    """All points, from a matrix that both get, on one thread."""
    X = grid(n_per_mode=n_per_mode, random_state=0).X
    distances = cdist(X, X)
    model = BourgainEmbedding("official", metric="precomputed", random_state=0)
    name = f"{len(X)} points, matrix, 1 thread"
    fit = model.fit(distances)
    gap, sets = agreed(name, fit, distances), fit.sets_
    times = by_turns(lambda: model.fit(distances), lambda: loop(distances, sets), rounds)
    lean = by_turns(
        lambda: model.fit(distances), lambda: loop(distances, sets, lean_coordinates), rounds
    )
    return [
        line(name, times, TARGET, gap),
        line(f"{name}, the loop tuned by hand", lean, None, gap),
    ]


def subsampled(n: int, share: float, rounds: int) -> list[str]:
    """A callable metric: ours embeds the automatic subsample, the loop all points.

    Of the loop's n rows of distances and coordinates the first few are timed, and the rest of its
    work is left out, in its favor.
    """
    X = grid(n_per_mode=n // 25, random_state=0).X
    model = BourgainEmbedding("official", metric=angle, random_state=0)
    fit = model.fit(X)
    picked = X[fit.indices_]
    gap = agreed("subsample", fit, np.array([[angle(x, y) for y in picked] for x in picked]))
    n_scales = (len(X) - 1).bit_length()
    rng = np.random.default_rng(0)
    shares = np.repeat(0.5 ** np.arange(1, n_scales + 1), 5)
    members = [np.flatnonzero(rng.random(len(X)) < p) for p in shares]
    rows = max(int(share * len(X)), 1)

    def peer() -> None:
        for x in X[:rows]:
            coordinates(np.array([[angle(x, y) for y in X]]), members)

    name = (
        f"{len(X)} points, callable metric: {len(fit.embedding_)} of them (law of distances within "
        f"{subsampling_bound(len(fit.embedding_)):.3f}) beside all, {rows} rows of the loop"
    )
    return [line(name, by_turns(lambda: model.fit(X), peer, rounds, rows / len(X)), TARGET, gap)]


def all_points(n: int, n_jobs: int, share: float, rounds: int) -> list[str]:
    """All points with the Euclidean metric, without a matrix; the loop on some rows."""
    X = grid(n_per_mode=n // 25, random_state=0).X
    model = BourgainEmbedding("official", n_jobs=n_jobs, random_state=0)
    fit = model.fit(X)
    members = [np.flatnonzero(some) for some in fit.sets_]
    rows = max(int(share * len(X)), 1)

    def peer() -> np.ndarray:
        part = cdist(X[:rows], X)
        g = coordinates(part, members)
        # the scale factor of these rows, as far as it can be had
        np.sqrt(part[:, :rows] / (cdist(g, g) + np.eye(rows))).max()
        return g

    g = peer()
    factor = np.linalg.norm(fit.embedding_[0] - fit.embedding_[1]) / np.linalg.norm(g[0] - g[1])
    gap = np.abs((fit.embedding_[:rows] - fit.embedding_[0]) - factor * (g - g[0])).max()
    if gap > AGREEMENT:
        sys.exit(f"all points: the embeddings differ by {gap:.3g}, nothing is timed")
    name = f"{len(X)} points, Euclidean, all of them, {n_jobs} threads; {rows} rows of the loop"
    return [line(name, by_turns(lambda: model.fit(X), peer, rounds, rows / len(X)), None, gap)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    quick = options.quick
    with threadpoolctl.threadpool_limits(limits=1):
        environment = environment_lines()
        body = precomputed(10 if quick else 50, 2 if quick else 7)
        n = 1000 if quick else 20_000
        body += subsampled(n, 0.01 if quick else 0.0005, 1 if quick else 3)
        body += all_points(n, cores(), 0.1 if quick else 0.02, 1 if quick else 3)
    text = "\n".join(
        [
            "# Bourgain embeddings beside the loop of the published algorithm",
            "",
            "- Command: `python bench/peers/bourgain.py`.",
            *environment,
            "- Grid of 25 Gaussians in the plane, the embedding of the authors' code: five sets of "
            "each scale, centered and scaled. The loop takes the minimum over the members of each "
            "set, point by point, as `np.min(distances[point, members])`, and the scale factor "
            "over all pairs with SciPy's `cdist`; tuned by hand it takes "
            "`row[members].min()`. Ours gives distortion and Lipschitz constant besides.",
            "- Where only some rows of the loop are timed, its time is multiplied by their number; "
            "the scale factor over all pairs, which is quadratic, is then undercounted, in its "
            "favor.",
            "",
            "| case | fastgen ms, median (min..max) | loop ms | faster by | target | largest "
            "difference |",
            "|---|---|---|---|---|---|",
            *body,
            "",
        ]
    )
    print(text)
    out = options.out or (None if quick else RESULTS)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
