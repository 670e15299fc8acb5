"""The problems whose generator is a projection: orthonormal columns, and bounded rank."""

from __future__ import annotations

import numpy as np

from ..._dispatch import nuclear as norms
from . import paths
from .nested import pseudo_supervised
from .trial import Frame, Range, Trial, nested_range


def procrustes(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Nearest generator to the pairs with orthonormal columns (rows beyond k = d).

    Of ``X Z_k^T = U diag(s) V^T`` only the first r = rank directions are determined; the other
    min(d, k) - r are completed by the solution nearest to ``eye(d, k)``. For k <= r,
    ``G G^T`` projects on the range of ``X Z_k^T``, whose columns are nested.
    """
    x, z = trial.x[:, :n_pairs], trial.z[:, :n_pairs]
    d = len(x)
    cross = x @ z.T
    space = nested_range(cross[:, : min(d, len(z))], trial)
    r = space.basis.shape[1]
    image = np.triu(space.basis.T @ cross)  # below the diagonal there is only rounding
    dtype = trial.options.dtype
    attained, _ = paths.leading(image, image, None, ks, dtype)
    low = np.minimum(ks, r)
    distinct, where = np.unique(low, return_inverse=True)
    overlap = paths.leading(space.truth, space.truth, None, distinct, dtype)[0][where]
    error = space.projection_error(low)
    spread = np.append(0.0, np.cumsum((z**2).sum(axis=1)))[ks]
    for v in np.flatnonzero(ks > r):
        k = int(ks[v])
        overlap[v], error[v], lost = _complete(trial, space, image, z, k, dtype)
        spread[v] -= lost
    size = np.minimum(ks, d).astype(float)
    train = np.maximum((x**2).sum() + spread - 2 * attained, 0.0) / n_pairs
    return trial.table(overlap, size, error, train)


def _complete(
    trial: Trial, space: Range, image: np.ndarray, z: np.ndarray, k: int, dtype: np.dtype
) -> tuple[float, float, float]:
    """Complete the isometry for k beyond the rank of ``X Z_k^T``.

    Returns its overlap with the truth (the nuclear norm of ``C G``), its projection error, and the
    part of ``||Z_k||^2`` outside of its rows.
    """
    d, r = space.basis.shape
    # columns r.. of the full Q span what V leaves free in latent space
    v_all, _ = np.linalg.qr(image[:, :k].T, mode="complete")
    free_latent = v_all[:, r:]
    embedded = np.zeros((d, free_latent.shape[1]))
    embedded[: min(d, k)] = free_latent[: min(d, k)]
    free = embedded - space.basis @ (space.basis.T @ embedded)
    if k < d:
        columns = np.hstack([space.basis, np.linalg.qr(free)[0]])
        image = trial.factor @ columns
        rest = float(((trial.factor - image @ columns.T) ** 2).sum())
        return float(norms.nuclear_norms([image], dtype)[0]), rest, 0.0
    overlap = float(norms.nuclear_norms([trial.factor], dtype)[0])
    # G^T G projects on the rows of V and on the d - r latent directions nearest to eye(d, k)
    _, _, vt = np.linalg.svd(free, full_matrices=False)
    kept = free_latent @ vt[: d - r].T
    latents = np.hstack([v_all[:, :r], kept])
    lost = float(((z[:k] - latents @ (latents.T @ z[:k])) ** 2).sum())
    return overlap, 0.0, lost


def reduced_rank(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Reduced-rank regression: the pairs through a multilayer linear generator of width ``rank``.

    ``G = U_h U_h^T X pinv(Z_k)`` with U_h the top left singular vectors of ``X pinv(Z_k) Z_k``,
    which has those of ``(X Q)[:, :k]`` for k < n and of X beyond.
    """
    frame = trial.frame(n_pairs)
    rank = _rank(trial)
    out = np.empty((4, ks.size))
    free = ks <= rank
    if free.any():
        out[:, free] = pseudo_supervised(trial, ks[free], n_pairs)
    wide = np.flatnonzero(~free & (ks <= frame.p))
    _truncated(trial, frame, ks, wide, out)
    beyond = np.flatnonzero(~free & (ks > frame.p))
    if beyond.size:
        head, truth, error, tail = _truncate(frame, frame.p, rank)
        target = paths.triangular(truth @ head)
        nuclear, squares = paths.tall(
            frame.square,
            frame.rows,
            ks[beyond] - frame.n,
            target,
            paths.triangular(head),
            trial.options.dtype,
        )
        train = np.full(beyond.size, tail)
        out[:, beyond] = trial.table(nuclear, squares, error, train / n_pairs)
    return out


def _rank(trial: Trial) -> int:
    """Return the option ``rank``, which the problem needs; without it there is no bound."""
    return len(trial.x) if trial.options.rank is None else trial.options.rank


def _truncated(
    trial: Trial, frame: Frame, ks: np.ndarray, wide: np.ndarray, out: np.ndarray
) -> None:
    """Write the columns ``wide`` of ``out``, rank < k <= p, where every k is truncated anew."""
    for start in range(0, wide.size, paths.LANES):
        group = wide[start : start + paths.LANES]
        factors, squares, errors, train = [], [], [], []
        for v in group:
            k = int(ks[v])
            head, truth, error, tail = _truncate(frame, k, _rank(trial))
            latent = head @ frame.inverse[:k, :k]
            factors.append(truth @ latent)
            squares.append((latent**2).sum())
            errors.append(error)
            train.append((frame.residual[k] + tail) / frame.n)
        nuclear = norms.nuclear_norms(factors, trial.options.dtype)
        out[:, group] = trial.table(nuclear, np.array(squares), np.array(errors), np.array(train))


def _truncate(frame: Frame, k: int, rank: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Top singular triplets of the first k rotated data columns, in the frame's basis.

    Returns ``diag(s_h) V_h^T`` (h, k), the triangular factor of the truth on ``U_h``, the
    projection error of ``U_h`` and the squared singular values left out.
    """
    space = frame.range
    inside = min(k, space.basis.shape[1])
    u, s, vt = np.linalg.svd(space.coordinates[:inside, :k], full_matrices=False)
    h = min(rank, s.size)
    image = space.truth[:, :inside] @ u
    error = float((image[:, h:] ** 2).sum() + space.projection_error(np.array([inside]))[0])
    truth = paths.triangular(image[:, :h])
    return s[:h, None] * vt[:h], truth, error, float((s[h:] ** 2).sum())
