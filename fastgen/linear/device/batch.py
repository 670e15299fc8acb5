"""A batch of trials on the device, and the array operations that every problem uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ..options import RANK_TOLERANCE, Options

# The largest side of a matrix that the CUDA kernels take.
SIDE = 64
# How many temporary arrays as large as all cells of a call exist at one time, counted in the code:
# a closed form holds the cells, their product and what the norms are made of; an iterative solver
# holds two iterates with their images and gradients, and the L-BFGS memory of 2 x 5 arrays.
COPIES = 3
ITERATED = 24
# Relative error of a nuclear norm from the Gram matrix beyond which the SVD is taken instead.
_GRAM_TOLERANCE = {np.dtype(np.float64): 1e-11, np.dtype(np.float32): 1e-6}


def batch_size(
    draw: Sequence[Any], largest: int, memory: int, *, iterative: bool, wide: bool
) -> int:
    """Return how many trials go together.

    Their factorizations take half of the memory, and one cell of each the other half.

    Parameters
    ----------
    draw : sequence of arrays
        One trial, as for ``run.run_trials``.
    largest : int
        Largest latent dimension.
    memory : int
        Bytes.
    iterative : bool
        Whether an iterative problem is among those to be solved.
    wide : bool
        Whether a problem is whose cells have a column for every latent.
    """
    (q, d), n = draw[0].shape, draw[1].shape[1]
    p = min(largest, n)
    numbers = 4 * d * n + 3 * largest * n + 3 * q * d + 8 * p * p
    cell = COPIES * p * p
    if wide:
        numbers += 3 * d * largest
        cell = max(cell, COPIES * p * largest, 4 * d * largest)
    if iterative:
        r = min(d, n)
        numbers += 2 * d * largest + min(largest, n + r) ** 2
        cell = max(cell, ITERATED * r * min(largest, n + r))
    return max(1, min(memory // (2 * 8 * numbers), memory // (2 * 8 * cell)))


@dataclasses.dataclass
class Batch:
    """Trials on the device, and the latent dimensions at which they are evaluated.

    Attributes
    ----------
    factor : array (t, q, d)
        Factors of the true covariances.
    x : array (t, d, n)
        Centered training samples, the paired ones first.
    z : array (t, K, n)
        Pseudo-latents.
    starts : array (t, K, d) or None
        What iterative problems start from, in units of the data; None where no problem is.
    trace : array (t, 1)
        Total variances of the truths.
    ks : ndarray of int (n_k,)
        Latent dimensions, ascending.
    options : Options
    xp : module
        The array library.
    engine : object
        The launchers of the kernels.
    cell_memory : int
        Bytes that the cells of one call may take.
    kept : dict
        Factorizations that several problems share, computed when first asked for.
    """

    factor: Any
    x: Any
    z: Any
    starts: Any
    trace: Any
    ks: np.ndarray
    options: Options
    xp: ModuleType
    engine: Any
    cell_memory: int
    kept: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        draws: Sequence[Sequence[Any]],
        ks: np.ndarray,
        options: Options,
        xp: ModuleType,
        engine: Any,
        cell_memory: int,
    ) -> Batch:
        """Move trials to the device; factors of fewer rows get rows of zeros."""
        tallest = max(len(draw[0]) for draw in draws)
        factor = xp.zeros((len(draws), tallest, draws[0][0].shape[1]))
        for i, draw in enumerate(draws):
            factor[i, : len(draw[0])] = xp.asarray(draw[0])
        x = xp.stack([xp.asarray(draw[1]) for draw in draws]).astype(np.float64)
        z, starts = (
            None
            if draws[0][i] is None
            else xp.asarray(np.stack([draw[i][: ks[-1]] for draw in draws], dtype=np.float64))
            for i in (2, 3)
        )
        if starts is not None:  # in units of the data
            unit = xp.sqrt((x**2).mean(axis=(1, 2)))[:, None, None]
            starts = starts * xp.where(unit > 0, unit, 1.0)
        trace = (factor**2).sum(axis=(1, 2))[:, None]
        return cls(factor, x, z, starts, trace, ks, options, xp, engine, cell_memory)

    def part(self, index: np.ndarray) -> Batch:
        """Return some of the trials."""
        if len(index) == len(self.x):
            return dataclasses.replace(self, kept={})
        where = self.xp.asarray(index)
        return dataclasses.replace(
            self,
            factor=self.factor[where],
            x=self.x[where],
            z=self.z[where],
            starts=None if self.starts is None else self.starts[where],
            trace=self.trace[where],
            kept={},
        )

    def at(self, ks: np.ndarray) -> Batch:
        """Return the same trials for other latent dimensions, at most the largest."""
        return dataclasses.replace(self, ks=ks)

    def chunks(
        self, wanted: np.ndarray, numbers: int, most: int | None = None
    ) -> Iterator[np.ndarray]:
        """Cut ``wanted`` so that cells of ``numbers`` elements, COPIES of each, fit the memory."""
        fit = self.cell_memory // (8 * COPIES * max(1, numbers) * len(self.x))
        size = max(1, fit if most is None else min(fit, most))
        for start in range(0, len(wanted), size):
            yield wanted[start : start + size]


def by_rank(ranks: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield every rank and the trials that have it: most often one rank for all."""
    for rank in np.unique(ranks):
        yield int(rank), np.flatnonzero(ranks == rank)


