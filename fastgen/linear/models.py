"""Data models with a known covariance."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _random, _validate

RandomState = int | np.random.Generator | np.random.SeedSequence | None


class SpikedGaussian:
    r"""Zero-mean Gaussian data on a low-dimensional subspace plus isotropic noise.

    ``x = Theta z + eps`` with ``z ~ N(0, I)``, ``Theta_ij ~ N(0, 1 / true_dim)`` and
    ``eps ~ N(0, noise_variance I)``, so the covariance is
    ``Theta Theta^T + noise_variance I``. It is the data of linear double-descent studies such as
    Luzi, Dar and Baraniuk, "Double Descent and Other Interpolation Phenomena in GANs",
    arXiv:2106.04003; the dimensions and the noise are this package's choice, not the paper's.

    Parameters
    ----------
    dim : int, default 64
        Data dimension d.
    true_dim : int, default 20
        Dimension m of the signal subspace.
    noise_variance : float, default 0.1
        Variance of the noise in every coordinate, at least 0.
    random_state : int, numpy.random.Generator, SeedSequence or None
        Fixes ``Theta``, which is drawn when first needed. `fastgen.linear.sweep` draws a
        fresh ``Theta`` in every trial (`draw`).

    Attributes
    ----------
    loadings_ : ndarray (dim, true_dim)
        The signal's ``Theta``.
    covariance_ : ndarray (dim, dim)
        The true covariance.

    Examples
    --------
    >>> from fastgen.linear import SpikedGaussian
    >>> model = SpikedGaussian(dim=5, true_dim=2, random_state=0)
    >>> model.sample(3, random_state=1).shape
    (3, 5)
    >>> model.covariance_.shape
    (5, 5)
    """

    def __init__(
        self,
        dim: int = 64,
        true_dim: int = 20,
        noise_variance: float = 0.1,
        *,
        random_state: RandomState = None,
    ) -> None:
        self.dim = dim
        self.true_dim = true_dim
        self.noise_variance = noise_variance
        self.random_state = random_state
        self._loadings: np.ndarray | None = None

    def __repr__(self) -> str:
        return (
            f"SpikedGaussian(dim={self.dim}, true_dim={self.true_dim}, "
            f"noise_variance={self.noise_variance})"
        )

    def check(self) -> None:
        """Raise TypeError or ValueError for a parameter out of its range."""
        _validate.integer(self.dim, "dim")
        _validate.integer(self.true_dim, "true_dim")
        _validate.number(self.noise_variance, "noise_variance")

    def draw(self, random_state: RandomState = None) -> SpikedGaussian:
        """Return the same model with ``Theta`` drawn afresh.

        Parameters
        ----------
        random_state : int, numpy.random.Generator, SeedSequence or None
            Seed of ``Theta``.

        Returns
        -------
        SpikedGaussian
        """
        self.check()
        fresh = SpikedGaussian(self.dim, self.true_dim, self.noise_variance)
        theta = _random.generator(random_state).standard_normal((self.dim, self.true_dim))
        fresh._loadings = theta / np.sqrt(self.true_dim)
        return fresh

    @property
    def loadings_(self) -> np.ndarray:
        """``Theta``, of shape (dim, true_dim)."""
        if self._loadings is None:
            self._loadings = self.draw(self.random_state).loadings_
        return self._loadings

    @property
    def covariance_(self) -> np.ndarray:
        """The true covariance, of shape (dim, dim)."""
        return self.loadings_ @ self.loadings_.T + self.noise_variance * np.eye(self.dim)

    @property
    def covariance_factor_(self) -> np.ndarray:
        """A matrix C of shape (q, dim) with ``C.T @ C`` the covariance, exact in the low rank."""
        if self.noise_variance == 0:
            return self.loadings_.T
        return np.vstack([self.loadings_.T, np.sqrt(self.noise_variance) * np.eye(self.dim)])

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw samples.

        Parameters
        ----------
        n_samples : int, default 1
            Number of samples.
        random_state : int, numpy.random.Generator, SeedSequence or None
            Seed of the samples.

        Returns
        -------
        ndarray (n_samples, dim)
        """
        n_samples = _validate.integer(n_samples, "n_samples")
        rng = _random.generator(random_state)
        theta = self.loadings_
        signal = rng.standard_normal((n_samples, self.true_dim)) @ theta.T
        noise = rng.standard_normal((n_samples, self.dim))
        return signal + np.sqrt(self.noise_variance) * noise


