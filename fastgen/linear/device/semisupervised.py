"""The iterative problems on the device; ``iterations.py`` has the solvers.

Trials whose data have equal rank go together, so that only the number of columns of G differs from
cell to cell of one array.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..options import CLOSED_FORM, METRICS, RANK_TOLERANCE, ROWS
from . import nested
from .batch import (
    COPIES,
    ITERATED,
    Batch,
    by_rank,
    eigen,
    metrics,
    nuclear_norms,
    squared,
    swap,
    to_numpy,
    transposed_inverse,
    truth_on,
)
from .iterations import Cells, match_pairs
from .iterations import free_latents as alternate


@dataclasses.dataclass
class Axes:
    """Trials whose data have equal rank r, in their principal axes.

    Attributes
    ----------
    index : ndarray of int (t,)
        Which trials of the whole batch they are.
    batch : Batch
        These trials.
    basis : array (t, d, r)
        The principal axes.
    root : array (t, r)
        Standard deviations along them.
    x : array (t, r, n)
        The data along them.
    starts : array (t, r, K)
        First generators along them, but for the factor ``1 / sqrt(k)``.
    truth, rest : arrays
        Triangular factors of the truths on the axes, variances (t, 1) outside.
    """

    index: np.ndarray
    batch: Batch
    basis: Any
    root: Any
    x: Any
    starts: Any
    truth: Any
    rest: Any

    @classmethod
    def of(cls, batch: Batch) -> list[Axes]:
        """Return the groups of a batch, computed once."""
        if "axes" not in batch.kept:
            n = batch.x.shape[2]
            u, s, vt = batch.xp.linalg.svd(batch.x / n**0.5, full_matrices=False)
            ranks = (s > RANK_TOLERANCE * s[:, :1]).sum(axis=1)
            ranks = np.maximum(to_numpy(batch.xp, ranks), 1)
            batch.kept["axes"] = [
                cls._group(batch, index, rank, u, n**0.5 * s[:, :, None] * vt, s)
                for rank, index in by_rank(ranks)
            ]
        return batch.kept["axes"]

    @classmethod
    def _group(cls, batch: Batch, index: np.ndarray, rank: int, u: Any, x: Any, s: Any) -> Axes:
        where = batch.xp.asarray(index)
        part = batch.part(index)
        basis = u[where][:, :, :rank]
        truth, _, rest = truth_on(part, basis)
        starts = swap(basis) @ swap(part.starts)
        return cls(index, part, basis, s[where][:, :rank], x[where][:, :rank], starts, truth, rest)

    def cells(
        self, ks: np.ndarray, latents: int, columns: Callable[[int], int]
    ) -> Iterator[np.ndarray]:
        """Cut ``ks`` to the memory, where G has ``columns(k)`` columns and ``latents`` samples.

        Cells of more columns than rows and the others never share an array.
        """
        r = self.x.shape[1]
        tall = [columns(int(k)) <= r for k in ks]
        width = max(columns(int(k)) for k in ks)
        numbers = (
            ITERATED * r * width + 4 * min(r, width) ** 2 + latents * (2 * r + width)
        ) // COPIES
        for group in (ks[tall], ks[np.logical_not(tall)]):
            yield from self.batch.chunks(group, numbers)

    def flat(self, a: Any) -> Any:
        """Put cells (t, m, ..) one after the other."""
        return a.reshape(-1, *a.shape[2:])

    def repeated(self, a: Any, m: int) -> Any:
        """Repeat an array of every trial for each of its m cells."""
        return self.batch.xp.repeat(a, m, axis=0)

    def measure(
        self, g: Any, sizes: np.ndarray, train: Any, n_iter: np.ndarray, converged: np.ndarray
    ) -> np.ndarray:
        """Return ``ROWS`` of generators (t m, r, q), their columns beyond ``sizes`` (m,) zero."""
        batch, xp = self.batch, self.batch.xp
        t, m = len(self.x), len(sizes)
        g = g.reshape(t, m, *g.shape[1:])
        image = self.truth[:, None] @ g
        nuclear = nuclear_norms(batch, image.astype(batch.options.dtype))
        error = xp.zeros((t, m)) + self.rest
        for v in np.flatnonzero(sizes < g.shape[2]).tolist():
            q = xp.linalg.qr(g[:, v, :, : sizes[v]])[0]
            error[:, v] += squared(self.truth - (self.truth @ q) @ swap(q))
        outcome = (xp.asarray(a.reshape(t, m).astype(np.float64)) for a in (converged, n_iter))
        return metrics(batch, nuclear, squared(g), error, train.reshape(t, m), *outcome)


def _matched(batch: Batch, ks: np.ndarray, n_pairs: int, weight: float | None) -> np.ndarray:
    """Solve "penalized", or, without a weight and for k > n_pairs, "constrained"."""
    out = np.empty((len(batch.x), len(ROWS), len(ks)))
    for axes in Axes.of(batch):
        r = axes.x.shape[1]

        def columns(k: int, r: int = r) -> int:
            return k if k <= n_pairs else n_pairs + min(k - n_pairs, r)

        for some in axes.cells(ks, n_pairs, columns):
            sizes = np.array([columns(int(k)) for k in some])
            out[np.ix_(axes.index, np.arange(len(ROWS)), np.searchsorted(ks, some))] = _match(
                axes, some, sizes, n_pairs, weight
            )
    return out


def _match(
    axes: Axes, ks: np.ndarray, sizes: np.ndarray, n_pairs: int, weight: float | None
) -> np.ndarray:
    """Return the rows (t, 6, n_k) of ``ROWS`` for cells that go together."""
    batch, xp, options = axes.batch, axes.batch.xp, axes.batch.options
    (t, r, _), m, q = axes.x.shape, len(ks), int(sizes.max())
    start, b = xp.zeros((t, m, r, q)), xp.zeros((t, m, q, n_pairs))
    for v, k in enumerate(int(k) for k in ks):
        first, latents = _coordinates(axes, k, n_pairs, weight is None)
        start[:, v, :, : sizes[v]] = first
        b[:, v, : latents.shape[1]] = latents
    held = (np.arange(q) < np.minimum(ks, n_pairs)[:, None]) & (weight is None)
    x = axes.x[:, :, :n_pairs]
    cells = Cells(
        root=axes.repeated(axes.root, m)[:, :, None],
        x=axes.repeated(x, m),
        b=axes.flat(b),
        held=xp.asarray(np.tile(held, (t, 1))[:, None, :]),
        constant=axes.repeated((axes.root**2).sum(axis=1), m),
        sizes=np.tile(sizes, t),
    )
    share = 0.0 if weight is None else weight / n_pairs
    g, _, n_iter, converged = match_pairs(
        batch, cells, axes.flat(start), share, options.tol, options.max_iter
    )
    train = squared(cells.x - g @ cells.b) / n_pairs
    return axes.measure(g, sizes, train, n_iter, converged)


def _coordinates(axes: Axes, k: int, n_pairs: int, pinned: bool) -> tuple[Any, Any]:
    """Return first generators (t, r, q), and latents (t, p, n_pairs) along their columns.

    The first p = min(k, n_pairs) columns are along the left singular vectors of the latents (any
    basis of their range if ``pinned``, where G holds the interpolation of the pairs), the others in
    their complement, of which no more than r matter.
    """
    batch, xp, r = axes.batch, axes.batch.xp, axes.x.shape[1]
    z = batch.z[:, :k, :n_pairs]
    start = axes.starts[:, :, :k] / k**0.5
    if k <= n_pairs:
        left = eigen(batch, z @ swap(z))[1]
        return start @ left, swap(left) @ z
    crowded = k - n_pairs > r  # then only outside @ outside.T counts
    full, upper = xp.linalg.qr(z, mode="reduced" if crowded else "complete")
    upper = upper[:, :n_pairs]
    paired = full[:, :, :n_pairs]
    if pinned:
        inside = axes.x[:, :, :n_pairs] @ swap(transposed_inverse(batch, upper))
    else:
        left = eigen(batch, upper @ swap(upper))[1]
        paired, upper = paired @ left, swap(left) @ upper
        inside = start @ paired
    if crowded:
        rest = start - (start @ paired) @ swap(paired)
        outside = swap(xp.linalg.qr(swap(rest), mode="r"))
    else:
        outside = start @ full[:, :, n_pairs:]
    return xp.concatenate([inside, outside], axis=2), upper


def penalized(batch: Batch, n_pairs: int) -> np.ndarray:
    """Minimum of ``weight ||X_s - G Z_s||^2 / n_pairs`` plus W2 to the covariance of the data."""
    return _matched(batch, batch.ks, n_pairs, batch.options.weight)


def constrained(batch: Batch, n_pairs: int) -> np.ndarray:
    """Of the generators of minimum pair error, one nearest in W2 to the sample covariance."""
    low = batch.ks[batch.ks <= n_pairs]
    out = np.empty((len(batch.x), len(ROWS), len(batch.ks)))
    if low.size:  # nothing is left to choose
        rows = nested.pseudo_supervised(batch.at(low), n_pairs)
        out[:, : len(METRICS), : low.size] = rows
        out[:, len(METRICS) :, : low.size] = np.array(CLOSED_FORM)[:, None]
    if low.size < len(batch.ks):
        out[:, :, low.size :] = _matched(batch, batch.ks[low.size :], n_pairs, None)
    return out


def free_latents(batch: Batch, n_pairs: int) -> np.ndarray:
    """Minimum of ``||X_s - G Z_s||^2 + ||X_u - G Z_u||^2`` over G and Z_u, by alternation."""
    ks, n = batch.ks, batch.x.shape[2]
    if n_pairs == n:
        return nested.pseudo_supervised(batch, n_pairs)
    out = np.empty((len(batch.x), len(ROWS), len(ks)))
    for axes in Axes.of(batch):
        first = _FirstLatents.of(axes.batch, n_pairs)
        for some in axes.cells(ks, n, lambda k: min(k, n)):
            out[np.ix_(axes.index, np.arange(len(ROWS)), np.searchsorted(ks, some))] = _alternate(
                axes, first, some, n_pairs
            )
    return out


def _alternate(axes: Axes, first: _FirstLatents, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Return the rows (t, 6, n_k) of ``ROWS`` for cells that go together."""
    batch, xp, options = axes.batch, axes.batch.xp, axes.batch.options
    (t, _, n), m = axes.x.shape, len(ks)
    sizes = np.minimum(ks, n)
    latents = xp.zeros((t, m, int(sizes.max()), n))
    for v, k in enumerate(int(k) for k in ks):
        both = xp.concatenate([batch.z[:, :k, :n_pairs], first.at(batch, k)], axis=2)
        if k > n:  # from here on all latents lie in the span of these
            both = xp.linalg.qr(both, mode="r")
        latents[:, v, : sizes[v]] = both
    latents = axes.flat(latents)
    g, history, n_iter, converged = alternate(
        batch,
        axes.repeated(axes.x, m),
        latents[:, :, :n_pairs],
        latents[:, :, n_pairs:],
        np.tile(sizes, t),
        options.tol,
        options.max_iter,
    )
    last = history[xp.asarray(n_iter - 1), xp.arange(t * m)]
    return axes.measure(g, sizes, last / n, n_iter, converged)


@dataclasses.dataclass
class _FirstLatents:
    """Least-squares latents of the unpaired data under the first generator, nested in k <= d."""

    free: Any
    inverse: Any
    inside: Any

    @classmethod
    def of(cls, batch: Batch, n_pairs: int) -> _FirstLatents:
        xp, free = batch.xp, batch.x[:, :, n_pairs:]
        q, upper = xp.linalg.qr(swap(batch.starts[:, : batch.x.shape[1]]))
        return cls(free, swap(transposed_inverse(batch, upper)), swap(q) @ free)

    def at(self, batch: Batch, k: int) -> Any:
        """Return ``pinv(G_0) X_u`` with G_0 the first k starts over the root of k."""
        if k <= self.inverse.shape[1]:
            return k**0.5 * (self.inverse[:, :k, :k] @ self.inside[:, :k])
        q, upper = batch.xp.linalg.qr(batch.starts[:, :k])
        return k**0.5 * (q @ (transposed_inverse(batch, upper) @ self.free))
