"""Isotropic mixtures with given centers: densities and one step of EM, as they are written down."""

from __future__ import annotations

import numpy as np


def variance_sums(distances, variances, dim, base):
    """Log densities with the base added, posteriors' sums, and sums of posteriors times distances.

    The factor (2 pi)^(-dim/2) is left out.
    """
    densities = -0.5 * distances / variances - 0.5 * dim * np.log(variances)
    terms = np.exp(densities - np.log(len(variances)))
    totals = terms.sum(1) + np.exp(base)
    posteriors = terms / totals[:, None]
    return np.log(totals), posteriors.sum(0), (posteriors * distances).sum(0)


def fitted_variances(rows, centers, least, gain, steps=200):
    """Variances by EM from the nearest row of each center, with a standard normal base."""
    dim = rows.shape[1]
    distances = ((rows[:, None] - centers) ** 2).sum(-1)
    base = -0.5 * (rows**2).sum(1)
    variances = np.maximum(distances.min(0) / dim, least)
    before = -np.inf
    for _ in range(steps):
        logs, shares, sums = variance_sums(distances, variances, dim, base)
        variances = np.maximum(sums / (dim * shares), least)
        if 100 * (logs.mean() - before) / dim < gain:
            break
        before = logs.mean()
    return variances


def mixture_nll(rows, centers, variances):
    """Negative log likelihoods over the dimension, without log(2 pi) / 2."""
    distances = ((rows[:, None] - centers) ** 2).sum(-1)
    base = np.full(len(rows), -np.inf)
    return -variance_sums(distances, variances, rows.shape[1], base)[0] / rows.shape[1]
