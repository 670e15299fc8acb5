"""Exact nearest rows of a pool, by screening with a proven bound.

Inner products of a few leading principal coordinates, in float32, bound every distance from below;
the pairs whose bound is under the distances found so far are evaluated in float64. What comes out
is what a double loop in float64 finds.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import _arrays, _validate
from ._dispatch import compiling, threads
from ._dispatch.nearest_rows import center_rows, renew_lists, select_rows

_EPS = float(np.finfo(np.float32).eps)
# Rows of the pool that are projected at a time, and of the products that stay in the cache.
_POOL_ROWS = 65_536
_QUERY_ROWS = 256
_PRODUCT_ROWS = 4096
_PROJECTED_ROWS = 1024
# Cost of evaluating one coordinate of one pair, in coordinates of the matrix product: rows come
# from memory one by one (bench/peers/nearest_rows.py).
_EVALUATION = 20.0
_SAMPLE = 512
# Fewer multiplications than this are over before a basis is found.
_SMALL = 2e9
# Lengths of rows whose squares float64 holds.
_LARGEST, _SMALLEST = 1e150, 1e-150
# Multiplications, products and numbers of the pool up to which plain arrays take at most 0.03 s
# more than kernels.
_PLAIN, _PLAIN_PRODUCTS, _PLAIN_NUMBERS = 6e7, 1e6, 4e6
# Numbers of the pairs that are evaluated at a time.
_PAIR_NUMBERS = 1 << 20
_WHOLE = 2**53  # the integers up to here are numbers of float64


def nearest_rows(
    X: Any, pool: Any, n_neighbors: int = 1, *, n_jobs: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest rows of ``pool`` for every row of ``X``, exactly.

    Parameters
    ----------
    X : array, shape (n, d)
        Finite real numbers; integers, up to 2^53, and booleans are taken as numbers. If this is a
        CuPy array or a CUDA tensor of torch, the search runs on its device and the results are CuPy
        arrays.
    pool : array, shape (m, d), or iterable of such arrays
        Read in blocks: a ``numpy.memmap`` is never held as a whole, and a generator of batches is
        taken once. Rows are numbered from 0 through all blocks, which are brought to where X is.
    n_neighbors : int, default 1
        Number of rows wanted, at most m.
    n_jobs : int, optional
        Number of threads over the rows of X, as in joblib; not read on a device.

    Returns
    -------
    squared_distance : ndarray, shape (n, n_neighbors)
        **Squared** Euclidean distances in increasing order, summed in float64: 0 for equal rows,
        never negative.
    index : ndarray of int64, shape (n, n_neighbors)
        Their numbers; of equal distances the smaller number comes first.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers, or ``n_neighbors`` is not an integer.
    ImportError, RuntimeError
        If X is on a device and CuPy is not installed, or finds none.
    ValueError
        If an array is empty, masked, not two-dimensional or not finite, if it holds numbers that
        float64 does not or rows whose squared distances it does not, if dimensions differ, or if
        the pool has fewer rows than ``n_neighbors``.

    Notes
    -----
    With u, v rows minus their mean, B an orthonormal basis, a = B^T u and r_u the length of what B
    leaves out, ``u.v <= a.b + r_u r_v`` by Cauchy and Schwarz. The errors of float32, bounded in
    the worst case, are added. The number of coordinates is the one that costs least on a sample;
    where none pays, all are taken. Memory is bounded by a block of the pool and its products,
    whatever n and m.

    On a device all coordinates are taken: rows of up to 64 by sums of squared differences, longer
    ones by products of cuBLAS. A few more rows than wanted are kept and evaluated in float64; where
    the proven bound on the others is not above the last of them, the row of X is done again in
    float64. This path has not yet been run on a device.

    Examples
    --------
    >>> from fastgen.goof import nearest_rows
    >>> nearest_rows([[0.0, 1.0]], [[5.0, 5.0], [0.0, 3.0], [0.0, -1.0]], 2)
    (array([[4., 4.]]), array([[1, 2]]))
    """
    count = _validate.integer(n_neighbors, "n_neighbors")
    with _arrays.array_library(X) as xp:
        check = finite_rows if xp is np else functools.partial(finite_rows, xp=xp)
        x = check(X, "X")
        distances = xp.full((len(x), count), np.inf)
        indices = xp.full((len(x), count), -1, np.int64)
        screen: _Screen | _Products | None = None
        first = 0
        blocks = _blocks(pool, x.shape[1], check)
        begun, plain = _begun(x, blocks) if xp is np else ([], False)
        for block in itertools.chain(begun, blocks):
            if xp is not np:
                scale = _scale(max(_reach(x, block), _reach(block, block)))
                renew_lists(x, block, scale, first, distances, indices)
            else:
                if screen is None:
                    with threads.single_blas_thread():  # threads wait long where cores are taken
                        screen = _Products(x, block) if plain else _Screen.of(x, block)
                screen.search(x, block, first, distances, indices, n_jobs)
            first += len(block)
    if first < count:
        raise ValueError(f"n_neighbors must be at most the {first} rows of pool, got {count}")
    return distances, indices


