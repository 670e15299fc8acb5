"""Maps and interpolation between Gaussians and between mixtures, from factors.

With ``A = L L^T``, ``B = M M^T`` and the thin singular value decomposition ``L^T M = U s V^T``, the
optimal map of N(0, A) to N(0, B) is ``M V U^T L^+``, and ``(L U) (M V)^T`` the cross-covariance of
the optimal coupling, for singular covariances too.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .. import _warnings
from .._dispatch.gaussian import cross_product
from .covariances import Covariance, Root

_LOG_TWO_PI = float(np.log(2 * np.pi))


def gaussian_map(first: Covariance, second: Covariance) -> np.ndarray:
    """Linear part (d, d) of the optimal map; warns where no map reaches the second Gaussian."""
    a, b = first.root, second.root
    if b.rank > a.rank:
        _warnings.warn(
            f"no map takes {first.name} of rank {a.rank} to {second.name} of rank {b.rank}: the "
            "image is the optimal projection of it; add a multiple of the identity to the first"
        )
    if min(a.rank, b.rank) == 0:
        return np.zeros((first.dim, first.dim))
    ratio = b.scale / a.scale
    if a.diagonal and b.diagonal:
        gains = np.divide(b.array, a.array, out=np.zeros(a.rank), where=a.array > 0)
        return np.diag(ratio * gains)
    u, _, vt = np.linalg.svd(cross_product(a, b), full_matrices=False)
    turned = (b.dense @ vt.T) @ u.T
    if a.triangular and a.rank == first.dim:
        from scipy.linalg import solve_triangular

        image = solve_triangular(a.array, turned.T, lower=True, trans="T").T
    else:
        image = turned @ np.linalg.pinv(a.dense)
    return ratio * image


def coupled(first: Covariance, second: Covariance, t: float) -> np.ndarray:
    """Covariance of (1 - t) X + t Y under the optimal coupling of N(0, A) and N(0, B)."""
    a, b = first.root, second.root
    u, _, vt = np.linalg.svd(cross_product(a, b), full_matrices=True)
    left = (1 - t) * a.scale * (a.dense @ u)
    right = t * b.scale * (b.dense @ vt.T)
    shared = min(a.rank, b.rank)
    wide = left if a.rank > b.rank else right
    factor = np.hstack([left[:, :shared] + right[:, :shared], wide[:, shared:]])
    return factor @ factor.T


def log_responsibilities(x, weights, means, covariances: list[Covariance]) -> np.ndarray:
    """Logarithms (n, K) of the posterior probabilities of the components."""
    from scipy.linalg import cholesky, solve_triangular
    from scipy.special import logsumexp

    joint = np.empty((len(x), len(weights)))
    for k, covariance in enumerate(covariances):
        root = covariance.root
        if weights[k] == 0:
            joint[:, k] = -np.inf
            continue
        if len(weights) == 1:  # no density is needed to know where a sample comes from
            joint[:, k] = 0.0
            continue
        if root.rank < covariance.dim or (root.diagonal and root.array.min() == 0):
            raise ValueError(
                f"{covariance.name} must be invertible, got rank {root.rank} in dimension "
                f"{covariance.dim}: a singular component has no density; add a multiple of the "
                "identity"
            )
        gap = (x - means[k]).T / root.scale
        if root.diagonal:
            gap, log_det = gap / root.array[:, None], np.log(root.array).sum()
        else:
            factor = (
                root.array if root.triangular else cholesky(root.array @ root.array.T, lower=True)
            )
            gap = solve_triangular(factor, gap, lower=True)
            log_det = np.log(np.abs(factor.diagonal())).sum()
        log_det += covariance.dim * (np.log(root.scale) + _LOG_TWO_PI / 2)
        joint[:, k] = np.log(weights[k]) - log_det - (gap**2).sum(axis=0) / 2
    return joint - logsumexp(joint, axis=1, keepdims=True)


def apply(x, plan, first, second, *, uniform: np.ndarray | None = None) -> np.ndarray:
    """Image of the rows of x under the mean or the random map of a plan between two mixtures.

    ``first`` and ``second`` have ``weights_``, ``means_`` and a list ``components``. The random map
    takes ``uniform``, one number in [0, 1) for each row; without it the map is that of the means.
    """
    posterior = np.exp(log_responsibilities(x, first.weights_, first.means_, first.components))
    moving = first.weights_[:, None] > 0
    share = np.divide(plan, first.weights_[:, None], out=np.zeros_like(plan), where=moving)
    out = np.zeros_like(x)
    chosen = None
    if uniform is not None:
        chance = (posterior[:, :, None] * share).reshape(len(x), -1).cumsum(axis=1)
        chosen = (uniform[:, None] * chance[:, -1:] >= chance).sum(axis=1)
    for i, j in zip(*np.nonzero(plan), strict=True):
        rows = np.arange(len(x))
        if chosen is not None:
            rows = np.flatnonzero(chosen == i * plan.shape[1] + j)
            if not len(rows):
                continue
        linear = gaussian_map(first.components[i], second.components[j])
        image = second.means_[j] + (x[rows] - first.means_[i]) @ linear.T
        if chosen is not None:
            out[rows] = image
        else:
            out += (posterior[:, i] * share[i, j])[:, None] * image
    return out


@dataclasses.dataclass(frozen=True)
class Barycenter:
    """A barycenter of centered Gaussians, its cost, and whether the iteration converged."""

    covariance: np.ndarray
    cost: float
    n_iter: int
    converged: bool


def barycenter(roots: list[Root], weights: np.ndarray, tol: float, max_iter: int) -> Barycenter:
    """Wasserstein barycenter of centered Gaussians, with its weighted squared distance to them.

    S <- S^{-1/2} (sum_j w_j (S^{1/2} C_j S^{1/2})^{1/2})^2 S^{-1/2} (Alvarez-Esteban, del Barrio,
    Cuesta-Albertos and Matran, J. Math. Anal. Appl. 441, 2016), whose fixed point is that of
    S <- sum_j w_j (S^{1/2} C_j S^{1/2})^{1/2}.
    """
    scale = max(root.scale for root in roots)
    factors = [root.dense * (root.scale / scale) for root in roots]
    matrices = [factor @ factor.T for factor in factors]
    current = sum(w * c for w, c in zip(weights, matrices, strict=True))
    total = np.trace(current)
    converged = total == 0
    step, cost = 0, 0.0
    while not converged and step < max_iter:
        step += 1
        values, vectors = np.linalg.eigh(current)
        kept = values > len(values) * np.finfo(float).eps * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        half = vectors * np.sqrt(values)
        middle = sum(
            w * symmetric_root(half.T @ c @ half) for w, c in zip(weights, matrices, strict=True)
        )
        moved = (vectors / np.sqrt(values)) @ middle
        moved = moved @ moved.T
        converged = bool(np.linalg.norm(moved - current) <= tol * total)
        cost = total + np.trace(current) - 2 * np.trace(middle)
        current = moved
    return Barycenter(current * scale**2, float(max(cost, 0.0)) * scale**2, step, converged)


def symmetric_root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a positive semidefinite matrix; negative eigenvalues are rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
