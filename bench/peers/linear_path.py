"""Flops per second of the sweep's paths along the latent dimension, against GEMM; one thread.

The routes of ``fastgen.linear``: P0 (unsupervised), P1 up to k = n, and P1 beyond n, there beside
the route that takes one latent dimension at a time. Run from anywhere:

    python bench/peers/linear_path.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import threadpoolctl
from report import environment_lines, median, publish, results_file

from fastgen._dispatch import linear as kernels
from fastgen._dispatch import linear as runs
from fastgen._dispatch import nuclear as norms
from fastgen.kernels.cpu import linear_frame, nuclear, secular
from fastgen.kernels.quadrature import nodes
from fastgen.linear import SpikedGaussian
from fastgen.linear.host import paths as _path
from fastgen.linear.host.trial import Frame, Trial
from fastgen.linear.options import RANK_TOLERANCE, Options

RESULTS = results_file("linear.md")
SIZES = (20, 50, 100, 160, 200, 400, 1000, 2000)
TOLERANCE = 1e-9
FLOAT64 = np.dtype(np.float64)
# Operations of LAPACK's routines on n columns, over n^3: Golub and Van Loan, 4th ed., sections
# 5.4.2, 8.3.1 and 8.4; divide and conquer without deflation.
TRIDIAGONAL, BIDIAGONAL, EIGENVECTORS = 4 / 3, 8 / 3, 4 / 3 + 4 / 3 + 2
# Operations of a quadrature node per column in kernels/cpu/nuclear.py, one of them a division.
NODE = 14


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Processor seconds of this thread, the median over the rounds.

    Short work is repeated within a round to some 20 ms; work of a second needs no first round to
    warm up and counts it.
    """
    started = time.thread_time()
    work()
    once = time.thread_time() - started
    if once > 1 and rounds == 1:
        return once
    repeat = max(1, int(0.02 / max(once, 1e-7)))
    taken = []
    for _ in range(rounds):
        started = time.thread_time()
        for _ in range(repeat):
            work()
        taken.append((time.thread_time() - started) / repeat)
    return median(taken)


@dataclasses.dataclass
class Case:
    """One trial with n pairs, and the latent dimensions each path is timed on."""

    n: int
    wide: np.ndarray
    beyond: np.ndarray
    frame: Frame
    principal: np.ndarray

    @property
    def tall(self) -> tuple:
        frame = self.frame
        counts = self.beyond - self.n
        return frame.square, frame.rows, counts, frame.target, frame.range.coordinates


