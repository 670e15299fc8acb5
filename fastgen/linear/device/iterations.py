"""The iterative solvers on the device: many cells at a time, each with its own end.

The iterations are those of ``kernels/cpu/alternating.py``. A step works on all cells that still
run; a cell that ends is written out, and the arrays shrink when half of the cells have ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from . import batch as _batch
from .batch import Batch, squared, swap, to_numpy, transposed_inverse

# Below this ratio of eigenvalues the Gram matrix has lost the small singular values.
_COARSE = 1e-11
# Below this ratio of diagonal entries a triangular factor is taken for singular.
_SINGULAR = 1e-10
_MEMORY = 5


def polar_factors(batch: Batch, m: Any, sizes: np.ndarray) -> tuple[Any, Any]:
    """Return polar factors and nuclear norms of matrices (c, rows, columns).

    Only the first ``sizes[i]`` columns of a matrix are not zero; if there are more rows than
    columns, or for every matrix at least as many columns in use as rows.
    """
    xp = batch.xp
    wide = m.shape[1] < m.shape[2]
    values, vectors = batch.engine.symmetric_eigen(m @ swap(m) if wide else swap(m) @ m)
    side = values.shape[1]
    padding = np.zeros_like(sizes) if wide else side - sizes
    used = xp.asarray(np.arange(side) >= padding[:, None])  # zeros come first
    values = xp.where(used, values, 0.0)
    roots = xp.sqrt(xp.maximum(values, 0.0))
    inverse = xp.where(roots > 0, 1 / xp.where(roots > 0, roots, 1.0), 0.0)
    inverse = (vectors * inverse[:, None, :]) @ swap(vectors)
    polar = inverse @ m if wide else m @ inverse
    nuclear = roots.sum(axis=1)
    least = xp.take_along_axis(values, xp.asarray(padding)[:, None], axis=1)[:, 0]
    coarse = ~(least > _COARSE * values[:, -1]) & xp.isfinite(values[:, -1])
    for size, index in _equal(to_numpy(xp, coarse), sizes):
        where = xp.asarray(index)
        u, s, vt = xp.linalg.svd(m[where][:, :, :size], full_matrices=False)
        polar[where] = 0.0
        polar[where, :, :size] = u @ vt
        nuclear[where] = s.sum(axis=1)
    return polar, nuclear


def _equal(chosen: np.ndarray, *sizes: np.ndarray) -> Iterator[tuple]:
    """Yield the different sizes of the chosen cells and the cells that have them."""
    if chosen.any():
        table = np.stack(sizes, axis=1)
        for line in np.unique(table[chosen], axis=0):
            yield *map(int, line), np.flatnonzero(chosen & (table == line).all(axis=1))


@dataclasses.dataclass
class Cells:
    """Cells of "penalized" and "constrained"; columns of G beyond ``sizes`` (c,) stay zero.

    Attributes
    ----------
    root : array (c, r, 1)
        Standard deviations of the data along their principal axes.
    x : array (c, r, n)
        Data of the pairs along these axes.
    b : array (c, q, n)
        Their latents along the columns of G, ``b b^T`` diagonal; zero in free columns.
    held : array (c, 1, q)
        Columns that do not move, which are those of the pairs in "constrained".
    constant : array (c,)
        What makes the objective a distance.
    sizes : ndarray of int (c,)
        Columns of G in use.
    """

    root: Any
    x: Any
    b: Any
    held: Any
    constant: Any
    sizes: np.ndarray

    def take(self, xp: ModuleType, index: np.ndarray) -> Cells:
        """Return some of the cells."""
        where = xp.asarray(index)
        names = ("root", "x", "b", "held", "constant")
        return Cells(**{n: getattr(self, n)[where] for n in names}, sizes=self.sizes[index])


class _Objective:
    """``weight ||x - G b||^2 + ||G||^2 - 2 ||root G||_* + constant`` and its majoriser."""

    def __init__(self, batch: Batch, cells: Cells, weight: float) -> None:
        self.batch, self.cells, self.weight = batch, cells, weight
        self.metric = 1 + weight * (cells.b**2).sum(axis=2)[:, None, :]
        self.target = weight * (cells.x @ swap(cells.b))

    def __call__(self, g: Any) -> tuple[Any, Any]:
        """Return the objective at g and the minimiser of its quadratic majoriser there."""
        cells = self.cells
        polar, nuclear = polar_factors(self.batch, cells.root * g, cells.sizes)
        value = cells.constant + (squared(g) - 2 * nuclear)
        if self.weight:
            value = value + self.weight * squared(cells.x - g @ cells.b)
        image = (self.target + cells.root * polar) / self.metric
        return value, self.batch.xp.where(cells.held, g, image)

    def take(self, index: np.ndarray) -> _Objective:
        """Return the objective of some of the cells."""
        return _Objective(self.batch, self.cells.take(self.batch.xp, index), self.weight)


@dataclasses.dataclass
class _Memory:
    """The last steps and changes of gradient of every cell, of which ``valid`` are in use."""

    steps: Any
    changes: Any
    products: Any
    valid: Any
    scale: Any

    @classmethod
    def of(cls, xp: ModuleType, g: Any) -> _Memory:
        return cls(
            xp.zeros((_MEMORY, *g.shape)),
            xp.zeros((_MEMORY, *g.shape)),
            xp.ones((_MEMORY, len(g))),
            xp.zeros((_MEMORY, len(g)), dtype=bool),
            xp.ones(len(g)),
        )

    def take(self, where: Any) -> _Memory:
        arrays = (self.steps, self.changes, self.products, self.valid)
        steps, changes, products, valid = (a[:, where] for a in arrays)
        return _Memory(steps, changes, products, valid, self.scale[where])

    def forget(self, where: Any) -> None:
        self.valid[:, where] = False
        self.scale[where] = 1.0

    def add(self, xp: ModuleType, step: int, s: Any, y: Any, metric: Any) -> None:
        """Keep a pair in the place of the oldest, unless it has no curvature."""
        at = step % _MEMORY
        product, curvature = (s * y).sum(axis=(1, 2)), squared(y)
        good = product > 1e-12 * xp.sqrt(squared(s) * curvature)
        self.steps[at], self.changes[at], self.valid[at] = s, y, good
        self.products[at] = xp.where(good, product, 1.0)
        scaled = xp.where(good, (y * y / metric).sum(axis=(1, 2)), 1.0)
        self.scale = xp.where(good, product / scaled, self.scale)

    def direction(self, xp: ModuleType, step: int, gradient: Any, metric: Any) -> Any:
        """Run the two-loop recursion over the pairs kept before ``step``, newest first."""
        order = [(step - 1 - back) % _MEMORY for back in range(_MEMORY)]
        direction, shares = gradient.copy(), {}
        for at in order:
            share = (self.steps[at] * direction).sum(axis=(1, 2)) / self.products[at]
            shares[at] = xp.where(self.valid[at], share, 0.0)
            direction -= shares[at][:, None, None] * self.changes[at]
        direction *= self.scale[:, None, None] / metric
        for at in reversed(order):
            turn = (self.changes[at] * direction).sum(axis=(1, 2)) / self.products[at]
            share = xp.where(self.valid[at], shares[at] - turn, 0.0)
            direction += share[:, None, None] * self.steps[at]
        return direction


def match_pairs(
    batch: Batch, cells: Cells, start: Any, weight: float, tolerance: float, max_iter: int
) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Minimise the objective of every cell from ``start`` (c, r, q); it never rises.

    L-BFGS steps from the Hessian of the majoriser; where one would raise the objective the
    majoriser's minimiser is taken and the memory of that cell dropped. A cell ends when a step
    gained, and the alternation would gain, no more than ``tolerance`` of its objective.

    Returns
    -------
    g : array (c, r, q)
    history : array (max_iter + 1, c)
        Objectives: of the start, then of every step; NaN beyond the end.
    n_iter, converged : numpy arrays (c,)
    """
    xp, c = batch.xp, len(start)
    found = xp.zeros(start.shape)
    history = xp.full((max_iter + 1, c), np.nan)
    n_iter, converged = np.full(c, max_iter), np.zeros(c, dtype=bool)
    objective = _Objective(batch, cells, weight)
    scale = cells.constant + squared(cells.root)
    running = np.arange(c)  # cells that the arrays hold
    ended = np.zeros(c, dtype=bool)
    here, memory = start, _Memory.of(xp, start)
    value, image = objective(here)
    history[0] = value
    for step in range(1, max_iter + 1):
        metric, rounding = objective.metric, 1e-15 * scale
        gradient = metric * (here - image)
        there = here - memory.direction(xp, step, gradient, metric)
        reached, ahead = objective(there)
        worse = ~(reached <= value + rounding)
        again = to_numpy(xp, worse & memory.valid.any(axis=0)) & ~ended
        if again.any():
            where = xp.asarray(np.flatnonzero(again))
            memory.forget(where)
            there[where] = image[where]
            reached[where], ahead[where] = objective.take(np.flatnonzero(again))(there[where])
            worse = ~(reached <= value + rounding)
        # The alternation's own step gains nothing: rounding is in the way.
        there = xp.where(worse[:, None, None], here, there)
        ahead = xp.where(worse[:, None, None], image, ahead)
        reached = xp.where(worse, value, reached)
        s = there - here
        memory.add(xp, step, s, metric * (there - ahead) - gradient, metric)
        gain, value = value - reached, reached
        here, image = there, ahead
        # The objective is a difference, resolved to rounding; what the alternation would gain from
        # here is a sum of squares and tells progress far below that.
        miss = here - image
        left = (miss * metric * miss).sum(axis=(1, 2))
        share = tolerance * xp.maximum(value, 0.0)
        stop = worse | ((gain <= share + rounding) & (left <= share + 1e-18 * scale))
        going = xp.asarray(np.flatnonzero(~ended))
        history[step, xp.asarray(running[~ended])] = value[going]
        new = to_numpy(xp, stop) & ~ended
        ended |= new
        if new.any():
            found[xp.asarray(running[new])] = here[xp.asarray(np.flatnonzero(new))]
            n_iter[running[new]], converged[running[new]] = step, True
            kept = np.flatnonzero(~ended)
            if kept.size == 0:
                break
            if 2 * kept.size <= running.size:
                where = xp.asarray(kept)
                running, ended = running[kept], ended[kept]
                objective, memory = objective.take(kept), memory.take(where)
                here, image, value, scale = here[where], image[where], value[where], scale[where]
    late = np.flatnonzero(~ended)
    found[xp.asarray(running[late])] = here[xp.asarray(late)]
    return found, history, n_iter, converged


