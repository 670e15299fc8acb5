"""How much the sum of square roots of eigenvalues grows, rank-one update by rank-one update.

For A symmetric positive semidefinite, ``A_i = A + u_1 u_1^T + ... + u_i u_i^T`` and the secular
function ``f_i(x) = 1 + u_i^T inv(A_{i-1} - x) u_i`` (Golub and Van Loan, Matrix Computations, 4th
ed., section 8.4), whose zeros are the eigenvalues of A_i,

    tr sqrt(A_i) - tr sqrt(A_{i-1})  =  1/pi int_0^inf log f_i(-t^2) dt,

because ``tr sqrt(A) = 1/pi int tr log(1 + A / t^2) dt`` and ``f_i = det(A_i - x) / det(A_{i-1} -
x)``. No zero is searched and no eigenvector rotated: with A diagonal, the f_i at one t are the
pivots of ``I + U^T inv(A + t^2) U``. On the negative axis f_i >= 1, so every term is positive and
small increments keep their digits.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from .compilation import kernel
from .fortran import L, N, R, T, V, gemm, potrf, syevd, trsm
from .linear_frame import absorb_rows, gram_error, left_vectors, upper_inverse
from .simd import LANES, load, splat, store

# Natural logarithm of the inverse of the quadrature's relative error.
_DIGITS = 26.0
# Eigenvalues below this share of the largest count as that: their roots are 1e-13 of the largest.
_FLOOR = 1e-26
# Nodes are kept for so many ratios of the spectrum's ends to an octave.
_STEPS = 4
# Largest trace of I + H H^T whose Cholesky factor is taken: its errors are eps times that.
_LARGEST_TRACE = 1e4


def _arithmetic_geometric_mean(a, b):
    while abs(a - b) > 1e-15 * a:
        a, b = 0.5 * (a + b), math.sqrt(a * b)
    return a


def axis_nodes(low, high, digits=_DIGITS):
    """Nodes t and weights for ``int_0^inf h(t) dt``, h even with poles or cuts at ``+-i sqrt(x)``.

    ``low <= x <= high``. The trapezoidal rule after ``t = sqrt(low) sc(u)``, Jacobi's function of
    complementary modulus ``k = sqrt(low / high)`` (Hale, Higham and Trefethen, SIAM J. Numer. Anal.
    46 (2008), method 3). The relative error is exp(-digits); the number of nodes, a multiple of 8,
    grows with log(high / low).
    """
    octaves = math.floor(_STEPS * math.log2(low / high))
    t, weights = _unit_nodes(octaves, digits)
    root = math.sqrt(high)
    return root * t, root * weights


@functools.lru_cache(maxsize=1024)
def _unit_nodes(octaves, digits):
    """Nodes and weights for ``high`` 1; ``low`` from a grid, so that few are ever computed."""
    low, high = 2.0 ** (octaves / _STEPS), 1.0
    k = math.sqrt(low / high)
    quarter = 0.5 * math.pi / _arithmetic_geometric_mean(1.0, math.sqrt((1.0 - k) * (1.0 + k)))
    period = 0.5 * math.pi / _arithmetic_geometric_mean(1.0, k)
    wanted = digits * period / (2 * math.pi * quarter)
    n_nodes = LANES * math.ceil(wanted / LANES)
    u = (np.arange(n_nodes // 2) + 0.5) * (period / n_nodes)
    # sc(u, k') = -i sn(iu, k): the Fourier series of sn, all terms positive. The one of order m is
    # at most exp(-m pi period / 4 quarter) of the first.
    n_terms = 1 + math.ceil(80.0 * quarter / (math.pi * period))
    rate = np.arange(1, 2 * n_terms, 2) * (0.5 * math.pi / quarter)
    decay = np.exp(-rate * period)
    size = math.sqrt(high) * 2 * math.pi / quarter * decay / (1 - decay * decay)
    angles = np.outer(u, rate)
    near = np.sinh(angles) @ size
    slope = np.cosh(angles) @ (size * rate)
    # sc(period - u) = 1 / (k sc(u))
    far = math.sqrt(low * high) / near
    t = np.concatenate((near, far[::-1]))
    weights = np.concatenate((slope, (far / near * slope)[::-1]))
    return t, weights * (period / n_nodes)


@kernel
def _capacitances(eigenvalues, updates, t):
    """Lower triangles of ``U^T inv(A + t^2) U``, packed by rows, one column per t."""
    m, r = updates.shape
    resolvents = np.empty((r, t.size))
    for i in range(r):
        for j in range(t.size):
            resolvents[i, j] = 1 / (eigenvalues[i] + t[j] * t[j])
    packed = np.empty((m * (m + 1) // 2, t.size))
    products = np.empty((m, r))
    start = 0
    for a in range(m):
        for b in range(a + 1):
            for i in range(r):
                products[b, i] = updates[b, i] * updates[a, i]
        into = packed[start : start + a + 1]
        gemm((N, N, t.size, a + 1, r, 1.0, resolvents, t.size, products, r, 0.0, into, t.size))
        start += a + 1
    return packed


@kernel(no_cpython_wrapper=True)
def _log_pivot(excess, weights, out):
    """Add to out[0] the weighted logarithms of 1 + excess, which it leaves in excess."""
    for v in range(LANES):
        x = excess[v]
        x = 0.0 if x < 0 else x  # rounding; NaN passes
        out[0] += weights[v] / np.pi * np.log1p(x)
        excess[v] = 1 + x


@kernel
def _add_log_pivots(packed, weights, out):
    """Weighted sums over the columns of the logarithms of the pivots of I + packed, eight at once.

    Row by row, so that the k-th pivots see only the first k rows.
    """
    m = out.size
    columns = np.empty((m + 1, m + 1, LANES))
    inverse = np.empty((m + 1, LANES))
    # two rows at a time: what they share of the columns is read once
    rows = np.zeros((2, m + 1, LANES))
    pitch = (m + 1) * LANES
    one = splat(rows, 1.0)
    for group in range(0, weights.size, LANES):
        for a in range(0, m, 2):
            pair = min(2, m - a)
            for q in range(pair):
                start = (a + q) * (a + q + 1) // 2
                for b in range(a + q + 1):
                    at = q * pitch + b * LANES
                    store(rows, at, load(packed, (start + b) * weights.size + group))
            for c in range(a):
                scale = load(inverse, c * LANES)
                x0 = load(rows, c * LANES)
                x1 = load(rows, pitch + c * LANES)
                store(columns, c * pitch + a * LANES, x0)
                store(columns, c * pitch + (a + 1) * LANES, x1)
                f0 = x0 * scale
                f1 = x1 * scale
                for b in range(c + 1, a):
                    at = b * LANES
                    x = load(columns, c * pitch + at)
                    store(rows, at, load(rows, at) - f0 * x)
                    store(rows, pitch + at, load(rows, pitch + at) - f1 * x)
                at = a * LANES
                store(rows, at, load(rows, at) - f0 * x0)
                store(rows, pitch + at, load(rows, pitch + at) - f1 * x0)
                at = pitch + at + LANES
                store(rows, at, load(rows, at) - f1 * x1)
            _log_pivot(rows[0, a], weights[group : group + LANES], out[a:])
            scale = one / load(rows, a * LANES)
            store(inverse, a * LANES, scale)
            if pair == 2:
                x = load(rows, pitch + a * LANES)
                store(columns, a * pitch + (a + 1) * LANES, x)
                at = pitch + (a + 1) * LANES
                store(rows, at, load(rows, at) - x * scale * x)
                _log_pivot(rows[1, a + 1], weights[group : group + LANES], out[a + 1 :])
                store(inverse, (a + 1) * LANES, one / load(rows, at))


def root_increments(eigenvalues, updates, out):
    """Growth of ``tr sqrt(A)`` at each of the rank-one updates that A receives in turn.

    The error of increment i is some 1e-11 of it and eps times ``u_i^T A^(-1/2) u_i``: an update
    should be small where A is.

    Parameters
    ----------
    eigenvalues : array (r,), non-negative
        Of A, in whose eigenbasis the updates are given.
    updates : array (m, r)
        Row i is ``u_i``.
    out : array (m,)
        ``tr sqrt(A_i) - tr sqrt(A_{i-1})``; all NaN if any number given is not finite.
    """
    low, high = float(eigenvalues.min()), float(eigenvalues.max())
    _add_increments(eigenvalues, low, high + float(np.vdot(updates, updates)), updates, out)


def _add_increments(eigenvalues, low, high, updates, out):
    """As ``root_increments``, of matrices whose eigenvalues are from ``low`` to ``high``."""
    out[:] = 0
    if high == 0:
        return
    if not math.isfinite(high):
        out[:] = np.nan
        return
    t, weights = axis_nodes(min(max(low, _FLOOR * high), 0.25 * high), high)
    _add_log_pivots(_capacitances(eigenvalues, updates, t), weights, out)


@kernel
def _downdates(inverse, rows, images, out):
    """Vectors u by which the first of ``rows`` in turn shrink a Gram matrix, into rows of out.

    With ``inverse`` that of R, before any row, and A the matrix (s, n) ``images``: ``A inv(R^T R)
    A^T`` loses ``u u^T``. Returns how many rows were taken: what follows a row of large leverage
    would be a difference of large numbers, and waits for the R that has it. 0 where a matrix is
    not definite.
    """
    m, n = rows.shape
    s = images.shape[0]
    half = np.empty((m, n))
    gemm((N, N, n, m, n, 1.0, inverse, n, rows, n, 0.0, half, n))
    taken = 0
    trace = 0.0
    for i in range(m):
        for j in range(n):
            trace += half[i, j] * half[i, j]
        if i > 0 and trace > _LARGEST_TRACE:
            break
        taken = i + 1
    capacitance = np.empty((taken, taken))
    gemm((T, N, taken, taken, n, 1.0, half, n, half, n, 0.0, capacitance, taken))
    for i in range(taken):
        capacitance[i, i] += 1
    info = np.empty(1, np.int32)
    potrf((L, taken, capacitance, taken, info))
    if info[0] != 0:
        return 0
    back = np.empty((taken, n))
    gemm((T, N, n, taken, n, 1.0, inverse, n, half, n, 0.0, back, n))
    gemm((T, N, s, taken, n, 1.0, images, n, back, n, 0.0, out, s))
    trsm((R, L, T, N, s, taken, 1.0, capacitance, taken, out, s))
    return taken


@kernel
def _spectrum(generator, basis, values, roots):
    """Eigenvectors (rows), eigenvalues and their roots of ``generator @ generator.T``.

    Returns the sum of the roots, or -1 where LAPACK failed.
    """
    r, n = generator.shape
    gemm((T, N, r, r, n, 1.0, generator, n, generator, n, 0.0, basis, r))
    work = np.empty(2 * r * r + 66 * r + 1)
    more = np.empty(5 * r + 3, np.int32)
    info = np.empty(1, np.int32)
    syevd((V, L, r, basis, r, values, work, work.size, more, more.size, info))
    total = 0.0
    for i in range(r):
        if values[i] < 0:
            values[i] = 0.0
        roots[i] = np.sqrt(values[i])
        total += roots[i]
    return total if info[0] == 0 else -1.0


def _eigenbasis(generator, tolerance):
    """Eigenvalues, sum of their roots and eigenvectors, in rows, of ``generator @ generator.T``.

    By the SVD where that is too coarse.
    """
    r = len(generator)
    basis, values, roots = np.empty((r, r)), np.empty(r), np.empty(r)
    total = _spectrum(generator, basis, values, roots)
    if total == -1:
        raise np.linalg.LinAlgError("an eigendecomposition did not converge")
    if not gram_error(roots) > tolerance * total:
        return values, total, basis
    basis, roots, _, _ = left_vectors(generator.T.copy())
    return roots[::-1] ** 2, float(roots.sum()), basis[::-1].copy()


@kernel
def _turn(updates, basis, steps, outside):
    """Write updates, the last first, in the eigenbasis to ``steps``; what is beyond, squared.

    Returns the sum of the squared steps.
    """
    m, width = updates.shape
    r = basis.shape[0]
    turned = np.empty((m, r))
    gemm((T, N, r, m, r, 1.0, basis, r, updates, width, 0.0, turned, r))
    inside = 0.0
    for i in range(m):
        at = m - 1 - i
        for j in range(r):
            steps[i, j] = turned[at, j]
            inside += turned[at, j] * turned[at, j]
        total = 0.0
        for j in range(r, width):
            total += updates[at, j] * updates[at, j]
        outside[i] = total
    return inside


def _descend(counts, updates, generator, square, tolerance, nuclear, squares):
    """Values of one block, from its last count, that of the generator, down."""
    rank = generator.shape[0]
    values, total, basis = _eigenbasis(generator, tolerance)
    grown = np.empty((2, len(updates) + 1))
    grown[:, 0] = total, square
    steps = np.empty((len(updates), rank))
    inside = _turn(updates, basis, steps, grown[1, 1:])
    low, high = float(values[0]), float(values[-1])
    _add_increments(values, low, high + inside, steps, grown[0, 1:])
    nuclear[:], squares[:] = grown.cumsum(axis=1)[:, counts[-1] - counts]


def dense_path(r, rows, counts, f, y, longest, tolerance, nuclear, squares):
    """As ``linear_path.tall_path``, for counts that follow each other closely.

    The counts are cut into blocks. The last count of a block has its Gram matrix diagonalised; down
    from it the matrix grows by one positive rank-one update per row, see ``root_increments``. Going
    up in k would subtract and lose digits below the peak.

    Parameters
    ----------
    r, rows, counts, f, y, nuclear, squares
        See ``linear_path.tall_path``; all float64.
    longest : int
        Rows between the first and the last count of a block.
    tolerance : float
        Relative error of a sum of square roots beyond which the SVD is taken.
    """
    size = np.abs(f).max()
    scaled = f / size if size > 0 else f
    both = np.concatenate((scaled, y))
    span = counts[-1] - counts[0]
    even = span // (1 + span // (longest + 1))
    inverse = np.empty(r.shape)
    upper_inverse(r, inverse)
    done = first = 0
    while first < counts.size:
        stop = int(np.searchsorted(counts, counts[first] + even, side="right"))
        if counts[first] > done + (first > 0):  # one row costs less as an update of the block
            absorb_rows(r, rows[done : counts[first]])
            upper_inverse(r, inverse)
            done = int(counts[first])
        start = done
        end = int(counts[stop - 1])
        updates = np.empty((end - start, len(both)))
        while done < end:
            taken = _downdates(inverse, rows[done:end], both, updates[done - start :])
            if taken == 0:
                raise np.linalg.LinAlgError("a capacitance matrix is not positive definite")
            absorb_rows(r, rows[done : done + taken])
            upper_inverse(r, inverse)
            done += taken
        generator = np.dot(scaled, inverse)
        images = np.dot(y, inverse)
        block = slice(first, stop)
        out = nuclear[block], squares[block]
        _descend(counts[block], updates, generator, np.vdot(images, images), tolerance, *out)
        first = stop
    nuclear *= size
