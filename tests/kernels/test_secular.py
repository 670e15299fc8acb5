"""One eigendecomposition for many k > n: kernels against the oracle, and who is sent to them."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import linear as naive
from oracles import secular as naive_secular

from fastgen._dispatch import linear as linear_path
from fastgen._dispatch import nuclear as norms
from fastgen.kernels.cpu import linear_frame, secular
from fastgen.linear.host import paths


def rows_of(n, extra, seed):
    """Square latents and those that follow."""
    z = np.random.default_rng(seed).standard_normal((n + extra, n))
    return z[:n], z[n:]


def trapezoid(rng, rows, n):
    """Upper trapezoidal factor of a well-conditioned matrix."""
    return np.linalg.qr(rng.standard_normal((n + rows, n)), mode="r")[:rows]


@pytest.mark.parametrize("ratio", [4.0, 1e2, 1e6, 1e12, 1e20, 1e26])
def test_axis_nodes_integrate_resolvents_and_logarithms(ratio):
    t, weights = secular.axis_nodes(3.0, 3.0 * ratio)
    assert t.size % 8 == 0
    assert (weights > 0).all()
    assert (np.diff(t) > 0).all()
    for x in np.geomspace(3.0, 3.0 * ratio, 40):
        resolvent = (weights / (t * t + x)).sum()
        np.testing.assert_allclose(resolvent * 2 / np.pi, x**-0.5, rtol=1e-11)
    logarithm = (weights * np.log1p((3 * ratio - 3) / (t * t + 3))).sum() / np.pi
    np.testing.assert_allclose(logarithm, np.sqrt(3 * ratio) - np.sqrt(3), rtol=1e-11)


@pytest.mark.parametrize(("r", "m"), [(1, 1), (1, 9), (5, 2), (20, 31), (33, 8), (64, 70)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_root_increments(r, m, scale):
    rng = np.random.default_rng(r * 100 + m)
    eigenvalues = np.geomspace(1e-4, 1, r)
    updates = scale * rng.standard_normal((m, r))
    found = np.empty(m)
    secular.root_increments(eigenvalues, updates, found)
    expected = naive_secular.root_increments(eigenvalues, updates)
    lost = 4e-16 * (updates**2 / np.sqrt(eigenvalues)).sum(axis=1).max()
    rounding = 1e-14 * (np.sqrt(eigenvalues).sum() + expected.sum())  # of the oracle's differences
    np.testing.assert_allclose(found, expected, rtol=2e-11, atol=lost + rounding)
    if scale < 1e-4:  # the increments are 1e-9 of the sum: a difference of sums has lost them
        first = (updates[0] ** 2 / np.sqrt(eigenvalues)).sum() / 2
        np.testing.assert_allclose(found[0], first, rtol=1e-6)


def test_root_increments_of_ties_zeros_and_nothing():
    updates = np.random.default_rng(0).standard_normal((6, 5))
    updates[2] = 0
    for eigenvalues in (np.ones(5), np.array([0.0, 0, 1, 1, 2]), np.array([0.0, 0, 0, 0, 1e-9])):
        inside = updates * (eigenvalues > 0)
        found = np.empty(6)
        secular.root_increments(eigenvalues, inside, found)
        expected = naive_secular.root_increments(eigenvalues, inside)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        assert abs(found[2]) < 1e-14
    found = np.full(6, np.nan)
    secular.root_increments(np.zeros(5), np.zeros((6, 5)), found)
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_root_increments_of_numbers_that_are_not_finite_are_nan(bad):
    updates = np.random.default_rng(0).standard_normal((3, 4))
    eigenvalues = np.ones(4)
    for array in (updates, eigenvalues):
        array.flat[1] = bad
        found = np.empty(3)
        secular.root_increments(eigenvalues, updates, found)
        assert np.isnan(found).all()
        array.flat[1] = 1


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 65, 100])
def test_upper_inverse(n):
    upper = np.linalg.qr(np.random.default_rng(n).standard_normal((n, n)), mode="r")
    found = np.empty((n, n))
    linear_frame.upper_inverse(upper, found)
    np.testing.assert_array_equal(found, np.triu(found))
    scale = abs(found).max()
    np.testing.assert_allclose(found, np.linalg.inv(upper), rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 65])
@pytest.mark.parametrize("m", [1, 5, 70])
def test_absorb_rows(n, m):
    square, rows = rows_of(n, m, seed=n)
    rows[m // 2] = 0
    rows[:, 0] = 0
    r = np.linalg.qr(square, mode="r")
    found = r.copy()
    linear_frame.absorb_rows(found, rows.copy())
    np.testing.assert_array_equal(found, np.triu(found))
    found *= np.sign(np.diagonal(found))[:, None]
    np.testing.assert_allclose(found, naive.add_rows(r, rows), rtol=1e-11, atol=1e-12)


def dense(square, rows, counts, f, y, longest):
    nuclear, squares = np.empty(counts.size), np.empty(counts.size)
    r = np.linalg.qr(square, mode="r")
    secular.dense_path(r, rows.copy(), counts, f, y, longest, 1e-11, nuclear, squares)
    np.testing.assert_allclose(
        r.T @ r, square.T @ square + rows[: counts[-1]].T @ rows[: counts[-1]], rtol=1e-9, atol=1e-9
    )
    return nuclear, squares


@pytest.mark.parametrize(
    ("n", "r", "s"), [(1, 1, 1), (2, 2, 1), (9, 9, 9), (31, 20, 31), (33, 33, 5), (70, 64, 70)]
)
@pytest.mark.parametrize("longest", [1, 7, 40])
def test_dense_path(n, r, s, longest):
    rng = np.random.default_rng(n)
    square, rows = rows_of(n, 3 * n, seed=n)
    f, y = trapezoid(rng, r, n), trapezoid(rng, s, n)
    every = np.arange(1, 3 * n + 1)
    gaps = np.unique(np.array([0, 1, 2, n, n + 1, 2 * n, 3 * n]))
    for counts in (every, every[:1], gaps):
        found = dense(square, rows, counts, f, y, longest)
        expected = naive.tall_path(square, rows, counts, f, y)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-10)


@pytest.mark.parametrize("smallest", [1e-6, 1e-9])
def test_dense_path_at_the_peak_keeps_the_digits_of_an_svd(smallest):
    n = 12
    rng = np.random.default_rng(0)
    square, rows = rows_of(n, 9, seed=0)
    u, s, vt = np.linalg.svd(square)
    s[-1] = smallest * s[0]
    square = (u * s) @ vt
    f, y = trapezoid(rng, n, n), trapezoid(rng, n, n)
    counts = np.arange(10)
    found = dense(square, rows, counts, f, y, 40)
    expected = naive.tall_path(square, rows, counts, f, y)
    # at the peak 1e-16 / smallest is what an SVD keeps; one row later all of it
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-15 / smallest)
    np.testing.assert_allclose(found[1], expected[1], rtol=4e-15 / smallest)
    np.testing.assert_allclose(found[0][1:], expected[0][1:], rtol=1e-11)
    np.testing.assert_allclose(found[1][1:], expected[1][1:], rtol=1e-11)


def test_dense_path_with_steep_data_takes_the_svd():
    n = 30
    rng = np.random.default_rng(1)
    square, rows = rows_of(n, 40, seed=1)
    data = (
        rng.standard_normal((n, n)) @ np.diag(np.logspace(0, -10, n)) @ rng.standard_normal((n, n))
    )
    f = np.linalg.qr(data, mode="r")
    counts = np.arange(1, 41)
    expected = naive.tall_path(square, rows, counts, f, f)
    for scale in (1.0, 1e-150, 1e150):
        nuclear, _ = dense(square, rows, counts, scale * f, f, 40)
        np.testing.assert_allclose(nuclear, scale * expected[0], rtol=1e-11)


def test_dense_path_of_nothing_is_zero():
    square, rows = rows_of(5, 9, seed=2)
    counts = np.arange(1, 10)
    nuclear, squares = dense(square, rows, counts, np.zeros((3, 5)), np.zeros((3, 5)), 4)
    np.testing.assert_array_equal(nuclear, 0)
    np.testing.assert_array_equal(squares, 0)


def test_dense_runs_cover_every_count_once_in_order():
    counts = np.concatenate([np.arange(3, 40), [60, 80], np.arange(100, 103), np.arange(200, 280)])
    runs = list(linear_path.dense_runs(counts, 50))
    assert [(counts[run][0], counts[run][-1], dense) for run, dense in runs] == [
        (3, 39, True),
        (60, 102, False),
        (200, 279, True),
    ]
    assert list(linear_path.dense_runs(counts[:0], 50)) == []
    strided = np.arange(1, 2000, 60)
    assert [dense for _, dense in linear_path.dense_runs(strided, 1000)] == [True]
    assert [dense for _, dense in linear_path.dense_runs(strided, 900)] == [False]


@pytest.mark.parametrize(("n", "rank"), [(40, 40), (40, 7), (40, 0), (170, 170), (170, 20)])
def test_tall_changes_between_dense_and_sparse_counts(n, rank, monkeypatch):
    """The triangular factor is handed from run to run, whichever way computed the run before."""
    rng = np.random.default_rng(n)
    square, rows = rows_of(n, 2 * n, seed=n)
    f, y = trapezoid(rng, rank, n), trapezoid(rng, rank, n)
    counts = np.concatenate(
        [[1], np.arange(15, 40), [2 * n - 24, 2 * n - 12], np.arange(2 * n - 11, 2 * n + 1)]
    )
    taken = []
    monkeypatch.setattr(linear_path, "_GAP_SHARE", n)
    original = linear_path.dense_path

    def watched(*args):
        taken.append(args[2].size)
        original(*args)

    monkeypatch.setattr(linear_path, "dense_path", watched)
    r = np.linalg.qr(square, mode="r")
    before = r.copy(), rows.copy()
    found = paths.tall(r, rows, counts, f, y, np.dtype("float64"))
    np.testing.assert_array_equal(r, before[0])
    np.testing.assert_array_equal(rows, before[1])
    expected = naive.tall_path(square, rows, counts, f, y)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-10)
    if rank:
        assert taken == [25, 13] if n == 40 else taken


def test_tall_without_counts():
    found = paths.tall(np.eye(3), np.empty((0, 3)), np.arange(0), np.eye(3), np.eye(3), np.float64)
    assert [values.size for values in found] == [0, 0]


def test_one_tolerance_for_both_routes_to_the_svd():
    steep = np.logspace(0, -10, 30)
    assert linear_frame.gram_error(np.sort(steep)) > norms.GRAM_TOLERANCE * steep.sum()
    flat = np.linspace(1, 2, 30)
    assert linear_frame.gram_error(flat) < 1e-13 * flat.sum()
