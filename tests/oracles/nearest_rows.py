"""Nearest rows by a double loop: the oracle of ``nearest_rows``."""

from __future__ import annotations

import numpy as np


def nearest_rows(x, pool, n_neighbors=1):
    """Squared distances (n, s) in float64 and indices, ties to the smaller index."""
    x, pool = np.asarray(x, float), np.asarray(pool, float)
    distances, indices = [], []
    for row in x:
        squares = ((pool - row) ** 2).sum(1)
        order = np.argsort(squares, kind="stable")[:n_neighbors]
        distances.append(squares[order])
        indices.append(order)
    return np.array(distances), np.array(indices)


def select_rows(x, pool, first, distances, indices):
    """Renewed lists of nearest rows after a block of the pool that begins at ``first``."""
    found, where = nearest_rows(x, pool, len(pool))
    joined = np.hstack([distances, found])
    named = np.hstack([indices, where + first])
    order = np.stack([np.lexsort((a, b)) for a, b in zip(named, joined, strict=True)])
    order = order[:, : distances.shape[1]]
    return np.take_along_axis(joined, order, 1), np.take_along_axis(named, order, 1)


def center_rows(rows, mean, scale):
    """Centred and scaled rows and their squared lengths."""
    centered = (np.asarray(rows, float) - mean) * scale
    return centered, (centered**2).sum(1)
