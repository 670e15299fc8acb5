"""Gaussian mixtures by expectation maximization, with scikit-learn's names."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import _arrays, _validate
from .._warnings import warn
from . import _parameters, _start, em
from .engines import Device, Host, check_size, device_rows, opened


class GaussianMixture(DensityMixin, BaseEstimator):
    r"""Mixture of Gaussians :math:`\sum_k \pi_k N(m_k, S_k)` fitted by expectation maximization.

    Parameters, attributes and defaults are those of ``sklearn.mixture.GaussianMixture``, and so are
    the numbers, given the same start; what differs is listed in the Notes.

    Parameters
    ----------
    n_components : int, default 1
        Number K of components, at most the number of samples.
    covariance_type : {"full", "tied", "diag", "spherical"}
        One matrix per component, one for all, variances per feature, or one variance each.
    tol : float, default 1e-3
        Stop when the mean log likelihood per sample changes by less.
    reg_covar : float, default 1e-6
        Added to the diagonal of every covariance, after the moments.
    max_iter : int, default 100
        Most iterations; 0 keeps the start.
    n_init : int, default 1
        Number of starts; the fit of the largest likelihood is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}
        Start from the clusters of k-means (which is seeded by k-means++), from the samples nearest
        to each k-means++ seed, from random responsibilities, or from components that are one random
        sample each.
    weights_init : array (K,), optional
        Starting weights, which sum to one.
    means_init : array (K, n_features), optional
        Replaces ``init_params``: each sample starts with the nearest of these means.
    precisions_init : array, optional
        Inverses of the starting covariances, in the shape of ``covariances_``.
    random_state : int, RandomState or None
        Seed of the starts, and of `sample`. With None they are drawn from the global random state
        of NumPy and move it, as in scikit-learn.
    warm_start : bool, default False
        Let ``fit`` go on from the parameters of the last fit.
    verbose : int, default 0
        1 prints each start and every ``verbose_interval``-th iteration, 2 also times and changes of
        the likelihood.
    verbose_interval : int, default 10
        Iterations between two lines.
    dtype : {"float64", "float32"}
        Precision of the matrix products. With float32 the mean of the data is subtracted first, and
        sums of products, likelihoods, factorizations and attributes stay in float64.
    step_decay : float, default 0.7
        How fast `partial_fit` settles: a batch of n samples after N - n others counts
        ``(n / N) ** step_decay``. 1 weighs all samples alike, less forgets early ones, whose
        responsibilities came from poor parameters.

    Attributes
    ----------
    weights_ : ndarray (K,)
    means_ : ndarray (K, n_features)
    covariances_ : ndarray
        Shape (K, d, d), (d, d), (K, d) or (K,) by ``covariance_type``; divided by the number of
        samples, not one less.
    precisions_ : ndarray
        Inverses of the covariances, in their shape.
    precisions_cholesky_ : ndarray
        Upper triangular roots P of the inverse covariances, ``P P^T``; of diag and spherical
        covariances inverse standard deviations.
    lower_bound_ : float
        Mean log likelihood per sample before the last M-step.
    lower_bounds_ : list of float
        Its history over the best start's iterations.
    converged_ : bool
    n_iter_ : int
        Iterations of the best start; calls of `partial_fit` add one each.
    n_samples_seen_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,)
        If X has names of strings.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range; X with NaN, infinities or fewer samples than components; a
        component that starts without samples; a covariance that is not positive definite.

    Warns
    -----
    ConvergenceWarning
        When ``max_iter`` came before ``tol``.
    UserWarning
        When a covariance is singular but for ``reg_covar``, as with fewer samples in a component
        than features, repeated rows or constant features; when a component lost all its samples.

    See Also
    --------
    fitted_to : the mixture's parameters on another data set, by one step.

    Notes
    -----
    The algorithm is EM as in Dempster, Laird and Rubin (1977); the objective never falls but for
    ``reg_covar``. It keeps scikit-learn's numbers at less work:

    - the density of a component is a triangular product, taken in strips; rows whose partial
      Mahalanobis distance puts the component 36 nats below the best one drop out;
    - responsibilities up to 1e-12 become zero, the others are scaled to the sum one, and the
      moments of a component read only rows that it has a share in. With full covariances the
      weighted moments then still are those of the data, plus ``reg_covar`` on the diagonal;
    - a tied covariance comes from one product for the whole fit;
    - threads take rows and components, as many as BLAS may use
      (``threadpoolctl.threadpool_limits``, ``OMP_NUM_THREADS``); their number does not change a
      result. Beside X, and its float32 copy where ``dtype`` asks for one, an array (K, n_samples)
      and copies of some rows are held.

    Unlike scikit-learn, ``means_init`` alone also decides which samples start where, "k-means++"
    starts from the nearest seed of every sample, ``precisions_init`` gives ``covariances_`` too,
    and a component that loses all samples keeps its place with weight zero.

    Parameters may be set by hand: ``weights_``, ``means_`` and ``precisions_cholesky_`` are enough
    to score and to draw samples, or ``precisions_`` instead of the last. The roots may be any whose
    product is the precision, lower triangular ones too.

    CuPy arrays are worked on where they are, in CuPy, and so are torch tensors on a CUDA device if
    CuPy is installed, without a copy; the start is found on the host, attributes are NumPy arrays,
    and what methods return are CuPy arrays on the device. Other torch tensors, and those on a
    device without CuPy, are copied to the host. The path of devices is tested with NumPy in CuPy's
    place, not yet on a device.

    In a forked process, where OpenMP may hang, k-means takes the same steps without it.

    scikit-learn's ``check_estimator`` passes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.mixture import GaussianMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-4, 1, (200, 2)), rng.normal(4, 1, (100, 2))])
    >>> mixture = GaussianMixture(2, random_state=0).fit(X)
    >>> [round(float(weight), 3) for weight in sorted(mixture.weights_)]
    [0.333, 0.667]
    >>> bool(mixture.aic(X) < GaussianMixture(1).fit(X).aic(X))
    True
    """

    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
    precisions_cholesky_: np.ndarray
    lower_bound_: float
    lower_bounds_: list[float]
    converged_: bool
    n_iter_: int
    n_samples_seen_: int

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        dtype: str = "float64",
        step_decay: float = 0.7,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.dtype = dtype
        self.step_decay = step_decay

    def fit(self, X: Any, y: Any = None) -> GaussianMixture:
        """Fit the mixture.

        Parameters
        ----------
        X : array (n_samples, n_features)
            At least two rows; NumPy, CuPy, torch, or anything NumPy takes.
        y : ignored

        Returns
        -------
        GaussianMixture
            This object.
        """
        with self._opened(X, reset=True, passes=self._passes()) as data:
            self._fit(data)
        return self

    def fit_predict(self, X: Any, y: Any = None) -> Any:
        """Fit the mixture and return the component of every sample, as `predict` would.

        Parameters
        ----------
        X : array (n_samples, n_features)
        y : ignored

        Returns
        -------
        int64 array (n_samples,)
        """
        with self._opened(X, reset=True, passes=self._passes()) as data:
            return data.posterior(self._fit(data))[2]

    def partial_fit(self, X: Any, y: Any = None) -> GaussianMixture:
        """Update the mixture with a batch, by one step of stepwise EM.

        The E-step uses the parameters so far, and the moments of the batch are averaged with those
        so far, the batch counting ``(n / N) ** step_decay`` of N samples seen. Passes over all
        batches approach the fit of all data; one batch that is all data is an iteration of
        `fit`, and a single component with ``step_decay=1`` gives exactly its fit.

        Parameters
        ----------
        X : array (n_samples, n_features)
            The first batch also sets the start; full covariances want several times K d rows in it.
        y : ignored

        Returns
        -------
        GaussianMixture
            This object, with ``converged_`` False.

        Raises
        ------
        TypeError, ValueError
            If a parameter of this object is out of its range, or ``X`` is not numeric, not finite,
            or of another number of features than the batches before.

        Notes
        -----
        Cappe and Moulines, "On-line expectation-maximization algorithm for latent data models",
        J. R. Statist. Soc. B 71 (2009), with moments in place of their sufficient statistics.
        """
        decay = _validate.number(self.step_decay, "step_decay")
        if not 0 < decay <= 1:
            raise ValueError(f"step_decay must be above 0 and at most 1, got {decay:g}")
        first = not hasattr(self, "n_samples_seen_")
        with self._opened(X, reset=first) as data:
            kind, reg = self._options()
            if first:
                mixture = self._start(data, check_random_state(self.random_state))
            else:
                mixture = self._current(data)
            n = len(data.rows)
            seen = n if first else self.n_samples_seen_ + n
            bound, shares = data.expectation(mixture)
            found = em.moments(data, shares, kind, mixture.moments)
            if not first:
                found = em.merge(data.xp, mixture.moments, found, (n / seen) ** decay, kind)
            self._publish(data, em.mixture_of(data, found, kind, reg))
        self.n_samples_seen_ = seen
        self.n_iter_ = 1 if first else self.n_iter_ + 1
        self.lower_bound_ = bound
        self.lower_bounds_ = [bound] if first else [*self.lower_bounds_, bound]
        self.converged_ = False
        return self

    def fitted_to(self, X: Any) -> GaussianMixture:
        """Return the parameters of one E- and M-step on X, from these.

        Mixtures taken so from one common fit have matching components: the shared fit, in which
        the local optima of two separate fits play no part.

        Parameters
        ----------
        X : array (n_samples, n_features)

        Returns
        -------
        GaussianMixture
            A new object. Components that no sample of X belongs to keep mean and covariance, with
            weight zero. With full covariances the weighted moments are those of X, plus
            ``reg_covar`` on the diagonal. ``lower_bound_`` is the mean log likelihood of X under
            the common parameters.
        """
        check_is_fitted(self)
        new = clone(self)
        with self._opened(X, reset=False) as data:
            kind, reg = self._options()
            mixture = self._current(data)
            bound, shares = data.expectation(mixture)
            found = em.moments(data, shares, kind, mixture.moments)
            new._publish(data, em.mixture_of(data, found, kind, reg))
            new.n_samples_seen_ = len(data.rows)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(new, name, getattr(self, name))
        new.n_iter_ = 1
        new.lower_bound_ = bound
        new.lower_bounds_ = [bound]
        new.converged_ = False
        return new

    def predict(self, X: Any) -> Any:
        """Component of the largest responsibility for each sample.

        Parameters
        ----------
        X : array (n_samples, n_features)

        Returns
        -------
        int64 array (n_samples,)
        """
        return self._posterior(X)[2]

    def predict_proba(self, X: Any) -> Any:
        """Responsibilities.

        Parameters
        ----------
        X : array (n_samples, n_features)

        Returns
        -------
        float64 array (n_samples, K)
            Rows sum to one.
        """
        return self._posterior(X)[1].T

    def score_samples(self, X: Any) -> Any:
        """Log likelihood of each sample.

        Parameters
        ----------
        X : array (n_samples, n_features)

        Returns
        -------
        float64 array (n_samples,)
        """
        return self._posterior(X)[0]

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log likelihood of the samples, in nats.

        Parameters
        ----------
        X : array (n_samples, n_features)
        y : ignored

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    def aic(self, X: Any) -> float:
        """Akaike's criterion, ``2 p - 2 log L`` with p free parameters; less is better.

        It fails where components have fewer samples than features: the likelihood then follows
        ``reg_covar``. Choose by `score` on held-out data there.

        Parameters
        ----------
        X : array (n_samples, n_features)

        Returns
        -------
        float
        """
        values = self.score_samples(X)
        return 2.0 * self._n_parameters() - 2.0 * float(values.sum())

    def bic(self, X: Any) -> float:
        """Bayesian criterion, ``p log(n_samples) - 2 log L`` with p free parameters.

        Parameters
        ----------
        X : array (n_samples, n_features)

        Returns
        -------
        float
        """
        values = self.score_samples(X)
        return self._n_parameters() * float(np.log(len(values))) - 2.0 * float(values.sum())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Draw samples, component after component.

        Parameters
        ----------
        n_samples : int, default 1
        random_state : int, RandomState or None
            By default that of the mixture.

        Returns
        -------
        X : ndarray (n_samples, n_features)
        y : int64 ndarray (n_samples,)
            Component of each sample.
        """
        check_is_fitted(self)
        n_samples = _validate.integer(n_samples, "n_samples")
        rng = check_random_state(self.random_state if random_state is None else random_state)
        counts = rng.multinomial(n_samples, self.weights_ / self.weights_.sum())
        labels = np.repeat(np.arange(len(counts)), counts)
        X = rng.standard_normal((n_samples, self.means_.shape[1]))
        kind = self.covariance_type
        if hasattr(self, "covariances_"):
            covariances = np.asarray(self.covariances_)
        else:
            covariances = _parameters.covariances_of(self._roots(), kind)
        if kind in ("full", "tied"):
            roots = np.linalg.cholesky(covariances)
            for k in np.flatnonzero(counts):
                X[labels == k] @= (roots if roots.ndim == 2 else roots[k]).T
        else:
            deviations = np.sqrt(covariances)[labels]
            X *= deviations.reshape(n_samples, -1)
        return X + self.means_[labels], labels

    @property
    def precisions_(self) -> np.ndarray:
        """Inverses of the covariances, in their shape.

        As in scikit-learn they are told beside ``precisions_cholesky_``, from which likelihoods
        come. Set without those they give them; set to something else, scoring refuses.
        """
        check_is_fitted(self)
        if hasattr(self, "_precisions"):
            return self._precisions
        return _parameters.precisions_of(self.precisions_cholesky_, self.covariance_type)

    @precisions_.setter
    def precisions_(self, value: Any) -> None:
        self._precisions = np.array(value)

    def _roots(self) -> np.ndarray:
        """Upper triangular roots of the precisions, from what was fitted or set by hand."""
        kind = self._options()[0]
        n_components, n_features = np.shape(self.means_)
        shape = _start.covariance_shape(kind, n_components, n_features)
        stated = None
        if hasattr(self, "_precisions"):
            stated = _start.array(self._precisions, "precisions_", shape)
            if not hasattr(self, "precisions_cholesky_"):
                return _parameters.roots_of(stated, kind)
        roots = _start.array(self.precisions_cholesky_, "precisions_cholesky_", shape)
        roots = _parameters.upper_roots(roots, kind)
        if stated is not None:
            found = _parameters.precisions_of(roots, kind)
            if np.abs(found - stated).max() > 1e-6 * np.abs(found).max():
                raise ValueError(
                    "precisions_ and precisions_cholesky_ were set to different mixtures; set both "
                    "(components in the same order), or only precisions_cholesky_"
                )
        return roots

    def _n_parameters(self) -> int:
        n_components, n_features = self.means_.shape
        return em.n_parameters(n_components, n_features, self.covariance_type)

    def _posterior(self, X: Any) -> tuple[Any, Any, Any]:
        """Log likelihoods (n,), responsibilities (K, n) and likely components (n,)."""
        check_is_fitted(self)
        with self._opened(X, reset=False) as data:
            return data.posterior(self._current(data))

    # The door ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _opened(self, X: Any, *, reset: bool, passes: int = 1) -> Iterator[Host | Device]:
        """Check X and hand it out as an engine sees it, on the device where it is."""
        dtype = np.dtype(_validate.one_of(self.dtype, "dtype", ("float64", "float32")))
        least = 2 if reset else 1
        X = _tensor_to_cupy(X)
        if _arrays.library(X) == "cupy":
            with _arrays.array_library(X) as xp:
                rows = device_rows(X, xp, dtype, minimum_rows=least)
                if reset:
                    self.n_features_in_ = rows.shape[1]
                self._check_features(rows.shape[1])
                yield Device(rows, dtype, xp)
            return
        if isinstance(X, _validate.Rows):  # another function of this package has checked them
            rows = np.ascontiguousarray(X.array)
            self.n_features_in_ = rows.shape[1]
            check_size(float(max(rows.max(), -rows.min())))
            with opened(rows, dtype, *self._kind(reset), passes) as data:
                yield data
            return
        rows = validate_data(
            self,
            _validate.samples(X, "X"),
            reset=reset,
            dtype=np.float64 if dtype == np.float64 else [np.float64, np.float32],
            order="C",
            ensure_min_samples=least,
        )
        self._check_features(rows.shape[1])
        check_size(float(max(rows.max(), -rows.min())))
        with opened(rows, dtype, *self._kind(reset), passes) as data:
            yield data

    def _kind(self, reset: bool) -> tuple[int, str]:
        """Return the number of components, of means set by hand where used, and their type."""
        kind = self._options()[0]
        if reset:
            return _validate.integer(self.n_components, "n_components"), kind
        return len(np.atleast_1d(self.means_)), kind

    def _passes(self) -> int:
        """Return the most E-steps of a fit."""
        max_iter = _validate.integer(self.max_iter, "max_iter", minimum=0)
        return (max_iter + 1) * _validate.integer(self.n_init, "n_init")

    def _check_features(self, found: int) -> None:
        """Refuse rows of another length than the mixture's, which may have been set by hand."""
        known = getattr(self, "n_features_in_", None)
        if known is None and hasattr(self, "means_"):
            known = np.shape(self.means_)[-1]
        if known is not None and found != known:
            raise ValueError(
                f"X has {found} features, but {type(self).__name__} is expecting {known} features "
                "as input"
            )

    def _options(self) -> tuple[str, float]:
        """Return covariance type and regularization."""
        kind = _validate.one_of(self.covariance_type, "covariance_type", em.COVARIANCE_TYPES)
        return kind, _validate.number(self.reg_covar, "reg_covar")

    # Parameters in and out -----------------------------------------------------------------------

    def _start(self, data: Host | Device, rng: np.random.RandomState) -> em.Mixture:
        """Where EM starts: what the user gave, and moments of starting responsibilities."""
        kind, reg = self._options()
        method = _validate.one_of(self.init_params, "init_params", _start.METHODS)
        n_components = _validate.integer(self.n_components, "n_components")
        n, d = data.rows.shape
        if n_components > n:
            raise ValueError(
                f"n_components must be at most the {n} samples of X, got {n_components}"
            )
        means = _start.given_means(self.means_init, n_components, d)
        given = [
            _start.given_weights(self.weights_init, n_components),
            means,
            _start.given_covariances(self.precisions_init, kind, n_components, d, reg),
        ]
        if any(value is None for value in given):
            if means is None and method == "random_from_data":
                found = _start.samples(data, n_components, kind, rng)
            else:
                near = None if means is None else means - data.to_numpy(data.origin)
                rows = data.to_numpy(data.rows)
                shares = _start.responsibilities(rows, n_components, method, rng, near)
                found = em.moments(data, data.xp.asarray(shares), kind)
            parts = (found.weights, found.means, found.covariances)
            given = [f if g is None else g for f, g in zip(parts, given, strict=True)]
        found = em.Moments(*(data.xp.asarray(value) for value in given))
        return em.mixture_of(data, found, kind, reg)

    def _current(self, data: Host | Device) -> em.Mixture:
        """Build the mixture of the fitted attributes, or of those set by hand."""
        kind, reg = self._options()
        xp = data.xp
        means = np.asarray(self.means_, dtype=np.float64)
        if means.ndim != 2:
            raise ValueError(f"means_ must have shape (K, n_features), got {means.shape}")
        shape = _start.covariance_shape(kind, *means.shape)
        weights = _start.array(self.weights_, "weights_", shape=(len(means),))
        factors = roots = self._roots()
        if kind in ("full", "tied"):
            factors = np.ascontiguousarray(roots.swapaxes(-1, -2))
        if hasattr(self, "covariances_"):
            covariances = xp.asarray(_start.array(self.covariances_, "covariances_", shape))
        else:
            covariances = xp.asarray(_parameters.covariances_of(roots, kind))
        found = em.Moments(
            xp.asarray(weights), xp.asarray(means), em.regularized(xp, covariances, -reg, kind)
        )
        return em.Mixture(kind, found, covariances, xp.asarray(factors))

    def _publish(self, data: Host | Device, mixture: em.Mixture) -> None:
        """Set the parameters of a mixture as attributes, in NumPy arrays."""
        self.weights_ = data.to_numpy(mixture.weights)
        self.means_ = data.to_numpy(mixture.means)
        self.covariances_ = data.to_numpy(mixture.covariances)
        factors = data.to_numpy(mixture.factors)
        full = mixture.covariance_type in ("full", "tied")
        self.precisions_cholesky_ = factors.swapaxes(-1, -2) if full else factors
        if hasattr(self, "_precisions"):
            del self._precisions

    # The fit -------------------------------------------------------------------------------------

    def _fit(self, data: Host | Device) -> em.Mixture:
        """Run EM from every start, publish the best and return it."""
        reg = self._options()[1]
        tol = _validate.number(self.tol, "tol")
        max_iter = _validate.integer(self.max_iter, "max_iter", minimum=0)
        n_init = _validate.integer(self.n_init, "n_init")
        told = _Told(self.verbose, self.verbose_interval)
        warm = self.warm_start and hasattr(self, "weights_")
        if warm and len(self.weights_) != self.n_components:
            raise ValueError(
                f"n_components={self.n_components} differs from the {len(self.weights_)} "
                "components to go on from; set warm_start=False"
            )
        rng = check_random_state(self.random_state)
        limits: dict[str, Any] = {"tol": tol, "max_iter": max_iter, "reg_covar": reg}
        best = None
        for number in range(1 if warm else n_init):
            told.begin(number)
            mixture = self._current(data) if warm else self._start(data, rng)
            last = getattr(self, "lower_bound_", -np.inf) if warm else -np.inf
            found = em.iterate(data, mixture, last, **limits, report=told.step)
            told.end(found[1], found[0])
            if best is None or (found[0] and found[0][-1] > best[0][-1]):
                best = found
        assert best is not None  # there is at least one start
        bounds, converged, mixture = best
        self._publish(data, mixture)
        self.lower_bounds_, self.lower_bound_ = bounds, bounds[-1] if bounds else -np.inf
        self.converged_, self.n_iter_ = converged, len(bounds)
        self.n_samples_seen_ = len(data.rows)
        self._warn()
        return mixture

    def _warn(self) -> None:
        """Say what is doubtful about a fit."""
        if not self.converged_ and self.max_iter > 0:
            warn(
                f"GaussianMixture did not converge in max_iter={self.max_iter} steps to "
                f"tol={self.tol:g}; raise max_iter or tol, or try other starts (n_init)",
                ConvergenceWarning,
            )
        counts = self.weights_ * self.n_samples_seen_
        lost = np.flatnonzero(counts == 0)
        if lost.size:
            warn(
                f"components {lost.tolist()} lost all their samples and have weight 0; lower "
                "n_components or try other starts (random_state, n_init)"
            )
        least = em.smallest_eigenvalues(self.covariance_type, self.precisions_cholesky_)
        flat = np.flatnonzero(least < 2 * self.reg_covar)
        if flat.size:
            held = ", ".join(f"{count:.3g}" for count in counts[flat][:8])
            whose = "the tied covariance is"
            if self.covariance_type != "tied":
                whose = f"the covariances of components {flat.tolist()[:8]} ({held} samples) are"
            warn(
                f"{whose} singular but for reg_covar={self.reg_covar:g} "
                f"(n_features={self.n_features_in_}): likelihoods, AIC and distances follow "
                "reg_covar; lower n_components, drop constant or repeated features, reduce them by "
                'PCA, use covariance_type="diag", or choose reg_covar on purpose'
            )


