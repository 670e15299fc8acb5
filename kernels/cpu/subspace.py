"""Projected gradient on the supervision-orthonormality plane, one cell to a call.

The objective is a polynomial in W (p, k) whose coefficients are moments of the data, so an
iteration costs two products (p, p) by (p, k) however many samples there are.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel

# Ratio of eigenvalues beyond which the Gram matrix costs digits that the SVD keeps.
_COARSE = 1e-4
_HALVINGS = 100


@kernel
def _gram(a, b, out):
    """Write ``a.T @ b`` of (p, k) arrays, k small."""
    p, k = a.shape
    out[:] = 0.0
    for row in range(p):
        for i in range(k):
            for j in range(k):
                out[i, j] += a[row, i] * b[row, j]


@kernel
def clip_singular_values(w, low, high):
    """Nearest matrix to w (p, k), p >= k, whose singular values lie in [low, high].

    Where w has them already it is returned as it is, not a copy.
    """
    if low <= 0 and np.isinf(high):
        return w
    k = w.shape[1]
    gram = np.empty((k, k))
    _gram(w, w, gram)
    values, vectors = np.linalg.eigh(gram)
    graded = low > 0 and not values[0] > _COARSE * values[-1]
    if graded or not _COARSE * values[-1] <= high * high:
        u, s, vt = np.linalg.svd(w, False)
        s = np.minimum(np.maximum(s, low), high)
        return np.dot(np.ascontiguousarray(u) * s, np.ascontiguousarray(vt))
    factor = np.ones(k)
    moved = False
    for i in range(k):
        s = np.sqrt(max(values[i], 0.0))
        if s < low or s > high:
            factor[i] = min(max(s, low), high) / s
            moved = True
    if not moved:
        return w
    return np.dot(w, np.dot(vectors * factor, np.ascontiguousarray(vectors.T)))


@kernel
def _evaluate(w, cross, constant, paired, free, products, inner, square):
    """Objective at w from ``products``; fills ``w.T D w`` and ``w.T w`` for the gradient."""
    p, k = w.shape
    value = constant
    if paired:
        for i in range(p):
            for j in range(k):
                value += w[i, j] * (products[i, j] - 2 * cross[i, j])
    if free:
        _gram(w, products[-p:], inner)
        _gram(w, w, square)
        for i in range(k):
            value -= 2 * inner[i, i]
            for j in range(k):
                value += inner[i, j] * square[j, i]
    return value


@kernel
def _gradient(w, cross, paired, free, products, inner, square, out):
    """Write the gradient; return the size of the terms that cancel in it where it vanishes."""
    p, k = w.shape
    size = 0.0
    for i in range(p):
        for j in range(k):
            slope = 0.0
            if paired:
                slope = 2 * (products[i, j] - cross[i, j])
                size += products[i, j] ** 2 + cross[i, j] ** 2
            if free:
                pull = products[products.shape[0] - p + i, j]
                size += 4 * pull * pull
                slope -= 4 * pull
                for a in range(k):
                    slope += 2 * w[i, a] * inner[a, j]
                    slope += 2 * products[products.shape[0] - p + i, a] * square[a, j]
            out[i, j] = slope
    return 2 * np.sqrt(size)


@kernel
def subspace_descent(
    moments, cross, constant, paired, free, start, low, high, tolerance, max_iter, history
):
    """Minimise a mixture of regression and subspace fitting over bounded singular values.

    With A, B the second moments of the paired samples with themselves and their targets, D those of
    the free samples, the objective is ``constant + <W, A W - 2 B>`` plus
    ``tr(W^T D W (W^T W - 2 I))``.

    Parameters
    ----------
    moments : array (q p, p)
        A above D, or the one of them that is used.
    cross : array (p, k)
        B; not read unless ``paired``.
    constant : float
        Mean square of the targets plus trace of D.
    paired, free : bool
        Which terms are used.
    start : array (p, k), p >= k
        Made feasible first.
    low, high : float
        Bounds of the singular values.
    tolerance : float
        Stop when the projected gradient is no more than this share of the terms of the gradient.
    max_iter : int
    history : array (max_iter + 1,)
        Objectives: of the start, then of every step. They never rise; their rounding error is about
        1e-15 of ``constant``.

    Returns
    -------
    w : array (p, k)
    n_iter : int
    converged : bool
        Also when only rounding kept the objective from falling.
    """
    p, k = start.shape
    w = clip_singular_values(start.copy(), low, high)
    inner, square = np.zeros((k, k)), np.zeros((k, k))
    next_inner, next_square = np.zeros((k, k)), np.zeros((k, k))
    products = np.dot(moments, w)
    next_products = np.empty_like(products)
    value = _evaluate(w, cross, constant, paired, free, products, inner, square)
    history[0] = value
    curvature = 0.0
    if paired:
        curvature += 2 * np.sqrt((moments[:p] ** 2).sum())
    if free:
        curvature += 4 * np.sqrt((moments[-p:] ** 2).sum())
    step = 1 / curvature if curvature > 0 else 1.0
    rounding = 2e-15 * constant
    gradient = np.empty((p, k))
    for turn in range(1, max_iter + 1):
        size = _gradient(w, cross, paired, free, products, inner, square, gradient)
        accepted = False
        for _ in range(_HALVINGS):
            there = clip_singular_values(w - step * gradient, low, high)
            slope, moved = 0.0, 0.0
            for i in range(p):
                for j in range(k):
                    change = there[i, j] - w[i, j]
                    slope += gradient[i, j] * change
                    moved += change * change
            np.dot(moments, there, next_products)
            found = _evaluate(
                there, cross, constant, paired, free, next_products, next_inner, next_square
            )
            accepted = found <= value + slope + moved / (2 * step) + rounding
            if accepted:
                break
            step *= 0.5
        if not (accepted and found <= value):
            history[turn] = value
            return w, turn, True
        w, value = there, found
        history[turn] = value
        products, next_products = next_products, products
        inner, next_inner = next_inner, inner
        square, next_square = next_square, square
        if np.sqrt(moved) <= tolerance * size * step:
            return w, turn, True
        step *= 1.3
    return w, max_iter, False
