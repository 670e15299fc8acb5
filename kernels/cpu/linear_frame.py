"""The factorizations that start a path, by LAPACK, which runs without the interpreter lock.

See ``linear_path`` for how the factors are used.
"""

from __future__ import annotations

import numpy as np

from . import blas
from .compilation import kernel
from .fortran import L, N, geqrf, orgqr, tpqrt, trtri

# Columns that LAPACK works on together, and whose reflections are applied together.
_BLOCK, _REFLECTIONS = 64, 32
_EPS = float(np.finfo(np.float64).eps)


@kernel
def _factorize(a, upper, vectors):
    """QR factorization of the transpose of ``a`` (n, m), in place; its factor (k, n) to ``upper``.

    With ``vectors`` the first k = min(m, n) rows of ``a`` become the orthonormal columns.
    """
    n, m = a.shape
    k = upper.shape[0]
    work = np.empty((_BLOCK + 1) * n)
    info = np.empty(1, np.int32)
    # the scalars of the reflections lie behind LAPACK's work
    tau = work[_BLOCK * n :]
    geqrf((m, n, a, m, tau, work, _BLOCK * n, info))
    for j in range(n):
        for i in range(k):
            upper[i, j] = a[j, i] if i <= j else 0.0
    if vectors:
        orgqr((m, k, k, a, m, tau, work, _BLOCK * n, info))


def _orthogonal(a):
    """QR factorization of the transpose of ``a``, which is overwritten; the columns as rows."""
    upper = np.empty((min(a.shape), len(a)))
    if a.size:
        _factorize(a, upper, True)
    return a[: len(upper)], upper


def _triangle(a):
    """Triangular QR factor of the transpose of ``a``, which is overwritten."""
    upper = np.empty((min(a.shape), len(a)))
    if a.size:
        _factorize(a, upper, False)
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


def _square(a):
    """Sum of the squared entries."""
    return float(np.vdot(a, a))


def _tail_sums(values):
    """``values[i:].sum()`` for i = 0 .. len(values)."""
    out = np.zeros(values.size + 1)
    out[:-1] = np.cumsum(values[::-1])[::-1]
    return out


def seen(basis, factor):
    """Measure the truth ``factor.T @ factor`` on an orthonormal basis (d, r).

    Returns its triangular factor there, the variance along each direction and the variance left
    outside (trace of the truth on the complement), all without cancellation.
    """
    if basis.shape[1] == 0:
        return np.zeros((0, 0)), np.zeros(0), _square(factor)
    image = np.dot(basis.T, factor.T)
    energy = np.einsum("ij,ij->i", image, image)
    rest = 0.0
    if basis.shape[1] < basis.shape[0]:
        trace = _square(factor)
        rest = trace - float(energy.sum())
        if rest < 1e-3 * trace:  # the difference would lose digits
            rest = _square(factor - np.dot(image.T, basis.T))
    return _triangle(image), energy, rest


def nested_range(columns, factor, tolerance):
    """Orthonormalise columns (d, p) in their order, up to the first that depends on earlier ones.

    Returns the basis (d, r), the columns in it (r, p), and what ``seen`` returns.
    """
    q, upper = _orthogonal(np.array(columns.T, np.float64, order="C"))
    size = np.abs(upper.diagonal())
    limit = tolerance * size.max() if size.size else 0.0
    dependent = np.flatnonzero(~(size > limit))
    rank = int(dependent[0]) if dependent.size else size.size
    basis = np.ascontiguousarray(q[:rank].T)
    truth, energy, rest = seen(basis, factor)
    return basis, np.ascontiguousarray(upper[:rank]), truth, energy, rest


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
    q, upper = _orthogonal(np.array(z[:p], np.float64, order="C"))
    y = np.dot(q, x.T)
    residual = _tail_sums(np.einsum("ij,ij->i", y, y))
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
    u, s, _ = blas.svd(x / np.sqrt(x.shape[1]))
    rank = int(np.count_nonzero(s > tolerance * s[0])) if s.size else 0
    truth, energy, rest = seen(np.ascontiguousarray(u[:, :rank]), factor)
    return s[:rank].copy(), _tail_sums(s * s), truth, energy, rest


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