def draw(n: int) -> Case:
    """Spiked Gaussian data in d = 1.1 n + 10 dimensions."""
    rng = np.random.default_rng(n)
    model = SpikedGaussian(dim=n + n // 10 + 10).draw(rng)
    x = np.ascontiguousarray(model.sample(n, random_state=rng).T)
    step = 1 if n <= 200 else n // 8
    wide = np.arange(step, n + 1, step)
    last = 3 * n if n <= 400 else n + 2 * (32 + n // 3) if n <= 1000 else n + 32 + n // 3
    z = rng.standard_normal((last, n))
    factor = np.linalg.cholesky(model.covariance_).T.copy()
    trial = Trial(factor, x, z, Options())
    s, _, truth, _, _ = linear_frame.principal_frame(x, factor, RANK_TOLERANCE)
    return Case(n, wide, np.arange(n + 1, last + 1), trial.frame(n), truth * s)


def one_at_a_time(case: Case, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P1 beyond n by a nuclear norm per latent dimension."""
    r, rows, _, f, y = case.tall
    out = np.empty(counts.size), np.empty(counts.size)
    arguments = r.copy(), rows[: counts[-1]].copy(), counts, f, y
    if case.n <= norms.LANE_COLUMNS:
        kernels.tall_path(*arguments, FLOAT64, *out)
    else:
        _path._tall_gram(*arguments, *out)
    return out


def check(case: Case) -> float:
    """Largest relative difference from an SVD per latent dimension; stops when it is too large."""
    found = np.array(_path.tall(*case.tall, FLOAT64))
    r, rows, counts, f, y = case.tall
    worst = 0.0
    for v in np.unique(np.linspace(0, counts.size - 1, 9 if case.n <= 400 else 3).astype(int)):
        upper = np.linalg.qr(np.vstack([r, rows[: counts[v]]]), mode="r")
        generator = _path.solve_right(f, upper)
        want = [
            np.linalg.svd(generator, compute_uv=False).sum(),
            np.square(_path.solve_right(y, upper)).sum(),
        ]
        worst = max(worst, float(abs(found[:, v] / want - 1).max()))
    if not worst < TOLERANCE:
        raise SystemExit(f"n {case.n}: differs from the SVD by {worst:.2g}: nothing is reported")
    return worst


def wide_flops(ks: np.ndarray, with_inverse: bool) -> float:
    """Operations of ``_path.leading`` on square leading blocks."""
    total, before = 0.0, 0
    for k in ks.astype(float):
        if k <= norms.LANE_COLUMNS:
            total += BIDIAGONAL * k**3 + NODE * nodes(FLOAT64)[0].size * k
        else:
            total += (1 + TRIDIAGONAL) * k**3
        if with_inverse:
            total += 4 * k * k * (k - before)
        before = k
    return total


def block_stages(case: Case, rounds: int) -> tuple[dict[str, tuple[float, float]], int, int]:
    """Seconds and operations of each stage of one block beyond n; its rows and its nodes.

    The rows are the last of the path: a block far from the peak.
    """
    r, rows, counts, f, y = case.tall
    n = case.n
    m = min(counts.size - 1, runs._BLOCK_ROWS + n // runs._BLOCK_SHARE, counts.size // 2)
    first = counts.size - m
    r = np.linalg.qr(np.vstack([r, rows[:first]]), mode="r")
    block = rows[first : first + m].copy()
    both = np.vstack([f, y])
    inverse = _inverse(r)
    updates = np.empty((m, len(both)))
    if secular._downdates(inverse, block, both, updates) != m:
        raise SystemExit(f"n {n}: a block far from the peak did not go in one piece")
    after = r.copy()
    linear_frame.absorb_rows(after, block.copy())
    generator = f @ _inverse(after)
    values, _, basis = secular._eigenbasis(generator, norms.GRAM_TOLERANCE)
    steps = updates[::-1, : len(f)] @ basis
    t, weights = secular.axis_nodes(values.min(), values.max() + np.square(steps).sum())
    packed = secular._capacitances(values, steps, t)
    out = np.zeros(m)
    q = t.size
    work = {
        "eigenvectors": (
            lambda: secular._eigenbasis(generator, norms.GRAM_TOLERANCE),
            (2 + EIGENVECTORS) * n**3,
        ),
        "capacitances": (lambda: secular._capacitances(values, steps, t), m * m / 2 * n * 2 * q),
        "pivots": (lambda: secular._add_log_pivots(packed, weights, out), m**3 / 3 * q),
        "vectors": (
            lambda: secular._downdates(inverse, block, both, updates),
            8 * m * n * n + m * m * n + 4 * m * m * n + 2 / 3 * m**3,
        ),
        "rotation, inverse": (
            lambda: _inverse(_absorbed(r, block)),
            2 * m * n * n + n**3 / 3,
        ),
        "products": (
            lambda: (f @ inverse, y @ inverse, updates[::-1, : len(f)] @ basis),
            4 * n**3 + 2 * m * n * n,
        ),
    }
    return {name: (seconds(w, rounds), flops) for name, (w, flops) in work.items()}, m, q


def takes_svd(case: Case) -> bool:
    """Whether the Gram matrix of the last k is too coarse for the eigendecomposition."""
    r, rows, _, f, _ = case.tall
    generator = _path.solve_right(f, np.linalg.qr(np.vstack([r, rows]), mode="r"))
    return norms.nuclear_from_gram(generator @ generator.T) is None


def _inverse(upper: np.ndarray) -> np.ndarray:
    inverse = np.empty_like(upper)
    linear_frame.upper_inverse(upper, inverse)
    return inverse


def _absorbed(r: np.ndarray, block: np.ndarray) -> np.ndarray:
    r = r.copy()
    linear_frame.absorb_rows(r, block.copy())
    return r


def lane_shares(n: int, rounds: int) -> tuple[float, float]:
    """Seconds of bidiagonalisation and of quadrature of eight matrices (n, n)."""
    stack = np.random.default_rng(n).standard_normal((n, n, 8))
    scratch, out = np.ones((nuclear._FIRST + 5 * n, 8)), np.empty((1, 8))
    copying = seconds(stack.copy, rounds)
    both = seconds(lambda: nuclear._bidiagonalize(stack.copy(), n, scratch), rounds)
    return both - copying, seconds(
        lambda: nuclear._sum_of_roots(scratch, n, *nodes(FLOAT64), out, 0), rounds
    )


def eight_divisions(rounds: int) -> float:
    """Seconds of eight independent divisions, on numbers in the first-level cache."""
    numbers = np.linspace(1, 2, 2048)
    out = np.empty(2048)
    return seconds(lambda: np.reciprocal(numbers, out=out), rounds) / 256


def lapack_shares(n: int, rounds: int) -> tuple[float, ...]:
    """Seconds of eigenvalues (n, n), their tridiagonal reduction, GEMM and a symmetric product."""
    matrix = np.random.default_rng(n).standard_normal((n, n))
    gram = np.asfortranarray(matrix @ matrix.T)
    vector = matrix[0].copy()
    return (
        seconds(lambda: linear_frame.symmetric_eigenvalues(gram), rounds),
        seconds(lambda: scipy.linalg.lapack.dsytrd(gram, lwork=64 * n), rounds),
        seconds(lambda: matrix @ matrix, rounds),
        seconds(lambda: scipy.linalg.blas.dsymv(1.0, gram, vector), rounds),
    )


def coarse(case: Case) -> int:
    """Number of k <= n, of those timed, whose P1 Gram matrix is too coarse: an SVD is taken."""
    count = 0
    for k in case.wide[case.wide > norms.LANE_COLUMNS]:
        product = case.frame.target[:, :k] @ case.frame.inverse[:k, :k]
        count += norms.nuclear_from_gram(product[:k] @ product[:k].T) is None
    return count


def time_paths(case: Case, rounds: int) -> tuple[float, ...]:
    """Seconds per latent dimension: P0, P1 up to n; beyond n alone, shared; with gaps, the same."""
    n, frame = case.n, case.frame
    matrices = frame.target, frame.range.coordinates, frame.inverse
    every = case.beyond - n
    wide = np.arange(gap_of(n), every[-1] + 1, gap_of(n))
    work = [
        (case.wide, _path.leading, case.principal, case.principal, None, case.wide, FLOAT64),
        (case.wide, _path.leading, *matrices, case.wide, FLOAT64),
    ]
    for counts in (every, wide):
        few = counts if n <= 200 else counts[-8:]
        shared = dataclasses.replace(case, beyond=counts + n)
        work += [(few, one_at_a_time, case, few), (counts, _path.tall, *shared.tall, FLOAT64)]
    return tuple(
        seconds(functools.partial(function, *arguments), rounds) / cells.size
        for cells, function, *arguments in work
    )


def gap_of(n: int) -> int:
    """Widest gap between latent dimensions that share."""
    return max(1, n // runs._GAP_SHARE)


def measure(sizes: tuple[int, ...], rounds: int) -> list[str]:
    """Check agreement, time everything, return the lines of the report."""
    side = 1500
    square = np.random.default_rng(0).standard_normal((side, side))
    multiply = functools.partial(np.matmul, square, square)
    peaks = [2 * side**3 / seconds(multiply, rounds)]
    paths, beyond, stages = [], [], []
    shares = {}
    worst = 0.0
    for n in sizes:
        case = draw(n)
        worst = max(worst, check(case))
        repeats = rounds if n <= 400 else 1
        p0, p1, alone, shared, each, sparse = time_paths(case, repeats)
        parts, rows, q = block_stages(case, repeats)
        peaks.append(2 * side**3 / seconds(multiply, rounds))
        total = sum(t for t, _ in parts.values())
        rate = sum(flops for _, flops in parts.values()) / total
        size = case.wide.size
        rates = wide_flops(case.wide, False) / size / p0, wide_flops(case.wide, True) / size / p1
        paths.append((n, p0, rates[0], p1, rates[1], shared, rate))
        beyond.append((n, case.beyond.size, alone, shared, gap_of(n), each, sparse))
        stages.append((n, rows, q, parts, total))
        if n <= norms.LANE_COLUMNS:
            shares[n] = lane_shares(n, rounds)
        else:
            measured = lapack_shares(n, repeats)
            shares[n] = (*measured, coarse(case), case.wide.size, takes_svd(case))
        print(f"n {n} done", flush=True)
    return report(median(peaks), paths, beyond, stages, shares, eight_divisions(rounds), worst)


def report(peak, paths, beyond, stages, shares, division, worst) -> list[str]:
    """Tables and what they say."""

    def rate(flops_per_second):
        return f"{flops_per_second * 1e-9:.3g} ({100 * flops_per_second / peak:.0f} %)"

    lines = [
        f"GEMM (1500 x 1500, float64, same run): {peak * 1e-9:.3g} Gflop/s. Values beyond n were"
        f" compared with SVDs first: largest relative difference {worst:.1e}. All times are"
        " processor times of one thread.",
        "",
        "## Rates",
        "",
        "Microseconds per latent dimension; Gflop/s by the operation counts in the script, in"
        " brackets the share of GEMM. Up to n: every k for n <= 200, eight k beyond. The rate for"
        " k > n is that of one block far from the peak.",
        "",
        "| n | P0, us | P0, Gflop/s | P1 k <= n, us | Gflop/s | P1 k > n, us | Gflop/s |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {n} | {p0 * 1e6:.4g} | {rate(r0)} | {p1 * 1e6:.4g} | {rate(r1)} | {t * 1e6:.4g} | "
        f"{rate(rt)} |"
        for n, p0, r0, p1, r1, t, rt in paths
    ]
    lines += [
        "",
        "## k > n: a shared eigendecomposition beside one nuclear norm per k",
        "",
        "Microseconds per latent dimension; the second half with every (n / 16)-th k, the widest"
        " grid that shares. One at a time is timed on the last 8 k where n > 200.",
        "",
        "| n | number of k | one at a time | shared | ratio | stride | one at a time | shared |"
        " ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {n} | {size} | {alone * 1e6:.4g} | {t * 1e6:.4g} | {alone / t:.3g}x | {stride} | "
        f"{each * 1e6:.4g} | {sparse * 1e6:.4g} | {each / sparse:.3g}x |"
        for n, size, alone, t, stride, each, sparse in beyond
    ]
    names = list(stages[0][3])
    lines += [
        "",
        "## k > n: where a block's time goes",
        "",
        "Share of the time and, in brackets, Gflop/s of each stage timed by itself.",
        "",
        "| n | rows | nodes | " + " | ".join(names) + " | ms |",
        "|---" * (len(names) + 4) + "|",
    ]
    for n, rows, q, parts, total in stages:
        cells = [f"{100 * t / total:.0f} % ({w / t * 1e-9:.3g})" for t, w in parts.values()]
        lines.append(f"| {n} | {rows} | {q} | " + " | ".join(cells) + f" | {total * 1e3:.4g} |")
    return [*lines, "", *prose(stages, shares, division)]


def prose(stages, shares, division) -> list[str]:
    """One paragraph per regime."""
    small = {n: s for n, s in shares.items() if n <= norms.LANE_COLUMNS}
    large = {n: s for n, s in shares.items() if n > norms.LANE_COLUMNS}
    n_nodes = nodes(FLOAT64)[0].size
    reduction = ", ".join(
        f"n {n} ({64 * n * n / 1024:.0f} KiB): {100 * b / (b + q):.0f} % at "
        f"{8 * BIDIAGONAL * n**3 / b * 1e-9:.3g} Gflop/s"
        for n, (b, q) in small.items()
    )
    rates = [n**3 / b for n, (b, _) in small.items()]
    spread = max(rates) / min(rates)
    waiting = ", ".join(f"{q / (n * n_nodes) * 1e9:.3g} ns at n {n}" for n, (_, q) in small.items())
    lapack = "; ".join(
        f"n {n}: {100 * r / e:.0f} % of the time of the eigenvalues at "
        f"{TRIDIAGONAL * n**3 / r * 1e-9:.3g} Gflop/s, where a symmetric matrix times a vector "
        f"runs at {2 * n * n / v * 1e-9:.3g} and GEMM at {2 * n**3 / g * 1e-9:.3g}"
        for n, (e, r, g, v, *_) in large.items()
    )
    fallback = ", ".join(f"{s[4]} of {s[5]} (n {n})" for n, s in large.items())
    share = ", ".join(
        f"{100 * parts['eigenvectors'][0] / total:.0f} % (n {n})"
        for n, _, _, parts, total in stages
    )
    steep = ", ".join(str(n) for n, s in large.items() if s[6])
    instead = f"At n {steep} it is an SVD, the Gram matrix being too coarse. " if steep else ""
    return [
        "## Where the rest goes",
        "",
        f"**k <= n, k <= {norms.LANE_COLUMNS} (P0 and P1).** Eight matrices to a register. "
        "Share of a nuclear norm that is bidiagonalisation, its rate, and the size of eight "
        f"matrices: {reduction}. It passes twice over what is left of the matrices for every "
        "column, eight operations for two numbers read and one written; over these sizes its rate "
        f"differs by a factor of {spread:.2g}. The rest of a nuclear norm is the quadrature: per "
        f"column and node, eight matrices at once, {waiting}; eight independent "
        f"divisions alone take {division * 1e9:.3g} ns. P1 adds rank-one updates of two matrices "
        "per k.",
        "",
        f"**k <= n, k > {norms.LANE_COLUMNS} (P0 and P1).** A Gram matrix by GEMM, then "
        "LAPACK's eigenvalues, mostly their reduction to tridiagonal form, half of which is "
        f"symmetric matrices times vectors: {lapack}. The remainder is the iteration on the "
        "tridiagonal matrix. Where the Gram matrix is too coarse, an SVD comes on top, not counted "
        f"as operations: for P1 at {fallback} of the k timed.",
        "",
        "**k > n.** One eigendecomposition with vectors per block: "
        f"{share} of its time; the tridiagonal reduction limits it as above. "
        f"{instead}"
        "Capacitance matrices are GEMM with as many columns as quadrature nodes, after "
        "forming products of update vectors that are used once; the pivots work on "
        "eight nodes at once, with one triangle per eight nodes to read back for every "
        "row. Operations counted are those carried out, zeros of triangular matrices "
        "included. Close to the peak a block is taken in pieces, each with its own "
        "inverse, so that a whole path costs more per k than the block in the table.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    started = time.perf_counter()
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        body = measure((20, 50, 200) if options.quick else SIZES, 1 if options.quick else 5)
        head = ["# The sweep's paths along the latent dimension, against GEMM", ""]
        head += ["- Command: `python bench/peers/linear_path.py`.", *environment_lines()]
        head += [f"- Took {time.perf_counter() - started:.0f} s, one thread.", ""]
    text = "\n".join([*head, *body]) + "\n"
    publish(text, options, RESULTS)


if __name__ == "__main__":
    main()
