"""The factorizations that start a path, by LAPACK, which runs without the interpreter lock.

See ``linear_path`` for how the factors are used.
"""

from __future__ import annotations

import numpy as np

from . import blas
from .compilation import kernel
from .fortran import L, N, S, T, gemm, geqrf, gesdd, orgqr, tpqrt, trtri

# Columns that LAPACK works on together, and whose reflections are applied together.
_BLOCK, _REFLECTIONS = 64, 32
_EPS = float(np.finfo(np.float64).eps)


@kernel
def _factorize(a, upper, vectors, tolerance):
    """QR factorization of the transpose of ``a`` (n, m), in place; its factor (k, n) to ``upper``.

    With ``vectors`` the first k = min(m, n) rows of ``a`` become the orthonormal columns. Returns
    how many columns come before the first that depends on those before it, up to ``tolerance``.
    """
    n, m = a.shape
    k = upper.shape[0]
    work = np.empty((_BLOCK + 1) * n)
    info = np.empty(1, np.int32)
    # the scalars of the reflections lie behind LAPACK's work
    tau = work[_BLOCK * n :]
    geqrf((m, n, a, m, tau, work, _BLOCK * n, info))
    largest = 0.0
    for i in range(k):
        largest = max(largest, abs(a[i, i]))
    rank = 0
    for i in range(k):
        if rank == i and abs(a[i, i]) > tolerance * largest:
            rank += 1
        for j in range(n):
            upper[i, j] = a[j, i] if i <= j else 0.0
    if vectors:
        orgqr((m, k, k, a, m, tau, work, _BLOCK * n, info))
    return rank


def _orthogonal(a, tolerance=0.0):
    """QR factorization of the transpose of ``a``, which is overwritten.

    Returns the orthonormal columns as rows, the triangular factor, and the rank.
    """
    upper = np.empty((min(a.shape), len(a)))
    rank = _factorize(a, upper, True, tolerance) if a.size else 0
    return a[: len(upper)], upper, rank


def _triangle(a):
    """Triangular QR factor of the transpose of ``a``, which is overwritten."""
    upper = np.empty((min(a.shape), len(a)))
    if a.size:
        _factorize(a, upper, False, 0.0)
    return upper


@kernel
def upper_inverse(upper, inverse):
    """Write the inverse of an upper triangular matrix (n, n), not singular, to ``inverse``."""
    n = upper.shape[0]
    for i in range(n):
        for j in range(n):
            inverse[i, j] = upper[i, j]
    info = np.empty(1, np.int32)
    if n > 0:
        trtri((L, N, n, inverse, n, info))


@kernel
def absorb_rows(r, rows):
    """Renew the triangular QR factor ``r`` (n, n) by more rows (m, n), by blocks of columns."""
    m, n = rows.shape
    if m == 0 or n == 0:
        return
    width = min(_REFLECTIONS, n)
    factor = np.empty((n, n))
    below = np.empty((n, m))
    for j in range(n):
        for i in range(n):
            factor[j, i] = r[i, j]
        for i in range(m):
            below[j, i] = rows[i, j]
    work = np.empty((2 * n, width))
    info = np.empty(1, np.int32)
    tpqrt((m, n, 0, width, factor, n, below, m, work[n:], width, work, info))
    for i in range(n):
        for j in range(i, n):
            r[i, j] = factor[j, i]


@kernel
def _svd(a, left, s, beyond, tolerance):
    """Left singular vectors (k, m), in rows, and singular values of the transpose of ``a`` (n, m).

    ``a`` is overwritten. Sums of squares beyond each value go to ``beyond``. Returns how many
    values are above ``tolerance`` times the first, or -1 where LAPACK failed.
    """
    n, m = a.shape
    k = s.size
    right = np.empty((n, k))
    work = np.empty(5 * k * k + _BLOCK * (m + n + 4))
    more = np.empty(8 * k, np.int32)
    info = np.empty(1, np.int32)
    gesdd((S, m, n, a, m, s, left, m, right, k, work, work.size, more, info))
    beyond[k] = 0.0
    rank = 0
    for i in range(k - 1, -1, -1):
        beyond[i] = beyond[i + 1] + s[i] * s[i]
        if s[i] > tolerance * s[0]:
            rank += 1
    return rank if info[0] == 0 else -1


def left_vectors(a, tolerance=0.0):
    """Left singular vectors (k, m), in rows, of the transpose of an array that is overwritten.

    Returns them, the singular values, the sums of squares beyond each, and how many are above
    ``tolerance`` times the first.
    """
    n, m = a.shape
    k = min(m, n)
    left, s, beyond = np.empty((k, m)), np.empty(k), np.zeros(k + 1)
    rank = _svd(a, left, s, beyond, tolerance) if k else 0
    if rank < 0:
        raise np.linalg.LinAlgError("a singular value decomposition did not converge")
    return left, s, beyond, rank


def _square(a):
    """Sum of the squared entries."""
    return float(np.vdot(a, a))


@kernel
def _tail_squares(a, out):
    """Sum the squared entries of the rows i, i + 1, .. of ``a`` for i = 0 .. len(a)."""
    n, d = a.shape
    out[n] = 0.0
    for i in range(n - 1, -1, -1):
        total = out[i + 1]
        for j in range(d):
            total += a[i, j] * a[i, j]
        out[i] = total


