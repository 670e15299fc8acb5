"""fastgen.modes.BourgainEmbedding: invariants, golden ranges, mutants, the door."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from oracles import modes as naive
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from fastgen import modes
from fastgen.modes import BourgainEmbedding, LatentMixture, log_pairwise_distances, lpdd_distance


def star(n=128):
    """Distances of a hub at 1 from its leaves, which are at 2 from each other."""
    out = np.full((n, n), 2.0)
    out[0] = out[:, 0] = 1.0
    np.fill_diagonal(out, 0.0)
    return out


def subsample(data, seed, n=256):
    return data.X[np.random.default_rng(seed).choice(len(data.X), n, replace=False)]


DATA = {"grid": modes.grid(random_state=0), "ring": modes.ring(random_state=0)}
SEEDS = (0, 1, 2)


# --- the oracle ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 31, 33, 100])
@pytest.mark.parametrize("metric", ["euclidean", "precomputed", "callable"])
def test_official_embedding_is_the_oracle(n, metric):
    X = np.random.default_rng(n).standard_normal((n, 3))
    distances = naive.pairwise(X)
    given = {"euclidean": X, "precomputed": distances, "callable": X}[metric]
    if metric == "callable":
        metric = lambda a, b: float(np.sqrt(((a - b) ** 2).sum()))  # noqa: E731
    fit = BourgainEmbedding("official", metric=metric, n_sets=9, random_state=3).fit(given)
    g = naive.set_distances(distances, fit.sets_)
    z, scale = naive.centered_and_scaled(g, distances)
    np.testing.assert_allclose(fit.embedding_, z, rtol=1e-11, atol=1e-11)
    assert fit.scale_ == pytest.approx(scale, rel=1e-10)
    assert fit.lipschitz_ == pytest.approx(naive.lipschitz_ratio(g, distances), rel=1e-12)
    ratios = naive.pair_ratios(z, distances)
    assert fit.distortion_ == pytest.approx(ratios.max() / ratios.min(), rel=1e-10)
    expected = naive.lpdd_distance(
        naive.log_pairwise(scale * naive.pairwise(z)), naive.log_pairwise(distances)
    )
    assert fit.lpdd_distance_ == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("matrix", [False, True])
def test_classical_embedding_is_the_oracle(matrix):
    X = subsample(DATA["grid"], 0, n=90)
    distances = naive.pairwise(X)
    fit = BourgainEmbedding(
        n_sets=6, n_components=20, metric="precomputed" if matrix else "euclidean", random_state=5
    ).fit(distances if matrix else X)
    rng = np.random.default_rng(np.random.SeedSequence(5))
    sets = naive.draw_sets(90, 6, rng)
    np.testing.assert_array_equal(fit.sets_, sets)
    g = naive.set_distances(distances, sets)
    f, alpha = naive.project_and_rescale(g, distances, rng.standard_normal((20, g.shape[1])))
    np.testing.assert_allclose(fit.embedding_, f, rtol=1e-10)
    assert fit.distortion_ == pytest.approx(alpha, rel=1e-10)


# --- invariants and golden ranges of the note, section 1.5 ---------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", DATA)
def test_invariants_on_data(name, seed):
    X = subsample(DATA[name], seed)
    distances = naive.pairwise(X)
    fit = BourgainEmbedding(n_sets=8, random_state=seed).fit(X)
    assert fit.sets_.shape == (64, 256)
    assert fit.embedding_.shape == (256, 45)
    assert 0.7 < fit.lipschitz_ <= 1
    assert fit.distortion_ <= 10
    ratios = naive.pair_ratios(fit.embedding_, distances)
    assert ratios.min() == pytest.approx(1, abs=1e-12)
    assert ratios.max() == pytest.approx(fit.distortion_, rel=1e-12)
    assert fit.scale_ == 1
    assert 0 < fit.lpdd_distance_ <= math.log(fit.distortion_)
    shape = lpdd_distance(
        log_pairwise_distances(fit.embedding_), log_pairwise_distances(X), center=True
    )
    assert 0.1 < shape < 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_invariants_on_the_star(seed):
    fit = BourgainEmbedding(n_sets=8, metric="precomputed", random_state=seed).fit(star())
    assert fit.embedding_.shape == (128, 39)
    assert len(fit.sets_) == 56
    assert 0.8 < fit.lipschitz_ <= 1
    assert fit.distortion_ <= 15
    assert fit.lpdd_distance_ <= math.log(fit.distortion_)


def mutated(distances, sets, coordinates, seed):
    rng = np.random.default_rng(seed)
    g = coordinates(distances, sets)
    q = math.ceil(8 * math.log(len(distances)))
    lipschitz = naive.lipschitz_ratio(g, distances)
    return lipschitz, naive.project_and_rescale(g, distances, rng.standard_normal((q, g.shape[1])))[
        1
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bounds_catch_mutants(seed):
    """What the accepted ranges are for: each fault leaves them."""
    rng = np.random.default_rng(seed)
    distances = naive.pairwise(subsample(DATA["grid"], seed))
    for probability in (lambda i: 0.5, lambda i: 1 - 2.0**-i):
        sets = naive.draw_sets(256, 8, rng, probability)
        assert mutated(distances, sets, naive.set_distances, seed)[1] > 100
    sets = naive.draw_sets(256, 8, rng)
    squares = lambda d, s: naive.set_distances(d**2, s)  # noqa: E731
    assert mutated(distances, sets, squares, seed)[0] > 1.5
    sets = naive.draw_sets(128, 8, rng)
    with np.errstate(divide="ignore"):
        assert mutated(star(), sets, naive.farthest_member, seed)[1] == np.inf
        assert np.isfinite(mutated(star(), sets, naive.set_distances, seed)[1])


@pytest.mark.parametrize("seed", SEEDS)
def test_official_constants(seed):
    X = modes.grid(random_state=seed).X
    fit = BourgainEmbedding("official", random_state=seed).fit(X)
    assert fit.embedding_.shape == (1250, 55)
    assert (fit.embedding_**2).sum() / fit.embedding_.size == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(fit.embedding_.mean(0), 0, atol=1e-12)
    assert 0.8 < fit.scale_ < 1.15
    ring = modes.ring(n_per_mode=150, random_state=seed).X
    fit = BourgainEmbedding("official", random_state=seed).fit(ring)
    # without the root the scale would be 0.34 to 0.53
    assert 0.54 < fit.scale_ < 0.78


# --- sizes, seeds, threads, subsamples -----------------------------------------------------------


def test_threads_change_nothing_and_seeds_do():
    X = subsample(DATA["grid"], 0)
    one = BourgainEmbedding(random_state=0).fit(X)
    two = BourgainEmbedding(random_state=0, n_jobs=2).fit(X)
    np.testing.assert_array_equal(one.embedding_, two.embedding_)
    assert one.distortion_ == two.distortion_
    other = BourgainEmbedding(random_state=1).fit_transform(X)
    assert not np.array_equal(one.embedding_, other)


def test_defaults_follow_the_number_of_points():
    X = np.random.default_rng(0).standard_normal((600, 2))
    fit = BourgainEmbedding(random_state=0).fit(X)
    assert fit.sets_.shape == (10 * 10, 600)
    assert fit.embedding_.shape == (600, math.ceil(8 * math.log(600)))
    np.testing.assert_array_equal(fit.indices_, np.arange(600))
    assert fit.subsampling_bound_ == 0
    assert fit.n_features_in_ == 2


def test_a_callable_metric_is_subsampled_and_called_once_a_pair():
    words = [
        "".join(letters) for letters in np.random.default_rng(0).choice(list("abcd"), (400, 9))
    ]
    calls = []

    def hamming(a, b):
        calls.append((a, b))
        return sum(x != y for x, y in zip(a, b, strict=True))

    seen = []
    fit = BourgainEmbedding(
        metric=hamming, max_points=60, random_state=0, progress=lambda *count: seen.append(count)
    ).fit(words)
    assert len(calls) == 60 * 59 // 2
    assert seen[-1] == (59, 59)
    assert len(fit.embedding_) == len(np.unique(fit.indices_)) == 60
    assert (np.diff(fit.indices_) > 0).all()
    assert fit.subsampling_bound_ == pytest.approx(math.sqrt(math.log(200) / 60))
    assert fit.lipschitz_ <= 1
    picked = [words[i] for i in fit.indices_]
    distances = np.array([[hamming(a, b) for b in picked] for a in picked], float)
    assert naive.pair_ratios(fit.embedding_, distances).min() == pytest.approx(1, abs=1e-12)


def test_the_automatic_subsample_is_the_one_that_the_bound_asks_for():
    assert modes.subsampling_bound(2120) <= 0.05 < modes.subsampling_bound(2118)
    few = BourgainEmbedding(metric=lambda a, b: abs(a - b), random_state=0).fit(list(range(50)))
    assert len(few.embedding_) == 50


def test_the_law_of_a_subsample_is_within_the_bound():
    X = DATA["grid"].X
    whole = log_pairwise_distances(X, max_points=1250)
    for seed in range(20):
        part = log_pairwise_distances(X, max_points=100, random_state=seed)
        at = np.concatenate([whole, part])
        gap = np.searchsorted(whole, at, "right") / whole.size
        gap -= np.searchsorted(part, at, "right") / part.size
        bound = modes.subsampling_bound(100)
        assert np.abs(gap).max() <= bound
        assert lpdd_distance(part, whole) <= bound * (whole[-1] - whole[0])


def test_coincident_points_share_their_place():
    X = np.repeat(np.random.default_rng(0).standard_normal((30, 2)), 2, axis=0)
    for variant in ("classical", "official"):
        fit = BourgainEmbedding(variant, random_state=0).fit(X)
        np.testing.assert_array_equal(fit.embedding_[::2], fit.embedding_[1::2])
        assert np.isfinite(fit.distortion_)


def test_squared_distances_are_noticed():
    squares = naive.pairwise(subsample(DATA["ring"], 0)) ** 2
    with pytest.warns(UserWarning, match="triangle inequality") as caught:
        fit = BourgainEmbedding(metric="precomputed", random_state=0).fit(squares)
    assert caught[0].filename == __file__
    assert fit.lipschitz_ > 1


def test_images_of_torch_and_old_pickles():
    torch = pytest.importorskip("torch")
    X = subsample(DATA["grid"], 0, n=40)
    fit = BourgainEmbedding(random_state=0).fit(X)
    tensor = BourgainEmbedding(random_state=0).fit(torch.from_numpy(X))
    np.testing.assert_array_equal(fit.embedding_, tensor.embedding_)
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.embedding_, fit.embedding_)
    assert clone(fit).get_params() == fit.get_params()


def test_scikit_learn_finds_nothing_wrong():
    check_estimator(BourgainEmbedding(n_sets=20), on_skip=None)


@pytest.mark.parametrize(
    ("options", "X", "error", "message"),
    [
        ({"variant": "offical"}, None, ValueError, "did you mean 'official'"),
        ({"variant": "official", "n_components": 4}, None, ValueError, "n_components belongs to"),
        ({"n_sets": 0}, None, ValueError, "n_sets must be at least 1"),
        ({"n_components": 0}, None, ValueError, "n_components must be at least 1"),
        ({"max_points": 1}, None, ValueError, "max_points must be at least 2"),
        ({"metric": "cosine"}, None, ValueError, "metric must be one of"),
        ({"device": "gpu"}, None, ValueError, "device must be one of"),
        ({}, np.zeros((5, 2)), ValueError, "X must hold points that differ"),
        ({}, [[0.0, np.nan], [1.0, 2.0]], ValueError, "Input X contains NaN"),
        ({}, [[0.0, 1.0]], ValueError, "minimum of 2 is required"),
        ({"metric": "precomputed"}, np.ones((3, 2)), ValueError, "X must be a square matrix"),
        ({"metric": "precomputed"}, np.ones((3, 3)), ValueError, "a diagonal of 0"),
        ({"metric": "precomputed"}, [[0, -1], [-1, 0]], ValueError, "distances of at least 0"),
        ({"metric": "precomputed"}, [[0, np.inf], [np.inf, 0]], ValueError, "got inf at row 0"),
        ({"metric": "precomputed"}, [[0, 1], [2, 0]], ValueError, r"pass \(X \+ X.T\) / 2"),
        ({"metric": lambda a, b: -1.0}, [1, 2], ValueError, "metric must return finite distances"),
        ({"metric": lambda a, b: 1.0}, [1], ValueError, "X must have at least 2 elements, got 1"),
        ({"random_state": -1}, None, ValueError, "random_state must be at least 0"),
    ],
)  # fmt: skip
def test_the_door(options, X, error, message):
    X = np.random.default_rng(0).standard_normal((9, 2)) if X is None else X
    with pytest.raises(error, match=message):
        BourgainEmbedding(**options).fit(X)


def test_points_that_no_set_tells_apart_are_an_error():
    seed = next(s for s in range(50) if collapses(s))
    with pytest.raises(ValueError, match="the distortion is infinite; raise n_sets"):
        BourgainEmbedding(n_sets=1, random_state=seed).fit([[0.0], [1.0]])


def collapses(seed):
    sets = naive.draw_sets(2, 1, np.random.default_rng(np.random.SeedSequence(seed)))
    return sets.sum() != 1


# --- latents and laws of distances ---------------------------------------------------------------


def test_latents_are_centers_and_noise():
    fit = BourgainEmbedding("official", random_state=0).fit(subsample(DATA["ring"], 0))
    latents = LatentMixture(fit, noise=0.01)
    assert latents.latent_dim == fit.embedding_.shape[1]
    z = latents.sample(4000, random_state=0)
    far = ((z[:, None] - fit.embedding_[None, :, :]) ** 2).sum(2).min(1)
    assert far.mean() == pytest.approx(1e-4 * latents.latent_dim, rel=0.03)
    exact = LatentMixture(fit.embedding_, noise=0).sample(20_000, random_state=1)
    _, counts = np.unique(exact, axis=0, return_counts=True)
    assert len(counts) == 256
    assert counts.max() < 4 * counts.min()
    np.testing.assert_array_equal(
        z, latents(4000, np.random.default_rng(np.random.SeedSequence(0)))
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_latents_are_a_prior_of_nearest(one_torch_thread):
    import torch

    from fastgen.goof import nearest

    latents = LatentMixture(BourgainEmbedding("official", random_state=0).fit(np.eye(9)), noise=0.1)
    torch.manual_seed(0)
    generator = torch.nn.Linear(latents.latent_dim, 3)
    found = nearest(generator, np.zeros((2, 3)), prior=latents, pool_size=64, random_state=0)
    assert found.z.shape == (2, latents.latent_dim)
    assert (found.mse < 1e-6).all()


def test_latents_own_their_centers():
    centers = np.zeros((2, 3))
    latents = LatentMixture(centers, noise=0)
    centers += 1
    assert (latents.sample(5, 0) == 0).all()
    assert latents.sample(0).shape == (0, 3)
    assert repr(latents) == "LatentMixture(2 centers in 3 dimensions, noise 0)"


def test_latents_at_the_door():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        LatentMixture(BourgainEmbedding())
    with pytest.raises(ValueError, match="noise must be finite and at least 0"):
        LatentMixture(np.eye(2), noise=-1)
    with pytest.raises(ValueError, match="n must be at least 0"):
        LatentMixture(np.eye(2)).sample(-1)


@pytest.mark.parametrize("metric", ["euclidean", "precomputed", "callable"])
def test_log_pairwise_distances(metric):
    X = np.repeat(np.random.default_rng(0).standard_normal((20, 2)), 2, axis=0)
    distances = naive.pairwise(X)
    given = distances if metric == "precomputed" else X
    if metric == "callable":
        metric = lambda a, b: float(np.linalg.norm(a - b))  # noqa: E731
    found = log_pairwise_distances(given, metric=metric)
    np.testing.assert_allclose(found, naive.log_pairwise(distances), rtol=1e-12, atol=1e-12)
    assert len(log_pairwise_distances(X, max_points=10, random_state=0)) <= 45
    with pytest.raises(ValueError, match="X must hold points that differ"):
        log_pairwise_distances(np.zeros((3, 1)))


def test_lpdd_distance():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(400), rng.standard_normal(400) + 2
    assert lpdd_distance(a, b) == pytest.approx(naive.lpdd_distance(a, b), rel=1e-12)
    # each value twice is the same law
    assert lpdd_distance(a, np.repeat(b, 2)) == pytest.approx(lpdd_distance(a, b), rel=1e-10)
    assert lpdd_distance(a, a + 5, center=True) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="second must hold finite numbers"):
        lpdd_distance(a, [])


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_subsampling_bound_at_the_door(confidence):
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        modes.subsampling_bound(10, confidence=confidence)


def test_every_name_loads_and_is_listed():
    assert sorted(modes.__all__) == list(modes.__all__)
    for name in modes.__all__:
        assert getattr(modes, name).__doc__
        assert name in dir(modes)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        modes.nothing  # noqa: B018
