"""Exact nearest rows: every answer is that of a double loop in float64."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import nearest_rows as naive_rows
from sklearn.datasets import load_digits

from fastgen import neighbors
from fastgen._dispatch.nearest_rows import center_rows, select_rows
from fastgen.neighbors import nearest_rows


def check(x, pool, n_neighbors=1, **options):
    distances, indices = nearest_rows(x, pool, n_neighbors, **options)
    expected, order = naive_rows.nearest_rows(x, pool, n_neighbors)
    assert distances.shape == indices.shape == (len(x), n_neighbors)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-12, atol=0)


@pytest.fixture
def screened(monkeypatch):
    """Screen by leading coordinates however small the problem is."""
    monkeypatch.setattr(neighbors, "_SMALL", 0)
    monkeypatch.setattr(neighbors, "_QUERY_ROWS", 17)
    monkeypatch.setattr(neighbors, "_PRODUCT_ROWS", 150)
    monkeypatch.setattr(neighbors, "_POOL_ROWS", 400)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "m", "d", "s"), [(1, 1, 1, 1), (3, 31, 5, 31), (20, 65, 1, 2), (300, 5000, 40, 3)]
)
def test_random_rows(n, m, d, s, dtype):
    rng = np.random.default_rng(n + m)
    check(rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((m, d)).astype(dtype), s)


def low_rank(n, d, rank, seed, noise=0.05):
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).standard_normal((rank, d))
    return rng.standard_normal((n, rank)) @ basis + noise * rng.standard_normal((n, d))


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_screening_by_leading_coordinates(screened, offset, n_jobs):
    x, pool = low_rank(50, 60, 4, 0) + offset, low_rank(1000, 60, 4, 1) + offset
    assert neighbors._Screen.of(neighbors.finite_rows(x, "x"), pool).basis.shape == (60, 8)
    check(x, pool, 3, n_jobs=n_jobs)


def test_screening_spares_nearly_all_evaluations(screened, monkeypatch):
    counted = []
    monkeypatch.setattr(neighbors, "select_rows", lambda *a: counted.append(select_rows(*a)))
    nearest_rows(low_rank(50, 60, 4, 0), low_rank(1000, 60, 4, 1))
    assert sum(counted) < 0.02 * 50 * 1000


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(64, 200),
    st.integers(12, 40),
    st.integers(1, 12),
    st.sampled_from([1e-150, 1e-30, 1.0, 1e30, 1e140]),
    st.integers(0, 2**32 - 1),
)
def test_any_scale_and_rank(n, m, d, rank, scale, seed):
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((rank, d)) * scale
    x, pool = rng.standard_normal((n, rank)) @ basis, rng.standard_normal((m, rank)) @ basis
    previous, neighbors._SMALL = neighbors._SMALL, 0
    try:
        check(x, pool, 2)
    finally:
        neighbors._SMALL = previous


def test_digits_with_themselves_and_ties():
    x = load_digits().data.astype(np.uint8)
    pool = np.vstack([x, x, x[::-1]])
    distances, indices = nearest_rows(x, pool, 2)
    assert (distances == 0).all()
    expected, order = naive_rows.nearest_rows(x[:100], pool, 2)
    np.testing.assert_array_equal(indices[:100], order)
    np.testing.assert_array_equal(distances[:100], expected)


def test_a_constant_pool_and_a_far_row():
    pool = np.ones((200, 30))
    pool[7] = 1e8
    check(np.vstack([np.zeros(30), np.full(30, 1e8)]), pool, 3)


def test_blocks_of_a_generator_are_numbered_through(screened):
    x, pool = low_rank(10, 30, 3, 0), low_rank(900, 30, 3, 1)
    expected = nearest_rows(x, pool, 4)
    found = nearest_rows(x, (pool[i : i + 110] for i in range(0, 900, 110)), 4)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_memmap_is_read_in_blocks(tmp_path, screened, monkeypatch):
    pool = low_rank(900, 30, 3, 1)
    np.save(tmp_path / "pool.npy", pool)
    seen = []
    real = neighbors.finite_rows
    monkeypatch.setattr(
        neighbors, "finite_rows", lambda v, name: seen.append(len(v)) or real(v, name)
    )
    found = nearest_rows(pool[:5], np.load(tmp_path / "pool.npy", mmap_mode="r"))
    np.testing.assert_array_equal(found[1][:, 0], range(5))
    assert max(seen) == 400


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    x, pool = low_rank(5, 6, 2, 0), low_rank(40, 6, 2, 1)
    found = nearest_rows(torch.from_numpy(x).requires_grad_(), torch.from_numpy(pool))
    np.testing.assert_array_equal(found[1], nearest_rows(x, pool)[1])


def test_the_kernel_renews_lists():
    rng = np.random.default_rng(0)
    x, pool = rng.standard_normal((6, 3)), rng.standard_normal((90, 3))
    scores = (x @ pool.T - (pool**2).sum(1) / 2).astype(np.float32)
    bounds = (x**2).sum(1) - 1e-4
    distances, indices = np.full((6, 4), np.inf), np.full((6, 4), -1)
    for start, stop in ((0, 2), (2, 70), (70, 90)):
        block = slice(start, stop)
        expected = naive_rows.select_rows(x, pool[block], start, distances, indices)
        select_rows(scores[:, block], bounds, 1.0, x, pool[block], start, distances, indices)
        np.testing.assert_allclose(distances, expected[0], rtol=1e-13)
        np.testing.assert_array_equal(indices, expected[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_centered_rows(dtype):
    rng = np.random.default_rng(0)
    given, mean = (1e4 + rng.standard_normal((5, 33))).astype(dtype), np.full(33, 1e4)
    out, squares = np.empty((5, 33), np.float32), np.empty(5)
    center_rows(given, mean, 0.25, out, squares)
    expected, lengths = naive_rows.center_rows(given, mean, 0.25)
    np.testing.assert_array_equal(out, expected.astype(np.float32))
    np.testing.assert_allclose(squares, lengths, rtol=1e-14)


GOOD = np.ones((3, 2))


@pytest.mark.parametrize(
    ("x", "pool", "count", "error", "message"),
    [
        (np.array([[1.0, np.nan]]), GOOD, 1, ValueError, "X must be finite, got nan at row 0, col"),
        (GOOD, np.array([[np.inf, 1.0]]), 1, ValueError, "pool must be finite, got inf"),
        (np.ones(3), GOOD, 1, ValueError, r"X must be two-dimensional .* got shape \(3,\)"),
        (np.ones((0, 2)), GOOD, 1, ValueError, "X must have rows and columns"),
        (GOOD, np.ones((0, 2)), 1, ValueError, "pool must have rows and columns"),
        (GOOD, iter([]), 1, ValueError, "pool must hold at least one row"),
        (GOOD, np.ones((3, 4)), 1, ValueError, "same number of columns, got 2 and 4"),
        (GOOD, GOOD, 4, ValueError, "n_neighbors must be at most the 3 rows of pool, got 4"),
        (GOOD, GOOD, 0, ValueError, "n_neighbors must be at least 1"),
        (GOOD, GOOD, 1.5, TypeError, "n_neighbors must be an integer"),
        (GOOD.astype(complex), GOOD, 1, TypeError, "X must hold real numbers, got dtype complex"),
        (GOOD, 3, 1, TypeError, "pool must be an array or an iterable"),
        (GOOD * 1e200, GOOD, 1, ValueError, "shorter than 1e"),
    ],
)
def test_bad_input(x, pool, count, error, message):
    with pytest.raises(error, match=message):
        nearest_rows(x, pool, count)


# --- at the door ---------------------------------------------------------------------------------


def test_integers_of_64_bits_are_exact_or_refused():
    big = 2**53
    pool = np.array([[big - 3], [big - 2], [big - 1]])
    squared, index = nearest_rows(np.array([[big - 2]]), pool, 3)
    np.testing.assert_array_equal(index, [[1, 0, 2]])
    np.testing.assert_array_equal(squared, [[0, 1, 1]])
    for kind in (np.int64, np.uint64):
        with pytest.raises(ValueError, match=r"pool holds numbers of u?int64 .* beyond 2\^53"):
            nearest_rows(np.zeros((1, 1), kind), np.array([[2**53 + 1]], kind))
    with pytest.raises(ValueError, match=r"X holds numbers of int64"):
        nearest_rows(np.array([[-(2**60)]]), np.zeros((1, 1)))


def test_long_doubles_are_exact_or_refused():
    if np.finfo(np.longdouble).eps == np.finfo(float).eps:
        pytest.skip("long doubles are doubles here")
    rows = np.arange(6, dtype=np.longdouble).reshape(3, 2)
    np.testing.assert_array_equal(nearest_rows(rows, rows)[1][:, 0], [0, 1, 2])
    with pytest.raises(ValueError, match="float64 does not hold exactly"):
        nearest_rows(rows + np.finfo(np.longdouble).eps, rows)


@pytest.mark.parametrize("kind", [list, tuple, iter])
@pytest.mark.parametrize("cuts", [[3], [2], [1, 4]])
def test_blocks_in_a_list_are_a_pool(kind, cuts):
    rng = np.random.default_rng(0)
    x, pool = rng.standard_normal((3, 4)), rng.standard_normal((6, 4))
    found = nearest_rows(x, kind(np.split(pool, cuts)), 2)
    expected = nearest_rows(x, pool, 2)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(nearest_rows(x, list(pool), 2)[1], expected[1])
    np.testing.assert_array_equal(nearest_rows(x, pool.tolist(), 2)[1], expected[1])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_infinities_are_refused_without_a_warning_before(kind):
    pool = np.zeros((4, 2), kind)
    pool[0], pool[1] = np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="pool must be finite, got inf at row 0, column 0"):
            nearest_rows(np.zeros((1, 2)), pool)


def test_masked_and_tiny_rows_are_refused():
    x = np.random.default_rng(0).standard_normal((5, 3))
    with pytest.raises(ValueError, match="X must not be masked"):
        nearest_rows(np.ma.masked_greater(x, 0.5), x)
    for scale in (1e-200, 1e-163, 1e160):
        with pytest.raises(ValueError, match="divide both by their scale"):
            nearest_rows(scale * x, scale * x)
    np.testing.assert_array_equal(nearest_rows(0 * x, 0 * x)[0], np.zeros((5, 1)))