def solve_left(batch: Batch, a: Any, b: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """Return ``pinv(a) @ b``, ``rows`` and ``columns`` (c,) of the matrices (c, m, n) in use."""
    xp = batch.xp
    if max(a.shape[1:]) <= _batch.SIDE:
        found, share = batch.engine.solve_left(a, b, rows, columns)
    else:
        found = xp.zeros((len(a), a.shape[2], b.shape[2]))
        share = xp.zeros(len(a))
        for m, n, index in _equal(np.ones(len(a), dtype=bool), rows, columns):
            where = xp.asarray(index)
            solved = _solve_equal(batch, a[where][:, :m, :n], b[where][:, :m])
            found[where, :n], share[where] = solved
    singular = to_numpy(xp, ~(share > _SINGULAR) & xp.isfinite(share))
    for m, n, index in _equal(singular, rows, columns):
        where = xp.asarray(index)
        found[where] = 0.0
        found[where, :n] = xp.linalg.pinv(a[where][:, :m, :n]) @ b[where][:, :m]
    return found


def _solve_equal(batch: Batch, a: Any, b: Any) -> tuple[Any, Any]:
    """Solve by QR; also the smallest over the largest diagonal entry, 0 for a of zeros."""
    xp = batch.xp
    tall = a.shape[1] >= a.shape[2]
    q, upper = xp.linalg.qr(a if tall else swap(a))
    size = abs(xp.diagonal(upper, axis1=1, axis2=2))
    largest = size.max(axis=1)
    share = size.min(axis=1) / xp.where(largest > 0, largest, 1.0)
    sound = (share > _SINGULAR)[:, None, None]
    inverse = transposed_inverse(batch, xp.where(sound, upper, xp.eye(upper.shape[1])))
    return (swap(inverse) @ (swap(q) @ b) if tall else q @ (inverse @ b)), share


def free_latents(
    batch: Batch,
    x: Any,
    z_pairs: Any,
    z_free: Any,
    sizes: np.ndarray,
    tolerance: float,
    max_iter: int,
) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Alternate between the latents of the unpaired samples and the generator, in every cell.

    Parameters
    ----------
    batch : Batch
        Its array library and kernels are used.
    x : array (c, r, n)
        Data, paired samples first, along their r principal axes.
    z_pairs, z_free : arrays (c, k, n_pairs) and (c, k, n - n_pairs)
        Fixed latents, and the first latents of the others; rows beyond ``sizes`` (c,) are zero.
    sizes : numpy array of int (c,)
    tolerance, max_iter
        Stop when a sweep gains no more than this share of the objective.

    Returns
    -------
    g : array (c, r, k)
    history : array (max_iter, c)
        Objective after every sweep; NaN beyond the end.
    n_iter, converged : numpy arrays (c,)
    """
    xp, (c, r, n), n_pairs = batch.xp, x.shape, z_pairs.shape[2]
    found = xp.zeros((c, r, z_pairs.shape[1]))
    history = xp.full((max_iter, c), np.nan)
    n_iter, converged = np.full(c, max_iter), np.zeros(c, dtype=bool)
    latents = xp.concatenate([z_pairs, z_free], axis=2)
    rounding = 1e-15 * squared(x)
    before = xp.full(c, np.inf)
    running = np.arange(c)
    for step in range(max_iter):
        whole = np.full_like(sizes, n)
        g = swap(solve_left(batch, swap(latents), swap(x), whole, sizes))
        value = squared(x - g @ latents)
        history[step, xp.asarray(running)] = value
        stop = (before - value <= tolerance * value + rounding) | (value <= rounding)
        stop = to_numpy(xp, stop)
        ending = stop if step + 1 < max_iter else np.ones_like(stop)
        if ending.any():
            found[xp.asarray(running[ending])] = g[xp.asarray(np.flatnonzero(ending))]
            n_iter[running[ending]], converged[running[ending]] = step + 1, stop[ending]
            kept = np.flatnonzero(~ending)
            if kept.size == 0:
                break
            where = xp.asarray(kept)
            running, sizes = running[kept], sizes[kept]
            x, latents, g = x[where], latents[where], g[where]
            value, rounding = value[where], rounding[where]
        latents[:, :, n_pairs:] = solve_left(
            batch, g, x[:, :, n_pairs:], np.full_like(sizes, r), sizes
        )
        before = value
    return found, history, n_iter, converged
