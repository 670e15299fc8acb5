"""The engine for NumPy arrays: squared Wasserstein distances of pairs of Gaussians, and bounds.

Equal covariances are found first: their distance is exactly zero, a symmetric matrix is computed
by half, and tied covariances once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._dispatch import gaussian as dispatch
from .. import _transport
from ..covariances import Covariance, Entry, Root, check_dtype, checked, real_array, weight_vector

_TINY = np.finfo(np.float64).tiny
_EPS = np.finfo(np.float64).eps
# Of an eigenvalue, relative to the largest, from a Gram matrix of d columns: this times sqrt(d).
_EIGENVALUE_ERROR = 8 * _EPS
# Of a trace of a product of symmetric roots in single precision, relative to their norms.
_SINGLE_ERROR = 16 * float(np.finfo(np.float32).eps)
# Bounds take an eigenproblem per component, and spare about half of the pairs: they pay where the
# pairs, by the cube of their rank, are this many times the components, by that of the dimension.
# Small factors share vector registers, so that a pair costs less (bench/peers/bures.py).
_LAZY_GAIN = 4
_LAZY_GAIN_SMALL = 20


read, weights = real_array, weight_vector


def covariances(entries: Sequence[Entry], dim: int | None = None) -> list[Covariance]:
    """Covariances of entries that `read` has read; ``dim`` is for spherical ones."""
    return checked(entries, dim)


def result(array: np.ndarray, *values: Any) -> Any:
    """Return what the user gets: a float in place of an array without axes."""
    return float(array) if np.ndim(array) == 0 else array


def distance(mean1: np.ndarray, cov1: Covariance, mean2: np.ndarray, cov2: Covariance) -> float:
    """Squared Frechet distance of two Gaussians that are parsed already."""
    part = PairParts([cov1], [cov2])
    zero = np.zeros(1, dtype=np.int64)
    return float(squared_gap(mean1, mean2) + part.evaluate(zero, zero)[0])


def transport(
    w_s: np.ndarray, w_t: np.ndarray, costs: np.ndarray
) -> tuple[float, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Value, plan and dual potentials."""
    found = _transport.solve(w_s, w_t, costs)
    return found.value, found.plan, found.potentials


def mean_costs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared distances (K0, K1) of the rows."""
    return np.array([squared_gap(row, right) for row in left])


def squared_gap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared norms of ``first - second`` over the last axis, without overflow on the way."""
    with np.errstate(over="ignore"):
        gap = first - second
    size = np.abs(gap).max(axis=-1)
    size = np.where(np.isfinite(size), size, 0.0)  # refused below
    unit = np.where(size > 0, np.exp2(np.frexp(size)[1].astype(float)), 1.0)
    return squared_scale(((gap / unit[..., None]) ** 2).sum(axis=-1), unit)


def squared_scale(value: Any, scale: Any) -> Any:
    """``value * scale**2``, or an error where float64 cannot hold it."""
    with np.errstate(over="ignore", under="ignore"):
        out = value * scale * scale
    lost = (value > 0) & (out < _TINY)
    if not np.isfinite(out).all() or lost.any():
        what = "below the smallest" if lost.any() else "above the largest"
        raise ValueError(
            f"a squared distance is {what} float64; divide the data of both sides by their "
            "standard deviation, and multiply the result by its square"
        )
    return out


def classes(left: Sequence[Covariance], right: Sequence[Covariance]):
    """Distinct covariances of both lists, and the position among them of each."""
    distinct: list[Covariance] = []
    seen: dict[tuple, list[int]] = {}
    position: dict[int, int] = {}
    for covariance in (*left, *right):
        if id(covariance) in position:
            continue
        alike = seen.setdefault(covariance.fingerprint, [])
        found = next((i for i in alike if distinct[i].equals(covariance)), None)
        if found is None:
            found = len(distinct)
            distinct.append(covariance)
            alike.append(found)
        position[id(covariance)] = found
    return (
        distinct,
        np.array([position[id(c)] for c in left]),
        np.array([position[id(c)] for c in right]),
    )


@dataclasses.dataclass(frozen=True)
class _Size:
    """Of a covariance ``scale**2 * matrix`` that has not been factored."""

    scale: float
    trace: float  # of the matrix


