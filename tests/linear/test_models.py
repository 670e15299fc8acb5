"""Data models: a given covariance, a power law, and a covariance taken for data."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from fastgen.linear import GaussianData, SpikedGaussian, power_law, sweep

ARGUMENTS = dict(latent_dims=[1, 2, 5, 9], n_samples=6, n_trials=2, random_state=0)


@settings(max_examples=25, deadline=None)
@given(d=st.integers(1, 9), rank=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_factor_and_samples_of_any_covariance(d, rank, seed):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((d, min(rank, d)))
    mean = rng.standard_normal(d)
    model = GaussianData(half @ half.T, mean)
    factor = model.covariance_factor_
    assert factor.shape == (min(rank, d), d)
    np.testing.assert_allclose(factor.T @ factor, half @ half.T, atol=1e-12 * (half**2).sum())
    rows = model.sample(4000, random_state=seed)
    spread = np.sqrt((half**2).sum(axis=1))
    assert (np.abs(rows.mean(axis=0) - mean) < 6 * spread / np.sqrt(4000)).all()
    scale = (half**2).sum()
    np.testing.assert_allclose(np.cov(rows.T).reshape(d, d), half @ half.T, atol=0.25 * scale)
    np.testing.assert_array_equal(rows, model.sample(4000, random_state=seed))


def test_the_mean_plays_no_part_in_a_sweep():
    covariance = np.diag([4.0, 2, 1, 0.5])
    far = sweep(GaussianData(covariance, [5.0, -3, 0, 1]), **ARGUMENTS)
    np.testing.assert_allclose(far.w2, sweep(GaussianData(covariance), **ARGUMENTS).w2, rtol=1e-9)


def test_power_law_has_its_eigenvalues():
    model = power_law(6, 1.5)
    values = np.linalg.eigvalsh(model.covariance_)[::-1]
    np.testing.assert_allclose(values, np.arange(1.0, 7) ** -1.5)
    assert power_law(3, 0).covariance_.tolist() == np.eye(3).tolist()
    result = sweep(model, **ARGUMENTS)
    # an unsupervised generator of one direction leaves the rest of the spectrum, at best
    least = values[1:].sum()
    assert (result.projection_error.sel(problem="unsupervised", latent_dim=1) >= least).all()


@pytest.mark.parametrize("estimator", [EmpiricalCovariance, LedoitWolf])
def test_fitted_covariances_of_scikit_learn(estimator):
    rows = np.random.default_rng(0).normal([1.0, 2, 3, 4], size=(50, 4))
    fitted = estimator().fit(rows)
    model = GaussianData(fitted)
    np.testing.assert_array_equal(model.covariance_, fitted.covariance_)
    np.testing.assert_array_equal(model.mean_, fitted.location_)
    assert GaussianData(fitted, mean=np.zeros(4)).mean_.tolist() == [0.0] * 4


def test_frozen_distributions_of_scipy():
    model = GaussianData(multivariate_normal([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]))
    assert model.mean_.tolist() == [1.0, 2.0]
    assert model.covariance_.tolist() == [[2.0, 0.5], [0.5, 1.0]]


def test_models_of_this_package_are_covariances():
    spiked = SpikedGaussian(dim=5, true_dim=2, random_state=0)
    np.testing.assert_array_equal(GaussianData(spiked).covariance_, spiked.covariance_)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1.0, 2.0]],), ValueError, r"covariance must be a square matrix, got shape \(1, 2\)"),
        (([[1.0, 0.5], [0.0, 1.0]],), ValueError, "symmetric, got entries that differ .* 0.5"),
        (([[1.0, 2.0], [2.0, 1.0]],), ValueError, "positive semidefinite, got the eigenvalue -1"),
        (([[np.nan]],), ValueError, "covariance must be finite, got nan"),
        (([["a"]],), TypeError, "covariance must be a numeric array"),
        ((np.eye(2), [1.0]), ValueError, r"mean must be finite and of shape \(2,\)"),
        ((np.eye(2), [1.0, np.inf]), ValueError, "mean must be finite"),
    ],
)
def test_no_covariance(arguments, error, message):
    with pytest.raises(error, match=message):
        GaussianData(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 1.0), "dim must be at least 1"), ((3, -1.0), "exponent must be finite and at least 0")],
)
def test_no_power_law(arguments, message):
    with pytest.raises(ValueError, match=message):
        power_law(*arguments)


def test_a_covariance_is_not_taken_for_data():
    half = np.random.default_rng(0).standard_normal((12, 20))
    covariance = half @ half.T
    with pytest.raises(ValueError, match=r"12 x 12 matrix is symmetric .*GaussianData\(data\)"):
        sweep(covariance, **ARGUMENTS)
    with pytest.raises(ValueError, match="GaussianData"):
        sweep(np.corrcoef(half), **ARGUMENTS)
    assert sweep(GaussianData(covariance), **ARGUMENTS).sizes["trial"] == 2
    # square data that are no covariance are data
    square = np.random.default_rng(1).standard_normal((20, 20))
    assert sweep(square, **ARGUMENTS).sizes["trial"] == 2
    assert sweep(square + square.T, **ARGUMENTS).sizes["trial"] == 2


def test_a_store_knows_models_by_their_covariance(tmp_path):
    first = sweep(power_law(5, 1.0), **ARGUMENTS, store=tmp_path / "s")
    xarray.testing.assert_equal(sweep(power_law(5, 1.0), **ARGUMENTS, store=tmp_path / "s"), first)
    with pytest.raises(ValueError, match="was made with data="):
        sweep(power_law(5, 1.1), **ARGUMENTS, store=tmp_path / "s")
