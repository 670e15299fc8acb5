"""Squared Wasserstein distances on the line, from sorted samples."""

from __future__ import annotations

import numpy as np

from .compilation import kernel


@kernel(fastmath={"reassoc", "contract"})
def _paired(x, y):
    total = 0.0
    for i in range(x.size):
        gap = np.float64(x[i]) - np.float64(y[i])
        total += gap * gap
    return total / x.size


@kernel
def _merged(x, y):
    """Integrate over the levels at which either quantile function steps, in units of 1 / (n m)."""
    n, m = x.size, y.size
    total = 0.0
    i = j = 0
    level = 0
    while i < n and j < m:
        until = min((i + 1) * m, (j + 1) * n)
        gap = np.float64(x[i]) - np.float64(y[j])
        total += gap * gap * (until - level)
        level = until
        if (i + 1) * m == until:
            i += 1
        if (j + 1) * n == until:
            j += 1
    return total / (np.float64(n) * np.float64(m))


@kernel
def quantile_gaps(x, y, out):
    """Write the squared Wasserstein-2 distances of sorted samples.

    Parameters
    ----------
    x, y : arrays (L, n), (L, m)
        Sorted along their rows; n and m may differ.
    out : float64 array (L,)
        Integrals of the squared differences of the quantile functions: written.
    """
    for a in range(x.shape[0]):
        out[a] = _paired(x[a], y[a]) if x.shape[1] == y.shape[1] else _merged(x[a], y[a])
