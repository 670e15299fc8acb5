"""Where the data of a trial come from: a model with a known covariance, or the rows of an array."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
from typing import Any

import numpy as np

from .. import _arrays, _validate
from .models import GaussianData, SpikedGaussian

# Eighth powers of data of these sizes, which iterations form, are neither zero nor infinite.
_SMALLEST, _LARGEST = 1e-30, 1e30
COVARIANCE = (
    "data must be samples, a row each, but the {0} x {0} matrix is symmetric and positive "
    "semidefinite, as a covariance is; pass fastgen.linear.GaussianData(data)"
)


class ModelSource:
    """Trials from a model with ``covariance_`` and ``sample(n_samples, random_state)``."""

    def __init__(self, model: Any) -> None:
        if not hasattr(model, "sample") or not hasattr(type(model), "draw"):
            self._check(model)
        elif isinstance(model, SpikedGaussian):
            model.check()
        self.model = model

    @staticmethod
    def _check(model: Any) -> None:
        if not hasattr(model, "covariance_") or not callable(getattr(model, "sample", None)):
            raise TypeError(
                "data must be None, an array (n_rows, n_features), or a model with .covariance_ "
                f"and .sample(n_samples, random_state); got {type(model).__name__}"
            )
        if "random_state" not in inspect.signature(model.sample).parameters:
            raise TypeError(
                f"{type(model).__name__}.sample must accept random_state=, or the sweep could not "
                "be repeated; wrap it in a function that does"
            )
        covariance = np.asarray(model.covariance_)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ValueError(
                f"data.covariance_ must be a square matrix, got shape {covariance.shape}"
            )
        if not np.isfinite(covariance).all():
            raise ValueError("data.covariance_ must be finite, got NaN or infinity")
        if not np.trace(covariance) > 0:
            raise ValueError("data.covariance_ must have a positive trace, got constant data")
        check_size(float(np.sqrt(np.trace(covariance))), "data")

    @property
    def dim(self) -> int:
        """Dimension d of the data."""
        if isinstance(self.model, SpikedGaussian):
            return self.model.dim
        return len(np.asarray(self.model.covariance_))

    def check_samples(self, n_samples: int) -> None:
        """Any number of samples can be drawn."""

    def describe(self) -> str:
        """Model and covariance, by which a store knows the data."""
        if isinstance(self.model, SpikedGaussian):
            return repr(self.model)
        covariance = np.ascontiguousarray(self.model.covariance_, dtype=np.float64)
        return f"{type(self.model).__name__} covariance sha256:{_digest(covariance)}"

    @property
    def described(self) -> bool:
        """Whether `describe` tells all: the law of other models is in their code."""
        return type(self.model) in (SpikedGaussian, GaussianData)

    @functools.cached_property
    def _fixed_factor(self) -> np.ndarray:
        w, v = np.linalg.eigh(np.asarray(self.model.covariance_, dtype=np.float64))
        keep = w > max(w.size, 10) * np.finfo(np.float64).eps * w[-1]
        return (v[:, keep] * np.sqrt(w[keep])).T

    def draw(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a factor C (q, d) of the truth and data X (d, n_samples)."""
        model = self.model.draw(rng) if hasattr(self.model, "draw") else self.model
        factor = getattr(model, "covariance_factor_", None)
        if factor is None:
            factor = self._fixed_factor
        x = model.sample(n_samples, random_state=rng)
        x = np.asarray(x[0] if isinstance(x, tuple) else x, dtype=np.float64)
        mean = getattr(model, "mean_", None)
        return factor, np.ascontiguousarray((x if mean is None else x - mean).T)


class ArraySource:
    """Trials from the rows of an array, split at random into a training pool and a population."""

    described = True

    def __init__(self, data: Any, population_fraction: float) -> None:
        rows = _validate.data_matrix(data, "data", minimum_rows=4)
        check_fraction(population_fraction)
        if (rows == rows[0]).all():
            raise ValueError(
                f"data must vary, got {len(rows)} identical rows: the covariance is zero"
            )
        check_size(float(np.ptp(rows, axis=0).max()), "data")
        if is_covariance(rows, np):
            raise ValueError(COVARIANCE.format(len(rows)))
        self._split(rows, population_fraction)

    def _split(self, rows: Any, population_fraction: float) -> None:
        """Keep the rows, and how many of them each trial makes its population."""
        self.rows = rows
        self.n_rows, self.dim = rows.shape
        population = round(population_fraction * self.n_rows)
        self.n_population = min(max(population, 2), self.n_rows - 2)

    def detached(self) -> tuple[ArraySource, np.ndarray]:
        """Return a copy without the rows, and the rows: schedulers ship a bare array once."""
        light = copy.copy(self)
        light.rows = None
        return light, self.rows

    def attached(self, rows: np.ndarray) -> ArraySource:
        """Return a copy with the rows."""
        whole = copy.copy(self)
        whole.rows = rows
        return whole

    def check_samples(self, n_samples: int) -> None:
        """Raise ValueError if the training pool holds fewer samples."""
        pool = self.n_rows - self.n_population
        if n_samples > pool:
            raise ValueError(
                f"n_samples must be at most {pool}, the training pool of {self.n_rows} rows "
                f"({self.n_population} are kept as the population), got {n_samples}; lower "
                "n_samples or population_fraction"
            )

    def describe(self) -> str:
        """Shape and digest, by which a store knows the data."""
        return f"array {self.rows.shape} sha256:{_digest(self.rows)}"

    def draw(self, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a factor C (q, d) of the population covariance and data X (d, n_samples)."""
        order = rng.permutation(len(self.rows))
        population = self.rows[order[: self.n_population]]
        mean = population.mean(axis=0)
        factor = (population - mean) / np.sqrt(len(population))
        if factor.shape[0] > factor.shape[1]:
            factor = np.linalg.qr(factor, mode="r")
        if not factor.any():
            raise ValueError(
                "the population part of data is constant in this split; raise population_fraction"
            )
        chosen = order[self.n_population : self.n_population + n_samples]
        return factor, np.ascontiguousarray((self.rows[chosen] - mean).T)


def check_size(spread: float, name: str) -> None:
    """Raise ValueError if powers of the data that the problems take would not be finite."""
    if not _SMALLEST <= spread <= _LARGEST:
        raise ValueError(
            f"{name} must vary by {_SMALLEST:g} to {_LARGEST:g}, got {spread:.3g}, of which "
            "high powers are no numbers; divide by a constant"
        )


def is_covariance(rows: Any, xp: Any) -> bool:
    """Whether an array is square, symmetric and positive semidefinite with a positive diagonal."""
    if rows.shape[0] != rows.shape[1]:
        return False
    if not float(abs(rows - rows.T).max()) <= 1e-12 * float(abs(rows).max()):
        return False
    if not bool(xp.diagonal(rows).min() > 0):
        return False
    values = xp.linalg.eigvalsh(rows)
    return bool(values[0] >= -1e-10 * values[-1])


def check_fraction(population_fraction: float) -> None:
    """Raise ValueError unless both parts of a split may hold rows."""
    if not 0 < population_fraction < 1:
        raise ValueError(f"population_fraction must lie between 0 and 1, got {population_fraction}")


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:32]


def make_source(data: Any, population_fraction: float) -> ModelSource | ArraySource:
    """Return the source that fits ``data``."""
    if data is None:
        return ModelSource(SpikedGaussian())
    if not isinstance(data, list | tuple) and not _arrays.is_array(data):
        return ModelSource(data)
    return ArraySource(_arrays.to_host(data, "data"), population_fraction)
