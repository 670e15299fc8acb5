"""What the methods of ``GaussianMixture`` share: the door, the start, the iterations."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from .. import _arrays, _validate, _warnings
from .._dispatch import em as kernels
from . import _start, em
from .engines import Device, Host

if TYPE_CHECKING:
    from .gaussian import GaussianMixture

# Entries beyond have squares that overflow in sums.
_LARGEST = 1e140


@contextlib.contextmanager
def opened(model: GaussianMixture, X: Any, *, reset: bool) -> Iterator[Host | Device]:
    """Check X and hand it out as an engine sees it."""
    dtype = np.dtype(_validate.one_of(model.dtype, "dtype", ("float64", "float32")))
    if isinstance(X, _validate.Rows):  # another function of this package has checked them
        model.n_features_in_ = X.array.shape[1]
        _check_size(float(max(X.array.max(), -X.array.min())))
        with kernels.workers() as run:
            yield Host(np.ascontiguousarray(X.array), dtype, run)
        return
    if type(X).__module__.partition(".")[0] == "cupy":
        xp = importlib.import_module("cupy")
        yield Device(device_rows(model, X, xp, dtype, reset), dtype, xp)
        return
    rows = validate_data(
        model,
        _arrays.to_host(X),
        reset=reset,
        dtype=np.float64 if dtype == np.float64 else [np.float64, np.float32],
        order="C",
        ensure_min_samples=2 if reset else 1,
    )
    _check_size(float(max(rows.max(), -rows.min())))
    with kernels.workers() as run:
        yield Host(rows, dtype, run)


def device_rows(model: GaussianMixture, X: Any, xp: Any, dtype: np.dtype, reset: bool) -> Any:
    """Check an array on a device, in its namespace ``xp``."""
    least = 2 if reset else 1
    if X.ndim != 2 or X.shape[0] < least or X.shape[1] < 1:
        raise ValueError(
            f"X must have shape (n_samples, n_features) with at least {least} rows, got shape "
            f"{tuple(X.shape)}"
        )
    if not reset and X.shape[1] != model.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input"
        )
    if not bool(xp.isfinite(X).all()):
        raise ValueError("X must be finite, got NaN or infinity; drop or impute such rows")
    model.n_features_in_ = X.shape[1]
    X = X if dtype == np.float32 and X.dtype == np.float32 else X.astype(np.float64)
    _check_size(float(abs(X).max()))
    return X


def _check_size(largest: float) -> None:
    if largest > _LARGEST:
        raise ValueError(
            f"X must have squares that can be summed, got entries up to {largest:.3g}; divide it "
            "by a constant"
        )


def options(model: GaussianMixture) -> tuple[str, float]:
    """Return covariance type and regularisation."""
    kind = _validate.one_of(model.covariance_type, "covariance_type", em.COVARIANCE_TYPES)
    return kind, _validate.number(model.reg_covar, "reg_covar")


def start(model: GaussianMixture, data: Host | Device, rng: np.random.RandomState) -> em.Mixture:
    """Where EM starts: what the user gave, and moments of starting responsibilities."""
    kind, reg = options(model)
    method = _validate.one_of(model.init_params, "init_params", _start.METHODS)
    n_components = _validate.integer(model.n_components, "n_components")
    n, d = data.rows.shape
    if n_components > n:
        raise ValueError(f"n_components must be at most the {n} samples of X, got {n_components}")
    means = _start.given_means(model.means_init, n_components, d)
    given = (
        _start.given_weights(model.weights_init, n_components),
        means,
        _start.given_covariances(model.precisions_init, kind, n_components, d, reg),
    )
    if any(value is None for value in given):
        near = None if means is None else means - data.to_numpy(data.origin)
        rows = data.to_numpy(data.rows)
        shares = _start.responsibilities(rows, n_components, method, rng, near)
        found = em.moments(data, data.xp.asarray(shares), kind)
        parts = (found.weights, found.means, found.covariances)
        given = tuple(f if g is None else g for f, g in zip(parts, given, strict=True))
    found = em.Moments(*(data.xp.asarray(value) for value in given))
    return em.mixture_of(data, found, kind, reg)


def current(model: GaussianMixture, data: Host | Device) -> em.Mixture:
    """Build the mixture of the fitted attributes."""
    xp = data.xp
    kind, reg = options(model)
    covariances = xp.asarray(model.covariances_)
    factors = np.asarray(model.precisions_cholesky_)
    if kind in ("full", "tied"):
        factors = np.ascontiguousarray(factors.swapaxes(-1, -2))
    found = em.Moments(
        xp.asarray(model.weights_),
        xp.asarray(model.means_),
        em.regularised(xp, covariances, -reg, kind),
    )
    return em.Mixture(kind, found, covariances, xp.asarray(factors))


def publish(model: GaussianMixture, data: Host | Device, mixture: em.Mixture) -> None:
    """Set the parameters of a mixture as attributes, in NumPy arrays."""
    model.weights_ = data.to_numpy(mixture.weights)
    model.means_ = data.to_numpy(mixture.means)
    model.covariances_ = data.to_numpy(mixture.covariances)
    factors = data.to_numpy(mixture.factors)
    full = mixture.covariance_type in ("full", "tied")
    model.precisions_cholesky_ = factors.swapaxes(-1, -2) if full else factors


def fit(model: GaussianMixture, data: Host | Device) -> em.Mixture:
    """Run EM from every start, publish the best and return it."""
    options(model)
    tol = _validate.number(model.tol, "tol")
    max_iter = _validate.integer(model.max_iter, "max_iter")
    n_init = _validate.integer(model.n_init, "n_init")
    warm = model.warm_start and hasattr(model, "weights_")
    if warm and len(model.weights_) != model.n_components:
        raise ValueError(
            f"n_components={model.n_components} differs from the {len(model.weights_)} components "
            "to go on from; set warm_start=False"
        )
    rng = check_random_state(model.random_state)
    best = None
    for _ in range(1 if warm else n_init):
        mixture = current(model, data) if warm else start(model, data, rng)
        last = model.lower_bound_ if warm else -np.inf
        found = iterate(data, mixture, last, tol, max_iter, float(model.reg_covar))
        if best is None or found[0][-1] > best[0][-1]:
            best = found
    bounds, converged, mixture = best
    publish(model, data, mixture)
    model.lower_bounds_, model.lower_bound_ = bounds, bounds[-1]
    model.converged_, model.n_iter_ = converged, len(bounds)
    model.n_samples_seen_ = len(data.rows)
    _warn(model)
    return mixture


def iterate(
    data: Host | Device,
    mixture: em.Mixture,
    last: float,
    tol: float,
    max_iter: int,
    reg_covar: float,
) -> tuple[list[float], bool, em.Mixture]:
    """E- and M-steps until the likelihood, ``last`` at the start, changes by less than ``tol``."""
    kind = mixture.covariance_type
    bounds: list[float] = []
    for _ in range(max_iter):
        bound, shares = data.expectation(mixture)
        found = em.moments(data, shares, kind, mixture.moments)
        mixture = em.mixture_of(data, found, kind, reg_covar)
        bounds.append(bound)
        if abs(bound - last) < tol:
            return bounds, True, mixture
        last = bound
    return bounds, False, mixture


def _warn(model: GaussianMixture) -> None:
    """Say what is doubtful about a fit, at the line that called ``fit``."""
    if not model.converged_:
        _warnings.warn(
            f"GaussianMixture did not converge in max_iter={model.max_iter} steps to "
            f"tol={model.tol:g}; raise max_iter or tol, or try other starts (n_init)",
            ConvergenceWarning,
        )
    counts = model.weights_ * model.n_samples_seen_
    lost = np.flatnonzero(counts == 0)
    if lost.size:
        _warnings.warn(
            f"components {lost.tolist()} lost all their samples and have weight 0; lower "
            "n_components or try other starts (random_state, n_init)",
        )
    least = em.smallest_eigenvalues(model.covariance_type, model.precisions_cholesky_)
    flat = np.flatnonzero(least < 2 * model.reg_covar)
    if flat.size:
        held = ", ".join(f"{count:.3g}" for count in counts[flat][:8])
        whose = "the tied covariance is"
        if model.covariance_type != "tied":
            whose = f"the covariances of components {flat.tolist()[:8]} ({held} samples) are"
        _warnings.warn(
            f"{whose} singular but for reg_covar={model.reg_covar:g} "
            f"(n_features={model.n_features_in_}): likelihoods, AIC and distances follow "
            "reg_covar; lower n_components, drop constant or repeated features, reduce them by "
            'PCA, use covariance_type="diag", or choose reg_covar on purpose',
        )
