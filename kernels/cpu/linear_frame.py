"""The factorizations that start a path, by LAPACK, which runs without the interpreter lock.

See ``linear_path`` for how the factors are used.
"""

from __future__ import annotations

import numpy as np

from . import blas

_EPS = float(np.finfo(np.float64).eps)


def _tail_sums(values):
    """``values[i:].sum()`` for i = 0 .. len(values)."""
    out = np.zeros(values.size + 1)
    out[:-1] = np.cumsum(values[::-1])[::-1]
    return out


def _column_squares(a):
    return np.einsum("ij,ij->j", a, a)


def seen(basis, factor):
    """Measure the truth ``factor.T @ factor`` on an orthonormal basis (d, r).

    Returns its triangular factor there, the variance along each direction and the variance left
    outside (trace of the truth on the complement), all without cancellation.
    """
    if basis.shape[1] == 0:
        return np.zeros((0, 0)), np.zeros(0), float(np.einsum("ij,ij->", factor, factor))
    image = np.dot(factor, basis)
    energy = _column_squares(image)
    rest = 0.0
    if basis.shape[1] < basis.shape[0]:
        trace = float(np.einsum("ij,ij->", factor, factor))
        rest = trace - float(energy.sum())
        if rest < 1e-3 * trace:  # the difference would lose digits
            outside = factor - np.dot(image, basis.T)
            rest = float(np.einsum("ij,ij->", outside, outside))
    return blas.triangle(image), energy, rest


def nested_range(columns, factor, tolerance):
    """Orthonormalise columns (d, p) in their order, up to the first that depends on earlier ones.

    Returns the basis (d, r), the columns in it (r, p), and what ``seen`` returns.
    """
    q, upper = blas.qr(columns)
    size = np.abs(np.diag(upper))
    limit = tolerance * size.max() if size.size else 0.0
    dependent = np.flatnonzero(~(size > limit))
    rank = int(dependent[0]) if dependent.size else size.size
    basis = np.ascontiguousarray(q[:, :rank])
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
    q, upper = blas.qr(z[:p].T)
    lower = np.ascontiguousarray(upper.T)
    y = np.dot(x, q)
    residual = _tail_sums(_column_squares(y))
    if p < n:
        outside = x - np.dot(y, q.T)
        residual += np.einsum("ij,ij->", outside, outside)
    basis, coordinates, truth, energy, rest = nested_range(y, factor, tolerance)
    square = blas.triangle(lower)
    rows = np.dot(z[p:], q)
    inverse = blas.lower_inverse(lower)
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
    return blas.eigh(a, vectors=False)[0]


def gram_error(roots):
    """Error of the sum of the roots (ascending) of computed eigenvalues of a Gram matrix.

    An eigenvalue is wrong by about eps times the largest one, its root by that over twice the root.
    Errors of either sign add up in squares; those of eigenvalues that are all error, in full.
    """
    noise = 4 * _EPS * roots[-1] ** 2
    if noise == 0:
        return 0.0
    floor = np.sqrt(noise)
    kept = roots[roots >= floor]
    spread = 0.25 * np.sum(1 / np.square(kept))
    return (len(roots) - len(kept)) * floor + noise * np.sqrt(spread)
