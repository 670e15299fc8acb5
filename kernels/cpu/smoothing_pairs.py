"""Kernel density sums of nonparametric mixtures between all points of a block.

Four points at a time meet strips of the points after them; each kernel value serves both points.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel
from .simd import LANES, load, splat, store

# Kernels beyond this many bandwidths are below exp(-544); densities are wanted down to exp(-500).
FAR = 33.0
_SHIFT = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the rounded number in the low bits
_LOG2E = 1.4426950408889634
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
# Pairs are worked on in strips of four points by this many others.
_ROWS = 4
_CHUNK = 256


@kernel(no_cpython_wrapper=True)
def _exponentials(size, values, bits, powers, power_bits):
    """Overwrite ``values[:size]``, between -700 and 0, with exponentials, to 2 ulp.

    Cody and Waite's reduction to r with 2|r| < log 2, then a Taylor polynomial. The multiple of
    log 2 goes into the exponent as an integer. ``bits`` and ``power_bits`` are ``values`` and
    ``powers`` seen as int64; ``size`` is a multiple of eight.
    """
    shift = splat(values, _SHIFT)
    log2e, high, low = splat(values, _LOG2E), splat(values, _LN2_HIGH), splat(values, _LN2_LOW)
    for i in range(0, size, LANES):
        x = load(values, i)
        k = x * log2e + shift
        store(powers, i, k)
        k = k - shift
        r = (x - k * high) - k * low
        p = splat(values, 1 / 479001600)
        p = p * r + splat(values, 1 / 39916800)
        p = p * r + splat(values, 1 / 3628800)
        p = p * r + splat(values, 1 / 362880)
        p = p * r + splat(values, 1 / 40320)
        p = p * r + splat(values, 1 / 5040)
        p = p * r + splat(values, 1 / 720)
        p = p * r + splat(values, 1 / 120)
        p = p * r + splat(values, 1 / 24)
        p = p * r + splat(values, 1 / 6)
        p = p * r + splat(values, 0.5)
        p = p * r + splat(values, 1.0)
        store(values, i, p * r + splat(values, 1.0))
    for i in range(size):
        bits[i] += power_bits[i] << 52


@kernel(no_cpython_wrapper=True)
def _strip(points, u, first, last, width, kernel, bits, powers, power_bits):
    """Kernels of points u..u+3 with points first..last-1, in rows filled up with zeros."""
    chunk = kernel.size // _ROWS
    size = last - first
    whole = -(-size // LANES) * LANES
    factor = -0.5 / (width * width)
    for row in range(_ROWS):
        part = slice(row * chunk, row * chunk + whole)
        others, exponents = points[first:last], kernel[part]
        for k in range(size):
            t = others[k] - points[u + row]
            half = factor * t * t
            exponents[k] = half if half > -700.0 else -700.0
        exponents[size:] = -700.0
        _exponentials(whole, exponents, bits[part], powers[part], power_bits[part])
        exponents[size:] = 0.0
    return whole


@kernel(no_cpython_wrapper=True)
def _both_sides(kernel, size, u, first, base, weights, sums, lanes):
    """Add the pairs of a strip to the sums of both of their points; ``base`` is a component's."""
    chunk = kernel.size // _ROWS
    w0, w1 = splat(sums, weights[base + u]), splat(sums, weights[base + u + 1])
    w2, w3 = splat(sums, weights[base + u + 2]), splat(sums, weights[base + u + 3])
    zero = splat(sums, 0.0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    for k in range(0, size, LANES):
        at = base + first + k
        w = load(weights, at)
        q0, q1 = load(kernel, k), load(kernel, chunk + k)
        q2, q3 = load(kernel, 2 * chunk + k), load(kernel, 3 * chunk + k)
        s0 = s0 + q0 * w
        s1 = s1 + q1 * w
        s2 = s2 + q2 * w
        s3 = s3 + q3 * w
        x = load(sums, at) + q0 * w0 + q1 * w1
        store(sums, at, x + q2 * w2 + q3 * w3)
    store(lanes, 0, s0)
    store(lanes, LANES, s1)
    store(lanes, 2 * LANES, s2)
    store(lanes, 3 * LANES, s3)
    for row in range(_ROWS):
        for v in range(LANES):
            sums[base + u + row] += lanes[row, v]


@kernel(no_cpython_wrapper=True)
def _within(points, u, rows, width, base, weights, sums):
    """Add the pairs among ``rows`` neighbouring points, each with itself included."""
    for row in range(rows):
        sums[base + u + row] += weights[base + u + row]
        for other in range(row):
            t = (points[u + row] - points[u + other]) / width
            q = np.exp(-0.5 * t * t)
            sums[base + u + row] += q * weights[base + u + other]
            sums[base + u + other] += q * weights[base + u + row]


@kernel
def pair_sums(values, starts, weights, bandwidths, out):
    """Weighted kernel sums at the points themselves, without normalisation.

    Every kernel value is used for both of its points, and for all components of a block whose
    bandwidths are equal. Terms below exp(-544) may be dropped.

    Parameters
    ----------
    values, starts, weights, bandwidths
        As in :func:`grid_sums`, with any positive bandwidths.
    out : array (points, pitch)
        ``sum_u' weights[u', j] exp(-((values[u] - values[u']) / h)^2 / 2)`` over u' of the block.
    """
    n_components = bandwidths.shape[1]
    kernel, powers = np.empty(_ROWS * _CHUNK), np.empty(_ROWS * _CHUNK)
    bits, power_bits = kernel.view(np.int64), powers.view(np.int64)
    lanes = np.empty((_ROWS, LANES))
    out[:] = 0
    for block in range(starts.size - 1):
        start, stop = starts[block], starts[block + 1]
        points, widths = values[start:stop], bandwidths[block]
        pitch = points.size + LANES
        turned, sums = np.zeros(n_components * pitch), np.zeros(n_components * pitch)
        for j in range(n_components):
            for u in range(points.size):
                turned[j * pitch + u] = weights[start + u, j]
        shared = (widths == widths[0]).all()
        for u in range(0, points.size, _ROWS):
            rows = min(_ROWS, points.size - u)
            for j in range(n_components):
                _within(points, u, rows, widths[j], j * pitch, turned, sums)
            if rows < _ROWS:
                break
            for lead in range(1 if shared else n_components):
                end = np.searchsorted(points, points[u + _ROWS - 1] + FAR * widths[lead])
                for first in range(u + _ROWS, end, _CHUNK):
                    last = min(first + _CHUNK, end)
                    size = _strip(
                        points, u, first, last, widths[lead], kernel, bits, powers, power_bits
                    )
                    for j in range(lead, n_components if shared else lead + 1):
                        _both_sides(kernel, size, u, first, j * pitch, turned, sums, lanes)
        for j in range(n_components):
            for u in range(points.size):
                out[start + u, j] = sums[j * pitch + u]
