"""Squared 2-Wasserstein distances between Gaussians, right also where covariances are singular.

No matrix square root is taken: with factors ``A = L L^T`` and ``B = M M^T`` the trace
``tr (A^{1/2} B A^{1/2})^{1/2}`` is the nuclear norm of ``L^T M``, for any factors. Every
covariance is factored once; one that was given as a `CovarianceFactor` is not squared. A single
pair of large matrices of full rank needs one factor only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import engines
from .covariances import broadcast_pairs, check_mean, check_means, of_mixture, operand, same_size
from .covariances import same_dimension as same_columns


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
    engine = engines.of(cov1, cov2)
    part, _ = _paired(engine, cov1, cov2, dtype, n_jobs)
    return engine.result(part, cov1, cov2)


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
    engine = engines.of(mean1, cov1, mean2, cov2)
    means = engine.read(mean1, "mean1"), engine.read(mean2, "mean2")
    part, dims = _paired(engine, cov1, cov2, dtype, n_jobs)
    for mean, dim, name in zip(means, dims, ("mean1", "mean2"), strict=True):
        check_mean(mean, dim, name)
    return engine.result(engine.squared_gap(*means) + part, mean1, cov1, mean2, cov2)


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
    engine = engines.of(m_s, m_t, C_s, C_t)
    sides = []
    for given, covariances, end in ((m_s, C_s, "s"), (m_t, C_t, "t")):
        means = check_means(engine.read(given, f"m_{end}"), f"m_{end}")
        k, d = means.shape
        entries = of_mixture(covariances, f"C_{end}", n_components=k, dim=d, read=engine.read)
        sides.append((means, entries))
    (first, left), (second, right) = sides
    same_columns(first, second, "m_s", "m_t")
    d = first.shape[1]
    parts = engine.PairParts(
        engine.covariances(left, d), engine.covariances(right, d), dtype, n_jobs
    )
    rows, columns = np.indices((len(left), len(right)))
    part = parts.evaluate(rows.ravel(), columns.ravel()).reshape(rows.shape)
    return engine.result(engine.mean_costs(first, second) + part, m_s, m_t, C_s, C_t)


def _paired(
    engine: Any, cov1: Any, cov2: Any, dtype: Any, n_jobs: int | None
) -> tuple[Any, tuple[int, int]]:
    """Covariance parts of broadcast operands, and the dimension of each."""
    (left, shape1), (right, shape2) = (
        (engine.covariances(entries), shape)
        for entries, shape in (
            operand(value, name, engine.read) for value, name in ((cov1, "cov1"), (cov2, "cov2"))
        )
    )
    same_size(left[0], right[0])
    rows, columns = broadcast_pairs(shape1, shape2)
    part = engine.PairParts(left, right, dtype, n_jobs).evaluate(rows.ravel(), columns.ravel())
    return part.reshape(rows.shape), (left[0].dim, right[0].dim)
