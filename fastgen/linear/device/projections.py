"""Orthonormal columns and bounded rank on the device; ``host/projections.py`` has the theory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..options import METRICS
from . import nested
from .batch import (
    Batch,
    by_rank,
    eigen,
    metrics,
    nested_range,
    nuclear_norms,
    outside_of,
    pick,
    running_sums,
    squared,
    swap,
    tail_sums,
    to_numpy,
    truth_on,
)
from .nested import Frame


def procrustes(batch: Batch, n_pairs: int) -> np.ndarray:
    """Nearest generator to the pairs with orthonormal columns (rows beyond k = d)."""
    cross = batch.x[:, :, :n_pairs] @ swap(batch.z[:, :, :n_pairs])
    basis, _ = nested_range(batch, cross[:, :, : min(cross.shape[1:])])
    ranks = to_numpy(batch.xp, ((basis**2).sum(axis=1) > 0.5).sum(axis=1))
    out = np.empty((len(cross), len(METRICS), len(batch.ks)))
    for rank, index in by_rank(ranks):
        where = batch.xp.asarray(index)
        pairs = _Crossed.of(batch.part(index), n_pairs, basis[where][:, :, :rank], cross[where])
        out[index] = _orthonormal(pairs)
    return out


@dataclasses.dataclass
class _Crossed:
    """``X Z^T`` of some trials in the basis (t, d, r) of its range: ``image`` (t, r, K)."""

    batch: Batch
    x: Any
    z: Any
    basis: Any
    image: Any

    @classmethod
    def of(cls, batch: Batch, n_pairs: int, basis: Any, cross: Any) -> _Crossed:
        image = swap(basis) @ cross
        rows, columns = (np.arange(size) for size in image.shape[1:])
        image = image * batch.xp.asarray(rows[:, None] <= columns)  # below is only rounding
        return cls(batch, batch.x[:, :, :n_pairs], batch.z[:, :, :n_pairs], basis, image)


def _orthonormal(pairs: _Crossed) -> np.ndarray:
    """Return the metrics of trials whose ``X Z^T`` have equal rank."""
    batch, image = pairs.batch, pairs.image
    xp, ks = batch.xp, batch.ks
    t, d, r = pairs.basis.shape
    attained = nested.masked_norms(batch, image, ks)
    truth, energy, rest = truth_on(batch, pairs.basis)
    low = np.minimum(ks, r)
    distinct, where = np.unique(low, return_inverse=True)
    overlap = pick(xp, nested.masked_norms(batch, truth, distinct), where)
    error = outside_of(batch, energy, rest, low)
    kept = pick(xp, running_sums(xp, (pairs.z**2).sum(axis=2)), ks)
    middle = np.flatnonzero((ks > r) & (ks < d))
    for v in middle.tolist():
        overlap[:, v], error[:, v] = _completed(pairs, int(ks[v]))
    beyond = np.flatnonzero((ks > r) & (ks >= d))
    if beyond.size:
        whole = xp.linalg.qr(batch.factor, mode="r")[:, None].astype(batch.options.dtype)
        overlap[:, xp.asarray(beyond)] = nuclear_norms(batch, whole)
        error[:, xp.asarray(beyond)] = 0.0
        complement = xp.linalg.qr(pairs.basis, mode="complete")[0][:, :, r:]
        for v in beyond.tolist():
            kept[:, v] = _kept(pairs, complement, int(ks[v]))
    size = np.minimum(ks, d).astype(float)
    total = squared(pairs.x)[:, None]
    train = xp.maximum(total + kept - 2 * attained, 0.0) / pairs.x.shape[2]
    squares = xp.broadcast_to(xp.asarray(size), (t, len(ks)))
    return metrics(batch, overlap, squares, error, train)


def _completed(pairs: _Crossed, k: int) -> tuple[Any, Any]:
    """Return the overlap with the truth and projection error for rank < k < d."""
    batch, basis, xp = pairs.batch, pairs.basis, pairs.batch.xp
    t, d, r = basis.shape
    latents = xp.linalg.qr(swap(pairs.image[:, :, :k]), mode="complete")[0]
    embedded = xp.zeros((t, d, k - r))
    embedded[:, :k] = latents[:, :, r:]
    free = embedded - basis @ (swap(basis) @ embedded)
    columns = xp.concatenate([basis, xp.linalg.qr(free)[0]], axis=2)
    truth, _, rest = truth_on(batch, columns)
    nuclear = nuclear_norms(batch, truth[:, None].astype(batch.options.dtype))
    return nuclear[:, 0], rest[:, 0]


def _kept(pairs: _Crossed, complement: Any, k: int) -> Any:
    """Return the part of ``||Z_k||^2`` in the row space of G for k >= d.

    That space is spanned by the rows of V and by those latent directions outside of them that are
    nearest to ``eye(d, k)`` on the complement of the range of the pairs.
    """
    xp, d = pairs.batch.xp, pairs.basis.shape[1]
    padded = xp.zeros((len(complement), k, complement.shape[2]))
    padded[:, :d] = complement
    rows = xp.concatenate([swap(pairs.image[:, :, :k]), padded], axis=2)
    return squared(swap(xp.linalg.qr(rows)[0]) @ pairs.z[:, :k])


def reduced_rank(batch: Batch, n_pairs: int) -> np.ndarray:
    """Reduced-rank regression: the pairs through a linear generator of width ``rank``."""
    ks, rank = batch.ks, batch.options.rank
    frame = Frame.of(batch, n_pairs)
    out = np.empty((len(batch.x), len(METRICS), len(ks)))
    free = ks <= rank
    if free.any():
        out[:, :, free] = nested.pseudo_supervised(batch.at(ks[free]), n_pairs)
    wide = np.flatnonzero(~free & (ks <= frame.p))
    numbers = 2 * frame.truth.shape[2] * (frame.p + frame.truth.shape[2])
    for some in batch.chunks(wide, numbers):
        out[:, :, some] = _truncated(batch.at(ks[some]), frame)
    beyond = ~free & (ks > frame.p)
    if beyond.any():
        out[:, :, beyond] = _truncated_beyond(batch.at(ks[beyond]), frame)
    return out


def _truncated(batch: Batch, frame: Frame) -> np.ndarray:
    """Truncate every leading block by its Gram matrix, for rank < k <= p."""
    xp, ks, k = batch.xp, batch.ks, int(batch.ks[-1])
    mask = xp.asarray(np.arange(k) < ks[:, None])[None, :, None, :]
    block = frame.coordinates[:, None, :k, :k] * mask
    inside = block.shape[2]
    truth = frame.truth[:, None, :, :inside] * mask[..., :inside]
    values, vectors = eigen(batch, block @ swap(block))
    h = min(batch.options.rank, inside)
    image = truth @ vectors
    error = squared(image[..., :-h]) + outside_of(batch, frame.energy, frame.rest, ks)
    tail = xp.maximum(values[..., :-h], 0).sum(axis=-1)
    latent = (swap(vectors[..., -h:]) @ block) @ frame.inverse[:, None, :k, :k]
    cells = xp.linalg.qr(image[..., -h:], mode="r") @ latent
    train = (pick(xp, frame.residual, ks) + tail) / frame.n
    nuclear = nuclear_norms(batch, cells.astype(batch.options.dtype))
    return metrics(batch, nuclear, squared(latent), error, train)


def _truncated_beyond(batch: Batch, frame: Frame) -> np.ndarray:
    """Truncate once, then follow the path of the pairs, for rank < p < k."""
    xp, ks, rank = batch.xp, batch.ks, batch.options.rank
    u, s, vt = xp.linalg.svd(frame.coordinates, full_matrices=False)
    h = min(rank, s.shape[1])
    image = frame.truth @ u
    error = squared(image[:, :, h:])[:, None] + outside_of(batch, frame.energy, frame.rest, ks)
    head = s[:, :h, None] * vt[:, :h]
    target = xp.linalg.qr(xp.linalg.qr(image[:, :, :h], mode="r") @ head, mode="r")
    nuclear, squares = nested.tall(batch, frame, ks - frame.p, target, xp.linalg.qr(head, mode="r"))
    tail = tail_sums(xp, s**2)[:, h : h + 1] / frame.n
    return metrics(batch, nuclear, squares, error, xp.broadcast_to(tail, squares.shape))
