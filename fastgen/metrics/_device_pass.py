"""The neighbor pass of rows that lie on a device: lists, balls and angles are found there."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._dispatch.ball_counts import count_balls
from ..neighbors import nearest_rows

Lists = tuple[np.ndarray, np.ndarray]


def own_lists(xp: Any, rows: Any, k: int) -> Lists:
    """Nearest rows of a set among its other rows, (n, k) squared distances and indices."""
    distance, index = nearest_rows(rows, rows, k + 1)
    own = index == xp.arange(len(rows))[:, None]
    # of more than k equal rows before it, a row is not in its list; the last one then goes
    own[:, -1] |= ~own.any(axis=1)
    left = xp.nonzero(~own)
    return tuple(array[left].reshape(len(rows), k) for array in (distance, index))


def balls(xp: Any, x: Any, y: Any, squared_x: Any, squared_y: Any) -> tuple[Any, Any, Any]:
    """Count balls about x that hold y and about y that hold x; give each y its least ratio."""
    reach = max(float(abs(rows).max()) for rows in (x, y)) * 2 * x.shape[1] ** 0.5
    scale = 2.0 ** -np.ceil(np.log2(reach)) if reach > 0 else 1.0
    kept = squared_x <= xp.sort(squared_x)[[(len(x) - 1) // 2, len(x) // 2]].mean()
    held, ratio = count_balls(y, x, squared_x, kept, scale)
    return held, count_balls(x, y, squared_y, squared_y < 0, scale)[0], ratio


def cosine_distances(xp: Any, x: Any, y: Any) -> Any:
    """Least ``1 - |cos|`` of each y to the rows x, NaN for rows of zeros."""
    lengths = [xp.sqrt((rows.astype(np.float64) ** 2).sum(axis=1)) for rows in (x, y)]
    if not bool((lengths[0] > 0).any()):
        return xp.full(len(y), np.nan)
    pool = x[lengths[0] > 0] / lengths[0][lengths[0] > 0][:, None]
    units = y / xp.where(lengths[1] > 0, lengths[1], 1.0)[:, None]
    near, opposite = (nearest_rows(rows, pool, 1)[0][:, 0] for rows in (units, -units))
    return xp.where(lengths[1] > 0, xp.minimum(near, opposite) / 2, np.nan)
