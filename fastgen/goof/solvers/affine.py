"""The nearest point in the range of G(z) = W z + b in closed form, in float64.

Over all latents it is a projection; on a ball or a sphere it is a trust-region problem: one
eigendecomposition of W^T W for all samples and one scalar secular equation each; in a box it is a
quadratic programme solved by SciPy's active-set method.
"""

from __future__ import annotations

import numpy as np

from ..domains import Ball, Box, Free, Sphere

_RANK = 1e-12


def solve(weight: np.ndarray, bias: np.ndarray, X: np.ndarray, domain: Free) -> np.ndarray:
    """Return nearest latents (n, k), the shortest where many are equally near.

    Parameters
    ----------
    weight : ndarray (d, k)
    bias : ndarray (d,)
    X : ndarray (n, d)
    domain : Free
    """
    shifted = X - bias
    u, s, vt = np.linalg.svd(weight, full_matrices=False)
    used = s > _RANK * max(s.max(initial=0.0), np.finfo(float).tiny) * max(weight.shape)
    s = np.where(used, s, 0.0)
    c = np.where(used, shifted @ u, 0.0) * s  # W^T (x - b) along right singular vectors
    free = np.divide(c, s**2, out=np.zeros_like(c), where=used)
    if isinstance(domain, Sphere):
        return _on_sphere(weight, s, vt, c, domain.radius)
    if isinstance(domain, Ball):
        inside = np.linalg.norm(free, axis=1) <= domain.radius
        found = free @ vt
        if not inside.all():
            edge = _multiplier(s**2, c[~inside], domain.radius, np.zeros((~inside).sum()))
            found[~inside] = (c[~inside] / (s**2 + edge[:, None])) @ vt
        return found
    if isinstance(domain, Box):
        return _in_box(weight, shifted, domain)
    return free @ vt


def _multiplier(w: np.ndarray, c: np.ndarray, radius: float, low: np.ndarray) -> np.ndarray:
    """Solve ||c / (w + m)|| = radius for m > low by bisection, to the last bits.

    The norm falls from above ``radius`` at ``low`` to at most ``radius`` at
    ``low = ||c|| / radius - min(w)``.
    """
    low = low.copy()
    high = np.maximum(np.linalg.norm(c, axis=1) / radius - w.min(), low)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(80):
            middle = (low + high) / 2
            terms = np.where(c == 0, 0.0, c / (w + middle[:, None]))
            outside = np.linalg.norm(terms, axis=1) > radius
            low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    return (low + high) / 2


def _on_sphere(
    weight: np.ndarray, s: np.ndarray, vt: np.ndarray, c: np.ndarray, radius: float
) -> np.ndarray:
    """Nearest latents on a sphere: the secular equation right of minus the least eigenvalue.

    Where the data have no part along the least eigenvector the equation may have no root there
    (the hard case): the rest of the norm goes along that vector.
    """
    k = weight.shape[1]
    w, basis = np.zeros(k), np.linalg.svd(weight, full_matrices=True)[2]
    w[: len(s)] = s**2
    basis[: len(vt)] = vt
    full = np.zeros((len(c), k))
    full[:, : c.shape[1]] = c
    least = w.min()
    bottom = w <= least + 1e-12 * max(w.max(), np.finfo(float).tiny)
    full[:, bottom] = np.where(
        np.abs(full[:, bottom]) > 1e-13 * max(np.abs(full).max(initial=0.0), 1e-300),
        full[:, bottom],
        0.0,
    )
    rest = np.divide(
        full, w - least, out=np.zeros_like(full), where=~bottom & np.ones_like(full, dtype=bool)
    )
    gap = radius**2 - (rest**2).sum(axis=1)
    hard = ~full[:, bottom].any(axis=1) & (gap >= 0)
    found = np.empty_like(full)
    if hard.any():
        found[hard] = rest[hard]
        found[hard, np.argmax(bottom)] = np.sqrt(gap[hard])
    if not hard.all():
        easy = ~hard
        m = _multiplier(w, full[easy], radius, np.full(easy.sum(), -least))
        terms = np.divide(
            full[easy],
            w + m[:, None],
            out=np.zeros_like(full[easy]),
            where=(full[easy] != 0),
        )
        found[easy] = terms * (radius / np.linalg.norm(terms, axis=1, keepdims=True))
    return found @ basis


def _in_box(weight: np.ndarray, shifted: np.ndarray, domain: Box) -> np.ndarray:
    from scipy.optimize import lsq_linear

    found = np.empty((len(shifted), weight.shape[1]))
    for row, target in enumerate(shifted):
        found[row] = lsq_linear(
            weight, target, bounds=(domain.low, domain.high), method="bvls", tol=1e-14
        ).x
    return found
