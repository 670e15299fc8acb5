"""Gaussian mixtures over a fixed number of iterations, and nonparametric ones."""

from __future__ import annotations

import warnings

import numpy as np

from fastgen.mixture import GaussianMixture, NonparametricMixture

from .common import REPOSITORY, OneThread, agree, load

SEED = 5
N_ITER = 5
# (rows, dimension, components, covariances): 48 columns are one strip of the E-step. Each case
# is a process of its own, which takes longer to start than to measure.
CASES = [
    (20_000, 16, 8, "full"),
    (5000, 128, 5, "full"),
    (5000, 64, 10, "tied"),
    (5000, 64, 10, "diag"),
]
TOLERANCE = 1e-9


def modes(n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of overlapping Gaussians, and a start: some rows as means."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((k, d)) * 2 / d**0.5
    rows = centres[rng.integers(k, size=n)]
    scale = np.arange(1, d + 1) ** -0.25
    return rows + rng.standard_normal((n, d)) * scale, rows[:k] + rng.standard_normal((k, d)) * 0.1


def quietly(work):
    """Run what is meant to stop before it converges."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work()


class Gaussian(OneThread):
    """``N_ITER`` iterations of EM from one start, whether they settle or not."""

    param_names = ("n_d_k_type",)
    params = (CASES,)

    def setup(self, case: tuple[int, int, int, str]) -> None:
        super().setup(case)
        n, d, k, kind = case
        self.rows, means = modes(n, d, k)
        one = {"full": np.tile(np.eye(d), (k, 1, 1)), "tied": np.eye(d), "diag": np.ones((k, d))}
        weights = np.full(k, 1 / k)
        self.model = GaussianMixture(
            k,
            covariance_type=kind,
            tol=0.0,
            max_iter=N_ITER,
            weights_init=weights,
            means_init=means,
            precisions_init=one[kind],
        )
        naive = load(REPOSITORY / "tests" / "oracles" / "em.py")
        few = self.rows[:: max(n // 1000, 1)]
        found = quietly(lambda: self.model.fit(few))
        bounds, expected = naive.fit(few, (weights, means, one[kind]), kind, 1e-6, N_ITER)
        agree(
            max(
                np.abs(np.divide(found.lower_bounds_, bounds) - 1).max(),
                np.abs(found.means_ - expected[1]).max(),
                np.abs(found.covariances_ - expected[2]).max(),
            ),
            TOLERANCE,
            f"GaussianMixture {kind}",
        )

    def time_fit(self, case: tuple[int, int, int, str]) -> None:
        quietly(lambda: self.model.fit(self.rows))


class Nonparametric(OneThread):
    """``N_ITER`` iterations of npMSL from given posteriors, each column a block."""

    param_names = ("n_d_k",)
    params = ([(10_000, 8, 3), (50_000, 3, 2)],)

    def setup(self, size: tuple[int, int, int]) -> None:
        super().setup(size)
        n, d, k = size
        self.rows = modes(n, d, k)[0]
        start = np.random.default_rng(SEED).dirichlet(np.ones(k), size=n)
        self.model = NonparametricMixture(k, bandwidth=0.3, init=start, max_iter=N_ITER, tol=0.0)
        naive = load(REPOSITORY / "tests" / "oracles" / "smoothing.py")
        few, first = self.rows[:400], start[:400]
        small = NonparametricMixture(k, bandwidth=0.3, init=first, max_iter=N_ITER, tol=0.0)
        found = quietly(lambda: small.fit(few))
        _, bounds, posteriors = naive.npmsl(few, first, np.arange(d), 0.3, max_iter=N_ITER, tol=0.0)
        agree(
            max(
                np.abs(found.objective_ / bounds - 1).max(),
                np.abs(found.posteriors_ - posteriors).max(),
            ),
            TOLERANCE,
            "NonparametricMixture",
        )

    def time_fit(self, size: tuple[int, int, int]) -> None:
        quietly(lambda: self.model.fit(self.rows))
