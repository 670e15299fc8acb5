"""Distances of points to random sets, and how much an embedding stretches pairs.

Every pair is looked at once: its distance goes to all the sets that the second point is in. The
first points of the pairs lie side by side in a tile, which fills vector registers. Extremes over
pairs are found by squares in float32 with a bound of their error; pairs that may be extreme are
evaluated in float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import LANES, lesser, load, splat, store

TILE = 32


@njit(nogil=True, cache=True, error_model="numpy")
def _squares(tile, rows, j, gaps):
    """Write squared distances of the points of a tile (d, TILE) to row ``j``."""
    sum0 = sum1 = sum2 = sum3 = splat(gaps, 0.0)
    for c in range(tile.shape[0]):
        value = splat(gaps, rows[j, c])
        at = c * TILE
        gap0 = load(tile, at) - value
        gap1 = load(tile, at + LANES) - value
        gap2 = load(tile, at + 2 * LANES) - value
        gap3 = load(tile, at + 3 * LANES) - value
        sum0 = sum0 + gap0 * gap0
        sum1 = sum1 + gap1 * gap1
        sum2 = sum2 + gap2 * gap2
        sum3 = sum3 + gap3 * gap3
    store(gaps, 0, sum0)
    store(gaps, LANES, sum1)
    store(gaps, 2 * LANES, sum2)
    store(gaps, 3 * LANES, sum3)


@njit(nogil=True, cache=True, error_model="numpy")
def _coarse_squares(tile, rows, j, gaps):
    """Write squared distances of a tile to the rows j and j + 1, (2, TILE), all in float32."""
    sum0 = sum1 = sum2 = sum3 = splat(gaps, np.float32(0))
    more0 = more1 = more2 = more3 = sum0
    for c in range(tile.shape[0]):
        at = c * TILE
        point0, point1 = load(tile, at), load(tile, at + LANES)
        point2, point3 = load(tile, at + 2 * LANES), load(tile, at + 3 * LANES)
        value, other = splat(gaps, rows[j, c]), splat(gaps, rows[j + 1, c])
        sum0 = sum0 + (point0 - value) * (point0 - value)
        sum1 = sum1 + (point1 - value) * (point1 - value)
        sum2 = sum2 + (point2 - value) * (point2 - value)
        sum3 = sum3 + (point3 - value) * (point3 - value)
        more0 = more0 + (point0 - other) * (point0 - other)
        more1 = more1 + (point1 - other) * (point1 - other)
        more2 = more2 + (point2 - other) * (point2 - other)
        more3 = more3 + (point3 - other) * (point3 - other)
    store(gaps, 0, sum0)
    store(gaps, LANES, sum1)
    store(gaps, 2 * LANES, sum2)
    store(gaps, 3 * LANES, sum3)
    store(gaps, TILE, more0)
    store(gaps, TILE + LANES, more1)
    store(gaps, TILE + 2 * LANES, more2)
    store(gaps, TILE + 3 * LANES, more3)


@njit(nogil=True, cache=True, error_model="numpy")
def _fill(tile, rows, first):
    """Transpose TILE rows from ``first`` on; what is beyond the last one is 0."""
    for lane in range(TILE):
        for c in range(tile.shape[0]):
            tile[c, lane] = rows[first + lane, c] if first + lane < rows.shape[0] else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def _lower(nearest, sets, start, stop, gaps, at):
    """Bring TILE distances, from flat position ``at`` on, to the sets ``sets[start:stop]``."""
    gap0, gap1 = load(gaps, at), load(gaps, at + LANES)
    gap2, gap3 = load(gaps, at + 2 * LANES), load(gaps, at + 3 * LANES)
    for where in range(start, stop):
        to = sets[where] * TILE
        store(nearest, to, lesser(gap0, load(nearest, to)))
        store(nearest, to + LANES, lesser(gap1, load(nearest, to + LANES)))
        store(nearest, to + 2 * LANES, lesser(gap2, load(nearest, to + 2 * LANES)))
        store(nearest, to + 3 * LANES, lesser(gap3, load(nearest, to + 3 * LANES)))


@njit(nogil=True, cache=True, error_model="numpy")
def _write(nearest, root, first, out):
    """Write a tile of distances to ``out`` from row ``first`` on, 0 for a set without members."""
    for lane in range(min(TILE, out.shape[0] - first)):
        for s in range(out.shape[1]):
            least = nearest[s, lane]
            if least == np.inf:
                least = 0.0
            out[first + lane, s] = np.sqrt(least) if root else least


@njit(nogil=True, cache=True, error_model="numpy")
def matrix_set_distances(distances, starts, sets, first, out):
    """Distances of some points to the nearest member of each set, from a matrix.

    Parameters
    ----------
    distances : float64 array (n, n)
        Symmetric: the columns of the points are read.
    starts : int64 array (n + 1,)
    sets : int64 array
        Point j is in the sets ``sets[starts[j] : starts[j + 1]]``.
    first : int
        Number of the first point that is wanted.
    out : float64 array (count, n_sets)
        Written; 0 for a set without members.
    """
    count, n_sets = out.shape
    nearest = np.empty((n_sets, TILE))
    gaps = np.zeros((TILE, TILE))
    for begin in range(0, count, TILE):
        width = min(TILE, count - begin)
        nearest[:] = np.inf
        for top in range(0, distances.shape[0], TILE):
            # rows lie far apart: many are fetched at a time
            height = min(TILE, distances.shape[0] - top)
            for i in range(height):
                row = distances[top + i, first + begin : first + begin + width]
                for lane in range(width):
                    gaps[i, lane] = row[lane]
            for i in range(height):
                _lower(nearest, sets, starts[top + i], starts[top + i + 1], gaps, i * TILE)
        _write(nearest, False, begin, out)


@njit(nogil=True, cache=True, error_model="numpy")
def point_set_distances(rows, starts, sets, first, out):
    """Euclidean distances of some points to the nearest member of each set.

    Parameters
    ----------
    rows : float64 array (n, d)
        The points.
    starts, sets, first, out
        As for `matrix_set_distances`.
    """
    count, n_sets = out.shape
    nearest = np.empty((n_sets, TILE))
    tile, gaps = np.empty((rows.shape[1], TILE)), np.empty(TILE)
    for begin in range(0, count, TILE):
        nearest[:] = np.inf
        _fill(tile, rows, first + begin)
        for j in range(rows.shape[0]):
            if starts[j] < starts[j + 1]:
                _squares(tile, rows, j, gaps)
                _lower(nearest, sets, starts[j], starts[j + 1], gaps, 0)
        _write(nearest, True, begin, out)


@njit(nogil=True, cache=True, error_model="numpy")
def _widen(found, given, width, rows, j, first, bounds, extremes):
    """Take the pairs of row j and a tile, except those of distance 0, into the extremes.

    ``found`` are squares in float32; with ``bounds`` (unit, down, up, slack) the true ones lie
    between ``down * unit * found - slack`` and ``up * unit * found + slack``. Only pairs that may
    be extreme are evaluated.
    """
    unit, down, up, slack = bounds
    least, most = extremes[0], extremes[1]
    beyond = 0
    for lane in range(width):
        square = unit * np.float64(found[lane])
        low, high = least * given[lane], most * given[lane]
        beyond += (down * square - slack < low) | (up * square + slack > high)
    if beyond == 0:
        return
    for lane in range(width):
        square = unit * np.float64(found[lane])
        low, high = least * given[lane], most * given[lane]
        if given[lane] > 0 and (down * square - slack < low or up * square + slack > high):
            exact = 0.0
            for c in range(rows.shape[1]):
                gap = rows[first + lane, c] - rows[j, c]
                exact += gap * gap
            ratio = exact / given[lane]
            least, most = min(least, ratio), max(most, ratio)
    extremes[0], extremes[1] = least, most


@njit(nogil=True, cache=True, error_model="numpy")
def asymmetry(distances):
    """Largest difference of mirrored entries, extremes, and whether all are finite.

    Returns
    -------
    worst, largest, smallest : float
    finite : bool
        Whether the sums of mirrored entries are.
    """
    n = distances.shape[0]
    worst, largest, smallest, finite = 0.0, distances[0, 0], distances[0, 0], True
    for top in range(0, n, TILE):
        for left in range(0, top + 1, TILE):
            for i in range(top, min(top + TILE, n)):
                for j in range(left, min(left + TILE, n)):
                    a, b = distances[i, j], distances[j, i]
                    worst = max(worst, abs(a - b))
                    largest = max(largest, a, b)
                    smallest = min(smallest, a, b)
                    finite &= abs(a) + abs(b) < np.inf
    return worst, largest, smallest, finite


@njit(nogil=True, cache=True, error_model="numpy")
def matrix_pair_ratios(rows, coarse, bounds, distances, first, last, extremes):
    """Extremes of squared distances in an embedding over squared distances of a matrix.

    Parameters
    ----------
    rows : float64 array (n, q)
        The embedding.
    coarse : float32 array (n + 1, q)
        The same in another unit, rounded; the last row is not read as a point.
    bounds : tuple of four floats
        Unit of the squares of ``coarse``, factors below and above 1, and slack: see `_widen`.
    distances : float64 array (n, n)
        Symmetric; pairs of distance 0 do not count.
    first, last : int
        The points whose pairs with later points are looked at; first is a multiple of TILE.
    extremes : float64 array (2,)
        Least and most so far; renewed.
    """
    n = rows.shape[0]
    tile = np.empty((rows.shape[1], TILE), np.float32)
    found, given = np.empty((2, TILE), np.float32), np.zeros((TILE, TILE))
    for begin in range(first, last, TILE):
        _fill(tile, coarse, begin)
        for top in range(begin, n, TILE):
            # rows lie far apart: many are fetched at a time
            height = min(TILE, n - top)
            for i in range(height):
                row = distances[top + i, begin : min(begin + TILE, last)]
                for lane in range(row.size):
                    given[i, lane] = row[lane] * row[lane]
            for i in range(height):
                j = top + i
                if i % 2 == 0:
                    _coarse_squares(tile, coarse, j, found)
                width = min(TILE, last - begin, j - begin)
                _widen(found[i % 2], given[i], width, rows, j, begin, bounds, extremes)


@njit(nogil=True, cache=True, error_model="numpy")
def point_pair_ratios(rows, coarse, bounds, points, first, last, extremes):
    """Extremes of squared distances in an embedding over those of the points.

    Parameters
    ----------
    rows, coarse, bounds, first, last, extremes
        As for `matrix_pair_ratios`.
    points : float64 array (n, d)
        Pairs of equal points do not count.
    """
    tile = np.empty((rows.shape[1], TILE), np.float32)
    point_tile = np.empty((points.shape[1], TILE))
    found, given = np.empty((2, TILE), np.float32), np.empty(TILE)
    for begin in range(first, last, TILE):
        _fill(tile, coarse, begin)
        _fill(point_tile, points, begin)
        for j in range(begin, rows.shape[0]):
            if (j - begin) % 2 == 0:
                _coarse_squares(tile, coarse, j, found)
            _squares(point_tile, points, j, given)
            width = min(TILE, last - begin, j - begin)
            _widen(found[(j - begin) % 2], given, width, rows, j, begin, bounds, extremes)
