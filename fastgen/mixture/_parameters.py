"""Roots, precisions and covariances of a mixture, each from another, as users set them by hand."""

from __future__ import annotations

import numpy as np
import scipy.linalg


def upper_roots(roots: np.ndarray, kind: str) -> np.ndarray:
    """Return the upper triangular roots, with positive diagonals, of the same precisions.

    Parameters
    ----------
    roots : ndarray
        Any roots P of the precisions ``P P^T``; of diag and spherical covariances inverse standard
        deviations.
    kind : str
        Type of the covariances.

    Raises
    ------
    ValueError
        If a root is singular.
    """
    if kind in ("diag", "spherical"):
        return _checked(np.abs(roots))
    stack = roots.reshape(-1, *roots.shape[-2:])
    if np.tril(stack, -1).any():
        stack = np.stack([scipy.linalg.rq(root)[0] for root in stack])
    diagonals = np.diagonal(stack, axis1=1, axis2=2)
    if (diagonals < 0).any():
        stack = stack * np.where(diagonals < 0, -1.0, 1.0)[:, None, :]
    _checked(np.diagonal(stack, axis1=1, axis2=2))
    return stack.reshape(roots.shape)


def _checked(diagonals: np.ndarray) -> np.ndarray:
    if not (diagonals > 0).all():
        raise ValueError(
            "precisions_cholesky_ must be invertible roots of the precisions, got a singular one"
        )
    return diagonals


def roots_of(precisions: np.ndarray, kind: str) -> np.ndarray:
    """Return the upper triangular roots of precisions.

    Raises
    ------
    ValueError
        If a precision is not symmetric and positive definite, or not positive.
    """
    if kind in ("diag", "spherical"):
        if not (precisions > 0).all():
            raise ValueError(f"precisions_ must be positive, got {precisions.min():g}")
        return np.sqrt(precisions)
    transposed = precisions.swapaxes(-1, -2)
    if np.abs(precisions - transposed).max() > 1e-7 * np.abs(precisions).max():
        raise ValueError("precisions_ must be symmetric; pass (P + P.T) / 2")
    try:
        # turned by half a turn, the lower triangular factor is an upper triangular root
        turned = np.linalg.cholesky(0.5 * (precisions + transposed)[..., ::-1, ::-1])
    except np.linalg.LinAlgError as error:
        raise ValueError("precisions_ must be positive definite") from error
    return np.ascontiguousarray(turned[..., ::-1, ::-1])


def precisions_of(roots: np.ndarray, kind: str) -> np.ndarray:
    """Return the precisions ``P P^T`` of roots P."""
    return roots**2 if kind in ("diag", "spherical") else roots @ roots.swapaxes(-1, -2)


def covariances_of(roots: np.ndarray, kind: str) -> np.ndarray:
    """Return the inverses of ``P P^T`` of roots P."""
    if kind in ("diag", "spherical"):
        return roots**-2.0
    inverse = np.linalg.inv(roots)
    return inverse.swapaxes(-1, -2) @ inverse
