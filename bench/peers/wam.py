"""WaM end to end beside what is used today: scikit-learn's mixtures, then POT's transport.

python bench/peers/wam.py [--quick] [--out FILE]

Contestants take turns, one BLAS thread for everybody, processor times.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import ot.gmm
import threadpoolctl
from report import environment_lines, median, results_file, span, verdict, write
from sklearn.mixture import GaussianMixture

from fastgen.metrics import fid, wam

RESULTS = results_file("wam_peers.md")
TARGET = 10.0
# Of the peers, whose transport takes a quarter of a minute.
_PEER_ROUNDS = 2


@dataclasses.dataclass(frozen=True)
class Case:
    n: int
    dim: int
    n_components: int
    spread: float  # of the modes
    rounds: int


# Modes far apart, where EM stops at once, and overlapping ones.
FULL = Case(5000, 128, 10, 1.0, 5), Case(5000, 128, 10, 0.1, 5)
QUICK = Case(1000, 32, 4, 1.0, 1), Case(1000, 32, 4, 0.1, 1)


def features(case: Case, seed: int) -> np.ndarray:
    """Rectified samples of a mixture, as the last pooled layer of a network gives them."""
    shape = np.random.default_rng(0)
    centres = case.spread * shape.standard_normal((10, case.dim))
    root = np.linalg.qr(shape.standard_normal((case.dim, case.dim)))[0]
    root = root * np.arange(1, case.dim + 1) ** -0.5
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(10, size=case.n)]
    rows = rows + rng.standard_normal((case.n, case.dim)) @ root.T
    return np.maximum(rows, 0) + 0.05 * rng.standard_normal(rows.shape)


def peer(X: np.ndarray, Y: np.ndarray, case: Case, seeds: tuple[int, int]):
    """Return both mixtures and WaM^2, with the seconds of the fits and of the transport."""
    started = time.process_time()
    fits = [
        GaussianMixture(case.n_components, random_state=seed).fit(rows)
        for seed, rows in zip(seeds, (X, Y), strict=True)
    ]
    fitted = time.process_time()
    a, b = fits
    value = ot.gmm.gmm_ot_loss(
        a.means_, b.means_, a.covariances_, b.covariances_, a.weights_, b.weights_
    )
    ended = time.process_time()
    return fits, value, fitted - started, ended - fitted


def ours(X: np.ndarray, Y: np.ndarray, case: Case, **options):
    started = time.process_time()
    found = wam(X, Y, n_components=case.n_components, random_state=0, **options)
    return found, time.process_time() - started


def measure(case: Case) -> list[str]:
    """Check agreement, time in turn, return the lines of the report."""
    X, Y = features(case, 1), features(case, 2) * 1.1
    small = [rows[:200, :8] for rows in (X, Y)]
    for setting in ("paper", None):  # kernels are compiled before the clock starts
        wam(*small, n_components=2, setting=setting)
    times = {"paper": [], "default": []}
    whole, fits = [], []
    for turn in range(case.rounds):
        found, seconds = ours(X, Y, case, setting="paper")
        times["paper"].append(seconds)
        shared, seconds = ours(X, Y, case)
        times["default"].append(seconds)
        if turn >= _PEER_ROUNDS:
            continue
        # The same seeds give the same k-means and so the same start.
        seeds = found.gmm_x.random_state, found.gmm_y.random_state
        mixtures, value, fit_seconds, transport_seconds = peer(X, Y, case, seeds)
        whole.append(fit_seconds + transport_seconds)
        fits.append(fit_seconds)
    error = abs(found.wam2 - value) / value
    iterations = [[m.n_iter_ for m in pair] for pair in (mixtures, (found.gmm_x, found.gmm_y))]
    if error > 1e-6 or iterations[0] != iterations[1]:
        sys.exit(f"WaM^2 differs by {error:.1e}, iterations {iterations}: nothing is told")
    ratio, of_fits, of_default = (
        median(theirs) / median(times[name])
        for theirs, name in ((whole, "paper"), (fits, "paper"), (whole, "default"))
    )
    return [
        f"## Modes {case.spread:g} apart in every dimension",
        "",
        f"Two sets of {case.n} samples, d {case.dim}, K {case.n_components}, full covariances; "
        f"scikit-learn's EM defaults, the same starts; iterations of EM {iterations[0]} in both. "
        f"fastgen is timed {len(times['paper'])} times, the others {len(whole)} times, in turn.",
        "",
        "| contestant | ms, median (min..max) | ratio | target |",
        "|---|---|---|---|",
        f"| fastgen, the paper's setting: two fits, transport, FID | {span(times['paper'])} "
        "| 1x | |",
        f"| scikit-learn's fits, POT's transport | {span(whole)} | {verdict(ratio, TARGET)}",
        f"| of that the fits | {span(fits)} | {verdict(of_fits, None)}",
        f"| fastgen, defaults: shared fit, transport, floor, FID | {span(times['default'])} "
        "| 1x | |",
        f"| scikit-learn and POT against that | {span(whole)} | {verdict(of_default, TARGET)}",
        "",
        f"WaM^2 {found.wam2:.6f}, fastgen and the others differ by {error:.1e} of it. Shared fit "
        f"{shared.wam2:.4f}, floor {shared.floor:.4f}; FID {fid(X, Y):.4f}.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    out = options.out or (None if options.quick else RESULTS)
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of few samples per dimension
        cases = QUICK if options.quick else FULL
        body = [line for case in cases for line in measure(case)]
        head = ["# WaM end to end beside scikit-learn and POT", ""]
        head += ["- Command: `python bench/peers/wam.py`.", *environment_lines(), ""]
    text = "\n".join([*head, *body])
    print(text)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
