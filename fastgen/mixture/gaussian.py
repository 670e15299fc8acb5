"""Gaussian mixtures by expectation maximisation, with scikit-learn's names."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import _validate
from . import _fitting, em

__all__ = ["GaussianMixture"]


class GaussianMixture(DensityMixin, BaseEstimator):
    r"""Mixture of Gaussians :math:`\sum_k \pi_k N(m_k, S_k)` fitted by expectation maximisation.

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
    n_init : int, default 1
        Starts; the fit of the largest likelihood is kept.
    init_params : {"kmeans", "k-means++", "random"}
        Start from the clusters of k-means (which is seeded by k-means++), from the samples nearest
        to each k-means++ seed, or from random responsibilities.
    weights_init : array (K,), optional
    means_init : array (K, n_features), optional
        Replaces ``init_params``: each sample starts with the nearest of these means.
    precisions_init : array, optional
        Inverses of the starting covariances, in the shape of ``covariances_``.
    random_state : int, RandomState or None
    warm_start : bool, default False
        Let ``fit`` go on from the parameters of the last fit.
    dtype : {"float64", "float32"}
        Precision of the matrix products. With float32 the mean of the data is subtracted first, and
        sums of products, likelihoods, factorizations and attributes stay in float64.
    step_decay : float, default 0.7
        Of :meth:`partial_fit`: a batch of n samples after N - n others counts
        ``(n / N) ** step_decay``. 1 weighs all samples alike, less forgets early ones, whose
        responsibilities came from poor parameters.

    Attributes
    ----------
    weights_ : ndarray (K,)
    means_ : ndarray (K, n_features)
    covariances_ : ndarray
        Shape (K, d, d), (d, d), (K, d) or (K,) by ``covariance_type``; divided by the number of
        samples, not one less.
    precisions_cholesky_ : ndarray
        Upper triangular roots P of the inverse covariances, ``P P^T``; of diag and spherical
        covariances inverse standard deviations.
    lower_bound_ : float
        Mean log likelihood per sample before the last M-step.
    lower_bounds_ : list of float
        Its history over the best start's iterations.
    converged_ : bool
    n_iter_ : int
        Iterations of the best start; calls of :meth:`partial_fit` add one each.
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

    Torch tensors are copied to the host if they are not there. CuPy arrays are worked on where they
    are, in CuPy; the start is found on the host, attributes are NumPy arrays, and what methods
    return is on the device. That path is tested with NumPy in CuPy's place, not yet on a device.

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
        with _fitting.opened(self, X, reset=True) as data:
            _fitting.fit(self, data)
        return self

    def fit_predict(self, X: Any, y: Any = None) -> Any:
        """Fit the mixture and return the component of every sample, as :meth:`predict` would.

        Parameters
        ----------
        X : array (n_samples, n_features)
        y : ignored

        Returns
        -------
        int64 array (n_samples,)
        """
        with _fitting.opened(self, X, reset=True) as data:
            return data.posterior(_fitting.fit(self, data))[2]

    def partial_fit(self, X: Any, y: Any = None) -> GaussianMixture:
        """Update the mixture with a batch, by one step of stepwise EM.

        The E-step uses the parameters so far, and the moments of the batch are averaged with those
        so far, the batch counting ``(n / N) ** step_decay`` of N samples seen. Passes over all
        batches approach the fit of all data; one batch that is all data is an iteration of
        :meth:`fit`, and a single component with ``step_decay=1`` gives exactly its fit.

        Parameters
        ----------
        X : array (n_samples, n_features)
            The first batch also sets the start; full covariances want several times K d rows in it.
        y : ignored

        Returns
        -------
        GaussianMixture
            This object, with ``converged_`` False.

        Notes
        -----
        Cappe and Moulines, "On-line expectation-maximization algorithm for latent data models",
        J. R. Statist. Soc. B 71 (2009), with moments in place of their sufficient statistics.
        """
        decay = _validate.number(self.step_decay, "step_decay")
        if not 0 < decay <= 1:
            raise ValueError(f"step_decay must be above 0 and at most 1, got {decay:g}")
        first = not hasattr(self, "n_samples_seen_")
        with _fitting.opened(self, X, reset=first) as data:
            kind, reg = _fitting.options(self)
            if first:
                mixture = _fitting.start(self, data, check_random_state(self.random_state))
            else:
                mixture = _fitting.current(self, data)
            n = len(data.rows)
            seen = n if first else self.n_samples_seen_ + n
            bound, shares = data.expectation(mixture)
            found = em.moments(data, shares, kind, mixture.moments)
            if not first:
                found = em.merge(data.xp, mixture.moments, found, (n / seen) ** decay, kind)
            _fitting.publish(self, data, em.mixture_of(data, found, kind, reg))
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
        with _fitting.opened(self, X, reset=False) as data:
            kind, reg = _fitting.options(self)
            mixture = _fitting.current(self, data)
            bound, shares = data.expectation(mixture)
            found = em.moments(data, shares, kind, mixture.moments)
            _fitting.publish(new, data, em.mixture_of(data, found, kind, reg))
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
        ``reg_covar``. Choose by :meth:`score` on held-out data there.

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
        if self.covariance_type in ("full", "tied"):
            roots = np.linalg.cholesky(self.covariances_)
            for k in np.flatnonzero(counts):
                X[labels == k] @= (roots if roots.ndim == 2 else roots[k]).T
        else:
            deviations = np.sqrt(self.covariances_)[labels]
            X *= deviations.reshape(n_samples, -1)
        return X + self.means_[labels], labels

    @property
    def precisions_(self) -> np.ndarray:
        """Inverses of the covariances, in their shape."""
        check_is_fitted(self)
        roots = self.precisions_cholesky_
        if self.covariance_type in ("full", "tied"):
            return roots @ roots.swapaxes(-1, -2)
        return roots**2

    def _n_parameters(self) -> int:
        return em.n_parameters(*self.means_.shape, self.covariance_type)

    def _posterior(self, X: Any) -> tuple[Any, Any, Any]:
        """Log likelihoods (n,), responsibilities (K, n) and likely components (n,)."""
        check_is_fitted(self)
        with _fitting.opened(self, X, reset=False) as data:
            return data.posterior(_fitting.current(self, data))
