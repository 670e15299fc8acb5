"""Selection of nearest rows from screened inner products.

The caller multiplies matrices; what is left is to look at every product once and to evaluate the
few pairs that can be among the nearest. Products are compared by the maximum of a run, which fills
vector registers; only runs that hold a candidate are looked at one by one.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel

_RUN = 64


@kernel(no_cpython_wrapper=True, fastmath={"reassoc", "contract"})
def _squared_distance(a, b):
    """Sum of squared differences of two rows, in float64."""
    total = 0.0
    for c in range(a.size):
        gap = np.float64(a[c]) - np.float64(b[c])
        total += gap * gap
    return total


@kernel(fastmath={"reassoc", "contract"})
def center_rows(rows, mean, scale, out, squares):
    """Write ``(rows - mean) * scale`` to ``out`` (n, d) and the squared lengths to ``squares``.

    In float64 until ``out``, which may be of less.
    """
    for i in range(rows.shape[0]):
        total = 0.0
        for c in range(rows.shape[1]):
            x = (np.float64(rows[i, c]) - mean[c]) * scale
            out[i, c] = x
            total += x * x
        squares[i] = total


@kernel(no_cpython_wrapper=True, fastmath={"reassoc", "nsz", "nnan"})
def _largest(row, start, stop):
    largest = row[start]
    for j in range(start + 1, stop):
        largest = max(largest, row[j])
    return largest


@kernel(no_cpython_wrapper=True)
def _insert(distance, index, distances, indices):
    """Keep the smallest pairs (distance, index), in order."""
    at = distances.size
    while at > 0 and (
        distance < distances[at - 1] or (distance == distances[at - 1] and index < indices[at - 1])
    ):
        at -= 1
    for later in range(distances.size - 1, at, -1):
        distances[later] = distances[later - 1]
        indices[later] = indices[later - 1]
    if at < distances.size:
        distances[at] = distance
        indices[at] = index


@kernel(no_cpython_wrapper=True)
def _begin(scores, x, pool, first, distances, indices):
    """Evaluate the rows of the largest scores, one for each place to fill."""
    count = min(distances.size, scores.size)
    low = np.full(count, np.inf)
    where = np.zeros(count, np.int64)
    for start in range(0, scores.size, _RUN):
        stop = min(start + _RUN, scores.size)
        if -_largest(scores, start, stop) < low[-1]:
            for j in range(start, stop):
                score = np.float64(-scores[j])
                if score < low[-1]:
                    _insert(score, j, low, where)
    for j in where:
        _insert(_squared_distance(x, pool[j]), first + j, distances, indices)


@kernel(no_cpython_wrapper=True)
def _threshold(row, bound, distance):
    """Score of a candidate, in the dtype of ``row`` and a little low, so that none is dropped."""
    need = (bound - distance) / 2
    return row.dtype.type(need - abs(need) * 1e-6)


@kernel
def select_rows(scores, bounds, unit, x, pool, first, distances, indices):
    """Take the rows of ``pool`` into the lists of nearest rows of every row of ``x``.

    Parameters
    ----------
    scores : array (n, m)
        ``bounds[i] - 2 * scores[i, j]`` is at most ``unit`` times the squared distance of ``x[i]``
        and ``pool[j]``.
    bounds : float64 array (n,)
    unit : float
    x : array (n, d)
    pool : array (m, d)
    first : int
        Index of ``pool[0]``.
    distances, indices : array (n, s)
        Nearest so far in order, infinity and -1 where there are none; renewed. Equal distances are
        in the order of their indices.

    Returns
    -------
    evaluated : int
        Distances that had to be computed.
    """
    n, m = scores.shape
    evaluated = 0
    for i in range(n):
        row = scores[i]
        if indices[i, -1] < 0:
            _begin(row, x[i], pool, first, distances[i], indices[i])
        need = _threshold(row, bounds[i], unit * distances[i, -1])
        for start in range(0, m, _RUN):
            stop = min(start + _RUN, m)
            if not _largest(row, start, stop) >= need:
                continue
            for j in range(start, stop):
                if row[j] >= need:
                    index = first + j
                    known = False
                    for taken in indices[i]:
                        known = known or taken == index
                    if known:
                        continue
                    evaluated += 1
                    distance = _squared_distance(x[i], pool[j])
                    if distance <= distances[i, -1]:
                        _insert(distance, index, distances[i], indices[i])
                        need = _threshold(row, bounds[i], unit * distances[i, -1])
    return evaluated
