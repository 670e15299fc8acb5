"""Distances of Gaussians and Gaussian mixtures beside POT and the formulas of FID tools.

Agreement comes first; contestants take turns, one BLAS thread for everybody, processor times.
Run from anywhere:

    python bench/peers/bures.py [--quick] [--memory] [--out FILE]

POT's contraction costs K^2 d^4: it is timed on fewer pairs, which its line says, and its time is
multiplied by the number of pairs (it is a sum over pairs). ``--memory`` measures instead the peak
memory of 50 + 50 components in dimension 2048, some ten minutes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import threadpoolctl
from ot import gmm
from report import environment_lines, median, results_file, span, verdict, write

from fastgen.metrics import dist_bures_squared, fid, frechet_distance, mw2

RESULTS = results_file("bures.md")
SEED = 0


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def covariances(rng: np.random.Generator, k: int, d: int, n: int) -> np.ndarray:
    """Sample covariances of n draws with standard deviations i^{-1/2} in random bases."""
    out = np.empty((k, d, d))
    for one in out:
        basis = np.linalg.qr(rng.standard_normal((d, d)))[0] * np.arange(1, d + 1) ** -0.5
        x = basis @ rng.standard_normal((d, n))
        one[:] = x @ x.T / n
    return out


# --- pairs of components --------------------------------------------------------------------------


def agree(found: float, tolerance: float, what: str) -> str:
    if not found <= tolerance:
        sys.exit(f"{what}: fastgen and the peer differ by {found:.2g} > {tolerance:g}; not timed")
    return f"{found:.0e}"


def pair_case(k: int, d: int, peer_k: int, rounds: int, target: float | None) -> list[str]:
    """All pairs of k + k components; POT with NumPy on peer_k + peer_k, with torch on all."""
    import torch

    rng = np.random.default_rng(SEED)
    m, n = rng.standard_normal((2, k, d))
    c, e = covariances(rng, k, d, 2 * d), covariances(rng, k, d, 2 * d)
    few = m[:peer_k], n[:peer_k], c[:peer_k], e[:peer_k]
    there = [torch.from_numpy(x) for x in (m, n, c, e)]
    ours = dist_bures_squared(m, n, c, e)
    share = (k / peer_k) ** 2
    start = time.process_time()
    theirs = gmm.dist_bures_squared(*few)
    first = share * (time.process_time() - start)
    gap = agree(float(np.abs(ours[:peer_k, :peer_k] / theirs - 1).max()), 1e-8, "POT")
    torch_gap = agree(
        float(np.abs(gmm.dist_bures_squared(*there).numpy() / ours - 1).max()), 1e-8, "POT, torch"
    )
    times: list[list[float]] = [[], [first], []]
    for turn in range(rounds):
        times[0].append(seconds(lambda: dist_bures_squared(m, n, c, e)))
        if turn > 0:
            times[1].append(share * seconds(lambda: gmm.dist_bures_squared(*few)))
        times[2].append(seconds(lambda: gmm.dist_bures_squared(*there)))
    title = f"pairs, K {k} + {k}, d {d}, full rank"
    note = "" if peer_k == k else f" (timed on {peer_k} + {peer_k}: {peer_k**2} of {k**2} pairs)"
    return [
        f"| {title} | fastgen | {span(times[0])} | | 1x | |",
        f"| | POT, NumPy{note} | {span(times[1])} | {gap} | "
        + verdict(median(times[1]) / median(times[0]), target),
        f"| | POT, torch | {span(times[2])} | {torch_gap} | "
        + verdict(median(times[2]) / median(times[0]), None),
    ]


# --- Frechet distance -----------------------------------------------------------------------------


def features(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Rectified correlated Gaussians, as an average-pooled layer gives."""
    mix = rng.standard_normal((d, d)) * np.arange(1, d + 1)[:, None] ** -0.5
    return np.maximum(rng.standard_normal((n, d)) @ mix / np.sqrt(d) * 3, 0)


def sqrtm_route(m1, s1, m2, s2) -> float:
    """As in pytorch-fid: the real part of the root of the product."""
    root = scipy.linalg.sqrtm(s1 @ s2)
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real)


def eigvals_route(m1, s1, m2, s2) -> float:
    """As in torchmetrics and torch-fidelity."""
    roots = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * roots)


def moments_of(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    return x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T)


SQRTM, EIGVALS = "`scipy.linalg.sqrtm` route", "`eigvals` route"
PEER_ROUNDS = 2
# Peer, what it is given, the contestant of fastgen it is held against.
FRECHET_PEERS = [
    (SQRTM, sqrtm_route, "moments", "from covariances"),
    (SQRTM, sqrtm_route, "moments", "from samples"),
    (SQRTM, sqrtm_route, "samples", "from samples"),
    (EIGVALS, eigvals_route, "moments", "from covariances"),
    (EIGVALS, eigvals_route, "moments", "from samples"),
    (EIGVALS, eigvals_route, "samples", "from samples"),
]


