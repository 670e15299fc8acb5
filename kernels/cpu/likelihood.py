"""Mixtures of isotropic Gaussians of equal weights: likelihoods, and sums for their variances."""

from __future__ import annotations

import numpy as np

from .compilation import kernel

# Log densities that are this far below a row's largest count for nothing.
_WINDOW = 80.0


@kernel(fastmath={"reassoc", "contract", "nsz", "nnan"})
def _exponents(row, rates, offsets, exponents):
    """Write the log densities of one row; return the largest."""
    largest = -np.inf
    for j in range(row.size):
        exponents[j] = offsets[j] - np.float64(row[j]) * rates[j]
        largest = max(largest, exponents[j])
    return largest


@kernel
def variance_sums(distances, variances, dim, base, logs, shares, sums):
    """Add up what the variances of a mixture are renewed from, and write log densities.

    The factor ``(2 pi) ** (-dim / 2)`` is left out of all densities.

    Parameters
    ----------
    distances : array (n, m)
        Squared distances of points and centers.
    variances : float64 array (m,)
    dim : int
    base : float64 array (n,)
        Log densities that are added to the mixture's at each point; minus infinity for none.
    logs : float64 array (n,)
        Log of the sum of both: written.
    shares, sums : float64 arrays (m,)
        To them the posteriors of each center, and their products with the squared distances, are
        added.
    """
    n, m = distances.shape
    rates, offsets = 0.5 / variances, -0.5 * dim * np.log(variances) - np.log(m)
    exponents = np.empty(m)
    for i in range(n):
        largest = max(_exponents(distances[i], rates, offsets, exponents), base[i])
        total = np.exp(base[i] - largest)
        for j in range(m):
            if exponents[j] > largest - _WINDOW:
                exponents[j] = np.exp(exponents[j] - largest)
                total += exponents[j]
            else:
                exponents[j] = 0.0
        logs[i] = largest + np.log(total)
        for j in range(m):
            if exponents[j] > 0:
                share = exponents[j] / total
                shares[j] += share
                sums[j] += share * np.float64(distances[i, j])
