"""GaussianMixture against the oracle and scikit-learn: the same numbers, from the same start."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import em as naive_em
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Reference
from sklearn.utils.estimator_checks import check_estimator

from fastgen._dispatch import em as dispatch
from fastgen.kernels.cpu import em as kernels
from fastgen.mixture import GaussianMixture, em
from fastgen.mixture.engines import Host

KINDS = ("full", "tied", "diag", "spherical")
FLOAT64, FLOAT32 = np.dtype("float64"), np.dtype("float32")


def draw(n=400, d=5, k=3, gap=1.5, seed=0, offset=3.0):
    """Clusters that overlap, off the origin, each with a covariance of its own."""
    rng = np.random.default_rng(seed)
    means = offset + gap * rng.standard_normal((k, d))
    mixing = np.eye(d) + 0.3 * rng.standard_normal((k, d, d))
    labels = rng.integers(k, size=n)
    noise = rng.standard_normal((n, d))
    return means[labels] + np.einsum("nij,nj->ni", mixing[labels], noise)


def start(X, k, kind, seed=0):
    """A start that all contestants share: weights, means, precisions."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(k, 5.0))
    means = X[rng.choice(len(X), k, replace=False)]
    root = np.eye(X.shape[1]) + 0.1 * rng.standard_normal((k, X.shape[1], X.shape[1]))
    precisions = root @ root.swapaxes(1, 2)
    shapes = {
        "full": precisions,
        "tied": precisions[0],
        "diag": np.diagonal(precisions, axis1=1, axis2=2).copy(),
        "spherical": precisions[:, 0, 0].copy(),
    }
    return dict(weights_init=weights, means_init=means, precisions_init=shapes[kind])


def quiet_fit(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


def to_covariances(precisions, kind):
    return 1 / precisions if kind in ("diag", "spherical") else np.linalg.inv(precisions)


def biased_covariance(X):
    return np.cov(X.T, bias=True).reshape(X.shape[1], -1)


# The kernels ---------------------------------------------------------------------------------


def factors_of(k, d, rng):
    return np.tril(rng.standard_normal((k, d, d))) / np.sqrt(d) + 0.5 * np.eye(d)


@pytest.mark.parametrize("d", [1, 2, 47, 48, 49, 130])
def test_pack(d):
    factors = factors_of(2, d, np.random.default_rng(d))
    expected = naive_em.pack(factors)
    packed = np.empty(expected.shape)
    kernels.pack(factors, packed)
    np.testing.assert_array_equal(packed, expected)
    assert kernels.STRIP == naive_em.STRIP


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (31, 2, 3), (33, 65, 2), (300, 130, 4)])
def test_full_densities(dtype, n, d, k):
    rng = np.random.default_rng(n)
    rows = rng.standard_normal((n, d)).astype(dtype)
    means, factors = rng.standard_normal((k, d)), factors_of(k, d, rng)
    constants = rng.standard_normal(k)
    expected = naive_em.full_densities(rows, means, factors, constants)
    likely = rng.integers(k, size=n)
    with dispatch.workers() as run:
        found = dispatch.full_densities(rows, means, factors, constants, likely, np.inf, run)
    np.testing.assert_allclose(found, expected, rtol=1e-12 if dtype == FLOAT64 else 1e-4)


@pytest.mark.parametrize("gap", [0.3, 2.0, 8.0])
def test_only_hopeless_components_are_left_out(gap):
    rng = np.random.default_rng(1)
    n, d, k, cutoff = 700, 200, 5, 36.0
    means = gap * rng.standard_normal((k, d))
    rows = means[rng.integers(k, size=n)] + rng.standard_normal((n, d))
    factors, constants = factors_of(k, d, rng), rng.standard_normal(k)
    expected = naive_em.full_densities(rows, means, factors, constants)
    with dispatch.workers() as run:
        args = (rows, means, factors, constants, np.zeros(n, np.int64), cutoff, run)
        found = dispatch.full_densities(*args)
    out = np.isneginf(found)
    assert np.all(expected[out] <= np.broadcast_to(expected.max(axis=0), (k, n))[out] - cutoff)
    np.testing.assert_allclose(found[~out], expected[~out], rtol=1e-12)
    assert out.any() == (gap > 1)


