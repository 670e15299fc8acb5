"""Vendi score from the whole matrix of similarities."""

from __future__ import annotations

import numpy as np


def vendi_score(X, q=1.0):
    """Exponential of Renyi's entropy of the eigenvalues of K / n, K the cosine similarities."""
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(rows @ rows.T / len(X))
    values = values[values > 1e-12]
    if q == 1:
        return np.exp(-(values * np.log(values)).sum())
    if np.isinf(q):
        return 1 / values.max()
    return (values**q).sum() ** (1 / (1 - q))
