"""Squared 2-Wasserstein distances between Gaussians, right also where covariances are singular.

No matrix square root is taken: with factors ``A = L L^T`` and ``B = M M^T`` the trace
``tr (A^{1/2} B A^{1/2})^{1/2}`` is the nuclear norm of ``L^T M``, for any factors. Every
covariance is factored once; one that was given as a `CovarianceFactor` is not squared. A single
pair of large matrices of full rank needs one factor only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import library
from .covariances import (
    Covariance,
    CovarianceFactor,
    covariance_list,
    full,
    mean_matrix,
    real_array,
)
from .engines.host import PairParts, mean_costs, squared_gap

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def bures(cov1: Any, cov2: Any, *, dtype: Any = np.float64, n_jobs: int | None = None) -> Any:
    """Squared Bures distance: the covariance part of the squared 2-Wasserstein distance.

    ``tr (A + B - 2 (A^{1/2} B A^{1/2})^{1/2})`` (Olkin and Pukelsheim, "The distance between two
    random vectors with given dispersion matrices", Linear Algebra Appl. 48, 1982).

    Parameters
    ----------
    cov1, cov2 : array (..., d, d) or CovarianceFactor
        Symmetric positive semidefinite, singular or not; leading axes broadcast. NumPy, or all
        torch (differentiable), or all CuPy (that path has not yet been run on a device). Asymmetry
        and negative eigenvalues up to 1e-6 of the largest entry count as rounding.
    dtype : float64 or float32, default float64
        Arithmetic for factors of up to 160 columns; larger ones, factorizations and sums are in
        float64. For NumPy; float32 has a relative error of about 1e-6 of the traces.
    n_jobs : int, optional
        Threads over the pairs, as in joblib. For NumPy.

    Returns
    -------
    float or array (...)
        **Squared** distances. Of the inputs' dtype for torch and CuPy, float64 for NumPy. Exactly
        0 for equal covariances.

    Raises
    ------
    TypeError
        If an argument is not real, or torch and CuPy are mixed.
    ValueError
        If a covariance is not finite, square, symmetric, positive semidefinite, of the other's
        dimension, or so small or large that float64 cannot hold the answer.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import bures
    >>> round(bures([[2.0, 1.0], [1.0, 2.0]], np.diag([1.0, 3.0])), 10)    # 8 - 2 sqrt(14)
    0.5166852265
    """
    kind = library(cov1, cov2)
    if kind == "torch":
        from .engines import tensors

        return tensors.bures(cov1, cov2)
    if kind == "cupy":
        from .engines import device

        return device.bures(cov1, cov2)
    return _host_bures(operand(cov1, "cov1"), operand(cov2, "cov2"), dtype, n_jobs)


def frechet_distance(
    mean1: Any,
    cov1: Any,
    mean2: Any,
    cov2: Any,
    *,
    dtype: Any = np.float64,
    n_jobs: int | None = None,
) -> Any:
    """Squared Frechet (2-Wasserstein) distance between Gaussians: ``|m1 - m2|^2 + bures``.

    On moments of Inception features it is the FID (Heusel et al., 2017, equation 6), which is a
    squared distance.

    Parameters
    ----------
    mean1, mean2 : array (..., d)
    cov1, cov2 : array (..., d, d) or CovarianceFactor
        As for `bures`; leading axes of means and covariances broadcast.
    dtype, n_jobs
        As for `bures`.

    Returns
    -------
    float or array (...)
        **Squared** distances.

    Raises
    ------
    TypeError, ValueError
        As for `bures`, or if means and covariances differ in dimension.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import frechet_distance
    >>> round(frechet_distance([0.0, 0.0], np.eye(2), [3.0, 4.0], 4 * np.eye(2)), 12)
    27.0
    """
    kind = library(mean1, cov1, mean2, cov2)
    if kind == "torch":
        from .engines import tensors

        return tensors.frechet_distance(mean1, cov1, mean2, cov2)
    if kind == "cupy":
        from .engines import device

        return device.frechet_distance(mean1, cov1, mean2, cov2)
    means = [real_array(mean1, "mean1"), real_array(mean2, "mean2")]
    operands = [operand(cov1, "cov1"), operand(cov2, "cov2")]
    for mean, (covariances, _), name in zip(means, operands, ("mean1", "mean2"), strict=True):
        check_mean(mean, covariances[0].dim, name)
    part = _host_bures(*operands, dtype, n_jobs)
    out = squared_gap(*means) + part
    return float(out) if np.ndim(out) == 0 else out


def dist_bures_squared(
    m_s: Any,
    m_t: Any,
    C_s: Any,
    C_t: Any,
    *,
    dtype: Any = np.float64,
    n_jobs: int | None = None,
) -> Any:
    """Squared 2-Wasserstein distances between all components of two Gaussian mixtures.

    In place of ``ot.gmm.dist_bures_squared``: the same arguments in the same order, the same
    result, also where covariances are singular. Nothing of size (k_s, k_t, d, d) is formed.

    Parameters
    ----------
    m_s, m_t : array (k_s, d), array (k_t, d)
        Means.
    C_s, C_t : array (k, d, d), (d, d), (k, d) or (k,), or list of CovarianceFactor
        Full, tied, diagonal or spherical covariances as in scikit-learn; diagonal and spherical
        ones hold variances. A square (k, d) is ambiguous and refused.
    dtype, n_jobs
        As for `bures`.

    Returns
    -------
    array (k_s, k_t)
        **Squared** distances; exactly 0 between equal components.

    Raises
    ------
    TypeError, ValueError
        As for `bures`, or if shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import dist_bures_squared
    >>> dist_bures_squared([[0.0], [3.0]], [[0.0]], [1.0, 4.0], [1.0])
    array([[ 0.],
           [10.]])
    """
    kind = library(m_s, m_t, C_s, C_t)
    if kind == "torch":
        from .engines import tensors

        return tensors.dist_bures_squared(m_s, m_t, C_s, C_t)
    if kind == "cupy":
        from .engines import device

        return device.dist_bures_squared(m_s, m_t, C_s, C_t)
    m_s, m_t = mean_matrix(m_s, "m_s"), mean_matrix(m_t, "m_t")
    same_dimension(m_s, m_t, "m_s", "m_t")
    left = covariance_list(C_s, "C_s", n_components=len(m_s), dim=m_s.shape[1])
    right = covariance_list(C_t, "C_t", n_components=len(m_t), dim=m_t.shape[1])
    parts = PairParts(left, right, check_dtype(dtype), n_jobs)
    rows, columns = np.indices((len(m_s), len(m_t)))
    part = parts.evaluate(rows.ravel(), columns.ravel()).reshape(rows.shape)
    return mean_costs(m_s, m_t) + part


def check_dtype(dtype: Any) -> np.dtype:
    """Return float32 or float64, or raise."""
    if np.dtype(dtype) not in _DTYPES:
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    return np.dtype(dtype)


def check_mean(mean: Any, dim: int, name: str) -> None:
    """Raise unless the last axis is that of the covariance."""
    shape = tuple(mean.shape) if hasattr(mean, "shape") else np.shape(mean)
    if not shape or shape[-1] != dim:
        raise ValueError(f"{name} must have shape (..., {dim}) like its covariance, got {shape}")


def same_size(first: Covariance, second: Covariance) -> None:
    """Raise unless both covariances are of one dimension."""
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


def same_dimension(first: np.ndarray, second: np.ndarray, name1: str, name2: str) -> None:
    """Raise unless both have as many columns."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{name1} and {name2} must have the same number of columns, got {first.shape[1]} and "
            f"{second.shape[1]}; compare features of one extractor"
        )


