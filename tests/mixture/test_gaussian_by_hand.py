"""GaussianMixture as in scikit-learn: parameters set by hand, and its other options."""

from __future__ import annotations

import os
import time
import warnings

import numpy as np
import pytest
import sklearn.mixture
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastgen.mixture import GaussianMixture

KINDS = ("full", "tied", "diag", "spherical")
RNG = np.random.default_rng(0)


def draw(d=4, n=120, k=2):
    X = np.random.default_rng(d).standard_normal((n, d)) @ np.diag(1 + np.arange(d) / d)
    return X + 4 * (np.arange(n) % k)[:, None]


def fitted(kind="full", d=4, k=2):
    return GaussianMixture(k, covariance_type=kind, random_state=0).fit(draw(d))


def by_hand(model, roots, **others):
    new = GaussianMixture(model.n_components, covariance_type=model.covariance_type)
    new.weights_, new.means_, new.precisions_cholesky_ = model.weights_, model.means_, roots
    for name, value in others.items():
        setattr(new, name, value)
    return new


def orthogonal(d):
    return np.linalg.qr(RNG.standard_normal((d, d)))[0]


ROOTS = {
    "lower": lambda precision: np.linalg.cholesky(precision),
    "symmetric": lambda precision: (
        np.linalg.svd(precision)[0]
        @ np.diag(np.sqrt(np.linalg.svd(precision)[1]))
        @ np.linalg.svd(precision)[0].T
    ),
    "turned": lambda precision: np.linalg.cholesky(precision) @ orthogonal(len(precision)),
    "negative": lambda precision: -np.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1],
}


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize(("kind", "d"), [("full", 4), ("tied", 4), ("full", 40), ("tied", 40)])
def test_any_root_of_the_precisions_scores_alike(kind, d, root):
    X, model = draw(d), fitted(kind, d)
    precisions = model.precisions_.reshape(-1, d, d)
    roots = np.stack([ROOTS[root](p) for p in precisions]).reshape(model.precisions_.shape)
    found = by_hand(model, roots)
    np.testing.assert_allclose(found.score_samples(X), model.score_samples(X), rtol=1e-8)
    np.testing.assert_allclose(found.precisions_, model.precisions_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_without_covariances(kind):
    X, model = draw(), fitted(kind)
    found = by_hand(model, model.precisions_cholesky_)
    assert not hasattr(found, "covariances_")
    np.testing.assert_allclose(found.score_samples(X), model.score_samples(X), rtol=1e-12)
    np.testing.assert_array_equal(found.predict(X), model.predict(X))
    for ours, other in zip(found.sample(50, 3), model.sample(50, 3), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-6, atol=1e-6)
    step = found.fitted_to(X)
    np.testing.assert_allclose(step.means_, model.fitted_to(X).means_, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_precisions_in_place_of_roots(kind):
    X, model = draw(), fitted(kind)
    found = by_hand(model, None)
    del found.precisions_cholesky_
    found.precisions_ = model.precisions_
    np.testing.assert_allclose(found.score_samples(X), model.score_samples(X), rtol=1e-8)
    np.testing.assert_array_equal(found.precisions_, model.precisions_)
    with pytest.raises(AttributeError):
        by_hand(model, None).fit(X)._precisions  # noqa: B018


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
@pytest.mark.parametrize("reverse", [False, True])
def test_components_can_be_reordered_attribute_by_attribute(kind, reverse):
    X, model = draw(), fitted(kind)
    expected = model.predict_proba(X)[:, ::-1]
    names = ["weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"]
    copies = {name: getattr(model, name)[::-1].copy() for name in names}
    for name in reversed(names) if reverse else names:
        setattr(model, name, copies[name])
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_components_can_be_reordered_in_a_loop(kind):
    X, model = draw(), fitted(kind)
    expected = model.predict_proba(X)[:, ::-1]
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        setattr(model, name, getattr(model, name)[::-1])
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-12)


def test_precisions_that_contradict_the_roots_are_refused():
    model = fitted()
    model.precisions_ = 2 * model.precisions_
    with pytest.raises(ValueError, match="precisions_ and precisions_cholesky_ were set to diff"):
        model.predict(draw())
    model.fit(draw()).predict(draw())


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("precisions_cholesky_", np.eye(4), ValueError, r"must have shape \(2, 4, 4\), got \(4, 4"),
        ("precisions_cholesky_", np.zeros((2, 4, 4)), ValueError, "must be invertible roots"),
        ("precisions_cholesky_", np.full((2, 4, 4), np.nan), ValueError, "must be finite"),
        ("precisions_cholesky_", [["a"]], TypeError, "must be a numeric array"),
        ("weights_", np.ones(3), ValueError, r"weights_ must have shape \(2,\)"),
        ("means_", np.zeros(4), ValueError, "means_ must have shape"),
        ("means_", np.zeros((2, 3)), ValueError, "must have shape|expecting 3 features"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(name, value, error, message):
    model = by_hand(fitted(), fitted().precisions_cholesky_)
    setattr(model, name, value)
    with pytest.raises(error, match=message):
        model.predict(draw())


@pytest.mark.parametrize("value", [-np.eye(4), np.tri(4)])
def test_precisions_that_are_none_are_refused(value):
    model = by_hand(fitted(), None)
    del model.precisions_cholesky_
    model.precisions_ = [value] * 2
    with pytest.raises(ValueError, match=r"precisions_ must be (symmetric|positive definite)"):
        model.predict(draw())


def test_nothing_set_is_not_fitted():
    with pytest.raises(NotFittedError):
        GaussianMixture().precisions_  # noqa: B018


# The other options of scikit-learn -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_start_from_samples_is_scikit_learns(kind):
    X = draw(k=3)
    options = dict(
        covariance_type=kind, init_params="random_from_data", random_state=3, reg_covar=0.5, tol=0,
        max_iter=8,
    )  # fmt: skip
    models = GaussianMixture, sklearn.mixture.GaussianMixture
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (model(3, **options).fit(X) for model in models)
    order = [np.argsort(model.means_[:, 0]) for model in (ours, theirs)]
    np.testing.assert_allclose(ours.means_[order[0]], theirs.means_[order[1]], rtol=1e-6)


@pytest.mark.parametrize("init", ["kmeans", "random", "random_from_data"])
def test_no_iterations_keep_the_start(init):
    X = draw()
    options = dict(max_iter=0, random_state=1, init_params=init)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.filterwarnings("ignore", message=".*singular but for")
        ours = GaussianMixture(2, **options).fit(X)
        assert ours.fit_predict(X).shape == (len(X),)
    theirs = sklearn.mixture.GaussianMixture(2, **options).fit(X)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-8)
    assert (ours.n_iter_, ours.converged_, ours.lower_bound_) == (0, False, -np.inf)
    assert ours.lower_bounds_ == []


def test_verbose_tells_starts_and_iterations(capsys):
    options = dict(n_init=2, tol=0.0, max_iter=7, random_state=0, verbose_interval=3)
    with pytest.warns(ConvergenceWarning):
        GaussianMixture(2, verbose=1, **options).fit(draw(k=1))
    lines = capsys.readouterr().out.splitlines()
    one = ["  Iteration 3", "  Iteration 6", "Initialization did not converge."]
    assert lines == ["Initialization 0", *one, "Initialization 1", *one]
    with pytest.warns(ConvergenceWarning):
        GaussianMixture(2, verbose=2, **options).fit(draw(k=1))
    assert "ll change" in capsys.readouterr().out
    GaussianMixture(2, random_state=0).fit(draw())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("options", [{"verbose": -1}, {"verbose_interval": 0}])
def test_verbose_is_checked(options):
    with pytest.raises(ValueError, match="verbose"):
        GaussianMixture(**options).fit(draw())


# Forked processes ------------------------------------------------------------------------------


def in_a_fork(work, seconds=60):
    """Run ``work`` in a forked process; its exit status, None if it hangs."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    "options",
    [{"init_params": "kmeans"}, {"init_params": "k-means++"}, {"means_init": draw(k=3)[:3]}],
    ids=["kmeans", "k-means++", "means"],
)
def test_a_forked_process_fits_as_its_parent(options):
    X = np.repeat(draw(n=300, k=3), 4, axis=0)
    expected = GaussianMixture(3, random_state=0, **options).fit(X)

    def work():
        found = GaussianMixture(3, random_state=0, **options).fit(X)
        return np.allclose(found.means_, expected.means_, rtol=1e-6)

    assert in_a_fork(work) == 0
