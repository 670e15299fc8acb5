"""Mean and covariance of features that arrive in batches or are spread over machines."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from .. import _validate
from .._files import read_npz, write_npz
from .covariances import ROUNDING, center, full, real_array, scatter


class FeatureStatistics:
    """Mean and covariance of features, from batches in any order and from any number of parts.

    Sums of squares are taken about the mean so far (Chan, Golub and LeVeque, "Algorithms for
    computing the sample variance", Amer. Statist. 37, 1983), in float64, so that a large mean costs
    no digits. Memory is d^2 numbers, whatever the number of samples.

    Attributes
    ----------
    n_samples : int or None
        None if read from a file that does not tell.
    mean : array (d,)
    covariance : array (d, d)
        Divided by ``n_samples - 1``, as FID tools do.
    features : str or None
        What the features are, such as "inception", if known; files keep it, and statistics of two
        kinds are neither merged nor compared.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import FeatureStatistics
    >>> X = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]])
    >>> parts = FeatureStatistics().update(X[:1]).merge(FeatureStatistics().update(X[1:]))
    >>> parts.n_samples, parts.mean, parts.covariance
    (3, array([2., 4.]), array([[ 4.,  7.], [ 7., 13.]]))
    """

    def __init__(self) -> None:
        self.n_samples: int | None = 0
        self._mean: np.ndarray | None = None
        self._scatter: np.ndarray | None = None  # the covariance itself where n_samples is None
        self.features: str | None = None

    def __repr__(self) -> str:
        return f"FeatureStatistics(n_samples={self.n_samples}, n_features={self.n_features})"

    @property
    def n_features(self) -> int | None:
        """Dimension d of the features; None before the first batch."""
        return None if self._mean is None else len(self._mean)

    @property
    def mean(self) -> np.ndarray:
        """Mean (d,)."""
        return self._moments(1, "a mean")[0]

    @property
    def covariance(self) -> np.ndarray:
        """Covariance (d, d), divided by ``n_samples - 1``."""
        scatter = self._moments(2, "a covariance")[1]
        return scatter if self.n_samples is None else scatter / (self.n_samples - 1)

    def _moments(self, n: int, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scatter, or an error where ``what`` needs more samples."""
        few = self.n_samples is not None and self.n_samples < n
        if few or self._mean is None or self._scatter is None:
            raise ValueError(
                f"{what} needs at least {n} sample{'s' if n > 1 else ''}, got {self.n_samples}; "
                "call update with a batch of features first"
            )
        return self._mean, self._scatter

    def update(self, batch: Any) -> FeatureStatistics:
        """Add a batch.

        Parameters
        ----------
        batch : array (n, d)
            NumPy, torch or CuPy; at least one row.

        Returns
        -------
        FeatureStatistics
            This object.

        Raises
        ------
        TypeError, ValueError
            If the batch is not a finite numeric matrix of the dimension so far; then nothing
            changes.
        """
        rows = _validate.data_matrix(batch, "batch", minimum_rows=1)
        mean, centered = center(rows)
        return self._add(len(rows), mean, scatter(centered), "batch")

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """Add the samples of another object, which stays as it is.

        Parameters
        ----------
        other : FeatureStatistics
            Statistics of the same dimension, or empty ones.

        Returns
        -------
        FeatureStatistics
            This object.

        Raises
        ------
        TypeError, ValueError
            If ``other`` is no FeatureStatistics, of another dimension, or of an unknown number of
            samples.
        """
        if not isinstance(other, FeatureStatistics):
            raise TypeError(f"other must be a FeatureStatistics, got {type(other).__name__}")
        if other.n_samples == 0:
            return self
        self.check_kind(other, "self", "other")
        return self._add(other.n_samples, *other._moments(1, "a merge"), "other")

    def check_kind(self, other: FeatureStatistics, mine: str, theirs: str) -> None:
        """Raise ValueError if two statistics are known to be of different features.

        Parameters
        ----------
        other : FeatureStatistics
        mine, theirs : str
            What they are called in the message.
        """
        if None not in (self.features, other.features) and self.features != other.features:
            raise ValueError(
                f"{mine} and {theirs} must be of the same features, got {self.features!r} and "
                f"{other.features!r}; extract both with one network"
            )

    def _add(
        self, n: int | None, mean: np.ndarray, scatter: np.ndarray, name: str
    ) -> FeatureStatistics:
        if n is None or self.n_samples is None:
            raise ValueError(
                "statistics read from a file without the number of samples (field n) cannot be "
                "added to; compute them again from the features"
            )
        if self._mean is None or self._scatter is None:
            self.n_samples, self._mean, self._scatter = n, mean.copy(), scatter.copy()
            return self
        if len(mean) != len(self._mean):
            raise ValueError(
                f"{name} must have {len(self._mean)} features like the samples so far, got "
                f"{len(mean)}"
            )
        total = self.n_samples + n
        gap = mean - self._mean
        between = gap * np.sqrt(self.n_samples * (n / total))
        self._scatter = self._scatter + scatter + between[:, None] * between
        self._mean = self._mean + gap * (n / total)
        self.n_samples = total
        return self

    def save(self, path: str | os.PathLike) -> None:
        """Write ``mu``, ``sigma`` and, where known, ``n`` and ``features`` to a .npz file.

        The file is written whole or not at all.

        Other FID tools read such a file.

        Parameters
        ----------
        path : path
            Ends in .npz; a file of that name is replaced.

        Raises
        ------
        ValueError
            If the suffix is another one, or there are fewer than two samples.
        OSError
            If the file cannot be written.
        """
        if pathlib.Path(path).suffix.lower() != ".npz":
            raise ValueError(f"path must end in .npz, got {os.fspath(path)!r}")
        arrays: dict[str, Any] = {"mu": self.mean, "sigma": self.covariance}
        if self.n_samples is not None:
            arrays["n"] = np.int64(self.n_samples)
        if self.features is not None:
            arrays["features"] = np.array(self.features)
        write_npz(path, arrays)

    @classmethod
    def from_moments(cls, n_samples: int, mean: Any, scatter: Any) -> FeatureStatistics:
        """Take moments computed elsewhere.

        Parameters
        ----------
        n_samples : int
        mean : array (d,)
        scatter : array (d, d)
            Sum over the samples of the outer products of their differences from the mean.

        Returns
        -------
        FeatureStatistics
        """
        found = cls()
        found.n_samples = _validate.integer(n_samples, "n_samples", minimum=0)
        if n_samples:
            total = real_array(scatter, "scatter")
            found._mean, found._scatter = real_array(mean, "mean"), total / 2 + total.T / 2
        return found

    @classmethod
    def load(cls, path: str | os.PathLike) -> FeatureStatistics:
        """Read a file written by `save` or by another FID tool.

        Parameters
        ----------
        path : path
            .npz with ``mu`` (d,), ``sigma`` (d, d), perhaps ``n`` and ``features``. Pickled objects
            are refused.

        Returns
        -------
        FeatureStatistics
            Without ``n`` in the file it serves for distances, but nothing can be added to it.

        Raises
        ------
        ValueError
            If the file is damaged, or does not hold the moments of any features.
        OSError
            If it cannot be opened.
        """
        return cls._from_arrays(read_npz(path), os.fspath(path))

    @classmethod
    def _from_arrays(cls, arrays: dict[str, np.ndarray], path: str) -> FeatureStatistics:
        if not {"mu", "sigma"} <= set(arrays):
            listed = ", ".join(sorted(arrays)) or "nothing"
            raise ValueError(f"{path} must hold the arrays mu and sigma, got {listed}")
        mean = real_array(arrays["mu"], f"mu of {path}")
        sigma = real_array(arrays["sigma"], f"sigma of {path}")
        if mean.ndim != 1 or not mean.size or sigma.shape != (len(mean), len(mean)):
            raise ValueError(
                f"{path} must hold mu (d,) and sigma (d, d), got {mean.shape} and {sigma.shape}"
            )
        full(sigma, f"sigma of {path}")
        sigma = sigma / 2 + sigma.T / 2
        # raw moments leave variances of constant features a little below zero
        if sigma.diagonal().min() < -ROUNDING * np.abs(sigma).max():
            raise ValueError(
                f"sigma of {path} must be a covariance, got a variance {sigma.diagonal().min():g}"
            )
        found = cls()
        found.n_samples, found._mean, found._scatter = None, mean, sigma
        if "n" in arrays:
            n = arrays["n"]
            if n.shape != () or n.dtype.kind not in "iu" or n < 2:
                raise ValueError(f"n of {path} must be a number of samples above 1, got {n}")
            found.n_samples, found._scatter = int(n), sigma * (int(n) - 1)
        if "features" in arrays and arrays["features"].shape == ():
            found.features = str(arrays["features"])
        return found
