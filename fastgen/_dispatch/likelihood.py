"""Variances and likelihoods of isotropic mixtures whose centers are given."""

from __future__ import annotations

import numpy as np

# Rows whose distances to all centers are held at a time, where they are not kept.
_ROWS = 256


def squared_distances(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) in float32, from products in float64."""
    squares = np.einsum("ij,ij->i", centers, centers)
    out = np.empty((len(x), len(centers)), np.float32)
    for start in range(0, len(x), _ROWS):
        some = x[start : start + _ROWS]
        products = some @ centers.T
        products *= -2
        products += squares
        products += np.einsum("ij,ij->i", some, some)[:, None]
        np.maximum(products, 0, out=products)
        out[start : start + _ROWS] = products
    return out


def renewed(
    distances: np.ndarray, variances: np.ndarray, dim: int, base: np.ndarray, least: float
) -> tuple[np.ndarray, float]:
    """One step of EM for the variances, and the mean log density before it.

    Centers that explain no point keep their variance.
    """
    from ..kernels.cpu.likelihood import variance_sums

    logs = np.empty(len(distances))
    shares, sums = np.zeros(len(variances)), np.zeros(len(variances))
    variance_sums(distances, variances, dim, base, logs, shares, sums)
    seen = shares > 0
    found = variances.copy()
    found[seen] = np.maximum(sums[seen] / (dim * shares[seen]), least)
    return found, float(logs.mean())


def log_densities(x: np.ndarray, centers: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Log densities (n,) of points, without the factor ``(2 pi) ** (-d / 2)``."""
    from ..kernels.cpu.likelihood import variance_sums

    logs = np.empty(len(x))
    unused = np.empty((2, len(centers)))
    for start in range(0, len(x), _ROWS):
        some = slice(start, start + _ROWS)
        distances = squared_distances(x[some], centers)
        base = np.full(len(distances), -np.inf)
        variance_sums(distances, variances, x.shape[1], base, logs[some], *unused)
    return logs
