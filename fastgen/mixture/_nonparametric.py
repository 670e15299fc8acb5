"""Arguments of nonparametric mixtures, checked, and the posteriors they start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _validate
from . import _bandwidths
from ._smoothing import FINEST, Grid

_LLOYD_STEPS = 1000
# Spreads of values whose squares neither overflow nor vanish.
_LEAST, _MOST = 1e-140, 1e140
RULES = {
    "adaptive": _bandwidths.normal_reference_weighted,
    "S": _bandwidths.normal_reference_weighted,
    "cv": _bandwidths.cross_validated,
}


def finite(rows: np.ndarray) -> np.ndarray:
    """Return X if it holds neither NaN nor infinity."""
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = bad[0]
        kind = "NaN" if np.isnan(rows[row, column]) else str(rows[row, column])
        raise ValueError(
            f"X must be finite, got {kind} at row {row}, column {column}; drop or impute such rows "
            "first"
        )
    return rows


def check_scale(rows: np.ndarray, blocks: np.ndarray, shared_grid: bool) -> None:
    """Refuse values so far apart, or so close, that squares of their distances have no number.

    Each block is looked at by itself where it has a grid of its own.
    """
    parts = {"X": rows}
    if not shared_grid:
        for block in range(blocks.max() + 1):
            parts[f"block {block} of X"] = rows[:, blocks == block]
    for name, values in parts.items():
        low, high = float(values.min()), float(values.max())
        spread = high - low
        if spread and not _LEAST <= spread <= _MOST:
            raise ValueError(
                f"{name} must have entries that spread over {_LEAST:g} to {_MOST:g}, got "
                f"{spread:.3g} between {low:.3g} and {high:.3g}; "
                f"{'divide' if spread > _MOST else 'multiply'} it by a constant"
            )


def block_numbers(blocks: Any, n_features: int) -> np.ndarray:
    """Give the blocks numbers from 0, in the order of their sorted labels."""
    if blocks is None:
        return np.arange(n_features)
    labels = np.asarray(blocks)
    if labels.shape != (n_features,) or labels.dtype.kind not in "iuUSO":
        raise ValueError(
            f"blocks must hold one label for each of the {n_features} columns of X, got "
            f"shape {labels.shape} of dtype {labels.dtype}"
        )
    return np.unique(labels, return_inverse=True)[1].reshape(n_features)


def bandwidth(value: Any, rows: np.ndarray, n_blocks: int) -> tuple[np.ndarray, Callable | None]:
    """Return bandwidths (n_blocks,) and the rule that renews them, None if they are fixed."""
    if isinstance(value, str):
        rule = RULES[_validate.one_of(value, "bandwidth", tuple(RULES))]
        return np.full(n_blocks, _bandwidths.normal_reference(rows)), rule
    if value is None:
        return np.full(n_blocks, _bandwidths.normal_reference(rows)), None
    widths = np.asarray(value)
    if widths.dtype.kind not in "fiu" or widths.shape not in ((), (n_blocks,)):
        raise ValueError(
            "bandwidth must be a number, one number for each of the "
            f"{n_blocks} blocks, 'adaptive', 'S' or 'cv', got {value!r}"
        )
    if not (np.isfinite(widths).all() and (widths > 0).all()):
        raise ValueError(f"bandwidth must be finite and positive, got {value!r}")
    return np.broadcast_to(widths, n_blocks).astype(np.float64), None


def check_step(widths: np.ndarray, grid: Grid) -> None:
    """Refuse a grid that is too coarse for fixed bandwidths."""
    coarse = np.flatnonzero(widths < FINEST * grid.steps)
    if not len(coarse):
        return
    block = coarse[0]
    wanted = int(np.ceil(grid.size * grid.steps[block] * FINEST / widths[block])) + 1
    raise ValueError(
        f"bandwidth must be at least half the grid step, got {widths[block]:.3g} for a step of "
        f"{grid.steps[block]:.3g} in block {block}; pass n_grid={wanted} or more, a larger "
        "bandwidth, shared_grid=False if blocks have different units, or transform X if few "
        "values are far from all others"
    )


def check_distinct(rows: np.ndarray, n_components: int) -> None:
    """Refuse k-means with more centers than distinct rows."""
    n_distinct = len(np.unique(rows, axis=0))
    if n_distinct < n_components:
        raise ValueError(
            f"X must have at least n_components={n_components} distinct rows, got {n_distinct}; "
            "lower n_components or give posteriors as init"
        )


def _lloyd(rows: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Hard posteriors of Lloyd's iteration; a center without rows stays where it is."""
    labels = np.empty(0)
    for _ in range(_LLOYD_STEPS):
        before = labels
        labels = ((centers**2).sum(axis=1) - 2 * rows @ centers.T).argmin(axis=1)
        if np.array_equal(labels, before):
            break
        member = np.eye(len(centers))[labels]
        counts = member.sum(axis=0)[:, None]
        centers = np.where(counts > 0, member.T @ rows / np.maximum(counts, 1), centers)
    return np.eye(len(centers))[labels]


def from_seed(rows: np.ndarray, n_components: int, seed: np.random.SeedSequence) -> np.ndarray:
    """Hard posteriors of k-means from k-means++ seeds."""
    from sklearn.cluster import kmeans_plusplus

    state = np.random.RandomState(seed.generate_state(1)[0])
    centered = rows - rows.mean(axis=0)
    return _lloyd(centered, kmeans_plusplus(centered, n_components, random_state=state)[0])


def given(init: Any, rows: np.ndarray, n_components: int) -> np.ndarray:
    """Posteriors that were given, or hard ones of k-means from centers that were."""
    array = _validate.data_matrix(init, "init", minimum_rows=1)
    n, n_features = rows.shape
    if array.shape == (n_components, n_features):
        check_distinct(rows, n_components)
        mean = rows.mean(axis=0)
        return _lloyd(rows - mean, array - mean)
    if array.shape != (n, n_components):
        raise ValueError(
            f"init must be 'k-means++', centers of shape ({n_components}, {n_features}) or "
            f"posteriors of shape ({n}, {n_components}), got shape {array.shape}"
        )
    sums = array.sum(axis=1)
    if (array < 0).any() or np.abs(sums - 1).max() > 1e-6:
        row = int(np.abs(sums - 1).argmax())
        raise ValueError(
            "init must have posteriors from 0 to 1 that sum to 1 in each row, got a sum of "
            f"{sums[row]:g} in row {row} and a least entry of {array.min():g}"
        )
    return array / sums[:, None]
