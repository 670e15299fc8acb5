"""Linear generative models as scikit-learn estimators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import _arrays, _random, _validate, _warnings
from . import _sources
from .host.trial import Trial
from .options import Options
from .problems import PROBLEMS, Generator, Problem


class LinearGAN(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Linear generator ``G(z) = mean + Gamma z`` of latents ``z ~ N(0, I)``.

    It is fitted in closed form where the problem has one, else by iteration.

    Parameters
    ----------
    latent_dim : int, default 2
        Latent dimension k; may exceed the number of samples and of features.
    problem : str, default "pseudo_supervised"
        What is minimised; one of the problems of `fastgen.linear.sweep`: "unsupervised"
        (PCA), "pseudo_supervised", "ridge", "procrustes", "reduced_rank" (a multilayer linear
        generator of narrowest width ``rank``), "free_latents", "lexicographic", "penalized",
        "constrained".
    n_supervised : int, optional
        How many samples, the first ones, are paired with latents; all by default.
    ridge : float, default 0.1
        Penalty on ``||Gamma||^2`` in "ridge", at least 0.
    rank : int, optional
        Largest rank of the generator in "reduced_rank", which requires it.
    weight : float, default 10.0
        Weight of the pair error against the distance in "penalized", at least 0.
    tol : float, default 1e-9
        The iterative problems stop when a step gains no more than this share of their objective.
    max_iter : int, default 400
        Largest number of steps of an iterative problem.
    center : bool, default True
        Whether the mean of the data is subtracted, and added to what is generated.
    random_state : int, RandomState or None
        Seed of the latents where ``fit`` is given none, and of the start of iterative problems.
        With None they are drawn from the global random state of NumPy and move it, as in
        scikit-learn.

    Attributes
    ----------
    components_ : ndarray (latent_dim, n_features)
        The transpose of the generator ``Gamma``, as scikit-learn's `PCA` has it.
    mean_ : ndarray (n_features,)
        Mean of what is generated: that of the data, zeros unless ``center``.
    latents_ : ndarray (n_supervised, latent_dim)
        The latents of the paired samples.
    covariance_ : ndarray (n_features, n_features)
        Covariance of what is generated, ``Gamma Gamma^T``.
    converged_ : bool
        Whether an iterative problem reached ``tol``; True for closed forms.
    n_iter_ : int
        Steps taken, 1 for closed forms.
    n_features_in_ : int
        Number of features of the data.

    See Also
    --------
    fastgen.linear.sweep : all latent dimensions at once, much faster than a fit for each.

    Notes
    -----
    Pseudo-supervision is that of Luzi, Dar and Baraniuk, arXiv:2106.04003; see
    `fastgen.linear.sweep` for what is a reading of it. scikit-learn's ``check_estimator`` passes.

    Examples
    --------
    >>> from fastgen.linear import LinearGAN, SpikedGaussian
    >>> X = SpikedGaussian(dim=16, true_dim=4, random_state=0).sample(200, random_state=1)
    >>> gan = LinearGAN(latent_dim=4, problem="unsupervised").fit(X)
    >>> gan.components_.shape, gan.sample(3, random_state=0).shape
    ((4, 16), (3, 16))
    >>> gan.score(X) > LinearGAN(latent_dim=4, random_state=0).fit(X).score(X)
    True
    """

    def __init__(
        self,
        latent_dim: int = 2,
        problem: str = "pseudo_supervised",
        *,
        n_supervised: int | None = None,
        ridge: float = 0.1,
        rank: int | None = None,
        weight: float = 10.0,
        tol: float = 1e-9,
        max_iter: int = 400,
        center: bool = True,
        random_state: Any = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.problem = problem
        self.n_supervised = n_supervised
        self.ridge = ridge
        self.rank = rank
        self.weight = weight
        self.tol = tol
        self.max_iter = max_iter
        self.center = center
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, *, Z: Any = None) -> LinearGAN:
        """Fit the generator.

        Parameters
        ----------
        X : array (n_samples, n_features)
        y : array (n_supervised, latent_dim), optional
            The same as ``Z``, in scikit-learn's place for targets. Labels, which have one axis,
            are ignored, so that model selection may stratify by them.
        Z : array (n_supervised, latent_dim), optional
            Latents of the first ``n_supervised`` samples; drawn from N(0, I) once if not given.
            "unsupervised" takes none and ignores it.

        Returns
        -------
        LinearGAN
            The fitted estimator.

        Raises
        ------
        ValueError
            For an option out of its range, or X or Z that is not finite or of another shape.
        """
        problem, generate, options, n_supervised = self._options()
        rows = _validate.samples(X, "X")
        X = validate_data(self, rows, dtype=np.float64, ensure_min_samples=2)
        n_supervised = len(X) if n_supervised is None else n_supervised
        if n_supervised > len(X):
            raise ValueError(
                f"n_supervised must be at most the {len(X)} samples of X, got {n_supervised}"
            )
        rng = check_random_state(self.random_state)
        k = self.latent_dim
        paired = np.zeros((len(X), k))
        if problem.paired:
            if Z is None and y is not None and _arrays.to_numpy(y, "y").ndim != 1:
                Z = y
            if Z is None:
                Z = rng.standard_normal((n_supervised, k))
            paired[:n_supervised] = self._latents(Z, n_supervised)
        self.latents_ = paired[:n_supervised]
        self.mean_ = X.mean(axis=0) if self.center else np.zeros(X.shape[1])
        x = np.ascontiguousarray((X - self.mean_).T)
        if np.abs(x).max() <= 1e-14 * np.abs(X).max():  # rows that are equal but for rounding
            x[:] = 0.0
        else:
            _sources.check_size(float(np.abs(x).max()), "X")
        starts = rng.standard_normal((k, len(x)))
        trial = Trial(np.eye(len(x)), x, np.ascontiguousarray(paired.T), options, starts)
        found = generate(trial, n_supervised)
        gamma, self.converged_, self.n_iter_ = (
            found if isinstance(found, tuple) else (found, True, 1)
        )
        self.components_ = np.ascontiguousarray(gamma.T)
        self._n_features_out = k
        if not self.converged_:
            _warnings.warn(
                f"{self.problem} did not converge in max_iter={self.max_iter} steps; raise "
                "max_iter, or tol if a coarser generator will do",
                ConvergenceWarning,
            )
        return self

    def _options(
        self,
    ) -> tuple[Problem, Callable[[Trial, int], Generator], Options, int | None]:
        _validate.integer(self.latent_dim, "latent_dim")
        offered = {
            name: problem.generator for name, problem in PROBLEMS.items() if problem.generator
        }
        generate = offered[_validate.one_of(self.problem, "problem", tuple(offered))]
        problem = PROBLEMS[self.problem]
        options = Options(
            ridge=self.ridge,
            rank=self.rank,
            weight=self.weight,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        problem.check(options, f'problem="{self.problem}"')
        if self.n_supervised is not None:
            _validate.integer(self.n_supervised, "n_supervised")
        return problem, generate, options, self.n_supervised

    def _latents(self, Z: Any, n_supervised: int) -> np.ndarray:
        Z = _arrays.to_numpy(Z, "Z")
        if Z.shape != (n_supervised, self.latent_dim):
            raise ValueError(
                f"Z must be the latents of the paired samples, of shape (n_supervised, latent_dim)"
                f" = {(n_supervised, self.latent_dim)}, got shape {Z.shape}"
            )
        return _validate.data_matrix(Z, "Z", minimum_rows=1)

    @property
    def covariance_(self) -> np.ndarray:
        """Covariance of what is generated, of shape (n_features, n_features)."""
        check_is_fitted(self)
        return self.components_.T @ self.components_

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Generate samples.

        Parameters
        ----------
        n_samples : int, default 1
            Number of samples.
        random_state : int, Generator or None
            Seed of their latents.

        Returns
        -------
        ndarray (n_samples, n_features)
        """
        check_is_fitted(self)
        n_samples = _validate.integer(n_samples, "n_samples")
        rng = _random.generator(random_state)
        return self.inverse_transform(rng.standard_normal((n_samples, len(self.components_))))

    def transform(self, X: Any) -> np.ndarray:
        """Latents of the nearest points of the generator's range, the shortest where many do.

        Parameters
        ----------
        X : array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, latent_dim)
        """
        check_is_fitted(self)
        X = validate_data(self, _validate.samples(X, "X"), dtype=np.float64, reset=False)
        return (X - self.mean_) @ np.linalg.pinv(self.components_, rcond=1e-9)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Generate from given latents.

        Parameters
        ----------
        Z : array (n_samples, latent_dim)

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
        Z = _validate.data_matrix(Z, "Z", minimum_rows=1)
        k = len(self.components_)
        if Z.shape[1] != k:
            raise ValueError(f"Z must have latent_dim={k} columns, got {Z.shape[1]}")
        return Z @ self.components_ + self.mean_

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the squared 2-Wasserstein distance to the Gaussian with the moments of X.

        Parameters
        ----------
        X : array (n_samples, n_features)
        y : ignored

        Returns
        -------
        float
            At most 0, in squared units of the data; greater is better.
        """
        check_is_fitted(self)
        X = validate_data(self, _validate.samples(X, "X"), dtype=np.float64, reset=False)
        mean = X.mean(axis=0)
        factor = (X - mean) / np.sqrt(len(X))
        overlap = np.linalg.svd(factor @ self.components_.T, compute_uv=False).sum()
        spread = (factor**2).sum() + (self.components_**2).sum() - 2 * overlap
        return -float(((mean - self.mean_) ** 2).sum() + max(spread, 0.0))
