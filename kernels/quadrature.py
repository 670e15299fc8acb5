"""Nodes and weights that turn resolvent traces into a sum of singular values.

For ``0 <= x <= 1`` and nodes ``gamma_j > 0``, weights ``omega_j > 0``

    sqrt(x)  ~  sum_j omega_j * x / (x + gamma_j),

the trapezoidal rule for ``sqrt(x) = (2 / pi) * x * int_0^inf dt / (x + t^2)`` after the elliptic
substitution of Hale, Higham and Trefethen, "Computing A^alpha, log(A), and related matrix functions
by contour integrals", SIAM J. Numer. Anal. 46 (2008), method 3. The error is relative for
``x >= 1 / kappa`` and below ``sqrt(1 / kappa)`` under it, so the sum is as good as that of an SVD
with absolute errors of the same size.
"""

from __future__ import annotations

import functools

import numpy as np

# dtype -> (kappa, number of nodes). exp(-2 pi^2 N / (log(kappa) + 3)) is below the unit roundoff.
_PLANS = {np.dtype(np.float64): (1e30, 132), np.dtype(np.float32): (1e15, 36)}


def _nodes(kappa: float, n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    # With k = kappa**-0.5 -> 0 the elliptic functions are hyperbolic up to O(k): t = k sinh(y) on
    # the first half of [0, K'] and, by the reflection t(y) t(K' - y) = k, its mirror on the second.
    k = kappa**-0.5
    period = np.log(4.0 / k)
    y = (np.arange(n_nodes) + 0.5) * period / n_nodes
    low = np.minimum(y, period - y)
    t_low = k * np.sinh(low)
    speed_low = k * np.cosh(low)
    first = y <= period / 2
    t = np.where(first, t_low, k / t_low)
    speed = np.where(first, speed_low, k * speed_low / t_low**2)
    return t**2, (2.0 / np.pi) * (period / n_nodes) * speed


@functools.cache
def nodes(dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(gamma, omega)``, each of shape ``(n_nodes,)``, for float64 or float32."""
    gamma, omega = _nodes(*_PLANS[np.dtype(dtype)])
    return gamma.astype(dtype), omega.astype(dtype)
