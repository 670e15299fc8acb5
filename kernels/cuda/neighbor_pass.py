"""Launcher of ``neighbor_pass.cu``: in how many balls rows lie, on the GPU.

It has been run through the host shim of the tests, and not yet on a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _load
from .nearest_rows import _DEPTH, _QUERIES, _TINY

if TYPE_CHECKING:
    import cupy


def count_balls(
    x: cupy.ndarray,
    centers: cupy.ndarray,
    squared: cupy.ndarray,
    kept: cupy.ndarray,
    scale: float,
) -> tuple[cupy.ndarray, cupy.ndarray]:
    """Count the closed balls that hold each row of ``x``, and find its least ratio to a radius.

    Parameters
    ----------
    x, centers : cupy.ndarray (n, d), (m, d)
        Float32 or float64, the same.
    squared : cupy.ndarray (m,)
        Squared radii in float64, as ``nearest_rows.cu`` finds distances; negative for no ball.
    kept : cupy.ndarray of bool (m,)
        Balls whose ratio counts.
    scale : float
        Power of two with which differences of rows are at most 1 long.

    Returns
    -------
    held : cupy.ndarray of int64 (n,)
    ratio : cupy.ndarray (n,)
        Least squared distance over squared radius among the kept balls, infinity where there are
        none.

    Raises
    ------
    ImportError, RuntimeError
        If CuPy is not installed, or there is no CUDA device.
    """
    xp = _load.require_device()
    if x.dtype == np.float32:
        scale = min(scale, 2.0**100)  # which float32 holds
    n, d = x.shape
    # rounding of scaled rows is none; of differences, squares and sums as `nearest_rows` says,
    # with that of the radius
    relative = (_DEPTH + -(-d // _DEPTH) + 8) * float(np.finfo(x.dtype).eps) + d * 2.0**-51
    with _load.device_of(x):
        held, ratio = xp.zeros(n, np.int64), xp.full(n, np.inf)
        _load.launch(
            "neighbor_pass",
            f"count_balls<{_load.SCALARS[x.dtype]}>",
            -(-n // _QUERIES),
            (
                x, centers, xp.ascontiguousarray(squared), kept.astype(np.uint8), np.int64(n),
                np.int64(len(centers)), np.int32(d), x.dtype.type(scale),
                np.float64(relative), np.float64(d * _TINY),
                held, ratio,
            ),
        )  # fmt: skip
        return held, ratio
