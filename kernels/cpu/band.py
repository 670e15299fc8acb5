"""Sum of the square roots of eigenvalues of a symmetric matrix, without its eigenvalues.

A tridiagonal form costs a matrix-vector product per column, which memory bounds. A band does not:
``to_band`` is the first stage of a two-stage reduction (Bischof, Lang and Sun, "A framework for
symmetric band reduction", ACM Trans. Math. Softw. 26 (2000)), all of it matrix products. From the
band B,

    tr sqrt(B) = n sqrt(c) + 1/pi int_0^inf log(det(B + t^2) / (c + t^2)^n) dt,

where a node is one band factorization and eight nodes share a vector register. With any c within
the spectrum the integrand is analytic at 0, so that the rule of ``secular.axis_nodes`` converges
geometrically; with the geometric mean of the eigenvalues both terms are positive.
"""

from __future__ import annotations

import numpy as np

from . import blas
from .compilation import kernel
from .secular import axis_nodes
from .simd import LANES, load, splat, store

_EPS = np.finfo(np.float64).eps
# An eigenvalue of a Gram matrix is wrong by so much of the largest one, as in ``gram_error``.
_NOISE = 4 * _EPS
# Natural logarithm of the inverse of the quadrature's relative error.
_DIGITS = 34.0
# Pivots multiplied before a logarithm is taken: of eight, none over- or underflows.
_LOGARITHM = 8


def to_band(a: np.ndarray, width: int) -> np.ndarray:
    """Orthogonally similar band of a symmetric matrix, of which the lower triangle is read.

    Parameters
    ----------
    a : array (n, n), Fortran order
        Overwritten.
    width : int
        Subdiagonals of the band.

    Returns
    -------
    array (n, width + 1)
        Row j holds entries (j + i, j), zero beyond the matrix.
    """
    n = len(a)
    store_v = np.empty((n, 2 * width), order="F")  # A V and V side by side
    store_w = np.empty((n, width), order="F")
    for start in range(0, n - width - 1, width):
        below = start + width
        m = n - below
        k = min(m, width)
        panel = a[below:, start:below]
        t = np.zeros((k, k), order="F")
        blas.geqrt(panel, t)
        both, w = store_v[:m, : 2 * k], store_w[:m, :k]
        y, v = both[:, :k], both[:, k:]
        v[:] = panel[:, :k]
        v[:k] = np.tril(v[:k], -1)
        v.T[range(k), range(k)] = 1.0
        trailing = a[below:, below:]
        blas.symm(trailing, v, y)
        inner = np.empty((k, k), order="F")
        blas.gemm(v, y, inner, transposed=True)
        mix = np.asfortranarray(np.vstack((t, -0.5 * (t.T @ inner @ t))))
        blas.gemm(both, mix, w)
        blas.syr2k(v, w, trailing)
    band = np.zeros((n, width + 1))
    for i in range(min(width + 1, n)):
        band[: n - i, i] = a.diagonal(-i)
    return band


@kernel(no_cpython_wrapper=True)
def _subtract(ring, inverse, here, pair):
    """Take from two columns of the matrix what those before them explain, four at a time."""
    width = inverse.shape[0]
    pitch = ring.shape[1] * LANES
    second = pair.shape[1] * LANES
    for back in range(width, 0, -4):  # before the first column the ring holds zeros
        q0 = (here - back + width) % width
        q1 = (here - back + 1 + width) % width
        q2 = (here - back + 2 + width) % width
        q3 = (here - back + 3 + width) % width
        r0 = q0 * pitch + back * LANES
        r1 = q1 * pitch + (back - 1) * LANES
        r2 = q2 * pitch + (back - 2) * LANES
        r3 = q3 * pitch + (back - 3) * LANES
        d0 = load(inverse, q0 * LANES)
        d1 = load(inverse, q1 * LANES)
        d2 = load(inverse, q2 * LANES)
        d3 = load(inverse, q3 * LANES)
        f0 = load(ring, r0) * d0
        f1 = load(ring, r1) * d1
        f2 = load(ring, r2) * d2
        f3 = load(ring, r3) * d3
        g0 = load(ring, r0 + LANES) * d0
        g1 = load(ring, r1 + LANES) * d1
        g2 = load(ring, r2 + LANES) * d2
        g3 = load(ring, r3 + LANES) * d3
        for i in range(width + 4 - back):
            at = i * LANES
            l0 = load(ring, r0 + at)
            l1 = load(ring, r1 + at)
            l2 = load(ring, r2 + at)
            l3 = load(ring, r3 + at)
            y = load(pair, at) - f0 * l0
            z = load(pair, second + at) - g0 * l0
            y = y - f1 * l1
            z = z - g1 * l1
            y = y - f2 * l2
            z = z - g2 * l2
            store(pair, at, y - f3 * l3)
            store(pair, second + at, z - g3 * l3)


