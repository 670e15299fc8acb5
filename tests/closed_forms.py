"""Problems whose answer is known in closed form, as generators of tests. NumPy only.

All are aligned: the truth is ``U diag(mu) U^T``, the data ``X = U diag(s) Q^T`` and the latents
``Z = diag(c) Q^T`` in the same orthogonal U (d x d) and Q (n x n), with d = n and s descending, so
that everything reduces to one number per direction. The gauge is free: U and Q are random.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass
class Aligned:
    """An aligned problem: ``factor.T @ factor`` is the truth; x (d, n), z (n, n)."""

    factor: np.ndarray
    x: np.ndarray
    z: np.ndarray
    mu: np.ndarray
    s: np.ndarray
    c: np.ndarray

    @property
    def n(self):
        return len(self.s)

    def metrics(self, generated, k_range, k_train):
        """Metrics of a generator whose covariance is ``U diag(generated**2) U^T``.

        Gaussians with commuting covariances are at squared distance sum (sqrt a - sqrt b)^2
        (Dowson and Landau 1982, eq. 16).
        """
        return {
            "w2": ((generated - np.sqrt(self.mu)) ** 2).sum(),
            "projection_error": self.mu[~k_range].sum(),
            "train_error": k_train / self.n,
            "gain": (generated**2).sum() / self.mu.sum(),
        }

    def _first(self, k):
        return np.arange(self.n) < k

    def unsupervised(self, k):
        """PCA: the top k standard deviations of the data, the rest of the spectrum lost."""
        kept = self._first(k)
        return self.metrics(
            np.where(kept, self.s / np.sqrt(self.n), 0), kept, (self.s[~kept] ** 2).sum()
        )

    def pseudo_supervised(self, k):
        """X pinv(Z_k) divides every direction by its latent scale."""
        kept = self._first(k)
        return self.metrics(np.where(kept, self.s / self.c, 0), kept, (self.s[~kept] ** 2).sum())

    # with every sample paired nothing is left to choose
    lexicographic = constrained = pseudo_supervised

    def free_latents(self, k):
        """Every sample paired: the objective over n is the pair error."""
        return self.pseudo_supervised(k)

    def penalized(self, k, weight):
        """A weighted mean of what the pairs and what the sample covariance want."""
        kept = self._first(k)
        scale = (weight * self.s * self.c / self.n + self.s / np.sqrt(self.n)) / (
            weight * self.c**2 / self.n + 1
        )
        missed = np.where(kept, self.s - scale * self.c, self.s)
        return self.metrics(np.where(kept, scale, 0), kept, (missed**2).sum())

    def ridge(self, k, ridge):
        """s c / (c^2 + rho) in every direction, rho = ridge n."""
        kept = self._first(k)
        rho = ridge * self.n
        missed = np.where(kept, rho / (self.c**2 + rho), 1) * self.s
        return self.metrics(
            np.where(kept, self.s * self.c / (self.c**2 + rho), 0), kept, (missed**2).sum()
        )

    def procrustes(self, k):
        """Unit scale in every direction."""
        kept = self._first(k)
        missed = np.where(kept, self.s - self.c, self.s)
        return self.metrics(np.where(kept, 1.0, 0.0), kept, (missed**2).sum())

    def reduced_rank(self, k, rank):
        """The top directions of the data among the first k."""
        kept = self._first(min(k, rank))
        return self.metrics(np.where(kept, self.s / self.c, 0), kept, (self.s[~kept] ** 2).sum())


def aligned(n, seed):
    """Return a random aligned problem of dimension n."""
    rng = np.random.default_rng(seed)
    u, q = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    mu = rng.uniform(0.1, 3.0, n)
    s = np.sort(rng.uniform(0.5, 5.0, n))[::-1]
    c = rng.uniform(0.3, 3.0, n)
    return Aligned(np.sqrt(mu)[:, None] * u.T, (u * s) @ q.T, c[:, None] * q.T, mu, s, c)
