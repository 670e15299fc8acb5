"""Sums of kernels over pairs: CPU kernels against whole matrices, tiles against one sum."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import kernel_distances as naive

from fastgen._dispatch import kernel_sums as dispatch
from fastgen.kernels.cpu import kernel_sums

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def problem(dtype, n, m, d=3):
    rng = np.random.default_rng(n + 100 * m)
    x, y = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    halves = [-0.5 * (rows**2).sum(1) for rows in (x, y)]
    return (x @ y.T).astype(dtype), *halves


@dtypes
@pytest.mark.parametrize(("n", "m"), [(1, 1), (31, 32), (33, 7), (5, 130)])
@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_polynomial(dtype, n, m, degree):
    products, left, right = problem(dtype, n, m)
    rows, columns = np.full(n, 2.0), np.full(m, 3.0)
    squares = kernel_sums.polynomial_sums(products, left, right, 0.5, 1.0, degree, rows, columns)
    wanted = naive.polynomial_sums(products.astype(float), left, right, 0.5, 1.0, degree)
    np.testing.assert_allclose(rows - 2, wanted[0], rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(columns - 3, wanted[1], rtol=1e-11, atol=1e-11)
    assert squares == pytest.approx(wanted[2], rel=1e-12)


@dtypes
@pytest.mark.parametrize(("n", "m"), [(1, 1), (31, 32), (33, 7), (5, 130)])
def test_gaussian(dtype, n, m):
    products, left, right = problem(dtype, n, m)
    rows, columns = np.zeros(n), np.ones(m)
    squares = kernel_sums.gaussian_sums(products, left, right, 0.7, rows, columns)
    wanted = naive.gaussian_sums(products.astype(float), left, right, 0.7)
    np.testing.assert_allclose(rows, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(columns - 1, wanted[1], rtol=1e-11, atol=1e-13)
    assert squares == pytest.approx(wanted[2], rel=1e-12)


def test_nan_stays_seen():
    products, left, right = problem(np.float64, 3, 4)
    products[1, 2] = np.nan
    for run in (
        lambda r, c: kernel_sums.polynomial_sums(products, left, right, 1.0, 1.0, 3, r, c),
        lambda r, c: kernel_sums.polynomial_sums(products, left, right, 1.0, 1.0, 2, r, c),
    ):
        rows, columns = np.zeros(3), np.zeros(4)
        assert np.isnan(run(rows, columns))
        assert np.isnan(rows[1])
        assert np.isnan(columns[2])


@pytest.mark.parametrize("kernel", [dispatch.Polynomial(3, 0.2, 1.0), dispatch.Gaussian(1.3)])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (4, 3), (512, 1024)])
def test_pairs_of_different_rows(monkeypatch, kernel, shape):
    monkeypatch.setattr(dispatch, "_ROWS", shape[0])
    monkeypatch.setattr(dispatch, "_COLUMNS", shape[1])
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((10, 4)), rng.standard_normal((7, 4)) + 1
    if isinstance(kernel, dispatch.Gaussian):
        matrices = [naive.gaussian_kernel(X, other, 1.3) for other in (X, Y)]
    else:
        matrices = [naive.polynomial_kernel(X, other, 3, 0.2, 1.0) for other in (X, Y)]
    np.fill_diagonal(matrices[0], 0)
    x, y = dispatch.prepared(kernel, X, Y)
    for found, matrix in zip(
        (dispatch.sums_within(kernel, x), dispatch.sums_between(kernel, x, y)), matrices,
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(found.rows, matrix.sum(1), rtol=1e-12)
        np.testing.assert_allclose(found.columns, matrix.sum(0), rtol=1e-12)
        assert found.squares == pytest.approx((matrix**2).sum(), rel=1e-12)
