"""Covariances as they come: checked, brought to unit scale, and factored once.

A covariance is kept as ``scale**2 * array @ array.T``. The factor comes from data as it is, from a
Cholesky factorization, from a pivoted one where the matrix is singular, or from eigenvectors where
rounding has made it slightly indefinite. Distances need nothing else (``tr (A^{1/2} B
A^{1/2})^{1/2}`` is the nuclear norm of the cross-product of any factors).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _arrays, _validate
from .._dispatch.gaussian import SUSPICIOUS, cholesky, pivoted_cholesky

# Asymmetry and negative eigenvalues up to this share of the largest entry are rounding, of single
# precision at the worst; beyond it the matrix is not a covariance.
ROUNDING = 1e-6
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_EPS = np.finfo(np.float64).eps
# Factors up to this power of two are left as they are: even single precision holds their products.
_NEAR = 16
# Side of the tiles that are compared with their mirrors.
_TILE = 128
# Random vectors that a residual is seen through.
_PROBES = 24
# Below it the largest entry has lost digits itself; above it the absolute error of entries that
# have is below eps times the largest one.
_SMALLEST = np.finfo(np.float64).tiny


class CovarianceFactor:
    """A covariance matrix ``array @ array.T`` that is never formed.

    Accepted wherever a covariance is: one for one component, a list of them for a mixture. With
    fewer columns than rows (fewer samples than dimensions) it is both exact and fast: samples are
    not squared.

    Parameters
    ----------
    array : array (d, n)
        Real and finite. NumPy, or a torch tensor.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import CovarianceFactor, bures
    >>> u, v = np.array([[3.0], [4.0]]), np.array([[5.0], [0.0]])
    >>> round(bures(CovarianceFactor(u), CovarianceFactor(v)), 12)    # |u|^2 + |v|^2 - 2 |u . v|
    20.0
    """

    def __init__(self, array: Any):
        self.array = array

    def __repr__(self) -> str:
        return f"CovarianceFactor(shape={tuple(np.shape(self.array))})"

    @classmethod
    def from_samples(
        cls, X: Any, weights: Any = None, *, ddof: int = 0
    ) -> tuple[np.ndarray, CovarianceFactor]:
        """Mean and covariance factor of samples, in float64.

        Parameters
        ----------
        X : array (n, d)
        weights : array (n,), optional
            Nonnegative, such as the responsibilities of one component; they are brought to sum 1.
        ddof : int, default 0
            The covariance is divided by ``n - ddof``: 0 for mixtures, 1 for the usual FID. Only
            without weights.

        Returns
        -------
        mean : array (d,)
        factor : CovarianceFactor
            Columns ``sqrt(w_s) * (x_s - mean)`` of the samples with positive weight. As they are
            linearly dependent, up to d samples they are rotated onto one column less: a factor of
            full rank spares the distance a singular value decomposition.

        Raises
        ------
        ValueError
            If the samples are not a finite matrix, the weights are negative or all zero, or too few
            samples are given for ``ddof``.

        Examples
        --------
        >>> mean, factor = CovarianceFactor.from_samples([[0.0, 0.0], [2.0, 0.0]])
        >>> mean, factor.array @ factor.array.T
        (array([1., 0.]), array([[1., 0.], [0., 0.]]))
        """
        X = _validate.data_matrix(X, "X", minimum_rows=1)
        if weights is None:
            if len(X) <= ddof:
                raise ValueError(
                    f"X must have more rows than ddof={ddof}, got {len(X)}; add samples, or pass "
                    "ddof=0 for the covariance divided by n"
                )
            mean, centered = center(X)
            return mean, cls(_factor_of(centered, len(X) - ddof))
        if ddof:
            raise ValueError(f"ddof must be 0 with weights, got {ddof}")
        weights = weight_vector(weights, "weights", len(X), total=None)
        kept = weights > 0
        X, weights = X[kept], weights[kept]
        mean = weights @ X
        roots = np.sqrt(weights)
        rows = X - mean
        rows *= roots[:, None]
        return mean, cls(independent(rows, roots).T)


def sample_moments(
    X: np.ndarray, *, ddof: int, reg_covar: float = 0.0, name: str = "X"
) -> tuple[np.ndarray, Covariance]:
    """Mean (d,) and covariance of rows that are checked already.

    The covariance is divided by ``n - ddof``, and ``reg_covar`` is added to its diagonal. Where
    there are no more rows than columns they are not squared.
    """
    n, d = X.shape
    mean, centered = center(X)
    if n > d:
        covariance = scatter(centered) / (n - ddof)
        covariance.flat[:: d + 1] += reg_covar
        return mean, Covariance("full", covariance, name)
    factor = _factor_of(centered, n - ddof)
    _check_squares(np.einsum("ij,ij->i", factor, factor))
    if reg_covar:
        factor = np.hstack((factor, np.sqrt(reg_covar) * np.eye(d)))
    return mean, Covariance("factor", factor, name)


def center(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows, and the rows without it."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = X.mean(axis=0)
        return mean, X - mean


def scatter(centered: np.ndarray) -> np.ndarray:
    """Sum of the outer products of the rows; raises where float64 cannot hold it."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = centered.T @ centered
    _check_squares(total.diagonal())
    return total


