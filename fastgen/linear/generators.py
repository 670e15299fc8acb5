"""The generator itself, d x k, for every problem: what an estimator keeps.

The sweeps never form it. These are the plain formulas, one solve each, for a trial with data
X (d, n) and latents Z (k, n), the pairs first. Iterative problems return the generator, whether it
converged and in how many steps.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from .host import semisupervised
from .host.trial import Trial
from .options import RANK_TOLERANCE


def _pinv(z: np.ndarray) -> np.ndarray:
    return scipy.linalg.pinv(z, rtol=1e-13)


def unsupervised(trial: Trial, n_pairs: int) -> np.ndarray:
    """PCA; columns beyond the rank of the data are zero."""
    del n_pairs
    axes = semisupervised.Axes.of(trial)
    out = np.zeros((len(trial.x), len(trial.z)))
    kept = min(len(axes.root), out.shape[1])
    out[:, :kept] = axes.basis[:, :kept] * axes.root[:kept]
    return out


def pseudo_supervised(trial: Trial, n_pairs: int) -> np.ndarray:
    """Minimum-norm least squares."""
    return trial.x[:, :n_pairs] @ _pinv(trial.z[:, :n_pairs])


def ridge(trial: Trial, n_pairs: int) -> np.ndarray:
    """Invert the singular values of the latents with a filter."""
    u, s, vt = np.linalg.svd(trial.z[:, :n_pairs], full_matrices=False)
    if trial.options.ridge == 0:
        return pseudo_supervised(trial, n_pairs)
    weight = s / (s**2 + trial.options.ridge * n_pairs)
    return (trial.x[:, :n_pairs] @ vt.T * weight) @ u.T


def procrustes(trial: Trial, n_pairs: int) -> np.ndarray:
    """Partial isometry; the undetermined part nearest to eye(d, k)."""
    cross = trial.x[:, :n_pairs] @ trial.z[:, :n_pairs].T
    d, k = cross.shape
    u, s, vt = np.linalg.svd(cross, full_matrices=False)
    r = int((s > RANK_TOLERANCE * s[0]).sum())
    u, vt = u[:, :r], vt[:r]
    out = u @ vt
    free = min(d, k) - r
    if free:
        embedded = np.eye(d, k)
        embedded -= u @ (u.T @ embedded)
        embedded -= (embedded @ vt.T) @ vt
        left, _, right = np.linalg.svd(embedded, full_matrices=False)
        out += left[:, :free] @ right[:free]
    return out


def reduced_rank(trial: Trial, n_pairs: int) -> np.ndarray:
    """Least squares projected on the top singular vectors of its fit."""
    g = pseudo_supervised(trial, n_pairs)
    u = np.linalg.svd(g @ trial.z[:, :n_pairs], full_matrices=False)[0][:, : trial.options.rank]
    return u @ (u.T @ g)


def lexicographic(trial: Trial, n_pairs: int) -> np.ndarray:
    """Least squares on the pairs, the rest of the data on the latents they leave free."""
    x, z = trial.x[:, :n_pairs], trial.z[:, :n_pairs]
    g = x @ _pinv(z)
    n_free = trial.x.shape[1] - n_pairs
    rho = min(len(z) - n_pairs, n_free, len(x) - n_pairs)
    if rho <= 0:
        return g
    free = trial.x[:, n_pairs:]
    u, s, _ = np.linalg.svd(free - x @ (_pinv(x) @ free), full_matrices=False)
    unused = np.linalg.qr(z, mode="complete")[0][:, n_pairs : n_pairs + rho]
    return g + (u[:, :rho] * (s[:rho] / np.sqrt(n_free))) @ unused.T


def penalized(trial: Trial, n_pairs: int) -> tuple[np.ndarray, bool, int]:
    """Minimize the pair error and the Wasserstein distance together, by iteration."""
    return _from_axes(trial, n_pairs, trial.options.weight)


def constrained(trial: Trial, n_pairs: int) -> tuple[np.ndarray, bool, int]:
    """Interpolate the pairs, and minimize the Wasserstein distance by what is left free."""
    if len(trial.z) <= n_pairs:
        return pseudo_supervised(trial, n_pairs), True, 1
    return _from_axes(trial, n_pairs, np.inf)


def _from_axes(trial: Trial, n_pairs: int, weight: float) -> tuple[np.ndarray, bool, int]:
    k = len(trial.z)
    g, _, converged, n_iter, columns = semisupervised.match(trial, k, n_pairs, weight)
    if columns.shape[1] < g.shape[1]:  # any complement will do
        columns = np.hstack([columns, scipy.linalg.null_space(columns.T)])
    basis = semisupervised.Axes.of(trial).basis
    return basis @ (g @ columns[:, : g.shape[1]].T), converged, n_iter


def free_latents(trial: Trial, n_pairs: int) -> tuple[np.ndarray, bool, int]:
    """Alternate between the generator and the latents of the unpaired samples."""
    if n_pairs == trial.x.shape[1]:
        return pseudo_supervised(trial, n_pairs), True, 1
    g, _, converged, n_iter, columns = semisupervised.alternate(trial, len(trial.z), n_pairs)
    basis = semisupervised.Axes.of(trial).basis
    return basis @ (g @ columns.T), converged, n_iter
