"""What distances of Gaussians accept and refuse: samples, rounding, wrong arguments."""

from __future__ import annotations

import numpy as np
import pytest
from examples.gaussians import A, B, factors
from oracles import bures as naive

from fastgen.metrics import CovarianceFactor, bures, dist_bures_squared, frechet_distance

# --- factors from samples ------------------------------------------------------------------------


def test_factor_from_samples():
    rng = np.random.default_rng(10)
    x = rng.standard_normal((20, 4))
    for ddof in (0, 1):
        mean, factor = CovarianceFactor.from_samples(x, ddof=ddof)
        np.testing.assert_allclose(mean, x.mean(0))
        np.testing.assert_allclose(factor.array @ factor.array.T, np.cov(x.T, ddof=ddof))
    weights = rng.gamma(1, size=20) * (np.arange(20) > 4)
    mean, factor = CovarianceFactor.from_samples(x, weights)
    assert factor.array.shape == (4, 15)
    np.testing.assert_allclose(mean, np.average(x, axis=0, weights=weights))
    np.testing.assert_allclose(factor.array @ factor.array.T, np.cov(x.T, aweights=weights, ddof=0))
    assert repr(factor) == "CovarianceFactor(shape=(4, 15))"


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [2, 5, 12])
def test_factor_of_few_samples_has_independent_columns(n, weighted):
    rng = np.random.default_rng(n)
    x = 1e3 + rng.standard_normal((n, 12))
    weights = rng.gamma(1, size=n) if weighted else None
    _, factor = CovarianceFactor.from_samples(x, weights)
    assert factor.array.shape == (12, n - 1)
    assert np.linalg.matrix_rank(factor.array) == n - 1
    expected = np.cov(x.T, aweights=weights, ddof=0)
    np.testing.assert_allclose(factor.array @ factor.array.T, expected, rtol=0, atol=1e-11)


def test_factor_from_samples_refuses():
    with pytest.raises(ValueError, match="more rows than ddof=1, got 1"):
        CovarianceFactor.from_samples([[1.0]], ddof=1)
    with pytest.raises(ValueError, match="ddof must be 0 with weights"):
        CovarianceFactor.from_samples([[1.0], [2.0]], [1, 1], ddof=1)
    with pytest.raises(ValueError, match=r"weights must not be negative, got -1\.0 at position 1"):
        CovarianceFactor.from_samples([[1.0], [2.0]], [1, -1])
    with pytest.raises(ValueError, match="weights must sum to more than 0"):
        CovarianceFactor.from_samples([[1.0], [2.0]], [0, 0])
    with pytest.raises(ValueError, match="X must be finite"):
        CovarianceFactor.from_samples([[np.nan]])


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("covariance", "error", "message"),
    [
        ([[1.0, 0.0], [0.0, np.nan]], ValueError, r"cov1 must be finite, got nan at \[1, 1\]"),
        ([[1.0, 0.0], [0.0, -np.inf]], ValueError, "cov1 must be finite"),
        ([[1.0, 0.5], [0.4, 1.0]], ValueError, r"cov1 must be symmetric.*C \+ C\.T"),
        ([[1.0, 2.0], [2.0, 1.0]], ValueError, "cov1 must be positive semidefinite.*-1"),
        ([[-1.0, 0.0], [0.0, -1.0]], ValueError, "cov1 must be positive semidefinite"),
        ([[0.0, 1.0], [1.0, 0.0]], ValueError, "cov1 must be positive semidefinite"),
        ([1.0, 2.0], ValueError, r"cov1 must have shape \(\.\.\., d, d\)"),
        ([[1.0, 2.0]], ValueError, "cov1 must be a square matrix"),
        (np.empty((0, 0)), ValueError, "cov1 must be a square matrix"),
        (np.empty((0, 2, 2)), ValueError, "cov1 must hold at least one covariance"),
        ([[1j, 0], [0, 1]], TypeError, "cov1 must hold real numbers"),
        ([["a", "b"], ["b", "a"]], TypeError, "cov1 must hold real numbers"),
        (np.eye(3), ValueError, "same dimension, got 3 and 2"),
        (CovarianceFactor([1.0, 2.0]), ValueError, r"must be a factor \(d, n\)"),
        (CovarianceFactor([[np.nan], [0.0]]), ValueError, "must be finite"),
    ],
)
def test_bad_covariances_are_refused(covariance, error, message):
    with pytest.raises(error, match=message):
        bures(covariance, np.eye(2))


def test_rounding_is_not_refused():
    rng = np.random.default_rng(11)
    x, y = factors(rng, 2, 60, 20)
    expected = naive.bures_factors(x, y)
    rough = [(f @ f.T).astype(np.float32).astype(np.float64) for f in (x, y)]
    rough[0][0, 1] *= 1 + 1e-7
    assert np.linalg.eigvalsh(rough[0])[0] < 0
    assert bures(*rough) == pytest.approx(expected, rel=1e-3)
    assert bures([[4]], [[1]]) == pytest.approx(1)  # integers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0]], [[0.0, 1.0]], [1.0], [1.0]), "same number of columns, got 1 and 2"),
        (([0.0], [[0.0]], [1.0], [1.0]), r"m_s must have shape \(n_components, d\)"),
        (([[np.nan]], [[0.0]], [1.0], [1.0]), "m_s must be finite"),
        (([[0.0]], [[0.0]], [1.0, 1.0], [1.0]), r"C_s must have shape \(1, 1, 1\)"),
        (
            ([[0.0]], [[0.0]], [-1.0], [1.0]),
            r"C_s must hold variances, got -1.0 at \[0, 0\]|got -1",
        ),
        ((np.eye(2), np.eye(2), np.eye(2), np.eye(2)), r"tied or diagonal; pass it as \(2, 2, 2\)"),
        (([[0.0]], [[0.0]], [CovarianceFactor([[1.0]])] * 2, [1.0]), "C_s must hold 1 cov"),
        (([[0.0]], [[0.0]], [CovarianceFactor(np.eye(2))], [1.0]), "must have 1 rows like"),
    ],
)
def test_bad_mixtures_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dist_bures_squared(*arguments)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got int64"):
        bures(A, B, dtype=int)
    with pytest.raises(ValueError, match=r"mean2 must have shape \(\.\.\., 2\)"):
        frechet_distance([0.0, 0.0], A, [0.0], B)
    with pytest.raises(ValueError, match=r"mean1 must have shape"):
        frechet_distance(0.0, A, [0.0, 0.0], B)
