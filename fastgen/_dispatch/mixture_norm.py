"""Shares the blocks of a mixture normalization out among threads.

Arrays are NumPy: ``x`` and gradients (B, C, P) of float32 or float64, C-contiguous, posteriors
(B, K, P) of the same dtype; means, variances and coefficients (K, C) of any float dtype. K is
padded to the kernels' multiple here, so posteriors come back with more rows than components.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

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
    args = (x, nu, *(_padded(v, x.dtype) for v in (means, scales)), bias.astype(x.dtype), out)
    _run(lambda first, last: _kernels().transform(*args, first, last), x.shape, n_threads)


def gradient_sums(x, gradient, nu, means, n_threads=1) -> np.ndarray:
    """Return the sums (2, K, C) of nu g and of nu g (x - m)."""
    args = (x, gradient, nu, _padded(means, x.dtype))

    def work(first, last):
        sums = np.zeros((2, x.shape[1], nu.shape[1]))
        _kernels().gradient_sums(*args, sums, first, last)
        return sums

    sums = np.sum(_run(work, x.shape, n_threads), axis=0)
    return np.moveaxis(sums, 2, 1)[:, : len(means)]


def input_gradient(x, gradient, nu, means, scales, offsets, slopes, out, n_threads=1) -> None:
    """Write sum_k nu_k (scale_k g - offset_k - slope_k (x - m_k)) to ``out``."""
    coefficients = (_padded(v, x.dtype) for v in (means, scales, offsets, slopes))
    args = (x, gradient, nu, *coefficients, out)
    _run(lambda first, last: _kernels().input_gradient(*args, first, last), x.shape, n_threads)
