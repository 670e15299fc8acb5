"""PCA and minimum-norm regression on the device, and the paths of norms that problems follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..options import RANK_TOLERANCE
from . import batch as _batch
from .batch import (
    Batch,
    metrics,
    nested_range,
    nuclear_norms,
    outside_of,
    pick,
    running_sums,
    squared,
    swap,
    tail_sums,
    transposed_inverse,
    truth_on,
)

# A call takes at least _FEWEST latent dimensions, or as many as make _CELLS cells over all trials:
# cells are padded to the largest dimension of their call, so that long calls waste work.
_FEWEST = 8
_CELLS = 2048


def unsupervised(batch: Batch, n_pairs: int) -> np.ndarray:
    """PCA of all samples of every trial; the number of pairs plays no part."""
    del n_pairs
    xp, ks = batch.xp, batch.ks
    u, s, _ = xp.linalg.svd(batch.x / batch.x.shape[2] ** 0.5, full_matrices=False)
    keep = s > RANK_TOLERANCE * s[:, :1]
    kept = s * keep
    truth, energy, rest = truth_on(batch, u * keep[:, None, :])
    capped = np.minimum(ks, s.shape[1])
    distinct, where = np.unique(capped, return_inverse=True)
    nuclear = pick(xp, masked_norms(batch, truth * kept[:, None, :], distinct), where)
    return metrics(
        batch,
        nuclear,
        pick(xp, running_sums(xp, kept**2), capped),
        outside_of(batch, energy, rest, ks),
        pick(xp, tail_sums(xp, s**2), capped),
    )


@dataclasses.dataclass
class Frame:
    """The first pairs of every trial, factored as ``host.trial.Frame`` factors those of one.

    Attributes
    ----------
    n, p : int
        Number of pairs, and the smaller of it and the largest latent dimension.
    inverse, square : arrays (t, p, p)
        ``inv(L)`` with ``z[:p] = L Q^T``, and the triangular QR factor of ``z[:p] Q``.
    rows : array (t, K - p, p)
        ``z[p:] Q``.
    residual : array (t, p + 1)
        What is left of the data for k = 0 .. p.
    basis, coordinates : arrays (t, d, r) and (t, r, p)
        An orthonormal basis of the range of ``x Q``, and its columns in it.
    truth, energy, rest : arrays
        What `truth_on` tells of that basis.
    """

    n: int
    p: int
    inverse: Any
    square: Any
    rows: Any
    residual: Any
    basis: Any
    coordinates: Any
    truth: Any
    energy: Any
    rest: Any

    @classmethod
    def of(cls, batch: Batch, n_pairs: int) -> Frame:
        """Return the frame of a number of pairs; the last one asked for is kept."""
        found = batch.kept.get("frame")
        if found is None or found.n != n_pairs:
            found = batch.kept["frame"] = cls._factorize(batch, n_pairs)
        return found

    @classmethod
    def _factorize(cls, batch: Batch, n_pairs: int) -> Frame:
        xp = batch.xp
        x, z = batch.x[:, :, :n_pairs], batch.z[:, :, :n_pairs]
        p = min(z.shape[1:])
        q, upper = xp.linalg.qr(swap(z[:, :p]))
        y = x @ q
        residual = tail_sums(xp, (y**2).sum(axis=1))
        if p < n_pairs:
            residual = residual + squared(x - y @ swap(q))[:, None]
        basis, coordinates = nested_range(batch, y)
        return cls(
            n_pairs,
            p,
            transposed_inverse(batch, upper),
            xp.linalg.qr(swap(upper), mode="r"),
            z[:, p:] @ q,
            residual,
            basis,
            coordinates,
            *truth_on(batch, basis),
        )


def pseudo_supervised(batch: Batch, n_pairs: int) -> np.ndarray:
    """Minimum-norm least squares on the first pairs of every trial."""
    xp, ks = batch.xp, batch.ks
    frame = Frame.of(batch, n_pairs)
    p, coordinates = frame.p, frame.coordinates
    target = frame.truth @ coordinates
    nuclear, squares = leading(batch, target, coordinates, frame.inverse, ks[ks <= p])
    if ks[-1] > p:
        more = tall(batch, frame, ks[ks > p] - p, target, coordinates)
        nuclear = xp.concatenate([nuclear, more[0]], axis=-1)
        squares = xp.concatenate([squares, more[1]], axis=-1)
    return metrics(
        batch,
        nuclear,
        squares,
        outside_of(batch, frame.energy, frame.rest, ks),
        pick(xp, frame.residual, np.minimum(ks, p)) / n_pairs,
    )


def masked_norms(batch: Batch, f: Any, ks: np.ndarray) -> Any:
    """Return the nuclear norms of ``f[:, :, :k]``, f (t, r, p) upper trapezoidal."""
    xp = batch.xp
    found: list[Any] = []
    kernel = int(np.searchsorted(ks, _batch.SIDE, side="right"))
    for group in (ks[:kernel], ks[kernel:]):
        for some in batch.chunks(group, f.shape[1] * f.shape[2], max(_FEWEST, _CELLS // len(f))):
            k = int(some[-1])
            mask = xp.asarray(np.arange(k) < some[:, None])
            cells = f[:, None, :k, :k] * mask[None, :, None, :]
            found.append(nuclear_norms(batch, cells.astype(batch.options.dtype)))
    return xp.concatenate(found, axis=-1)


def leading(batch: Batch, f: Any, y: Any, inverse: Any, ks: np.ndarray) -> tuple[Any, Any]:
    """Follow the path of k up to p: ``host.paths.leading`` for every trial."""
    xp, dtype = batch.xp, batch.options.dtype
    nuclear, squares = [xp.zeros((len(f), 0))], [xp.zeros((len(f), 0))]
    numbers = f.shape[1] * f.shape[2]
    state: tuple[Any, Any, int] = xp.zeros(f.shape), xp.zeros(y.shape), 0
    for some in batch.chunks(ks, numbers, max(_FEWEST, _CELLS // len(f))):
        k = int(some[-1])
        if f.shape[2] <= _batch.SIDE:
            small = f[:, :k, :k], y[:, :k, :k], inverse[:, :k, :k]
            cells, more = batch.engine.leading_path(*small, some, dtype)
        else:
            cells, more, state = _leading_products(batch, f, y, inverse, some, state)
        nuclear.append(nuclear_norms(batch, cells))
        squares.append(more)
    return xp.concatenate(nuclear, axis=-1), xp.concatenate(squares, axis=-1)


def _leading_products(
    batch: Batch, f: Any, y: Any, inverse: Any, ks: np.ndarray, state: tuple[Any, Any, int]
) -> tuple[Any, Any, tuple[Any, Any, int]]:
    """Form the cells of some k, each the one before plus the columns between the two."""
    xp = batch.xp
    product_f, product_y, done = state
    k_last = int(ks[-1])
    shape = len(f), len(ks), *product_f[0, :k_last, :k_last].shape
    cells = xp.zeros(shape, batch.options.dtype)
    squares = []
    for v, k in enumerate(int(k) for k in ks):
        product_f[:, :, :k] += f[:, :, done:k] @ inverse[:, done:k, :k]
        product_y[:, :, :k] += y[:, :, done:k] @ inverse[:, done:k, :k]
        cells[:, v] = product_f[:, :k_last, :k_last]
        squares.append(squared(product_y))
        done = k
    return cells, xp.stack(squares, axis=-1), (product_f, product_y, done)


def tall(batch: Batch, frame: Frame, counts: np.ndarray, f: Any, y: Any) -> tuple[Any, Any]:
    """Follow the path of k beyond the number of pairs: ``host.paths.tall`` for every trial."""
    xp = batch.xp
    nuclear: list[Any] = []
    squares: list[Any] = []
    for _, cells, more in tall_cells(batch, frame, counts, f, y, batch.options.dtype):
        nuclear.append(nuclear_norms(batch, cells))
        squares.append(more)
    return xp.concatenate(nuclear, axis=-1), xp.concatenate(squares, axis=-1)


def tall_cells(
    batch: Batch,
    frame: Frame,
    counts: np.ndarray,
    f: Any,
    y: Any,
    dtype: Any,
    numbers: int = 0,
) -> Iterator[tuple[slice, Any, Any]]:
    """Yield a slice of ``counts``, the transposed ``f inv(R)`` and squared norms of ``y inv(R)``.

    ``numbers`` is the size of what the caller makes of a cell.
    """
    xp, r, done, start = batch.xp, frame.square, 0, 0
    for some in batch.chunks(counts, max(numbers, f.shape[1] * f.shape[2])):
        last = int(some[-1])
        block = frame.rows[:, done:last]
        if f.shape[2] <= _batch.SIDE:
            cells, more = batch.engine.tall_path(r, block, some - done, f, y, dtype)
            if last < counts[-1]:
                r = xp.linalg.qr(xp.concatenate([r, block], axis=1), mode="r")
        else:
            cells, more, r = _tall_quotients(batch, r, block, some - done, f, y, dtype)
        yield slice(start, start + len(some)), cells, more
        start += len(some)
        done = last


def _tall_quotients(
    batch: Batch, r: Any, rows: Any, counts: np.ndarray, f: Any, y: Any, dtype: Any
) -> tuple[Any, Any, Any]:
    """Form the cells of some counts, one factorization each; also return the last factor."""
    xp = batch.xp
    cells = xp.zeros((len(f), len(counts), *swap(f).shape[1:]), dtype)
    squares, done = [], 0
    for v, count in enumerate(int(count) for count in counts):
        r = xp.linalg.qr(xp.concatenate([r, rows[:, done:count]], axis=1), mode="r")
        inverse = transposed_inverse(batch, r)
        cells[:, v] = inverse @ swap(f)
        squares.append(squared(inverse @ swap(y)))
        done = count
    return cells, xp.stack(squares, axis=-1), r
