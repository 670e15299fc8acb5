"""Factors of the generated covariance along the latent dimensions, neighbours sharing their work.

The pseudo-latents are nested: latent dimension k uses the first k rows of one Z (K, n). With
``Z[:n] = L Q^T`` (L lower triangular, Q orthogonal) and data ``X Q = Q_Y R_Y`` the minimum-norm
generator ``X pinv(Z[:k])`` has the singular values of

    F[:, :k] inv(L)[:k, :k]   for k <= n   (leading blocks: one rank-one update per k),
    F inv(R_k)                for k >= n   (R_k: QR factor of Z[:k] Q, one row of rotations per k),

F upper trapezoidal, in whatever metric the rows of F carry (R_Y itself for the Frobenius norm, the
truth's factor times Q_Y R_Y for the Wasserstein distance). Orthogonal transformations only: the
condition number of Z is never squared, so k = n is as accurate as an SVD. Eight latent dimensions
at a time go to ``nuclear.nuclear_norms``. Each function is one call for a whole path: threads that
work on different trials meet at the interpreter lock as rarely as possible. Where the k > n lie
close together ``secular.dense_path`` lets many of them share one eigendecomposition.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel
from .nuclear import nuclear_norms
from .simd import LANES, load, splat, store


@kernel
def _lay(both, r, inverse, ks, done, product, out, squares):
    """Let ``product`` grow to each of up to eight ``ks``, and hand its leading blocks on.

    Columns from ``done`` on are added, those of ``both`` times the same rows of ``inverse``, unless
    that is empty. The first r rows are one trapezoid, whose transposed blocks go to the lanes of
    ``out``; the others are another one, whose squared norms go to ``squares``.
    """
    grows = inverse.shape[0] > 0
    for v in range(ks.size):
        k = ks[v]
        total = 0.0
        for i in range(both.shape[0]):
            row = i if i < r else i - r
            if grows:
                for col in range(row if row > done else done, k):
                    x = both[i, col]
                    for j in range(col + 1):
                        product[i, j] += x * inverse[col, j]
            if row < k:
                if i < r:
                    for j in range(k):
                        out[j, i, v] = product[i, j]
                else:
                    for j in range(k):
                        total += product[i, j] * product[i, j]
        squares[v] = total
        done = k


def leading_path(f, y, inverse, ks, gamma, omega, nuclear, squares):
    """Nuclear norms of ``f[:, :k] inverse[:k, :k]``, squared norms of ``y[:, :k] inverse[:k, :k]``.

    Parameters
    ----------
    f, y : array (r, p) and (s, p), upper trapezoidal, float64
    inverse : array (p, p), lower triangular, float64
        Of shape (0, 0) for the identity.
    ks : array of int64 (m,), ascending, 1 to p
    gamma, omega : array (n_nodes,)
        Quadrature; their dtype is that of the singular values.
    nuclear, squares : array (m,), float64
    """
    both = np.concatenate((f, y))
    product = np.zeros(both.shape) if len(inverse) else both
    lanes = np.empty((1, LANES), gamma.dtype)
    done = 0
    for start in range(0, ks.size, LANES):
        group = ks[start : start + LANES]
        last = int(group[-1])
        stack = np.zeros((1, last, min(last, len(f)), LANES), gamma.dtype)
        _lay(both, len(f), inverse, group, done, product, stack[0], squares[start:])
        done = last
        nuclear_norms(stack, gamma, omega, lanes)
        nuclear[start : start + LANES] = lanes[0, : group.size]


@kernel
def add_rows(r, rows):
    """Update the triangular QR factor ``r`` (n, n) by new rows (m, n), which are overwritten."""
    n = r.shape[0]
    for t in range(rows.shape[0]):
        for j in range(n):
            x = rows[t, j]
            if x == 0:
                continue
            head = r[j, j]
            size = np.hypot(head, x)
            c = head / size
            s = x / size
            r[j, j] = size
            for col in range(j + 1, n):
                a = r[j, col]
                b = rows[t, col]
                r[j, col] = c * a + s * b
                rows[t, col] = c * b - s * a


def _triangles(r, rows, counts, out):
    """Factors after ``counts[v]`` of the rows are added to ``r``, lane by lane.

    Lanes beyond the counts repeat the last factor.
    """
    done = 0
    for v in range(LANES):
        if v < counts.size:
            add_rows(r, rows[done : counts[v]])
            done = counts[v]
        out[:, :, v] = r


@kernel
def _quotients(triangles, f, y, column, diagonal, out, squares):
    """Transposed ``f inv(R)`` to out (n, r, 8), squared norms of ``y inv(R)``, eight R at once.

    ``column`` and ``diagonal`` (n, 8) are scratch.
    """
    n = triangles.shape[0]
    one = splat(triangles, 1.0)
    zero = splat(triangles, 0.0)
    total = zero
    for i in range(n):
        store(diagonal, i * LANES, one / load(triangles, (i * n + i) * LANES))
    for c in range(n):
        # column c of inv(R) by back substitution
        store(column, c * LANES, load(diagonal, c * LANES))
        for i in range(c - 1, -1, -1):
            x = zero
            for j in range(i + 1, c + 1):
                x = x + load(triangles, (i * n + j) * LANES) * load(column, j * LANES)
            store(column, i * LANES, (zero - x) * load(diagonal, i * LANES))
        for i in range(min(f.shape[0], c + 1)):
            x = zero
            for j in range(i, c + 1):
                x = x + splat(triangles, f[i, j]) * load(column, j * LANES)
            store(squares, 0, x)
            for v in range(LANES):
                out[c, i, v] = squares[v]
        for i in range(min(y.shape[0], c + 1)):
            x = zero
            for j in range(i, c + 1):
                x = x + splat(triangles, y[i, j]) * load(column, j * LANES)
            total = total + x * x
    store(squares, 0, total)


def tall_path(r, rows, counts, f, y, gamma, omega, nuclear, squares):
    """Nuclear norms of ``f inv(R)`` and squared norms of ``y inv(R)`` as rows join R's factor.

    Parameters
    ----------
    r : array (n, n), upper triangular, float64
        The QR factor before any of the rows; updated in place to the last count.
    rows : array (m, n), float64
        Overwritten.
    counts : array of int64 (b,), ascending, 0 to m
        After how many rows each value is wanted.
    f, y : array (r, n) and (s, n), upper trapezoidal, float64
    gamma, omega : array (n_nodes,)
        Quadrature; their dtype is that of the singular values.
    nuclear, squares : array (b,), float64
    """
    n = r.shape[0]
    triangles = np.empty((n, n, LANES))
    stack = np.zeros((1, n, f.shape[0], LANES), gamma.dtype)
    lanes = np.empty((1, LANES), gamma.dtype)
    column, diagonal, lane_squares = np.empty((n, LANES)), np.empty((n, LANES)), np.empty(LANES)
    done = 0
    for start in range(0, counts.size, LANES):
        group = counts[start : start + LANES]
        _triangles(r, rows[done : group[-1]], group - done, triangles)
        done = group[-1]
        _quotients(triangles, f, y, column, diagonal, stack[0], lane_squares)
        nuclear_norms(stack, gamma, omega, lanes)
        nuclear[start : start + group.size] = lanes[0, : group.size]
        squares[start : start + group.size] = lane_squares[: group.size]
