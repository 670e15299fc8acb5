"""Kernel distances of two samples as they are written down: whole matrices, NumPy only."""

from __future__ import annotations

import numpy as np


def polynomial_sums(products, left, right, gamma, coef0, degree):
    """Sums along rows, along columns, and of squares."""
    values = (gamma * (products + left[:, None] + right) + coef0) ** degree
    return values.sum(1), values.sum(0), (values**2).sum()


def gaussian_sums(products, left, right, rate):
    """Sums along rows, along columns, and of squares."""
    values = np.exp(rate * (products + left[:, None] + right))
    return values.sum(1), values.sum(0), (values**2).sum()


def polynomial_kernel(X, Y, degree=3, gamma=None, coef0=1.0):
    """Matrix of (gamma x.y + coef0)^degree."""
    gamma = 1 / X.shape[1] if gamma is None else gamma
    return (gamma * X @ Y.T + coef0) ** degree


def gaussian_kernel(X, Y, sigma):
    """Matrix of exp(-|x - y|^2 / (2 sigma^2))."""
    return np.exp(-((X[:, None] - Y) ** 2).sum(-1) / (2 * sigma**2))


def unbiased_mmd2(kxx, kyy, kxy):
    """Gretton et al. 2012, equation 3."""
    m, n = kxy.shape
    within = (kxx.sum() - np.trace(kxx)) / (m * (m - 1)) + (kyy.sum() - np.trace(kyy)) / (
        n * (n - 1)
    )
    return within - 2 * kxy.mean()


def biased_mmd2(kxx, kyy, kxy):
    """Gretton et al. 2012, equation 5."""
    return kxx.mean() + kyy.mean() - 2 * kxy.mean()


def jackknife_error(kxx, kyy, kxy, statistic=unbiased_mmd2):
    """Standard error of the statistic: each sample of either set is left out in turn."""
    m, n = kxy.shape
    total = 0.0
    for count, leave in ((m, "x"), (n, "y")):
        values = []
        for i in range(count):
            keep = np.arange(count) != i
            if leave == "x":
                values.append(statistic(kxx[np.ix_(keep, keep)], kyy, kxy[keep]))
            else:
                values.append(statistic(kxx, kyy[np.ix_(keep, keep)], kxy[:, keep]))
        values = np.array(values)
        total += (count - 1) / count * ((values - values.mean()) ** 2).sum()
    return np.sqrt(total)
