"""Launchers of ``bourgain.cu``: distances of points to random sets on the GPU.

This path has not yet been run on a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _load

if TYPE_CHECKING:
    import cupy


def matrix_set_distances(
    distances: cupy.ndarray, starts: cupy.ndarray, members: cupy.ndarray
) -> cupy.ndarray:
    """Distances of all points to the nearest member of each set, from a matrix.

    Parameters
    ----------
    distances : float64 array (n, n)
        Symmetric.
    starts : int64 array (n_sets + 1,)
    members : int64 array
        Set s has the points ``members[starts[s] : starts[s + 1]]``.

    Returns
    -------
    float64 array (n_sets, n)
        0 for a set without members.
    """
    return _launch("matrix_set_distances", distances, (), starts, members)


def point_set_distances(
    columns: cupy.ndarray, starts: cupy.ndarray, members: cupy.ndarray
) -> cupy.ndarray:
    """Euclidean distances of all points to the nearest member of each set.

    Parameters
    ----------
    columns : float64 array (d, n)
        The points, a coordinate to a row.
    starts, members
        As for `matrix_set_distances`.

    Returns
    -------
    float64 array (n_sets, n)
        0 for a set without members.
    """
    return _launch("point_set_distances", columns, (np.int32(columns.shape[0]),), starts, members)


def _launch(
    kernel: str,
    given: cupy.ndarray,
    dimension: tuple[np.int32, ...],
    starts: cupy.ndarray,
    members: cupy.ndarray,
) -> cupy.ndarray:
    cupy = _load.require_device()
    n, n_sets = given.shape[1], starts.size - 1
    with _load.device_of(given):
        out = cupy.empty((n_sets, n), dtype=given.dtype)
        n_blocks = -(-n_sets * n // _load.THREADS)
        sizes = (np.int64(n), *dimension, np.int64(n_sets))
        expression = f"{kernel}<{_load.SCALARS[given.dtype]}>"
        _load.launch("bourgain", expression, n_blocks, (given, starts, members, *sizes, out))
    return out
