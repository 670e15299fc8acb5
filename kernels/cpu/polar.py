"""Polar factor of a matrix that changes a little from call to call.

The symmetric root of the Gram matrix costs an eigendecomposition, which at these sizes takes as
long as forty matrix products. In the eigenvectors of an earlier, nearby Gram matrix the new one is
almost diagonal and its root is found by a few products.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel
from .fortran import L, N, S, T, V, gemm, gesdd, syevd

# Below this ratio of eigenvalues the Gram matrix has lost the small singular values.
_COARSE = 1e-11
# Sums in any order, so that they fill vector registers; infinities and NaN keep their meaning.
_SUMS = {"reassoc", "contract"}
# Products after which an eigendecomposition is the cheaper way; each must halve the residual.
_ROUNDS = 12


@kernel(fastmath=_SUMS)
def root_near_diagonal(gram, root):
    """Write the symmetric root of ``gram``, almost diagonal, to ``root``; False where it fails.

    Solves ``root @ root = gram`` by ``root_ij += residual_ij / (root_ii + root_jj)``: Newton's
    step, a Sylvester equation, without the off-diagonal part of the root on its left side.
    """
    n = gram.shape[0]
    diagonal = np.empty(n)
    least = largest = gram[0, 0]
    for i in range(n):
        least = gram[i, i] if gram[i, i] < least else least
        largest = gram[i, i] if gram[i, i] > largest else largest
        diagonal[i] = np.sqrt(gram[i, i])
    if not least > _COARSE * largest:
        return False
    weight = np.empty((n, n))
    square = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            weight[i, j] = 1 / (diagonal[i] + diagonal[j])
            root[i, j] = gram[i, j] * weight[i, j]
        root[i, i] = diagonal[i]
    goal = 1e-15 * n * largest
    goal *= goal / n
    before = np.inf
    for _ in range(_ROUNDS):
        gemm((N, N, n, n, n, 1.0, root, n, root, n, 0.0, square, n))
        error = 0.0
        for i in range(n):
            for j in range(n):
                residual = gram[i, j] - square[i, j]
                error += residual * residual
                root[i, j] += residual * weight[i, j]
        if error <= goal:
            return True
        if not error < 0.25 * before:
            return False
        before = error
    return False


@kernel(fastmath=_SUMS)
def solve_positive(a, b):
    """Overwrite b with ``inv(a) @ b``, and a, symmetric and positive definite, with its factor."""
    n, columns = b.shape
    for j in range(n):
        scale = 1 / np.sqrt(a[j, j])
        for c in range(j, n):
            a[j, c] *= scale
        for c in range(columns):
            b[j, c] *= scale
        for i in range(j + 1, n):
            factor = a[j, i]
            for c in range(i, n):
                a[i, c] -= factor * a[j, c]
            for c in range(columns):
                b[i, c] -= factor * b[j, c]
    for j in range(n - 1, -1, -1):
        scale = 1 / a[j, j]
        for c in range(columns):
            b[j, c] *= scale
        for i in range(j):
            factor = a[i, j]
            for c in range(columns):
                b[i, c] -= factor * b[j, c]


@kernel
def polar_rows(m, basis, known, factor):
    """As ``polar`` of m (s, cols) with s <= cols, into ``factor``.

    Returns the nuclear norm and whether ``basis`` holds anything now.
    """
    s, n = m.shape
    gram = np.empty((s, s))
    rotated = np.empty((s, n))
    if known:
        gemm((N, N, n, s, s, 1.0, m, n, basis, s, 0.0, rotated, n))
        gemm((T, N, s, s, n, 1.0, rotated, n, rotated, n, 0.0, gram, s))
        root = np.empty((s, s))
        if root_near_diagonal(gram, root):
            nuclear = 0.0
            for i in range(s):
                nuclear += root[i, i]
            solve_positive(root, rotated)
            gemm((N, T, n, s, s, 1.0, rotated, n, basis, s, 0.0, factor, n))
            return nuclear, True
    gemm((T, N, s, s, n, 1.0, m, n, m, n, 0.0, gram, s))
    values = np.empty(s)
    work = np.empty(7 * s * s + 64 * (s + n + 2))
    more = np.empty(8 * s + 3, np.int32)
    info = np.empty(1, np.int32)
    syevd((V, L, s, gram, s, values, work, work.size, more, more.size, info))
    nuclear = 0.0
    if values[0] > _COARSE * values[s - 1]:
        for i in range(s):
            for j in range(s):
                basis[i, j] = gram[i, j]
        gemm((N, N, n, s, s, 1.0, m, n, basis, s, 0.0, rotated, n))
        for i in range(s):
            root_i = np.sqrt(values[i])
            nuclear += root_i
            for j in range(n):
                rotated[i, j] /= root_i
        gemm((N, T, n, s, s, 1.0, rotated, n, basis, s, 0.0, factor, n))
        return nuclear, True
    for i in range(s):
        for j in range(n):
            rotated[i, j] = m[i, j]
    right = np.empty((s, n))
    gesdd((S, n, s, rotated, n, values, right, n, gram, s, work, work.size, more, info))
    gemm((N, N, n, s, s, 1.0, right, n, gram, s, 0.0, factor, n))
    for i in range(s):
        nuclear += values[i]
    return nuclear, False


def polar(m, basis, known):
    """Polar factor of m (orthonormal rows or columns, whichever are fewer) and its nuclear norm.

    Parameters
    ----------
    m : array (rows, cols)
    basis : array (s, s), s the smaller side
        Eigenvectors, in rows, of the Gram matrix of an earlier m; renewed where they no longer
        serve.
    known : bool
        Whether ``basis`` holds anything yet.

    Returns
    -------
    factor : array (rows, cols)
    nuclear : float
    known : bool
        For the next call.
    """
    across = np.ascontiguousarray(m if m.shape[0] <= m.shape[1] else m.T)
    factor = np.empty(across.shape)
    nuclear, known = polar_rows(across, basis, known, factor)
    return (factor if across.shape == m.shape else factor.T), nuclear, known
