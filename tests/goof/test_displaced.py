"""Displaced planted targets, and what a score says of the error of its search."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen.goof import Ball, DisplacedResult, displaced, nearest, score
from fastgen.goof.checks import SearchCheck
from fastgen.goof.displaced import _moved
from fastgen.linear import LinearGAN

QUICK = {"pool_size": 300, "n_starts": 8, "max_iter": 20, "random_state": 0, "progress": False}


@pytest.fixture(scope="module")
def linear():
    X = np.random.default_rng(0).standard_normal((40, 7))
    gan = LinearGAN(3, "unsupervised").fit(X)
    return gan, X, X - nearest(gan, X).reconstruction


def off_the_span(weight, residual):
    """The oracle: subtract the least-squares fit, in NumPy only, and restore the length."""
    fit = weight @ np.linalg.lstsq(weight, residual, rcond=None)[0]
    move = residual - fit
    return move * np.linalg.norm(residual) / np.linalg.norm(move)


def test_displacements_are_orthogonal_to_the_tangent_and_as_long_as_residuals():
    rng = np.random.default_rng(0)
    centers, residuals = rng.standard_normal((2, 5, 12))
    tangents = rng.standard_normal((5, 4, 12))
    tangents[1, 2:] = tangents[1, :2]  # of rank 2, as behind dead units
    moved = _moved(centers, list(tangents), residuals)
    for i, (target, center) in enumerate(moved):
        np.testing.assert_array_equal(center, centers[i])
        np.testing.assert_allclose(
            target - center, off_the_span(tangents[i].T, residuals[i]), rtol=1e-9, atol=1e-12
        )
    square = rng.standard_normal((12, 12))
    ((target, center),) = _moved(centers[:1], [square], residuals[:1])
    np.testing.assert_array_equal(target, center)  # nothing is off the tangent of all of space


@pytest.mark.parametrize("domain", [None, Ball(0.7)])
def test_a_linear_generator_has_no_excess(linear, domain):
    gan, _, residuals = linear
    found = displaced(gan, residuals, 60, domain=domain, random_state=0)
    assert found.targets.shape == (60, 7)
    lengths = (residuals**2).sum(axis=1)
    np.testing.assert_allclose(np.unique(found.bound.round(9)), np.unique(lengths.round(9)))
    np.testing.assert_allclose(found.nearest.squared_distance, found.bound, rtol=1e-9)
    assert found.share < 1e-12
    assert "0.0%" in repr(found)
    assert found.to_dict()["bound_mse"] == pytest.approx(found.bound.mean() / 7)
    again = displaced(gan, residuals, 60, domain=domain, random_state=0)
    np.testing.assert_array_equal(again.targets, found.targets)
    other = displaced(gan, residuals, 60, domain=domain, random_state=1)
    assert not np.allclose(other.targets, found.targets)


def test_members_share_displaced_targets(linear):
    gan, X, residuals = linear
    other = LinearGAN(2, "unsupervised").fit(X[:20] + 1)
    found = displaced([gan, other], residuals, 9, random_state=0)
    assert (found.nearest.squared_distance <= found.bound * (1 + 1e-9)).all()
    assert found.share == pytest.approx(0, abs=1e-9)


def test_excess_is_what_lies_above_the_bound(linear):
    gan, X, _ = linear
    found = nearest(gan, X)
    bound = found.squared_distance * np.where(np.arange(40) % 2, 0.5, 2.0)
    result = DisplacedResult(nearest=found, targets=X, bound=bound)
    expected = np.where(np.arange(40) % 2, 0.5 * found.squared_distance, 0)
    np.testing.assert_allclose(result.excess, expected)
    assert result.share == pytest.approx(expected.sum() / bound.sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residuals": np.zeros((3, 5))}, "residuals must have the 7 values"),
        ({"residuals": np.full((3, 7), np.nan)}, "residuals must be finite"),
        ({"residuals": np.zeros(7)}, "residuals must be finite, of shape"),
        ({"n": 0}, "n must be at least 1"),
        ({"init": np.zeros((3, 3))}, "init must be an encoder"),
        ({"prior": "cauchy"}, "prior must be"),
    ],
)
def test_bad_calls(linear, change, message):
    gan, _, residuals = linear
    with pytest.raises(ValueError, match=message):
        displaced(gan, **{"residuals": residuals, **change})


# --- what a score says --------------------------------------------------------------------------


def test_a_linear_generator_is_searched_without_error(linear):
    gan, X, _ = linear
    found = score(gan, X, n_checked=10, random_state=0)
    assert found.search_error == pytest.approx(0, abs=1e-9)
    assert len(found.check.rows) == 10
    assert found.check.rows[[0, -1]].tolist() == [0, 39]
    radius = float(found.check.reach_domain[len("Ball(radius=") : -1])
    assert 3.5 < radius < 4.6  # 99.9 % of normal latents of 3 coordinates: 4.03
    inside = nearest(gan, X[found.check.rows], domain=Ball(radius)).squared_distance
    np.testing.assert_allclose(found.check.reach, inside)
    told = found.to_dict()
    assert told["check"]["whole_range_mse"] <= told["check"]["prior_reach_mse"] + 1e-12
    assert "search error about 0.0% of the squared distance" in found.summary()
    assert "to the whole range" in found.summary()
    none = score(gan, X, n_checked=0, random_state=0)
    assert none.check is None
    assert none.search_error is None
    assert "search error" not in none.summary()
    np.testing.assert_array_equal(none.planted.targets, found.planted.targets)
    confined = score(gan, X, domain=Ball(1.0), n_checked=5, random_state=0)
    assert confined.check.reach is None
    assert "whole range" not in confined.summary()


def test_the_error_is_what_two_searches_differ_by(linear):
    gan, X, residuals = linear
    again = nearest(gan, X[:3])
    first = again.squared_distance * np.array([1.5, 1.0, 0.5])
    moved = displaced(gan, residuals, 3, random_state=0)
    check = SearchCheck(np.arange(3), first, again, moved, None, None)
    second = again.squared_distance
    assert check.disagreement == pytest.approx(
        np.abs(first - second).mean() / ((first + second).mean() / 2)
    )
    assert check.gain == pytest.approx(0.5 * second[0] / first.sum())


def test_a_network_that_is_searched_too_shortly_says_so():
    torch = pytest.importorskip("torch")
    rng = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(12, 40), torch.nn.ReLU(), torch.nn.Linear(40, 40), torch.nn.ReLU(),
        torch.nn.Linear(40, 50),
    ).double()  # fmt: skip
    with torch.no_grad():
        for place, gain in ((0, 6.0), (2, 1.0), (4, 1.0)):
            layer = net[place]
            layer.weight.normal_(0, gain * (2 / layer.in_features) ** 0.5, generator=rng)
            layer.bias.normal_(0, 0.5 * gain, generator=rng)
        X = net(torch.randn(16, 12, dtype=torch.float64, generator=rng)).numpy()
    X = X[:8] + 0.5 * X.std() * np.random.default_rng(0).standard_normal((8, 50))
    options = {**QUICK, "n_planted": 4, "n_starts": 4, "max_iter": 10}
    poor = score(net, X, method="adam", **options)
    good = score(net, X, **options)
    assert poor.search_error > 0.12 > 0.05 > good.search_error
    # the error of the poor search, as far as the good one knows it, is of the size that is said
    known = 1 - good.mse / poor.mse
    assert known > 0.2
    assert known / 4 < poor.search_error < 4 * known
    assert good.check.displaced.nearest.z.shape == (8, 12)
    assert (good.check.reach >= good.check.first * (1 - 0.1)).all()
    figure = good.plot(n_images=2)
    assert "search error about" in figure.get_suptitle()
