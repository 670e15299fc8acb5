"""Moments, factors and densities of Gaussian mixtures, for any array namespace.

Responsibilities and log densities are (n_components, n_samples) here, so that those of one
component are contiguous. Covariances of a mixture have scikit-learn's shapes: full (K, d, d), tied
(d, d), diag (K, d), spherical (K,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .._dispatch import em as kernels

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
# A component 36 nats below another contributes less than the rounding of the likelihood.
CUTOFF = 36.0
# Responsibilities up to this are dropped from the moments and the others scaled to the sum one.
THRESHOLD = 1e-12
# Numbers of a block of rows.
_BLOCK_NUMBERS = 1 << 19
_POWER_STEPS = 12
# Share of responsibilities above zero from which variances come from products with all rows.
_OVERLAP = 0.3
# Least share of a second moment that its variance must be, for ten digits of it, or for five.
_CANCELLED = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-2}


@dataclass(frozen=True)
class Moments:
    """Weights (K,), means (K, d) and covariances before the regularization."""

    weights: Any
    means: Any
    covariances: Any


@dataclass(frozen=True)
class Mixture:
    """Moments, regularized covariances and the inverses of their Cholesky factors.

    ``factors`` are lower triangular for full and tied covariances, inverse standard deviations for
    the others.
    """

    covariance_type: str
    moments: Moments
    covariances: Any
    factors: Any

    @property
    def weights(self) -> Any:
        """Weights (K,) of the components."""
        return self.moments.weights

    @property
    def means(self) -> Any:
        """Means (K, d) of the components."""
        return self.moments.means


def n_parameters(n_components: int, n_features: int, covariance_type: str) -> int:
    """Return the number of free parameters."""
    triangle = n_features * (n_features + 1) // 2
    covariances = {
        "full": n_components * triangle,
        "tied": triangle,
        "diag": n_components * n_features,
        "spherical": n_components,
    }[covariance_type]
    return covariances + n_components * n_features + n_components - 1


def one_hot(labels: np.ndarray, n_components: int) -> np.ndarray:
    """Responsibilities (n_components, n_samples) of a hard assignment."""
    return (np.arange(n_components)[:, None] == labels).astype(np.float64)


def block_rows(n_features: int) -> int:
    """Rows of a block: enough for products to run at full speed, few enough for the cache."""
    return max(_BLOCK_NUMBERS // n_features, 2 * n_features, 1)


# The M-step --------------------------------------------------------------------------------------


def moments(
    data: Any, responsibilities: Any, covariance_type: str, previous: Moments | None = None
) -> Moments:
    """Weights, means and covariances of the samples under responsibilities.

    Parameters
    ----------
    data : Host or Device
        From `fastgen.mixture.engines`.
    responsibilities : array (n_components, n_samples)
        Columns sum to one.
    covariance_type : str
    previous : Moments, optional
        Gives mean and covariance of components that no sample belongs to; their weight is 0.

    Returns
    -------
    Moments
        With covariances divided by the sum of the responsibilities, not regularized.
    """
    xp = data.xp
    totals = responsibilities.sum(axis=1)
    if previous is None and not bool((totals > 0).all()):
        empty = [int(k) for k in np.flatnonzero(data.to_numpy(totals) == 0)]
        raise ValueError(
            f"components {empty} start without samples: X has too few distinct rows for "
            f"n_components={len(totals)}; lower n_components or give other starting means"
        )
    safe = xp.where(totals > 0, totals, 1.0)
    found = None
    if covariance_type == "tied" or _overlapping(xp, responsibilities, covariance_type):
        found = _by_products(data, responsibilities, safe, covariance_type)
    if found is None:
        found = _by_components(data, responsibilities, safe, covariance_type)
    means, covariances = found
    empty = totals <= 0
    if previous is not None:
        means = xp.where(empty[:, None], previous.means, means)
    weights = totals / totals.sum()
    if covariance_type == "tied":
        offset = xp.sqrt(weights)[:, None] * (means - data.center)
        return Moments(weights, means, data.scatter() - offset.T @ offset)
    if previous is not None:
        empty = empty.reshape(-1, *[1] * (covariances.ndim - 1))
        covariances = xp.where(empty, previous.covariances, covariances)
    return Moments(weights, means, covariances)


def _overlapping(xp: ModuleType, responsibilities: Any, covariance_type: str) -> bool:
    """Whether variances come cheaper from products with all rows than from each component's."""
    if covariance_type == "full":
        return False
    return float(xp.count_nonzero(responsibilities)) > _OVERLAP * responsibilities.size


