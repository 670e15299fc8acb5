"""Nearest rows, balls and angles between two sets, from tiles of inner products.

The caller multiplies matrices in float32. A product bounds half of a squared distance from both
sides: ``low[i] + low[j] - product`` from below, ``error[i] + error[j] + rest[i] * rest[j]`` more
from above. What the bounds leave open is evaluated in float64 from differences, so that every count
and list is that of a double loop.

Halves of squared distances are in the units of the products; ``unit`` times a squared distance of
the rows is one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .compilation import kernel
from .nearest_rows import _insert, _squared_distance

_WORD = 8  # flags that are looked at together
_OPEN, _IN_LEFT, _IN_RIGHT = 1, 2, 4
_MORE = 1 + 1e-6
_TINY = 1e-37
_LARGE = np.float32(3e38)
# Above 1 + cos by the rounding of float32.
_TWO = np.float32(2 - 2e-6)


class Lists(NamedTuple):
    """Rows of a set, their bounds, and their nearest rows in the other set.

    rows (n, d); low, error, rest (n,) float32; need (n,) float32, above which nothing enters a
    list; distances (n, k) squared and indices (n, k), in order, infinity and -1 where there are
    none.
    """

    rows: Any
    low: Any
    error: Any
    rest: Any
    need: Any
    distances: Any
    indices: Any


class Balls(NamedTuple):
    """Balls about the rows of a set, and in how many balls of the other set each row lies.

    squared (n,), the squared radius; inner, outer (n,) float32, halves of it rounded down and up,
    negative for no ball; held (n,) int64.
    """

    squared: Any
    inner: Any
    outer: Any
    held: Any


class Angles(NamedTuple):
    """Lengths of rows: length (n,); part, inverse (n,) float32.

    ``part`` is what a length has above a common one, over the root of 2, ``inverse`` one over the
    length, 0 where it is not known; both in the units of the products.
    """

    length: Any
    part: Any
    inverse: Any


class Least(NamedTuple):
    """Least ratio of squared distance to squared radius, and least cosine distance, of each row.

    ratio, cosine (m,); ratio_need, cosine_need (m,) float32, above which nothing is less.
    """

    ratio: Any
    ratio_need: Any
    cosine: Any
    cosine_need: Any


@kernel
def _round_up(half):
    return np.float32(min(half * _MORE + _TINY, 3e38))


@kernel(fastmath={"reassoc", "contract"})
def _cosine_distance(a, b, length_a, length_b):
    """``1 - |cos|`` from the difference, or the sum, of the unit vectors."""
    apart, together = 0.0, 0.0
    u, v = 1 / length_a, 1 / length_b
    for c in range(a.size):
        x, y = np.float64(a[c]) * u, np.float64(b[c]) * v
        apart += (x - y) * (x - y)
        together += (x + y) * (x + y)
    return min(apart, together) / 2


@kernel
def start_lists(scores, left, right, unit, same):
    """Lower ``left.need`` to the distance of k rows that seem near, k the length of a list.

    Parameters
    ----------
    scores : float32 array (n, m)
        Inner products of the rows of ``left`` and ``right``.
    left, right : Lists
    unit : float
    same : bool
        Whether both are the same rows; none is in its own list.
    """
    n, m = scores.shape
    count = left.distances.shape[1]
    if m - same < count:
        return
    x, own_low, own_error, own_rest, own_need = (
        left.rows, left.low, left.error, left.rest, left.need
    )  # fmt: skip
    y, low, error = right.rows, right.low, right.error
    least, which = np.empty(count, np.float32), np.zeros(count, np.int64)
    for i in range(n):
        least[:] = _LARGE
        for j in range(m):
            half = low[j] - scores[i, j]
            if half < least[-1] and not (same and i == j):
                _insert(half, j, least, which)
        farthest = 0.0
        for j in which:
            if own_rest[i] > 0:
                found = unit * _squared_distance(x[i], y[j])
            else:  # the bounds are as good
                found = own_low[i] + own_error[i] + (low[j] + error[j]) - scores[i, j]
            farthest = max(farthest, found)
        own_need[i] = min(own_need[i], _round_up(farthest))


@kernel
def _wanted(half, index, need, distances, indices):
    """Whether a pair that is at least this far may enter a list."""
    # of equal rows, only a smaller index counts
    return half <= need and (distances[-1] > 0 or index < indices[-1])


@kernel
def _renew(distance, index, unit, need, distances, indices):
    """Renew a list by a pair; return what is needed from now on."""
    if distance <= distances[-1]:
        _insert(distance, index, distances, indices)
        return min(need, _round_up(unit * distances[-1]))
    return need


@kernel(fastmath={"nsz", "nnan"})
def _flag_near(row, low, need, own, own_need, flags):
    """Flag the pairs whose lower bound either list needs."""
    for j in range(row.size):
        flags[j] = own + low[j] - row[j] <= max(own_need, need[j])


@kernel
def join_lists(scores, left, right, first_left, first_right, unit, same):
    """Take the pairs of a tile into the lists of both sides.

    Parameters
    ----------
    scores : float32 array (n, m)
        Inner products of the rows of ``left`` and ``right``.
    left, right : Lists
        Of which ``need``, ``distances`` and ``indices`` are renewed.
    first_left, first_right : int
        Indices of their first rows.
    unit : float
    same : bool
        Whether both are the same rows; each pair is then looked at once.

    Returns
    -------
    evaluated : int
        Distances that had to be computed.
    """
    # fields taken out of a tuple once: inside the loops each would be counted as a reference
    x, own_low, own_need, own_distances, own_indices = (
        left.rows, left.low, left.need, left.distances, left.indices
    )  # fmt: skip
    y, low, need, distances, indices = (
        right.rows, right.low, right.need, right.distances, right.indices
    )  # fmt: skip
    n, m = scores.shape
    flags = np.zeros(-(-m // _WORD) * _WORD, np.uint8)
    words = flags.view(np.uint64)
    evaluated = 0
    for i in range(n):
        _flag_near(scores[i], low, need, own_low[i], own_need[i], flags)
        begin = i + 1 if same else 0
        for word in range(begin // _WORD, words.size):
            if words[word] == 0:
                continue
            for j in range(max(begin, word * _WORD), min(m, (word + 1) * _WORD)):
                if not flags[j]:
                    continue
                a, b = first_left + i, first_right + j
                half = own_low[i] + low[j] - scores[i, j]
                if _wanted(half, b, own_need[i], own_distances[i], own_indices[i]) or _wanted(
                    half, a, need[j], distances[j], indices[j]
                ):
                    evaluated += 1
                    distance = _squared_distance(x[i], y[j])
                    own_need[i] = _renew(
                        distance, b, unit, own_need[i], own_distances[i], own_indices[i]
                    )
                    need[j] = _renew(distance, a, unit, need[j], distances[j], indices[j])
    return evaluated


@kernel(fastmath={"nsz", "nnan"})
def _flag_pairs(
    row, low, error, rest, need, inner, outer, part, inverse, ratio_need, cosine_need, own, flags
):
    """Flag the pairs that are open, and those that surely lie in the ball of either row."""
    own_low, own_error, own_rest, own_need, own_inner, own_outer = own[:6]
    own_kept, own_part, own_inverse = own[6:]
    for j in range(row.size):
        half = own_low + low[j] - row[j]
        high = half + (own_error + error[j] + own_rest * rest[j])
        gap = own_part - part[j]
        over = own_inverse * inverse[j]
        apart = (half - gap * gap) * over
        together = _TWO - (high - gap * gap) * over
        least = min(
            min(half - max(own_need, need[j]), half - ratio_need[j] * own_kept),
            min(
                min(max(half - own_outer, own_inner - high), max(half - outer[j], inner[j] - high)),
                min(apart, together) - cosine_need[j],
            ),
        )
        flags[j] = (
            (_OPEN if least <= 0 else 0)
            + (_IN_LEFT if high <= own_inner else 0)
            + (_IN_RIGHT if high <= inner[j] else 0)
        )


@kernel
def join_sets(
    scores, left, right, spheres, balls, kept, angles, others, least, first_left, first_right, unit
):
    """Take the pairs of a tile of two sets into lists, counts of balls, ratios and cosines.

    Parameters
    ----------
    scores : float32 array (n, m)
        Inner products of the rows of ``left`` and ``right``.
    left, right : Lists
        Renewed as by `join_lists`.
    spheres, balls : Balls
        About the rows of ``left`` and ``right``; ``held`` is renewed.
    kept : float32 array (n,)
        ``spheres.outer`` of the balls whose ratios count, -1 for the others.
    angles, others : Angles
        Of ``left`` and ``right``.
    least : Least
        Of the rows of ``right``, renewed. A row of length 0 has no cosine.
    first_left, first_right : int
        Indices of the first rows.
    unit : float

    Returns
    -------
    evaluated : int
        Pairs that had to be computed in float64.
    """
    # fields taken out of a tuple once: inside the loops each would be counted as a reference
    x, own_low, own_error, own_rest, own_need, own_distances, own_indices = left
    y, low, error, rest, need, distances, indices = right
    own_squared, own_inner, own_outer, own_held = spheres
    squared, inner, outer, held = balls
    own_length, own_part, own_inverse = angles
    length, part, inverse = others
    ratio, ratio_need, cosine, cosine_need = least
    n, m = scores.shape
    flags = np.zeros(-(-m // _WORD) * _WORD, np.uint8)
    words = flags.view(np.uint64)
    evaluated = 0
    for i in range(n):
        own = (
            own_low[i], own_error[i], own_rest[i], own_need[i], own_inner[i], own_outer[i], kept[i],
            own_part[i], own_inverse[i],
        )  # fmt: skip
        _flag_pairs(
            scores[i], low, error, rest, need, inner, outer, part, inverse, ratio_need, cosine_need,
            own, flags,
        )  # fmt: skip
        for word in range(words.size):
            if words[word] == 0:
                continue
            for j in range(word * _WORD, min(m, (word + 1) * _WORD)):
                in_left, in_right = flags[j] & _IN_LEFT != 0, flags[j] & _IN_RIGHT != 0
                if flags[j] & _OPEN:
                    a, b = first_left + i, first_right + j
                    half = own_low[i] + low[j] - scores[i, j]
                    high = half + (own_error[i] + error[j] + own_rest[i] * rest[j])
                    open_left = half <= own_outer[i] and not in_left
                    open_right = half <= outer[j] and not in_right
                    nearer = half <= ratio_need[j] * kept[i]
                    wanted = _wanted(half, b, own_need[i], own_distances[i], own_indices[i])
                    wanted = wanted or _wanted(half, a, need[j], distances[j], indices[j])
                    if wanted or open_left or open_right or nearer:
                        evaluated += 1
                        distance = _squared_distance(x[i], y[j])
                        own_need[i] = _renew(
                            distance, b, unit, own_need[i], own_distances[i], own_indices[i]
                        )
                        need[j] = _renew(distance, a, unit, need[j], distances[j], indices[j])
                        in_left = in_left or (open_left and distance <= own_squared[i])
                        in_right = in_right or (open_right and distance <= squared[j])
                        if nearer:
                            found = _ratio(distance, own_squared[i])
                            if found < ratio[j]:
                                ratio[j], ratio_need[j] = found, _round_up(found)
                    gap = own_part[i] - part[j]
                    over = own_inverse[i] * inverse[j]
                    apart = (half - gap * gap) * over
                    together = _TWO - (high - gap * gap) * over
                    known = cosine[j] == 0 or own_length[i] == 0 or length[j] == 0
                    if not known and min(apart, together) <= cosine_need[j]:
                        evaluated += 1
                        found = _cosine_distance(x[i], y[j], own_length[i], length[j])
                        if found < cosine[j]:
                            cosine[j], cosine_need[j] = found, _round_up(found)
                held[j] += in_left
                own_held[i] += in_right
    return evaluated


@kernel
def _ratio(distance, squared):
    if distance == 0:
        return 0.0
    return distance / squared if squared > 0 else np.inf
