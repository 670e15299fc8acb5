"""Norms along nested latent dimensions: kernels when small, LAPACK when large.

Every metric of a generator ``G = Y W`` needs two numbers for each k: the nuclear norm of ``C G``,
with C the factor of the true covariance, and the squared norm of G. Here Y are the data of the
pairs, W depends on k through the latents alone, and both are given in coordinates in which they
are small and triangular:

======  =================================================================================
name    what it is
======  =================================================================================
``f``   (q, p) upper trapezoidal, stands for ``C Y``: the truth seen through the data
``y``   (r, p) upper trapezoidal, stands for ``Y``: the data
``W``   for k <= p ``inverse[:k, :k]``, the inverse of the leading latents (`leading`);
        beyond, ``inv(R)`` with R the triangular factor of the first k latents (`tall`)
======  =================================================================================

So every path returns the nuclear norms of ``f W`` and the squared norms of ``y W``. See
``kernels/cpu/linear_path.py`` for the mathematics of `leading` and `tall`,
``kernels/cpu/secular.py`` for that of closely spaced k > n.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import blas

from ..._dispatch import linear as kernels
from ..._dispatch import nuclear as norms

LANES = norms.LANES


def solve_right(f: np.ndarray, upper: np.ndarray, transpose: bool = False) -> np.ndarray:
    """Return ``f @ inv(upper)``, or ``f @ inv(upper.T)``, for an upper triangular matrix."""
    lower = np.ascontiguousarray(upper).T
    return blas.dtrsm(
        1.0, lower, np.ascontiguousarray(f).T, side=0, lower=1, trans_a=int(transpose)
    ).T


def _is_small(cols: int) -> bool:
    return cols <= norms.LANE_COLUMNS


def leading(
    f: np.ndarray, y: np.ndarray, inverse: np.ndarray | None, ks: np.ndarray, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Follow the path of k up to p, where W is a leading block of ``inverse``.

    Parameters
    ----------
    f, y : ndarrays (q, p) and (r, p)
        Truth and data, as in the table above.
    inverse : ndarray (p, p) or None
        None is the identity.
    ks : ndarray of int
        Latent dimensions, ascending, at most p.
    dtype : dtype
        Precision of the singular values of small matrices; LAPACK works in float64.

    Returns
    -------
    nuclear, squares : ndarrays (n_k,)
        Nuclear norms of ``f[:, :k] @ inverse[:k, :k]``, squared norms of the same with ``y``.
    """
    nuclear, squares = np.empty(ks.size), np.empty(ks.size)
    if ks.size == 0:
        return nuclear, squares
    limit = ks[-1] if f.shape[0] <= norms.LANE_COLUMNS else norms.LANE_COLUMNS
    small = int(np.searchsorted(ks, limit, side="right"))
    if small:
        top = ks[small - 1]
        kernels.leading_path(
            np.ascontiguousarray(f[:top, :top]),
            np.ascontiguousarray(y[:top, :top]),
            None if inverse is None else np.ascontiguousarray(inverse[:top, :top]),
            ks[:small],
            dtype,
            nuclear[:small],
            squares[:small],
        )
    products = _running_products(f, y, inverse, ks[small:])
    for v, (product_f, product_y) in enumerate(products, start=small):
        nuclear[v] = norms.nuclear_lapack(product_f)
        squares[v] = np.einsum("ij,ij->", product_y, product_y)
    return nuclear, squares


