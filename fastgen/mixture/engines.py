"""Data sets as expectation maximization sees them: on the host with kernels, or in plain arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg

from .._dispatch import compiling
from .._dispatch import em as kernels
from . import em

# Entries beyond have squares that overflow in sums.
_LARGEST = 1e140
# Seconds that plain arrays may take longer than kernels, and for a row, component and pass how much
# they do: with full covariances kernels also leave out components far from a row, at most all.
_PLAIN = 0.05
_LONGER, _LONGER_FULL, _LEFT_OUT = 1e-7, 3e-8, 5e-11


def check_size(largest: float) -> None:
    """Refuse data whose squares cannot be summed; ``largest`` is the largest absolute entry."""
    if largest > _LARGEST:
        raise ValueError(
            f"X must have squares that can be summed, got entries up to {largest:.3g}; divide it "
            "by a constant"
        )


def device_rows(X: Any, xp: ModuleType, dtype: np.dtype, *, minimum_rows: int) -> Any:
    """Check rows on a device and return them in float64, or in float32 where ``dtype`` is.

    Parameters
    ----------
    X : array (n_samples, n_features)
        An array of the namespace ``xp``.
    xp : module
    dtype : numpy.dtype
    minimum_rows : int
    """
    if X.ndim != 2 or X.shape[0] < minimum_rows or X.shape[1] < 1:
        raise ValueError(
            f"X must have shape (n_samples, n_features) with at least {minimum_rows} rows, got "
            f"shape {tuple(X.shape)}"
        )
    if not bool(xp.isfinite(X).all()):
        raise ValueError("X must be finite, got NaN or infinity; drop or impute such rows")
    X = X if dtype == np.float32 and X.dtype == np.float32 else X.astype(np.float64)
    check_size(float(abs(X).max()))
    return X


@contextlib.contextmanager
def opened(
    X: np.ndarray, dtype: np.dtype, n_components: int, covariance_type: str, passes: int
) -> Iterator[Host | Device]:
    """Hand rows of the host out for so many E-steps, BLAS held at one thread.

    Parameters
    ----------
    X : array (n_samples, n_features)
        C-contiguous.
    dtype : numpy.dtype
    n_components : int
    covariance_type : str
    passes : int
        At most.
    """
    longer = _LONGER
    if covariance_type == "full":
        longer = _LONGER_FULL + _LEFT_OUT * X.shape[1] ** 2
    with kernels.workers() as run:
        if compiling.worthwhile(longer * len(X) * n_components * passes, _PLAIN):
            yield Host(X, dtype, run)
        else:
            yield Device(X, dtype, np)


class Host:
    """Rows in NumPy arrays; the E-step is in ``kernels/cpu/em.py``.

    Parameters
    ----------
    X : array (n_samples, n_features)
        C-contiguous; float64 rows are not copied.
    dtype : numpy.dtype
        Type of the matrix products. For float32 the mean of X is subtracted before rounding.
    run : callable
        From ``kernels.workers``.
    """

    compiled = True

    def __init__(self, X: np.ndarray, dtype: np.dtype, run: kernels.Run) -> None:
        self.xp = np
        self.run = run
        self.center = X.mean(axis=0, dtype=np.float64)
        if dtype == np.float64:
            self.rows, self.origin = X, np.zeros(X.shape[1])
        else:
            self.rows, self.origin = np.empty(X.shape, dtype), self.center
            np.subtract(X, self.center, out=self.rows, casting="same_kind")
        self._likely = np.zeros(len(X), np.int64)
        self._scatter: np.ndarray | None = None

    @staticmethod
    def to_numpy(array: np.ndarray) -> np.ndarray:
        """Return the array, which is NumPy's already."""
        return array

    @staticmethod
    def inverse_root(covariance: np.ndarray) -> np.ndarray | None:
        """Inverse of the Cholesky factor, or None if there is none."""
        if not np.isfinite(covariance).all():
            return None
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return None
        return scipy.linalg.lapack.dtrtri(root, lower=1)[0]

    def scatter(self) -> np.ndarray:
        """Covariance of all rows about ``center``, divided by their number; computed once."""
        if self._scatter is None:
            n, d = self.rows.shape
            size = em.block_rows(d)
            center = (self.center - self.origin).astype(self.rows.dtype)
            total = np.zeros((d, d))
            for start in range(0, n, size):
                z = self.rows[start : start + size] - center
                total += z.T @ z
            self._scatter = total / n
        return self._scatter

    def joint(self, mixture: em.Mixture, cutoff: float = np.inf) -> np.ndarray:
        """Log of weight times density (n_components, n_samples).

        Components further than ``cutoff`` below the largest may be minus infinity.
        """
        constants = em.log_constants(np, mixture)
        means = mixture.means - self.origin
        factors = mixture.factors
        kind = mixture.covariance_type
        if kind == "full":
            args = (self.rows, means, factors, constants, self._likely, cutoff, self.run)
            return kernels.full_densities(*args)
        if kind == "tied":
            center = self.center - self.origin
            return kernels.tied_densities(self.rows, center, means, factors, constants, self.run)
        if kind == "spherical":
            factors = np.repeat(factors[:, None], means.shape[1], axis=1)
        return kernels.diagonal_densities(self.rows, means, factors, constants, self.run)

    def expectation(self, mixture: em.Mixture) -> tuple[float, np.ndarray]:
        """Mean log likelihood, and responsibilities without those under the threshold."""
        joint = self.joint(mixture, em.CUTOFF)
        log_likelihood, self._likely = kernels.normalize(joint, em.THRESHOLD, self.run)
        return float(log_likelihood.mean()), joint

    def posterior(self, mixture: em.Mixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log likelihoods (n,), all responsibilities (K, n) and likely components (n,)."""
        joint = self.joint(mixture)
        log_likelihood, likely = kernels.normalize(joint, 0.0, self.run)
        return log_likelihood, joint, likely


class Device:
    """Rows in arrays of a namespace with NumPy's functions: CuPy's, or NumPy's for little work.

    Parameters
    ----------
    X : array (n_samples, n_features)
    dtype : numpy.dtype
    xp : module
        ``cupy`` or ``numpy``.
    """

    compiled = False

    def __init__(self, X: Any, dtype: np.dtype, xp: ModuleType) -> None:
        self.xp = xp
        self.center = X.mean(axis=0, dtype=np.float64)
        shifted = dtype != np.float64
        self.origin = self.center if shifted else xp.zeros(X.shape[1])
        self.rows = xp.ascontiguousarray((X - self.origin).astype(dtype) if shifted else X)
        self._scatter: Any = None

    def to_numpy(self, array: Any) -> np.ndarray:
        """Return a copy of a device array on the host."""
        return self.xp.asnumpy(array) if hasattr(self.xp, "asnumpy") else np.asarray(array)

    @staticmethod
    def run(work: Callable, tasks: Iterable) -> list:
        """Map ``work`` over ``tasks``, one after the other: the device is parallel itself."""
        return [work(task) for task in tasks]

    def inverse_root(self, covariance: Any) -> Any:
        """Inverse of the Cholesky factor, or None; CuPy tells of failure by NaN."""
        if self.xp is np:
            return Host.inverse_root(covariance)
        root = self.xp.linalg.cholesky(covariance)
        if not bool(self.xp.isfinite(root).all()):
            return None
        return self.xp.tril(self.xp.linalg.inv(root))

    def _blocks(self) -> Iterator[slice]:
        n, d = self.rows.shape
        size = em.block_rows(d)
        for start in range(0, n, size):
            yield slice(start, min(start + size, n))

    def scatter(self) -> Any:
        """Covariance of all rows about ``center``, divided by their number; computed once."""
        if self._scatter is None:
            total = 0.0
            for block in self._blocks():
                z = self.rows[block] - (self.center - self.origin).astype(self.rows.dtype)
                total = total + (z.T @ z).astype(np.float64)
            self._scatter = total / len(self.rows)
        return self._scatter

    def joint(self, mixture: em.Mixture) -> Any:
        """Log of weight times density (n_components, n_samples), in blocks of rows."""
        xp, rows = self.xp, self.rows
        kind = mixture.covariance_type
        constants = em.log_constants(xp, mixture)
        center = self.center if kind == "tied" else self.origin
        means = (mixture.means - center).astype(rows.dtype)
        factors = mixture.factors.astype(rows.dtype)
        out = xp.empty((len(means), len(rows)))
        if kind == "tied":
            means = means @ factors.T
        for block in self._blocks():
            part = rows[block]
            if kind == "tied":
                part = (part - (center - self.origin).astype(rows.dtype)) @ factors.T
            for k in range(len(means)):
                z = part - means[k]
                if kind == "full":
                    z = z @ factors[k].T
                elif kind != "tied":
                    z = z * factors[k]
                out[k, block] = constants[k] - 0.5 * (z * z).sum(axis=1, dtype=np.float64)
        return out

    def expectation(self, mixture: em.Mixture) -> tuple[float, Any]:
        """Mean log likelihood, and responsibilities without those under the threshold."""
        log_likelihood, shares, _ = self.posterior(mixture)
        shares = self.xp.where(shares <= em.THRESHOLD, 0.0, shares)
        return float(log_likelihood.mean()), shares / shares.sum(axis=0)

    def posterior(self, mixture: em.Mixture) -> tuple[Any, Any, Any]:
        """Log likelihoods (n,), all responsibilities (K, n) and likely components (n,)."""
        joint = self.joint(mixture)
        likely = joint.argmax(axis=0)
        largest = joint.max(axis=0)
        shares = self.xp.exp(joint - largest)
        total = shares.sum(axis=0)
        return largest + self.xp.log(total), shares / total, likely
