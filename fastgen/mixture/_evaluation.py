"""Log densities of a fitted mixture at any rows."""

from __future__ import annotations

import dataclasses

import numpy as np

from . import _smoothing
from ._smoothing import FLOOR, Engine, Grid, Points

# At this many bandwidths from all data a log density is at its floor.
_BEYOND = 45.0


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What evaluation needs of a fit.

    Attributes
    ----------
    points : Points
        The data fitted to.
    grid : Grid
    smooth : bool
    totals : ndarray (K,)
        Sums of the posteriors that made the densities.
    point_weights : ndarray (points, K)
    grid_logs : ndarray (B, size, K)
    bandwidths : ndarray (B, K)
    weights : ndarray (K,)
    blocks : ndarray (n_features,)
    device : str
    """

    points: Points
    grid: Grid
    smooth: bool
    totals: np.ndarray
    point_weights: np.ndarray
    grid_logs: np.ndarray
    bandwidths: np.ndarray
    weights: np.ndarray
    blocks: np.ndarray
    device: str


def evaluate(fit: Fitted, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (n, K) and log densities (n,) of rows; a row's do not depend on the others."""
    points = _smoothing.sort_points(rows, fit.blocks)
    engine = Engine(points, fit.grid, len(fit.weights), fit.device)
    logs = _smoothed(fit, points, engine) if fit.smooth else _plain(fit, points)
    out = engine.arrays.empty((len(rows), len(fit.weights)))
    densities = engine.arrays.empty(len(rows))
    padded = _padded(logs, engine)
    engine.posteriors(engine.arrays.asarray(padded), _smoothing.log(fit.weights), out, densities)
    return _smoothing.host(out), _smoothing.host(densities)


def _padded(logs: np.ndarray, engine: Engine) -> np.ndarray:
    """Add the components that fill a vector register."""
    missing = engine.pitch - logs.shape[-1]
    return np.pad(logs, [(0, 0)] * (logs.ndim - 1) + [(0, missing)])


def _smoothed(fit: Fitted, points: Points, engine: Engine) -> np.ndarray:
    """Smoothed log densities (points, K); outside the range of the data on a longer grid."""
    xp = engine.arrays
    logs = _smoothing.host(
        engine.smoothed(xp.asarray(_padded(fit.grid_logs, engine)), fit.bandwidths)
    )[:, : len(fit.weights)].copy()
    longer, longer_logs = _extended(fit)
    low = fit.points.values[fit.points.starts[:-1]]
    high = fit.points.values[fit.points.starts[1:] - 1]
    outside = np.zeros(len(points.values), dtype=bool)
    values = points.values.copy()
    for block in range(points.n_blocks):
        here = points.block(block)
        outside[here] = (values[here] < low[block]) | (values[here] > high[block])
        room = _BEYOND * fit.bandwidths[block].max()
        values[here] = np.clip(values[here], low[block] - room, high[block] + room)
    if outside.any():
        far = Engine(points._replace(values=values), longer, len(fit.weights), fit.device)
        found = far.smoothed(xp.asarray(_padded(longer_logs, far)), fit.bandwidths)
        logs[outside] = _smoothing.host(found)[outside, : len(fit.weights)]
    return logs


def _extended(fit: Fitted) -> tuple[Grid, np.ndarray]:
    """Lengthen the grid: away from all data a log density bends by -1/h^2, as one kernel does."""
    n_more = int(np.ceil((_BEYOND + 10) * (fit.bandwidths.max(axis=1) / fit.grid.steps).max()))
    steps = fit.grid.steps[:, None, None]
    bends = 0.5 / fit.bandwidths[:, None, :] ** 2
    beyond = steps * np.arange(1, n_more + 1)[None, :, None]
    ends = []
    for edge, inner in ((0, 1), (-1, -2)):
        last, before = fit.grid_logs[:, edge][:, None], fit.grid_logs[:, inner][:, None]
        slope = (last - before - bends * steps**2) / steps
        ends.append(np.maximum(last + slope * beyond - bends * beyond**2, FLOOR))
    grid = Grid(fit.grid.origins - n_more * fit.grid.steps, fit.grid.steps, fit.grid.size)
    logs = np.concatenate([ends[0][:, ::-1], fit.grid_logs, ends[1]], axis=1)
    return grid._replace(size=logs.shape[1]), logs


def _plain(fit: Fitted, points: Points) -> np.ndarray:
    """Log densities (points, K), where the new points join the data without weight."""
    joined, starts, weights, where = [], [0], [], []
    for block in range(points.n_blocks):
        old, new = fit.points.block(block), points.block(block)
        values = np.union1d(fit.points.values[old], points.values[new])
        mass = np.zeros((len(values), len(fit.weights)))
        mass[np.searchsorted(values, fit.points.values[old])] = fit.point_weights[old]
        where.append(starts[-1] + np.searchsorted(values, points.values[new]))
        joined.append(values)
        weights.append(mass)
        starts.append(starts[-1] + len(values))
    everything = points._replace(values=np.concatenate(joined), starts=np.array(starts))
    engine = Engine(everything, fit.grid, len(fit.weights), fit.device)
    engine.weights[:, : len(fit.weights)] = engine.arrays.asarray(np.concatenate(weights))
    logs = _smoothing.host(engine.point_logs(fit.totals, fit.bandwidths))
    return logs[np.concatenate(where), : len(fit.weights)]


def effective_parameters(fit: Fitted) -> float:
    """Count the parameters that the densities and mixing weights are worth.

    The leverage of an entry is the share of its own kernel in the density there; a density has the
    sum of leverages less one, for it integrates to one. Weights add K - 1.
    """
    engine = Engine(fit.points, fit.grid, len(fit.weights), fit.device)
    xp = engine.arrays
    engine.weights[:, : len(fit.weights)] = xp.asarray(fit.point_weights)
    sums = xp.zeros_like(engine.weights)
    widths = xp.asarray(fit.bandwidths)
    engine.kernels.pair_sums(engine.values, engine.starts, engine.weights, widths, sums)
    shares = fit.point_weights / np.maximum(
        _smoothing.host(sums)[:, : len(fit.weights)], np.finfo(float).tiny
    )
    present = int((fit.weights > 0).sum())
    return float(shares.sum()) - fit.points.n_blocks * present + present - 1