def _running_products(
    f: np.ndarray, y: np.ndarray, inverse: np.ndarray | None, ks: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield ``f W`` and ``y W``, each the one before plus the columns between the two k."""
    product_f, product_y = np.zeros(f.shape), np.zeros(y.shape)
    done = 0
    for k in ks:
        if inverse is None:
            product_f, product_y = f, y
        else:
            product_f[:, :k] += f[:, done:k] @ inverse[done:k, :k]
            product_y[:, :k] += y[:, done:k] @ inverse[done:k, :k]
        done = k
        yield product_f[:k, :k], product_y[:k, :k]


def tall(
    r: np.ndarray,
    rows: np.ndarray,
    counts: np.ndarray,
    f: np.ndarray,
    y: np.ndarray,
    dtype: np.dtype,
) -> tuple[np.ndarray, np.ndarray]:
    """Follow the path of k beyond the number of pairs, where W is ``inv(R)``.

    Parameters
    ----------
    r : ndarray (n, n)
        Triangular QR factor of the first n latent rows.
    rows : ndarray (m, n)
        The latent rows beyond; R is the factor after some of them have joined.
    counts : ndarray of int
        After how many of the rows the values are wanted, ascending.
    f, y : ndarrays (q, n) and (r, n)
        Truth and data, as in the table above.
    dtype : dtype
        Precision of the singular values of small matrices; LAPACK works in float64.

    Returns
    -------
    nuclear, squares : ndarrays (n_counts,)
        Nuclear norms of ``f inv(R)``, squared norms of ``y inv(R)``.
    """
    nuclear, squares = np.empty(counts.size), np.empty(counts.size)
    if len(f) == 0:
        nuclear[:], squares[:] = 0.0, 0.0
        return nuclear, squares
    r, rows = r.copy(), rows.copy()
    done = 0
    for run, dense in kernels.dense_runs(counts, len(r)):
        between = rows[done : counts[run][-1]]
        out = nuclear[run], squares[run]
        if dense:
            kernels.dense_path(r, between, counts[run] - done, f, y, *out)
        elif _is_small(len(f)) and _is_small(len(r)):
            kernels.tall_path(r, between, counts[run] - done, f, y, dtype, *out)
        else:
            r = _tall_gram(r, between, counts[run] - done, f, y, *out)
        done = counts[run][-1]
    return nuclear, squares


def _tall_gram(
    r: np.ndarray,
    rows: np.ndarray,
    counts: np.ndarray,
    f: np.ndarray,
    y: np.ndarray,
    nuclear: np.ndarray,
    squares: np.ndarray,
) -> np.ndarray:
    """Follow the path by Gram matrices of f inv(R), from the last count down.

    Each Gram matrix is that of the next count plus a positive update:
    ``inv(R_k^T R_k) - inv(R_l^T R_l) = U U^T`` for l > k with U from the rows between. Going up in
    k would subtract and lose digits below the peak. Where the Gram matrix is too coarse, the SVD.
    Returns R after the last count.
    """
    start_r, both = r, np.vstack([f, y])
    steps = np.diff(counts, prepend=0)
    updates: dict[int, np.ndarray] = {}
    fresh: dict[int, np.ndarray] = {}
    for v, count in enumerate(counts):
        block = rows[count - steps[v] : count]
        if v and len(block) > len(r):  # cheaper to start again than to carry the update
            fresh[v - 1] = solve_right(both, r)
        elif v:
            half = solve_right(block, r)
            inner = np.linalg.cholesky(np.eye(len(block)) + half @ half.T)
            back = solve_right(half, r, transpose=True)
            updates[v - 1] = blas.dtrsm(1.0, inner, both @ back.T, side=1, lower=1, trans_a=1)
        r = add_rows(r.copy(), block.copy())
    fresh[counts.size - 1] = solve_right(both, r)
    coarse = []
    for v in range(counts.size - 1, -1, -1):
        change = fresh[v] if v in fresh else updates[v]
        if v in fresh:
            gram, square = np.zeros((len(f), len(f))), 0.0
        gram += change[: len(f)] @ change[: len(f)].T
        square += float(np.einsum("ij,ij->", change[len(f) :], change[len(f) :]))
        squares[v] = square
        value = norms.nuclear_from_gram(gram)
        if value is None:
            coarse.append(v)
        else:
            nuclear[v] = value
    last_r, r, done = r, start_r, 0
    for v in reversed(coarse):
        r = add_rows(r.copy(), rows[done : counts[v]].copy())
        done = counts[v]
        nuclear[v] = np.linalg.svd(solve_right(f, r), compute_uv=False).sum()
    return last_r


def add_rows(r: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the QR factor of ``r`` with more rows: rotations for a few, LAPACK for many."""
    if len(rows) * 16 < len(r):
        kernels.add_rows(r, rows)
        return r
    return triangular(np.vstack([r, rows]))


def triangular(a: np.ndarray) -> np.ndarray:
    """Return the triangular factor of a QR decomposition."""
    return np.asarray(np.linalg.qr(a, mode="r"))
