"""One exact pass over two sets of features: nearest rows, balls and angles.

Three relations are gone through in tiles: the pairs within either set, each once, and the pairs
across. A tile is one matrix product in float32, read once and left; what its proven bounds leave
open is evaluated in float64 from differences of the rows as they were given. Manifold figures and
memorization figures are counts and sums over what this finds.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import _arrays, _validate
from .._dispatch import neighbor_pass as kernels
from .._dispatch import threads
from ..neighbors import finite_rows, nearest_rows
from . import _device_pass
from ._screen import LARGE, Arrays, Extent, Sample, ScreenedSet, screen_of

__all__ = ["NeighborPass", "neighbor_pass"]

# Rows of a tile on either side: its products stay in the cache.
_ROWS = 1024
# Lengths of rows whose squares float64 holds.
_LARGEST = 1e150


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest rows of one set for every row of another.

    Attributes
    ----------
    squared_distance : ndarray (n, k)
        In increasing order, summed in float64 from differences.
    index : ndarray of int64 (n, k)
        Their numbers; where distances are equal, the smaller index comes first.
    """

    squared_distance: np.ndarray
    index: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborPass:
    """What one pass over real and generated rows has found.

    Attributes
    ----------
    real, generated : array (n, d), (m, d)
        The rows themselves, float32 or float64, where they were.
    n_neighbors : int
        The k of the balls and of the lists.
    real_real, generated_generated : Neighbors
        Lists of k; a row is not in its own list, equal rows are. The second is None where no balls
        were asked for.
    generated_real : Neighbors
        Nearest real rows of every generated row, at least two.
    real_generated : Neighbors
        Nearest generated rows of every real row.
    real_balls : ndarray of int64 (m,)
        Number of real rows whose ball, closed and as wide as the k-th neighbor is far, holds each
        generated row. 0 where no balls were asked for, as for the next two.
    generated_balls : ndarray of int64 (n,)
        Number of generated rows whose ball holds each real row.
    realism : ndarray (m,)
        Largest ratio of a real row's radius to its distance from each generated row, over the real
        rows whose radius is at most the median; infinite for an equal row.
    cosine_distance : ndarray (m,)
        Least ``1 - |cos|`` between each generated row and the real rows; NaN for a row of zeros,
        which has no direction.
    """

    real: np.ndarray
    generated: np.ndarray
    n_neighbors: int
    real_real: Neighbors
    generated_generated: Neighbors | None
    generated_real: Neighbors
    real_generated: Neighbors
    real_balls: np.ndarray
    generated_balls: np.ndarray
    realism: np.ndarray
    cosine_distance: np.ndarray


