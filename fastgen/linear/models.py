"""Data models with a known covariance."""

from __future__ import annotations

import numpy as np

from .. import _validate

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
        ``Theta``.
    covariance_ : ndarray (dim, dim)

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

        Returns
        -------
        SpikedGaussian
        """
        self.check()
        fresh = SpikedGaussian(self.dim, self.true_dim, self.noise_variance)
        theta = np.random.default_rng(random_state).standard_normal((self.dim, self.true_dim))
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
        n_samples : int
        random_state : int, numpy.random.Generator, SeedSequence or None

        Returns
        -------
        ndarray (n_samples, dim)
        """
        n_samples = _validate.integer(n_samples, "n_samples")
        rng = np.random.default_rng(random_state)
        theta = self.loadings_
        signal = rng.standard_normal((n_samples, self.true_dim)) @ theta.T
        noise = rng.standard_normal((n_samples, self.dim))
        return signal + np.sqrt(self.noise_variance) * noise