def finite_rows(value: Any, name: str, xp: Any = np) -> np.ndarray:
    """Rows as float32 where that holds them exactly, else as float64, in the library ``xp``."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise ValueError(f"{name} must not be masked; fill masked values or drop their rows")
    array = xp.asarray(_arrays.to_host(value, name) if xp is np else _arrays.detached(value))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional (n_rows, n_features), got shape {array.shape}; "
            "flatten images with reshape(len(images), -1)"
        )
    if not array.size:
        raise ValueError(f"{name} must have rows and columns, got shape {array.shape}")
    given = array
    exact = np.can_cast(array.dtype, np.float32)
    array = xp.ascontiguousarray(array, np.float32 if exact else np.float64)
    _check_held(given, array, name)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = bool(xp.isfinite(array.sum(dtype=np.float64)))
    if not finite and not xp.isfinite(array).all():
        row, column = map(int, xp.argwhere(~xp.isfinite(array))[0])
        raise ValueError(
            f"{name} must be finite, got {array[row, column]} at row {row}, column {column}; "
            "drop such rows first"
        )
    return array


def _check_held(given: Any, array: Any, name: str) -> None:
    """Raise where float64 holds neighbours of the numbers only, which would not be exact."""
    if given.dtype.kind in "iu" and given.dtype.itemsize == 8:
        lost = bool(((given > _WHOLE) | (given < -_WHOLE)).any())
    elif given.dtype.kind == "f" and given.dtype.itemsize > 8:
        lost = bool(((array != given) & (given == given)).any())
    else:
        return
    if lost:
        raise ValueError(
            f"{name} holds numbers of {given.dtype} that float64 does not hold exactly, as "
            "integers beyond 2^53; subtract a constant from X and pool, or round both"
        )


def _blocks(pool: Any, dim: int, check: Callable) -> Iterator[np.ndarray]:
    """Yield blocks of the pool that ``check`` has passed."""
    blocks = isinstance(pool, list | tuple) and len(pool) and _dimensions(pool[0]) == 2
    whole = (hasattr(pool, "shape") or isinstance(pool, list | tuple)) and not blocks
    if not whole and not isinstance(pool, Iterable):
        raise TypeError(f"pool must be an array or an iterable of arrays, got {type(pool)}")
    parts = (pool if hasattr(pool, "shape") else _arrays.to_numpy(pool, "pool"),) if whole else pool
    empty = True
    for part in parts:
        _arrays.require_values(part, "pool")
        if len(part) == 0 and not whole:
            continue
        for start in range(0, max(len(part), 1), _POOL_ROWS):
            block = check(part[start : start + _POOL_ROWS], "pool")
            if block.shape[1] != dim:
                raise ValueError(
                    f"X and pool must have the same number of columns, got {dim} and "
                    f"{block.shape[1]}"
                )
            empty = False
            yield block
    if empty:
        raise ValueError("pool must hold at least one row, got none")


def _dimensions(value: Any) -> int:
    return len(value.shape) if hasattr(value, "shape") else np.ndim(value)


def _begun(x: np.ndarray, blocks: Iterator[np.ndarray]) -> tuple[list[np.ndarray], bool]:
    """Take blocks until they are worth a kernel; return them, and whether they never are."""
    taken = []
    products = 0.0
    for block in blocks:
        taken.append(block)
        products += float(len(x)) * len(block)
        if (
            compiling.worthwhile(products * x.shape[1], _PLAIN)
            or compiling.worthwhile(products, _PLAIN_PRODUCTS)
            or compiling.worthwhile(products / len(x) * x.shape[1], _PLAIN_NUMBERS)
        ):
            return taken, False
    return taken, True


class _Products:
    """A search of few rows in plain arrays: one product in float64, near pairs evaluated again.

    Parameters
    ----------
    x, block : arrays (n, d), (m, d)
        The rows sought for and the first of the pool, whose mean both are centered about.
    """

    def __init__(self, x: np.ndarray, block: np.ndarray) -> None:
        self._mean = block.mean(0, dtype=np.float64)
        self._x = x.astype(np.float64) - self._mean

    def search(
        self,
        x: np.ndarray,
        block: np.ndarray,
        first: int,
        distances: np.ndarray,
        indices: np.ndarray,
        n_jobs: int | None,
    ) -> None:
        """Renew the lists of nearest rows by a block of the pool; threads have nothing to share."""
        scale = _scale(max(_reach(x, self._mean), _reach(block, self._mean)))
        count = distances.shape[1]
        left, right = self._x * scale, (block - self._mean) * scale
        squares = np.einsum("ij,ij->i", left, left), np.einsum("ij,ij->i", right, right)
        with threads.single_blas_thread():
            scores = squares[0][:, None] + squares[1] - 2 * (left @ right.T)
        # what rounding may have moved: of the centering, the squares and the product
        longest = np.sqrt(squares[0]) + np.sqrt(squares[1].max())
        slack = (x.shape[1] + 8) * 4 * np.finfo(np.float64).eps * longest**2 + 1e-300
        bounds = distances[:, -1] * scale**2
        if len(block) >= count:
            nearest = np.partition(scores, count - 1, axis=1)[:, count - 1]
            bounds = np.minimum(bounds, nearest + slack)
        rows, columns = np.nonzero(scores <= (bounds + slack)[:, None])
        found = np.empty(len(rows))
        step = max(1, _PAIR_NUMBERS // x.shape[1])
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            gaps = x[rows[some]].astype(np.float64) - block[columns[some]]
            found[some] = np.einsum("ij,ij->i", gaps, gaps)
        held = np.repeat(np.arange(len(x)), count)
        rows = np.concatenate([held, rows])
        found = np.concatenate([distances.ravel(), found])
        numbers = np.concatenate([indices.ravel(), first + columns])
        order = np.lexsort((numbers, found, rows))
        starts = np.searchsorted(rows[order], np.arange(len(x)))
        best = order[starts[:, None] + np.arange(count)]
        distances[:], indices[:] = found[best], numbers[best]


@dataclasses.dataclass
class _Screen:
    """A shift and a basis (d, q), or None for all coordinates."""

    mean: np.ndarray
    basis: np.ndarray | None

    @classmethod
    def of(cls, x: np.ndarray, block: np.ndarray) -> _Screen:
        """Choose the number of coordinates that costs least on a sample."""
        step = max(1, len(block) // _SAMPLE)
        sample = block[::step][:_SAMPLE].astype(np.float64)
        mean = sample.mean(0)
        if float(len(x)) * len(block) * x.shape[1] < _SMALL or len(sample) < 64:
            return cls(mean, None)
        some = x[:: max(1, len(x) // 256)][:256].astype(np.float64) - mean
        sample -= mean
        scale = max(np.abs(sample).max(), np.abs(some).max(), 1e-300)
        sample /= scale
        some /= scale
        basis = _principal(sample)
        u, v = some @ basis, sample @ basis
        squares = (some**2).sum(1)[:, None] + (sample**2).sum(1)
        nearest = np.maximum(squares - 2 * some @ sample.T, 0).min(1, keepdims=True)
        costs = {}
        for q in (8, 16, 32, 64, 96, 128, 192, 256, 384):
            if q < 0.75 * x.shape[1] and q < basis.shape[1]:
                beyond = [_left_out(a, b[:, :q]) for a, b in ((some, u), (sample, v))]
                bound = squares - 2 * (u[:, :q] @ v[:, :q].T + np.outer(*beyond))
                projection = q * x.shape[1] * (1 / len(x) + 1 / len(block))
                hits = (bound <= nearest).mean()
                costs[q] = q + projection + hits * _EVALUATION * x.shape[1]
        best = min(costs, key=lambda q: costs[q], default=None)
        if best is None or costs[best] > 0.75 * x.shape[1]:
            return cls(mean, None)
        return cls(mean, np.linalg.qr(basis[:, :best])[0])

    @property
    def width(self) -> int:
        """Coordinates of a screening vector."""
        return self.mean.size if self.basis is None else self.basis.shape[1] + 1

    @property
    def error(self) -> float:
        """Bound on the error of a vector's coordinates, relative to its length."""
        if self.basis is None:
            return 2 * _EPS
        return np.sqrt(self.basis.shape[1]) * (self.mean.size + 2) * _EPS

    def coordinates(self, rows: np.ndarray, scale: float, out: np.ndarray) -> np.ndarray:
        """Write screening vectors to ``out`` (n, width), float32; return squared lengths, scaled.

        The last coordinate is the length of what the basis leaves out.
        """
        squares = np.empty(len(rows))
        if self.basis is None:
            center_rows(rows, self.mean, scale, out, squares)
            return squares
        centered = np.empty(rows.shape, np.float32)
        center_rows(rows, self.mean, scale, centered, squares)
        q = self.basis.shape[1]
        out[:, :q] = centered @ self.basis.astype(np.float32)
        inside = np.einsum("ij,ij->i", out[:, :q], out[:, :q], dtype=np.float64)
        beyond = np.maximum(squares - inside, 0) + 2 * self.error * squares
        out[:, q] = np.sqrt(beyond) * (1 + 4 * _EPS)
        return squares

    def search(
        self,
        x: np.ndarray,
        block: np.ndarray,
        first: int,
        distances: np.ndarray,
        indices: np.ndarray,
        n_jobs: int | None,
    ) -> None:
        """Renew the lists of nearest rows by a block of the pool."""
        import joblib

        common = np.result_type(x, block)
        x, block = x.astype(common, copy=False), block.astype(common, copy=False)
        scale = _scale(max(_reach(x, self.mean), _reach(block, self.mean)))
        q, error = self.width, self.error
        right = np.empty((len(block), q + 2), np.float32)
        right_squares = np.empty(len(block))

        def project(start: int) -> None:
            rows = slice(start, start + _PROJECTED_ROWS)
            right_squares[rows] = self.coordinates(block[rows], scale, right[rows, :q])
            # half of the squared length of a row of the pool is taken off its products, in two
            # parts that float32 holds
            half = right_squares[rows] / 2
            right[rows, q] = -half
            right[rows, q + 1] = -(half + right[rows, q])

        def part(start: int) -> None:
            rows = slice(start, start + _QUERY_ROWS)
            left = np.ones((len(x[rows]), q + 2), np.float32)
            squares = self.coordinates(x[rows], scale, left[:, :q])
            longest, lengths = np.sqrt(right_squares.max()), np.sqrt(squares)
            rounding = (q + 2) * _EPS * (lengths + longest) * (2 * longest + lengths)
            slack = error * (2 + error) * lengths * longest + rounding + 1e-37
            bounds = squares * (1 - 4 * _EPS) - 2 * slack
            for begin in range(0, len(block), _PRODUCT_ROWS):
                some = slice(begin, begin + _PRODUCT_ROWS)
                select_rows(
                    left @ right[some].T,
                    bounds,
                    scale**2,
                    x[rows],
                    block[some],
                    first + begin,
                    distances[rows],
                    indices[rows],
                )

        with threads.single_blas_thread(), joblib.Parallel(n_jobs, require="sharedmem") as run:
            for work, rows, step in ((project, block, _PROJECTED_ROWS), (part, x, _QUERY_ROWS)):
                run(joblib.delayed(work)(start) for start in range(0, len(rows), step))


