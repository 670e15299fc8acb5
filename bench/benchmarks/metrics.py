"""Distances of Gaussians and Gaussian mixtures."""

from __future__ import annotations

import numpy as np

from fastgen.metrics import CovarianceFactor, dist_bures_squared, frechet_distance, mw2

from .common import REPOSITORY, OneThread, agree, load

SEED = 11
# (components on each side, dimension, samples per component)
SIZES = [(20, 32, 96), (8, 128, 64), (3, 256, 512)]
TOLERANCE = 1e-9


def sides(k: int, d: int, n: int):
    """Two mixtures (weights, means, covariances), and the factors of the covariances."""
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(2):
        factors = rng.standard_normal((k, d, n)) / np.sqrt(n)
        means = 0.3 * rng.standard_normal((k, d))
        weights = rng.dirichlet(np.full(k, 5.0))
        found.append((weights, means, factors @ factors.transpose(0, 2, 1), factors))
    return found


class Pairs(OneThread):
    """All pairs of components, from covariances and from samples."""

    param_names = ("k_d_n",)
    params = (SIZES,)

    def setup(self, size: tuple[int, int, int]) -> None:
        super().setup(size)
        (_, m, c, f), (_, k, e, g) = sides(*size)
        self.full = m, k, c, e
        self.factors = m, k, [CovarianceFactor(x) for x in f], [CovarianceFactor(x) for x in g]
        naive = load(REPOSITORY / "tests" / "oracles" / "bures.py")
        want = naive.bures_factors(f[0], g[0]) + ((m[0] - k[0]) ** 2).sum()
        for given in (self.full, self.factors):
            agree(abs(dist_bures_squared(*given)[0, 0] / want - 1), TOLERANCE, "dist_bures_squared")

    def time_full(self, size: tuple[int, int, int]) -> None:
        dist_bures_squared(*self.full)

    def time_factors(self, size: tuple[int, int, int]) -> None:
        dist_bures_squared(*self.factors)


class Mixtures(OneThread):
    param_names = ("k_d_n", "method")
    params = ([(20, 32, 96), (30, 64, 256)], ["dense", "lazy"])

    def setup(self, size: tuple[int, int, int], method: str) -> None:
        super().setup(size, method)
        self.mixtures = [side[:3] for side in sides(*size)]
        dense, lazy = (mw2(*self.mixtures, method=m).squared_distance for m in ("dense", "lazy"))
        agree(abs(lazy / dense - 1), TOLERANCE, "lazy mw2")

    def time_mw2(self, size: tuple[int, int, int], method: str) -> None:
        mw2(*self.mixtures, method=method)


class Frechet(OneThread):
    param_names = ("d_n",)
    params = ([(512, 250), (512, 2000)],)

    def setup(self, size: tuple[int, int]) -> None:
        super().setup(size)
        (_, m, c, f), (_, k, e, g) = sides(1, *size)
        self.moments = m[0], c[0], k[0], e[0]
        naive = load(REPOSITORY / "tests" / "oracles" / "bures.py")
        want = naive.bures_factors(f[0], g[0]) + ((m[0] - k[0]) ** 2).sum()
        agree(abs(frechet_distance(*self.moments) / want - 1), TOLERANCE, "frechet_distance")

    def time_frechet_distance(self, size: tuple[int, int]) -> None:
        frechet_distance(*self.moments)


class RootTraces(OneThread):
    """Sum of the square roots of eigenvalues: from a band, and from the eigenvalues."""

    param_names = ("n",)
    params = ([256, 1024],)

    def setup(self, n: int) -> None:
        super().setup(n)
        from fastgen._dispatch.nuclear import root_trace

        self.root_trace = root_trace
        x = np.random.default_rng(SEED).standard_normal((n, 2 * n))
        self.gram = np.asfortranarray(x @ x.T)
        self.time_band(n)
        total = root_trace(self.gram.copy(order="F"))[0]
        agree(abs(total / self.time_eigenvalues(n) - 1), TOLERANCE, "root_trace")

    def time_band(self, n: int) -> None:
        self.root_trace(self.gram.copy(order="F"))

    def time_eigenvalues(self, n: int) -> float:
        return float(np.sqrt(np.linalg.eigvalsh(self.gram)).sum())
