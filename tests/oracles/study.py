"""Studies of subsamples, as double loops and one line of each formula; sums of eigenvalues."""

from __future__ import annotations

import numpy as np


def nearest_chosen(X, index):
    """Position in ``index`` of the nearest chosen row, and the squared distance to it, per row."""
    position, squared = [], []
    for x in X:
        gaps = [float(((x - X[i]) ** 2).sum()) for i in index]
        position.append(int(np.argmin(gaps)))
        squared.append(min(gaps))
    return np.array(position), np.array(squared)


def affine_distances(fitted, rows):
    """Squared distances (n,) of rows to the range of a linear model with orthogonal projection."""
    q = np.linalg.qr(fitted.components_.T)[0]
    gaps = rows - fitted.mean_
    return ((gaps - gaps @ q @ q.T) ** 2).sum(axis=1)


def figures(squared, X):
    """mse, median, rms, relative of squared distances of rows X (n, d)."""
    n, d = X.shape
    spread = sum(float(((x - X.mean(axis=0)) ** 2).sum()) for x in X)
    return (
        sum(squared) / (n * d),
        float(np.median([s / d for s in squared])),
        (sum(squared) / n) ** 0.5,
        sum(squared) / spread,
    )


def pca_tail(X, k):
    """Sum of all but the k largest eigenvalues of the 1/n covariance."""
    values = np.sort(np.linalg.eigvalsh(np.cov(X.T, bias=True)))[::-1]
    return float(values[k:].sum())
