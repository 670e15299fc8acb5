"""Covariances and factors that several tests of distances take."""

from __future__ import annotations

import numpy as np

A, B = np.array([[2.0, 1.0], [1.0, 2.0]]), np.diag([1.0, 3.0])


def factors(rng, count, d, n, spectrum=None):
    """Independent factors (count, d, n) with standard deviations ``spectrum``."""
    std = np.ones(d) if spectrum is None else spectrum
    return rng.standard_normal((count, d, n)) * std[:, None] / np.sqrt(n)
