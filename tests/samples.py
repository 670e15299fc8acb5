"""Samples that several test files draw."""

from __future__ import annotations

import numpy as np


def normal(n, d, *, seed=0, shift=0.0):
    """Correlated normal samples."""
    rng = np.random.default_rng(seed)
    root = np.linalg.qr(np.random.default_rng(99).standard_normal((d, d)))[0]
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 @ root.T + shift


def modes(n, *, d=3, width=1.0, seed=0, n_modes=3, apart=12.0):
    """Samples about ``n_modes`` centers, equally many about each."""
    rng = np.random.default_rng(seed)
    centers = apart * np.eye(n_modes, d)
    return np.repeat(centers, n // n_modes, axis=0) + width * rng.standard_normal((n, d))