def _check_squares(variances: np.ndarray) -> None:
    """Raise where sums of squares, by column, have overflowed: then all products may have."""
    if not np.isfinite(variances).all():
        raise ValueError(
            "features must have squares that float64 can hold, got larger ones; divide them by a "
            "constant and multiply the distance by its square"
        )


def _factor_of(centered: np.ndarray, divisor: float) -> np.ndarray:
    """Factor (d, r) of a covariance of rows without their mean, which are overwritten."""
    n = len(centered)
    rows = independent(centered, np.full(n, n**-0.5))
    rows /= np.sqrt(divisor)
    return rows.T


def independent(rows: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Reflect n rows that add up to zero onto n - 1 rows with the same Gram matrix of columns.

    ``null`` (n,) is the unit vector with ``null @ rows = 0``. The Householder reflection that takes
    it to the first axis makes the first row zero, and the others are returned. The rows are
    overwritten; with more rows than columns they are returned as they are.
    """
    n, d = rows.shape
    if not 1 < n <= d:
        return rows
    from scipy.linalg import blas

    shares = np.copysign(null[1:], null[0]) / (1 + abs(null[0]))
    return blas.dger(-1.0, rows[0], shares, a=rows[1:].T, overwrite_a=1).T


@dataclasses.dataclass
class Root:
    """The covariance ``scale**2 * array @ array.T``."""

    array: np.ndarray  # (d, r) Fortran order; the d standard deviations where diagonal
    scale: float  # a power of two
    triangular: bool = False
    diagonal: bool = False

    @property
    def rank(self) -> int:
        """Number of columns of the factor."""
        return self.array.shape[-1]

    @functools.cached_property
    def trace(self) -> float:
        """Of ``array @ array.T``."""
        values = self.array.ravel(order="K")  # no copy
        return float(values @ values)

    @property
    def dense(self) -> np.ndarray:
        """The factor (d, r), also where only a diagonal is stored."""
        return np.diag(self.array) if self.diagonal else self.array


class Covariance:
    """One covariance, checked, factored on first use.

    ``kind`` says what ``values`` is: "full" (d, d), "diagonal" (d,) variances, "factor" (d, n).
    """

    def __init__(self, kind: str, values: np.ndarray, name: str, *, symmetric: bool = True):
        self.kind, self.values, self.name, self.symmetric = kind, values, name, symmetric
        self.singular = False  # true where a Cholesky factorization has failed or was doubtful

    @property
    def dim(self) -> int:
        """Dimension d of the space."""
        return self.values.shape[0]

    @functools.cached_property
    def scale(self) -> float:
        """Power of two that the factor is divided by; 0 for the zero covariance."""
        return unit_scale(self.values, squared=self.kind != "factor", name=self.name)

    @functools.cached_property
    def root(self) -> Root:
        """Factor at unit scale, computed once."""
        scale = self.scale
        if scale == 0:
            return Root(np.zeros((self.dim, 0), order="F"), 1.0)
        if self.kind == "diagonal":
            return Root(np.sqrt(self.values / scale / scale), scale, diagonal=True)
        if self.kind == "factor":
            return _from_data(self.values if scale == 1 else self.values / scale, scale)
        return _from_matrix(self.scaled, scale, self.name, self.singular)

    def keep_factor(self, factor: np.ndarray) -> None:
        """Take the Cholesky factor of ``scaled``, lower triangular in the transpose, as root."""
        self.root = Root(np.triu(factor).T, self.scale, triangular=True)

    @property
    def scaled(self) -> np.ndarray:
        """``values / scale**2``, symmetric and C-contiguous, not to be written to."""
        if not self.symmetric:
            matrix = self.values * (1 / self.scale) ** 2
            return matrix / 2 + matrix.T / 2
        values = self.values.T if self.values.flags.f_contiguous else self.values
        if self.scale == 1:
            return np.ascontiguousarray(values)
        return np.multiply(values, (1 / self.scale) ** 2, order="C")

    @functools.cached_property
    def fingerprint(self) -> tuple:
        """Equal for equal covariances; cheap, and rarely equal for others."""
        values = self.values
        parts = (values.diagonal(), values[-1]) if self.kind == "full" else (values,)
        with np.errstate(over="ignore"):
            sums = [float(part.sum()) for part in parts]
        return self.kind, values.shape, *sums, float(values.flat[-1])

    def equals(self, other: Covariance) -> bool:
        """Whether both were given as the same numbers."""
        if self.values is other.values:
            return True
        return self.fingerprint == other.fingerprint and np.array_equal(self.values, other.values)


def unit_scale(values: np.ndarray, *, squared: bool, name: str) -> float:
    """Power of two that brings a factor near unit size, given it or its square; 0 for zero."""
    peak = float(max(values.max(initial=0.0), -values.min(initial=0.0)))
    if peak == 0:
        return 0.0
    if squared and peak < _SMALLEST:
        raise ValueError(
            f"{name} must have its largest entry above {_SMALLEST:.1e}, got {peak:.1e}: smaller "
            "numbers have lost digits in float64; multiply the data by a power of ten first"
        )
    exponent = np.frexp(peak)[1] // 2 if squared else np.frexp(peak)[1]
    return float(2.0**exponent) if abs(exponent) > _NEAR else 1.0


def _from_data(array: np.ndarray, scale: float) -> Root:
    """Factor of at most d columns: with more, the triangle of a QR factorization of the rows."""
    if array.shape[1] > array.shape[0]:
        triangle: Any = np.linalg.qr(array.T, mode="r")  # its type is that of other modes
        return Root(np.asfortranarray(triangle.T), scale, triangular=True)
    return Root(np.asfortranarray(array), scale)


def _from_matrix(matrix: np.ndarray, scale: float, name: str, singular: bool) -> Root:
    """Cholesky; pivoted where that meets a small pivot; eigenvectors as a last resort.

    Both Cholesky factorizations are backward stable, so that a badly conditioned matrix is no
    reason to leave them. The pivoted one stops at the numerical rank: what is left is checked.
    """
    d = len(matrix)
    largest = matrix.diagonal().max()
    noise = 8 * d * _EPS * largest
    triangle = None if singular else cholesky(matrix)
    if triangle is not None and triangle.diagonal().min() ** 2 > SUSPICIOUS * largest:
        return Root(triangle, scale, triangular=True)
    array = pivoted_cholesky(matrix, noise)
    if array.shape[1] == d and singular:
        triangle = cholesky(matrix)
    if array.shape[1] == d and triangle is not None:
        return Root(triangle, scale, triangular=True)
    if array.size and _rest(matrix, array) <= 4 * noise:
        return Root(array, scale)
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -ROUNDING * max(values[-1], -values[0]):
        raise indefinite(name, values[0] * scale**2, values[-1] * scale**2)
    kept = values > d * _EPS * values[-1]
    return Root(np.asfortranarray(vectors[:, kept] * np.sqrt(values[kept])), scale)


def _rest(matrix: np.ndarray, array: np.ndarray) -> float:
    """Largest norm of a row of ``matrix - array @ array.T``, from its products with noise.

    A row of four times the norm found has probability 3e-11 (chi-square with 24 degrees of
    freedom), and the difference is not formed, which costs as much as the factorization.
    """
    probes = np.random.default_rng(0).standard_normal((len(matrix), _PROBES))
    rest = matrix @ probes - array @ (array.T @ probes)
    return float(np.sqrt(np.square(rest).mean(axis=1).max()))


# --- checks at the door --------------------------------------------------------------------------


def real_array(value: Any, name: str) -> np.ndarray:
    """Return a finite float64 array, or raise naming the argument and the first bad entry."""
    if type(value) is not np.ndarray:
        _validate.unmasked(value, name)
        value = _arrays.to_host(value, name)
    array = np.asarray(value)
    check_real(array.dtype, name)
    array = np.asarray(array, dtype=np.float64)
    # a finite sum has finite terms; the sum of finite ones may be infinite
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(array.sum())
    if not finite and not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise not_finite(name, array[at], at)
    return array


def check_real(dtype: Any, name: str) -> None:
    """Raise unless numbers of this dtype, of any array library, are real."""
    kind = dtype.kind if isinstance(dtype, np.dtype) else _kind_of(str(dtype))
    if kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got dtype {dtype}")


def _kind_of(dtype: str) -> str:
    """Letter by which NumPy knows a dtype of torch."""
    return next((k for k in ("float", "int", "uint") if k in dtype), "other")[0]


def not_finite(name: str, value: Any, at: Sequence[int]) -> ValueError:
    """Return the error for an entry that is not finite."""
    return ValueError(
        f"{name} must be finite, got {value} at {list(at)}; drop such samples before estimating "
        "moments"
    )


def check_dtype(dtype: Any) -> np.dtype:
    """Return float32 or float64, or raise."""
    if np.dtype(dtype) not in _DTYPES:
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    return np.dtype(dtype)


def check_mean(mean: Any, dim: int, name: str) -> None:
    """Raise unless the last axis is that of the covariance."""
    shape = tuple(mean.shape)
    if not shape or shape[-1] != dim:
        raise ValueError(f"{name} must have shape (..., {dim}) like its covariance, got {shape}")


def same_dimension(first: Any, second: Any, name1: str, name2: str) -> None:
    """Raise unless both have as many columns."""
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"{name1} and {name2} must have the same number of columns, got {first.shape[-1]} and "
            f"{second.shape[-1]}; compare features of one extractor"
        )


def same_size(first: Any, second: Any) -> None:
    """Raise unless two covariances, as an engine has them, are of one dimension."""
    if first.dim != second.dim:
        raise ValueError(
            f"{first.name} and {second.name} must have the same dimension, got {first.dim} and "
            f"{second.dim}; compare features of one extractor"
        )


def broadcast_pairs(shape1: tuple[int, ...], shape2: tuple[int, ...]) -> list[np.ndarray]:
    """Positions, in two operands with these leading shapes, of what is paired."""
    return list(
        np.broadcast_arrays(
            *(np.arange(int(np.prod(shape))).reshape(shape) for shape in (shape1, shape2))
        )
    )


def check_means(means: Any, name: str) -> Any:
    """Return means, an array of any library, if their shape is (K, d)."""
    if means.ndim != 2 or 0 in means.shape:
        raise ValueError(
            f"{name} must have shape (n_components, d), none of them zero, got "
            f"{tuple(means.shape)}; for one Gaussian pass mean[None]"
        )
    return means


def weight_vector(
    value: Any, name: str, n_components: int, *, total: float | None = 1.0
) -> np.ndarray:
    """Return nonnegative weights (K,) brought to sum 1; ``total`` is what they should sum to."""
    weights = real_array(value, name)
    if weights.shape != (n_components,):
        raise ValueError(f"{name} must have shape ({n_components},), got {weights.shape}")
    if weights.min() < 0:
        at = int(weights.argmin())
        raise ValueError(f"{name} must not be negative, got {weights[at]} at position {at}")
    found = weights.sum()
    if found == 0 or (total is not None and abs(found - total) > 1e-3):
        raise ValueError(f"{name} must sum to {total or 'more than 0'}, got {found}; normalize it")
    return weights / found


class Entry(NamedTuple):
    """One covariance as it was given: ``values`` is an array of any library."""

    kind: str  # "full" (d, d), "diagonal" (d,) variances, "spherical" () variance, "factor" (d, n)
    values: Any
    name: str


Read = Callable[[Any, str], Any]


def operand(value: Any, name: str, read: Read) -> tuple[list[Entry], tuple[int, ...]]:
    """Covariances of an array (..., d, d) or of one factor, and the leading shape.

    Parameters
    ----------
    value : array (..., d, d) or CovarianceFactor
    name : str
        What it is called in messages.
    read : callable (value, name) -> array
        Brings an array to the engine's library, and checks that it is finite and real.
    """
    if isinstance(value, CovarianceFactor):
        return [_factor(value, f"{name}[0]", read)], ()
    array = read(value, name)
    if array.ndim < 2:
        raise ValueError(f"{name} must have shape (..., d, d), got {tuple(array.shape)}")
    leading = tuple(array.shape[:-2])
    if array.ndim == 2:
        return [_square(array, name)], ()
    if 0 in array.shape:
        raise ValueError(
            f"{name} must hold at least one covariance, got shape {tuple(array.shape)}"
        )
    return [
        _square(array[at], f"{name}[{', '.join(map(str, at))}]") for at in np.ndindex(leading)
    ], leading


def of_mixture(
    value: Any,
    name: str,
    *,
    n_components: int,
    dim: int,
    covariance_type: str | None = None,
    read: Read,
) -> list[Entry]:
    """Covariances of a mixture in any of scikit-learn's four shapes, or factors, one per component.

    Tied covariances give the same entry for every component. ``read`` is as for `operand`.
    """
    if isinstance(value, CovarianceFactor):
        value = [value]
    if isinstance(value, list | tuple) and any(isinstance(v, CovarianceFactor) for v in value):
        found = [_one(v, f"{name}[{k}]", read) for k, v in enumerate(value)]
    else:
        array = read(value, name)
        shape = tuple(array.shape)
        kind = covariance_type or _kind(shape, name, n_components, dim)
        shapes = {
            "full": (n_components, dim, dim),
            "tied": (dim, dim),
            "diag": (n_components, dim),
            "spherical": (n_components,),
        }
        if kind not in shapes:
            raise ValueError(f"covariance_type must be one of {', '.join(shapes)}, got {kind!r}")
        if shape != shapes[kind]:
            raise ValueError(
                f"{name} must have shape {shapes[kind]} for {kind} covariances of {n_components} "
                f"components in dimension {dim}, got {shape}"
            )
        found = _entries(array, kind, name, n_components)
    if len(found) != n_components:
        raise ValueError(f"{name} must hold {n_components} covariances, got {len(found)}")
    for entry in found:
        if entry.kind != "spherical" and entry.values.shape[0] != dim:
            raise ValueError(
                f"{entry.name} must have {dim} rows like the means, got {entry.values.shape[0]}"
            )
    return found


def _kind(shape: tuple[int, ...], name: str, n_components: int, dim: int) -> str:
    """Name scikit-learn's covariance type by its shape."""
    if len(shape) == 2 and n_components == dim > 1:
        raise ValueError(
            f"{name} of shape {shape} may be tied or diagonal; pass it as "
            f"({n_components}, {dim}, {dim}), or pass a mixture with the attribute covariance_type"
        )
    kinds = {(n_components, dim): "diag", (dim, dim): "tied", (n_components,): "spherical"}
    return kinds.get(shape, "full")


def _entries(array: Any, kind: str, name: str, n_components: int) -> list[Entry]:
    if kind == "full":
        return [Entry("full", array[k], f"{name}[{k}]") for k in range(n_components)]
    if kind == "tied":
        return [Entry("full", array, name)] * n_components
    values = _arrays.detached(array)
    least = float(values.min())
    if least < 0:
        at = np.unravel_index(int(values.argmin()), tuple(values.shape))
        raise ValueError(f"{name} must hold variances, got {least} at {[int(i) for i in at]}")
    kind = "spherical" if kind == "spherical" else "diagonal"
    return [Entry(kind, array[k], f"{name}[{k}]") for k in range(n_components)]


def _one(value: Any, name: str, read: Read) -> Entry:
    if isinstance(value, CovarianceFactor):
        return _factor(value, name, read)
    return _square(read(value, name), name)


def _factor(value: CovarianceFactor, name: str, read: Read) -> Entry:
    array = read(value.array, name)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} must be a factor (d, n), none of them zero, got {tuple(array.shape)}"
        )
    return Entry("factor", array, name)


