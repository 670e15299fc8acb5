"""Wasserstein distances of projections, a block of directions at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .precision import centered_rows, common_center, product_type

# Directions that are projected on at a time.
_DIRECTIONS = 256


class SlicedDistances(NamedTuple):
    """Squared distances along every direction: of both sets, of two halves of X, of parts."""

    whole: np.ndarray  # (L,)
    halves: np.ndarray  # (L,)
    parts: np.ndarray  # (L, n_parts)


def sliced_distances(
    x: np.ndarray,
    y: np.ndarray,
    n_directions: int,
    n_half: int,
    n_parts: int,
    rng: np.random.Generator,
) -> SlicedDistances:
    """Compare projections on random directions.

    Parameters
    ----------
    x, y : arrays (n, d), (m, d)
    n_directions, n_half, n_parts : int
        Twice ``n_half`` rows of x are compared with each other; both sets are cut into ``n_parts``,
        and each part of x is compared with one of y. All are chosen at random.
    rng : numpy.random.Generator

    Returns
    -------
    SlicedDistances
    """
    from ..kernels.cpu.sliced import quantile_gaps

    center, dtype = common_center(x, y), product_type(x, y)
    x, y = (centered_rows(rows, center, dtype) for rows in (x, y))
    # a random order of the projections makes parts and halves random ones
    orders = [rng.permutation(len(rows)) for rows in (x, y)]
    whole, halves = np.empty(n_directions), np.empty(n_directions)
    parts = np.empty((n_directions, n_parts))
    bounds = [np.linspace(0, len(rows), n_parts + 1).astype(int) for rows in (x, y)]
    for start in range(0, n_directions, _DIRECTIONS):
        some = slice(start, min(start + _DIRECTIONS, n_directions))
        directions = rng.standard_normal((some.stop - start, x.shape[1]))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        directions = directions.astype(dtype)
        left, right = (
            np.take(directions @ rows.T, order, axis=1)
            for rows, order in zip((x, y), orders, strict=True)
        )
        ends = np.sort(left[:, :n_half]), np.sort(left[:, -n_half:])
        quantile_gaps(*ends, halves[some])
        for part in range(n_parts):
            pieces = (
                np.sort(rows[:, at[part] : at[part + 1]])
                for rows, at in zip((left, right), bounds, strict=True)
            )
            found = np.empty(len(left))
            quantile_gaps(*pieces, found)
            parts[some, part] = found
        left.sort()
        right.sort()
        quantile_gaps(left, right, whole[some])
    return SlicedDistances(whole, halves, parts)