class GaussianData:
    """Gaussian data with a given covariance.

    Parameters
    ----------
    covariance : array (dim, dim), or object that holds one
        Symmetric and positive semidefinite. A fitted estimator of scikit-learn with
        ``covariance_``, such as ``EmpiricalCovariance`` or ``LedoitWolf``, and a frozen
        ``scipy.stats.multivariate_normal`` are taken with their means.
    mean : array (dim,), optional
        Mean of the samples; zero, or that of the object, if not given.

    Attributes
    ----------
    covariance_ : ndarray (dim, dim)
        The covariance.
    mean_ : ndarray (dim,)
        The mean; `fastgen.linear.sweep` subtracts it.
    covariance_factor_ : ndarray (rank, dim)
        A matrix C with ``C.T @ C`` the covariance.

    Raises
    ------
    TypeError
        If the covariance is not numeric.
    ValueError
        If it is not square, symmetric, finite and positive semidefinite, or the mean has another
        length.

    See Also
    --------
    power_law : a covariance whose eigenvalues fall as a power.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.linear import GaussianData, sweep
    >>> model = GaussianData(np.diag([4.0, 1.0, 0.25]), mean=[1.0, 0.0, 0.0])
    >>> model.sample(2, random_state=0).shape
    (2, 3)
    >>> result = sweep(model, latent_dims=[1, 2, 3], n_samples=200, n_trials=5, random_state=0)
    >>> result.w2.sel(problem="unsupervised").median("trial").values.argmin()
    np.int64(2)
    """

    def __init__(self, covariance: Any, mean: Any = None) -> None:
        if hasattr(covariance, "covariance_"):
            own = getattr(covariance, "mean_", getattr(covariance, "location_", None))
            covariance, mean = covariance.covariance_, own if mean is None else mean
        elif hasattr(covariance, "cov") and hasattr(covariance, "mean"):
            own = covariance.mean() if callable(covariance.mean) else covariance.mean
            covariance, mean = covariance.cov, own if mean is None else mean
        matrix = _validate.data_matrix(covariance, "covariance", minimum_rows=1)
        if matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"covariance must be a square matrix, got shape {matrix.shape}")
        largest = np.abs(matrix).max()
        if not np.abs(matrix - matrix.T).max() <= 1e-8 * largest:
            raise ValueError(
                "covariance must be symmetric, got entries that differ from those across the "
                f"diagonal by up to {np.abs(matrix - matrix.T).max():.3g}"
            )
        matrix = (matrix + matrix.T) / 2
        values, vectors = np.linalg.eigh(matrix)
        if values[0] < -1e-8 * largest:
            raise ValueError(
                f"covariance must be positive semidefinite, got the eigenvalue {values[0]:.3g}"
            )
        keep = values > max(values.size, 10) * np.finfo(np.float64).eps * values[-1]
        self.covariance_ = matrix
        self.covariance_factor_ = (vectors[:, keep] * np.sqrt(values[keep])).T
        self.mean_ = np.zeros(len(matrix)) if mean is None else np.asarray(mean, dtype=np.float64)
        if self.mean_.shape != (len(matrix),) or not np.isfinite(self.mean_).all():
            raise ValueError(
                f"mean must be finite and of shape ({len(matrix)},), as the covariance, got "
                f"shape {self.mean_.shape}"
            )

    def __repr__(self) -> str:
        return f"GaussianData(dim={len(self.mean_)})"

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw samples.

        Parameters
        ----------
        n_samples : int, default 1
            Number of samples.
        random_state : int, numpy.random.Generator, SeedSequence or None
            Seed of the samples.

        Returns
        -------
        ndarray (n_samples, dim)
        """
        n_samples = _validate.integer(n_samples, "n_samples")
        z = _random.generator(random_state).standard_normal(
            (n_samples, len(self.covariance_factor_))
        )
        return z @ self.covariance_factor_ + self.mean_


def power_law(dim: int, exponent: float) -> GaussianData:
    """Return Gaussian data whose covariance has eigenvalues ``i ** -exponent``, i = 1 .. dim.

    Parameters
    ----------
    dim : int
        Data dimension.
    exponent : float
        How fast the eigenvalues fall, at least 0; those of natural images fall with about 1 to 2.

    Returns
    -------
    GaussianData
        A model with mean zero and the coordinates as principal axes.

    Raises
    ------
    TypeError, ValueError
        If ``dim`` is no positive integer, or ``exponent`` negative or not finite.

    Examples
    --------
    >>> from fastgen.linear import power_law
    >>> power_law(3, 2.0).covariance_.diagonal().round(3)
    array([1.   , 0.25 , 0.111])
    """
    dim = _validate.integer(dim, "dim")
    exponent = _validate.number(exponent, "exponent")
    return GaussianData(np.diag(np.arange(1.0, dim + 1) ** -exponent))
