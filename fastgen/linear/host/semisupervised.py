"""The iterative problems: free latents, a penalty on the pairs, a constraint by the pairs.

They return (6, len(ks)), the rows of ``options.ROWS``. Generators are kept in the principal axes of
the data, where every iterate beyond the start lies.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..._dispatch import linear as kernels
from ..._dispatch import nuclear as norms
from ..options import CLOSED_FORM, METRICS, RANK_TOLERANCE, ROWS
from . import paths
from .nested import pseudo_supervised
from .trial import Trial


@dataclasses.dataclass
class Axes:
    """The principal axes of a trial's data, and the truth in them.

    Attributes
    ----------
    basis : ndarray (d, r)
        The axes along which the data vary.
    root : ndarray (r,)
        Standard deviations along them.
    x : ndarray (r, n)
        The data along them.
    truth : ndarray
        Triangular factor of the truth on the axes.
    rest : float
        Variance of the truth outside of the axes.
    """

    basis: np.ndarray
    root: np.ndarray
    x: np.ndarray
    truth: np.ndarray
    rest: float

    @classmethod
    def of(cls, trial: Trial) -> Axes:
        """Return the axes of a trial's data, computed once."""
        if "axes" not in trial.kept:
            n = trial.x.shape[1]
            u, s, vt = np.linalg.svd(trial.x / np.sqrt(n), full_matrices=False)
            r = max(1, int((s > RANK_TOLERANCE * s[0]).sum()))
            basis = np.ascontiguousarray(u[:, :r])
            truth, _, rest = kernels.seen(basis, trial.factor)
            x = np.sqrt(n) * s[:r, None] * vt[:r]
            trial.kept["axes"] = cls(basis, s[:r], x, truth, rest)
        return trial.kept["axes"]

    def projection_error(self, g: np.ndarray) -> float:
        """Variance of the truth outside the range of g (r, q), of full rank."""
        r, q = g.shape
        if q >= r:
            return self.rest
        complement = np.linalg.qr(g, mode="complete")[0][:, q:]
        return self.rest + float(((self.truth @ complement) ** 2).sum())


def _start(trial: Trial, k: int) -> np.ndarray:
    """Return the first generator (d, k), nested over k like the latents.

    Its entries are N(0, 1/k) in units of the data, so that what is generated has their size.
    """
    if trial.starts is None:
        raise ValueError("a trial of an iterative problem must have starts, got None")
    return trial.unit * trial.starts[:k].T / np.sqrt(k)


def _collect(trial: Trial, cells: list[tuple]) -> np.ndarray:
    """Return the rows of ``ROWS`` for cells as `match` and `alternate` return them."""
    axes = Axes.of(trial)
    out = np.empty((len(ROWS), len(cells)))
    for begin in range(0, len(cells), paths.LANES):
        part = cells[begin : begin + paths.LANES]
        factors = [axes.truth @ cell[0] for cell in part]
        nuclear = norms.nuclear_norms(factors, trial.options.dtype)
        for v, (g, train, converged, n_iter, _) in enumerate(part):
            square = float((g**2).sum())
            out[:, begin + v] = (
                trial.trace + square - 2 * nuclear[v],
                axes.projection_error(g),
                train,
                square / trial.trace,
                converged,
                n_iter,
            )
    return out


def match(trial: Trial, k: int, n_pairs: int, weight: float) -> tuple:
    """Solve one cell of "penalized" (finite weight) or of "constrained" (infinite weight).

    Returns the generator in the principal axes of the data (rows) and of the latents (columns), the
    pair error, whether it converged, the steps taken, and the axes (k, p or k) of the columns.
    """
    axes = Axes.of(trial)
    options = trial.options
    r = len(axes.root)
    p = min(k, n_pairs)
    crowded = k - p > r  # then only outside @ outside.T counts, and N need not be formed
    z = trial.z[:k, :n_pairs]
    full, upper = np.linalg.qr(z, mode="reduced" if crowded else "complete")
    left, sigma, right = np.linalg.svd(upper[:p], full_matrices=False)
    pairs = axes.x[:, :n_pairs]
    cross = pairs @ right.T
    unreachable = float(((pairs - cross @ right) ** 2).sum())
    columns = np.hstack([full[:, :p] @ left, full[:, p:]])
    start = axes.basis.T @ _start(trial, k)
    rotated = start @ columns
    inside, outside = rotated[:, :p], rotated[:, p:]
    if crowded:
        outside = paths.triangular((start - inside @ columns.T).T).T
    constant = float((axes.root**2).sum())
    if np.isfinite(weight):
        weight = weight / n_pairs
        constant += weight * unreachable
    g, n_iter, converged = kernels.match_pairs(
        cross,
        sigma,
        axes.root,
        np.hstack([inside, outside]),
        weight,
        constant,
        options.tol,
        options.max_iter,
        np.empty(options.max_iter + 1),
    )
    miss = unreachable + float(((cross - g[:, :p] * sigma) ** 2).sum())
    return g, miss / n_pairs, converged, n_iter, columns


def penalized(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Minimum of ``weight ||X_s - G Z_s||^2 / n_pairs`` plus W2 to the covariance of the data."""
    weight = trial.options.weight
    return _collect(trial, [match(trial, int(k), n_pairs, weight) for k in ks])


def constrained(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Of the generators of minimum pair error, one nearest in W2 to the sample covariance."""
    low = ks[ks <= n_pairs]
    out = np.empty((len(ROWS), ks.size))
    if low.size:  # nothing is left to choose
        out[: len(METRICS), : low.size] = pseudo_supervised(trial, low, n_pairs)
        out[len(METRICS) :, : low.size] = np.array(CLOSED_FORM)[:, None]
    high = ks[low.size :]
    if high.size:
        cells = [match(trial, int(k), n_pairs, np.inf) for k in high]
        out[:, low.size :] = _collect(trial, cells)
    return out


def free_latents(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Minimum of ``||X_s - G Z_s||^2 + ||X_u - G Z_u||^2`` over G and Z_u, by alternation."""
    n = trial.x.shape[1]
    if n_pairs == n:
        return pseudo_supervised(trial, ks, n_pairs)
    return _collect(trial, [alternate(trial, int(k), n_pairs) for k in ks])


def alternate(trial: Trial, k: int, n_pairs: int) -> tuple:
    """Solve one cell of "free_latents".

    Returns what `match` does, with the objective over n in place of the pair error.
    """
    n = trial.x.shape[1]
    options = trial.options
    z_free = np.linalg.lstsq(_start(trial, k), trial.x[:, n_pairs:], rcond=None)[0]
    z_pairs = trial.z[:k, :n_pairs]
    columns = np.eye(k)
    if k > n:  # from here on all latents lie in the span of these
        columns, upper = np.linalg.qr(np.hstack([z_pairs, z_free]))
        z_pairs, z_free = upper[:, :n_pairs], upper[:, n_pairs:]
    history = np.empty(options.max_iter)
    g, n_iter, converged = kernels.free_latents(
        Axes.of(trial).x,
        np.ascontiguousarray(z_pairs),
        np.ascontiguousarray(z_free),
        options.tol,
        options.max_iter,
        history,
    )
    return g, history[n_iter - 1] / n, converged, n_iter, columns
