"""CPU kernels against the oracle: odd sizes, rank deficiency, ties, NaN, both dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import linear as naive

from fastgen._dispatch import linear as kernels
from fastgen._dispatch import nuclear as norms
from fastgen.kernels import quadrature
from fastgen.kernels.cpu import linear_path

TOLERANCE = {"float64": 1e-13, "float32": 1e-5}
SIZES = [(1, 1), (3, 1), (5, 3), (31, 31), (32, 32), (33, 20), (33, 33), (64, 64), (70, 65)]


def lanes(matrices, dtype):
    """Matrices of one shape (rows >= cols) as groups of eight, the last group padded with zeros."""
    groups = -(-len(matrices) // 8)
    stack = np.zeros((groups, *matrices[0].shape, 8), dtype)
    for i, matrix in enumerate(matrices):
        stack[i // 8, :, :, i % 8] = matrix
    return stack


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("rows", "cols"), SIZES)
def test_nuclear_norms(rows, cols, dtype):
    rng = np.random.default_rng(rows * 100 + cols)
    plain = list(rng.standard_normal((9, rows, cols)))
    orthogonal = np.linalg.qr(rng.standard_normal((rows, cols)))[0]  # all singular values tied
    low_rank = rng.standard_normal((rows, 1)) @ rng.standard_normal((1, cols))
    graded = orthogonal * np.logspace(0, -8, cols)
    huge = plain[0] * (1e200 if dtype == "float64" else 1e30)
    tiny = plain[0] * (1e-200 if dtype == "float64" else 1e-30)
    matrices = [*plain, orthogonal, low_rank, graded, huge, tiny, np.zeros((rows, cols))]
    stack = lanes(matrices, dtype)
    found = norms.nuclear_lanes(stack).ravel()[: len(matrices)]
    expected = naive.nuclear_norms([m.astype(dtype).astype(float) for m in matrices])
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=0)


def test_nuclear_norms_nan_stays_in_its_lane():
    matrices = list(np.random.default_rng(0).standard_normal((8, 6, 4)))
    expected = naive.nuclear_norms(matrices)
    matrices[3] = matrices[3].copy()
    matrices[3][2, 1] = np.nan
    found = norms.nuclear_lanes(lanes(matrices, "float64")).ravel()
    assert np.isnan(found[3])
    np.testing.assert_allclose(np.delete(found, 3), np.delete(expected, 3), rtol=1e-13)


def test_nuclear_norms_leaves_its_input_alone():
    stack = lanes(list(np.random.default_rng(0).standard_normal((8, 6, 4))), "float64")
    before = stack.copy()
    norms.nuclear_lanes(stack)
    np.testing.assert_array_equal(stack, before)


def test_padding_does_not_change_a_bit():
    matrix = np.random.default_rng(0).standard_normal((7, 5))
    alone = np.zeros((1, 7, 5, 8))
    alone[0, :, :, 0] = matrix
    crowded = np.random.default_rng(1).standard_normal((1, 7, 5, 8))
    crowded[0, :, :, 5] = matrix
    assert norms.nuclear_lanes(alone)[0, 0] == norms.nuclear_lanes(crowded)[0, 5]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 5e-15), ("float32", 2e-7)])
def test_quadrature_is_the_square_root(dtype, tolerance):
    gamma, omega = quadrature.nodes(np.dtype(dtype))
    x = np.concatenate([[0.0], np.logspace(-14 if dtype == "float32" else -28, 0, 500)])
    value = (omega * (x[:, None] / (x[:, None] + gamma))).sum(axis=1)
    np.testing.assert_allclose(value, np.sqrt(x), rtol=tolerance, atol=tolerance / 100)


def test_nuclear_of_mixed_shapes():
    rng = np.random.default_rng(2)
    shapes = [(3, 7), (7, 3), (1, 1), (5, 5), (2, 9), (9, 1), (4, 4), (6, 2), (8, 8), (1, 6)]
    matrices = [rng.standard_normal(shape) for shape in shapes]
    found = norms.nuclear_norms(matrices, np.dtype("float64"))
    np.testing.assert_allclose(found, naive.nuclear_norms(matrices), rtol=1e-13)


def test_gram_route_gives_way_to_the_svd():
    rng = np.random.default_rng(3)
    q = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    well = q * np.linspace(1, 2, 40)
    steep = q * np.logspace(0, -10, 40)
    assert norms.nuclear_from_gram(well @ well.T) is not None
    assert norms.nuclear_from_gram(steep @ steep.T) is None
    assert norms.nuclear_from_gram(np.zeros((3, 3))) == 0
    for matrix in (well, steep, steep[:, :7], 1e150 * well, 1e-150 * well):
        exact = naive.nuclear_norms([matrix])[0]
        np.testing.assert_allclose(norms.nuclear_lapack(matrix), exact, rtol=1e-12)


def frame(n, r, s, extra, seed):
    """Random trapezoids, the LQ factor of nested latents and its continuation."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n + extra, n))
    q, upper = np.linalg.qr(z[:n].T)
    f, y = np.triu(rng.standard_normal((r, n))), np.triu(rng.standard_normal((s, n)))
    return f, y, upper.T.copy(), z @ q


