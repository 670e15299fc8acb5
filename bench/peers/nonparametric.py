"""Nonparametric mixtures beside R's package mixtools, one thread each.

Both run from the same starts. Times are processor time, which other work on the machine moves less
than the clock; R measures itself, without its start and the reading of files. Run from
anywhere, where Rscript and mixtools are (Debian: r-cran-mixtools):

    python bench/peers/nonparametric.py [--quick] [--water FILE] [--out FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import threadpoolctl
from report import environment_lines, median, results_file, span, verdict, write

from fastgen.mixture import NonparametricMixture

RESULTS = results_file("nonparametric.md")
WATER = Path(__file__).resolve().parents[3] / "shared" / "data" / "waterdata.csv"
WATER_BLOCKS = (4, 3, 2, 1, 3, 4, 1, 2)
WATER_CENTRES = [
    (13.5, -10, 1.6, -25.6, 22.55, 36.3, -33.2, 69.9),
    (15.65, 51.68, -26.59, -33.46, 45.65, 32.08, -26.14, -48.97),
    (-0.88, 3.89, -6.82, -2.36, 5.47, -0.16, 0.74, -9.64),
]
# Start posteriors, blocks and settings in; posteriors and seconds out.
SCRIPT = """
suppressMessages(library(mixtools))
folder <- commandArgs(TRUE)[1]
read <- function(name) unname(as.matrix(read.csv(file.path(folder, name), header = FALSE)))
x <- read("rows"); z <- read("start"); b <- as.vector(read("blocks")); s <- as.vector(read("set"))
npem <- s[1] == 1; same <- s[2] == 0; iterations <- s[3]; eps <- s[4]; h <- s[5]
if (npem) {
  centres <- t(z) %*% x / colSums(z)
  times <- system.time(fit <- npEM(x, mu0 = centres, blockid = b, bw = h, samebw = same,
                                     maxiter = iterations, eps = eps, verb = FALSE))
} else {
  times <- system.time(fit <- npMSL(x, mu0 = ncol(z), post = z, blockid = b, bw = h,
                                      samebw = same, maxiter = iterations, eps = eps,
                                      verb = FALSE))
}
write.table(fit$posteriors, file.path(folder, "end"), sep = ",", row.names = FALSE,
            col.names = FALSE)
cat(times[[1]] + times[[2]], nrow(fit$lambda), R.version.string,
    as.character(packageVersion("mixtools")), sep = "|")
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison; ``peer_iterations`` are what R runs of ``iterations``."""

    name: str
    rows: np.ndarray
    start: np.ndarray
    blocks: tuple[int, ...]
    method: str
    bandwidth: float | str
    iterations: int
    peer_iterations: int
    tol: float
    target: float
    agreement: float


def genes(n: int, n_components: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of eight columns about random centres, and hard labels refined by Lloyd's iteration."""
    rng = np.random.default_rng(seed)
    centres = 8 * rng.random((n_components, 4)).repeat(2, axis=1)
    rows = centres[rng.integers(0, n_components, n)] + 0.8 * rng.standard_normal((n, 8))
    for _ in range(300):
        labels = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array([rows[labels == j].mean(axis=0) for j in range(n_components)])
    return rows, np.eye(n_components)[labels]


def water_start(rows: np.ndarray) -> np.ndarray:
    centres = np.array(WATER_CENTRES)
    for _ in range(100):
        labels = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array([rows[labels == j].mean(axis=0) for j in range(3)])
    return np.eye(3)[labels]


def soft(start: np.ndarray) -> np.ndarray:
    """Blur hard labels: with them quartiles fall on an entry, and rounding decides which."""
    return 0.9 * start + 0.1 / start.shape[1]


def cases(quick: bool, water: Path) -> list[Case]:
    n = 300 if quick else 2000
    rows, start = genes(n, 8, seed=0)
    blocks = (1, 1, 2, 2, 3, 3, 4, 4)
    deviation = min(rows.std(ddof=1), np.subtract(*np.percentile(rows, [75, 25])) / 1.34)
    h = float(0.9 * deviation * rows.size**-0.2)
    size = f"{n} x 8, K 8, four blocks"
    found = [
        Case(f"npMSL, {size}, fixed h, 20 iterations", rows, start, blocks, "npmsl", h, 20, 4, 0,
             100, 1e-8),
        Case(f"npMSL, {size}, adaptive h, 20 iterations", rows, soft(start), blocks, "npmsl",
             "S", 20, 4, 0, 10, 1e-8),
        Case(f"npEM, {size}, fixed h, 20 iterations", rows, start, blocks, "npem", h, 20, 2, 0, 30,
             1e-8),
        Case(f"npEM, {size}, adaptive h, 20 iterations", rows, start, blocks, "npem", "S", 20, 2,
             0, 10, 1e-3),
    ]  # fmt: skip
    if water.is_file():
        angles = np.loadtxt(water, delimiter=",", skiprows=1)[:, 2:]
        start = water_start(angles)
        found += [
            Case("water data 405 x 8, K 3, npMSL h = 4, to convergence", angles, start,
                 WATER_BLOCKS, "npmsl", 4.0, 500, 500, 1e-8, 30, 1e-8),
            Case("water data, npMSL adaptive h, 100 iterations", angles, soft(start), WATER_BLOCKS,
                 "npmsl", "S", 100, 20, 0, 10, 1e-8),
        ]  # fmt: skip
    return found


