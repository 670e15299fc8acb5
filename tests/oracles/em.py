"""Expectation maximisation for Gaussian mixtures as the formulas read: slow, obvious, NumPy only.

The functions named as kernels of ``kernels/cpu/em.py`` compute what those compute.
"""

from __future__ import annotations

import numpy as np

STRIP = 48


def pack(factors):
    """Strips of ``STRIP`` rows of lower triangular matrices, each up to its last column."""
    rows = []
    for factor in factors:
        d = len(factor)
        strips = [factor[s : s + STRIP, : min(s + STRIP, d)].ravel() for s in range(0, d, STRIP)]
        rows.append(np.concatenate(strips))
    return np.array(rows)


def full_densities(rows, means, factors, constants):
    """Constants less half the squared norms of ``factor @ (row - mean)``, (K, N)."""
    joint = np.empty((len(means), len(rows)))
    for k in range(len(means)):
        for i in range(len(rows)):
            joint[k, i] = constants[k] - 0.5 * ((factors[k] @ (rows[i] - means[k])) ** 2).sum()
    return joint


def diagonal_densities(rows, means, scales, constants):
    return full_densities(rows, means, [np.diag(scale) for scale in scales], constants)


def normalize(joint, threshold=0.0):
    """Log likelihoods, responsibilities and the largest component of each column."""
    log_likelihood = np.logaddexp.reduce(joint, axis=0)
    shares = np.exp(joint - log_likelihood)
    shares = np.where(shares <= threshold, 0, shares)
    return log_likelihood, shares / shares.sum(axis=0), joint.argmax(axis=0)


def weighted_rows(rows, chosen, share, center):
    """Rows about the center times the roots of their shares, and their weighted sum."""
    z = rows[chosen] - center
    return np.sqrt(share[chosen])[:, None] * z, share[chosen] @ z


def full_covariances(covariances, kind, n_components, n_features):
    """Covariances of any type as (K, d, d)."""
    shape = n_components, n_features, n_features
    eye = np.eye(n_features)
    if kind == "tied":
        return np.broadcast_to(covariances, shape)
    if kind == "diag":
        return covariances[:, :, None] * eye
    if kind == "spherical":
        return covariances[:, None, None] * eye
    return covariances


def log_densities(X, weights, means, covariances, kind):
    """Log of weight times density, (K, N)."""
    n_components, d = means.shape
    joint = np.full((n_components, len(X)), -np.inf)
    for k, covariance in enumerate(full_covariances(covariances, kind, n_components, d)):
        if weights[k] == 0:
            continue
        z = X - means[k]
        distance = (z * np.linalg.solve(covariance, z.T).T).sum(axis=1)
        log_det = np.linalg.slogdet(covariance)[1]
        joint[k] = np.log(weights[k]) - 0.5 * (distance + log_det + d * np.log(2 * np.pi))
    return joint


def maximisation(X, shares, kind, reg_covar):
    """Weights, means and covariances under responsibilities (K, N)."""
    totals = shares.sum(axis=1)
    means = shares @ X / totals[:, None]
    full = []
    for k, mean in enumerate(means):
        z = X - mean
        full.append((shares[k][:, None] * z).T @ z / totals[k] + reg_covar * np.eye(X.shape[1]))
    full = np.array(full)
    weights = totals / totals.sum()
    if kind == "tied":
        return weights, means, np.einsum("k,kij->ij", weights, full)
    if kind == "diag":
        return weights, means, np.diagonal(full, axis1=1, axis2=2)
    if kind == "spherical":
        return weights, means, np.trace(full, axis1=1, axis2=2) / X.shape[1]
    return weights, means, full


def fit(X, parameters, kind, reg_covar, n_iter):
    """Mean log likelihoods before each M-step, and the parameters after the last."""
    bounds = []
    for _ in range(n_iter):
        log_likelihood, shares, _ = normalize(log_densities(X, *parameters, kind))
        bounds.append(log_likelihood.mean())
        parameters = maximisation(X, shares, kind, reg_covar)
    return bounds, parameters
