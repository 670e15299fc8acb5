"""FID and WaM as they are written down: slow, obvious, NumPy only."""

from __future__ import annotations

import numpy as np
from oracles.bures import mixture_moments, posterior

__all__ = ["floor_law", "mixture_moments", "one_step", "pytorch_fid"]


def pytorch_fid(mu1, sigma1, mu2, sigma2):
    """The formula of FID tools: the trace of the root of the product of the covariances."""
    root = np.sqrt(np.linalg.eigvals(sigma1 @ sigma2).astype(complex)).sum()
    assert abs(root.imag) < 1e-3
    gap = mu1 - mu2
    return gap @ gap + np.trace(sigma1) + np.trace(sigma2) - 2 * root.real


def floor_law(eigenvalues, n1, n2):
    """Mean and covariance part, term by term."""
    mean = covariance = 0.0
    for a, x in enumerate(eigenvalues):
        mean += x
        for b, y in enumerate(eigenvalues):
            if x + y > 0:
                covariance += 0.5 * x * y * (2 if a == b else 1) / (x + y)
    rate = 1 / n1 + 1 / n2
    return rate * mean, rate * covariance


def one_step(X, weights, means, covariances, reg_covar):
    """Weights, means and covariances after one E- and M-step from the given ones."""
    shares = posterior(X, weights, means, covariances)
    totals = shares.sum(axis=0)
    means = shares.T @ X / totals[:, None]
    covariances = []
    for share, total, mean in zip(shares.T, totals, means, strict=True):
        gap = X - mean
        covariances.append((share[:, None] * gap).T @ gap / total + reg_covar * np.eye(X.shape[1]))
    return totals / len(X), means, np.array(covariances)
