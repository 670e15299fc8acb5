"""The iterations of npMSL and npEM on sorted points."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _arrays
from .._dispatch import compiling, smoothing

# Log densities are not followed below this (Levine, Hunter and Chauveau's own guard).
FLOOR = -500.0
# Bandwidths relative to the grid step, below which sums over the grid are no integrals.
FINEST = 0.5
# Kernels times components that plain arrays may make once, and go through in each iteration: they
# take at most 0.03 s longer than compiled code, or twice as long.
_PLAIN_ONCE, _PLAIN_OFTEN = 2e6, 6e5
_ROOT_TWO_PI = np.sqrt(2 * np.pi)


class Points(NamedTuple):
    """The distinct values of each block of coordinates.

    Attributes
    ----------
    values : ndarray (points,)
        Sorted within each block.
    starts : ndarray (B + 1,)
        Block l holds ``values[starts[l]:starts[l + 1]]``.
    entries : ndarray (n_samples, n_features)
        Point of each entry.
    counts : ndarray (points,)
        Number of entries of each value.
    sorted_rows : tuple of ndarray (n_samples * size,)
        Rows of the entries of each block in the order of their values; equal ones are in the order
        of columns, then rows.
    sizes : ndarray (B,)
        Number of coordinates of each block.
    """

    values: np.ndarray
    starts: np.ndarray
    entries: np.ndarray
    counts: np.ndarray
    sorted_rows: tuple[np.ndarray, ...]
    sizes: np.ndarray

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.sizes)

    def block(self, number: int) -> slice:
        """Return where the points of a block are."""
        return slice(self.starts[number], self.starts[number + 1])


class Grid(NamedTuple):
    """A uniform grid for each block: ``origins[l] + a * steps[l]`` for a below ``size``."""

    origins: np.ndarray
    steps: np.ndarray
    size: int

    @property
    def positions(self) -> np.ndarray:
        """Grid points (B, size)."""
        return self.origins[:, None] + self.steps[:, None] * np.arange(self.size)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an iteration needs besides the posteriors.

    Attributes
    ----------
    points : Points
    grid : Grid
    smooth : bool
        npMSL, else npEM.
    bandwidths : ndarray (B, K)
        Where they start, and stay without ``rule``.
    rule : callable or None
        New bandwidths (B, K) from the points, the weights (points, K) of the components at the
        points and the posteriors.
    max_iter, tol
        When to stop.
    stochastic : bool
        Replace posteriors by draws in the density step, and average.
    memory_budget : int
        Bytes that cached kernels may take.
    device : str
    """

    points: Points
    grid: Grid
    smooth: bool
    bandwidths: np.ndarray
    rule: Callable | None
    max_iter: int
    tol: float
    stochastic: bool
    memory_budget: int
    device: str


@dataclasses.dataclass
class Outcome:
    """Where the iterations ended.

    Attributes
    ----------
    weights : ndarray (K,)
    totals : ndarray (K,)
        Sums of the posteriors that made the densities.
    posteriors : ndarray (n, K)
    point_weights : ndarray (points, K)
        Posteriors summed over equal values, from which the densities were made.
    grid_logs : ndarray (B, size, K)
        Log densities on the grid.
    bandwidths, widest : ndarray (B, K), float
        The last ones, and the largest in grid margins of any iteration.
    floored : bool
        Whether a bandwidth of the last iteration was raised to what the grid resolves.
    objective : list of float
    converged : bool
    """

    weights: np.ndarray
    totals: np.ndarray
    posteriors: np.ndarray
    point_weights: np.ndarray
    grid_logs: np.ndarray
    bandwidths: np.ndarray
    widest: float
    floored: bool
    objective: list[float]
    converged: bool


def sort_points(rows: np.ndarray, blocks: np.ndarray) -> Points:
    """Collapse equal values of a block; ``blocks`` numbers the columns' blocks from 0."""
    n, d = rows.shape
    index = np.empty((n, d), dtype=np.int64)
    values, counts, sorted_rows, starts = [], [], [], [0]
    sizes = np.bincount(blocks)
    for block in range(len(sizes)):
        columns = np.flatnonzero(blocks == block)
        stacked = rows[:, columns].T.ravel()
        distinct, inverse = np.unique(stacked, return_inverse=True)
        index[:, columns] = starts[-1] + inverse.reshape(len(columns), n).T
        values.append(distinct)
        counts.append(np.bincount(inverse.ravel()))
        sorted_rows.append(stacked.argsort(kind="stable") % n)
        starts.append(starts[-1] + len(distinct))
    return Points(
        np.concatenate(values),
        np.array(starts),
        index,
        np.concatenate(counts),
        tuple(sorted_rows),
        sizes,
    )


