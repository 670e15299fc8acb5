"""Shares the blocks of a mixture normalization out among threads; small ones take plain arrays.

Arrays are NumPy: ``x`` and gradients (B, C, P) of float32 or float64, C-contiguous, posteriors
(B, K, P) of the same dtype; means, variances and coefficients (K, C) of any float dtype. K is
padded to the kernels' multiple here, so posteriors come back with more rows than components.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from . import compiling

# Numbers of x, times components, up to which plain arrays take less than all else in a layer does.
_PLAIN = 1 << 14
# The kernels' own: posteriors below exp of this are zero.
_NEGLIGIBLE = -60.0
# Numbers of x a thread takes at a time. The cut does not depend on the number of threads, so that
# sums do not either.
_SHARE = 1 << 18


def _kernels():
    from ..kernels.cpu import mixture_norm

    return mixture_norm


def _run(work: Callable[[int, int], Any], shape: tuple[int, int, int], n_threads: int) -> list[Any]:
    """Return ``work(first, last)`` of consecutive spans of blocks, in order."""
    batch, channels, positions = shape
    tile = _kernels().TILE
    n_blocks = batch * -(-positions // tile)
    step = max(1, _SHARE // (channels * min(positions, tile) or 1))
    spans = [(first, min(first + step, n_blocks)) for first in range(0, n_blocks, step)]
    if n_threads == 1 or len(spans) < 2:
        return [work(*span) for span in spans]
    results: list[Any] = [None] * len(spans)
    left = iter(range(len(spans)))

    def take():
        for i in left:  # each number goes to one thread
            results[i] = work(*spans[i])

    # The caller takes its part, and threads live for one call: a pool kept alive would cost more
    # to wake up, and hang in a forked process.
    with ThreadPoolExecutor(min(n_threads, len(spans)) - 1) as pool:
        helpers = [pool.submit(take) for _ in range(min(n_threads, len(spans)) - 1)]
        take()
        for helper in helpers:
            helper.result()
    return results


def _small(x: np.ndarray, n_components: int) -> bool:
    return not compiling.worthwhile(x.size * n_components, _PLAIN)


def _gaps(x: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Differences (B, K, C, P) of rows and means."""
    return x[:, None] - means.astype(x.dtype)[:, :, None]


