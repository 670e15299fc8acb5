"""The semi-supervised problems: golden tables, closed forms, monotone solvers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import linear as naive

from fastgen.kernels.cpu import alternating
from fastgen.linear import SpikedGaussian, sweep
from fastgen.linear.host import nested, regression, semisupervised
from fastgen.linear.host.trial import Trial
from fastgen.linear.options import Options

SETTING = SpikedGaussian(dim=32, true_dim=10)

TABLE_2 = {  # notes of the project: medians of W2, d 32, m 10, n 20, n_s 8, noise 0.1
    2: (29.5, 28.4, 28.5, 29.4, 28.4, 29.5, 29.5, 29.0, 25.8),
    4: (30.2, 23.1, 23.6, 24.5, 23.1, 30.2, 30.2, 25.5, 18.8),
    6: (58.9, 18.9, 18.9, 20.1, 20.2, 58.9, 58.9, 25.5, 13.3),
    8: (813, 17.4, 15.7, 16.7, 20.6, 813, 813, 28.5, 9.55),
    10: (74.3, 18.0, 13.1, 14.8, 21.8, 70.8, 69.8, 25.5, 7.71),
    14: (25.1, 33.7, 10.5, 13.7, 37.6, 20.1, 17.4, 12.7, 7.26),
    18: (18.9, 200, 9.25, 14.0, 159, 13.6, 9.93, 8.98, 6.83),
    20: (17.3, 1530, 8.80, 14.6, 1273, 11.3, 8.42, 8.00, 6.66),
    24: (17.0, 88.3, 8.59, 15.8, 84.7, 11.0, 7.35, 7.24, 6.66),
    32: (16.8, 18.9, 7.98, 18.3, 24.0, 10.8, 6.64, 6.64, 6.66),
    60: (20.1, 8.62, 8.99, 18.3, 15.9, 13.7, 6.663, 6.663, 6.663),
    120: (23.8, 13.8, 14.0, 18.3, 19.5, 17.0, 6.663, 6.663, 6.663),
}
COLUMNS = [  # problem, pairs, where it peaks
    ("pseudo_supervised", 8, 8),
    ("pseudo_supervised", 20, 20),
    ("ridge", 20, None),
    ("procrustes", 20, None),
    ("reduced_rank", 20, 20),
    ("lexicographic", 8, 8),
    ("constrained", 8, 8),
    ("penalized", 8, 8),
    ("unsupervised", 8, None),
]


@pytest.fixture(scope="module")
def table_2():
    # 300 trials: medians of 30 wander by up to a quarter at k = 14 and 18
    result = sweep(
        SETTING,
        latent_dims=TABLE_2,
        n_samples=20,
        n_supervised=[8, 20],
        n_trials=300,
        problems=list(dict.fromkeys(name for name, _, _ in COLUMNS)),
        rank=5,
        random_state=0,
        n_jobs=2,
    )
    return result.w2.median("trial")


@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_table_2(table_2, column):
    name, pairs, peak = COLUMNS[column]
    for k, row in TABLE_2.items():
        ratio = float(table_2.sel(problem=name, n_supervised=pairs, latent_dim=k)) / row[column]
        if peak is None:
            tolerance = 1.10
        else:
            tolerance = 1.15 if abs(k - peak) >= 6 else 2.0
        assert 1 / tolerance < ratio < tolerance, (name, k, ratio)


TABLE_3 = {  # two runs of 100 trials and the residual of each sample
    2: (29.2, 28.9), 4: (28.9, 27.4), 6: (47.8, 53.0), 8: (362, 235), 9: (493, 510),
    10: (351, 358), 12: (178, 207), 14: (189, 176), 16: (203, 199), 18: (311, 304),
    19: (507, 559), 20: (2340, 1830), 21: (512, 536), 24: (75.3, 58.7), 28: (22.2, 21.3),
    40: (11.7, 11.3), 60: (10.8, 10.7),
}  # fmt: skip
RESIDUALS = {2: 21, 4: 13, 6: 7.8, 8: 2.4, 9: 1.5, 10: 1.1, 12: 0.61, 14: 0.35}


@pytest.fixture(scope="module")
def free():
    return sweep(
        SETTING,
        latent_dims=range(1, 61),
        n_samples=20,
        n_supervised=8,
        n_trials=100,
        problems="free_latents",
        random_state=0,
        n_jobs=2,
    ).squeeze()


def test_table_3(free):
    # 400 trials: medians of 100 wander by a quarter at k = 14
    result = sweep(
        SETTING,
        latent_dims=TABLE_3,
        n_samples=20,
        n_supervised=8,
        n_trials=400,
        problems="free_latents",
        random_state=1,
        n_jobs=2,
    )
    median = result.w2.median("trial").squeeze()
    for k, runs in TABLE_3.items():
        tolerance = 1.6 if 8 <= k <= 10 or 18 <= k <= 24 else 1.2
        ratio = float(median.sel(latent_dim=k)) / np.sqrt(runs[0] * runs[1])
        assert 1 / tolerance < ratio < tolerance, (k, ratio)
    residual = free.train_error.median("trial")
    for k, value in RESIDUALS.items():
        assert float(residual.sel(latent_dim=k)) == pytest.approx(value, rel=0.2)


def test_free_latents_descend_three_times(free):
    median = free.w2.median("trial")
    first = median.sel(latent_dim=slice(5, 13))
    second = median.sel(latent_dim=slice(17, 25))
    between = median.sel(latent_dim=slice(8, 20)).min()
    assert 8 <= int(first.idxmax()) <= 10
    assert int(second.idxmax()) == 20
    assert float(first.max()) > 2 * float(between)
    assert float(second.max()) > 2 * float(between)
    assert float(median.sel(latent_dim=60)) < 0.5 * float(between)


@pytest.mark.parametrize(("n", "pairs"), [(20, 8), (40, 20)])
def test_constrained_peaks_at_the_pairs(n, pairs):
    result = sweep(
        latent_dims=range(1, n + 10),
        n_samples=n,
        n_supervised=pairs,
        n_trials=30,
        problems="constrained",
        random_state=1,
        n_jobs=2,
    )
    assert abs(int(result.w2.median("trial").squeeze().idxmax()) - pairs) <= 1


def test_penalized_with_a_large_weight_peaks_at_the_pairs():
    result = sweep(
        latent_dims=range(4, 38),
        n_samples=40,
        n_supervised=[10, 20, 30],
        n_trials=40,
        problems="penalized",
        weight=100.0,
        random_state=2,
        n_jobs=2,
    )
    peaks = result.w2.median("trial").squeeze().idxmax("latent_dim")
    assert (abs(peaks - result.n_supervised) <= 1).all()


def golden():
    """The data of the golden values of Theorem A4 in the notes."""
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((32, 10)) / np.sqrt(10)
    x = theta @ rng.standard_normal((10, 20))
    x = x + np.sqrt(0.1) * rng.standard_normal((32, 20))
    return theta, x


GOLDEN = {
    2: 405.793247,
    4: 232.158521,
    6: 114.754738,
    8: 39.757852,
    9: 26.354676,
    12: 9.840127,
    16: 2.510236,
}


def pairs_of(k):
    z = np.zeros((k, 20))
    z[:, :8] = np.random.default_rng(100 + k).standard_normal((k, 8))
    return z


@pytest.mark.parametrize("k", GOLDEN)
def test_golden_minima_of_free_latents(k):
    theta, x = golden()
    z = pairs_of(k)
    minimum = naive.free_latents_minimum(x, z, 8, k)
    assert minimum == pytest.approx(GOLDEN[k], abs=1e-6)
    factor = np.vstack([theta.T, np.sqrt(0.1) * np.eye(32)])
    reached = []
    for seed in range(12):
        starts = np.random.default_rng(seed).standard_normal((k, 32))
        options = Options(tol=0.0 if k > 8 else 1e-9, max_iter=4000 if k > 8 else 400)
        trial = Trial(factor, x, z, options, starts)
        reached.append(20 * semisupervised.free_latents(trial, np.array([k]), 8)[2, 0])
    reached = np.array(reached)
    assert (reached >= minimum * (1 - 1e-10)).all()
    if k > 8:
        np.testing.assert_allclose(reached, minimum, rtol=1e-9)
    else:
        assert reached.min() <= 1.002 * minimum


def test_golden_values_of_the_setting():
    theta, x = golden()
    factor = np.vstack([theta.T, np.sqrt(0.1) * np.eye(32)])
    z = np.random.default_rng(0).standard_normal((20, 20))
    flat = nested.unsupervised(Trial(factor, x, z, Options()), np.array([20]), 20)[:, 0]
    assert (factor**2).sum() == pytest.approx(36.637207, abs=1e-6)
    assert flat[0] == pytest.approx(6.482847, abs=1e-6)
    assert flat[1] == pytest.approx(2.058806, abs=1e-6)


def draw(d, m, n, k, seed, noise=0.1, **options):
    rng = np.random.default_rng([11, seed])
    theta = rng.standard_normal((d, m)) / np.sqrt(m)
    x = theta @ rng.standard_normal((m, n)) + np.sqrt(noise) * rng.standard_normal((d, n))
    factor = np.vstack([theta.T, np.sqrt(noise) * np.eye(d)])
    z, starts = rng.standard_normal((k, n)), rng.standard_normal((k, d))
    return Trial(factor, x, z, Options(**options), starts)


SHAPES = [(12, 4, 9, 4), (8, 3, 14, 6), (20, 5, 10, 3), (6, 2, 6, 6), (9, 3, 7, 1)]


@pytest.mark.parametrize(("d", "m", "n", "pairs"), SHAPES)
def test_penalized_reaches_what_alternation_reaches(d, m, n, pairs):
    ks = np.array([1, 2, pairs, pairs + 1, n, n + 3, 3 * n])
    trial = draw(d, m, n, 3 * n, seed=d, tol=1e-13, max_iter=3000)
    found = semisupervised.penalized(trial, ks, pairs)
    truth = trial.factor.T @ trial.factor
    same = 0
    for i, k in enumerate(ks):
        g = np.sqrt((trial.x**2).mean()) * trial.starts[:k].T / np.sqrt(k)
        g = naive.penalized(trial.x, trial.z[:k], pairs, g, sweeps=20000 // n)
        same += found[0, i] == pytest.approx(naive.w2(g, truth), rel=1e-3)
    # starts may end in different stationary points; nearly always they do not
    assert same >= len(ks) - 1


@pytest.mark.parametrize(("d", "m", "n", "pairs"), SHAPES)
def test_penalized_objective_is_never_above_the_oracle_of_200_sweeps(d, m, n, pairs):
    trial = draw(d, m, n, 3 * n, seed=d)
    above = []
    for k in (1, 2, pairs, pairs + 1, n, 3 * n):
        g, miss, *_ = semisupervised.match(trial, k, pairs, 10.0)
        axes = semisupervised.Axes.of(trial)
        sample = trial.x @ trial.x.T / n
        # ||G||, ||S^(1/2) G||_* and the pair error decide; the columns of g are rotated
        ours = 10.0 * miss + naive.w2(axes.basis @ g, sample)
        start = np.sqrt((trial.x**2).mean()) * trial.starts[:k].T / np.sqrt(k)
        plain = naive.penalized(trial.x, trial.z[:k], pairs, start)
        theirs = naive.penalized_objective(trial.x, trial.z[:k], pairs, plain, 10.0)
        above.append(ours - theirs > 1e-6 * theirs + 1e-9)
    assert sum(above) <= 1


@pytest.mark.parametrize(("d", "m", "n", "pairs"), SHAPES)
def test_constrained_interpolates_its_pairs(d, m, n, pairs):
    trial = draw(d, m, n, 3 * n, seed=d)
    ks = np.arange(pairs, 3 * n)
    found = semisupervised.constrained(trial, ks, pairs)
    assert found[2].max() < 1e-20 * (trial.x**2).sum()
    low = np.arange(1, pairs + 1)
    np.testing.assert_array_equal(
        semisupervised.constrained(trial, low, pairs)[:4],
        nested.pseudo_supervised(trial, low, pairs),
    )


def test_constrained_equals_unsupervised_where_it_can():
    n, pairs = 20, 8
    trial = draw(32, 10, n, 120, seed=1, max_iter=2000)
    sigma = [np.linalg.svd(trial.z[:k, :pairs], compute_uv=False)[-1] for k in range(1, 121)]
    exact = [k for k in range(1, 121) if k > pairs + n and sigma[k - 1] ** 2 >= n]
    assert len(exact) > 40
    flat = nested.unsupervised(trial, np.array(exact), pairs)[0]
    found = semisupervised.constrained(trial, np.array(exact), pairs)
    np.testing.assert_allclose(found[0], flat, rtol=1e-7)
    assert found[4].all()
    near = np.arange(max(6 * pairs, 2 * n), 121)
    found = semisupervised.constrained(trial, near, pairs)[0]
    np.testing.assert_allclose(found, nested.unsupervised(trial, near, pairs)[0], rtol=0.01)


@pytest.mark.parametrize(("d", "m", "n", "pairs"), SHAPES)
def test_free_latents_follow_the_alternation(d, m, n, pairs):
    trial = draw(d, m, n, 3 * n, seed=d, max_iter=40, tol=0.0)
    truth = trial.factor.T @ trial.factor
    for k in (1, 2, pairs, pairs + 1, n - 1, n, n + 2, 3 * n):
        start = np.sqrt((trial.x**2).mean()) * trial.starts[:k].T / np.sqrt(k)
        found = semisupervised.free_latents(trial, np.array([k]), pairs)[:, 0]
        if pairs == n:
            continue
        g, history = naive.free_latents(trial.x, trial.z[:k], pairs, start, sweeps=40, tol=-1.0)
        if history[-1] > 1e-12 * history[0]:
            assert found[2] * n == pytest.approx(history[-1], rel=1e-6)
        if history[0] > 1e-12 * (trial.x**2).sum():  # else the first sweep was the last
            assert found[0] == pytest.approx(naive.w2(g, truth), rel=1e-5)


@pytest.mark.parametrize(("d", "m", "n", "pairs"), SHAPES)
def test_lexicographic_is_its_formula(d, m, n, pairs):
    trial = draw(d, m, n, 3 * n, seed=d)
    ks = np.unique([1, 2, pairs, pairs + 1, n - 1, n, n + 2, d, 3 * n])
    found = regression.lexicographic(trial, ks, pairs)
    truth = trial.factor.T @ trial.factor
    for i, k in enumerate(ks):
        g = naive.free_latents_lexicographic(trial.x, trial.z[:k], pairs)
        expected = (
            naive.w2(g, truth),
            naive.projection_error(g, truth),
            naive.pair_error(g, trial.x[:, :pairs], trial.z[:k, :pairs]),
            (g**2).sum() / np.trace(truth),
        )
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-9, atol=1e-10)


def test_lexicographic_takes_no_rounding_for_a_direction():
    """Where the pairs span the data, what is left of the free samples is nothing."""
    trial = draw(12, 3, 10, 30, seed=5)
    trial.x[:] = trial.x[:, :3] @ np.random.default_rng(0).standard_normal((3, 10))
    found = regression.lexicographic(trial, np.array([4, 5, 8, 30]), 4)
    left, s, _ = np.linalg.svd(trial.x, full_matrices=False)
    basis = left[:, s > 1e-9 * s[0]]
    assert basis.shape == (12, 3)
    beyond = trial.factor - (trial.factor @ basis) @ basis.T
    np.testing.assert_allclose(found[1], (beyond**2).sum(), rtol=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    r=st.integers(1, 9),
    p=st.integers(1, 7),
    extra=st.integers(0, 9),
    weight=st.sampled_from([0.0, 1e-3, 1.0, 50.0, np.inf]),
    decades=st.floats(0, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_matching_never_rises(r, p, extra, weight, decades, seed):
    rng = np.random.default_rng(seed)
    root = np.logspace(0, -decades, r)
    cross, sigma = rng.standard_normal((r, p)), rng.uniform(0.05, 3, p)
    start = rng.standard_normal((r, p + extra))
    constant = (root**2).sum()
    if np.isfinite(weight):
        constant += weight * (cross**2).sum()
    history = np.empty(301)
    g, n_iter, _ = alternating.match_pairs(
        cross, sigma, root, start, weight, constant, 1e-12, 300, history
    )
    history = history[: n_iter + 1]
    assert (np.diff(history) <= 1e-12 * abs(history[0])).all()
    value = (g**2).sum() - 2 * np.linalg.norm(root[:, None] * g, "nuc") + constant
    if np.isfinite(weight):
        value += weight * ((cross - g[:, :p] * sigma) ** 2).sum()
    assert history[-1] == pytest.approx(value, rel=1e-9, abs=1e-9 * constant)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    r=st.integers(1, 9),
    n=st.integers(2, 12),
    k=st.integers(1, 15),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_free_latents_never_rise(r, n, k, share, seed):
    rng = np.random.default_rng(seed)
    pairs = min(n - 1, max(1, round(share * n)))
    x = rng.standard_normal((r, n))
    history = np.empty(100)
    _, n_iter, _ = alternating.free_latents(
        x,
        rng.standard_normal((k, pairs)),
        rng.standard_normal((k, n - pairs)),
        1e-12,
        100,
        history,
    )
    assert (np.diff(history[:n_iter]) <= 1e-12 * (x**2).sum()).all()


def test_unfinished_cells_say_so():
    result = sweep(
        SETTING,
        latent_dims=[4, 30],
        n_samples=20,
        n_supervised=8,
        n_trials=3,
        problems=["penalized", "free_latents", "unsupervised"],
        max_iter=2,
        random_state=0,
    )
    assert result.converged.dtype == bool
    assert not result.converged.sel(problem="penalized").any()
    assert result.converged.sel(problem="unsupervised").all()
    assert int(result.n_iter.sel(problem="penalized").max()) == 2
    assert int(result.n_iter.sel(problem="unsupervised").max()) == 0
