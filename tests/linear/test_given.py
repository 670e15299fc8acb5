"""Problems that users give as functions, and the metrics of their own generators."""

from __future__ import annotations

import functools

import joblib
import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import linear as naive

from fastgen.linear import GaussianData, LinearGAN, SpikedGaussian, evaluate, sweep
from fastgen.plotting import sweep_figure

SMALL = dict(latent_dims=range(1, 15), n_samples=6, n_supervised=[3, 6], n_trials=3, random_state=0)
DATA = SpikedGaussian(dim=8, true_dim=3)


def least_squares(X, Z):
    return X @ np.linalg.pinv(Z)


def damped(X, Z, strength):
    return X @ Z.T @ np.linalg.inv(Z @ Z.T + strength * X.shape[1] * np.eye(len(Z)))


def test_ones_own_least_squares_is_ours():
    found = sweep(DATA, **SMALL, problems=["pseudo_supervised", least_squares])
    ours, own = found.sel(problem="pseudo_supervised"), found.sel(problem="least_squares")
    for name in ("w2", "projection_error", "train_error", "gain"):
        np.testing.assert_allclose(own[name], ours[name], rtol=1e-7, atol=1e-9)
    assert own.converged.all()
    alone = sweep(DATA, **SMALL, problems=least_squares)
    np.testing.assert_array_equal(alone.w2[0], own.w2)


def test_arguments_are_bound_by_partial():
    own = functools.partial(damped, strength=0.1)
    found = sweep(DATA, **SMALL, problems=["ridge", own])
    np.testing.assert_allclose(
        found.w2.sel(problem="damped"), found.w2.sel(problem="ridge"), rtol=1e-8
    )


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_functions_travel_to_workers(backend, monkeypatch):
    monkeypatch.setattr("fastgen.linear.trials._SERIAL_WORK", 0.0)
    alone = sweep(DATA, **SMALL, problems=least_squares)
    with joblib.parallel_config(backend, n_jobs=2):
        xarray.testing.assert_equal(sweep(DATA, **SMALL, problems=least_squares), alone)


def test_functions_are_resumed_by_name(tmp_path):
    arguments = dict(**SMALL, problems=["ridge", least_squares], store=tmp_path / "s")
    xarray.testing.assert_equal(sweep(DATA, **arguments), sweep(DATA, **arguments))
    with pytest.raises(ValueError, match="was made with problems="):
        sweep(DATA, **{**arguments, "problems": ["ridge", functools.partial(damped, strength=1)]})


def test_functions_are_drawn_and_summarized():
    found = sweep(DATA, **SMALL, problems=["ridge", least_squares])
    assert len(sweep_figure(found).axes) == 2


@pytest.mark.parametrize(
    ("problems", "error", "message"),
    [
        (lambda X, Z: X, ValueError, r"'<lambda>' must return .* shape \(d, k\) = \(8, 1\)"),
        (lambda X, Z: np.full((len(X), len(Z)), np.nan), ValueError, "must return a finite"),
        (lambda X, Z: "G", ValueError, "got dtype <U1"),
        ([least_squares, least_squares], ValueError, "problems must be distinct"),
        (lambda X, Z: X.__setitem__(0, 0), ValueError, "read-only"),
        ([1], ValueError, "problems must be one of"),
    ],
)
def test_what_is_no_problem(problems, error, message):
    with pytest.raises(error, match=message):
        sweep(DATA, **SMALL, problems=problems)


def test_a_function_may_not_take_a_name_of_ours(monkeypatch):
    monkeypatch.setattr(least_squares, "__name__", "ridge")
    with pytest.raises(ValueError, match="name of another problem, got 'ridge'"):
        sweep(DATA, **SMALL, problems=least_squares)


def test_functions_run_on_the_host_only(monkeypatch):
    monkeypatch.setattr("fastgen._arrays.require_device", lambda: np)
    with pytest.raises(ValueError, match="device must be \"cpu\" for the problem 'least_squares'"):
        sweep(DATA, **SMALL, problems=least_squares, device="cuda")


@settings(max_examples=40, deadline=None)
@given(
    d=st.integers(1, 8),
    k=st.integers(1, 12),
    rank=st.integers(0, 8),
    true=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_evaluate_is_the_formula(d, k, rank, true, seed):
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((d, min(rank, d))) @ rng.standard_normal((min(rank, d), k))
    half = rng.standard_normal((d, min(true, d)))
    truth = half @ half.T
    x, z = rng.standard_normal((d, 5)), rng.standard_normal((k, 5))
    found = evaluate(g, truth, x, z)
    scale = np.trace(truth) + (g**2).sum()
    assert found["w2"] == pytest.approx(naive.w2(g, truth), abs=1e-7 * scale)
    assert found["train_error"] == pytest.approx(naive.pair_error(g, x, z))
    assert found["gain"] == pytest.approx((g**2).sum() / np.trace(truth))
    expected = naive.projection_error(g, truth) if rank else np.trace(truth)
    assert found["projection_error"] == pytest.approx(expected, abs=1e-9 * scale)
    assert set(evaluate(g, GaussianData(truth))) == {"w2", "projection_error", "gain"}


def test_evaluate_what_an_estimator_learned():
    rows = DATA.sample(60, random_state=0)
    gan = LinearGAN(3, "unsupervised").fit(rows)
    found = evaluate(gan.components_.T, np.cov(rows.T, bias=True))
    assert found["w2"] == pytest.approx(-gan.score(rows), rel=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(3), np.eye(2)), r"covariance must have shape \(3, 3\), as G has 3 rows"),
        ((np.eye(3), np.zeros((3, 3))), "covariance must have a positive trace"),
        ((np.eye(3), np.eye(3), np.eye(3)), "X and Z must be given together, got only X"),
        ((np.eye(3), np.eye(3), np.eye(3), np.eye(2)), r"got \(3, 3\) and \(2, 2\)"),
        ((np.full((3, 1), np.nan), np.eye(3)), "G must be finite"),
        ((np.eye(3), [[1.0, 2], [0, 1]]), "covariance must be symmetric"),
    ],
)
def test_what_cannot_be_evaluated(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*arguments)
