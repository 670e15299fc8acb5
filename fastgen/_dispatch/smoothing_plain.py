"""What ``kernels/cpu/smoothing.py`` does, in plain arrays: for little work.

The cache holds all kernels, dense: for npMSL those of points and grid, a block after the other, in
rows of eight numbers. Without one they are made for each call. Arguments are those of the kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

_LANES = 8
_FAR = 544.0  # kernels below exp(-544) are dropped


def block_weights(posteriors, rows, bounds, out) -> None:
    """Sum the posteriors of equal values."""
    out[:, : posteriors.shape[1]] = np.add.reduceat(posteriors[rows], bounds[:-1], axis=0)
    out[:, posteriors.shape[1] :] = 0


def cache_rows(values, starts, origins, steps, bandwidths, n_grid) -> int:
    """Return the number of rows of eight that hold the kernels of points and grid."""
    return -(-len(values) * n_grid // _LANES)


def fill_cache(values, starts, origins, steps, bandwidths, n_grid, cache) -> None:
    """Write the kernels of points and grid."""
    dense = _dense(cache, len(values), n_grid)
    for block, here in enumerate(_blocks(starts)):
        grid = origins[block] + steps[block] * np.arange(n_grid)
        dense[here] = _kernels(values[here], grid, bandwidths[block, 0])


def grid_sums(values, starts, weights, origins, steps, bandwidths, cache, out) -> None:
    """Weighted kernel sums on the grid of each block, without normalization."""
    out[:] = 0
    given = values, starts, origins, steps, bandwidths, out.shape[1], cache
    for block, here, some, _, shares in _shares(*given):
        out[block][:, some] = shares.T @ np.ascontiguousarray(weights[here, some])


def smoothed_logs(values, starts, logs, origins, steps, bandwidths, cache, out) -> None:
    """Smooth logarithms given on a grid with a Gaussian kernel, at the points."""
    out[:] = 0
    given = values, starts, origins, steps, bandwidths, logs.shape[1], cache
    for block, here, some, width, shares in _shares(*given):
        scale = steps[block] / (width * np.sqrt(2 * np.pi))
        out[here, some] = shares @ np.ascontiguousarray(logs[block][:, some]) * scale


def pair_sums(values, starts, weights, bandwidths, out) -> None:
    """Weighted kernel sums at the points themselves, without normalization."""
    out[:] = 0
    for block, here in enumerate(_blocks(starts)):
        for some, width in _alike(bandwidths[block]):
            out[here, some] = _kernels(values[here], values[here], width) @ np.ascontiguousarray(
                weights[here, some]
            )


def posteriors(logs, index, log_weights, out, rows) -> None:
    """Posterior probabilities of the components, and log densities of the mixture."""
    total = log_weights + logs[index, : out.shape[1]].sum(axis=1)
    peak = total.max(axis=1, keepdims=True)
    np.exp(total - peak, out=out)
    mass = out.sum(axis=1, keepdims=True)
    out /= mass
    rows[:] = peak[:, 0] + np.log(mass[:, 0])


def _shares(
    values, starts, origins, steps, bandwidths, n_grid, cache
) -> Iterator[tuple[int, slice, slice, float, np.ndarray]]:
    """Yield blocks, their points, components of one bandwidth, that, and the kernels (n, grid)."""
    for block, here in enumerate(_blocks(starts)):
        grid = origins[block] + steps[block] * np.arange(n_grid)
        for some, width in _alike(bandwidths[block]):
            if cache.size:
                yield block, here, some, width, _dense(cache, len(values), n_grid)[here]
            else:
                yield block, here, some, width, _kernels(values[here], grid, width)


def _blocks(starts) -> Iterator[slice]:
    return (slice(start, stop) for start, stop in itertools.pairwise(starts))


def _alike(widths) -> Iterator[tuple[slice, float]]:
    """Yield components whose bandwidths are equal together, else one after the other."""
    if (widths == widths[0]).all():
        yield slice(0, len(widths)), widths[0]
        return
    for j, width in enumerate(widths):
        yield slice(j, j + 1), width


def _kernels(points, others, width) -> np.ndarray:
    halves = np.square((points[:, None] - others) / (np.sqrt(2) * width))
    out = np.exp(-np.minimum(halves, _FAR))
    out[halves >= _FAR] = 0  # else products with small weights would be subnormal, and slow
    return out


def _dense(cache, n_points: int, n_grid: int) -> np.ndarray:
    return cache.ravel()[: n_points * n_grid].reshape(n_points, n_grid)