def _principal(sample: np.ndarray) -> np.ndarray:
    """Leading principal directions of centered rows, in columns, as far as they are sharp."""
    values, vectors = np.linalg.eigh(sample @ sample.T)
    keep = values > 1e-8 * values[-1]
    return (sample.T @ (vectors[:, keep] / np.sqrt(values[keep])))[:, ::-1]


def _left_out(rows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum((rows**2).sum(1) - (inside**2).sum(1), 0))


def _scale(largest: float) -> float:
    """Power of two that brings rows of at most this length into the unit ball."""
    if largest > _LARGEST:
        raise ValueError(
            f"X and pool must have rows shorter than {_LARGEST:g}, whose squared distances "
            "float64 holds; divide both by their scale"
        )
    if 0 < largest < _SMALLEST:
        raise ValueError(
            f"X and pool must have rows longer than {_SMALLEST:g}, whose squared distances float64 "
            "tells from 0; divide both by their scale"
        )
    # the square of the scale is finite
    return 1.0 if largest == 0 else 2.0 ** min(-float(np.ceil(np.log2(largest))), 500.0)


def _reach(rows: np.ndarray, mean: np.ndarray) -> float:
    """Bound the lengths of the centered rows."""
    return float(np.sqrt(rows.shape[1]) * (np.abs(rows).max() + np.abs(mean).max()))