@kernel
def _measure(rows, factor, image, truth, energy):
    """Write the factor on orthonormal rows (r, d), its triangle and energies; return their sum."""
    r, d = rows.shape
    q = factor.shape[0]
    gemm((T, N, q, r, d, 1.0, factor, d, rows, d, 0.0, image, q))
    factored = np.empty((r, q))
    inside = 0.0
    for i in range(r):
        total = 0.0
        for j in range(q):
            factored[i, j] = image[i, j]
            total += image[i, j] * image[i, j]
        energy[i] = total
        inside += total
    work = np.empty((_BLOCK + 1) * r)
    info = np.empty(1, np.int32)
    geqrf((q, r, factored, q, work[_BLOCK * r :], work, _BLOCK * r, info))
    for i in range(truth.shape[0]):
        for j in range(r):
            truth[i, j] = factored[j, i] if i <= j else 0.0
    return inside


def _seen(rows, factor):
    """As ``seen``, of orthonormal rows (r, d)."""
    r, d = rows.shape
    q = len(factor)
    image, truth, energy = np.empty((r, q)), np.empty((min(q, r), r)), np.empty(r)
    inside = _measure(rows, np.ascontiguousarray(factor), image, truth, energy) if r else 0.0
    rest = 0.0
    if r < d:
        trace = _square(factor)
        rest = trace - inside
        if rest < 1e-3 * trace:  # the difference would lose digits
            rest = _square(factor - np.dot(image.T, rows))
    return truth, energy, rest


def seen(basis, factor):
    """Measure the truth ``factor.T @ factor`` on an orthonormal basis (d, r).

    Returns its triangular factor there, the variance along each direction and the variance left
    outside (trace of the truth on the complement), all without cancellation.
    """
    return _seen(np.ascontiguousarray(basis.T), factor)


def nested_range(columns, factor, tolerance):
    """Orthonormalize columns (d, p) in their order, up to the first that depends on earlier ones.

    Returns the basis (d, r), the columns in it (r, p), and what ``seen`` returns.
    """
    q, upper, rank = _orthogonal(np.array(columns.T, np.float64, order="C"), tolerance)
    return np.ascontiguousarray(q[:rank].T), upper[:rank], *_seen(q[:rank], factor)


def pairs_frame(x, z, factor, tolerance):
    """Everything the pair problems share.

    Parameters
    ----------
    x : array (d, n)
        Paired data.
    z : array (K, n)
        Their pseudo-latents, nested over k.
    factor : array (q, d)
        ``factor.T @ factor`` is the truth.
    tolerance : float
        Relative size below which a direction counts as dependent.

    Returns
    -------
    inverse : array (p, p)
        Of the lower triangular factor in ``z[:p] = lower @ q.T``, p = min(K, n).
    square : array (p, p)
        Triangular QR factor of ``z[:p] @ q``.
    rows : array (K - p, p)
        ``z[p:] @ q``.
    residual : array (p + 1,)
        ``||x (I - Q_k Q_k^T)||^2`` for k = 0 .. p.
    basis, coordinates, truth, energy, rest
        :func:`nested_range` of ``x @ q``.
    """
    n = z.shape[1]
    p = min(z.shape[0], n)
    q, upper, _ = _orthogonal(np.array(z[:p], np.float64, order="C"))
    y = np.dot(q, x.T)
    residual = np.empty(p + 1)
    _tail_squares(y, residual)
    if p < n:
        residual += _square(x - np.dot(y.T, q))
    basis, coordinates, truth, energy, rest = nested_range(y.T, factor, tolerance)
    rows = np.dot(z[p:], q.T)
    inverse = np.empty((p, p))
    upper_inverse(upper, inverse)
    inverse = np.ascontiguousarray(inverse.T)
    square = _triangle(upper)
    return inverse, square, rows, residual, basis, coordinates, truth, energy, rest


def principal_frame(x, factor, tolerance):
    """Principal axes of data x (d, n) of known zero mean.

    Returns the standard deviations along the axes (those above ``tolerance`` times the first), the
    sum of all variances beyond each k = 0, 1, .., and what ``seen`` returns of the axes.
    """
    a = np.divide(x.T, np.sqrt(x.shape[1]), order="C")
    left, s, beyond, rank = left_vectors(a, tolerance)
    return s[:rank].copy(), beyond, *_seen(left[:rank], factor)


def symmetric_eigenvalues(a):
    """Ascending eigenvalues of a symmetric matrix; unlike NumPy's, never under the lock."""
    return blas.eigenvalues(a)


@kernel
def gram_error(roots):
    """Error of the sum of the roots (ascending) of computed eigenvalues of a Gram matrix.

    An eigenvalue is wrong by about eps times the largest one, its root by that over twice the root.
    Errors of either sign add up in squares; those of eigenvalues that are all error, in full.
    """
    noise = 4 * _EPS * roots[roots.size - 1] * roots[roots.size - 1]
    if noise == 0:
        return 0.0
    floor = np.sqrt(noise)
    lost = 0
    spread = 0.0
    for i in range(roots.size):
        x = roots[i]
        if x < floor:
            lost += 1
        else:
            spread += 0.25 / (x * x)
    return lost * floor + noise * np.sqrt(spread)