class PairParts:
    """Covariance parts of squared distances, each distinct pair computed once, when asked for.

    Parameters
    ----------
    left, right : list of Covariance, lengths K0 and K1
    dtype : float64 or float32, default float64
        Precision of the arithmetic on small factors.
    n_jobs : int, optional
        Threads over the pairs, as in joblib.
    """

    def __init__(
        self,
        left: Sequence[Covariance],
        right: Sequence[Covariance],
        dtype: Any = np.float64,
        n_jobs: int | None = None,
    ) -> None:
        self.distinct, self.left, self.right = classes(left, right)
        self.dtype, self.n_jobs = check_dtype(dtype), n_jobs
        self.clamped = 0.0  # the largest negative part, by rounding, that was set to zero
        self._known: dict[int, float] = {}

    @property
    def n_evaluated(self) -> int:
        """Distinct pairs of different covariances computed so far."""
        return len(self._known)

    def evaluate(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Parts of the pairs (left[rows[p]], right[columns[p]])."""
        a, b = self.left[rows], self.right[columns]
        n = len(self.distinct)
        keys, inverse = np.unique(np.minimum(a, b) * n + np.maximum(a, b), return_inverse=True)
        wanted = [k for k in keys.tolist() if k not in self._known and k // n != k % n]
        if wanted:
            parts = self._compute(np.array([divmod(k, n) for k in wanted]))
            self._known.update(zip(wanted, parts.tolist(), strict=True))
        return np.array([self._known.get(k, 0.0) for k in keys.tolist()])[inverse]

    def _compute(self, pairs: np.ndarray) -> np.ndarray:
        if len(pairs) == 1:
            part = self._from_matrices(*(self.distinct[a] for a in pairs[0].tolist()))
            if part is not None:
                return np.array([part])
        roots: dict[int, Root] = {int(a): self.distinct[a].root for a in np.unique(pairs)}
        parts = np.empty(len(pairs))
        plain = np.array([roots[a].diagonal and roots[b].diagonal for a, b in pairs.tolist()])
        for p in np.flatnonzero(plain):
            parts[p] = diagonal_part(*(roots[a] for a in pairs[p].tolist()))
        rest = np.flatnonzero(~plain)
        used, positions = np.unique(pairs[rest], return_inverse=True)
        factors = [roots[int(a)] for a in used]
        found = dispatch.overlaps(factors, positions.reshape(-1, 2), self.dtype, self.n_jobs)
        for p, overlap in zip(rest, found, strict=True):
            a, b = pairs[p].tolist()
            parts[p] = self._part(roots[a], roots[b], overlap)
        return parts

    def _from_matrices(self, a: Covariance, b: Covariance) -> float | None:
        """Covariance part of a single pair of large matrices of full rank, or None.

        With several pairs, factoring each matrix once is cheaper.
        """
        if a.kind != "full" or b.kind != "full" or a.dim <= dispatch.LANE_COLUMNS:
            return None
        if 0 in (a.scale, b.scale):
            return None
        second = b.scaled
        factor = dispatch.full_factor(second)
        if factor is None:
            b.singular = True
            return None
        first = a.scaled
        sizes = _Size(a.scale, float(first.trace())), _Size(b.scale, float(second.trace()))
        overlap = None
        if dispatch.leading_factor(first) is None:
            a.singular = True
        else:
            # rounding of the products is in proportion to both norms
            noise = 4 * _EPS * float(np.linalg.norm(first) * np.linalg.norm(second))
            overlap = dispatch.factored_overlap(first.copy(), factor, noise)
        if overlap is None:
            b.keep_factor(factor)
            return None
        return self._part(*sizes, overlap)

    def _part(self, a: Root | _Size, b: Root | _Size, overlap: float) -> float:
        scale = max(a.scale, b.scale)
        x, y = a.scale / scale, b.scale / scale
        part = x * x * a.trace + y * y * b.trace - 2 * x * y * overlap
        if part < 0:
            self.clamped = max(self.clamped, -part * scale * scale)
        return float(squared_scale(np.float64(max(part, 0.0)), np.float64(scale)))


def diagonal_part(a: Root, b: Root) -> float:
    """Sum of squared differences of standard deviations."""
    scale = max(a.scale, b.scale)
    gap = a.array * (a.scale / scale) - b.array * (b.scale / scale)
    return float(squared_scale(np.float64((gap**2).sum()), np.float64(scale)))


def bounds(left: Sequence[Covariance], right: Sequence[Covariance]):
    """Lower and upper bounds (K0, K1) of the covariance parts, one eigenproblem per covariance.

    sum_a (sqrt l_a(A) - sqrt l_a(B))^2 <= part <= |A^{1/2} - B^{1/2}|_F^2: von Neumann's trace
    inequality, and |X|_* >= tr X. Both are widened by what rounding may have moved. The symmetric
    roots of one side are kept, in single precision, those of the other pass by one at a time.
    """
    distinct, rows, columns = classes(left, right)
    ours = np.unique(rows)
    kept = np.empty((len(ours), left[0].dim, left[0].dim), np.float32)
    spectra = []
    for place, a in zip(kept, ours, strict=True):
        spectrum, place[:] = _spectrum(distinct[a].root)
        spectra.append(spectrum)
    lower, upper = np.zeros((2, len(rows), len(columns)))
    for b in np.unique(columns):
        at = np.searchsorted(ours, b)
        shared = at < len(ours) and ours[at] == b
        spectrum, root = (spectra[at], kept[at]) if shared else _spectrum(distinct[b].root)
        traces = kept.reshape(len(ours), -1) @ root.astype(np.float32).ravel()
        for i, a in enumerate(ours):
            if a != b:
                cells = np.ix_(rows == a, columns == b)
                lower[cells], upper[cells] = _bracket(
                    distinct[a].root, distinct[b].root, spectra[i], spectrum, traces[i]
                )
    return lower, upper


def bounds_pay(left: Sequence[Covariance], right: Sequence[Covariance]) -> bool:
    """Whether `bounds` cost less than the pairs that they are expected to spare."""
    sides = left, right
    if any(one.kind == "diagonal" for side in sides for one in side):
        return False
    rank = np.mean([one.root.rank for side in sides for one in side])
    gain = _LAZY_GAIN if rank > dispatch.LANE_COLUMNS else _LAZY_GAIN_SMALL
    return bool(
        len(left) * len(right) * rank**3 > gain * (len(left) + len(right)) * left[0].dim ** 3
    )


def _spectrum(root: Root):
    """Roots of eigenvalues, descending, with their errors, (d, 2), and the symmetric root."""
    d = root.array.shape[0]
    spectrum = np.zeros((d, 2))
    if root.diagonal:
        spectrum[:, 0] = np.sort(root.array)[::-1]
        return spectrum, np.diag(root.array)
    if root.rank == 0:
        return spectrum, np.zeros((d, d))
    if root.rank < d:
        values, vectors = np.linalg.eigh(root.array.T @ root.array)
        kept = values > 0
        vectors = root.array @ (vectors[:, kept] / np.sqrt(values[kept]))
        roots = np.sqrt(values[kept])
        symmetric = (vectors * roots) @ vectors.T
    else:
        values, vectors = np.linalg.eigh(root.array @ root.array.T)
        symmetric = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    values = np.clip(values[::-1], 0, None)
    error = _EIGENVALUE_ERROR * np.sqrt(d) * values[0]
    spectrum[: len(values), 0] = np.sqrt(values)
    spectrum[: len(values), 1] = error / (np.sqrt(values) + np.sqrt(error))
    return spectrum, symmetric


def _bracket(a: Root, b: Root, of_a, of_b, trace: float) -> tuple[float, float]:
    scale = max(a.scale, b.scale)
    x, y = a.scale / scale, b.scale / scale
    total = x * x * a.trace + y * y * b.trace
    slack = of_a[:, 0] @ of_b[:, 1] + of_a[:, 1] @ of_b[:, 0] + of_a[:, 1] @ of_b[:, 1]
    loose = np.linalg.norm(of_a[:, 1]) * np.linalg.norm(of_b[:, 0])
    loose += np.linalg.norm(of_a[:, 0]) * np.linalg.norm(of_b[:, 1])
    loose += _SINGLE_ERROR * np.sqrt(a.trace * b.trace)
    rounding = _EIGENVALUE_ERROR * total
    lower = total - 2 * x * y * (of_a[:, 0] @ of_b[:, 0] + slack) - rounding
    upper = total - 2 * x * y * (trace - loose) + rounding
    return max(lower, 0.0) * scale * scale, max(upper, 0.0) * scale * scale
