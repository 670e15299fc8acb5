"""The engine for CuPy arrays: distances of Gaussians with the library's own linear algebra.

The same functions serve CUDA tensors where CuPy is not installed, with torch in its place
(`tensors` calls them). Everything is in float64: in single precision a root taken through an
eigenproblem loses half of seven digits. This path has been run with stand-ins for CuPy and through
the host shim of the tests; it has not yet been run on a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._dispatch import gaussian as dispatch
from .. import _transport
from ..covariances import (
    ROUNDING,
    CovarianceFactor,
    Entry,
    asymmetric,
    check_real,
    indefinite,
    not_finite,
    weight_vector,
)

_EPS = np.finfo(np.float64).eps


class Covariance:
    """A covariance on the device, as a factor (d, r); equal ones are told apart by it."""

    def __init__(self, factor: Any, name: str) -> None:
        self.factor, self.name = factor, name

    @property
    def dim(self) -> int:
        """Dimension d of the space."""
        return int(self.factor.shape[0])

    def equals(self, other: Covariance) -> bool:
        """Whether both have the same factor."""
        a, b = self.factor, other.factor
        return a is b or (tuple(a.shape) == tuple(b.shape) and bool((a == b).all()))


def read(value: Any, name: str) -> Any:
    """Return a finite float64 array on the device, or raise naming the argument."""
    xp = _arrays.require_device(f"{name} in CuPy's arrays")
    if isinstance(value, list | tuple):
        value = xp.stack([xp.asarray(part) for part in value])
    array = xp.asarray(value)
    check_real(array.dtype, name)
    return finite(xp, xp.asarray(array, dtype=xp.float64), name)


def finite(xp: Any, array: Any, name: str) -> Any:
    """Return ``array``, or raise at its first entry that is NaN or infinite."""
    values = _arrays.detached(array)
    good = xp.isfinite(values)
    if not bool(good.all()):
        first = int((~good).reshape(-1).nonzero()[0].reshape(-1)[0])
        at = np.unravel_index(first, tuple(values.shape))
        raise not_finite(name, float(values.reshape(-1)[first]), [int(i) for i in at])
    return array


def covariances(entries: Sequence[Entry], dim: int | None = None) -> list[Covariance]:
    """Covariances of entries that `read` has read; ``dim`` is for spherical ones."""
    return factored(_arrays.require_device(), entries, dim)


def factored(xp: Any, entries: Sequence[Entry], dim: int | None) -> list[Covariance]:
    """Covariances in the arrays of ``xp``; an entry given twice becomes one object."""
    found: dict[int, Covariance] = {}
    for entry in entries:
        if id(entry) not in found:
            found[id(entry)] = Covariance(_factor(xp, entry, dim), entry.name)
    return [found[id(entry)] for entry in entries]


def _factor(xp: Any, entry: Entry, dim: int | None) -> Any:
    values = entry.values
    if entry.kind == "full":
        return root(xp, values, entry.name)
    if entry.kind == "factor":
        return values
    return xp.eye(dim, dtype=values.dtype) * xp.sqrt(values)


def root(xp: Any, matrix: Any, name: str) -> Any:
    """Factor (d, r) of a finite matrix through its eigenvectors, if it is a covariance."""
    peak = float(abs(matrix).max())
    if peak == 0:
        return matrix
    scale = float(2.0 ** (np.frexp(peak)[1] // 2))
    unit = matrix / scale / scale
    gap = float(abs(unit - unit.T).max()) * scale * scale / peak
    if gap > ROUNDING:
        raise asymmetric(name, gap)
    values, vectors = xp.linalg.eigh((unit + unit.T) / 2)
    least, largest = float(values[0]), float(values[-1])
    if least < -ROUNDING * max(largest, -least):
        raise indefinite(name, least * scale**2, largest * scale**2)
    kept = values > len(matrix) * _EPS * largest
    return vectors[:, kept] * xp.sqrt(values[kept]) * scale


class PairParts:
    """Covariance parts of squared distances on the device; precision and threads have no part."""

    clamped = 0.0  # negative parts are set to zero where they are

    def __init__(
        self,
        left: Sequence[Covariance],
        right: Sequence[Covariance],
        dtype: np.dtype | None = None,
        n_jobs: int | None = None,
        *,
        xp: Any = None,
    ) -> None:
        self.left, self.right = left, right
        self.xp = _arrays.require_device() if xp is None else xp
        self.n_evaluated = 0

    def evaluate(self, rows: np.ndarray, columns: np.ndarray) -> Any:
        """Parts of the pairs (left[rows[p]], right[columns[p]])."""
        xp, pairs = self.xp, np.stack((rows, columns), axis=1)
        self.n_evaluated += len(pairs)
        traces = [[(one.factor**2).sum() for one in side] for side in (self.left, self.right)]
        total = xp.stack([traces[0][a] + traces[1][b] for a, b in pairs.tolist()])
        part = total - 2 * self._overlaps(pairs)
        equal = np.array([self.left[a].equals(self.right[b]) for a, b in pairs.tolist()])
        lost = xp.asarray(equal) | (part < 0)
        return xp.where(lost, xp.zeros_like(part), part)

    def _overlaps(self, pairs: np.ndarray) -> Any:
        """Nuclear norms of the cross-products: CUDA kernels for CuPy, singular values for torch."""
        xp, factors = self.xp, [one.factor for one in (*self.left, *self.right)]
        shifted = pairs + np.array([0, len(self.left)])
        if hasattr(xp.linalg, "svdvals"):  # torch
            products = (factors[a].T @ factors[b] for a, b in shifted.tolist())
            return xp.stack([xp.linalg.svdvals(product).sum() for product in products])
        starts = np.cumsum([0, *(factor.shape[1] for factor in factors)])
        rows = xp.concatenate([factor.T for factor in factors])
        return dispatch.cuda_kernels().pair_nuclear_norms(rows, starts, shifted)


def squared_gap(first: Any, second: Any) -> Any:
    """Squared norms of ``first - second`` over the last axis."""
    return finite(_arrays.require_device(), ((first - second) ** 2).sum(axis=-1), "the means")


def mean_costs(left: Any, right: Any) -> Any:
    """Squared distances (K0, K1) of the rows."""
    return squared_gap(left[:, None], right)


weights = weight_vector


def transport(
    w_s: np.ndarray, w_t: np.ndarray, costs: Any
) -> tuple[Any, Any, tuple[np.ndarray, np.ndarray]]:
    """Value, plan and dual potentials; the plan is solved for on the host."""
    found = _transport.solve(w_s, w_t, np.asarray(_arrays.to_host(costs), dtype=np.float64))
    plan = _arrays.require_device().asarray(found.plan)
    return (plan * costs).sum(), plan, found.potentials


def result(array: Any, *values: Any) -> Any:
    """Return what the user gets, in the widest floating type of the arrays given."""
    arrays = [v.array if isinstance(v, CovarianceFactor) else v for v in values]
    dtypes = [np.dtype(str(a.dtype)) for a in arrays if hasattr(a, "dtype")]
    return array.astype(np.result_type(*dtypes, np.float32))
