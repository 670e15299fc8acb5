"""Subspace fits beside the same descent in plain NumPy, in one process.

Agreement comes first: nothing is timed that is wrong. Then the contestants take turns, and medians
and their ratios are printed. Run from anywhere:

    python bench/peers/subspace.py [--quick]

The peer is ``subspace_descent`` of ``tests/oracles/linear.py``: projected gradient with
backtracking, an SVD per trial step, a fixed number of iterations. It is given the number of steps
after which ours had converged, as if it knew, so both do the same work: for a few steps, where ours
must also set up, and for a whole fit.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import threadpoolctl

from fastgen.linear.subspace import first_guess, solve

SEED = 0
STEPS = 20  # compared and timed step by step: later ones amplify rounding
STEP_TOLERANCE = 1e-8
FIT_TOLERANCE = 1e-9  # of the objective at the end, relative to that at the start
TOL = 1e-5


@dataclasses.dataclass(frozen=True)
class Case:
    """One cell of the plane."""

    p: int
    n: int
    k: int
    n_supervised: int
    slack: float

    @property
    def title(self) -> str:
        return f"p {self.p}, n {self.n}, k {self.k}, n_s {self.n_supervised}, slack {self.slack:g}"


CASES = (
    Case(16, 16, 4, 14, 0.0),
    Case(32, 16, 4, 12, 0.5),
    Case(16, 16, 4, 16, 3.0),
    Case(16, 16, 4, 14, np.inf),
    Case(784, 60, 10, 30, 0.5),
    Case(100, 5000, 10, 2500, 0.0),
)


def oracle() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "tests" / "oracles" / "linear.py"
    if not path.is_file():
        raise SystemExit(f"{path.name} is not in this checkout: nothing vouches for the answer")
    spec = importlib.util.spec_from_file_location("naive", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples (p, n), targets (k, n_supervised) and a start (p, k)."""
    rng = np.random.default_rng(SEED)
    u = np.linalg.qr(rng.standard_normal((case.p, case.k)))[0]
    z = rng.standard_normal((case.k, case.n))
    x = u @ z + np.sqrt(0.1) * rng.standard_normal((case.p, case.n))
    start = first_guess(rng.standard_normal((case.p, case.k)), case.slack)
    return x, z[:, : case.n_supervised], start


def contestants(case: Case, naive: ModuleType) -> tuple[Callable, Callable]:
    """``ours(max_iter, tol)`` and ``peer(max_iter)``, each giving W and the objectives."""
    x, z, start = draw(case)
    low, high = max(0.0, 1 - case.slack), 1 + case.slack

    def ours(max_iter: int, tol: float) -> tuple[np.ndarray, np.ndarray]:
        found = solve(x, z, case.slack, start, tol, max_iter)
        return found.w, found.history

    def peer(max_iter: int) -> tuple[np.ndarray, np.ndarray]:
        return naive.subspace_descent(x, z, start, low, high, max_iter)

    return ours, peer


def check(case: Case, ours: Callable, peer: Callable, max_iter: int) -> tuple[str, int]:
    """Agreement of the first steps and of the end, or an error; steps to convergence."""
    (w, history), (expected, objectives) = ours(STEPS, 0.0), peer(STEPS)
    steps = max(np.abs(w - expected).max(), np.abs(history / objectives - 1).max())
    mine = ours(max_iter, TOL)[1]
    theirs = peer(len(mine) - 1)[1]
    end = abs(mine[-1] - theirs[-1]) / theirs[0]
    if not (steps <= STEP_TOLERANCE and end <= FIT_TOLERANCE):
        raise SystemExit(
            f"{case.title}: fastgen and NumPy differ by {steps:.3g} in {STEPS} steps and {end:.3g} "
            "at the end; nothing was timed"
        )
    return f"{steps:.0e} / {end:.0e}", len(mine) - 1


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def time_case(ours: Callable, peer: Callable, n_iter: int, rounds: int) -> tuple[float, ...]:
    """Median seconds of the same steps and of a fit, ours and the peer's, in turn."""
    repeats = 20
    found: list[list[float]] = [[], [], [], []]
    for _ in range(rounds):
        found[0].append(seconds(lambda: [ours(STEPS, 0.0) for _ in range(repeats)]) / repeats)
        found[1].append(seconds(lambda: peer(STEPS)))
        found[2].append(seconds(lambda: ours(n_iter, TOL)))
        found[3].append(seconds(lambda: peer(n_iter)))
    return tuple(statistics.median(times) for times in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few iterations, not for quoting")
    options = parser.parse_args()
    max_iter, rounds = (100, 1) if options.quick else (1500, 5)
    naive = oracle()
    print(
        f"| case | difference: {STEPS} steps / end | {STEPS} steps: ours, NumPy, ratio "
        f"| fit: steps, ours, NumPy, ratio |"
    )
    print("|---|---|---|---|")
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        for case in CASES:
            ours, peer = contestants(case, naive)
            agreement, n_iter = check(case, ours, peer, max_iter)
            step, naive_step, fit, naive_fit = time_case(ours, peer, n_iter, rounds)
            print(
                f"| {case.title} | {agreement} | {step * 1e3:.3g} ms, {naive_step * 1e3:.3g} ms, "
                f"{naive_step / step:.3g}x | {n_iter}, {fit * 1e3:.3g} ms, "
                f"{naive_fit * 1e3:.3g} ms, {naive_fit / fit:.3g}x |",
                flush=True,
            )


if __name__ == "__main__":
    main()
