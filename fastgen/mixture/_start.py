"""Where expectation maximisation starts: responsibilities, and parameters given by the user."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import em

METHODS = ("kmeans", "k-means++", "random")


def responsibilities(
    X: np.ndarray,
    n_components: int,
    method: str,
    rng: np.random.RandomState,
    means: np.ndarray | None,
) -> np.ndarray:
    """Responsibilities (n_components, n_samples): nearest of ``means``, or by ``method``."""
    from sklearn.cluster import KMeans, kmeans_plusplus
    from sklearn.metrics import pairwise_distances_argmin

    if means is not None:
        labels = pairwise_distances_argmin(X, means.astype(X.dtype))
    elif method == "random":
        shares = rng.uniform(size=(len(X), n_components))
        return np.ascontiguousarray((shares / shares.sum(axis=1, keepdims=True)).T)
    elif method == "kmeans":
        labels = KMeans(n_components, n_init=1, random_state=rng).fit(X).labels_
    else:
        seeds, _ = kmeans_plusplus(X, n_components, random_state=rng)
        labels = pairwise_distances_argmin(X, seeds)
    return em.one_hot(labels, n_components)


def given_weights(value: Any, n_components: int) -> np.ndarray | None:
    """Return ``weights_init`` as an array that sums to one, or None."""
    if value is None:
        return None
    weights = _array(value, "weights_init", (n_components,))
    if (weights < 0).any() or abs(weights.sum() - 1) > 1e-6:
        raise ValueError(
            "weights_init must be at least 0 and sum to 1, got a smallest value of "
            f"{weights.min():g} and a sum of {weights.sum():g}"
        )
    return weights / weights.sum()


def given_means(value: Any, n_components: int, n_features: int) -> np.ndarray | None:
    """Return ``means_init`` as an array, or None."""
    return None if value is None else _array(value, "means_init", (n_components, n_features))


def given_covariances(
    value: Any, covariance_type: str, n_components: int, n_features: int, reg_covar: float
) -> np.ndarray | None:
    """Return the covariances of ``precisions_init``, less ``reg_covar``, or None."""
    if value is None:
        return None
    shape = {
        "full": (n_components, n_features, n_features),
        "tied": (n_features, n_features),
        "diag": (n_components, n_features),
        "spherical": (n_components,),
    }[covariance_type]
    precisions = _array(value, "precisions_init", shape)
    if covariance_type in ("diag", "spherical"):
        if (precisions <= 0).any():
            raise ValueError(f"precisions_init must be positive, got {precisions.min():g}")
        return em.regularised(np, 1 / precisions, -reg_covar, covariance_type)
    transposed = precisions.swapaxes(-1, -2)
    if np.abs(precisions - transposed).max() > 1e-7 * np.abs(precisions).max():
        raise ValueError("precisions_init must be symmetric; pass (P + P.T) / 2")
    smallest = float(np.linalg.eigvalsh(precisions).min())
    if smallest <= 0:
        raise ValueError(
            f"precisions_init must be positive definite, got a smallest eigenvalue of {smallest:g}"
        )
    covariances = np.linalg.inv(0.5 * (precisions + transposed))
    return em.regularised(np, covariances, -reg_covar, covariance_type)


def _array(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a numeric array, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array
