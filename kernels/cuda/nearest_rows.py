"""Launchers of ``nearest_rows.cu``: exact nearest rows on the GPU.

Rows are screened, the few that can be among the nearest are evaluated in float64, and each query
carries a certificate: a proven lower bound on the distance of every row left out. A query whose
bound is not above its last distance is done again, all in float64. This path has been run through
the host shim of the tests; it has not yet been run on a device, and none of its constants has been
measured.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from . import _load

if TYPE_CHECKING:
    import cupy

# Rows with more columns are screened by cuBLAS. A guess: below, writing and reading the products
# costs more than forming them.
DIRECT_COLUMNS = 64
# CAPACITY, QUERIES, ROWS and DEPTH in include/nearest_rows.cuh
CAPACITY = 32
_QUERIES, _ROWS, _DEPTH = 32, 64, 16
# Rows listed beyond those wanted: a certificate needs one that is farther by the rounding error.
_MARGIN = 7
_BLOCKS = 1024  # of a launch, for the pool to be split
_CHUNK = 2**24  # entries of an array in float64: rows, or distances of pairs
_PRODUCTS = 2**26  # entries of an array of products
_SAMPLE = 512
_EPS = float(np.finfo(np.float32).eps)
# Error of a scaled number that underflows to zero in float32.
_TINY = 2.0**-120


def renew_lists(
    x: cupy.ndarray,
    pool: cupy.ndarray,
    scale: float,
    first: int,
    distances: cupy.ndarray,
    indices: cupy.ndarray,
) -> None:
    """Take the rows of ``pool`` into the lists of nearest rows of every row of ``x``.

    Parameters
    ----------
    x : cupy.ndarray (n, d)
        Float32 or float64.
    pool : cupy.ndarray (m, d)
        Of the same dtype, with m < 2^31.
    scale : float
        Power of two with which rows minus any row of the pool, and rows, are at most 1 long.
    first : int
        Index of ``pool[0]``, above all indices so far.
    distances, indices : cupy.ndarray (n, s)
        Nearest so far in order, infinity and -1 where there are none; renewed. Squared distances in
        float64, the smaller index first of equal ones.

    Raises
    ------
    ImportError, RuntimeError
        If CuPy is not installed, or there is no CUDA device.
    """
    xp = _load.require_device()
    keep = distances.shape[1] + _MARGIN
    if x.dtype == np.float32:
        scale = min(scale, 2.0**100)  # which float32 holds
    with _load.device_of(x):
        if keep > CAPACITY or len(pool) <= keep:
            _renew_all(xp, x, pool, first, distances, indices)
            return
        direct = x.shape[1] <= DIRECT_COLUMNS or os.environ.get("CUPY_TF32") == "1"
        screen = _screen_tiles if direct else _screen_products
        columns, left_out = screen(xp, x, pool, scale, keep)
        columns = xp.sort(columns, axis=1)  # of equal distances the smaller index comes first
        found = _evaluate(xp, x, pool, columns, keep)
        new, named = _merge(xp, distances, indices, found, columns.astype(np.int64) + first)
        sure = _certified(left_out, new[:, -1], scale, x.shape[1])
        again = xp.flatnonzero(~sure)
        if again.size:
            old, old_named = distances[again], indices[again]
            _renew_all(xp, x[again], pool, first, old, old_named)
            new[again], named[again] = old, old_named
        distances[...] = new
        indices[...] = named


def _certified(left_out, last, scale: float, d: int) -> cupy.ndarray:
    """Whether the computed distances of all rows left out are above ``last``.

    ``left_out`` bounds their exact distances times scale^2 from below. A sum of d squares in
    float64 has a relative error of (d + 2) 2^-53 at most, and what underflows.
    """
    relative, absolute = (d + 8) * 2.0**-52, d * (2.0**-1074 * scale) * scale
    return left_out * (1 - relative) - absolute > last * scale * scale


def _screen_tiles(xp: ModuleType, x, pool, scale: float, keep: int) -> tuple:
    """Candidates of every query, and a lower bound on the others, by sums of squared differences.

    The pool has more rows than ``keep``.
    The squares of the rounded differences, their sums over a tile's depth and the sums of those
    have a relative error of DEPTH + d / DEPTH + 3 units of rounding at most; twice as much is
    taken off.
    """
    (n, d), m = x.shape, len(pool)
    scalar = _load.SCALARS[x.dtype]
    n_queries, n_tiles = -(-n // _QUERIES), -(-m // _ROWS)
    n_chunks = max(1, min(n_tiles, -(-_BLOCKS // n_queries)))
    values = xp.empty((n, n_chunks, keep), dtype=x.dtype)
    columns = xp.empty((n, n_chunks, keep), dtype=np.int32)
    sizes = np.int64(n), np.int64(m), np.int32(d), x.dtype.type(scale), np.int32(keep)
    _load.launch(
        "nearest_rows",
        f"screen_tiles<{scalar}>",
        n_queries * n_chunks,
        (x, pool, *sizes, np.int32(n_chunks), values, columns),
    )
    if n_chunks > 1:
        lists = values, columns
        values, columns = (xp.empty((n, keep), dtype=a.dtype) for a in lists)
        sizes = np.int64(n), np.int32(n_chunks), np.int32(keep)
        arguments = (*lists, *sizes, values, columns)
        _load.launch("nearest_rows", f"merge_lists<{scalar}>", _threads(n), arguments)
    values, columns = values.reshape(n, keep), columns.reshape(n, keep)
    relative = (_DEPTH + -(-d // _DEPTH) + 4) * float(np.finfo(x.dtype).eps)
    return columns, (values[:, -1].astype(np.float64) - d * _TINY) * (1 - relative)


def _screen_products(xp: ModuleType, x, pool, scale: float, keep: int) -> tuple:
    """Candidates of every query, and a lower bound on the others, by products in float32.

    The pool has more rows than ``keep``.
    With u, v rows minus a mean, rounded to float32, ``|u - v|^2 = |u|^2 + 2 (|v|^2 / 2 - u.v)``.
    The product is off by d EPS |u| |v| at most in any order of summation, and u - v by EPS (|u| +
    |v|) from the difference of the exact rows; EPS is two units of rounding. What is done in
    float64 is off by 2^-50 (d + 16) (|u|^2 + |v|^2) at most.
    """
    (n, d), m = x.shape, len(pool)
    mean = pool[:: max(1, m // _SAMPLE)][:_SAMPLE].astype(np.float64).mean(axis=0)
    values = xp.full((n, keep), 1e30, dtype=np.float64)  # EMPTY
    columns = xp.full((n, keep), -1, dtype=np.int32)
    squares = xp.empty(n, dtype=np.float64)
    longest = 0.0
    step = max(1, _CHUNK // d)
    for begin in range(0, m, step):
        right, right_squares = _centered(xp, pool[begin : begin + step], mean, scale)
        longest = max(longest, float(right_squares.max()))
        height = max(1, min(step, _PRODUCTS // len(right)))
        for start in range(0, n, height):
            rows = slice(start, start + height)
            left, squares[rows] = _centered(xp, x[rows], mean, scale)
            products = xp.matmul(left, right.T)
            sizes = np.int64(len(left)), np.int32(len(right)), np.int32(begin), np.int32(keep)
            lists = values[rows], columns[rows]
            arguments = (products, right_squares / 2, *sizes, *lists)
            _load.launch("nearest_rows", "select_products<float>", len(left), arguments)
    lengths, longest = xp.sqrt(squares), float(np.sqrt(longest))
    slack = d * (_EPS * lengths * longest + _TINY)
    slack += (d + 16) * 2.0**-50 * (squares + longest**2)
    low = xp.sqrt(xp.maximum(squares + 2 * (values[:, -1] - slack), 0))
    return columns, xp.maximum(low - _EPS * (lengths + longest) - d * _TINY, 0) ** 2


def _centered(xp: ModuleType, rows, mean, scale: float) -> tuple:
    """Scaled rows minus ``mean`` in float32, and their squared lengths in float64."""
    centered = ((rows - mean) * scale).astype(np.float32)
    return centered, xp.square(centered.astype(np.float64)).sum(axis=1)


def _evaluate(xp: ModuleType, x, pool, columns, width: int) -> cupy.ndarray:
    """Squared distances (n, width) in float64; ``columns`` is (n, width), or (width,) for all."""
    out = xp.empty((len(x), width), dtype=np.float64)
    stride = width if columns.ndim == 2 else 0
    sizes = np.int64(len(x)), np.int32(width), np.int32(stride), np.int32(x.shape[1])
    expression = f"squared_distances<{_load.SCALARS[x.dtype]}>"
    columns = xp.ascontiguousarray(columns)
    arguments = (x, pool, columns, *sizes, out)
    _load.launch("nearest_rows", expression, _threads(out.size), arguments)
    return out


def _merge(xp: ModuleType, distances, indices, found, named) -> tuple:
    """Renewed lists; ``named`` increases along rows and is above ``indices``."""
    joined = xp.concatenate([distances, found], axis=1)
    indices = xp.concatenate([indices, named], axis=1)
    order = xp.argsort(joined, axis=1, kind="stable")[:, : distances.shape[1]]
    return tuple(xp.take_along_axis(a, order, axis=1) for a in (joined, indices))


def _renew_all(xp: ModuleType, x, pool, first: int, distances, indices) -> None:
    """`renew_lists` with every pair evaluated in float64."""
    m = len(pool)
    columns = xp.arange(m, dtype=np.int32)
    height = max(1, _CHUNK // m)
    for start in range(0, len(x), height):
        rows = slice(start, start + height)
        found = _evaluate(xp, x[rows], pool, columns, m)
        named = xp.broadcast_to(columns.astype(np.int64) + first, found.shape)
        distances[rows], indices[rows] = _merge(xp, distances[rows], indices[rows], found, named)


def _threads(count: int) -> int:
    """Return the blocks that give each of ``count`` entries a thread."""
    return -(-count // _load.THREADS)