def _shares(x, means, variances, log_weights) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (B, K, P) in plain arrays, and the differences that they are made from."""
    gaps = _gaps(x, means)
    with np.errstate(divide="ignore"):
        constants = log_weights - 0.5 * np.log(variances).sum(axis=1)
        halves = (0.5 / variances).astype(x.dtype)
    constants = (constants - constants.max()).astype(x.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        logits = constants[:, None] - (halves[None, :, None] @ (gaps * gaps))[:, :, 0]
        logits -= logits.max(axis=1, keepdims=True)
        nu = np.where(logits < _NEGLIGIBLE, 0, np.exp(logits)).astype(x.dtype, copy=False)
    return nu / nu.sum(axis=1, keepdims=True), gaps


def _padded(values: np.ndarray, dtype: np.dtype, fill: float = 0.0) -> np.ndarray:
    group = _kernels().GROUP
    rows = -(-len(values) // group) * group
    out = np.full((rows, *values.shape[1:]), fill, dtype)
    out[: len(values)] = values
    return out


def _densities(x, means, variances, log_weights):
    """Arguments of the E-step and an array for its posteriors."""
    with np.errstate(divide="ignore"):
        constants = log_weights - 0.5 * np.log(variances).sum(axis=1)
        constants = _padded(constants - constants.max(), x.dtype, -np.inf)
        halves = _padded(0.5 / variances, x.dtype)
    nu = np.empty((x.shape[0], len(constants), x.shape[2]), x.dtype)
    return _padded(means, x.dtype), halves, constants, nu


def posteriors(x, means, variances, log_weights, n_threads=1) -> np.ndarray:
    """Return posteriors (B, K, P) of a diagonal Gaussian mixture, 0 in the rows of the padding."""
    if _small(x, len(means)):
        return _shares(x, means, variances, log_weights)[0]
    args = _densities(x, means, variances, log_weights)
    _run(lambda first, last: _kernels().posteriors(x, *args, first, last), x.shape, n_threads)
    return args[-1]


def em_sums(x, means, variances, log_weights, n_threads=1):
    """Return posteriors and their sums.

    Returns
    -------
    nu : array (B, K, P)
    counts : float64 array (2, K)
        Sums of nu and of nu^2.
    sums : float64 array (2, K, C)
        Sums of nu (x - m) and of nu (x - m)^2, m being ``means`` rounded to the dtype of ``x``.
    """
    if _small(x, len(means)):
        nu, gaps = _shares(x, means, variances, log_weights)
        wide, gaps = nu.astype(np.float64), gaps.astype(np.float64)
        counts = np.stack([wide.sum((0, 2)), (wide * wide).sum((0, 2))])
        sums = (
            (gaps @ wide[..., None])[..., 0].sum(0),
            (gaps * gaps @ wide[..., None])[..., 0].sum(0),
        )
        return nu, counts, np.stack(sums)
    args = _densities(x, means, variances, log_weights)
    rows = len(args[0])

    def work(first, last):
        counts, sums = np.zeros((2, rows)), np.zeros((2, x.shape[1], rows))
        _kernels().em_sums(x, *args, counts, sums, first, last)
        return counts, sums

    parts = _run(work, x.shape, n_threads)
    counts = np.sum([part[0] for part in parts], axis=0)[:, : len(means)]
    sums = np.sum([part[1] for part in parts], axis=0)
    return args[-1], counts, np.moveaxis(sums, 2, 1)[:, : len(means)]


def transform(x, nu, means, scales, bias, out, n_threads=1) -> None:
    """Write sum_k nu_k (x - m_k) scale_k + bias to ``out``."""
    if _small(x, len(means)):
        gaps = _gaps(x, means)
        gaps *= scales.astype(x.dtype)[:, :, None]
        gaps *= nu[:, : len(means), None]
        np.add(gaps.sum(axis=1), bias.astype(x.dtype)[:, None], out=out)
        return
    args = (x, nu, *(_padded(v, x.dtype) for v in (means, scales)), bias.astype(x.dtype), out)
    _run(lambda first, last: _kernels().transform(*args, first, last), x.shape, n_threads)


def gradient_sums(x, gradient, nu, means, n_threads=1) -> np.ndarray:
    """Return the sums (2, K, C) of nu g and of nu g (x - m)."""
    if _small(x, len(means)):
        slopes = (nu[:, : len(means), None] * gradient[:, None]).astype(np.float64)
        plain = slopes.sum((0, 3))
        slopes *= _gaps(x, means)
        return np.stack([plain, slopes.sum((0, 3))])
    args = (x, gradient, nu, _padded(means, x.dtype))

    def work(first, last):
        sums = np.zeros((2, x.shape[1], nu.shape[1]))
        _kernels().gradient_sums(*args, sums, first, last)
        return sums

    sums = np.sum(_run(work, x.shape, n_threads), axis=0)
    return np.moveaxis(sums, 2, 1)[:, : len(means)]


def input_gradient(x, gradient, nu, means, scales, offsets, slopes, out, n_threads=1) -> None:
    """Write sum_k nu_k (scale_k g - offset_k - slope_k (x - m_k)) to ``out``."""
    if _small(x, len(means)):
        scales, offsets, slopes = (v.astype(x.dtype)[:, :, None] for v in (scales, offsets, slopes))
        parts = scales * gradient[:, None] - offsets - slopes * _gaps(x, means)
        parts *= nu[:, : len(means), None]
        parts.sum(axis=1, out=out)
        return
    coefficients = (_padded(v, x.dtype) for v in (means, scales, offsets, slopes))
    args = (x, gradient, nu, *coefficients, out)
    _run(lambda first, last: _kernels().input_gradient(*args, first, last), x.shape, n_threads)
