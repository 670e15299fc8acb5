"""Mixture normalization: EM steps, the transform and its gradient, blocks of positions at a time.

Vectors are columns of x (B, C, P): C channels at each of B * P positions, as a convolution leaves
them. A block is up to ``TILE`` neighbouring positions of one image; inner loops run along it, and
what is read twice is read from the cache. Blocks are numbered image by image; every function works
on blocks ``first`` to ``last`` and adds its sums to float64 arrays of its own, so that callers can
share blocks out among threads.

Everything is a sum over components with the posteriors as weights: with scale_kc for
weight_c / (sqrt(lambda_k) s_kc), the transform is sum_k nu_k (x - m_k) scale_k + bias, and its
gradient sum_k nu_k (scale_k g - offset_k - slope_k (x - m_k)). Three components share each load of
x: arrays with a component axis are padded to a multiple of ``GROUP``, with log constants of minus
infinity and zeros elsewhere.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel

TILE = 128
GROUP = 3
_CHANNELS = 4  # a distance is updated by so many channels at a time
# Posteriors below exp of this are set to zero: products with them would be subnormal, and slow.
_NEGLIGIBLE = -60.0
_REASSOCIATE = {"reassoc", "contract", "nsz"}  # sums in lanes; NaN and infinity stay as they are


@kernel(no_cpython_wrapper=True)
def _span(block, n_positions):
    """Image and range of positions of a block."""
    per_image = (n_positions + TILE - 1) // TILE
    start = (block % per_image) * TILE
    return block // per_image, start, min(start + TILE, n_positions)


@kernel(no_cpython_wrapper=True, fastmath=_REASSOCIATE)
def _subtract_squares(x0, x1, x2, x3, m0, m1, m2, m3, h0, h1, h2, h3, out):
    for i in range(out.size):
        d0, d1, d2, d3 = x0[i] - m0, x1[i] - m1, x2[i] - m2, x3[i] - m3
        out[i] -= d0 * d0 * h0 + d1 * d1 * h1 + d2 * d2 * h2 + d3 * d3 * h3


@kernel(no_cpython_wrapper=True, fastmath=_REASSOCIATE)
def _subtract_square(x, mean, half_precision, out):
    for i in range(out.size):
        difference = x[i] - mean
        out[i] -= difference * difference * half_precision


@kernel(no_cpython_wrapper=True, fastmath=_REASSOCIATE)
def _normalize(logits):
    """Overwrite log joint densities (K, size) with posteriors."""
    n_components, size = logits.shape
    for i in range(size):
        top = logits[0, i]
        for k in range(1, n_components):
            top = max(top, logits[k, i])
        total = top * 0
        for k in range(n_components):
            below = logits[k, i] - top
            logits[k, i] = 0 if below < _NEGLIGIBLE else np.exp(below)
            total += logits[k, i]
        for k in range(n_components):
            logits[k, i] /= total


@kernel(no_cpython_wrapper=True)
def _block_posteriors(x, b, start, stop, means, half_precisions, constants, nu):
    n_channels = x.shape[1]
    whole = n_channels - n_channels % _CHANNELS
    for k in range(len(means)):
        row, m, h = nu[b, k, start:stop], means[k], half_precisions[k]
        row[:] = constants[k]
        if constants[k] == -np.inf:
            continue
        for c in range(0, whole, _CHANNELS):
            _subtract_squares(
                x[b, c, start:stop], x[b, c + 1, start:stop],
                x[b, c + 2, start:stop], x[b, c + 3, start:stop],
                m[c], m[c + 1], m[c + 2], m[c + 3], h[c], h[c + 1], h[c + 2], h[c + 3], row,
            )  # fmt: skip
        for c in range(whole, n_channels):
            _subtract_square(x[b, c, start:stop], m[c], h[c], row)
    _normalize(nu[b, :, start:stop])


@kernel(no_cpython_wrapper=True, fastmath=_REASSOCIATE)
def _count(nu):
    total = nu[0] * 0
    squares = total
    for i in range(nu.size):
        total += nu[i]
        squares += nu[i] * nu[i]
    return total, squares


@kernel(no_cpython_wrapper=True, fastmath=_REASSOCIATE)
def _moments(x, n0, n1, n2, m0, m1, m2):
    zero = n0[0] * 0
    a0, a1, a2, b0, b1, b2 = zero, zero, zero, zero, zero, zero
    for i in range(x.size):
        d0, d1, d2 = x[i] - m0, x[i] - m1, x[i] - m2
        w0, w1, w2 = n0[i] * d0, n1[i] * d1, n2[i] * d2
        a0 += w0
        a1 += w1
        a2 += w2
        b0 += w0 * d0
        b1 += w1 * d1
        b2 += w2 * d2
    return a0, a1, a2, b0, b1, b2


@kernel
def posteriors(x, means, half_precisions, constants, nu, first, last):
    """Write the posteriors nu (B, K, P) of some blocks.

    ``constants`` (K,) are log weights plus log normalisations, ``half_precisions`` (K, C) one half
    over the variances.
    """
    for block in range(first, last):
        b, start, stop = _span(block, x.shape[2])
        _block_posteriors(x, b, start, stop, means, half_precisions, constants, nu)


@kernel
def em_sums(x, means, half_precisions, constants, nu, counts, sums, first, last):
    """Write the posteriors of some blocks and add up their moments about ``means``.

    ``counts`` (2, K) receives sums of nu and nu^2, ``sums`` (2, C, K) of nu (x - m) and
    nu (x - m)^2.
    """
    for block in range(first, last):
        b, start, stop = _span(block, x.shape[2])
        _block_posteriors(x, b, start, stop, means, half_precisions, constants, nu)
        for k in range(len(means)):
            total, squares = _count(nu[b, k, start:stop])
            counts[0, k] += total
            counts[1, k] += squares
        for k in range(0, len(means), GROUP):
            n0, n1, n2 = nu[b, k, start:stop], nu[b, k + 1, start:stop], nu[b, k + 2, start:stop]
            for c in range(x.shape[1]):
                a0, a1, a2, b0, b1, b2 = _moments(
                    x[b, c, start:stop], n0, n1, n2, means[k, c], means[k + 1, c], means[k + 2, c]
                )
                sums[0, c, k] += a0
                sums[0, c, k + 1] += a1
                sums[0, c, k + 2] += a2
                sums[1, c, k] += b0
                sums[1, c, k + 1] += b1
                sums[1, c, k + 2] += b2


@kernel(no_cpython_wrapper=True, fastmath=_REASSOCIATE)
def _add_scaled(x, n0, n1, n2, m0, m1, m2, s0, s1, s2, out):
    for i in range(x.size):
        out[i] += (
            n0[i] * (s0 * (x[i] - m0)) + n1[i] * (s1 * (x[i] - m1)) + n2[i] * (s2 * (x[i] - m2))
        )


@kernel
def transform(x, nu, means, scales, bias, out, first, last):
    """Write sum_k nu_k (x - m_k) scale_k + bias of some blocks to ``out`` (B, C, P)."""
    for block in range(first, last):
        b, start, stop = _span(block, x.shape[2])
        for c in range(x.shape[1]):
            row = out[b, c, start:stop]
            row[:] = bias[c]
            for k in range(0, len(means), GROUP):
                _add_scaled(
                    x[b, c, start:stop],
                    nu[b, k, start:stop], nu[b, k + 1, start:stop], nu[b, k + 2, start:stop],
                    means[k, c], means[k + 1, c], means[k + 2, c],
                    scales[k, c], scales[k + 1, c], scales[k + 2, c], row,
                )  # fmt: skip


@kernel(no_cpython_wrapper=True, fastmath=_REASSOCIATE)
def _products(x, g, n0, n1, n2, m0, m1, m2):
    zero = n0[0] * 0
    a0, a1, a2, b0, b1, b2 = zero, zero, zero, zero, zero, zero
    for i in range(x.size):
        w0, w1, w2 = n0[i] * g[i], n1[i] * g[i], n2[i] * g[i]
        a0 += w0
        a1 += w1
        a2 += w2
        b0 += w0 * (x[i] - m0)
        b1 += w1 * (x[i] - m1)
        b2 += w2 * (x[i] - m2)
    return a0, a1, a2, b0, b1, b2


@kernel
def gradient_sums(x, gradient, nu, means, sums, first, last):
    """Add sums of nu g and nu g (x - m) over some blocks to ``sums`` (2, C, K)."""
    for block in range(first, last):
        b, start, stop = _span(block, x.shape[2])
        for k in range(0, len(means), GROUP):
            n0, n1, n2 = nu[b, k, start:stop], nu[b, k + 1, start:stop], nu[b, k + 2, start:stop]
            for c in range(x.shape[1]):
                a0, a1, a2, b0, b1, b2 = _products(
                    x[b, c, start:stop], gradient[b, c, start:stop], n0, n1, n2,
                    means[k, c], means[k + 1, c], means[k + 2, c],
                )  # fmt: skip
                sums[0, c, k] += a0
                sums[0, c, k + 1] += a1
                sums[0, c, k + 2] += a2
                sums[1, c, k] += b0
                sums[1, c, k + 1] += b1
                sums[1, c, k + 2] += b2


@kernel(no_cpython_wrapper=True, fastmath=_REASSOCIATE)
def _add_gradient(x, g, n0, n1, n2, m0, m1, m2, s0, s1, s2, e0, e1, e2, f0, f1, f2, out):
    for i in range(x.size):
        out[i] += (
            n0[i] * (s0 * g[i] - e0 - f0 * (x[i] - m0))
            + n1[i] * (s1 * g[i] - e1 - f1 * (x[i] - m1))
            + n2[i] * (s2 * g[i] - e2 - f2 * (x[i] - m2))
        )


@kernel
def input_gradient(x, gradient, nu, means, scales, offsets, slopes, out, first, last):
    """Write sum_k nu_k (scale_k g - offset_k - slope_k (x - m_k)) of some blocks to ``out``."""
    for block in range(first, last):
        b, start, stop = _span(block, x.shape[2])
        for c in range(x.shape[1]):
            row = out[b, c, start:stop]
            row[:] = 0
            for k in range(0, len(means), GROUP):
                _add_gradient(
                    x[b, c, start:stop], gradient[b, c, start:stop],
                    nu[b, k, start:stop], nu[b, k + 1, start:stop], nu[b, k + 2, start:stop],
                    means[k, c], means[k + 1, c], means[k + 2, c],
                    scales[k, c], scales[k + 1, c], scales[k + 2, c],
                    offsets[k, c], offsets[k + 1, c], offsets[k + 2, c],
                    slopes[k, c], slopes[k + 1, c], slopes[k + 2, c], row,
                )  # fmt: skip
