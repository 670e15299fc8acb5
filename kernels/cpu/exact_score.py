"""Means of a finite set with Gaussian weights, from screened inner products.

The caller multiplies matrices, in float32. What is left is to look at every product once and to
evaluate the few points whose weight can be seen in the result: most weights of a small noise level
are far below rounding.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel

_RUN = 64


@kernel(fastmath={"reassoc", "contract"})
def _squared_distance(a, b):
    """Sum of squared differences of two rows, in float64."""
    total = 0.0
    for c in range(a.size):
        gap = np.float64(a[c]) - np.float64(b[c])
        total += gap * gap
    return total


@kernel(fastmath={"contract"})
def _add(total, weight, row):
    for c in range(row.size):
        total[c] += weight * np.float64(row[c])


@kernel(fastmath={"reassoc", "nsz", "nnan"})
def _largest(row, start, stop):
    largest = row[start]
    for j in range(start + 1, stop):
        largest = max(largest, row[j])
    return largest


@kernel
def _seen(row, least, where):
    """Write the places of scores of at least ``least``; return their number, -1 if too many."""
    count = 0
    for start in range(0, row.size, _RUN):
        stop = min(start + _RUN, row.size)
        if _largest(row, start, stop) >= least:
            for j in range(start, stop):
                if row[j] >= least:
                    if count == where.size:
                        return -1
                    where[count] = j
                    count += 1
    return count


@kernel
def weighted_means(scores, z, points, sigma, window, means, few, dense):
    """Write the means of ``points`` with weights ``exp(-||z - x||^2 / (2 sigma^2))``.

    Parameters
    ----------
    scores : float32 array (B, N)
        ``z x - ||x||^2 / 2`` up to rounding and what is the same along a row.
    z : array (B, d)
    points : array (N, d)
        Of the dtype of ``z``.
    sigma : float64 array (B,)
        Noise levels.
    window : float64 array (B,)
        Scores that are this much below a row's largest have weights that do not count.
    means : float64 array (B, d)
        Written, except rows with more than ``few`` weights that count.
    few : int
    dense : bool array (B,)
        Written: which rows were left out.
    """
    where = np.empty(few, np.int64)
    squares = np.empty(few)
    for b in range(z.shape[0]):
        least = np.float64(_largest(scores[b], 0, scores.shape[1])) - window[b]
        count = _seen(scores[b], least, where)
        dense[b] = count <= 0  # none where the scores hold a NaN
        if count <= 0:
            continue
        nearest = np.inf
        for i in range(count):
            squares[i] = _squared_distance(z[b], points[where[i]])
            nearest = min(nearest, squares[i])
        total = 0.0
        means[b] = 0.0
        for i in range(count):
            weight = np.exp((nearest - squares[i]) / (2 * sigma[b] * sigma[b]))
            total += weight
            _add(means[b], weight, points[where[i]])
        means[b] /= total
