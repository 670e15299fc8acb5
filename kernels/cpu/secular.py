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

import math

import numpy as np

from . import blas
from .compilation import kernel
from .linear_frame import gram_error
from .simd import LANES, load, splat, store

# Natural logarithm of the inverse of the quadrature's relative error.
_DIGITS = 26.0
# Eigenvalues below this share of the largest count as that: their roots are 1e-13 of the largest.
_FLOOR = 1e-26
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
    low, high = float(low), float(high)
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
        np.dot(products[: a + 1], resolvents, packed[start : start + a + 1])
        start += a + 1
    return packed


@kernel
def _log_pivot(excess, weights, out):
    """Add to out[0] the weighted logarithms of 1 + excess, which it leaves in excess."""
    for v in range(LANES):
        x = excess[v]
        x = 0.0 if x < 0 else x  # rounding; NaN passes
        out[0] += weights[v] * np.log1p(x)
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
    out[:] = 0
    low = eigenvalues.min()
    high = eigenvalues.max()
    high += np.einsum("ij,ij->", updates, updates)
    if high == 0:
        return
    if not np.isfinite(high):
        out[:] = np.nan
        return
    t, weights = axis_nodes(min(max(low, _FLOOR * high), 0.25 * high), high)
    _add_log_pivots(_capacitances(eigenvalues, updates, t), weights / np.pi, out)


def _downdates(inverse, rows, images, out):
    """Vectors u by which the first of ``rows`` in turn shrink a Gram matrix, into rows of out.

    With ``inverse`` that of R, before any row, and A the matrix (s, n) ``images``: ``A inv(R^T R)
    A^T`` loses ``u u^T``. Returns how many rows were taken: what follows a row of large leverage
    would be a difference of large numbers, and waits for the R that has it.
    """
    half = np.dot(rows, inverse)
    traces = np.cumsum(np.einsum("ij,ij->i", half, half))
    taken = max(1, int(np.searchsorted(traces > _LARGEST_TRACE, True)))
    half = half[:taken]
    capacitance = np.dot(half, half.T)
    capacitance.flat[:: taken + 1] += 1
    if not blas.cholesky(capacitance.T):
        raise np.linalg.LinAlgError("a capacitance matrix is not positive definite")
    np.dot(np.dot(half, inverse.T), images.T, out=out[:taken])
    blas.trsm(capacitance.T, out[:taken].T)
    return taken


def _eigenbasis(generator, tolerance):
    """Eigenvalues and eigenvectors of ``generator @ generator.T``; by the SVD if that is coarse."""
    values, basis = blas.eigh(np.dot(generator, generator.T))
    values = np.maximum(values, 0.0)
    roots = np.sqrt(values)
    if gram_error(roots) > tolerance * roots.sum():
        basis, roots, _ = blas.svd(generator)
        values = roots * roots
    return values, roots.sum(), basis


def _descend(counts, updates, generator, square, tolerance, nuclear, squares):
    """Values of one block, from its last count, that of the generator, down."""
    rank = generator.shape[0]
    values, total, basis = _eigenbasis(generator, tolerance)
    increments = np.empty(len(updates))
    backwards = updates[::-1]
    root_increments(values, np.dot(backwards[:, :rank], basis), increments)
    below = counts[-1] - counts  # rows to go down for each
    outside = backwards[:, rank:]
    nuclear[:] = np.concatenate(([total], total + np.cumsum(increments)))[below]
    gained = np.cumsum(np.einsum("ij,ij->i", outside, outside))
    squares[:] = np.concatenate(([square], square + gained))[below]


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
    inverse = blas.upper_inverse(r)
    done = 0
    first = 0
    while first < counts.size:
        stop = int(np.searchsorted(counts, counts[first] + even, side="right"))
        if counts[first] > done:
            blas.absorb_rows(r, rows[done : counts[first]])
            inverse = blas.upper_inverse(r)
        done = counts[first]
        updates = np.empty((counts[stop - 1] - done, len(both)))
        while done < counts[stop - 1]:
            block = rows[done : counts[stop - 1]]
            taken = _downdates(inverse, block, both, updates[done - counts[first] :])
            blas.absorb_rows(r, block[:taken])
            inverse = blas.upper_inverse(r)
            done += taken
        generator = np.dot(scaled, inverse)
        images = np.dot(y, inverse)
        square = np.einsum("ij,ij->", images, images)
        out = nuclear[first:stop], squares[first:stop]
        _descend(counts[first:stop], updates, generator, square, tolerance, out[0], out[1])
        first = stop
    nuclear *= size
