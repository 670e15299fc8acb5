"""Sliced Wasserstein distance: closed forms, planted truths, its floor and its spread."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import sliced as naive
from samples import normal

from fastgen._dispatch import sliced as dispatch
from fastgen.metrics.sliced import sliced_wasserstein


def test_directions_are_compared_one_by_one():
    X, Y = normal(30, 5), normal(42, 5, seed=1, shift=0.5)
    found = dispatch.sliced_distances(X, Y, 260, 15, 3, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    X, Y = X[rng.permutation(30)], Y[rng.permutation(42)]
    directions = np.concatenate([rng.standard_normal((k, 5)) for k in (256, 4)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    left, right = directions @ X.T, directions @ Y.T
    np.testing.assert_allclose(found.whole, naive.quantile_gaps(left, right), rtol=1e-10)
    halves = naive.quantile_gaps(left[:, :15], left[:, 15:])
    np.testing.assert_allclose(found.halves, halves, rtol=1e-10)
    for part in range(3):
        pieces = left[:, 10 * part : 10 * part + 10], right[:, 14 * part : 14 * part + 14]
        np.testing.assert_allclose(found.parts[:, part], naive.quantile_gaps(*pieces), rtol=1e-10)


def test_single_precision_is_the_same():
    X, Y = ((rows + 50).astype(np.float32) for rows in (normal(200, 20), normal(90, 20, seed=1)))
    single = sliced_wasserstein(X, Y, random_state=0, n_directions=100)
    X, Y = X.astype(float), Y.astype(float)
    X[0, 0] += 1e-12
    double = sliced_wasserstein(X, Y, random_state=0, n_directions=100)
    assert single.value == pytest.approx(double.value, rel=1e-5)


def test_closed_forms():
    X = normal(500, 6)
    moved = sliced_wasserstein(X, X[:, ::-1] * 0 + X + 2.0, random_state=0, n_directions=3000)
    assert moved.value == pytest.approx(4.0, abs=4 * moved.direction_error)
    assert moved.mind == 18 * moved.value
    scaled = sliced_wasserstein(X - X.mean(0), 3 * (X - X.mean(0)), random_state=0)
    wanted = 4 * ((X - X.mean(0)) ** 2).sum() / len(X) / 6
    assert scaled.value == pytest.approx(wanted, abs=4 * scaled.direction_error)
    assert sliced_wasserstein(X, X, random_state=0).value == 0


def test_floor_and_spread_are_those_of_repetitions():
    same, moved = [], []
    for s in range(100):
        X, Y = normal(120, 4, seed=2 * s), normal(200, 4, seed=2 * s + 1)
        options = {"random_state": s, "n_directions": 40}
        same.append(sliced_wasserstein(X, Y, **options))
        moved.append(sliced_wasserstein(X, Y + 1, **options))
    values = np.array([one.value for one in same])
    assert np.mean([one.floor for one in same]) == pytest.approx(values.mean(), rel=0.2)
    values = np.array([one.value for one in moved])
    error = np.mean([np.hypot(one.standard_error, one.direction_error) for one in moved])
    assert error == pytest.approx(values.std(), rel=0.35)
    inside = [one.interval[0] <= values.mean() <= one.interval[1] for one in moved]
    assert np.mean(inside) > 0.85


def test_planted_truths():
    real, fresh = normal(600, 6), normal(600, 6, seed=1)
    same = sliced_wasserstein(real, fresh, random_state=0, n_directions=200)
    assert same.value < 2 * same.floor
    for wrong in (
        np.repeat(fresh[:1], 600, axis=0),
        fresh + normal(600, 6, seed=2),
        fresh[fresh[:, 0] > 0],
    ):
        found = sliced_wasserstein(real, wrong, random_state=0, n_directions=200)
        assert found.value > 5 * found.floor
    copied = sliced_wasserstein(real, real[:300], random_state=0, n_directions=200)
    assert copied.value < copied.floor  # copies look better than new samples


def test_result():
    X, Y = normal(50, 3), normal(39, 3, seed=1)
    found = sliced_wasserstein(X, Y, random_state=0, n_directions=20)
    again = sliced_wasserstein(X, Y, random_state=0, n_directions=20)
    assert found == again
    assert found.standard_error is None
    assert found.interval is None
    assert found.to_dict()["mind"] == 9 * found.value
    assert sliced_wasserstein(X, Y, n_directions=1).direction_error == 0
    assert "SlicedDistance(value=" in repr(found)


@pytest.mark.parametrize(
    ("sets", "options", "match"),
    [
        ((np.zeros((3, 2)), np.zeros((5, 2))), {}, "X must have at least 4 rows"),
        ((np.zeros((5, 2)), np.zeros((5, 3))), {}, "same number of columns"),
        ((np.zeros((5, 2)), np.full((5, 2), np.inf)), {}, "Y must be finite"),
        ((np.zeros((5, 2)), np.zeros((5, 2))), {"n_directions": 0}, "n_directions"),
    ],
)
def test_bad_input_is_named(sets, options, match):
    with pytest.raises(ValueError, match=match):
        sliced_wasserstein(*sets, **options)
