"""LinearGAN against the oracle and against the sweep."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import linear as naive
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from fastgen.goof import nearest
from fastgen.linear import LinearGAN, SpikedGaussian, sweep
from fastgen.linear.host.trial import Trial
from fastgen.linear.options import Options
from fastgen.linear.problems import PROBLEMS


def data(n=14, d=9, k=6, seed=0):
    rng = np.random.default_rng(seed)
    x = SpikedGaussian(dim=d, true_dim=3, random_state=seed).sample(n, random_state=rng)
    return x, rng.standard_normal((n, k))


@pytest.mark.parametrize("k", [1, 5, 8, 9, 14, 15, 40])
@pytest.mark.parametrize("pairs", [8, 14])
def test_closed_forms_are_the_oracle(k, pairs):
    x, z = data(k=k)
    expected = {
        "unsupervised": lambda: naive.unsupervised(x.T, k),
        "pseudo_supervised": lambda: naive.pseudo_supervised(x[:pairs].T, z[:pairs].T),
        "ridge": lambda: naive.ridge(x[:pairs].T, z[:pairs].T, 0.1),
        "procrustes": lambda: naive.procrustes(x[:pairs].T, z[:pairs].T),
        "reduced_rank": lambda: naive.reduced_rank(x[:pairs].T, z[:pairs].T, 3),
        "lexicographic": lambda: naive.free_latents_lexicographic(x.T, z.T, pairs),
    }
    for problem, formula in expected.items():
        gan = LinearGAN(k, problem, n_supervised=pairs, rank=3, center=False)
        gan.fit(x, Z=z[:pairs])
        g = formula()
        # the gauge: signs of principal axes
        np.testing.assert_allclose(gan.covariance_, g @ g.T, rtol=1e-8, atol=1e-9)
        if problem != "unsupervised" and problem != "lexicographic":
            np.testing.assert_allclose(gan.components_.T, g, rtol=1e-8, atol=1e-9)
        assert gan.converged_
        assert gan.n_iter_ == 1


def test_every_problem_of_the_sweep_has_an_estimator():
    assert all(callable(problem.generator) for problem in PROBLEMS.values())


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("k", [3, 8, 12, 30])
def test_agrees_with_the_sweep(problem, k):
    """The sweep's metrics, recomputed from the estimator's generator."""
    x, z = data(k=k)
    rng = np.random.RandomState(4)
    gan = LinearGAN(
        k, problem, n_supervised=8, rank=2, center=False, random_state=4, tol=1e-6, max_iter=5000
    )
    gan.fit(x, Z=z[:8])
    starts = rng.standard_normal((k, 9))
    truth = np.diag(np.arange(1.0, 10))
    latents = np.zeros((k, 14))
    latents[:, :8] = z[:8].T
    trial = Trial(
        np.sqrt(truth),
        np.ascontiguousarray(x.T),
        latents,
        Options(rank=2, tol=1e-6, max_iter=5000),
        starts,
    )
    found = PROBLEMS[problem].host(trial, np.array([k]), 8)[:, 0]
    g = gan.components_.T
    assert naive.w2(g, truth) == pytest.approx(found[0], rel=1e-6)
    assert naive.projection_error(g, truth) == pytest.approx(found[1], rel=1e-6, abs=1e-9)
    assert (g**2).sum() / np.trace(truth) == pytest.approx(found[3], rel=1e-6)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_same_seed_same_generator(problem):
    x, _ = data()
    gan = LinearGAN(6, problem, n_supervised=8, rank=2, tol=1e-4, random_state=3)
    first, second = gan.fit(x).components_, clone(gan).fit(x).components_
    np.testing.assert_array_equal(first, second)


def test_latents_may_stand_in_the_place_of_targets():
    x, z = data()
    named, placed = LinearGAN(6).fit(x, Z=z), LinearGAN(6).fit(x, z)
    np.testing.assert_array_equal(named.components_, placed.components_)
    np.testing.assert_array_equal(named.latents_, z)


@pytest.mark.parametrize("problem", ["unsupervised", "pseudo_supervised", "ridge"])
def test_check_estimator(problem):
    check_estimator(LinearGAN(problem=problem, random_state=0), on_skip=None)


def test_labels_are_ignored_and_latents_are_not():
    x, z = data()
    labels = np.arange(len(x)) % 2
    gan = LinearGAN(6, random_state=0)
    np.testing.assert_array_equal(
        gan.fit(x, labels).components_, LinearGAN(6, random_state=0).fit(x).components_
    )
    np.testing.assert_array_equal(gan.fit(x, z).components_, gan.fit(x, Z=z).components_)
    search = GridSearchCV(gan, {"latent_dim": [1, 2]}, cv=2).fit(x, list(labels))
    assert np.isfinite(search.best_score_)
    with pytest.raises(ValueError, match="Z must be the latents"):
        gan.fit(x, labels[:, None])


@pytest.mark.parametrize("k", [3, 9, 12])
def test_components_lie_as_those_of_pca(k):
    x, _ = data(n=20)
    gan = LinearGAN(k, "unsupervised").fit(x)
    assert gan.components_.shape == (k, 9)
    assert gan.components_.flags.c_contiguous
    if k <= 9:
        pca = PCA(k).fit(x)
        scaled = pca.components_ * np.sqrt(pca.explained_variance_ * 19 / 20)[:, None]
        np.testing.assert_allclose(abs(gan.components_), abs(scaled), atol=1e-9)
        found = nearest(pca, x).squared_distance
        np.testing.assert_allclose(nearest(gan, x).squared_distance, found, atol=1e-12)


def test_samples_have_the_generators_law():
    x, _ = data(n=50)
    gan = LinearGAN(4, random_state=0).fit(x)
    y = gan.sample(200_000, random_state=1)
    np.testing.assert_allclose(y.mean(axis=0), gan.mean_, atol=0.05)
    np.testing.assert_allclose(np.cov(y.T), gan.covariance_, atol=0.1)
    np.testing.assert_array_equal(gan.sample(5, random_state=2), gan.sample(5, random_state=2))


def test_transform_is_the_nearest_point():
    x, _ = data()
    gan = LinearGAN(3, "unsupervised").fit(x)
    z = gan.transform(x)
    np.testing.assert_allclose(gan.transform(gan.inverse_transform(z)), z, atol=1e-10)
    rest = x - gan.inverse_transform(z)
    np.testing.assert_allclose(rest @ gan.components_.T, 0, atol=1e-9)
    assert list(gan.get_feature_names_out()) == ["lineargan0", "lineargan1", "lineargan2"]


def test_score_is_minus_w2():
    x, _ = data(n=40)
    gan = LinearGAN(5, random_state=0).fit(x)
    other, _ = data(n=30, seed=1)
    shift = ((other.mean(axis=0) - gan.mean_) ** 2).sum()
    expected = shift + naive.w2(gan.components_.T, np.cov(other.T, bias=True))
    assert gan.score(other) == pytest.approx(-expected, rel=1e-9)
    full = LinearGAN(9, "unsupervised").fit(x)
    assert full.score(x) == pytest.approx(0, abs=1e-9)


def test_a_fitted_generator_is_a_model_for_the_sweep():
    x, _ = data(n=60)
    truth = LinearGAN(3, "unsupervised").fit(x)
    result = sweep(truth, latent_dims=[1, 3, 9], n_samples=12, n_trials=4, random_state=0)
    error = result.projection_error.sel(problem="unsupervised", latent_dim=3)
    assert float(error.max()) < 1e-9


def test_iterative_problems_warn_when_unfinished():
    x, _ = data()
    gan = LinearGAN(10, "penalized", n_supervised=8, max_iter=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="did not converge in max_iter=2"):
        gan.fit(x)
    assert not gan.converged_
    assert gan.n_iter_ == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(latent_dim=0), "latent_dim must be at least 1"),
        (dict(problem="pseudo"), "did you mean 'pseudo_supervised'"),
        (dict(n_supervised=15), "n_supervised must be at most the 14 samples"),
        (dict(n_supervised=0), "n_supervised must be at least 1"),
        (dict(problem="reduced_rank"), "rank must be a positive integer, got None"),
        (dict(ridge=-1), "ridge must be finite and at least 0"),
        (dict(weight=np.nan), "weight must be finite"),
        (dict(max_iter=0), "max_iter must be at least 1"),
    ],
)
def test_bad_options(options, message):
    x, _ = data()
    with pytest.raises(ValueError, match=message):
        LinearGAN(**options).fit(x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, z: (x[:1], None), "minimum of 2 is required"),
        (lambda x, z: (x * np.nan, None), "NaN"),
        (lambda x, z: (x, z[:, :5]), r"of shape .* = \(14, 6\), got shape \(14, 5\)"),
        (lambda x, z: (x, z[:3]), r"got shape \(3, 6\)"),
        (lambda x, z: (x, z * np.inf), "Z must be finite"),
        (lambda x, z: (x[0], None), "Expected 2D array"),
    ],
)
def test_bad_data(change, message):
    with pytest.raises(ValueError, match=message):
        LinearGAN(6).fit(*change(*data()))


def test_inverse_transform_refuses_other_latents():
    gan = LinearGAN(6, random_state=0).fit(data()[0])
    with pytest.raises(ValueError, match="Z must have latent_dim=6 columns, got 4"):
        gan.inverse_transform(np.ones((2, 4)))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_constant_data(problem):
    gan = LinearGAN(2, problem, rank=1, random_state=0).fit(np.ones((5, 3)))
    if problem == "procrustes":  # orthonormal whatever the data
        np.testing.assert_allclose(gan.components_.T, np.eye(3, 2), atol=1e-15)
    else:
        np.testing.assert_array_equal(gan.sample(4), 1.0)
