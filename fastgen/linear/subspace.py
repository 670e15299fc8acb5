"""Subspace fitting meets regression: the supervision-orthonormality plane."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import _validate
from . import _subspace
from .sweep import _reporter, _seed, _to_text

if TYPE_CHECKING:
    import xarray

__all__ = ["SubspaceFit", "subspace_sweep"]


class SubspaceFit(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Fit a subspace partly from targets, its basis partly orthonormal.

    Minimises over W (p, k), with singular values in ``[max(0, 1 - slack), 1 + slack]``, the sum of

    - the mean of :math:`\|z_i - W^T x_i\|^2` over the samples with a target z (regression),
    - the mean of :math:`\|x_j - W W^T x_j\|^2` over the others (subspace fitting);

    a term without samples is dropped. Supervision 0 is PCA, supervision 1 without constraint is
    minimum-norm least squares, and between lies what is neither.

    Parameters
    ----------
    n_components : int, default 2
        Number k of components, at most the number of samples and of features.
    supervision : float, default 1.0
        Share of the samples, 0 to 1, whose target is used: the first ``floor(share * n + 1/2)``
        rows. Shuffle beforehand if the order of the rows means something.
    orthonormality_slack : float, default 0.0
        0 demands orthonormal columns of W, ``numpy.inf`` nothing.
    max_iter : int, default 1500
        Most steps of the projected gradient.
    tol : float, default 1e-5
        Stop when the projected gradient is at most this share of the terms of the gradient.
    init : array-like (n_components, n_features), optional
        Where to start, in the layout of ``components_``; made feasible first. By default random
        orthonormal rows, a tenth of them for infinite slack.
    center : bool, default False
        Subtract the mean of the rows of X first. False is the zero-mean model of the theory.
        Targets are taken as they are.
    random_state : int, numpy.random.Generator, SeedSequence, RandomState or None
        Of the start.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        ``W.T``.
    mean_ : ndarray (n_features,)
        What is subtracted: zeros unless ``center``.
    objective_ : ndarray (n_iter_ + 1,), or (1,) of a closed form
        The objective at the start and after every step; it never rises. Rounding is about 1e-15 of
        the mean square of data and targets.
    n_iter_ : int
        Steps taken; 1 for a closed form.
    converged_ : bool
        Whether ``tol`` was reached, or only rounding kept the objective from falling.
    n_supervised_ : int
        Number of targets used.
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,)
        If X has names of strings.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range; X or used targets that are not finite, of wrong shape, or
        missing.

    Warns
    -----
    ConvergenceWarning
        When ``max_iter`` came first.

    See Also
    --------
    subspace_sweep : errors of these fits over the plane.

    Notes
    -----
    The problem is that of Dar, Mayer, Luzi and Baraniuk, "Subspace Fitting Meets Regression: The
    Effects of Supervision and Orthonormality Constraints on Double Descent of Generalization
    Errors", ICML 2020, arXiv:2002.10614. The interval of singular values, equal weights and start
    are a reading of it; no figure of the paper is claimed to be reproduced.

    Closed forms are used where they exist. Supervision 0, any slack: the leading principal axes of
    X, which reach the least possible error and are feasible. Supervision 1 with infinite slack:
    ``pinv(X) @ Z``. Elsewhere projected gradient steps, each with a backtracked step size, end in a
    local minimum that may depend on the start; with supervision 1 and slack at least 1 the problem
    is convex.

    scikit-learn's ``check_estimator`` passes for ``supervision=0``. For more its checks hand class
    labels of shape (n,), or nothing, to ``fit`` where targets of shape (n, n_components) are
    required, and are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.linear.subspace import SubspaceFit
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.standard_normal((50, 2))
    >>> X = Z @ np.eye(2, 6) + 0.1 * rng.standard_normal((50, 6))
    >>> fit = SubspaceFit(2, supervision=0.5, random_state=0).fit(X, Z)
    >>> np.round(fit.components_ @ fit.components_.T, 12) + 0.0
    array([[1., 0.],
           [0., 1.]])
    >>> bool(np.abs(fit.transform(X) - Z).max() < 0.5)
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        supervision: float = 1.0,
        orthonormality_slack: float = 0.0,
        *,
        max_iter: int = 1500,
        tol: float = 1e-5,
        init: Any = None,
        center: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.supervision = supervision
        self.orthonormality_slack = orthonormality_slack
        self.max_iter = max_iter
        self.tol = tol
        self.init = init
        self.center = center
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        paired = self.supervision != 0
        tags.target_tags.required = paired
        tags.target_tags.multi_output = paired
        tags.target_tags.single_output = not paired
        return tags

    def fit(self, X: Any, y: Any = None, *, Z: Any = None) -> SubspaceFit:
        """Fit W.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            At least two rows.
        y : array-like, optional
            The same as ``Z``, in scikit-learn's place for targets.
        Z : array-like (n_samples, n_components) or (n_supervised, n_components), optional
            Targets. Rows beyond the supervised ones are not read and may be NaN. Required unless
            ``supervision`` is 0, which ignores them.

        Returns
        -------
        SubspaceFit
            This object.
        """
        k = _validate.integer(self.n_components, "n_components")
        max_iter = _validate.integer(self.max_iter, "max_iter")
        tol = _validate.number(self.tol, "tol")
        share = _subspace.share_of(self.supervision, "supervision")
        slack = _subspace.slack_of(self.orthonormality_slack, "orthonormality_slack")
        rows = self._rows(X, reset=True)
        n, p = rows.shape
        _subspace.at_most(k, "n_components", n, f"the {n} samples of X")
        _subspace.at_most(k, "n_components", p, f"the {p} features of X")
        n_supervised = _subspace.supervised_count(share, n, "supervision")
        z = _subspace.targets(y if Z is None else Z, n_supervised, n, k)
        mean = rows.mean(axis=0) if self.center else np.zeros(p)
        start = self._start(k, p, slack)
        with np.errstate(over="ignore"):
            energy = (rows**2).sum() + (z**2).sum()
        if not np.isfinite(energy):
            largest = max(np.abs(rows).max(), np.abs(z).max(initial=0))
            raise ValueError(
                "X and Z must have squares that can be summed, got entries up to "
                f"{largest:.3g}; divide them by a constant"
            )
        found = _subspace.solve((rows - mean).T, z.T, slack, start, tol, max_iter)
        self.components_ = np.ascontiguousarray(found.w.T)
        self.mean_ = mean
        self.objective_ = found.history
        self.n_iter_ = found.n_iter
        self.converged_ = found.converged
        self.n_supervised_ = n_supervised
        self._n_features_out = k
        if not found.converged:
            warnings.warn(
                f"SubspaceFit stopped after max_iter={max_iter} steps with a projected gradient "
                f"above tol={tol:g} of its terms; raise max_iter or tol, or bring the columns of X "
                "to one scale",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _rows(self, X: Any, *, reset: bool) -> np.ndarray:
        rows = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        return _subspace.finite(rows, "X")

    def _start(self, k: int, p: int, slack: float) -> np.ndarray:
        if self.init is None:
            rng = np.random.default_rng(_seed(self.random_state))
            return _subspace.first_guess(rng.standard_normal((p, k)), slack)
        start = _validate.data_matrix(self.init, "init", minimum_rows=1)
        if start.shape != (k, p):
            raise ValueError(
                f"init must have shape (n_components, n_features) = ({k}, {p}), got {start.shape}"
            )
        return start.T

    def transform(self, X: Any) -> np.ndarray:
        """Map samples to components, ``(X - mean_) @ components_.T``.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        check_is_fitted(self)
        return (self._rows(X, reset=False) - self.mean_) @ self.components_.T

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Map components to samples, ``Z @ components_ + mean_``: W z, the model's decoder.

        Parameters
        ----------
        Z : array-like (n_samples, n_components)

        Returns
        -------
        ndarray (n_samples, n_features)
        """
        check_is_fitted(self)
        z = _validate.data_matrix(Z, "Z", minimum_rows=1)
        k = len(self.components_)
        if z.shape[1] != k:
            raise ValueError(f"Z must have {k} columns, one per component, got shape {z.shape}")
        return z @ self.components_ + self.mean_

    def score(self, X: Any, y: Any = None, *, Z: Any = None) -> float:
        r"""Minus a mean squared error, so that more is better.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        y, Z : array-like (n_samples, n_components), optional
            Targets, as in :meth:`fit`; ignored if ``supervision`` is 0, where components are known
            only up to a rotation.

        Returns
        -------
        float
            With targets minus the mean of :math:`\|z - W^T x\|^2`, without minus the mean of
            :math:`\|x - W W^T x\|^2`.
        """
        check_is_fitted(self)
        rows = self._rows(X, reset=False) - self.mean_
        codes = rows @ self.components_.T
        Z = y if Z is None else Z
        if Z is None or self.supervision == 0:
            return -float(((rows - codes @ self.components_) ** 2).sum() / len(rows))
        z = _subspace.targets(Z, len(rows), len(rows), len(self.components_))
        return -float(((z - codes) ** 2).sum() / len(rows))


def subspace_sweep(
    *,
    n_observed: int | Iterable[int],
    supervision: float | Iterable[float] = (0.5, 0.75, 0.9, 1.0),
    orthonormality_slack: float | Iterable[float] = (0.0, 0.5, 1.0, 3.0, np.inf),
    dim: int = 32,
    n_components: int = 4,
    n_samples: int = 16,
    noise_variance: float = 0.1,
    n_trials: int = 40,
    max_iter: int = 1500,
    tol: float = 1e-5,
    random_state: Any = None,
    n_jobs: int | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
) -> xarray.Dataset:
    r"""Test errors of :class:`SubspaceFit` over the supervision-orthonormality plane.

    In every trial samples ``x = U z + eps`` are drawn, with U (dim, n_components) random
    orthonormal, ``z ~ N(0, I)`` and ``eps ~ N(0, noise_variance I)``. Fits see the first p
    coordinates of x, and z as targets. All cells of a trial share samples and starting point, so
    differences between cells are less noisy than the cells.

    Parameters
    ----------
    n_observed : int or iterable of int
        Numbers p of observed coordinates, from ``n_components`` to ``dim``.
    supervision : float or iterable of float
        Shares of samples with a target, 0 to 1.
    orthonormality_slack : float or iterable of float
        Slacks from 0 (orthonormal) to infinity (free).
    dim : int, default 32
    n_components : int, default 4
        At most ``n_samples`` and ``dim``.
    n_samples : int, default 16
    noise_variance : float, default 0.1
    n_trials : int, default 40
    max_iter, tol
        Of :class:`SubspaceFit`. Where p is near ``n_samples``, with slack and supervision from
        0.75 to below 1, ``max_iter`` often comes first: see ``converged``.
    random_state : int, numpy.random.Generator, SeedSequence, RandomState or None
        Trial t uses the t-th child of this seed, whatever ``n_jobs``, the joblib backend, the
        number of trials or the other cells.
    n_jobs : int, optional
        Trials in parallel threads, as in scikit-learn. BLAS is held at one thread meanwhile.
    progress : bool or callable, optional
        As in :func:`fastgen.linear.sweep`.

    Returns
    -------
    xarray.Dataset
        Dimensions (n_observed, supervision, orthonormality_slack, trial), each sorted, without
        duplicates; variables

        - ``supervised_error``: exact expectation of :math:`\|z - W^T x_S\|^2` for new data; NaN for
          supervision 0, where W is known only up to a rotation;
        - ``unsupervised_error``: exact expectation of :math:`\|(I - W W^T) x_S\|^2`, which grows
          with p by itself;
        - ``objective``: what was minimised, at the solution;
        - ``converged``: whether ``tol`` was reached before ``max_iter``; True for closed forms.

        Attributes tell the version, the arguments, the seed and the time.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range.

    Notes
    -----
    Near ``n_observed == n_samples`` full supervision without constraint is nearly singular and its
    errors have heavy tails: take medians over trials. It is solved by the pseudo-inverse; gradient
    steps stop early and hide the peak. See :class:`SubspaceFit` for the source and for what is a
    reading of it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.linear.subspace import subspace_sweep
    >>> result = subspace_sweep(n_observed=[5, 10, 20], supervision=1.0, dim=20, n_samples=10,
    ...                         orthonormality_slack=[0, np.inf], n_trials=10, random_state=0)
    >>> error = result.supervised_error.median("trial").squeeze()
    >>> [int(p) for p in error.idxmax("n_observed")]
    [5, 10]
    """
    started = time.time()
    plan = _subspace.Plan(
        n_observed=_validate.positive_integers(n_observed, "n_observed"),
        supervision=_subspace.grid(supervision, "supervision", _subspace.share_of),
        slack=_subspace.grid(orthonormality_slack, "orthonormality_slack", _subspace.slack_of),
        dim=_validate.integer(dim, "dim"),
        n_components=_validate.integer(n_components, "n_components"),
        n_samples=_validate.integer(n_samples, "n_samples", minimum=2),
        noise_variance=_validate.number(noise_variance, "noise_variance"),
        n_trials=_validate.integer(n_trials, "n_trials"),
        max_iter=_validate.integer(max_iter, "max_iter"),
        tol=_validate.number(tol, "tol"),
    )
    plan.check(n_jobs)
    seed = _seed(random_state)
    plan = dataclasses.replace(
        plan, entropy=_to_text(seed.entropy), spawn_key=tuple(seed.spawn_key)
    )
    values = np.full((len(_subspace.METRICS), *plan.shape), np.nan)
    report, close = _reporter(progress, plan.n_trials, 0)
    try:
        for trial, result in _subspace.results(plan, n_jobs):
            values[..., trial] = result
            report()
    finally:
        close()
    return _subspace.to_dataset(values, plan, started)
