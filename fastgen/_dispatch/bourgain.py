"""The kernels of ``fastgen.modes.BourgainEmbedding``."""

from __future__ import annotations

from typing import Any

import numpy as np

# Points that one task takes; a multiple of the kernels' tile.
_ROWS = 128
# Ratios as near to an extreme as this are evaluated in float64.
_SHARE = 1e-3


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
    coarse, bounds = _rounded(embedding)
    extremes = np.full((-(-n // _ROWS), 2), [np.inf, 0.0])

    def part(first: int) -> None:
        kernel(
            embedding, coarse, bounds, rows, first, min(first + _ROWS, n), extremes[first // _ROWS]
        )

    _in_parts(part, n, n_jobs)
    return float(np.sqrt(extremes[:, 0].min())), float(np.sqrt(extremes[:, 1].max()))


def _rounded(rows: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Return rows in float32, centered and in the unit ball, and bounds of the squares of gaps.

    With u = 2^-24, a gap of two rows of the unit ball is off by at most 2 u, and the sum of its q
    squares by a factor of 1 +- (q + 3) u. For every t in (0, 1), ``(a + e)^2`` is at most
    ``(1 + t) a^2 + (1 + 1 / t) e^2`` and ``(a - e)^2`` at least ``(1 - t) a^2 - (1 / t - 1) e^2``.
    A row of zeros is added at the end.
    """
    centered = rows - rows.mean(axis=0)
    radius = float(np.sqrt(np.einsum("ij,ij->i", centered, centered).max())) or 1.0
    coarse = np.zeros((len(rows) + 1, rows.shape[1]), np.float32)
    coarse[:-1] = centered / radius
    u = 2.0**-24
    rounding = 2 * (rows.shape[1] + 8) * u
    slack = (1 / _SHARE + 2) * (2.5 * u * radius) ** 2
    return coarse, (radius**2, (1 - _SHARE) * (1 - rounding), (1 + _SHARE) * (1 + rounding), slack)


def asymmetry(distances: np.ndarray) -> tuple[float, float, float, bool]:
    """Run ``kernels.cpu.bourgain.asymmetry``."""
    from ..kernels.cpu import bourgain

    return bourgain.asymmetry(distances)


def _in_parts(part: Any, n: int, n_jobs: int | None) -> None:
    import joblib

    if joblib.effective_n_jobs(n_jobs) == 1:
        for first in range(0, n, _ROWS):
            part(first)
        return
    joblib.Parallel(n_jobs, require="sharedmem")(
        joblib.delayed(part)(first) for first in range(0, n, _ROWS)
    )
