"""In which precision rows are multiplied, and how they are centered for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Rows that are looked at in float64 at a time.
_ROWS = 64


def blocks(rows: np.ndarray) -> Iterator[slice]:
    """Yield slices of a few rows each."""
    for start in range(0, len(rows), _ROWS):
        yield slice(start, start + _ROWS)


def common_center(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of the rows of both sets."""
    total = x.sum(0, dtype=np.float64) + y.sum(0, dtype=np.float64)
    return total / (len(x) + len(y))


def product_type(*sets: np.ndarray) -> type:
    """Return float32 if it holds all rows exactly, as those that networks make, else float64.

    Rows are centered before they are multiplied: what float32 then loses is far below the rounding
    of the features' own arithmetic.
    """
    return np.float32 if all(map(_single, sets)) else np.float64


def _single(rows: np.ndarray) -> bool:
    if rows.dtype == np.float32:
        return True
    with np.errstate(over="ignore"):
        parts = (rows[some] for some in blocks(rows))
        return all(bool((part.astype(np.float32) == part).all()) for part in parts)


def centered_rows(rows: np.ndarray, center: np.ndarray, dtype: type) -> np.ndarray:
    """Return ``rows - center``, computed in float64, in ``dtype``."""
    out: np.ndarray = np.empty(rows.shape, dtype)
    for some in blocks(rows):
        out[some] = rows[some] - center
    return out
