"""Where expectation maximization starts: responsibilities, and parameters given by the user."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from . import em

METHODS = ("kmeans", "k-means++", "random", "random_from_data")
# Those of scikit-learn's k-means.
_LLOYD_STEPS, _LLOYD_TOL = 300, 1e-4


class _Process:
    """Whether this process was forked: OpenMP, which scikit-learn's loops use, may hang in it."""

    forked = False

    @classmethod
    def mark(cls) -> None:
        cls.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Process.mark)


def responsibilities(
    X: np.ndarray,
    n_components: int,
    method: str,
    rng: np.random.RandomState,
    means: np.ndarray | None,
) -> np.ndarray:
    """Responsibilities (n_components, n_samples): nearest of ``means``, or by ``method``."""
    from sklearn.cluster import kmeans_plusplus

    if means is not None:
        labels = _nearest(X, means.astype(X.dtype))
    elif method == "random":
        shares = rng.uniform(size=(len(X), n_components))
        return np.ascontiguousarray((shares / shares.sum(axis=1, keepdims=True)).T)
    elif method == "kmeans":
        labels = _kmeans(X, n_components, rng)
    else:
        seeds, _ = kmeans_plusplus(X, n_components, random_state=rng)
        labels = _nearest(X, seeds)
    return em.one_hot(labels, n_components)


def _kmeans(X: np.ndarray, n_components: int, rng: np.random.RandomState) -> np.ndarray:
    """Labels of scikit-learn's k-means; in a forked process of the same steps without OpenMP."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    if not _Process.forked:
        return KMeans(n_components, n_init=1, random_state=rng).fit(X).labels_
    centered = X - X.mean(axis=0)
    centers, _ = kmeans_plusplus(centered, n_components, random_state=rng)
    limit = _LLOYD_TOL * centered.var(axis=0).mean()
    for _ in range(_LLOYD_STEPS):
        member = em.one_hot(_nearest(centered, centers), n_components).astype(X.dtype)
        counts = member.sum(axis=1, keepdims=True)
        moved = np.where(counts > 0, member @ centered / np.maximum(counts, 1), centers)
        change, centers = ((moved - centers) ** 2).sum(), moved
        if change <= limit:
            break
    return _nearest(centered, centers)


def _nearest(X: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the number of the nearest center of each row."""
    from sklearn.metrics import pairwise_distances_argmin

    if not _Process.forked:
        return pairwise_distances_argmin(X, centers)
    mean = centers.mean(axis=0)
    near = centers - mean
    return ((near**2).sum(axis=1) - 2 * (X - mean) @ near.T).argmin(axis=1)


def samples(data: Any, n_components: int, kind: str, rng: np.random.RandomState) -> em.Moments:
    """Start at samples drawn without replacement, each a component of its own, as scikit-learn.

    Covariances are zero but for the regularization; a tied one is the second moment of the other
    samples over the number of components.
    """
    n, d = data.rows.shape
    chosen = rng.choice(n, size=n_components, replace=False)
    means = data.to_numpy(data.rows[chosen]).astype(np.float64) + data.to_numpy(data.origin)
    shape = covariance_shape(kind, n_components, d)
    covariances = np.zeros(shape)
    if kind == "tied":
        center = data.to_numpy(data.center)
        second = n * (data.to_numpy(data.scatter()) + np.outer(center, center))
        covariances = (second - means.T @ means) / n_components
    return em.Moments(np.full(n_components, 1 / n_components), means, covariances)


def covariance_shape(kind: str, n_components: int, n_features: int) -> tuple[int, ...]:
    """Return the shape of covariances, precisions and their roots."""
    return {
        "full": (n_components, n_features, n_features),
        "tied": (n_features, n_features),
        "diag": (n_components, n_features),
        "spherical": (n_components,),
    }[kind]


def given_weights(value: Any, n_components: int) -> np.ndarray | None:
    """Return ``weights_init`` as an array that sums to one, or None."""
    if value is None:
        return None
    weights = array(value, "weights_init", (n_components,))
    if (weights < 0).any() or abs(weights.sum() - 1) > 1e-6:
        raise ValueError(
            "weights_init must be at least 0 and sum to 1, got a smallest value of "
            f"{weights.min():g} and a sum of {weights.sum():g}"
        )
    return weights / weights.sum()


def given_means(value: Any, n_components: int, n_features: int) -> np.ndarray | None:
    """Return ``means_init`` as an array, or None."""
    return None if value is None else array(value, "means_init", (n_components, n_features))


def given_covariances(
    value: Any, covariance_type: str, n_components: int, n_features: int, reg_covar: float
) -> np.ndarray | None:
    """Return the covariances of ``precisions_init``, less ``reg_covar``, or None."""
    if value is None:
        return None
    shape = covariance_shape(covariance_type, n_components, n_features)
    precisions = array(value, "precisions_init", shape)
    if covariance_type in ("diag", "spherical"):
        if (precisions <= 0).any():
            raise ValueError(f"precisions_init must be positive, got {precisions.min():g}")
        return em.regularized(np, 1 / precisions, -reg_covar, covariance_type)
    transposed = precisions.swapaxes(-1, -2)
    if np.abs(precisions - transposed).max() > 1e-7 * np.abs(precisions).max():
        raise ValueError("precisions_init must be symmetric; pass (P + P.T) / 2")
    smallest = float(np.linalg.eigvalsh(precisions).min())
    if smallest <= 0:
        raise ValueError(
            f"precisions_init must be positive definite, got a smallest eigenvalue of {smallest:g}"
        )
    covariances = np.linalg.inv(0.5 * (precisions + transposed))
    return em.regularized(np, covariances, -reg_covar, covariance_type)


def array(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a parameter given by the user in float64, finite and of a shape."""
    found = np.asarray(value)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a numeric array, got dtype {found.dtype}")
    if found.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {found.shape}")
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return found
