"""Lower bounds of the distance to a generator's range, where something is known.

A search gives an upper bound. What can be said from below depends on the last layers:

============================================ =======================================
G affine, and its domain                     exact
... Linear                                   distance to the affine hull
... ReLU, Linear                             distance to a cone, certified by duality
... Tanh / Sigmoid / ReLU                    distance to the box of possible outputs
anything else                                0: nothing is known
============================================ =======================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arrays, _validate

_SAFETY = 1e-9  # share of the squared target, covers rounding in the certificate
_LARGEST, _SMALLEST = 1e150, 1e-150
_OUTPUTS = {
    "Tanh": (-1.0, 1.0),
    "Sigmoid": (0.0, 1.0),
    "ReLU": (0.0, np.inf),
    "Softplus": (0.0, np.inf),
}


def lower_bounds(layers: Sequence[Any] | None, X: np.ndarray) -> np.ndarray:
    """Return lower bounds (n,) of the squared distance from rows of ``X`` to a network's range.

    Parameters
    ----------
    layers : list of nn.Module or None
        The network as a chain, if it is one.
    X : ndarray (n, d)
    """
    zeros = np.zeros(len(X))
    layers = [m for m in layers or [] if type(m).__name__ not in ("Identity", "Flatten", "Dropout")]
    while layers and type(layers[-1]).__name__ == "Unflatten":
        layers.pop()
    if not layers:
        return zeros
    last = type(layers[-1]).__name__
    if last in _OUTPUTS:
        low, high = _OUTPUTS[last]
        return ((X - np.clip(X, low, high)) ** 2).sum(axis=1)
    if last != "Linear":
        return zeros
    weight = layers[-1].weight.detach().double().cpu().numpy()
    bias = layers[-1].bias
    shifted = X - (0.0 if bias is None else bias.detach().double().cpu().numpy())
    if len(layers) > 1 and type(layers[-2]).__name__ == "ReLU":
        return cone_bound(weight, shifted)
    q, r = np.linalg.qr(weight)
    used = np.abs(np.diag(r)) > 0
    if not used.all() or weight.shape[1] >= weight.shape[0]:
        u, s, _ = np.linalg.svd(weight, full_matrices=False)
        q = u[:, s > 1e-12 * max(s.max(initial=0.0), np.finfo(float).tiny)]
    outside = shifted - (shifted @ q) @ q.T
    found = (outside**2).sum(axis=1) - _SAFETY * (shifted**2).sum(axis=1)
    return np.maximum(found, 0.0)


def cone_bound(weight: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    r"""Return certified lower bounds of ``min_{h >= 0} ||weight h - y||^2`` for each row y.

    Any ``v`` with ``weight^T v <= 0`` certifies ``2 v^T y - ||v||^2``, whatever h is. The residual
    of non-negative least squares is the best such v; what rounding leaves of ``weight^T v > 0`` is
    removed before it is used.

    Parameters
    ----------
    weight : ndarray (d, h)
    shifted : ndarray (n, d)

    Returns
    -------
    ndarray (n,)

    Examples
    --------
    >>> import numpy as np
    >>> cone_bound(np.array([[1.0], [0.0]]), np.array([[-3.0, 4.0]])).round(6)
    array([25.])
    """
    from scipy.optimize import nnls

    found = np.zeros(len(shifted))
    for row, target in enumerate(shifted):
        try:
            h, _ = nnls(weight, target)
        except RuntimeError:  # no convergence: 0 is a bound
            continue
        v = target - weight @ h
        excess = np.maximum(weight.T @ v, 0.0)
        if excess.any():
            v = v - weight @ np.linalg.lstsq(weight.T @ weight, excess, rcond=None)[0]
        scale = np.linalg.norm(weight, axis=0) * np.linalg.norm(target)
        if (weight.T @ v <= 1e-12 * scale).all():
            found[row] = 2 * v @ target - v @ v - _SAFETY * (target @ target)
    return np.maximum(found, 0.0)


def check_scale(rows: np.ndarray) -> None:
    """Raise where float64 does not hold the squares of the values of X, or takes them for 0."""
    if rows.dtype != np.float64 or not rows.size:
        return
    largest = float(max(rows.max(), -rows.min()))
    if largest > _LARGEST or 0 < largest < _SMALLEST:
        raise ValueError(
            f"X must have values whose squares float64 holds, from {_SMALLEST:g} to {_LARGEST:g}, "
            f"got values of size {largest:.3g}; divide X by a constant"
        )


def pca_floor(X: Any, latent_dim: int) -> float:
    """Least mean squared distance of any affine generator: the tail of the PCA spectrum.

    Parameters
    ----------
    X : array (n_samples, ...)
        Trailing axes are flattened.
    latent_dim : int

    Returns
    -------
    float
        Mean over samples of the squared distance; 0 for ``n_samples <= latent_dim + 1``.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.diag([3.0, 2.0, 1.0])
    >>> pca_floor(X, 2), round(pca_floor(X, 1), 6) > 0
    (0.0, True)
    """
    X = _arrays.to_numpy(X, "X")
    X = _validate.data_matrix(X.reshape(len(X), -1) if X.ndim > 1 else X, "X", minimum_rows=1)
    latent_dim = _validate.integer(latent_dim, "latent_dim")
    if len(X) <= latent_dim + 1 or X.shape[1] <= latent_dim:
        return 0.0
    check_scale(X)
    s = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    return float((s[latent_dim:] ** 2).sum() / len(X))