def _by_products(
    data: Any, responsibilities: Any, totals: Any, covariance_type: str
) -> tuple[Any, Any] | None:
    """Means, and variances about them, from products with all rows; of tied only the means.

    None where second moments and squared means cancel too far.
    """
    rows = data.rows
    n, d = rows.shape
    size = block_rows(d)
    center = (data.center - data.origin).astype(rows.dtype)

    def part(start: int) -> tuple[Any, Any]:
        z = rows[start : start + size] - center
        share = responsibilities[:, start : start + size].astype(rows.dtype, copy=False)
        first = share @ z
        if covariance_type == "tied":
            return first, None
        z *= z
        return first, share @ z

    parts = data.run(part, range(0, n, size))
    shift = sum(first.astype(np.float64) for first, _ in parts) / totals[:, None]
    means = data.center + shift
    if covariance_type == "tied":
        return means, None
    second = sum(second.astype(np.float64) for _, second in parts) / totals[:, None]
    variances = second - shift**2
    if covariance_type == "spherical":
        second, variances = second.mean(axis=1), variances.mean(axis=1)
    exact = variances >= _CANCELLED[np.dtype(rows.dtype)] * second
    return (means, variances) if bool(exact.all()) else None


def _by_components(
    data: Any, responsibilities: Any, totals: Any, covariance_type: str
) -> tuple[Any, Any]:
    """Means and covariances, each from the rows that the component has a share in."""
    xp, rows = data.xp, data.rows
    centers = (responsibilities.astype(rows.dtype, copy=False) @ rows) / totals[:, None]
    centers = centers.astype(rows.dtype, copy=False)
    found = data.run(
        lambda k: _component(data, responsibilities[k], centers[k], totals[k], covariance_type),
        range(len(totals)),
    )
    means = xp.stack([mean for mean, _ in found]) + data.origin
    return means, xp.stack([covariance for _, covariance in found])


def _component(
    data: Any, share: Any, center: Any, total: Any, covariance_type: str
) -> tuple[Any, Any]:
    """Mean and covariance of one component about ``center``, which is near its mean."""
    xp, rows = data.xp, data.rows
    d = rows.shape[1]
    if covariance_type == "full" and data.compiled and rows.dtype == share.dtype == np.float64:
        first, second = kernels.second_moments(rows, share, center)
        shift = first / total
        return center + shift, second / total - shift[:, None] * shift
    chosen = xp.flatnonzero(share)
    first = xp.zeros(d)
    second = xp.zeros((d, d) if covariance_type == "full" else d)
    size = block_rows(d)
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        z = rows[part]
        z -= center
        weight = share[part]
        first += weight.astype(z.dtype, copy=False) @ z
        z *= xp.sqrt(weight).astype(z.dtype, copy=False)[:, None]
        if covariance_type == "full":
            second += z.T @ z
        else:
            second += xp.einsum("ij,ij->j", z, z)
    shift = first / total
    if covariance_type == "full":
        return center + shift, second / total - shift[:, None] * shift
    variances = second / total - shift**2
    return center + shift, variances.mean() if covariance_type == "spherical" else variances


def merge(xp: ModuleType, old: Moments, new: Moments, step: float, covariance_type: str) -> Moments:
    """Moments of ``1 - step`` of one population and ``step`` of another, component by component.

    Components without weight in both keep the old mean and covariance.
    """
    a, b = (1 - step) * old.weights, step * new.weights
    weights = a + b
    safe = xp.where(weights > 0, weights, 1.0)
    share = b / safe
    gap = new.means - old.means
    means = old.means + share[:, None] * gap
    between = share * (1 - share)
    if covariance_type == "tied":
        spread = xp.sqrt(between * weights)[:, None] * gap
        inside = (1 - step) * old.covariances + step * new.covariances
        return Moments(weights, means, inside + spread.T @ spread)
    if covariance_type == "full":
        gap = xp.sqrt(between)[:, None] * gap
        spread = gap[:, :, None] * gap[:, None, :]
    elif covariance_type == "diag":
        spread = between[:, None] * gap**2
    else:
        spread = between * (gap**2).mean(axis=1)
    share = share.reshape(-1, *[1] * (spread.ndim - 1))
    covariances = old.covariances + share * (new.covariances - old.covariances) + spread
    return Moments(weights, means, covariances)


# The iterations ----------------------------------------------------------------------------------