def neighbor_pass(
    real: Any,
    generated: Any,
    n_neighbors: int = 5,
    *,
    balls: bool = True,
    n_jobs: int | None = None,
    names: tuple[str, str] = ("real", "generated"),
) -> NeighborPass:
    """Find the nearest rows within and across two sets, and what lies in whose ball.

    Parameters
    ----------
    real, generated : array (n, d), (m, d)
        Finite real numbers. If ``real`` lies on a device, the pairs are gone through there, and
        only lists and counts come to the host; this has not yet been run on a device. Otherwise
        both are brought to the host.
    n_neighbors : int, default 5
        Smaller than n, and than m if ``balls``.
    balls : bool, default True
        False leaves out the pairs of generated rows and everything about balls.
    n_jobs : int, optional
        Number of threads, as in joblib; they share the tiles.
    names : (str, str), default ("real", "generated")
        What the arguments are called in messages.

    Returns
    -------
    NeighborPass

    Raises
    ------
    TypeError, ValueError
        If a set is not a finite numeric matrix, they differ in dimension, or have too few rows.

    Notes
    -----
    Rows are centered before they are multiplied, so that an offset that all share costs no digit.
    Memory beyond the rows is that of a copy in float32, the lists, and one tile for each thread.
    What equals what is decided by the sums in float64: ``<=`` everywhere.

    Examples
    --------
    >>> from fastgen.metrics.neighbor_pass import neighbor_pass
    >>> found = neighbor_pass([[0.0], [1.0], [3.0]], [[1.0], [9.0]], 1)
    >>> found.real_balls    # 1 lies in the balls about 0, 1 and 3, of radius 1, 1 and 2
    array([3, 0])
    """
    k = _validate.integer(n_neighbors, "n_neighbors")
    if _arrays.on_device(real):
        return _on_device(real, generated, k, balls, names)
    rows = [finite_rows(value, name) for value, name in zip((real, generated), names, strict=True)]
    _check_sizes(rows, k, balls, names)
    extents = [_extent(array, name) for array, name in zip(rows, names, strict=True)]
    common = np.result_type(*rows)
    x, y = (array.astype(common, copy=False) for array in rows)
    with threads.single_blas_thread():
        sample = Sample.of(x, y)
        xx = _within(x, k, sample, extents[:1], n_jobs, names[0])
        yy = None
        if balls:
            other = sample and dataclasses.replace(sample, first=sample.second)
            yy = _within(y, k, other, extents[1:], n_jobs, names[1])
        return _across(x, y, k, xx, yy, sample, extents, n_jobs, " and ".join(names))


def _on_device(
    real: Any, generated: Any, k: int, balls: bool, names: tuple[str, str]
) -> NeighborPass:
    with _arrays.array_library(real) as xp:
        given = zip((real, generated), names, strict=True)
        rows = [finite_rows(value, name, xp) for value, name in given]
        _check_sizes(rows, k, balls, names)
        common = np.result_type(*(array.dtype for array in rows))
        x, y = (array.astype(common, copy=False) for array in rows)
        n, m = len(x), len(y)
        xx, yy = _device_pass.own_lists(xp, x, k), None
        held, others, ratio = xp.zeros(m, np.int64), xp.zeros(n, np.int64), xp.zeros(m)
        if balls:
            yy = _device_pass.own_lists(xp, y, k)
            held, others, ratio = _device_pass.balls(xp, x, y, xx[0][:, -1], yy[0][:, -1])
        near, back = nearest_rows(y, x, min(max(k, 2), n)), nearest_rows(x, y, min(k, m))
        cosine = _device_pass.cosine_distances(xp, x, y)

        def brought(lists: Any) -> Neighbors:
            return Neighbors(*map(_arrays.to_numpy, lists))

        with np.errstate(divide="ignore"):
            realism = 1 / np.sqrt(_arrays.to_numpy(ratio)) if balls else np.zeros(m)
        return NeighborPass(
            real=x,
            generated=y,
            n_neighbors=k,
            real_real=brought(xx),
            generated_generated=None if yy is None else brought(yy),
            generated_real=brought(near),
            real_generated=brought(back),
            real_balls=_arrays.to_numpy(held),
            generated_balls=_arrays.to_numpy(others),
            realism=realism,
            cosine_distance=_arrays.to_numpy(cosine),
        )


def _check_sizes(rows: list[np.ndarray], k: int, balls: bool, names: tuple[str, str]) -> None:
    first, second = (array.shape[1] for array in rows)
    if first != second:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same number of columns, got {first} and "
            f"{second}; compute both with the same features"
        )
    for array, name in list(zip(rows, names, strict=True))[: 2 if balls else 1]:
        if len(array) <= k:
            raise ValueError(
                f"{name} must have more than n_neighbors={k} rows, since no row is its own "
                f"neighbor, got {len(array)}; add rows or lower n_neighbors"
            )


def _extent(rows: np.ndarray, name: str) -> Extent:
    found = Extent.of(rows)
    largest = max(abs(float(found.least.min())), abs(float(found.largest.max())))
    if np.sqrt(float(rows.shape[1])) * largest > _LARGEST:
        raise ValueError(
            f"{name} must have rows shorter than {_LARGEST:g}, whose squared distances float64 "
            "holds; divide all sets by their scale"
        )
    return found