def test_components_of_no_weight_are_left_out():
    rng = np.random.default_rng(2)
    rows, means = rng.standard_normal((10, 3)), rng.standard_normal((2, 3))
    constants = np.array([-np.inf, 0.0])
    with dispatch.workers() as run:
        args = (rows, means, factors_of(2, 3, rng), constants, np.zeros(10, np.int64), 36.0, run)
        joint = dispatch.full_densities(*args)
        assert np.isneginf(joint[0]).all()
        _, likely = dispatch.normalize(joint, 0.0, run)
    np.testing.assert_array_equal(joint, [[0.0] * 10, [1.0] * 10])
    np.testing.assert_array_equal(likely, 1)


@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (33, 7, 3), (5000, 3, 2)])
def test_diagonal_densities(n, d, k):
    rng = np.random.default_rng(n)
    rows, means = rng.standard_normal((n, d)), rng.standard_normal((k, d))
    scales, constants = rng.uniform(0.5, 2, (k, d)), rng.standard_normal(k)
    with dispatch.workers() as run:
        found = dispatch.diagonal_densities(rows, means, scales, constants, run)
    expected = naive_em.diagonal_densities(rows, means, scales, constants)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (31, 2), (33, 65), (1025, 7)])
def test_second_moments(n, d):
    rng = np.random.default_rng(n)
    rows, center = rng.standard_normal((n, d)), rng.standard_normal(d)
    share = rng.uniform(size=n) * (rng.uniform(size=n) < 0.6)
    chosen = np.flatnonzero(share)
    z, total = naive_em.weighted_rows(rows, chosen, share, center)
    out, found = np.empty((len(chosen), d)), np.zeros(d)
    kernels.weighted_rows(rows, chosen, share, center, out, found)
    np.testing.assert_allclose(out, z, rtol=1e-14)
    np.testing.assert_allclose(found, total, atol=1e-12)
    first, second = dispatch.second_moments(rows, share, center)
    np.testing.assert_allclose(first, total, atol=1e-12)
    np.testing.assert_allclose(second, z.T @ z, atol=1e-12)
    np.testing.assert_array_equal(second, second.T)


@pytest.mark.parametrize("threshold", [0.0, 1e-12, 0.2])
def test_normalize(threshold):
    rng = np.random.default_rng(3)
    joint = 10 * rng.standard_normal((4, 501)) - 1000
    joint[:, 7] = -5.0  # a tie goes to the first
    expected = naive_em.normalize(joint, threshold)
    with dispatch.workers() as run:
        log_likelihood, likely = dispatch.normalize(joint, threshold, run)
    np.testing.assert_allclose(log_likelihood, expected[0], rtol=1e-14)
    np.testing.assert_allclose(joint, expected[1], rtol=1e-10)
    np.testing.assert_array_equal(likely, expected[2])


