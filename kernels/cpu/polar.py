"""Polar factor of a matrix that changes a little from call to call.

The symmetric root of the Gram matrix costs an eigendecomposition, which at these sizes takes as
long as forty matrix products. In the eigenvectors of an earlier, nearby Gram matrix the new one is
almost diagonal and its root is found by a few products.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel

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
    diagonal = np.diag(gram)
    if not diagonal.min() > _COARSE * diagonal.max():
        return False
    diagonal = np.sqrt(diagonal)
    weight = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            weight[i, j] = 1 / (diagonal[i] + diagonal[j])
            root[i, j] = gram[i, j] * weight[i, j]
        root[i, i] = diagonal[i]
    goal = (1e-15 * n * diagonal.max() ** 2) ** 2 / n
    before = np.inf
    for _ in range(_ROUNDS):
        square = np.dot(root, root)
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
    wide = m.shape[0] <= m.shape[1]
    across = m if wide else np.ascontiguousarray(m.T)
    s = across.shape[0]
    if known:
        rotated = np.dot(basis, across)
        root = np.empty((s, s))
        if root_near_diagonal(np.dot(rotated, rotated.T), root):
            nuclear = np.trace(root)
            solve_positive(root, rotated)
            factor = np.dot(basis.T, rotated)
            return (factor if wide else np.ascontiguousarray(factor.T)), nuclear, True
    w, v = np.linalg.eigh(np.dot(across, across.T))
    if w[0] > _COARSE * w[-1]:
        basis[:] = v.T
        scale = np.sqrt(w)
        factor = np.dot(np.dot(v / scale, basis), across)
        return (factor if wide else np.ascontiguousarray(factor.T)), scale.sum(), True
    left, values, right = np.linalg.svd(m, False)
    factor = np.dot(np.ascontiguousarray(left), np.ascontiguousarray(right))
    return factor, values.sum(), False
