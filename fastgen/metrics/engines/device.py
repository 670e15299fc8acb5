"""Distances of Gaussians where the arrays live, with the array library's own linear algebra.

For CuPy, and for the forward pass on CUDA tensors. Everything is in float64: in single precision a
root taken through an eigenproblem loses half of seven digits. The CuPy path has been run with NumPy
in CuPy's place and through the host shim of the tests; it has not yet been run on a device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._dispatch import gaussian as dispatch
from .. import _transport
from ..covariances import ROUNDING, CovarianceFactor, weight_vector


def namespace(*values: Any) -> Any:
    """Return the module, CuPy or NumPy, of the first array that is CuPy's."""
    for value in values:
        array = value.array if isinstance(value, CovarianceFactor) else value
        if isinstance(array, list | tuple):
            return namespace(*array)
        if hasattr(array, "__cuda_array_interface__"):
            import cupy

            return cupy
    return np


def bures(cov1: Any, cov2: Any) -> Any:
    """As `fastgen.metrics.bures`."""
    xp = namespace(cov1, cov2)
    (first, shape1), (second, shape2) = operand(xp, cov1, "cov1"), operand(xp, cov2, "cov2")
    rows, columns = np.broadcast_arrays(
        np.arange(len(first)).reshape(shape1), np.arange(len(second)).reshape(shape2)
    )
    pairs = np.stack((rows.ravel(), columns.ravel()), axis=1)
    return parts(xp, first, second, pairs).reshape(rows.shape).astype(result_dtype(cov1, cov2))


def frechet_distance(mean1: Any, cov1: Any, mean2: Any, cov2: Any) -> Any:
    """As `fastgen.metrics.frechet_distance`."""
    xp = namespace(mean1, cov1, mean2, cov2)
    gap = xp.asarray(mean1, dtype=xp.float64) - xp.asarray(mean2, dtype=xp.float64)
    return finite(xp, (gap**2).sum(axis=-1) + bures(cov1, cov2), "the means")


def dist_bures_squared(m_s: Any, m_t: Any, C_s: Any, C_t: Any) -> Any:
    """As `fastgen.metrics.dist_bures_squared`."""
    xp = namespace(m_s, m_t, C_s, C_t)
    first = components(xp, C_s, "C_s", *m_s.shape)
    second = components(xp, C_t, "C_t", *m_t.shape)
    pairs = np.indices((len(first), len(second))).reshape(2, -1).T
    part = parts(xp, first, second, pairs).reshape(len(first), len(second))
    return finite(xp, mean_costs(m_s, m_t) + part, "the means").astype(result_dtype(m_s, m_t))


def mean_costs(m_s: Any, m_t: Any) -> Any:
    """Squared distances (K0, K1) of the rows."""
    xp = namespace(m_s, m_t)
    m_s, m_t = xp.asarray(m_s, dtype=xp.float64), xp.asarray(m_t, dtype=xp.float64)
    return xp.stack([((row - m_t) ** 2).sum(axis=1) for row in m_s])


def transport(w_s: Any, w_t: Any, costs: Any) -> tuple[Any, Any]:
    """Value and plan; the plan is solved for on the host."""
    xp = namespace(costs)
    host = costs.get() if hasattr(costs, "get") else costs
    p = weight_vector(w_s, "w_s", host.shape[0])
    q = weight_vector(w_t, "w_t", host.shape[1])
    plan = xp.asarray(_transport.solve(p, q, np.asarray(host, dtype=np.float64)).plan)
    return (plan * costs).sum(), plan


def result_dtype(*values: Any) -> Any:
    """Return the widest floating type of the arrays."""
    arrays = [v.array if isinstance(v, CovarianceFactor) else v for v in values]
    return np.result_type(*(np.dtype(str(a.dtype)) for a in arrays), np.float32)


def operand(xp: Any, value: Any, name: str) -> tuple[list[Any], tuple[int, ...]]:
    """Factors of an array (..., d, d) or of one factor, and the leading shape."""
    if isinstance(value, CovarianceFactor):
        return [factor_array(xp, value, name)], ()
    array = xp.asarray(value, dtype=xp.float64)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} must have shape (..., d, d), got {array.shape}")
    flat = array.reshape(-1, *array.shape[-2:])
    return [root(xp, matrix, name) for matrix in flat], tuple(array.shape[:-2])


