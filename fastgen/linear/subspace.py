"""Subspace fitting meets regression: a subspace fitted partly from targets."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import svd_flip
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import _arrays, _random, _validate, _warnings
from .._dispatch import linear as kernels

__all__ = ["SubspaceFit"]


class SubspaceFit(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Fit a subspace partly from targets, its basis partly orthonormal.

    Minimizes over W (p, k), with singular values in ``[max(0, 1 - slack), 1 + slack]``, the sum of

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
        Seed of the random start.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        The fitted ``W.T``.
    mean_ : ndarray (n_features,)
        The mean that is subtracted, zeros unless ``center``.
    objective_ : ndarray (``n_iter_`` + 1,), or (1,) of a closed form
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
    fastgen.linear.subspace_sweep : errors of these fits over the plane.

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

        Raises
        ------
        TypeError, ValueError
            If a parameter of this object is out of its range, ``n_components`` is more than the
            samples or features of ``X``, ``X`` or ``Z`` is not numeric, not finite, of another
            shape, or too large to be squared, or ``Z`` is missing.
        """
        k = _validate.integer(self.n_components, "n_components")
        max_iter = _validate.integer(self.max_iter, "max_iter")
        tol = _validate.number(self.tol, "tol")
        share = share_of(self.supervision, "supervision")
        slack = slack_of(self.orthonormality_slack, "orthonormality_slack")
        rows = self._rows(X, reset=True)
        n, p = rows.shape
        at_most(k, "n_components", n, f"the {n} samples of X")
        at_most(k, "n_components", p, f"the {p} features of X")
        n_supervised = supervised_count(share, n, "supervision")
        z = targets(y if Z is None else Z, n_supervised, n, k)
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
        solution = solve((rows - mean).T, z.T, slack, start, tol, max_iter)
        self.components_ = np.ascontiguousarray(solution.w.T)
        self.mean_ = mean
        self.objective_ = solution.history
        self.n_iter_ = solution.n_iter
        self.converged_ = solution.converged
        self.n_supervised_ = n_supervised
        self._n_features_out = k
        if not solution.converged:
            _warnings.warn(
                f"SubspaceFit stopped after max_iter={max_iter} steps with a projected gradient "
                f"above tol={tol:g} of its terms; raise max_iter or tol, or bring the columns of X "
                "to one scale",
                ConvergenceWarning,
            )
        return self

    def _rows(self, X: Any, *, reset: bool) -> np.ndarray:
        rows = validate_data(
            self,
            _validate.samples(X, "X"),
            reset=reset,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        return finite(rows, "X")

    def _start(self, k: int, p: int, slack: float) -> np.ndarray:
        if self.init is None:
            rng = _random.generator(_random.seed_sequence(self.random_state))
            return first_guess(rng.standard_normal((p, k)), slack)
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

        Raises
        ------
        TypeError, ValueError
            If ``Z`` is not numeric, not finite or of another shape.
        sklearn.exceptions.NotFittedError
            Before `fit`.
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
            Targets, as in `fit`; ignored if ``supervision`` is 0, where components are known
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
        z = targets(Z, len(rows), len(rows), len(self.components_))
        return -float(((z - codes) ** 2).sum() / len(rows))


@dataclasses.dataclass(frozen=True)
class Solution:
    """A fit: W (p, k), the objectives at the start and after every step, how it ended."""

    w: np.ndarray
    history: np.ndarray
    n_iter: int = 1
    converged: bool = True


def solve(
    x: np.ndarray, z: np.ndarray, slack: float, start: np.ndarray, tol: float, max_iter: int
) -> Solution:
    """Fit W to data, of which the first samples have targets.

    Parameters
    ----------
    x : ndarray (p, n)
        Data.
    z : ndarray (k, n_supervised)
        Targets of the first samples.
    slack : float
        Orthonormality slack, infinite for none.
    start : ndarray (p, k)
        Where the descent begins.
    tol, max_iter : float, int
        As for `SubspaceFit`.
    """
    n, k, n_supervised = x.shape[1], start.shape[1], z.shape[1]
    if n_supervised == 0:
        u, _, vt = np.linalg.svd(x.T, full_matrices=False)
        w = svd_flip(u, vt, u_based_decision=False)[1][:k].T
        return Solution(w, np.array([((x - w @ (w.T @ x)) ** 2).sum() / n]))
    if n_supervised == n and np.isinf(slack):
        w = np.linalg.lstsq(x.T, z.T, rcond=None)[0]
        return Solution(w, np.array([((z - w.T @ x) ** 2).sum() / n]))
    basis = None
    if len(x) > n + k:  # no step leaves the span of the data and the start
        basis = np.linalg.qr(np.hstack([x, start]))[0]
        x, start = basis.T @ x, basis.T @ start
    paired, rest = x[:, :n_supervised], x[:, n_supervised:]
    moments = [paired @ paired.T / n_supervised]
    constant = (z**2).sum() / n_supervised
    if rest.shape[1]:
        moments.append(rest @ rest.T / rest.shape[1])
        constant += np.trace(moments[1])
    history = np.empty(max_iter + 1)
    w, n_iter, converged = kernels.subspace_descent(
        np.vstack(moments),
        np.ascontiguousarray(paired @ z.T / n_supervised),
        float(constant),
        True,
        rest.shape[1] > 0,
        np.ascontiguousarray(start),
        max(0.0, 1.0 - slack),
        1.0 + slack,
        tol,
        max_iter,
        history,
    )
    w = w if basis is None else basis @ w
    return Solution(w, np.maximum(history[: n_iter + 1], 0.0), n_iter, bool(converged))


def first_guess(draw: np.ndarray, slack: float) -> np.ndarray:
    """Orthonormalize a Gaussian draw (p, k), small where nothing bounds W."""
    start = np.linalg.qr(draw)[0]
    return 0.1 * start if np.isinf(slack) else start


def share_of(value: Any, name: str) -> float:
    """Return a share of the samples, from 0 to 1."""
    share = _validate.number(value, name)
    if share > 1:
        raise ValueError(f"{name} must be a share from 0 to 1 of the samples, got {value}")
    return share


def slack_of(value: Any, name: str) -> float:
    """Return an orthonormality slack: at least 0, infinity allowed."""
    if isinstance(value, float | np.floating) and value == np.inf:
        return np.inf
    return _validate.number(value, name)


def supervised_count(share: float, n_samples: int, name: str) -> int:
    """Return the number of samples in a share, halves rounded up."""
    count = int(np.floor(share * n_samples + 0.5))
    if share > 0 and count == 0:
        raise ValueError(
            f"{name} must be 0 or at least half a sample, got {share:g} of {n_samples} samples"
        )
    return count


def at_most(value: int, name: str, limit: int, what: str) -> None:
    """Raise ValueError if a value is above its limit."""
    if value > limit:
        raise ValueError(f"{name} must be at most {limit}, {what}, got {value}")


def finite(array: np.ndarray, name: str) -> np.ndarray:
    """Return a matrix, or say where it is not finite."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, column = bad[0]
        kind = "NaN" if np.isnan(array[row, column]) else str(array[row, column])
        raise ValueError(
            f"{name} must be finite, got {kind} at row {row}, column {column}; drop or impute such "
            "rows first"
        )
    return array


def targets(value: Any, n_supervised: int, n: int, k: int) -> np.ndarray:
    """Return the targets that are used, (n_supervised, k)."""
    if n_supervised == 0:
        return np.empty((0, k))
    if value is None:
        raise ValueError(
            f"Z must be given, targets of shape ({n_supervised}, {k}), got None; supervision=0 "
            "fits without targets"
        )
    z = _arrays.to_numpy(value, "Z")
    if z.dtype.kind not in "fiub":
        raise TypeError(f"Z must be a numeric array (n_supervised, {k}), got dtype {z.dtype}")
    if z.ndim != 2 or z.shape[1] != k or len(z) not in (n_supervised, n):
        rows = f"{n_supervised}" if n_supervised == n else f"{n_supervised} or {n}"
        raise ValueError(
            f"Z must have shape ({rows}, {k}), a row per sample and a column per component, got "
            f"shape {z.shape}"
        )
    return finite(z[:n_supervised].astype(np.float64), "Z")
