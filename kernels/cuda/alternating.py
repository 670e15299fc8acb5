"""Launcher of ``alternating.cu``: small systems of full rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import _load

if TYPE_CHECKING:
    import cupy


def solve_left(
    a: cupy.ndarray, b: cupy.ndarray, rows: Sequence[int], columns: Sequence[int]
) -> tuple[cupy.ndarray, cupy.ndarray]:
    """``pinv(a) @ b`` for a stack of small systems of full rank, on the GPU.

    A Householder QR factorization in shared memory, of the transpose where a system has more
    columns than rows: least squares there, the solution of minimum norm here.

    This path has not yet been run on a device.

    Parameters
    ----------
    a : cupy.ndarray, shape (s, m, n)
        float32 or float64; m and n at most 64.
    b : cupy.ndarray, shape (s, m, c)
        Of the dtype of ``a``.
    rows, columns : sequence of int, shape (s,)
        How much of every matrix is in use; the rest is not read.

    Returns
    -------
    x : cupy.ndarray, shape (s, n, c)
        Zero beyond the columns in use. NaN where ``a`` holds a NaN or an infinity.
    share : cupy.ndarray, shape (s,)
        Smallest over largest diagonal entry of the triangular factor, 0 for a matrix of zeros.
        Where it is near the rounding error the rank is not full and ``x`` means nothing.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As for `nuclear.nuclear_norms`.
    """
    _load.check_stack(a, "a", "(s, m, n)")
    _load.check_stack(b, "b", "(s, m, c)")
    if max(a.shape[1:]) > _load.LARGEST:
        raise ValueError(
            f"a must hold matrices of at most {_load.LARGEST} rows and columns, got "
            f"{a.shape[1]} x {a.shape[2]}; for larger ones use cupy.linalg.qr"
        )
    if a.shape[:2] != b.shape[:2] or a.dtype != b.dtype:
        raise ValueError(
            f"b must have the first two sizes and the dtype of a, {a.shape[:2]} and {a.dtype}, "
            f"got {b.shape[:2]} and {b.dtype}"
        )
    sizes = [np.asarray(size, dtype=np.int32) for size in (rows, columns)]
    for name, size, most in zip(("rows", "columns"), sizes, a.shape[1:], strict=True):
        if size.shape != (len(a),) or (size.size and not 1 <= size.min() <= size.max() <= most):
            raise ValueError(
                f"{name} must be {len(a)} numbers from 1 to {most}, the size of a, got "
                f"{size.tolist()}"
            )
    cupy = _load.require_device()
    with _load.device_of(a):
        n_systems, m, n = a.shape
        x = cupy.empty((n_systems, n, b.shape[2]), dtype=a.dtype)
        share = cupy.empty(n_systems, dtype=a.dtype)
        if n_systems:
            arrays = (*map(cupy.ascontiguousarray, (a, b)), *map(cupy.asarray, sizes), x, share)
            integers = (np.int64(n_systems), *(np.int32(size) for size in (m, n, b.shape[2])))
            expression = f"solve_left<{_load.SCALARS[a.dtype]}, {_load.side(max(m, n))}>"
            _load.launch("alternating", expression, n_systems, (*arrays, *integers))
    return x, share