def ours(case: Case, iterations: int) -> tuple[np.ndarray, int, float]:
    started = time.process_time()
    fit = NonparametricMixture(
        case.start.shape[1],
        method=case.method,
        blocks=case.blocks,
        bandwidth=case.bandwidth,
        init=case.start,
        max_iter=iterations,
        tol=case.tol,
    ).fit(case.rows)
    return fit.posteriors_, fit.n_iter_, time.process_time() - started


def theirs(case: Case, iterations: int, rscript: str) -> tuple[np.ndarray, int, float, list[str]]:
    adaptive = isinstance(case.bandwidth, str)
    h = 1.0 if adaptive else case.bandwidth
    settings = [case.method == "npem", adaptive, iterations, case.tol, h]
    with tempfile.TemporaryDirectory() as folder:
        arrays = {"rows": case.rows, "start": case.start, "blocks": case.blocks, "set": settings}
        for name, array in arrays.items():
            np.savetxt(Path(folder, name), np.asarray(array, float), delimiter=",", fmt="%.17g")
        script = Path(folder, "fit.R")
        script.write_text(SCRIPT)
        done = subprocess.run(
            [rscript, script, folder],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        posteriors = np.loadtxt(Path(folder, "end"), delimiter=",")
    seconds, n_iter, *versions = done.stdout.split("|")
    return posteriors, int(n_iter), float(seconds), versions


def measure(case: Case, rscript: str, rounds: int) -> tuple[str, list[str]]:
    """Return the row of the table and the versions of R and mixtools."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, _, _ = ours(case, case.peer_iterations)
        other, n_iter, _, versions = theirs(case, case.peer_iterations, rscript)
        apart = float(np.abs(mine - other).max())
        if apart > case.agreement:
            sys.exit(f"{case.name}: posteriors differ by {apart:.2g}: nothing is timed")
        fast, slow = [], []
        for _ in range(rounds):
            slow.append(theirs(case, case.peer_iterations, rscript)[2] / n_iter)
            _, done, seconds = ours(case, case.iterations)
            fast.append(seconds / done)
    ratio = median(slow) / median(fast)
    row = (
        f"| {case.name} | {span(fast)} | {span(slow)} | {apart:.1e} | {verdict(ratio, case.target)}"
    )
    return row, versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--water", type=Path, default=WATER, help="waterdata.csv")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    rscript = shutil.which("Rscript")
    if rscript is None:
        print("skipped: Rscript is not installed (Debian: r-cran-mixtools)")
        return
    out = options.out or (None if options.quick else RESULTS)
    rows = []
    with threadpoolctl.threadpool_limits(limits=1):
        for case in cases(options.quick, options.water):
            row, versions = measure(case, rscript, 1 if options.quick else 3)
            print(row, flush=True)
            rows.append(row)
        head = [
            "# Nonparametric mixtures beside mixtools",
            "",
            "- Command: `python bench/peers/nonparametric.py`.",
            *environment_lines(),
            f"- {versions[0]}, mixtools {versions[1]}.",
            "",
            "Milliseconds of processor time per iteration, median (min..max), from the same start; "
            "ours includes sorting and checks, R's neither its start nor reading. fastgen runs all "
            "iterations. mixtools runs 4 of npMSL and 2 of npEM on the genes, all of the water "
            "data with h = 4 and 20 with adaptive bandwidths; as many are compared. npEM of "
            "mixtools renews adaptive bandwidths after the posteriors instead of before, so that "
            "its posteriors agree less.",
            "",
            "| case | fastgen | mixtools | largest difference of posteriors | ratio | target |",
            "|---|---|---|---|---|---|",
        ]
    text = "\n".join([*head, *rows]) + "\n"
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