def frechet_case(d: int, n: int, rounds: int, targets: dict[str, float]) -> list[str]:
    """From covariances and from samples; the peers twice, ours ``rounds`` times, in turn."""
    rng = np.random.default_rng(SEED)
    x, y = features(rng, n, d), features(rng, n, d)
    moments = moments_of(x, y)
    ours = {
        "from covariances": lambda: frechet_distance(*moments),
        "from samples": lambda: fid(x, y),
    }
    peers = {
        (route, given): lambda route=route, given=given: route(
            *(moments if given == "moments" else moments_of(x, y))
        )
        for _, route, given, _ in FRECHET_PEERS
    }
    reference = ours["from samples"]()
    total = np.trace(moments[1]) + np.trace(moments[3])
    times, gaps = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        for turn in range(rounds):
            for name, work in {**ours, **(peers if turn < PEER_ROUNDS else {})}.items():
                start = time.process_time()
                value = work()
                times.setdefault(name, []).append(time.process_time() - start)
                gaps[name] = agree(abs(value - reference) / total, 1e-5, str(name))
    lines, first = [], f"Frechet distance, d {d}, N {n}"
    for name in ours:
        lines.append(f"| {first} | fastgen, {name} | {span(times[name])} | {gaps[name]} | 1x | |")
        first = ""
    for name, route, given, rival in FRECHET_PEERS:
        theirs = times[route, given]
        ratio = median(theirs) / median(times[rival])
        ended = verdict(ratio, targets[name])
        label = f"{name}, given {given}, over fastgen {rival}"
        lines.append(f"| | {label} | {span(theirs)} | {gaps[route, given]} | {ended}")
    return lines


# --- mixtures -------------------------------------------------------------------------------------


def lazy_case(k: int, d: int, n: int, spread: float, rounds: int) -> list[str]:
    """Dense and lazy transport: the second mixture is a redraw with centres jittered by 0.05."""
    rng = np.random.default_rng(SEED)
    means = spread * rng.standard_normal((k, d))
    bases = [
        np.linalg.qr(rng.standard_normal((d, d)))[0] / np.sqrt(np.arange(1, d + 1)) for _ in means
    ]
    sides = []
    for jitter in (0.0, 0.05):
        draws = [b @ rng.standard_normal((d, n)) / np.sqrt(n) for b in bases]
        sides.append(
            (
                rng.dirichlet(np.full(k, 5.0)),
                means + jitter * rng.standard_normal((k, d)),
                np.array([x @ x.T for x in draws]),
            )
        )
    dense, lazy = mw2(*sides, method="dense"), mw2(*sides, method="lazy")
    gap = agree(abs(lazy.squared_distance / dense.squared_distance - 1), 1e-12, "lazy transport")
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        times[0].append(seconds(lambda: mw2(*sides, method="dense")))
        times[1].append(seconds(lambda: mw2(*sides, method="lazy")))
    chosen = "lazy" if not mw2(*sides).exact.all() else "dense"
    low, high = (value / dense.squared_distance for value in lazy.bracket)
    return [
        f"| {k} | {d} | {n} | {spread:g} | {span(times[0])} | {span(times[1])} | "
        f"{median(times[0]) / median(times[1]):.2f}x | {lazy.n_evaluated} of {k * k} | "
        f"{low:.3f}..{high:.3f} | {gap} | {chosen} |"
    ]


def peak_memory(k: int, d: int) -> None:
    """Print the peak memory of this process over a lazy transport of full covariances."""
    rng = np.random.default_rng(SEED)
    sides = []
    for _ in range(2):
        stack = np.empty((k, d, d))
        for one in stack:
            x = rng.standard_normal((d, d + 100)) * np.arange(1, d + 1)[:, None] ** -0.5
            np.matmul(x, x.T, out=one)
            one /= d + 100
        sides.append((np.full(k, 1 / k), 0.3 * rng.standard_normal((k, d)), stack))
    given = sum(side[2].nbytes for side in sides)
    start = time.process_time()
    found = mw2(*sides, method="lazy")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"K {k} + {k}, d {d}: peak memory {peak / 2**30:.2f} GiB, of which {given / 2**30:.2f} GiB "
        f"are the covariances; {found.n_evaluated} exact pairs, {time.process_time() - start:.0f} s"
    )


def body(quick: bool) -> list[str]:
    lines = [
        "| case | contestant | ms, median (min..max) | difference | ratio | target |",
        "|---|---|---|---|---|---|",
    ]
    if quick:
        lines += pair_case(4, 32, 4, 1, None)
        lines += frechet_case(128, 64, 1, {SQRTM: 1, EIGVALS: 1})
    else:
        lines += pair_case(20, 128, 3, 3, 50)
        lines += pair_case(4, 512, 1, 1, 300)
        lines += frechet_case(2048, 5000, 5, {SQRTM: 8, EIGVALS: 4})
        lines += frechet_case(2048, 1000, 5, {SQRTM: 30, EIGVALS: 15})
    lines += [
        "",
        "Times are processor times. Ratio: time of the line over that of fastgen in the same "
        "case. Difference: relative, of the trace of both covariances for the Frechet distance, "
        "from the distance computed from samples. Of the Frechet distance fastgen runs five times "
        "and the peers twice, in turn; given samples, they compute means and covariances first.",
        "",
        "Lazy transport beside dense, both fastgen:",
        "",
        "| K | d | n_i | sd of centres | dense, ms | lazy, ms | ratio | exact pairs | bracket | "
        "difference | `auto` takes |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    cases = [(4, 8, 20, 0.3)] if quick else LAZY
    for case in cases:
        lines += lazy_case(*case, 1 if quick else 3)
    return lines


LAZY = [
    (10, 64, 512, 0.3),
    (30, 64, 512, 0.3),
    (30, 64, 512, 0.05),
    (50, 64, 256, 0.1),
    (50, 128, 64, 0.1),
    (20, 256, 1000, 0.1),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--memory", action="store_true", help="only the peak memory")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    out = options.out or (None if options.quick else RESULTS)
    with threadpoolctl.threadpool_limits(limits=1):
        if options.memory:
            peak_memory(50, 2048)
            return
        lines = body(options.quick)
        head = ["# Distances of Gaussians and mixtures beside POT and FID formulas", ""]
        head += ["- Command: `python bench/peers/bures.py`.", *environment_lines(), ""]
    text = "\n".join([*head, *lines]) + "\n"
    print(text)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