def make_grid(
    points: Points, size: int, margin: float, shared: bool, widths: np.ndarray | float
) -> Grid:
    """Cover the points and ``margin`` ranges on both sides, or four bandwidths if that is short.

    ``widths`` are fixed bandwidths (B,), 0 if they adapt. ``shared`` makes one grid of all blocks.
    """
    low = points.values[points.starts[:-1]]
    high = points.values[points.starts[1:] - 1]
    widths = np.broadcast_to(widths, low.shape)
    if shared:
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
        widths = np.full_like(low, widths.max())
    # a constant block has no range of its own
    span = np.where(high > low, high - low, np.ptp(points.values))
    room = margin * span
    room = np.where(room < 2 * widths, 4 * widths, room)
    return Grid(low - room, (high - low + 2 * room) / (size - 1), size)


def padded(n_components: int) -> int:
    """Return the number of components with those that fill a vector register."""
    return -(-n_components // smoothing.LANES) * smoothing.LANES


class Engine:
    """Arrays and kernels of one mixture on one device.

    Parameters
    ----------
    points : Points
    grid : Grid
    n_components : int
    device : {"cpu", "cuda"}
    plain : bool, optional
        Whether plain arrays do the work of kernels, by default where it is little if done once.
    """

    def __init__(
        self,
        points: Points,
        grid: Grid,
        n_components: int,
        device: str,
        plain: bool | None = None,
    ) -> None:
        if plain is None:
            pairs = float((np.diff(points.starts).astype(float) ** 2).sum())
            work = n_components * (pairs + float(len(points.values)) * grid.size)
            plain = not compiling.worthwhile(work, _PLAIN_ONCE)
        self.arrays, self.kernels, self._caches = smoothing.backend(device, plain=plain)
        self.points, self.grid, self.n_components = points, grid, n_components
        put = self.arrays.asarray
        self.values, self.starts = put(points.values), put(points.starts)
        self._entries = put(points.entries)
        self._entry_rows = put(np.concatenate(points.sorted_rows))
        self._bounds = put(np.concatenate([[0], points.counts.cumsum()]))
        self._origins, self._steps = put(grid.origins), put(grid.steps)
        self.pitch = padded(n_components)
        self.weights = self.arrays.zeros((len(points.values), self.pitch))
        self._at_points = self.arrays.zeros((len(points.values), self.pitch))
        self._on_grid = self.arrays.zeros((points.n_blocks, grid.size, self.pitch))
        self._cache = self.arrays.zeros((0, smoothing.LANES))

    def keep_kernels(self, bandwidths: np.ndarray, budget: int) -> None:
        """Cache the kernels of bandwidths that will not change, if they fit into the budget."""
        if not self._caches:
            return
        place = (self.values, self.starts, self._origins, self._steps, bandwidths, self.grid.size)
        rows = self.kernels.cache_rows(*place)
        if rows * smoothing.LANES * 8 <= budget:
            self._cache = np.empty((rows, smoothing.LANES))
            self.kernels.fill_cache(*place, self._cache)

    def collapse(self, posteriors: Any) -> None:
        """Sum posteriors over equal values."""
        self.kernels.block_weights(posteriors, self._entry_rows, self._bounds, self.weights)

    def _scales(self, totals: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
        """Return what turns kernel sums into densities, (B, pitch)."""
        scales = np.ones((len(bandwidths), self.pitch))
        scales[:, : self.n_components] = (
            _ROOT_TWO_PI * totals * self.points.sizes[:, None] * bandwidths
        )
        scales[scales == 0] = 1.0  # a component without weight has no sums either
        return self.arrays.asarray(scales)

    def _floored_logs(self, sums: Any, scales: Any) -> Any:
        with np.errstate(divide="ignore"):
            return self.arrays.maximum(self.arrays.log(sums / scales), FLOOR)

    def grid_logs(self, totals: np.ndarray, bandwidths: np.ndarray) -> Any:
        """Log densities (B, size, pitch) on the grid, of the collapsed posteriors."""
        place = (self._origins, self._steps, self.arrays.asarray(bandwidths), self._cache)
        self.kernels.grid_sums(self.values, self.starts, self.weights, *place, self._on_grid)
        return self._floored_logs(self._on_grid, self._scales(totals, bandwidths)[:, None])

    def smoothed(self, grid_logs: Any, bandwidths: np.ndarray) -> Any:
        """Smoothed log densities (points, pitch) at the points."""
        place = (self._origins, self._steps, self.arrays.asarray(bandwidths), self._cache)
        self.kernels.smoothed_logs(self.values, self.starts, grid_logs, *place, self._at_points)
        return self._at_points

    def point_logs(self, totals: np.ndarray, bandwidths: np.ndarray) -> Any:
        """Log densities (points, pitch) at the points, each point's own kernel included."""
        h = self.arrays.asarray(bandwidths)
        self.kernels.pair_sums(self.values, self.starts, self.weights, h, self._at_points)
        scales = self._scales(totals, bandwidths)
        for block in range(self.points.n_blocks):
            here = self.points.block(block)
            self._at_points[here] = self._floored_logs(self._at_points[here], scales[block])
        return self._at_points

    def log_densities(self, totals: np.ndarray, bandwidths: np.ndarray, smooth: bool) -> Any:
        """Log densities at the points that npMSL (``smooth``) or npEM multiplies."""
        if not smooth:
            return self.point_logs(totals, bandwidths)
        return self.smoothed(self.grid_logs(totals, bandwidths), bandwidths)

    def posteriors(self, logs: Any, log_weights: np.ndarray, out: Any, rows: Any) -> None:
        """Write posteriors (n, K) and log densities (n,) of the rows."""
        put = self.arrays.asarray
        self.kernels.posteriors(logs, self._entries, put(log_weights), out, rows)


def host(array: Any) -> np.ndarray:
    """Bring an array of any device to the host."""
    return np.asarray(_arrays.to_host(array))


def log(weights: np.ndarray) -> np.ndarray:
    """Return logarithms, minus infinity of 0."""
    with np.errstate(divide="ignore"):
        return np.log(weights)


class _Widths:
    """Bandwidths of the iterations, kept above what the grid resolves."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._finest = FINEST * plan.grid.steps[:, None]
        self._margin = plan.points.values[plan.points.starts[:-1]] - plan.grid.origins
        self.now = plan.bandwidths
        self.widest = 0.0
        self.floored = False
        self.change = 0.0

    def update(self, engine: Engine, posteriors: Any) -> np.ndarray:
        """Return the bandwidths of this iteration, from the posteriors it starts with."""
        if self._plan.rule is not None:
            posteriors = host(posteriors)
            weights = host(engine.weights)[:, : posteriors.shape[1]]
            wanted = self._plan.rule(self._plan.points, weights, posteriors)
            # a component of equal values has no spread at all
            present = posteriors.sum(axis=0) > 0
            self.floored = bool((wanted < self._finest)[:, present].any())
            wanted = np.maximum(wanted, self._finest)
            self.change = float(np.abs(wanted - self.now).max())
            self.now = wanted
        self.widest = max(self.widest, float((self.now.max(axis=1) / self._margin).max()))
        return self.now


def iterate(
    plan: Plan,
    posteriors: np.ndarray,
    rng: np.random.Generator,
    report: Callable[[], None] | None = None,
) -> Outcome:
    """Run npMSL or npEM from posteriors (n, K), which are not overwritten.

    An iteration takes the mixing weights and densities from the posteriors, then new posteriors
    and the objective from those. It is the last when the mixing weights, and for npEM adaptive
    bandwidths too, differ from those of the iteration before by less than ``tol``.
    """
    n, n_components = posteriors.shape
    keeps = plan.rule is None and plan.smooth
    numbers = float(len(plan.points.values)) * plan.grid.size
    plain = keeps and 8 * numbers <= plan.memory_budget
    plain = plain and not compiling.worthwhile(numbers * n_components, _PLAIN_OFTEN)
    engine = Engine(plan.points, plan.grid, n_components, plan.device, plain)
    if keeps:
        engine.keep_kernels(plan.bandwidths, plan.memory_budget)
    current = engine.arrays.asarray(posteriors.copy())
    rows = engine.arrays.empty(n)
    widths = _Widths(plan)
    average = np.zeros((n, n_components))
    average_weights = np.zeros(n_components)
    weights = np.full(n_components, np.inf)
    objective: list[float] = []
    converged = False
    while len(objective) < plan.max_iter and not converged:
        previous = weights
        weights = host(current.sum(axis=0)) / n
        used = current
        if plan.stochastic:
            used = engine.arrays.asarray(_draw(host(current), rng))
        engine.collapse(used)
        totals = host(used.sum(axis=0))  # before the posteriors are overwritten
        bandwidths = widths.update(engine, used)
        logs = engine.log_densities(totals, bandwidths, plan.smooth)
        engine.posteriors(logs, log(weights), current, rows)
        objective.append(float(rows.sum()))
        if plan.stochastic:
            average += host(current)
            average_weights += weights
        else:
            settled = plan.smooth or widths.change < plan.tol
            converged = settled and float(np.abs(weights - previous).max()) < plan.tol
        if report is not None:
            report()
    if plan.stochastic:
        weights = average_weights / len(objective)
        average /= len(objective)
        totals = average.sum(axis=0)
        current = engine.arrays.asarray(average)
        engine.collapse(current)
    shown = np.maximum(widths.now, FINEST * plan.grid.steps[:, None])
    grid_logs = host(engine.grid_logs(totals, shown))
    return Outcome(
        weights=weights,
        totals=totals,
        posteriors=host(current),
        point_weights=host(engine.weights)[:, :n_components].copy(),
        grid_logs=grid_logs[:, :, :n_components].copy(),
        bandwidths=widths.now,
        widest=widths.widest,
        floored=widths.floored,
        objective=objective,
        converged=converged,
    )


def _draw(posteriors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one component for each row."""
    cumulative = posteriors.cumsum(axis=1)
    picked = (rng.random((len(posteriors), 1)) * cumulative[:, -1:] >= cumulative).sum(axis=1)
    drawn = np.zeros_like(posteriors)
    drawn[np.arange(len(drawn)), np.minimum(picked, posteriors.shape[1] - 1)] = 1.0
    return drawn
