"""Eigenvectors and least squares of small matrices by the CUDA kernels, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from shim import host

from fastgen.kernels import cuda
from fastgen.kernels.cuda import _load

TOLERANCE = {np.float64: 2e-14, np.float32: 1e-5}
SIZES = [1, 2, 3, 31, 32, 33, 64]

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@pytest.fixture(params=["shim", pytest.param("device", marks=pytest.mark.gpu)])
def kernels(request):
    if request.param == "device":
        yield host.OnDevice(host.require_device())
        return
    with host.numpy_as_cupy() as functions:
        yield functions


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def assert_decomposed(found, stack):
    values, vectors = (a.astype(np.float64) for a in found)
    assert [a.dtype for a in found] == [stack.dtype, stack.dtype]
    assert (values.shape, vectors.shape) == (stack.shape[:2], stack.shape)
    whole = np.tril(stack) + np.tril(stack, -1).swapaxes(1, 2)
    whole = whole.astype(np.float64)
    expected = np.linalg.eigvalsh(whole)
    size = abs(expected).max(axis=1, initial=1e-300)[:, None]
    tolerance = TOLERANCE[stack.dtype.type]
    assert (abs(values - expected) <= tolerance * size).all()
    assert (np.diff(values, axis=1) >= 0).all()
    product = vectors.swapaxes(1, 2) @ vectors
    assert (abs(product - np.eye(stack.shape[1])) <= tolerance).all()
    miss = whole @ vectors - vectors * values[:, None, :]
    assert (abs(miss) <= 4 * tolerance * size[:, :, None]).all()


@dtypes
@pytest.mark.parametrize("n", [*SIZES, 65])
def test_eigenvectors_of_every_size(kernels, dtype, n):
    rng = np.random.default_rng(n)
    stack = rng.standard_normal((2, n, n)).astype(dtype)
    assert_decomposed(kernels.symmetric_eigen(stack), stack)


@dtypes
def test_eigenvectors_of_special_matrices(kernels, dtype):
    rng = np.random.default_rng(0)
    n = 9
    basis = orthogonal(rng, n)
    low = rng.standard_normal((n, 2))
    stack = np.array(
        [
            np.eye(n),
            np.ones((n, n)),
            np.zeros((n, n)),
            -low @ low.T,
            np.diag(np.arange(n)[::-1] - 4.0),
            basis * np.logspace(0, -12, n) @ basis.T,
            basis * np.repeat([2.0, 2.0 + 1e-9, -1.0], 3) @ basis.T,
        ]
    ).astype(dtype)
    upper_is_not_read = np.tril(stack) + np.triu(np.full((n, n), np.nan), 1).astype(dtype)
    assert_decomposed(kernels.symmetric_eigen(upper_is_not_read), stack)
    info = np.finfo(dtype)
    for scale in (2.0 ** (info.minexp + 10), 2.0 ** (info.maxexp - 10)):
        values, vectors = kernels.symmetric_eigen(stack[3:4] * dtype(scale))
        assert_decomposed((values / dtype(scale), vectors), stack[3:4])


def test_rows_and_columns_of_zeros_keep_unit_vectors(kernels):
    stack = np.zeros((1, 7, 7))
    half = np.random.default_rng(1).standard_normal((4, 6))
    stack[0, :4, :4] = half @ half.T
    values, vectors = kernels.symmetric_eigen(stack)
    np.testing.assert_array_equal(values[0, :3], 0)
    np.testing.assert_array_equal(vectors[0][:, :3], np.eye(7)[:, 4:])
    np.testing.assert_array_equal(vectors[0][4:, 3:], 0)


@dtypes
def test_eigenvectors_of_nan_and_infinite_matrices(kernels, dtype, monkeypatch):
    monkeypatch.setattr(_load, "MAX_BLOCKS", 2)
    stack = np.random.default_rng(2).standard_normal((5, 4, 4)).astype(dtype)
    stack[1, 3, 0] = np.nan
    stack[2, 2, 2] = np.inf
    values, vectors = kernels.symmetric_eigen(stack)
    assert np.isnan(values[1:3]).all()
    assert np.isnan(vectors[1:3]).all()
    fine = [0, 3, 4]
    assert_decomposed((values[fine], vectors[fine]), stack[fine])
    values, vectors = kernels.symmetric_eigen(stack[:0])
    assert (values.shape, vectors.shape) == ((0, 4), (0, 4, 4))


@dtypes
def test_values_do_not_depend_on_the_vectors(kernels, dtype):
    stack = np.random.default_rng(3).standard_normal((2, 6, 6)).astype(dtype)
    values, _ = kernels.symmetric_eigen(stack)
    np.testing.assert_array_equal(kernels.symmetric_eigenvalues(stack), values)


def solved(kernels, a, b, rows=None, columns=None):
    rows = [a.shape[1]] * len(a) if rows is None else rows
    columns = [a.shape[2]] * len(a) if columns is None else columns
    before = a.copy(), b.copy()
    x, share = kernels.solve_left(a, b, rows, columns)
    np.testing.assert_array_equal(before[0], a)
    np.testing.assert_array_equal(before[1], b)
    assert (x.dtype, share.dtype) == (a.dtype, a.dtype)
    assert (x.shape, share.shape) == ((len(a), a.shape[2], b.shape[2]), a.shape[:1])
    return x, share


def assert_solved(x, share, a, b, rows, columns):
    for i, (m, n) in enumerate(zip(rows, columns, strict=True)):
        used, right = a[i, :m, :n].astype(float), b[i, :m].astype(float)
        condition = np.linalg.cond(used)
        expected = np.linalg.lstsq(used, right, rcond=None)[0]
        scale = np.linalg.norm(right) * condition / np.linalg.norm(used, 2)
        limit = TOLERANCE[a.dtype.type] * condition * max(scale, np.linalg.norm(expected))
        assert np.linalg.norm(x[i, :n] - expected) <= limit
        np.testing.assert_array_equal(x[i, n:], 0)
        r = abs(np.diag(np.linalg.qr(used if m >= n else used.T, mode="r")))
        atol = 10 * TOLERANCE[a.dtype.type]
        np.testing.assert_allclose(share[i], r.min() / r.max(), atol=atol)


@dtypes
@pytest.mark.parametrize(
    ("m", "n", "c"),
    [
        (1, 1, 1),
        (5, 1, 2),
        (1, 5, 2),
        (7, 4, 130),
        (4, 7, 3),
        (31, 31, 2),
        (33, 20, 3),
        (20, 33, 3),
        (33, 33, 1),
        (64, 64, 2),
        (64, 1, 1),
        (40, 64, 5),
    ],
)
def test_least_squares_of_every_shape(kernels, dtype, m, n, c):
    rng = np.random.default_rng([m, n])
    a, b = (rng.standard_normal((2, m, size)).astype(dtype) for size in (n, c))
    a += np.eye(m, n, dtype=dtype) * 4
    x, share = solved(kernels, a, b)
    assert_solved(x, share, a, b, [m] * 2, [n] * 2)


@dtypes
def test_systems_of_different_sizes(kernels, dtype, monkeypatch):
    rng = np.random.default_rng(4)
    sizes = [(9, 8), (3, 8), (9, 1), (1, 1), (6, 6), (2, 7)]
    rows, columns = zip(*sizes, strict=True)
    a = rng.standard_normal((6, 9, 8)).astype(dtype)
    b = rng.standard_normal((6, 9, 4)).astype(dtype)
    for i, (m, n) in enumerate(sizes):  # what is not in use is not read
        a[i, m:], a[i, :, n:], b[i, m:] = np.nan, np.nan, np.nan
    x, share = solved(kernels, a, b, rows, columns)
    assert_solved(x, share, a, b, rows, columns)
    monkeypatch.setattr(_load, "MAX_BLOCKS", 2)
    for first, second in zip(kernels.solve_left(a, b, rows, columns), (x, share), strict=True):
        np.testing.assert_array_equal(first, second)


@dtypes
def test_scale_of_a_system_does_not_matter(kernels, dtype):
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal((1, 5, size)).astype(dtype) for size in (4, 3))
    x, share = solved(kernels, a, b)
    info = np.finfo(dtype)
    for scale in (2.0 ** (info.minexp + 20), 2.0 ** (info.maxexp - 20)):
        again, same = solved(kernels, a * dtype(scale), b)
        np.testing.assert_allclose(again * dtype(scale), x, rtol=8 * info.eps)
        np.testing.assert_allclose(same, share, rtol=8 * info.eps)


@dtypes
def test_systems_without_full_rank_say_so(kernels, dtype):
    rng = np.random.default_rng(6)
    a = rng.standard_normal((6, 6, 4)).astype(dtype)
    a[0] = 0
    a[1, :, 3] = a[1, :, 0]
    a[2] = np.outer(np.arange(6), np.ones(4))
    a[3, 2, 1] = np.nan
    a[4, 0, 0] = -np.inf
    b = rng.standard_normal((6, 6, 2)).astype(dtype)
    x, share = solved(kernels, a, b)
    assert share[0] == 0
    np.testing.assert_array_equal(x[0], 0)
    assert (share[1:3] < 10 * np.finfo(dtype).eps).all()
    assert np.isnan(share[3:5]).all()
    assert np.isnan(x[3:5]).all()
    assert_solved(x[5:], share[5:], a[5:], b[5:], [6], [4])


def test_a_right_side_of_nan_stays_in_its_column(kernels):
    rng = np.random.default_rng(7)
    a, b = (rng.standard_normal((1, 5, size)) for size in (4, 3))
    b[0, 2, 1] = np.nan
    x, _ = solved(kernels, a, b)
    assert np.isnan(x[0, :, 1]).all()
    assert np.isfinite(x[0][:, [0, 2]]).all()


def test_no_systems(kernels):
    x, share = kernels.solve_left(np.ones((0, 3, 2)), np.ones((0, 3, 4)), [], [])
    assert (x.shape, share.shape) == ((0, 2, 4), (0,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(a=np.ones((3, 2))), r"a must have 3 dimensions \(s, m, n\), got 2"),
        (dict(b=np.ones((1, 3, 2), dtype=int)), "b must be float32 or float64, got int64"),
        (dict(a=np.ones((1, 3, 65))), "at most 64 rows and columns, got 3 x 65; for larger"),
        (dict(b=np.ones((1, 2, 2))), r"sizes and the dtype of a, \(1, 3\) and float64, got \(1, 2"),
        (dict(b=np.ones((1, 3, 2), dtype=np.float32)), "float64, got .* and float32"),
        (dict(rows=[4]), r"rows must be 1 numbers from 1 to 3, the size of a, got \[4\]"),
        (dict(columns=[0]), r"columns must be 1 numbers from 1 to 2, the size of a, got \[0\]"),
        (dict(columns=[1, 1]), r"columns must be 1 numbers from 1 to 2"),
    ],
)
def test_door_says_expected_found_remedy(change, message):
    arguments = dict(a=np.ones((1, 3, 2)), b=np.ones((1, 3, 2)), rows=[3], columns=[2])
    with pytest.raises(ValueError, match=message):
        cuda.solve_left(**{**arguments, **change})
    with pytest.raises(ValueError, match="square matrices, got 2 x 3"):
        cuda.symmetric_eigen(np.ones((1, 2, 3)))
