"""Every problem and metric against the oracle, at and around both thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import linear as naive

from fastgen._dispatch import nuclear
from fastgen.linear.host import nested, projections, regression
from fastgen.linear.host.trial import Trial
from fastgen.linear.options import METRICS, Options

SOLVERS = {
    "unsupervised": nested.unsupervised,
    "pseudo_supervised": nested.pseudo_supervised,
    "ridge": regression.ridge,
    "procrustes": projections.procrustes,
    "reduced_rank": projections.reduced_rank,
}


def check(factor, x, n_pairs, ks, *, rank=3, ridge=0.1, seed=0, rtol=1e-9):
    """Compare all problems with the oracle: relative 1e-9, with 1e-12 of the scale beneath."""
    n = x.shape[1]
    ks = np.unique([k for k in ks if k >= 1])
    z = np.random.default_rng([7, seed]).standard_normal((ks[-1], n))
    trial = Trial(factor, x, z, Options(ridge, rank, np.dtype("float64")))
    truth = factor.T @ factor
    for name, solve in SOLVERS.items():
        found = solve(trial, ks, n_pairs)
        assert found.shape == (4, ks.size)
        for i, k in enumerate(ks):
            cell = naive.cell(name, x, z[:k], n_pairs, truth, ridge, rank)
            expected = [cell[metric] for metric in METRICS]
            floor = 1e-12 * max(np.trace(truth), (x**2).sum() / n_pairs)
            floors = [floor, floor, floor, 1e-12]
            for metric, a, b, atol in zip(METRICS, found[:, i], expected, floors, strict=True):
                assert abs(a - b) <= atol + rtol * abs(b), (name, metric, int(k), a, b)


def spiked(d, m, n, noise, seed):
    rng = np.random.default_rng([3, seed])
    theta = rng.standard_normal((d, m)) / np.sqrt(m)
    x = theta @ rng.standard_normal((m, n)) + np.sqrt(noise) * rng.standard_normal((d, n))
    factor = np.vstack([theta.T, np.sqrt(noise) * np.eye(d)]) if noise else theta.T
    return factor, x


def around(*centres, far):
    return sorted({max(1, c + s) for c in centres for s in (-1, 0, 1)} | {1, far})


CONFIGURATIONS = [  # d, m, n, n_pairs, noise
    (12, 4, 8, 8, 0.1),
    (12, 4, 8, 5, 0.1),
    (6, 3, 15, 15, 0.1),
    (6, 3, 15, 10, 0.1),
    (20, 5, 10, 10, 0.0),
    (20, 5, 10, 4, 0.0),
    (8, 3, 8, 8, 0.1),
    (5, 2, 30, 20, 0.2),
    (40, 10, 20, 8, 0.1),
    (64, 20, 40, 40, 0.1),
    (10, 12, 7, 7, 0.5),
    (1, 1, 5, 5, 0.1),
    (2, 1, 2, 2, 0.1),
    (33, 5, 31, 31, 0.05),
    (31, 5, 33, 32, 0.05),
    (16, 4, 9, 1, 0.1),
    (50, 3, 12, 12, 1e-4),
    (7, 7, 7, 6, 1.0),
    (24, 6, 17, 9, 0.3),
    (9, 2, 64, 64, 0.1),
    (3, 1, 40, 13, 0.01),
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_against_the_oracle(configuration):
    d, m, n, n_pairs, noise = configuration
    factor, x = spiked(d, m, n, noise, seed=d + n)
    check(factor, x, n_pairs, around(n_pairs, n, d, far=3 * n), seed=d)


@pytest.mark.parametrize("columns", [0, 10**6])
def test_small_and_large_routes_agree_with_the_oracle(monkeypatch, columns):
    monkeypatch.setattr(nuclear, "LANE_COLUMNS", columns)
    factor, x = spiked(30, 8, 20, 0.1, seed=1)
    check(factor, x, 20, [*range(17, 24), 1, 5, 30, 40, 41, 150, 300], seed=2)
    check(factor, x, 9, [1, 8, 9, 10, 25, 60], seed=3)


def test_routes_agree_around_their_threshold(monkeypatch):
    factor, x = spiked(60, 10, 48, 0.1, seed=4)
    ks = np.array([1, 40, 46, 47, 48, 49, 50, 60, 96])
    z = np.random.default_rng(5).standard_normal((96, 48))
    answers = []
    for columns in (46, 47, 48, 49):
        monkeypatch.setattr(nuclear, "LANE_COLUMNS", columns)
        trial = Trial(factor, x, z, Options(0.1, None, np.dtype("float64")))
        answers.append(nested.pseudo_supervised(trial, ks, 48))
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=1e-10, atol=1e-11)


def test_rank_deficient_data():
    rng = np.random.default_rng(5)
    low = rng.standard_normal((10, 3)) @ rng.standard_normal((3, 8))
    ks = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 24]
    check(rng.standard_normal((3, 10)), low, 8, ks)
    repeated = np.repeat(rng.standard_normal((10, 4)), 2, axis=1)
    check(rng.standard_normal((10, 10)), repeated, 8, ks)
    single = np.outer(rng.standard_normal(6), rng.standard_normal(5))
    check(rng.standard_normal((6, 6)), single, 5, [1, 4, 5, 6, 7, 15], rank=1)


def test_data_outside_of_what_the_truth_knows():
    rng = np.random.default_rng(6)
    factor = np.zeros((2, 6))
    factor[:, :2] = rng.standard_normal((2, 2))
    x = np.zeros((6, 4))
    x[2:] = rng.standard_normal((4, 4))
    check(factor, x, 4, [1, 3, 4, 5, 6, 12])


def test_data_that_are_all_zero():
    factor = np.random.default_rng(0).standard_normal((4, 6))
    z = np.random.default_rng(1).standard_normal((12, 5))
    trial = Trial(factor, np.zeros((6, 5)), z, Options(rank=2))
    for name, solve in SOLVERS.items():
        if name == "procrustes":  # everything is undetermined
            continue
        found = solve(trial, np.array([1, 4, 5, 6, 12]), 5)
        np.testing.assert_allclose(found[:2], trial.trace, rtol=1e-12, err_msg=name)
        np.testing.assert_array_equal(found[2:], 0, err_msg=name)


def digits(n, seed):
    data = pytest.importorskip("sklearn.datasets").load_digits().data
    order = np.random.default_rng(seed).permutation(len(data))
    population = data[order[:900]]
    mean = population.mean(axis=0)
    return (population - mean) / np.sqrt(900), (data[order[900 : 900 + n]] - mean).T


@pytest.mark.parametrize(("n", "n_pairs"), [(100, 100), (100, 50), (40, 40)])
def test_digits(n, n_pairs):
    factor, x = digits(n, seed=n_pairs)
    check(factor, x, n_pairs, [*around(n_pairs, n, 64, 61, far=3 * n)], rank=10)


def test_ridge_of_zero_is_pseudo_supervision_and_a_small_one_is_near():
    factor, x = spiked(12, 4, 8, 0.1, seed=0)
    z = np.random.default_rng(1).standard_normal((24, 8))
    ks = np.array([1, 5, 8, 11, 24])
    trial = Trial(factor, x, z, Options(0.0, None, np.dtype("float64")))
    np.testing.assert_array_equal(
        regression.ridge(trial, ks, 8), nested.pseudo_supervised(trial, ks, 8)
    )
    check(factor, x, 8, [1, 5, 8, 11, 24], ridge=1e-4)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    d=st.integers(1, 24),
    m=st.integers(1, 8),
    n=st.integers(2, 24),
    share=st.floats(0, 1),
    noise=st.sampled_from([0.0, 0.01, 0.5]),
    rank=st.integers(1, 10),
    extra=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_configuration(d, m, n, share, noise, rank, extra, seed):
    n_pairs = max(1, round(share * n))
    factor, x = spiked(d, m, n, noise, seed)
    check(factor, x, n_pairs, [*extra, n_pairs, n], rank=rank, seed=seed)


def test_the_oracle_catches_the_usual_mutants():
    """The checker itself: latents resampled, truth replaced by the sample covariance."""
    factor, x = spiked(12, 4, 8, 0.1, seed=0)
    z = np.random.default_rng(1).standard_normal((20, 8))
    truth = factor.T @ factor
    trial = Trial(factor, x, z, Options(0.1, 3, np.dtype("float64")))
    w2 = nested.pseudo_supervised(trial, np.array([8]), 8)[0, 0]
    good = naive.cell("pseudo_supervised", x, z[:8], 8, truth)["w2"]
    assert w2 == pytest.approx(good, rel=1e-9)
    fresh = np.random.default_rng(2).standard_normal((8, 8))
    assert w2 != pytest.approx(naive.cell("pseudo_supervised", x, fresh, 8, truth)["w2"], rel=1e-2)
    sample = x @ x.T / 8
    assert w2 != pytest.approx(naive.cell("pseudo_supervised", x, z[:8], 8, sample)["w2"], rel=1e-6)


def test_float32_keeps_its_stated_error():
    factor, x = spiked(64, 20, 40, 0.1, seed=8)
    z = np.random.default_rng(9).standard_normal((120, 40))
    ks = np.arange(1, 121)
    exact, short = (
        nested.pseudo_supervised(Trial(factor, x, z, Options(0.1, None, np.dtype(t))), ks, 40)
        for t in ("float64", "float32")
    )
    scale = np.trace(factor.T @ factor) * (1 + exact[3])
    difference = np.abs(short[0] - exact[0]) / scale
    assert 0 < difference.max() < 1e-5
    np.testing.assert_array_equal(short[1:], exact[1:])
