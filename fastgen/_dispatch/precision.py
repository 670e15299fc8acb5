"""In which precision rows are multiplied, and how they are centered for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Rows that are looked at in float64 at a time.
_ROWS = 64
# Rows of each set that the center is taken from, and squared distances that are far out.
_SAMPLE, _FAR = 512, 16.0


def blocks(rows: np.ndarray) -> Iterator[slice]:
    """Yield slices of a few rows each."""
    for start in range(0, len(rows), _ROWS):
        yield slice(start, start + _ROWS)


def common_center(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of rows of both sets that are not far out: one outlier would move all the others."""
    some = np.concatenate([rows[:: max(1, len(rows) // _SAMPLE)] for rows in (x, y)])
    some = some.astype(np.float64)
    gaps = some - np.median(some, axis=0)
    squares = np.einsum("ij,ij->i", gaps, gaps)
    return some[squares <= _FAR * np.median(squares)].mean(0)


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
