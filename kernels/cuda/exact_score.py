"""Launcher of ``exact_score.cu``: means of a finite set with Gaussian weights on the GPU.

This path has not yet been run on a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _load

if TYPE_CHECKING:
    import cupy

# Entries of the scratch: rows beyond it wait for the next launch.
_ENTRIES = 2**26


def weighted_means(z: cupy.ndarray, points: cupy.ndarray, sigma: cupy.ndarray) -> cupy.ndarray:
    """Means of ``points`` with weights ``exp(-||z - x||^2 / (2 sigma^2))``.

    Parameters
    ----------
    z : float32 or float64 array (B, d)
    points : array (N, d)
    sigma : array (B,)
        All of one dtype, C-contiguous.

    Returns
    -------
    array (B, d)
    """
    cupy = _load.require_device()
    (count, d), n = z.shape, len(points)
    with _load.device_of(z):
        columns = cupy.ascontiguousarray(points.T)
        means = cupy.empty((count, d), dtype=z.dtype)
        height = max(1, min(count, _ENTRIES // n))
        weights = cupy.empty((height, n), dtype=z.dtype)
        expression = f"weighted_means<{_load.SCALARS[z.dtype]}>"
        for first in range(0, count, height):
            rows = slice(first, min(first + height, count))
            size = rows.stop - rows.start
            sizes = (np.int64(size), np.int64(n), np.int32(d))
            arguments = (z[rows], columns, points, sigma[rows], *sizes, weights, means[rows])
            _load.launch("exact_score", expression, size, arguments)
    return means