def _tensor_to_cupy(X: Any) -> Any:
    """Return a torch tensor on a CUDA device as a CuPy array there, if CuPy is installed."""
    if not (_arrays.is_tensor(X) and _arrays.on_device(X)):
        return X
    try:
        cupy = _arrays.require_device("a tensor on a CUDA device")
    except ImportError:
        return X
    X = _arrays.detached(X)
    if str(X.dtype) not in ("torch.float64", "torch.float32"):
        X = X.double()
    return cupy.from_dlpack(X)


class _Told:
    """What ``verbose`` prints on standard output, in scikit-learn's words."""

    def __init__(self, verbose: Any, interval: Any) -> None:
        self.level = _validate.integer(int(verbose), "verbose", minimum=0)
        self.interval = _validate.integer(interval, "verbose_interval")
        self.began = self.last = 0.0

    def begin(self, number: int) -> None:
        self.began = self.last = time.perf_counter()
        if self.level:
            print(f"Initialization {number}")

    def step(self, number: int, change: float) -> None:
        if not self.level or number % self.interval:
            return
        text = f"  Iteration {number}"
        if self.level > 1:
            now = time.perf_counter()
            text += f"\t time lapse {now - self.last:.5f}s\t ll change {change:.5f}"
            self.last = now
        print(text)

    def end(self, converged: bool, bounds: list[float]) -> None:
        if not self.level:
            return
        text = "Initialization converged" if converged else "Initialization did not converge"
        if self.level > 1:
            bound = bounds[-1] if bounds else -np.inf
            text += (
                f". time lapse {time.perf_counter() - self.began:.5f}s\t lower bound {bound:.5f}"
            )
        print(f"{text}.")
