"""Distances to random sets and extremes of pairs: the kernels against the oracle, odd sizes."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import modes as naive

from fastgen._dispatch import bourgain

SIZES = [(1, 1), (2, 3), (31, 1), (32, 2), (33, 5), (65, 40), (300, 2)]


def problem(n, d, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.round(2 * rng.standard_normal((n, d))) / 2 if n > 40 else rng.standard_normal((n, d))
    sets = rng.random((7, n)) < rng.random((7, 1))
    sets[3] = False
    return rows, sets


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_set_distances_of_points_and_of_a_matrix(n, d, n_jobs):
    rows, sets = problem(n, d)
    distances = naive.pairwise(rows)
    expected = naive.set_distances(distances, sets)
    options = {"device": "cpu", "n_jobs": n_jobs}
    by_matrix = bourgain.set_distances(distances, sets, matrix=True, **options)
    np.testing.assert_array_equal(by_matrix, expected)
    by_points = bourgain.set_distances(rows, sets, matrix=False, **options)
    np.testing.assert_allclose(by_points, expected, rtol=1e-14, atol=0)
    assert (by_points[:, 3] == 0).all()


def test_members_are_at_distance_zero():
    rows, sets = problem(65, 3)
    found = bourgain.set_distances(rows, sets, matrix=False, device="cpu", n_jobs=None)
    assert (found[sets.T] == 0).all()


@pytest.mark.parametrize(("n", "d"), SIZES[1:])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_pair_ratios(n, d, n_jobs):
    rows, _ = problem(n, d)
    embedding = np.random.default_rng(1).standard_normal((n, 9))
    distances = naive.pairwise(rows)
    expected = naive.pair_ratios(embedding, distances)
    for given, matrix in ((rows, False), (distances, True)):
        found = bourgain.pair_ratios(embedding, given, matrix=matrix, n_jobs=n_jobs)
        np.testing.assert_allclose(found, (expected.min(), expected.max()), rtol=1e-14)


def test_pair_ratios_see_every_pair():
    """One pair that stands out, wherever it is."""
    n = 300
    rows = np.random.default_rng(0).standard_normal((n, 2))
    distances = naive.pairwise(rows)
    for i, j in ((0, 1), (0, 299), (31, 32), (255, 256), (256, 257), (298, 299), (40, 200)):
        changed = distances.copy()
        changed[i, j] = changed[j, i] = 1e-3
        least, most = bourgain.pair_ratios(rows, changed, matrix=True, n_jobs=None)
        assert least == pytest.approx(1, rel=1e-12)
        assert most == pytest.approx(distances[i, j] / 1e-3, rel=1e-12)


def test_pairs_of_distance_zero_do_not_count():
    rows = np.zeros((40, 2))
    least, most = bourgain.pair_ratios(rows + 1, rows, matrix=False, n_jobs=None)
    assert (least, most) == (np.inf, 0)


def test_inputs_are_left_alone():
    rows, sets = problem(33, 2)
    before = rows.copy(), sets.copy()
    bourgain.set_distances(rows, sets, matrix=False, device="cpu", n_jobs=None)
    bourgain.pair_ratios(rows, rows, matrix=False, n_jobs=None)
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(sets, before[1])


@pytest.mark.parametrize("scale", [1e-140, 1e-20, 1.0, 1e20, 1e140])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_the_screen_of_pairs_loses_none(scale, offset):
    """Ratios that differ by less than float32 holds, far from the origin, in any unit."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 3))
    rows[100:] = rows[:100] + 1e-7 * rng.standard_normal((100, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    embedding = (rows @ turn + offset) * scale
    distances = naive.pairwise(rows)
    # both extremes are pairs whose ratios stand out by 1e-6
    for i, j, factor in ((3, 150, 1 + 1e-6), (7, 9, 1 - 1e-6)):
        distances[i, j] *= factor
        distances[j, i] = distances[i, j]
    found = bourgain.pair_ratios(embedding, distances, matrix=True, n_jobs=None)
    upper = np.triu_indices(200, 1)
    gaps = embedding[upper[0]] - embedding[upper[1]]
    ratios = np.sqrt(((gaps / scale) ** 2).sum(1)) / distances[upper] * scale
    np.testing.assert_allclose(found, (ratios.min(), ratios.max()), rtol=1e-13)


def test_an_embedding_that_collapses():
    least, most = bourgain.pair_ratios(np.ones((9, 2)), np.eye(9), matrix=False, n_jobs=None)
    assert (least, most) == (0, 0)


@pytest.mark.parametrize("n", [1, 31, 65])
def test_asymmetry(n):
    matrix = np.random.default_rng(n).uniform(1, 2, (n, n))
    found = bourgain.asymmetry(matrix)
    assert found == pytest.approx(naive.asymmetry(matrix), rel=1e-15)
    assert found[3]
    for bad in (np.nan, np.inf):
        for at in ((0, 0), (n - 1, 0), (0, n - 1), (n // 2, n // 3)):
            changed = matrix.copy()
            changed[at] = bad
            assert not bourgain.asymmetry(changed)[3]