def _square(matrix: Any, name: str) -> Entry:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.shape[0]:
        raise ValueError(f"{name} must be a square matrix (d, d), got shape {tuple(matrix.shape)}")
    return Entry("full", matrix, name)


def asymmetric(name: str, gap: float) -> ValueError:
    """Return the error for a matrix that differs from its mirror by more than rounding."""
    return ValueError(
        f"{name} must be symmetric, got entries that differ from their mirror by {gap:.2g} of the "
        "largest; pass (C + C.T) / 2 if that is meant"
    )


def indefinite(name: str, least: float, largest: float) -> ValueError:
    """Return the error for a matrix with an eigenvalue that is negative by more than rounding."""
    return ValueError(
        f"{name} must be positive semidefinite, got an eigenvalue {least:.3g} beside a largest one "
        f"of {largest:.3g}; pass a covariance matrix, estimated in float64 from centered samples"
    )


# --- covariances on the host ---------------------------------------------------------------------


def checked(entries: Sequence[Entry], dim: int | None = None) -> list[Covariance]:
    """Covariances of entries that are NumPy's; an entry given twice becomes one object."""
    found: dict[int, Covariance] = {}
    for entry in entries:
        if id(entry) not in found:
            found[id(entry)] = _host(entry, dim)
    return [found[id(entry)] for entry in entries]


def _host(entry: Entry, dim: int | None) -> Covariance:
    if entry.kind == "spherical" and dim is not None:
        return Covariance("diagonal", np.full(dim, entry.values), entry.name)
    if entry.kind == "full":
        return full(entry.values, entry.name)
    return Covariance(entry.kind, entry.values, entry.name)


def full(matrix: np.ndarray, name: str) -> Covariance:
    """Check one (d, d) matrix; what is factored is its symmetric part."""
    _square(matrix, name)
    symmetric = _is_symmetric(matrix)
    if not symmetric:
        peak = np.abs(matrix).max()
        gap = np.abs(matrix / peak - matrix.T / peak).max()
        if gap > ROUNDING:
            raise asymmetric(name, gap)
    return Covariance("full", matrix, name, symmetric=symmetric)


def _is_symmetric(matrix: np.ndarray) -> bool:
    """Whether it equals its transpose, by tiles: both stay in the cache."""
    tiles = [slice(start, start + _TILE) for start in range(0, len(matrix), _TILE)]
    return all(
        np.array_equal(matrix[rows, columns], matrix[columns, rows].T)
        for i, rows in enumerate(tiles)
        for columns in tiles[: i + 1]
    )
