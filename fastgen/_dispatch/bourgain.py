"""The kernels of ``fastgen.modes.BourgainEmbedding``."""

from __future__ import annotations

from typing import Any

import numpy as np

# Points that one task takes; a multiple of the kernels' tile.
_ROWS = 256


def set_distances(
    rows: np.ndarray, sets: np.ndarray, *, matrix: bool, device: str, n_jobs: int | None
) -> np.ndarray:
    """Return the distances of all points to the nearest member of each set, 0 to an empty one.

    Parameters
    ----------
    rows : float64 array, (n, n) or (n, d)
        A symmetric matrix of distances if ``matrix``, else points with the Euclidean distance.
    sets : bool array (n_sets, n)
    matrix : bool
    device : {"cpu", "cuda"}
    n_jobs : int or None

    Returns
    -------
    float64 array (n, n_sets)
    """
    if device == "cuda":
        return _on_device(rows, sets, matrix)
    from ..kernels.cpu import bourgain

    kernel = bourgain.matrix_set_distances if matrix else bourgain.point_set_distances
    starts = np.concatenate([[0], np.count_nonzero(sets, axis=0).cumsum()])
    belongs = np.ascontiguousarray(np.nonzero(sets.T)[1])
    out = np.empty((len(rows), len(sets)))

    def part(first: int) -> None:
        kernel(rows, starts, belongs, first, out[first : first + _ROWS])

    _in_parts(part, len(rows), n_jobs)
    return out


def _on_device(rows: np.ndarray, sets: np.ndarray, matrix: bool) -> np.ndarray:
    from .. import _arrays
    from ..kernels.cuda import bourgain

    xp = _arrays.require_device()
    starts = np.concatenate([[0], np.count_nonzero(sets, axis=1).cumsum()])
    members = np.ascontiguousarray(np.nonzero(sets)[1])
    given = xp.asarray(rows if matrix else np.ascontiguousarray(rows.T))
    kernel = bourgain.matrix_set_distances if matrix else bourgain.point_set_distances
    found = kernel(given, xp.asarray(starts), xp.asarray(members))
    return np.ascontiguousarray(_arrays.to_numpy(found).T)


def pair_ratios(
    embedding: np.ndarray, rows: np.ndarray, *, matrix: bool, n_jobs: int | None
) -> tuple[float, float]:
    """Return least and most of ``||e(x) - e(y)|| / dist(x, y)`` over pairs with dist > 0.

    Parameters
    ----------
    embedding : float64 array (n, q)
    rows, matrix, n_jobs
        As for `set_distances`.

    Returns
    -------
    least, most : float
        Infinity and 0 if all distances are 0.
    """
    from ..kernels.cpu import bourgain

    kernel = bourgain.matrix_pair_ratios if matrix else bourgain.point_pair_ratios
    n = len(rows)
    extremes = np.full((-(-n // _ROWS), 2), [np.inf, 0.0])

    def part(first: int) -> None:
        kernel(embedding, rows, first, min(first + _ROWS, n), extremes[first // _ROWS])

    _in_parts(part, n, n_jobs)
    return float(np.sqrt(extremes[:, 0].min())), float(np.sqrt(extremes[:, 1].max()))


def asymmetry(distances: np.ndarray) -> tuple[float, float, float]:
    """Return the largest difference of mirrored entries of a matrix, its largest and smallest."""
    from ..kernels.cpu import bourgain

    return bourgain.asymmetry(distances)


def _in_parts(part: Any, n: int, n_jobs: int | None) -> None:
    import joblib

    joblib.Parallel(n_jobs, require="sharedmem")(
        joblib.delayed(part)(first) for first in range(0, n, _ROWS)
    )
