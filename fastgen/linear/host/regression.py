"""Regressions with a second term: a ridge penalty, and unpaired samples after the pairs."""

from __future__ import annotations

import numpy as np

from ..._dispatch import nuclear as norms
from ..options import RANK_TOLERANCE
from . import paths
from .nested import pseudo_supervised
from .trial import Trial, nested_range


def ridge(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Minimum of ``||X - G Z||^2 / n_pairs + ridge ||G||^2``.

    With ``C^T C = Z_k^T Z_k + rho I`` and rho = ridge n_pairs it is
    ``G = X C^-1 (Z_k C^-1)^T``, and ``X - G Z = rho X (C^T C)^-1``.
    """
    if trial.options.ridge == 0:
        return pseudo_supervised(trial, ks, n_pairs)
    frame = trial.frame(n_pairs)
    n = frame.n
    rho = trial.options.ridge * n_pairs
    # the range for k < n is spanned by the leading columns of [X, 0] Q, [Z, sqrt(rho) I] = L Q^T
    lifted = np.vstack([frame.z[: frame.p].T, np.sqrt(rho) * np.eye(frame.p)])
    space = nested_range(frame.x @ np.linalg.qr(lifted)[0][:n], trial)
    truth = paths.triangular(trial.factor @ frame.x)
    left = np.vstack([truth, paths.triangular(frame.x)])
    z = frame.z
    damped: np.ndarray = np.sqrt(rho) * np.eye(n)
    plain: np.ndarray = np.zeros((0, n))
    done = 0
    factors, squares, train = [], np.empty(ks.size), np.empty(ks.size)
    nuclear = np.empty(ks.size)
    for v, k in enumerate(ks):
        damped = paths.add_rows(damped, z[done:k].copy())
        plain = z[:k] if k <= n else paths.triangular(np.vstack([plain, z[done:k]]))
        done = k
        half = paths.solve_right(left, damped)
        generator = half @ paths.solve_right(plain, damped).T
        misfit = paths.solve_right(half[len(truth) :], damped, transpose=True)
        squares[v] = (generator[len(truth) :] ** 2).sum()
        train[v] = rho**2 * (misfit**2).sum() / n_pairs
        factors.append(generator[: len(truth)])
        if len(factors) == paths.LANES or v == ks.size - 1:
            start = v + 1 - len(factors)
            nuclear[start : v + 1] = norms.nuclear_norms(factors, trial.options.dtype)
            factors = []
    return trial.table(nuclear, squares, space.projection_error(ks), train)


def lexicographic(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Interpolate the pairs, then fit the rest with free latents of unit variance.

    ``G = X_s pinv(Z_s) + U diag(s / sqrt(n_u)) N^T`` with U, s from ``(I - P_Xs) X_u`` and N in the
    complement of the paired latents.
    """
    d, n = trial.x.shape
    out = pseudo_supervised(trial, ks, n_pairs)
    n_free = n - n_pairs
    added = np.minimum(np.minimum(ks - n_pairs, n_free), d - n_pairs)
    grown = np.flatnonzero(added > 0)
    if grown.size == 0:
        return out
    frame = trial.frame(n_pairs)
    basis = frame.range.basis
    free = trial.x[:, n_pairs:]
    u, s, _ = np.linalg.svd(free - basis @ (basis.T @ free), full_matrices=False)
    keep = int((s > RANK_TOLERANCE * np.linalg.norm(free)).sum())
    space = nested_range(np.hstack([basis, u[:, :keep]]), trial)
    head = frame.range.coordinates
    scale = s[:keep] / np.sqrt(n_free)
    square, done = frame.square, 0
    factors = []
    for v in grown:
        count = int(ks[v]) - n_pairs
        square = paths.add_rows(square.copy(), frame.rows[done:count].copy())
        done = count
        rho = min(int(added[v]), keep)
        wide = np.hstack([basis @ paths.solve_right(head, square), u[:, :rho] * scale[:rho]])
        factors.append(trial.factor @ wide)
        size = float((wide**2).sum())
        out[0, v] = trial.trace + size
        out[1, v] = space.projection_error(np.array([basis.shape[1] + rho]))[0]
        out[3, v] = size / trial.trace
    for begin in range(0, len(factors), paths.LANES):
        part = factors[begin : begin + paths.LANES]
        nuclear = norms.nuclear_norms(part, trial.options.dtype)
        out[0, grown[begin : begin + len(part)]] -= 2 * nuclear
    return out