def iterate(
    data: Any,
    mixture: Mixture,
    last: float,
    *,
    tol: float,
    max_iter: int,
    reg_covar: float,
    report: Callable[[int, float], None],
) -> tuple[list[float], bool, Mixture]:
    """E- and M-steps until the mean log likelihood per sample settles.

    Parameters
    ----------
    data : Host or Device
    mixture : Mixture
        Where they start.
    last : float
        Mean log likelihood before, minus infinity if there is none.
    tol : float
        Change of it, in nats per sample, below which it has settled.
    max_iter : int
    reg_covar : float
    report : callable
        Called after each iteration with its number, from 1, and the change.

    Returns
    -------
    bounds : list of float
        Mean log likelihood before each M-step.
    converged : bool
    mixture : Mixture
    """
    kind = mixture.covariance_type
    bounds: list[float] = []
    for number in range(1, max_iter + 1):
        bound, shares = data.expectation(mixture)
        found = moments(data, shares, kind, mixture.moments)
        mixture = mixture_of(data, found, kind, reg_covar)
        bounds.append(bound)
        report(number, bound - last)
        if abs(bound - last) < tol:
            return bounds, True, mixture
        last = bound
    return bounds, False, mixture


# Factors -----------------------------------------------------------------------------------------


def mixture_of(data: Any, found: Moments, covariance_type: str, reg_covar: float) -> Mixture:
    """Regularize and factorize moments.

    Raises
    ------
    ValueError
        If a covariance is not positive definite, or not finite.
    """
    xp = data.xp
    covariances = regularized(xp, found.covariances, reg_covar, covariance_type)
    if covariance_type in ("diag", "spherical"):
        good = xp.isfinite(covariances) & (covariances > 0)
        if not bool(good.all()):
            bad = ~(good if covariance_type == "spherical" else good.all(axis=1))
            raise _not_definite(int(xp.flatnonzero(bad)[0]), data, found, reg_covar)
        return Mixture(covariance_type, found, covariances, 1 / xp.sqrt(covariances))
    if covariance_type == "tied":
        factors = data.inverse_root(covariances)
        if factors is None:
            raise _not_definite(None, data, found, reg_covar)
        return Mixture(covariance_type, found, covariances, factors)
    factors = data.run(data.inverse_root, list(covariances))
    for k, factor in enumerate(factors):
        if factor is None:
            raise _not_definite(k, data, found, reg_covar)
    return Mixture(covariance_type, found, covariances, xp.stack(factors))


def regularized(xp: ModuleType, covariances: Any, amount: float, covariance_type: str) -> Any:
    """Covariances with ``amount`` added to their diagonals; a negative one takes it away."""
    if covariance_type in ("diag", "spherical"):
        return covariances + amount
    return covariances + amount * xp.eye(covariances.shape[-1])


def _not_definite(k: int | None, data: Any, found: Moments, reg_covar: float) -> ValueError:
    n, d = data.rows.shape
    whose = "the tied covariance"
    if k is not None:
        whose = f"the covariance of component {k} ({float(found.weights[k]) * n:.3g} of {n} samples"
        whose += f", n_features={d})"
    return ValueError(
        f"{whose} is not positive definite with reg_covar={reg_covar:g}; raise reg_covar, lower "
        "n_components, drop constant or repeated features, reduce them by PCA, scale X, or use "
        'covariance_type="diag"'
        + ('; dtype="float64" keeps more digits' if data.rows.dtype == np.float32 else "")
    )


def smallest_eigenvalues(covariance_type: str, roots: np.ndarray) -> np.ndarray:
    """Smallest eigenvalues (K,), or (1,) of a tied covariance, from ``precisions_cholesky_``.

    Estimates from above by power iteration with the inverse, which settles at once where the
    covariance is singular but for its regularization.
    """
    if covariance_type == "spherical":
        return roots**-2.0
    if covariance_type == "diag":
        return roots.max(axis=1) ** -2.0
    stack = roots.reshape(-1, *roots.shape[-2:])
    out = np.empty(len(stack))
    for k, root in enumerate(stack):
        scale = np.abs(root).max()
        root = root / scale
        v = np.random.default_rng(0).standard_normal(len(root))
        for _ in range(_POWER_STEPS):
            v = root @ (root.T @ (v / np.linalg.norm(v)))
        out[k] = 1 / (np.linalg.norm(v) * scale**2)
    return out


def log_constants(xp: ModuleType, mixture: Mixture) -> Any:
    """Log density at the mean plus log weight (K,); minus infinity for components of weight 0."""
    d = mixture.means.shape[1]
    factors = mixture.factors
    if mixture.covariance_type == "full":
        log_root = xp.log(xp.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    elif mixture.covariance_type == "tied":
        log_root = xp.log(xp.diagonal(factors)).sum()
    elif mixture.covariance_type == "diag":
        log_root = xp.log(factors).sum(axis=1)
    else:
        log_root = d * xp.log(factors)
    positive = mixture.weights > 0
    log_weights = xp.log(xp.where(positive, mixture.weights, 1.0))
    constants = log_weights + log_root - 0.5 * d * math.log(2 * math.pi)
    return xp.where(positive, constants, -np.inf)
