"""Ridge regression and the lexicographic closed form on the device, along the paths of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..options import METRICS, RANK_TOLERANCE
from . import nested
from .batch import (
    Batch,
    eigen,
    metrics,
    nested_range,
    nuclear_norms,
    outside_of,
    pick,
    running_sums,
    squared,
    swap,
    transposed_inverse,
    truth_on,
)
from .nested import Frame


def ridge(batch: Batch, n_pairs: int) -> np.ndarray:
    """Minimum of ``||X - G Z||^2 / n_pairs + ridge ||G||^2``.

    For k <= p = min(K, n_pairs) it is least squares on the pairs ``[X, 0]``, ``[Z, sqrt(rho) I]``,
    rho = ridge n_pairs; beyond, ``G = X V diag(s / (s^2 + rho)) U^T`` with ``Z_k = U diag(s) V^T``
    from the eigenvectors of ``Z_k^T Z_k``, which rho keeps well conditioned.
    """
    if batch.options.ridge == 0:
        return nested.pseudo_supervised(batch, n_pairs)
    xp, ks = batch.xp, batch.ks
    x, z = batch.x[:, :, :n_pairs], batch.z[:, :, :n_pairs]
    p = min(z.shape[1:])
    rho = batch.options.ridge * n_pairs
    damping = xp.broadcast_to(rho**0.5 * xp.eye(p), (len(z), p, p))
    q, upper = xp.linalg.qr(xp.concatenate([swap(z[:, :p]), damping], axis=1))
    q = q[:, :n_pairs]
    basis, coordinates = nested_range(batch, x @ q)
    truth, energy, rest = truth_on(batch, basis)
    inverse = transposed_inverse(batch, upper)
    low = ks[ks <= p]
    nuclear, squares = nested.leading(batch, truth @ coordinates, coordinates, inverse, low)
    reduced = xp.linalg.qr(x, mode="r")
    found = [(nuclear, squares, _misfits(batch, reduced, q, low) / n_pairs)]
    if ks[-1] > p:
        found += _damped(batch, reduced, x, z, ks[ks > p], rho)
    nuclear, squares, train = (xp.concatenate(a, axis=-1) for a in zip(*found, strict=True))
    return metrics(batch, nuclear, squares, outside_of(batch, energy, rest, ks), train)


def _misfits(batch: Batch, x: Any, q: Any, ks: np.ndarray) -> Any:
    """Return ``||x - x Q_k Q_k^T||^2`` (t, n_k) for leading, not orthonormal columns."""
    xp, y, done = batch.xp, x @ q, 0
    misfits: list[Any] = []
    left = x.copy()
    for k in (int(k) for k in ks):
        left -= y[:, :, done:k] @ swap(q[:, :, done:k])
        misfits.append(squared(left))
        done = k
    return xp.stack(misfits, axis=-1) if misfits else xp.zeros((len(x), 0))


def _damped(
    batch: Batch, reduced: Any, x: Any, z: Any, ks: np.ndarray, rho: float
) -> list[tuple[Any, Any, Any]]:
    """Return nuclear norms, squares and training errors for k > n."""
    xp, done = batch.xp, 0
    found: list[tuple[Any, Any, Any]] = []
    t, n = len(x), x.shape[2]
    truth = xp.linalg.qr(batch.factor @ x, mode="r")
    left = xp.concatenate([truth, reduced], axis=1)[:, None]
    n_truth = truth.shape[1]
    running = xp.zeros((t, n, n))
    for some in batch.chunks(ks, 2 * n * n + 2 * left.shape[2] * n):
        grams = []
        for k in (int(k) for k in some):
            running = running + swap(z[:, done:k]) @ z[:, done:k]
            grams.append(running)
            done = k
        values, vectors = eigen(batch, xp.stack(grams, axis=1))
        values = xp.maximum(values, 0)[:, :, None, :]
        half = left @ vectors / (values + rho)
        cells = half * xp.sqrt(values)
        nuclear = nuclear_norms(batch, cells[:, :, :n_truth].astype(batch.options.dtype))
        train = rho**2 * squared(half[:, :, n_truth:]) / n
        found.append((nuclear, squared(cells[:, :, n_truth:]), train))
    return found


def lexicographic(batch: Batch, n_pairs: int) -> np.ndarray:
    """Interpolate the pairs, then fit the rest with free latents of unit variance.

    ``G = X_s pinv(Z_s) + U diag(s / sqrt(n_u)) N^T`` with U, s from ``(I - P_Xs) X_u`` and N in the
    complement of the paired latents.
    """
    _, d, n = batch.x.shape
    out = nested.pseudo_supervised(batch, n_pairs)
    added = np.minimum(np.minimum(batch.ks - n_pairs, n - n_pairs), d - n_pairs)
    grown = np.flatnonzero(added > 0)
    if grown.size:
        out[:, :, grown] = _grown(
            batch.at(batch.ks[grown]), n_pairs, added[grown], out[:, :, grown]
        )
    return out


def _grown(batch: Batch, n_pairs: int, added: np.ndarray, paired: np.ndarray) -> np.ndarray:
    """Return the metrics where free latents take part; training errors are those of the pairs."""
    xp = batch.xp
    frame = Frame.of(batch, n_pairs)
    basis, coordinates = frame.basis, frame.coordinates
    r, most = basis.shape[2], int(added[-1])
    free = batch.x[:, :, n_pairs:]
    u, s, _ = xp.linalg.svd(free - basis @ (swap(basis) @ free), full_matrices=False)
    least = RANK_TOLERANCE * xp.sqrt(squared(free))[:, None]  # of the data: less is only rounding
    keep = (s > least)[:, :most]
    u = u[:, :, :most] * keep[:, None, :]
    scale = s[:, :most] * keep / free.shape[2] ** 0.5
    truth, energy, rest = truth_on(batch, xp.concatenate([basis, u], axis=2))
    head = truth[:, :r, :r] @ coordinates
    wing = truth[:, :, r:] * scale[:, None, :]
    shape = truth.shape[1], n_pairs + most
    nuclear, squares = [], []
    path = nested.tall_cells(
        batch, frame, batch.ks - n_pairs, head, coordinates, np.float64, 2 * shape[0] * shape[1]
    )
    for some, latents, square in path:
        cells = xp.zeros((len(u), latents.shape[1], *shape))
        cells[:, :, : head.shape[1], :n_pairs] = swap(latents)
        mask = xp.asarray(np.arange(most) < added[some, None])
        cells[..., n_pairs:] = wing[:, None] * mask[None, :, None, :]
        nuclear.append(nuclear_norms(batch, cells.astype(batch.options.dtype)))
        squares.append(square)
    squares = xp.concatenate(squares, axis=-1) + pick(xp, running_sums(xp, scale**2), added)
    return metrics(
        batch,
        xp.concatenate(nuclear, axis=-1),
        squares,
        outside_of(batch, energy, rest, r + added),
        xp.asarray(paired[:, METRICS.index("train_error")]),
    )