def _blocks(n: int) -> list[slice]:
    """Blocks of nearly equal length."""
    ends = np.linspace(0, n, -(-n // _ROWS) + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def _rounds_within(count: int) -> Iterator[list[tuple[int, int]]]:
    """All pairs of blocks in rounds in which no block has two pairs, first each with itself."""
    yield [(i, i) for i in range(count)]
    ring = list(range(count + count % 2))
    for _ in range(len(ring) - 1):
        half = len(ring) // 2
        pairs = zip(ring[:half], reversed(ring[half:]), strict=True)
        yield [(min(a, b), max(a, b)) for a, b in pairs if max(a, b) < count]
        ring.insert(1, ring.pop())


def _rounds_across(first: int, second: int) -> Iterator[list[tuple[int, int]]]:
    size = max(first, second)
    for shift in range(size):
        pairs = ((i, (i + shift) % size) for i in range(first))
        yield [(i, j) for i, j in pairs if j < second]


def _run(
    rounds: Iterator[list[tuple[int, int]]], work: Callable[[int, int], None], n_jobs: int | None
) -> None:
    """Do the pairs of a round in threads: what one writes, no other one reads or writes."""
    import joblib

    with joblib.Parallel(n_jobs, require="sharedmem") as parallel:
        for pairs in rounds:
            parallel(joblib.delayed(work)(i, j) for i, j in pairs)


def _within(
    rows: np.ndarray,
    k: int,
    sample: Sample | None,
    extents: list[Extent],
    n_jobs: int | None,
    name: str,
) -> Neighbors:
    """Nearest rows of one set among its other rows; each pair of blocks is multiplied once."""
    screen = screen_of(sample, rows, rows, extents, name)
    found, unit = ScreenedSet(rows, screen, k), screen.unit
    blocks = _blocks(len(rows))

    def work(i: int, j: int) -> None:
        a, b = blocks[i], blocks[j]
        left, right = found.lists(a), found.lists(b)
        scores = found.vectors[a] @ found.vectors[b].T
        _start(scores, left, right, unit, same=i == j)
        kernels.join_lists(scores, left, right, (a.start, b.start), unit, same=i == j)

    _run(_rounds_within(len(blocks)), work, n_jobs)
    return Neighbors(found.distances, found.indices)


def _start(scores: np.ndarray, left: Arrays, right: Arrays, unit: float, *, same: bool) -> None:
    """Give lists that nothing is known of a first bound, by the products of a tile."""
    need = 4
    if left[need].max() == LARGE:
        kernels.start_lists(scores, left, right, unit, same=same)
    if not same and right[need].max() == LARGE:
        kernels.start_lists(np.ascontiguousarray(scores.T), right, left, unit, same=False)


def _balls(found: Neighbors | None, n: int, unit: float) -> Arrays:
    """Return the fields of the kernels' ``Balls``; without lists, balls that hold nothing."""
    held = np.zeros(n, np.int64)
    if found is None:
        return np.full(n, -1.0), *(np.full(n, -1, np.float32) for _ in range(2)), held
    squared = np.ascontiguousarray(found.squared_distance[:, -1])
    half = squared * unit
    inner, outer = half * (1 - 1e-6) - 1e-37, half * (1 + 1e-6) + 1e-37
    return squared, inner.astype(np.float32), outer.astype(np.float32), held


def _across(
    x: np.ndarray,
    y: np.ndarray,
    k: int,
    xx: Neighbors,
    yy: Neighbors | None,
    sample: Sample | None,
    extents: list[Extent],
    n_jobs: int | None,
    names: str,
) -> NeighborPass:
    """Nearest rows across both sets, counts of balls, ratios and cosines, in one go."""
    n, m = len(x), len(y)
    radii = None if yy is None else (xx.squared_distance[:, -1], yy.squared_distance[:, -1])
    screen = screen_of(sample, x, y, extents, names, radii)
    unit = screen.unit
    left, right = ScreenedSet(x, screen, min(k, m)), ScreenedSet(y, screen, min(max(k, 2), n))
    balls = yy is not None
    spheres, others = _balls(xx if balls else None, n, unit), _balls(yy, m, unit)
    squared, _, outer, held = spheres
    # a ball of radius 0 has a finite ratio with equal rows only, for which no bound is above 0
    outer = np.where(squared == 0, np.float32(0), outer)
    kept = np.where(squared <= np.median(squared), outer, np.float32(-1))
    angles = left.angles(), right.angles()
    ratio, cosine = np.full(m, np.inf), np.full(m, np.inf)
    least = ratio, np.full(m, LARGE), cosine, np.full(m, LARGE)
    blocks, columns = _blocks(n), _blocks(m)

    def work(i: int, j: int) -> None:
        a, b = blocks[i], columns[j]
        lists = left.lists(a), right.lists(b)
        scores = left.vectors[a] @ right.vectors[b].T
        _start(scores, *lists, unit, same=False)
        kernels.join_sets(
            scores,
            lists,
            (_part(spheres, a), _part(others, b)),
            kept[a],
            (_part(angles[0], a), _part(angles[1], b)),
            _part(least, b),
            (a.start, b.start),
            unit,
        )

    _run(_rounds_across(len(blocks), len(columns)), work, n_jobs)
    with np.errstate(divide="ignore"):
        realism = 1 / np.sqrt(ratio) if balls else np.zeros(m)
    return NeighborPass(
        real=x,
        generated=y,
        n_neighbors=k,
        real_real=xx,
        generated_generated=yy,
        generated_real=Neighbors(right.distances, right.indices),
        real_generated=Neighbors(left.distances, left.indices),
        real_balls=others[-1],
        generated_balls=held,
        realism=realism,
        cosine_distance=np.where(np.isfinite(cosine), cosine, np.nan),
    )


def _part(fields: Arrays, part: slice) -> Arrays:
    return tuple(field[part] for field in fields)


def nearest_real(
    found: NeighborPass,
    rows: np.ndarray,
    count: int,
    *,
    n_jobs: int | None = None,
    name: str = "rows",
) -> Neighbors:
    """Find the nearest real rows of a pass for further rows, as the pass found them.

    Parameters
    ----------
    found : NeighborPass
    rows : ndarray (h, d)
        Float32 or float64 numbers that `fastgen.neighbors.finite_rows` has passed.
    count : int
        Number of real rows wanted.
    n_jobs : int, optional
        Number of threads, as in joblib.
    name : str, default "rows"
        What ``rows`` are called in messages.

    Returns
    -------
    Neighbors
    """
    real = _arrays.to_numpy(found.real)
    common = np.result_type(rows, real)
    x, y = rows.astype(common, copy=False), real.astype(common, copy=False)
    extents = [_extent(x, name), _extent(y, "real")]
    with threads.single_blas_thread():
        screen = screen_of(Sample.of(x, y), x, y, extents, f"{name} and real rows")
        left, right = ScreenedSet(x, screen, count), ScreenedSet(y, screen, 1)
        right.need[:] = -1  # nothing enters these lists
        blocks, columns = _blocks(len(x)), _blocks(len(y))

        def work(i: int, j: int) -> None:
            a, b = blocks[i], columns[j]
            lists = left.lists(a), right.lists(b)
            scores = left.vectors[a] @ right.vectors[b].T
            _start(scores, *lists, screen.unit, same=False)
            kernels.join_lists(scores, *lists, (a.start, b.start), screen.unit, same=False)

        _run(_rounds_across(len(blocks), len(columns)), work, n_jobs)
    return Neighbors(left.distances, left.indices)
