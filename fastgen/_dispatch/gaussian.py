"""Chooses how the overlaps of Gaussians are computed: kernels for small factors, LAPACK above."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from . import compiling
from .nuclear import BAND_COLUMNS, LANE_COLUMNS, LANES, nuclear_lapack, root_trace
from .threads import single_blas_thread

# Pairs given to a thread at once: enough that starting it costs nothing beside them.
_PAIRS_PER_TASK = 8 * LANES
# Bound on the relative error of a nuclear norm from a Gram matrix, else the SVD is taken. The bound
# is some hundred times the error met.
_TOLERANCE = 1e-10
# A Cholesky pivot below this share of the largest entry may be rounding: without pivoting, errors
# grow by the reciprocals of small pivots before it.
SUSPICIOUS = 1e-7
# Pivots chosen at a time, and the least share of the largest that one must have.
_PIVOTS, _SHARE = 64, 0.1
_EPS = np.finfo(np.float64).eps
# Seconds that singular values may take beyond kernels, those of a matrix, and those of a number of
# it times its rank.
_PLAIN, _PLAIN_CALL, _PLAIN_NUMBER = 0.03, 2e-5, 2e-9


class Factor(Protocol):
    """What is read of a factored covariance ``array @ array.T``."""

    array: np.ndarray  # (d, r), Fortran order; the d standard deviations where diagonal
    triangular: bool
    diagonal: bool

    @property
    def rank(self) -> int: ...


def overlaps(
    factors: Sequence[Factor], pairs: np.ndarray, dtype: np.dtype, n_jobs: int | None
) -> np.ndarray:
    """Nuclear norms of ``factors[a].array.T @ factors[b].array`` for pairs (a, b).

    Up to ``LANE_COLUMNS`` columns eight pairs share a vector register, in ``dtype``; larger ones
    take the Gram matrix of the cross-product, or its singular values where that is too coarse, in
    float64: single precision would need the singular values always, which costs more.
    """
    out = np.zeros(len(pairs))
    ranks = np.array([factor.rank for factor in factors], dtype=np.int64)
    sizes = ranks[pairs] if len(pairs) else np.zeros((0, 2), np.int64)
    small = (sizes.max(axis=1, initial=0) <= LANE_COLUMNS) & (sizes.min(axis=1, initial=1) > 0)
    large = np.flatnonzero(sizes.max(axis=1, initial=0) > LANE_COLUMNS)
    large = large[sizes[large].min(axis=1) > 0] if large.size else large
    tasks: list[tuple[Callable, tuple]] = []
    tall, flat = sizes.max(axis=1, initial=0), sizes.min(axis=1, initial=0)
    longer = _PLAIN_CALL * small.sum() + _PLAIN_NUMBER * (tall * flat**2)[small].sum()
    if not compiling.worthwhile(longer, _PLAIN):
        tasks = [(_plain, (factors, pairs[i], i, out)) for i in np.flatnonzero(small)]
    elif small.any():
        order = np.flatnonzero(small)
        order = order[np.lexsort((sizes[order].min(axis=1), sizes[order].max(axis=1)))]
        rows, starts = _transposed(factors, np.unique(pairs[order]), dtype)
        for at in range(0, len(order), _PAIRS_PER_TASK):
            chosen = order[at : at + _PAIRS_PER_TASK]
            tasks.append((_small, (rows, starts, pairs[chosen], chosen, out)))
    many = [(_large, (factors, pairs[i], i, out)) for i in large]
    if n_jobs in (None, 1):
        with single_blas_thread():  # the products of small factors are too small to share
            _run(tasks)
        _run(many)
    else:
        from joblib import Parallel, delayed

        with single_blas_thread():
            Parallel(n_jobs=n_jobs, require="sharedmem")(
                delayed(work)(*arguments) for work, arguments in tasks + many
            )
    return out


def _run(tasks: list[tuple[Callable, tuple]]) -> None:
    for work, arguments in tasks:
        work(*arguments)


def cholesky(matrix: np.ndarray) -> np.ndarray | None:
    """Lower triangular factor (Fortran order) of a symmetric matrix, None where not definite."""
    factor = full_factor(matrix, share=0.0)
    return None if factor is None else np.triu(factor).T


def pivoted_cholesky(matrix: np.ndarray, tolerance: float) -> np.ndarray:
    """Factor (d, r) of a symmetric matrix up to pivots of ``tolerance``, in Fortran order.

    LAPACK's up to ``BAND_COLUMNS``. Above, pivots are chosen a block at a time among the largest,
    none below ``_SHARE`` of the largest: rows are not exchanged, and all is matrix products.
    """
    from scipy.linalg import lapack

    from ..kernels.cpu import blas

    d = len(matrix)
    if d <= BAND_COLUMNS:
        factor, order, rank, _ = lapack.dpstrf(matrix.T, tol=tolerance, lower=1)
        return np.take(np.triu(factor[:, :rank].T), np.argsort(order), axis=1).T
    rows, rank = np.empty((d, d)), 0
    panel = np.empty((_PIVOTS, d))
    left = matrix.diagonal().copy()
    while rank < d and left.max() > tolerance:
        width = min(_PIVOTS, d - rank)
        chosen = np.argpartition(-left, width - 1)[:width]
        # other modes than "clip" fill a buffer first
        rest = np.take(matrix, chosen, axis=0, out=panel[:width], mode="clip")
        seen = np.asfortranarray(rows[:rank, chosen])
        blas.gemm(rows[:rank].T, seen, rest.T, alpha=-1.0, beta=1.0)
        least = max(tolerance, _SHARE * left.max())
        corner, order, found, _ = lapack.dpstrf(rest[:, chosen].T, tol=least, lower=1)
        if found == 0:  # what was left was rounding
            break
        order = order[:found] - 1
        new = np.take(rest, order, axis=0, out=rows[rank : rank + found], mode="clip")
        blas.trsm(corner[:found, :found], new.T)
        new[:, chosen[order]] = np.triu(new[:, chosen[order]])
        rank += found
        left -= np.einsum("ij,ij->j", new, new)
        left[chosen[order]] = -np.inf
    return rows[:rank].T


def leading_factor(matrix: np.ndarray, share: float = SUSPICIOUS) -> np.ndarray | None:
    """Cholesky factor of the leading half of a C-contiguous symmetric matrix, in the corner.

    None where a pivot is not above a ``share`` of the largest entry: an eighth of the work tells of
    ranks up to half the columns. The factor is lower triangular in the transpose of what is
    returned, the rest of it unset.
    """
    from ..kernels.cpu import blas

    out = np.empty(matrix.shape)
    half = blas.leading(len(matrix))
    out[:half, :half] = matrix[:half, :half]
    least = share * matrix.diagonal().max()
    return out if blas.cholesky(out.T[:half, :half], least) else None


def full_factor(matrix: np.ndarray, share: float = SUSPICIOUS) -> np.ndarray | None:
    """Cholesky factor of a C-contiguous symmetric matrix, None where `leading_factor` would be.

    The factor is lower triangular in the transpose, whose other triangle is unset.
    """
    from ..kernels.cpu import blas

    out = leading_factor(matrix, share)
    if out is None:
        return None
    half = blas.leading(len(matrix))
    out[:half, half:] = matrix[:half, half:]
    out[half:, half:] = matrix[half:, half:]
    least = share * matrix.diagonal().max()
    return out if blas.finish_cholesky(out.T, half, least) else None


def factored_overlap(matrix: np.ndarray, factored: np.ndarray, noise: float) -> float | None:
    """``tr (A^{1/2} B A^{1/2})^{1/2}`` of A and a factored B, None where squaring was too coarse.

    The eigenvalues of A B are those of ``L^T A L`` with ``B = L L^T``, which is as indefinite as A:
    one Cholesky factorization tells of both. ``noise`` is what rounding may move them by.
    ``matrix`` is overwritten.
    """
    from ..kernels.cpu import blas

    blas.congruent(matrix.T, factored.T)
    total, error = root_trace(matrix.T, noise)
    return total if error <= _TOLERANCE * total < np.inf else None


def _transposed(factors, used, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Stack the transposed factors ``used``; those that are not used are empty."""
    ranks = np.zeros(len(factors) + 1, np.int64)
    ranks[used + 1] = [factors[a].rank for a in used]
    starts = np.cumsum(ranks)
    rows = np.empty((starts[-1], factors[used[0]].array.shape[0]), dtype)
    for a in used:
        array = factors[a].array
        rows[starts[a] : starts[a + 1]] = np.diag(array) if factors[a].diagonal else array.T
    return rows, starts


