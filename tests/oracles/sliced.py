"""Wasserstein distances on the line, on a grid fine enough to hold both samples exactly."""

from __future__ import annotations

import numpy as np


def quantile_gaps(x, y):
    """Squared W2 of the rows: each sample repeated until both have as many."""
    n, m = x.shape[1], y.shape[1]
    both = np.lcm(n, m)
    x = np.repeat(np.sort(x), both // n, axis=1).astype(float)
    y = np.repeat(np.sort(y), both // m, axis=1).astype(float)
    return ((x - y) ** 2).mean(axis=1)