def components(xp: Any, value: Any, name: str, n_components: int, dim: int) -> list[Any]:
    """One factor (d, r) per component, from covariances in scikit-learn's shapes or factors."""
    if isinstance(value, list | tuple):
        found = [factor_array(xp, v, f"{name}[{k}]") for k, v in enumerate(value)]
    else:
        array = xp.asarray(value, dtype=xp.float64)
        shape, eye = tuple(array.shape), xp.eye(dim)
        if shape == (n_components, dim, dim):
            found = [root(xp, matrix, f"{name}[{k}]") for k, matrix in enumerate(array)]
        elif shape == (dim, dim) and (n_components != dim or dim == 1):
            found = [root(xp, array, name)] * n_components
        elif shape in ((n_components, dim), (n_components,)) and n_components != dim:
            variances = finite(xp, xp.sqrt(array), name).reshape(n_components, -1, 1)
            found = [eye * row for row in variances]
        else:
            raise ValueError(
                f"{name} must have shape ({n_components}, {dim}, {dim}), got {shape}; other shapes "
                "of scikit-learn are accepted where they are not ambiguous"
            )
    if len(found) != n_components:
        raise ValueError(f"{name} must hold {n_components} covariances, got {len(found)}")
    return found


def factor_array(xp: Any, value: CovarianceFactor, name: str) -> Any:
    """Return the array of a factor, checked."""
    array = finite(xp, xp.asarray(value.array, dtype=xp.float64), name)
    if array.ndim != 2:
        raise ValueError(f"{name} must be a factor (d, n), got shape {tuple(array.shape)}")
    return array


def finite(xp: Any, array: Any, name: str) -> Any:
    """Return ``array``, or raise if it holds NaN or infinity."""
    if not bool(xp.isfinite(array).all()):
        raise ValueError(f"{name} must be finite, nonnegative where squared, and of moderate size")
    return array


def root(xp: Any, matrix: Any, name: str) -> Any:
    """Factor (d, r) of a covariance through its eigenvectors, checked."""
    finite(xp, matrix, name)
    peak = float(abs(matrix).max())
    if peak == 0:
        return matrix
    scale = float(2.0 ** (np.frexp(peak)[1] // 2))
    unit = matrix / scale / scale
    gap = float(abs(unit - unit.T).max()) * scale * scale / peak
    values, vectors = xp.linalg.eigh((unit + unit.T) / 2)
    low = float(values[0]) / max(abs(float(values[-1])), abs(float(values[0])))
    if gap > ROUNDING or low < -ROUNDING:
        what = f"asymmetry {gap:.2g}" if gap > ROUNDING else f"a negative eigenvalue {low:.2g}"
        raise ValueError(
            f"{name} must be symmetric positive semidefinite, got {what} relative to the largest; "
            "estimate it in float64 from centred samples"
        )
    noise = len(matrix) * np.finfo(np.float64).eps * float(values[-1])
    kept = values > noise
    return vectors[:, kept] * xp.sqrt(values[kept]) * scale


def parts(xp: Any, left: list[Any], right: list[Any], pairs: np.ndarray) -> Any:
    """Covariance parts of the pairs (left[a], right[b])."""
    traces = [[(f**2).sum() for f in side] for side in (left, right)]
    total = xp.stack([traces[0][a] + traces[1][b] for a, b in pairs.tolist()])
    found = total - 2 * overlaps(xp, left, right, pairs)
    equal = xp.asarray([_equal(xp, left[a], right[b]) for a, b in pairs.tolist()])
    zero = xp.zeros_like(found)
    return xp.where(equal | (found < 0), zero, found)


def _equal(xp: Any, a: Any, b: Any) -> bool:
    return a is b or (tuple(a.shape) == tuple(b.shape) and bool((a == b).all()))


def overlaps(xp: Any, left: list[Any], right: list[Any], pairs: np.ndarray) -> Any:
    """Nuclear norms of the cross-products: CUDA kernels for CuPy, singular values elsewhere."""
    if xp.__name__ == "cupy":
        kernels = dispatch.cuda_kernels()
        rows = xp.concatenate([f.T for f in (*left, *right)])
        sizes = [f.shape[1] for f in (*left, *right)]
        shifted = pairs + np.array([0, len(left)])
        return kernels.pair_nuclear_norms(rows, np.cumsum([0, *sizes]), shifted)
    return xp.stack([_nuclear(xp, left[a].T @ right[b]) for a, b in pairs.tolist()])


def _nuclear(xp: Any, matrix: Any) -> Any:
    if min(matrix.shape) == 0:
        return matrix.sum()
    if hasattr(xp.linalg, "svdvals"):
        return xp.linalg.svdvals(matrix).sum()
    return xp.linalg.svd(matrix, compute_uv=False).sum()