def swap(a: Any) -> Any:
    """Transpose the matrices of a stack."""
    return a.swapaxes(-1, -2)


def squared(a: Any) -> Any:
    """Squared Frobenius norms of the matrices of a stack."""
    return (a * a).sum(axis=(-2, -1))


def to_numpy(xp: ModuleType, a: Any) -> np.ndarray:
    """Bring an array to the host."""
    return xp.asnumpy(a) if hasattr(xp, "asnumpy") else np.asarray(a)


def pick(xp: ModuleType, a: Any, index: np.ndarray) -> Any:
    """Take elements of the last axis, by an index on the host."""
    return xp.take(a, xp.asarray(index), axis=-1)


def tail_sums(xp: ModuleType, a: Any) -> Any:
    """Return the sums of ``a[:, i:]`` for i = 0 .. a.shape[1]."""
    tail = xp.flip(xp.cumsum(xp.flip(a, axis=-1), axis=-1), axis=-1)
    return xp.concatenate([tail, xp.zeros((len(a), 1))], axis=-1)


def running_sums(xp: ModuleType, a: Any) -> Any:
    """Return the sums of ``a[:, :i]`` for i = 0 .. a.shape[1]."""
    return xp.concatenate([xp.zeros((len(a), 1)), xp.cumsum(a, axis=-1)], axis=-1)


def truth_on(batch: Batch, basis: Any) -> tuple[Any, Any, Any]:
    """Measure the truths on orthonormal bases (t, d, r).

    Returns their triangular factors there, the variances (t, r) along each direction and the
    variances (t, 1) outside, as ``host.trial.Range`` holds them. Columns of zeros in a basis change
    nothing: that is how a batch holds several ranks.
    """
    image = batch.factor @ basis
    outside = batch.factor - image @ swap(basis)
    truth = batch.xp.linalg.qr(image, mode="r")
    return truth, (image**2).sum(axis=1), squared(outside)[:, None]


def outside_of(batch: Batch, energy: Any, rest: Any, directions: np.ndarray) -> Any:
    """Return the variances (t, n_k) outside of the first so many directions."""
    tail = tail_sums(batch.xp, energy)
    return rest + pick(batch.xp, tail, np.minimum(directions, energy.shape[1]))


def metrics(
    batch: Batch,
    nuclear: Any,
    squares: Any,
    projection_error: Any,
    train_error: Any,
    *outcome: Any,
) -> np.ndarray:
    """Return the rows (t, 4 or 6, n_k) of ``ROWS`` on the host.

    ``nuclear`` are the nuclear norms of the factor of the truth times G, ``squares`` the squared
    norms of G; ``outcome`` is whether the cells converged and in how many steps.
    """
    w2 = batch.trace + squares - 2 * nuclear
    rows = [w2, projection_error, train_error, squares / batch.trace, *outcome]
    return to_numpy(batch.xp, batch.xp.stack(rows, axis=1))


