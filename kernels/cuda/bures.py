"""Launchers of ``bures.cu``: overlaps of Gaussians on the GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _load
from .nuclear import nuclear_norms

if TYPE_CHECKING:
    import cupy

TILE = 32
_CHUNK = 2**28  # bytes of cross-products at a time


def pair_nuclear_norms(rows: cupy.ndarray, starts: np.ndarray, pairs: np.ndarray) -> cupy.ndarray:
    """Nuclear norm of ``rows[a] @ rows[b].T`` for each pair (a, b) of row blocks, on the GPU.

    Cross-products of a chunk of pairs are formed by one launch, and their nuclear norms by another
    (`nuclear_norms`) up to a side of 64, by ``cupy.linalg.svd`` above. This path has not yet been
    run on a device.

    Parameters
    ----------
    rows : cupy.ndarray (n_rows, d)
        Transposed factors, one below the other; float32 or float64.
    starts : int array (n_factors + 1,)
        On the host. Factor ``a`` is ``rows[starts[a] : starts[a + 1]]``; it may be empty.
    pairs : int array (n_pairs, 2)
        On the host.

    Returns
    -------
    cupy.ndarray (n_pairs,)
        Of the dtype of ``rows``.

    Raises
    ------
    ValueError
        If ``rows`` is not a float32 or float64 matrix.
    ImportError, RuntimeError
        If CuPy is not installed, or there is no CUDA device.
    """
    if rows.ndim != 2 or rows.dtype not in _load.SCALARS:
        raise ValueError(
            f"rows must be a float32 or float64 matrix, got {rows.dtype} of shape {rows.shape}"
        )
    cupy = _load.require_device()
    starts, pairs = np.asarray(starts, np.int64), np.asarray(pairs, np.int64)
    sizes = np.diff(starts)[pairs]
    with _load.device_of(rows):
        out = cupy.zeros(len(pairs), dtype=rows.dtype)
        if not sizes.size or not sizes.min(axis=1).any():
            return out
        rows, there = cupy.ascontiguousarray(rows), cupy.asarray(starts)
        height, width = int(sizes.max()), int(sizes.min(axis=1).max())
        step = max(1, _CHUNK // (height * width * rows.dtype.itemsize))
        expression = f"cross_products<{_load.SCALARS[rows.dtype]}, {TILE}>"
        for first in range(0, len(pairs), step):
            chunk = np.ascontiguousarray(pairs[first : first + step])
            stack = cupy.empty((len(chunk), height, width), dtype=rows.dtype)
            n_tiles = len(chunk) * -(-height // TILE) * -(-width // TILE)
            counts = (np.int64(len(chunk)), *map(np.int32, (rows.shape[1], height, width)))
            _load.launch(
                "bures", expression, n_tiles, (rows, there, cupy.asarray(chunk), *counts, stack)
            )
            if height <= _load.LARGEST:
                out[first : first + step] = nuclear_norms(stack)
            else:
                values = cupy.linalg.svd(stack, compute_uv=False)
                out[first : first + step] = values.sum(axis=1)
    return out
