"""Launchers of ``linear_path.cu``: generators along the latent dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import _load

if TYPE_CHECKING:
    import cupy

_BLOCKS = 512  # about as many as fill a device
_GROUP = 8  # wanted values that are worth computing again what leads to the first


def _check_path(kernel, inputs, f, y, wanted, limit, dtype) -> None:
    n_columns, tallest = f.shape[2], max(f.shape[1], y.shape[1])
    if n_columns > _load.LARGEST or tallest > n_columns:
        raise ValueError(
            f"f and y must have at most {_load.LARGEST} columns and no more rows than columns, got "
            f"{tallest} x {n_columns}; reduce them by a QR factorization"
        )
    types = sorted({str(x.dtype) for x in inputs if x is not wanted})
    if types not in (["float32"], ["float64"]):
        raise ValueError(
            f"the arrays must be all float32 or all float64, got {' and '.join(types)}; "
            "convert them with .astype"
        )
    if (_load.SCALARS[f.dtype], _load.SCALARS[dtype]) not in _load.PATHS:
        raise ValueError(f"dtype must be float32 for float32 arrays, got {dtype}; convert them")
    if wanted.size and wanted[-1] > limit:
        raise ValueError(f"{kernel} ends at {limit}, the rows given, got {wanted[-1]}; give more")


def _path(kernel, inputs, f, y, wanted, dtype, sizes):
    """Allocate and launch; ``inputs`` in the kernel's order, ``f``, ``y``, ``wanted`` among."""
    cupy = _load.require_device()
    with _load.device_of(f):
        n_trials, f_rows, side = f.shape
        n_wanted = len(wanted)
        cells = cupy.empty((n_trials, n_wanted, side, f_rows), dtype=dtype)
        squares = cupy.empty((n_trials, n_wanted), dtype=f.dtype)
        if squares.size:
            per_block = max(_GROUP, -(-n_wanted * n_trials // _BLOCKS))
            n_blocks = n_trials * -(-n_wanted // per_block)
            scalar, cell = _load.SCALARS[f.dtype], _load.SCALARS[dtype]
            arguments = (
                *(cupy.ascontiguousarray(cupy.asarray(x)) for x in inputs),
                cells,
                squares,
                np.int64(n_trials),
                *(np.int32(size) for size in (*sizes, n_wanted, per_block)),
            )
            n_blocks *= 2 if kernel == "leading_path" else 1
            _load.launch(
                "linear_path",
                f"{kernel}<{scalar}, {cell}, {_load.side(side)}>",
                n_blocks,
                arguments,
            )
    return cells, squares


def leading_path(
    f: cupy.ndarray,
    y: cupy.ndarray,
    inverse: cupy.ndarray,
    ks: Sequence[int],
    dtype: np.dtype,
) -> tuple[cupy.ndarray, cupy.ndarray]:
    """``f[:, :k] inverse[:k, :k]`` for every k, and squared norms of the same with ``y``.

    The CPU's namesake goes on to the nuclear norms; here `nuclear.nuclear_norms` makes them of the
    cells. This path has not yet been run on a device.

    Parameters
    ----------
    f, y : cupy.ndarray, shapes (t, r, p) and (t, s, p)
        Upper trapezoidal (r, s <= p <= 64), float64 or float32.
    inverse : cupy.ndarray, shape (t, p, p)
        Lower triangular.
    ks : sequence of int, shape (m,)
        Ascending, 1 to p.
    dtype : numpy.dtype
        Of the cells; float32 is allowed for float64 input, which computes in float64.

    Returns
    -------
    cells : cupy.ndarray, shape (t, m, p, r)
        Transposed, zero beyond k.
    squares : cupy.ndarray, shape (t, m)
        Of the dtype of ``f``.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As for `nuclear.nuclear_norms`.
    """
    wanted, dtype = np.asarray(ks, dtype=np.int64), np.dtype(dtype)
    inputs = (f, y, inverse, wanted)
    _check_path("leading_path", inputs, f, y, wanted, f.shape[2], dtype)
    return _path("leading_path", inputs, f, y, wanted, dtype, (f.shape[1], *y.shape[1:]))


def tall_path(
    r: cupy.ndarray,
    rows: cupy.ndarray,
    counts: Sequence[int],
    f: cupy.ndarray,
    y: cupy.ndarray,
    dtype: np.dtype,
) -> tuple[cupy.ndarray, cupy.ndarray]:
    """``f inv(R)`` for R as rows join it, and squared norms of the same with ``y``.

    The CPU's namesake goes on to the nuclear norms; here `nuclear.nuclear_norms` makes them of the
    cells. No input is written to. This path has not yet been run on a device.

    Parameters
    ----------
    r : cupy.ndarray, shape (t, n, n)
        Upper triangular: the QR factors before any of the rows; n <= 64, float64 or float32.
    rows : cupy.ndarray, shape (t, l, n)
    counts : sequence of int, shape (m,)
        Ascending, 0 to l: after how many rows each cell is wanted.
    f, y : cupy.ndarray, shapes (t, r, n) and (t, s, n)
        Upper trapezoidal, r, s <= n.
    dtype : numpy.dtype
        Of the cells; float32 is allowed for float64 input, which computes in float64.

    Returns
    -------
    cells : cupy.ndarray, shape (t, m, n, r)
        Transposed.
    squares : cupy.ndarray, shape (t, m)
        Of the dtype of ``f``.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As for `nuclear.nuclear_norms`.
    """
    wanted, dtype = np.asarray(counts, dtype=np.int64), np.dtype(dtype)
    inputs = (r, rows, wanted, f, y)
    _check_path("tall_path", inputs, f, y, wanted, rows.shape[1], dtype)
    sizes = (r.shape[1], rows.shape[1], f.shape[1], y.shape[1])
    return _path("tall_path", inputs, f, y, wanted, dtype, sizes)
