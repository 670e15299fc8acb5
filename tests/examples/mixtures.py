"""Gaussian mixtures that several tests of MW2 take."""

from __future__ import annotations

import numpy as np

FIVE = np.sqrt(5.0)
# Laws of mean 0 and variance 100 (weights, means, variances), notes 1.4
A = [1.0], [[0.0]], [100.0]
B = [0.2, 0.8], [[-8 * FIVE], [2 * FIVE]], [40.0, 15.0]
D = [0.5, 0.5], [[-4 * FIVE], [4 * FIVE]], [20.0, 20.0]


def mixture(rng, k, d, spread=1.0, n=None):
    """Weights, means and full covariances."""
    factors = rng.standard_normal((k, d, n or 2 * d + 1))
    covariances = factors @ factors.transpose(0, 2, 1) / factors.shape[2]
    return rng.dirichlet(np.full(k, 3.0)), spread * rng.standard_normal((k, d)), covariances


def pot_arguments(seed, ks=3, kt=2, d=2):
    rng = np.random.default_rng(seed)
    (w, m, c), (v, n, e) = mixture(rng, ks, d), mixture(rng, kt, d)
    return m, n, c, e, w, v