def operand(value: Any, name: str) -> tuple[list[Covariance], tuple[int, ...]]:
    """Covariances of an array (..., d, d) or of one factor, and the leading shape."""
    if isinstance(value, CovarianceFactor):
        array = real_array(value.array, name)
        dim = array.shape[0] if array.ndim == 2 else 0
        return covariance_list(value, name, n_components=1, dim=dim), ()
    array = real_array(value, name)
    if array.ndim < 2:
        raise ValueError(f"{name} must have shape (..., d, d), got {array.shape}")
    leading = array.shape[:-2]
    if array.ndim == 2:
        return [full(array, name)], ()
    if not array.size:
        raise ValueError(f"{name} must hold at least one covariance, got shape {array.shape}")
    each = [full(array[at], f"{name}[{', '.join(map(str, at))}]") for at in np.ndindex(leading)]
    return each, leading


def _host_bures(first, second, dtype, n_jobs) -> Any:
    (left, shape1), (right, shape2) = first, second
    same_size(left[0], right[0])
    rows, columns = broadcast_pairs(shape1, shape2)
    parts = PairParts(left, right, check_dtype(dtype), n_jobs)
    found = parts.evaluate(rows.ravel(), columns.ravel()).reshape(rows.shape)
    return float(found) if found.ndim == 0 else found
