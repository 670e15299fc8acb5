"""The latent law that an embedding gives a generator."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays, _random, _validate


class LatentMixture:
    """Equal mixture of narrow Gaussians about the points of an embedding.

    Parameters
    ----------
    embedding : BourgainEmbedding that is fitted, or array (n, k)
        Centers of the Gaussians. An array is copied.
    noise : float, default 0.01
        Standard deviation of every coordinate about its center.

    Attributes
    ----------
    centers : ndarray (n, k), float64
    noise : float
    latent_dim : int
        k.

    Raises
    ------
    ValueError, TypeError
        If the centers are not finite or not a matrix, or ``noise`` is negative.
    sklearn.exceptions.NotFittedError
        If the embedding has not been fitted.

    Notes
    -----
    The sampler of BourGAN (Xiao, Zhong and Zheng, NeurIPS 2018, section 4); 0.01 is the value of
    the authors' code. An object of this class is a ``prior`` of `fastgen.goof.nearest`.

    Examples
    --------
    >>> from fastgen.modes import LatentMixture
    >>> latents = LatentMixture([[0.0, 0.0], [5.0, 5.0]], noise=0.1)
    >>> latents.sample(3, random_state=0).round(1).tolist()
    [[5.1, 5.0], [4.9, 5.0], [5.1, 5.1]]
    """

    def __init__(self, embedding: Any, *, noise: float = 0.01) -> None:
        from sklearn.base import BaseEstimator
        from sklearn.utils.validation import check_is_fitted

        if isinstance(embedding, BaseEstimator):
            check_is_fitted(embedding, "embedding_")
            embedding = embedding.embedding_
        centers = _validate.data_matrix(
            _arrays.to_host(embedding, "embedding"), "embedding", minimum_rows=1
        )
        self.centers = centers.copy()
        self.noise = _validate.number(noise, "noise")

    @property
    def latent_dim(self) -> int:
        """Number of coordinates of a latent."""
        return self.centers.shape[1]

    def sample(self, n: int, random_state: Any = None) -> np.ndarray:
        """Draw latents: a center with replacement, and noise.

        Parameters
        ----------
        n : int
        random_state : int, numpy.random.Generator, RandomState or None
            A generator goes on from where it stands.

        Returns
        -------
        ndarray (n, k), float64
        """
        count = _validate.integer(n, "n", minimum=0)
        rng = _random.generator(random_state)
        picked = self.centers[rng.integers(len(self.centers), size=count)]
        return picked + self.noise * rng.standard_normal(picked.shape)

    def __call__(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``count`` latents from ``rng``, as a ``prior`` is asked to."""
        return self.sample(count, rng)

    def __repr__(self) -> str:
        n, k = self.centers.shape
        return f"LatentMixture({n} centers in {k} dimensions, noise {self.noise:g})"