def _small(rows, starts, pairs, at, out) -> None:
    from ..kernels.cpu.bures import pair_nuclear_norms
    from ..kernels.quadrature import nodes

    values = np.empty(len(pairs), rows.dtype)
    pair_nuclear_norms(rows, starts, np.ascontiguousarray(pairs), *nodes(rows.dtype), values)
    out[at] = values


def _plain(factors, pair, at, out) -> None:
    product = cross_product(factors[pair[0]], factors[pair[1]])
    out[at] = np.linalg.svd(product, compute_uv=False).sum()


def _large(factors, pair, at, out) -> None:
    out[at] = nuclear_lapack(cross_product(factors[pair[0]], factors[pair[1]]), _TOLERANCE)


def cross_product(left: Factor, right: Factor) -> np.ndarray:
    """``left.array.T @ right.array``, sparing the zeros of diagonal and triangular factors."""
    if left.diagonal and right.diagonal:
        return np.diag(left.array * right.array)
    if left.diagonal:
        return left.array[:, None] * right.array
    if right.diagonal:
        return left.array.T * right.array
    if right.triangular and not left.triangular:
        return cross_product(right, left).T
    if left.triangular:
        from scipy.linalg import blas

        return blas.dtrmm(1.0, left.array, right.array, lower=1, trans_a=1)
    return left.array.T @ right.array


def cuda_kernels():
    """Return the launchers of the CUDA kernels of this subject."""
    from ..kernels.cuda import bures

    return bures
