"""Arguments and starts of nonparametric mixtures."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _validate
from . import _bandwidths
from ._smoothing import FINEST, Grid

_LLOYD_STEPS = 1000
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


def seed_sequence(random_state: Any) -> np.random.SeedSequence:
    """Return the seeds of all starts."""
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(random_state.integers(2**63, size=4).tolist())
    if isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(random_state.randint(2**31, size=8).tolist())
    if random_state is None:
        return np.random.SeedSequence()
    return np.random.SeedSequence(_validate.integer(random_state, "random_state", minimum=0))


def check_distinct(rows: np.ndarray, n_components: int) -> None:
    """Refuse k-means with more centres than distinct rows."""
    n_distinct = len(np.unique(rows, axis=0))
    if n_distinct < n_components:
        raise ValueError(
            f"X must have at least n_components={n_components} distinct rows, got {n_distinct}; "
            "lower n_components or give posteriors as init"
        )


def _lloyd(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Hard posteriors of Lloyd's iteration; a centre without rows stays where it is."""
    labels = np.empty(0)
    for _ in range(_LLOYD_STEPS):
        before = labels
        labels = ((centres**2).sum(axis=1) - 2 * rows @ centres.T).argmin(axis=1)
        if np.array_equal(labels, before):
            break
        member = np.eye(len(centres))[labels]
        counts = member.sum(axis=0)[:, None]
        centres = np.where(counts > 0, member.T @ rows / np.maximum(counts, 1), centres)
    return np.eye(len(centres))[labels]


def from_seed(rows: np.ndarray, n_components: int, seed: np.random.SeedSequence) -> np.ndarray:
    """Hard posteriors of k-means from k-means++ seeds."""
    from sklearn.cluster import kmeans_plusplus

    state = np.random.RandomState(seed.generate_state(1)[0])
    centred = rows - rows.mean(axis=0)
    return _lloyd(centred, kmeans_plusplus(centred, n_components, random_state=state)[0])


def given(init: Any, rows: np.ndarray, n_components: int) -> np.ndarray:
    """Posteriors that were given, or hard ones of k-means from centres that were."""
    array = _validate.data_matrix(init, "init", minimum_rows=1)
    n, n_features = rows.shape
    if array.shape == (n_components, n_features):
        check_distinct(rows, n_components)
        mean = rows.mean(axis=0)
        return _lloyd(rows - mean, array - mean)
    if array.shape != (n, n_components):
        raise ValueError(
            f"init must be 'k-means++', centres of shape ({n_components}, {n_features}) or "
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


def reporter(progress: Any) -> tuple[Callable | None, Callable]:
    """Return what is called after each iteration, if anything, and at the end."""
    if progress is False or progress is None:
        return None, lambda: None
    if callable(progress):
        lock, done = threading.Lock(), [0]

        def report() -> None:
            with lock:
                done[0] += 1
                progress(done[0])

        return report, lambda: None
    from tqdm import tqdm

    bar = tqdm(unit="iteration", file=sys.stderr)
    return bar.update, bar.close
