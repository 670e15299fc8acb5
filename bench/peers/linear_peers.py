"""The sweep of linear generators as it is done without fastgen.

Two peers compute the four metrics of :data:`METRICS` for the problems of :data:`PROBLEMS`, on
exactly the data that ``fastgen.linear.sweep`` draws for a trial: trial t has the seed's t-th child.

``Expert``
    A careful NumPy user: the truth's symmetric root and PCA once per trial, a pseudo-inverse per
    latent dimension, squared W2 by a nuclear norm.
``UsualScript``
    The same, but W2 as scripts for the Frechet distance have it: both covariances and
    ``scipy.linalg.sqrtm`` of their product.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg

from fastgen.linear import SpikedGaussian

METRICS = ("w2", "projection_error", "train_error", "gain")
PROBLEMS = ("unsupervised", "pseudo_supervised")
# A singular value below this share of the largest does not count to a range, as in fastgen.
RANK_TOLERANCE = 1e-9


class Trial(NamedTuple):
    """True covariance (d, d), data (d, n) and nested pseudo-latents (k_max, n)."""

    covariance: np.ndarray
    x: np.ndarray
    z: np.ndarray


@dataclasses.dataclass(frozen=True)
class PeerRun:
    """Values (metric, problem, latent_dim) of one trial and what each cell cost.

    ``setup_seconds`` is what the trial pays once (drawing included), ``seconds`` has the shape
    (problem, latent_dim).
    """

    values: np.ndarray
    setup_seconds: float
    seconds: np.ndarray

    def total_seconds(self, timed: Sequence[int], wanted: Sequence[int]) -> float:
        """Seconds for all latent dimensions ``wanted``, linear between those ``timed``."""
        per_k = [np.interp(wanted, timed, row).sum() for row in self.seconds]
        return self.setup_seconds + float(np.sum(per_k))


def draw_trial(
    model: SpikedGaussian, n_samples: int, k_max: int, random_state: int, index: int
) -> Trial:
    """Return what ``fastgen.linear.sweep`` uses in trial ``index``."""
    seed = np.random.SeedSequence(random_state).spawn(index + 1)[index]
    rng = np.random.default_rng(seed)
    drawn = model.draw(rng)
    x = np.ascontiguousarray(drawn.sample(n_samples, random_state=rng).T)
    z = rng.standard_normal((k_max, n_samples))
    return Trial(drawn.covariance_, x, z)


def symmetric_root(covariance: np.ndarray) -> np.ndarray:
    w, v = np.linalg.eigh(covariance)
    return (v * np.sqrt(np.clip(w, 0, None))) @ v.T


class Expert:
    """One trial in the hands of a careful NumPy user."""

    def __init__(self, trial: Trial) -> None:
        self.covariance, self.x, self.z = trial
        self.trace = np.trace(self.covariance)
        self.prepare_truth()
        n = self.x.shape[1]
        self.directions, s, _ = np.linalg.svd(self.x / np.sqrt(n), full_matrices=False)
        self.scales = s
        self.tail = np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0)

    def prepare_truth(self) -> None:
        self.root = symmetric_root(self.covariance)

    def unsupervised(self, k: int) -> tuple[float, float, float, float]:
        k = min(k, self.scales.size)
        generator = self.directions[:, :k] * self.scales[:k]
        return self.metrics(generator, self.tail[k])

    def pseudo_supervised(self, k: int) -> tuple[float, float, float, float]:
        z = self.z[:k]
        generator = self.x @ np.linalg.pinv(z)
        misfit = self.x - generator @ z
        return self.metrics(generator, (misfit**2).sum() / self.x.shape[1])

    def metrics(
        self, generator: np.ndarray, train_error: float
    ) -> tuple[float, float, float, float]:
        squares = (generator**2).sum()
        w2 = self.trace + squares - 2 * self.overlap(generator)
        u, s, _ = np.linalg.svd(generator, full_matrices=False)
        basis = u[:, s > RANK_TOLERANCE * s.max()]
        projection_error = self.trace - ((basis.T @ self.covariance) * basis.T).sum()
        return w2, projection_error, train_error, squares / self.trace

    def overlap(self, generator: np.ndarray) -> float:
        """Trace of the root of the product of the two covariances, by a nuclear norm."""
        return np.linalg.norm(self.root @ generator, "nuc")


class UsualScript(Expert):
    """One trial as scripts for the Frechet distance do it: ``sqrtm`` of a product."""

    def prepare_truth(self) -> None:
        """Nothing: the script hands the covariance itself to ``sqrtm``."""

    def overlap(self, generator: np.ndarray) -> float:
        generated = generator @ generator.T
        root = scipy.linalg.sqrtm(self.covariance @ generated)
        if not np.isfinite(root).all():
            offset = 1e-6 * np.eye(len(generated))
            root = scipy.linalg.sqrtm((self.covariance + offset) @ (generated + offset))
        return np.trace(np.real(root))


def run(
    peer: type[Expert],
    model: SpikedGaussian,
    *,
    latent_dims: Sequence[int],
    n_samples: int,
    k_max: int,
    random_state: int,
    index: int,
) -> PeerRun:
    """Trial ``index`` by ``peer``, each cell timed; ``k_max`` is that of the whole sweep."""
    values = np.empty((len(METRICS), len(PROBLEMS), len(latent_dims)))
    seconds = np.empty(values.shape[1:])
    start = time.perf_counter()
    user = peer(draw_trial(model, n_samples, k_max, random_state, index))
    setup = time.perf_counter() - start
    with warnings.catch_warnings():
        # sqrtm warns of every singular product, and here most are; the scripts silence it too
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
        for j, k in enumerate(latent_dims):
            for i, problem in enumerate(PROBLEMS):
                start = time.perf_counter()
                values[:, i, j] = getattr(user, problem)(k)
                seconds[i, j] = time.perf_counter() - start
    return PeerRun(values, setup, seconds)
