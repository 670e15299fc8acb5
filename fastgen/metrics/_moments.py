"""Frechet distances from features, not squared where there are fewer samples than dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .covariances import CovarianceFactor, independent
from .gaussian import frechet_distance, same_dimension


def moments(X: np.ndarray, *, ddof: int, reg_covar: float = 0.0) -> tuple[np.ndarray, Any]:
    """Mean (d,) and covariance of the rows, divided by ``n - ddof``, plus ``reg_covar`` times I."""
    n, d = X.shape
    mean, centred = centre(X)
    if n > d:
        covariance = scatter(centred) / (n - ddof)
        covariance.flat[:: d + 1] += reg_covar
        return mean, covariance
    rows = independent(centred, np.full(n, n**-0.5))
    rows /= np.sqrt(n - ddof)
    factor = rows.T
    if reg_covar:
        factor = np.hstack((factor, np.sqrt(reg_covar) * np.eye(d)))
    return mean, CovarianceFactor(factor)


def centre(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows, and the rows without it."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = X.mean(axis=0)
        centred = X - mean
    _check(centred)
    return mean, centred


def scatter(centred: np.ndarray) -> np.ndarray:
    """Sum of the outer products of the rows."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = centred.T @ centred
    _check(found)
    return found


def _check(array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise ValueError(
            "features must have squares that float64 can hold, got larger ones; divide them by a "
            "constant and multiply the distance by its square"
        )


def moment_distance(X: np.ndarray, Y: np.ndarray, reg_covar: float) -> float:
    """FID with covariances divided by n, plus ``reg_covar`` times I, as mixtures have them."""
    same_dimension(X, Y, "X", "Y")
    first, second = (moments(rows, ddof=0, reg_covar=reg_covar) for rows in (X, Y))
    return frechet_distance(*first, *second)