# The fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d", "k"), [(60, 1, 2), (300, 4, 3), (900, 70, 2)])
def test_fit_is_the_oracle_and_scikit_learn(kind, n, d, k):
    X = draw(n, d, k)
    given = start(X, k, kind)
    options = dict(covariance_type=kind, tol=0.0, max_iter=12, reg_covar=1e-4, **given)
    ours, peer = (quiet_fit(c(k, **options), X) for c in (GaussianMixture, Reference))
    first = to_covariances(given["precisions_init"], kind)
    parameters = given["weights_init"], given["means_init"], first
    bounds, (weights, means, covariances) = naive_em.fit(X, parameters, kind, 1e-4, 12)
    np.testing.assert_allclose(ours.lower_bounds_, bounds, rtol=1e-10)
    np.testing.assert_allclose(ours.lower_bounds_, peer.lower_bounds_, rtol=1e-8)
    for found, oracle, other in (
        (ours.weights_, weights, peer.weights_),
        (ours.means_, means, peer.means_),
        (ours.covariances_, covariances, peer.covariances_),
        (ours.precisions_cholesky_, None, peer.precisions_cholesky_),
        (ours.precisions_, None, peer.precisions_),
    ):
        np.testing.assert_allclose(found, other, rtol=1e-8, atol=1e-8)
        if oracle is not None:
            np.testing.assert_allclose(found, oracle, rtol=1e-8, atol=1e-8)
    assert ours.n_iter_ == peer.n_iter_ == 12
    assert ours.lower_bound_ == ours.lower_bounds_[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_methods_are_scikit_learns(kind):
    X = draw()
    ours = GaussianMixture(3, covariance_type=kind, random_state=0)
    peer = Reference(3, covariance_type=kind, random_state=0)
    np.testing.assert_array_equal(ours.fit_predict(X), peer.fit_predict(X))
    assert (ours.converged_, ours.n_iter_) == (peer.converged_, peer.n_iter_)
    new = draw(seed=1)[:50]
    proba = ours.predict_proba(new)
    np.testing.assert_allclose(proba, peer.predict_proba(new), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(ours.score_samples(new), peer.score_samples(new), rtol=1e-9)
    np.testing.assert_array_equal(ours.predict(new), peer.predict(new))
    for name in ("score", "aic", "bic"):
        expected = getattr(peer, name)(new)
        np.testing.assert_allclose(getattr(ours, name)(new), expected, rtol=1e-9)


def test_check_estimator():
    check_estimator(GaussianMixture(), on_skip=None)


def test_defaults_are_scikit_learns():
    ours, peer = GaussianMixture().get_params(), Reference().get_params()
    shared = ours.keys() & peer.keys()
    assert {name: ours[name] for name in shared} == {name: peer[name] for name in shared}
    assert peer.keys() - ours.keys() == set()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 6),
    k=st.integers(1, 4),
    kind=st.sampled_from(KINDS),
    method=st.sampled_from(("kmeans", "k-means++", "random")),
)
def test_the_bound_never_falls(seed, d, k, kind, method):
    X = draw(120, d, k, seed=seed)
    options = dict(covariance_type=kind, init_params=method, reg_covar=1e-9, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fitted = GaussianMixture(k, **options, max_iter=15, random_state=seed).fit(X)
    assert np.diff(fitted.lower_bounds_).min(initial=0) > -1e-7


@pytest.mark.parametrize("n_iter", [1, 6])
@pytest.mark.parametrize("gap", [0.2, 1.5, 30.0])
def test_moment_identity(gap, n_iter):
    X = draw(800, 20, 4, gap=gap)
    options = dict(tol=0.0, max_iter=n_iter, reg_covar=1e-5, random_state=0)
    fitted = quiet_fit(GaussianMixture(4, **options), X)
    for data, mixture in ((X, fitted), (X[:300] + 1, fitted.fitted_to(X[:300] + 1))):
        mean = mixture.weights_ @ mixture.means_
        second = np.einsum("k,kij->ij", mixture.weights_, mixture.covariances_)
        second += (mixture.means_.T * mixture.weights_) @ mixture.means_ - np.outer(mean, mean)
        scale = np.abs(data).max() ** 2
        np.testing.assert_allclose(mean, data.mean(axis=0), rtol=1e-12)
        expected = biased_covariance(data) + 1e-5 * np.eye(20)
        np.testing.assert_allclose(second, expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@pytest.mark.parametrize("kind", ["diag", "spherical"])
@pytest.mark.parametrize("far", [0.0, 10.0, 1000.0])
def test_variances_of_a_tight_component_far_away(far, kind, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    X[200:] = far + 0.01 * X[200:]
    shares = np.zeros((3, 300))
    shares[:2, :200] = rng.dirichlet(np.ones(2), 200).T
    shares[2, 200:] = 1.0
    _, _, expected = naive_em.maximisation(X, shares, kind, 0.0)
    with dispatch.workers() as run:
        found = em.moments(Host(X, dtype, run), shares, kind).covariances
    rtol = 1e-9 if dtype == FLOAT64 else max(1e-5, 2e-7 * far / 0.01)
    np.testing.assert_allclose(found, expected, rtol=rtol)


def test_truncated_shares_still_sum_to_one():
    X = draw(500, 8, 3, gap=3.0)
    fitted = GaussianMixture(3, random_state=0).fit(X)
    with dispatch.workers() as run:
        data = Host(X, FLOAT64, run)
        _, shares = data.expectation(fitted._current(data))
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-15)
    assert shares[shares > 0].min() > 0.99 * em.THRESHOLD
    assert (shares == 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_near(kind):
    X = draw(600, 12, 3, offset=1000.0)
    options = dict(covariance_type=kind, tol=0.0, max_iter=8, random_state=0)
    exact = quiet_fit(GaussianMixture(3, **options), X)
    rough = quiet_fit(GaussianMixture(3, dtype="float32", **options), X)
    np.testing.assert_allclose(rough.lower_bounds_, exact.lower_bounds_, rtol=1e-6)
    np.testing.assert_allclose(rough.means_, exact.means_, rtol=1e-6)
    np.testing.assert_allclose(rough.covariances_, exact.covariances_, atol=1e-4)
    assert rough.means_.dtype == rough.covariances_.dtype == FLOAT64
    assert rough.score_samples(X).dtype == FLOAT64
    assert np.abs(rough.means_ - exact.means_).max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_change_a_result(kind):
    import threadpoolctl

    X = draw(9000, 6, 3)
    found = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            model = GaussianMixture(3, covariance_type=kind, init_params="random", random_state=0)
            found.append(model.set_params(max_iter=5, tol=10.0).fit(X))
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


def test_memory_stays_below_samples_times_components_times_features():
    import tracemalloc

    n, d, k = 20_000, 40, 20
    X = np.random.default_rng(0).standard_normal((n, d))
    model = GaussianMixture(k, init_params="random", max_iter=2, tol=100.0, random_state=0)
    model.fit(X[:1000])
    tracemalloc.start()
    model.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.35 * 8 * n * d * k


def test_the_same_seed_gives_the_same_fit():
    X = draw()
    model = GaussianMixture(3, init_params="k-means++", random_state=4)
    first, again = model.fit(X).means_, clone(model).fit(X).means_
    np.testing.assert_array_equal(first, again)
    other = clone(model).set_params(random_state=5, init_params="random").fit(X)
    assert np.abs(other.means_ - first).max() > 0


def test_warm_start_goes_on():
    X = draw(gap=0.8)
    options = dict(tol=0.0, random_state=0, init_params="random")
    whole = quiet_fit(GaussianMixture(3, max_iter=10, **options), X)
    parts = GaussianMixture(3, max_iter=5, warm_start=True, **options)
    first = quiet_fit(parts, X).lower_bounds_
    bounds = first + quiet_fit(parts, X).lower_bounds_
    np.testing.assert_allclose(bounds, whole.lower_bounds_, rtol=1e-12)
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-10)
    with pytest.raises(ValueError, match="n_components=4 differs from the 3 components"):
        parts.set_params(n_components=4).fit(X)


def test_the_best_of_several_starts_is_kept():
    X = draw(gap=0.7, k=5)
    options = dict(init_params="random", random_state=0, max_iter=30, tol=1e-2)
    bounds = [quiet_fit(GaussianMixture(5, n_init=n, **options), X).lower_bound_ for n in (1, 4)]
    assert bounds[1] > bounds[0]
    peer = quiet_fit(Reference(5, n_init=4, **options), X)
    np.testing.assert_allclose(bounds[1], peer.lower_bound_, rtol=1e-8)


def test_means_alone_decide_the_start():
    X = draw(gap=6.0)
    means = X[[0, 10, 20]]
    model = quiet_fit(GaussianMixture(3, means_init=means, tol=0.0, max_iter=1), X)
    labels = ((X[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    shares = (np.arange(3)[:, None] == labels).astype(float)
    weights, _, covariances = naive_em.maximisation(X, shares, "full", 1e-6)
    bounds, (_, expected, _) = naive_em.fit(X, (weights, means, covariances), "full", 1e-6, 1)
    np.testing.assert_allclose(model.lower_bound_, bounds[0], rtol=1e-12)
    np.testing.assert_allclose(model.means_, expected, rtol=1e-10)


# Streams, shared fits, samples ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_component_streams_exactly(kind):
    X = draw(1000, 6, 3)
    stream = GaussianMixture(covariance_type=kind, step_decay=1.0)
    for part in np.split(X, [100, 130, 700]):
        stream.partial_fit(part)
    whole = GaussianMixture(covariance_type=kind).fit(X)
    np.testing.assert_allclose(stream.means_, whole.means_, rtol=1e-12)
    np.testing.assert_allclose(stream.covariances_, whole.covariances_, rtol=1e-10, atol=1e-12)
    assert stream.n_samples_seen_ == 1000
    assert (stream.n_iter_, len(stream.lower_bounds_), stream.converged_) == (4, 4, False)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_moments_are_those_of_both(kind):
    X = draw(300, 4, 2)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 300).T
    with dispatch.workers() as run:
        parts = [
            em.moments(Host(X[part], FLOAT64, run), np.ascontiguousarray(shares[:, part]), kind)
            for part in (slice(0, 90), slice(90, 300))
        ]
        whole = em.moments(Host(X, FLOAT64, run), shares, kind)
    merged = em.merge(np, *parts, 0.7, kind)
    for name in ("weights", "means", "covariances"):
        found, expected = getattr(merged, name), getattr(whole, name)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_approaches_the_batch_fit(kind):
    X = draw(4000, 4, 3, gap=4.0, seed=2)
    whole = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    stream = GaussianMixture(3, covariance_type=kind, random_state=0)
    bounds = []
    for _ in range(3):
        for part in np.split(X, 10):
            stream.partial_fit(part)
        bounds.append(stream.score(X))
    assert abs(bounds[-1] - whole.score(X)) < 0.01
    assert bounds[-1] >= bounds[0] - 1e-3


def test_one_batch_of_all_data_is_an_iteration():
    X = draw()
    stream = GaussianMixture(3, random_state=0).partial_fit(X)
    whole = quiet_fit(GaussianMixture(3, random_state=0, max_iter=1, tol=0.0), X)
    np.testing.assert_array_equal(stream.means_, whole.means_)
    np.testing.assert_array_equal(stream.covariances_, whole.covariances_)
    # and a fit may be gone on with
    seen = whole.partial_fit(X[:100]).n_samples_seen_
    assert (seen, whole.n_iter_) == (500, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_to_is_one_step(kind):
    X, Y = draw(500, seed=1), draw(200, seed=1) + 0.3
    common = GaussianMixture(3, covariance_type=kind, random_state=0).fit(np.concatenate([X, Y]))
    own = common.fitted_to(Y)
    parameters = common.weights_, common.means_, common.covariances_
    bounds, (weights, means, covariances) = naive_em.fit(Y, parameters, kind, 1e-6, 1)
    np.testing.assert_allclose(own.weights_, weights, rtol=1e-10)
    np.testing.assert_allclose(own.means_, means, rtol=1e-10)
    np.testing.assert_allclose(own.covariances_, covariances, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(own.lower_bound_, bounds[0], rtol=1e-12)
    assert own is not common
    assert own.predict(Y).shape == (200,)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_fitted_to_keeps_components_without_samples(kind):
    X = np.concatenate([draw(200, 3, 1), draw(200, 3, 1) + 1000])
    common = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    own = common.fitted_to(X[:200])
    empty = int(own.weights_.argmin())
    np.testing.assert_array_equal(np.sort(own.weights_), [0.0, 1.0])
    np.testing.assert_array_equal(own.means_[empty], common.means_[empty])
    np.testing.assert_allclose(own.covariances_[empty], common.covariances_[empty], rtol=1e-12)
    assert np.isfinite(own.score_samples(X)).all()
    np.testing.assert_array_equal(own.sample(20)[1], 1 - empty)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments(kind):
    fitted = GaussianMixture(2, covariance_type=kind, random_state=0).fit(draw(500, 3, 2))
    X, labels = fitted.sample(40_000, random_state=1)
    full = naive_em.full_covariances(fitted.covariances_, kind, 2, 3)
    for k in range(2):
        own = X[labels == k]
        assert abs(len(own) / 40_000 - fitted.weights_[k]) < 0.02
        np.testing.assert_allclose(own.mean(axis=0), fitted.means_[k], atol=0.1)
        np.testing.assert_allclose(biased_covariance(own), full[k], atol=0.06 * full[k].max())
    np.testing.assert_array_equal(fitted.sample(5)[0], fitted.sample(5, random_state=0)[0])


@pytest.mark.parametrize(
    ("kind", "expected"), [("full", 62), ("tied", 32), ("diag", 32), ("spherical", 20)]
)
def test_number_of_parameters(kind, expected):
    assert em.n_parameters(3, 5, kind) == expected
    assert em.n_parameters(1, 1, kind) == 2
    model = Reference(3, covariance_type=kind).fit(draw(100))
    assert model._n_parameters() == expected