def nested_range(batch: Batch, columns: Any) -> tuple[Any, Any]:
    """Orthonormalize columns (t, d, p) in their order; what depends on earlier ones becomes zero.

    Returns the bases (t, d, r) and the columns in them (t, r, p), r the smaller of d and p.
    """
    xp = batch.xp
    q, upper = xp.linalg.qr(columns)
    size = abs(xp.diagonal(upper, axis1=-2, axis2=-1))
    small = ~(size > RANK_TOLERANCE * size.max(axis=-1, keepdims=True))
    keep = xp.cumsum(small.astype(np.int64), axis=-1) == 0
    return q * keep[:, None, :], upper * keep[:, :, None]


def transposed_inverse(batch: Batch, upper: Any) -> Any:
    """Invert and transpose upper triangular matrices (t, n, n), by halves down to the kernel's."""
    xp = batch.xp
    t, n, _ = upper.shape
    if n <= SIDE:
        identity = xp.broadcast_to(xp.eye(n), upper.shape)
        nothing = xp.zeros((t, 0, n))
        cells, _ = batch.engine.tall_path(upper, nothing, [0], identity, nothing, np.float64)
        return cells[:, 0]
    half = n // 2
    first = transposed_inverse(batch, upper[:, :half, :half])
    last = transposed_inverse(batch, upper[:, half:, half:])
    below = -(last @ (swap(upper[:, :half, half:]) @ first))
    above = xp.zeros((t, half, n - half))
    lines = [xp.concatenate([first, above], axis=2), xp.concatenate([below, last], axis=2)]
    return xp.concatenate(lines, axis=1)


def eigen(batch: Batch, stack: Any) -> tuple[Any, Any]:
    """Return ascending eigenvalues and eigenvectors of symmetric matrices (.., n, n)."""
    n = stack.shape[-1]
    values, vectors = batch.engine.symmetric_eigen(stack.reshape(-1, n, n))
    return values.reshape(*stack.shape[:-1]), vectors.reshape(stack.shape)


def nuclear_norms(batch: Batch, cells: Any) -> Any:
    """Return the nuclear norms (t, m) of cells (t, m, rows, cols), in float64."""
    if cells.size == 0:
        return batch.xp.zeros(cells.shape[:2])
    stack = cells.reshape(-1, *cells.shape[2:])
    if max(stack.shape[1:]) <= SIDE:
        norms = batch.engine.nuclear_norms(stack)
    else:
        norms = _large_nuclear_norms(batch, stack)
    return norms.astype(np.float64).reshape(cells.shape[:2])


def _large_nuclear_norms(batch: Batch, stack: Any) -> Any:
    """Sum the roots of the eigenvalues of the smaller Gram matrices; an SVD where too coarse.

    The Gram matrices are float64 whatever the cells: squared float32 would never be fine enough.
    An eigenvalue is wrong by about eps times the largest, its root by that over twice the root.
    """
    xp = batch.xp
    tolerance = _GRAM_TOLERANCE[np.dtype(stack.dtype)]
    stack = stack.astype(np.float64)
    wide = stack.shape[1] <= stack.shape[2]
    gram = stack @ swap(stack) if wide else swap(stack) @ stack
    roots = xp.sqrt(xp.maximum(batch.engine.symmetric_eigenvalues(gram), 0))
    limits = np.finfo(np.float64)
    noise = roots[:, -1:] ** 2 * float(4 * limits.eps)
    least = xp.maximum(xp.sqrt(noise) / 2, float(limits.tiny))
    wrong = (noise / (2 * xp.maximum(roots, least))).sum(axis=-1)
    norms = roots.sum(axis=-1)
    coarse = xp.nonzero(~(wrong <= tolerance * norms))[0]
    if coarse.size:
        norms[coarse] = xp.linalg.svd(stack[coarse], compute_uv=False).sum(axis=-1)
    return norms