@kernel
def _log_determinants(band, scales, shifts, ring, inverse, pair, product, out):
    """See ``log_determinants``; every array but the first three is scratch or ``out``, all zero.

    Factorization ``L D L^T``, two columns at a time, every one from the ``width`` before it, which
    wait unscaled in a ring; ``width`` is a multiple of four.
    """
    n = band.shape[0]
    width = band.shape[1] - 1
    for v in range(LANES):
        product[v] = 1.0
    scale = load(scales, 0)
    shift = load(shifts, 0)
    one = splat(ring, 1.0)
    for j in range(0, n, 2):
        for c in range(min(2, n - j)):  # rows of both count from j
            for i in range(width + 1):
                at = (c * (width + 2) + c + i) * LANES
                store(pair, at, splat(ring, band[j + c, i]) * scale)
            at = (c * (width + 2) + c) * LANES
            store(pair, at, load(pair, at) + shift)
        _subtract(ring, inverse, j % width, pair)
        for c in range(min(2, n - j)):
            here = (j + c) % width
            start = (c * (width + 2) + c) * LANES
            d = one / load(pair, start)
            store(inverse, here * LANES, d)
            for i in range(width + 1):
                at = here * (width + 5) * LANES + i * LANES
                store(ring, at, load(pair, start + i * LANES))
            if c == 0:
                f = load(pair, LANES) * d
                for i in range(1, width + 1):
                    at = (width + 2 + i) * LANES
                    store(pair, at, load(pair, at) - f * load(pair, i * LANES))
            last = (j + c + 1) % _LOGARITHM == 0 or j + c + 1 == n
            for v in range(LANES):
                x = pair[c, c, v]
                product[v] *= x if x > 0 else np.nan
                if last:
                    out[v] += np.log(product[v])
                    product[v] = 1.0


def log_determinants(band, scales, shifts, out):
    """``log det(scales[v] * B + shifts[v] I)`` for eight v, NaN where not positive definite."""
    width = band.shape[1] - 1
    # beyond the band zeros: four columns are read until the last of them ends
    ring = np.zeros((width, width + 5, LANES))
    inverse, pair = np.zeros((width, LANES)), np.zeros((2, width + 2, LANES))
    out[:] = 0.0
    _log_determinants(band, scales, shifts, ring, inverse, pair, np.empty(LANES), out)


def _largest(band):
    """Bounds on the largest eigenvalue, within a third of each other as a rule."""
    n, height = band.shape
    sizes = np.abs(band)
    rows = sizes.sum(axis=1)
    for i in range(1, min(height, n)):
        rows[i:] += sizes[: n - i, i]
    squares = 2 * np.einsum("ij,ij->", band, band) - np.dot(band[:, 0], band[:, 0])
    high = min(rows.max(), np.sqrt(squares))
    low = sizes[:, 0].max()
    if not 0 < low < high < np.inf:
        return low, high
    scales = np.full(LANES, -1.0)
    shifts = low * (high / low) ** (np.arange(LANES) / LANES)
    found = np.empty(LANES)
    log_determinants(band, scales, shifts, found)
    definite = np.flatnonzero(found == found)
    if definite.size == 0:
        return shifts[-1], high
    v = int(definite[0])
    return shifts[max(v - 1, 0)], shifts[v]


def root_trace(band, noise):
    """Sum of the square roots of the eigenvalues of a band, and a bound of its error.

    Parameters
    ----------
    band : array (n, width + 1)
        From ``to_band``; ``width`` is a multiple of four.
    noise : float
        Eigenvalues may be wrong by so much; at least 4 eps times the largest one is assumed.

    Returns
    -------
    total, error : float
        Both infinite where an eigenvalue may be nothing but noise. Errors of either sign add up in
        squares as in ``linear_frame.gram_error``; ``tr inv(B)``, which that takes, is bounded from
        above by a secant, as ``log det`` is concave.
    """
    if not np.isfinite(band).all():
        return np.inf, np.inf
    high = _largest(band)[1]
    if high == 0:
        return 0.0, 0.0
    noise = max(noise, _NOISE * high)
    # the largest of these shifts that leaves the matrix positive bounds the smallest eigenvalue
    scales = np.ones(LANES)
    shifts = np.zeros(LANES)
    shifts[1:] = -noise * (high / noise) ** (np.arange(LANES - 1) / (LANES - 1))
    found = np.empty(LANES)
    log_determinants(band, scales / high, shifts / high, found)
    if not found[0] - found[1] < np.inf:
        return np.inf, np.inf
    low = noise
    for v in range(2, LANES):
        if found[v] == found[v]:
            low = -shifts[v]
    error = 0.5 * np.sqrt(noise * max(found[0] - found[1], 0.0))
    t, weights = axis_nodes(min(low, 0.5 * high), high, _DIGITS)
    n = band.shape[0]
    center = min(max(high * np.exp(found[0] / n), low), high)
    total = np.pi * n * np.sqrt(center)
    for group in range(0, t.size, LANES):
        square = t[group : group + LANES] ** 2
        log_determinants(band, 1 / (center + square), square / (center + square), found)
        total += np.dot(weights[group : group + LANES], found)
    total = float(total / np.pi)
    return total, float(error + _EPS * total)