@pytest.mark.parametrize(
    ("n", "r", "s"), [(1, 1, 1), (2, 2, 1), (9, 9, 9), (31, 20, 31), (33, 33, 5)]
)
def test_leading_path(n, r, s):
    f, y, lower, _ = frame(n, r, s, 1, seed=n)
    inverse = np.linalg.inv(lower)
    ks = np.unique(np.array([1, 2, n // 2, n - 1, n]).clip(1, n))
    nuclear, squares = np.empty(ks.size), np.empty(ks.size)
    kernels.leading_path(f, y, inverse, ks, np.dtype("float64"), nuclear, squares)
    expected = naive.leading_path(f, y, inverse, ks)
    np.testing.assert_allclose(nuclear, expected[0], rtol=1e-11)
    np.testing.assert_allclose(squares, expected[1], rtol=1e-11)
    kernels.leading_path(f, y, None, ks, np.dtype("float64"), nuclear, squares)
    expected = naive.leading_path(f, y, np.eye(n), ks)
    np.testing.assert_allclose(nuclear, expected[0], rtol=1e-12)
    np.testing.assert_allclose(squares, expected[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "r", "s"), [(1, 1, 1), (2, 2, 1), (9, 9, 9), (31, 20, 31), (33, 33, 5)]
)
def test_tall_path(n, r, s):
    f, y, lower, z = frame(n, r, s, 3 * n, seed=n)
    square = np.linalg.qr(lower, mode="r")
    counts = np.unique(np.array([0, 1, 2, n, 2 * n, 3 * n]))
    nuclear, squares = np.empty(counts.size), np.empty(counts.size)
    kernels.tall_path(
        square.copy(), z[n:].copy(), counts, f, y, np.dtype("float64"), nuclear, squares
    )
    expected = naive.tall_path(z[:n], z[n:], counts, f, y)
    np.testing.assert_allclose(nuclear, expected[0], rtol=1e-10)
    np.testing.assert_allclose(squares, expected[1], rtol=1e-10)


def test_tall_path_at_the_peak_keeps_the_digits_of_an_svd():
    n = 12
    f, y, _, z = frame(n, n, n, 4, seed=0)
    u, s, vt = np.linalg.svd(z[:n])
    s[-1] = 1e-6 * s[0]  # an interpolation threshold worse than any random draw
    z[:n] = (u * s) @ vt
    square = np.linalg.qr(z[:n], mode="r")
    counts = np.arange(5)
    nuclear, squares = np.empty(5), np.empty(5)
    kernels.tall_path(
        square.copy(), z[n:].copy(), counts, f, y, np.dtype("float64"), nuclear, squares
    )
    expected = naive.tall_path(z[:n], z[n:], counts, f, y)
    # condition 1e6: an SVD keeps 1e-16 * 1e6, squaring the condition would leave 1e-4
    np.testing.assert_allclose(nuclear, expected[0], rtol=1e-9)
    np.testing.assert_allclose(squares, expected[1], rtol=2e-9)


@pytest.mark.parametrize("n", [1, 2, 31, 33])
def test_add_rows(n):
    rng = np.random.default_rng(n)
    r = np.linalg.qr(rng.standard_normal((n, n)), mode="r")
    rows = rng.standard_normal((5, n))
    rows[2] = 0
    found = r.copy()
    linear_path.add_rows(found, rows.copy())
    found *= np.sign(np.diagonal(found))[:, None]
    np.testing.assert_allclose(found, naive.add_rows(r, rows), rtol=1e-12, atol=1e-12)
