"""The CUDA kernels against the oracle: run on the CPU by the shim, and on a device if any."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles import linear as naive
from shim import host

from fastgen.kernels import cuda, quadrature
from fastgen.kernels.cuda import _load, linear_path

TOLERANCE = {np.float64: 1e-13, np.float32: 1e-5}  # relative to the nuclear norm
SCALAR = {np.float64: "double", np.float32: "float"}
BARRIER = "__syncthreads();"

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def nuclear_arguments(stack):
    gamma, omega = quadrature.nodes(stack.dtype)
    sizes = np.int64(stack.shape[0]), np.int32(stack.shape[1]), np.int32(stack.shape[2])
    out = np.full(len(stack), -1.0, dtype=stack.dtype)
    return stack, *sizes, gamma, omega, np.int32(gamma.size), out


def nuclear_norms(stack, side=None, grid=1):
    side = side or (32 if stack.shape[1] <= 32 else 64)
    *arguments, out = nuclear_arguments(np.ascontiguousarray(stack))
    expression = f"nuclear_norms<{SCALAR[stack.dtype.type]}, {side}, {side}>"
    host.launch("nuclear", expression, grid, 128, [*arguments, out])
    return out


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def with_spectrum(rng, values):
    return orthogonal(rng, len(values)) * values @ orthogonal(rng, len(values)).T


def assert_close(actual, stack):
    expected = naive.nuclear_norms(stack.astype(np.float64))
    assert actual.dtype == stack.dtype
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[stack.dtype.type], atol=0)


@dtypes
@pytest.mark.parametrize(
    ("rows", "cols"),
    [(1, 1), (2, 1), (5, 3), (31, 31), (32, 32), (33, 20), (33, 33), (64, 1), (64, 64)],
)
def test_sizes(dtype, rows, cols):
    rng = np.random.default_rng(rows * 100 + cols)
    stack = rng.standard_normal((2, rows, cols)).astype(dtype)
    assert_close(nuclear_norms(stack), stack)


@dtypes
def test_special_spectra(dtype):
    rng = np.random.default_rng(1)
    n = 32
    stack = np.array(
        [
            orthogonal(rng, n),
            np.eye(n),
            np.ones((n, n)),
            rng.standard_normal((n, 3)) @ rng.standard_normal((3, n)),
            with_spectrum(rng, np.repeat([3.0, 1.0, 0.5, 0.0], n // 4)),
            with_spectrum(rng, np.logspace(0, -8, n)),
            rng.standard_normal((n, n)) * np.logspace(0, -30, n),
            rng.standard_normal((n, n)) * np.logspace(-30, 0, n)[:, None],
            np.diag(np.arange(n) % 5),
        ]
    ).astype(dtype)
    assert_close(nuclear_norms(stack), stack)


@dtypes
def test_scale_does_not_matter(dtype):
    stack = np.random.default_rng(2).standard_normal((1, 5, 4)).astype(dtype)
    plain = nuclear_norms(stack)
    info = np.finfo(dtype)
    for scale in (2.0 ** (info.minexp + 10), 2.0 ** (info.maxexp - 10)):
        scale = dtype(scale)  # a square would underflow, overflow
        np.testing.assert_allclose(nuclear_norms(stack * scale) / scale, plain, rtol=4 * info.eps)


@dtypes
def test_zero_nan_and_infinite_matrices_leave_their_neighbours_alone(dtype):
    stack = np.random.default_rng(3).standard_normal((7, 6, 5)).astype(dtype)
    stack[1] = 0
    stack[3, 5, 4] = np.nan
    stack[4, 0, 0] = np.nan
    stack[5, 2, 2] = -np.inf
    fine = [0, 2, 6]
    for grid in (1, 3):
        out = nuclear_norms(stack, grid=grid)
        assert out[1] == 0
        assert np.isnan(out[[3, 4, 5]]).all()
        assert_close(out[fine], stack[fine])


@dtypes
def test_grid_and_template_do_not_change_a_bit(dtype):
    stack = np.random.default_rng(4).standard_normal((5, 9, 7)).astype(dtype)
    expected = nuclear_norms(stack)
    np.testing.assert_array_equal(nuclear_norms(stack, grid=2), expected)
    np.testing.assert_array_equal(nuclear_norms(stack, grid=6), expected)
    np.testing.assert_array_equal(nuclear_norms(stack, side=64), expected)


def test_input_is_not_written():
    stack = np.random.default_rng(5).standard_normal((1, 4, 4))
    before = stack.copy()
    nuclear_norms(stack)
    np.testing.assert_array_equal(stack, before)


@dtypes
def test_empty_batch(dtype):
    assert nuclear_norms(np.empty((0, 4, 4), dtype=dtype)).shape == (0,)


def test_runner_refuses_arguments_that_do_not_fit():
    arguments = list(nuclear_arguments(np.ones((1, 2, 2))))
    expression = "nuclear_norms<double, 32, 32>"
    with pytest.raises(TypeError, match="their count"):
        host.launch("nuclear", expression, 1, 128, arguments[:-1])
    arguments[1] = np.int32(1)
    with pytest.raises(TypeError, match="item size of argument 1"):
        host.launch("nuclear", expression, 1, 128, arguments)
    arguments[0] = np.ones((1, 2, 2)).transpose(0, 2, 1)[:, ::-1]
    with pytest.raises(ValueError, match="argument 0 must be C contiguous"):
        host.launch("nuclear", expression, 1, 128, arguments)


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (np.ones((3, 3)), r"3 dimensions \(b, rows, cols\), got 2; add"),
        (np.ones((1, 3, 3), dtype=np.int64), "float32 or float64, got int64; convert"),
        (np.ones((1, 3, 65)), "at most 64 rows and columns, got 3 x 65; for larger"),
    ],
)
def test_door_says_expected_found_remedy(stack, message):
    with pytest.raises(ValueError, match=message):
        cuda.nuclear_norms(stack)


def test_missing_cupy_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r'pip install "fastgen-core\[cuda13\]"'):
        cuda.nuclear_norms(np.ones((1, 3, 3)))


def test_missing_device_is_one_line():
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is a device")
    cuda.module("nuclear")
    with pytest.raises(RuntimeError, match="no CUDA device") as info:
        cuda.nuclear_norms(np.ones((1, 3, 3)))
    assert "\n" not in str(info.value)


def test_import_loads_no_gpu_library():
    code = "import sys, fastgen.kernels.cuda; sys.exit('cupy' in sys.modules)"
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code], timeout=120, cwd=root)
    assert ran.returncode == 0


@pytest.fixture(params=["shim", pytest.param("device", marks=pytest.mark.gpu)])
def kernels(request):
    if request.param == "device":
        yield host.OnDevice(host.require_device())
        return
    with host.numpy_as_cupy() as functions:
        yield functions


def symmetric(rng, b, n, dtype):
    stack = rng.standard_normal((b, n, n))
    return (stack + stack.transpose(0, 2, 1)).astype(dtype)


def assert_eigenvalues(actual, stack):
    expected = np.linalg.eigvalsh(stack.astype(np.float64))
    assert actual.dtype == stack.dtype
    assert actual.shape == expected.shape
    size = np.abs(expected).max(axis=1, initial=0, keepdims=True)
    assert (np.abs(actual - expected) <= TOLERANCE[stack.dtype.type] * size).all()
    assert (np.diff(actual, axis=1) >= 0).all()


@dtypes
@pytest.mark.parametrize("n", [1, 2, 3, 8, 31, 32, 33, 64, 65])
def test_eigenvalues_of_every_size(kernels, dtype, n):
    stack = symmetric(np.random.default_rng(n), 2, n, dtype)
    assert_eigenvalues(kernels.symmetric_eigenvalues(stack), stack)


@dtypes
def test_special_eigenvalues(kernels, dtype):
    rng = np.random.default_rng(11)
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
            np.eye(n) + 1e-30,
        ]
    )
    stack = np.tril(stack) + np.tril(stack, -1).transpose(0, 2, 1)
    stack = stack.astype(dtype)
    info = np.finfo(dtype)
    assert_eigenvalues(kernels.symmetric_eigenvalues(stack), stack)
    for scale in (2.0 ** (info.minexp + 10), 2.0 ** (info.maxexp - 10)):
        scaled = kernels.symmetric_eigenvalues(stack[3:4] * dtype(scale)) / dtype(scale)
        assert_eigenvalues(scaled, stack[3:4])
    upper_is_not_read = stack + np.triu(np.full((n, n), np.nan), 1).astype(dtype)
    assert_eigenvalues(kernels.symmetric_eigenvalues(upper_is_not_read), stack)


@dtypes
def test_eigenvalues_of_nan_and_infinite_matrices(kernels, dtype, monkeypatch):
    monkeypatch.setattr(_load, "MAX_BLOCKS", 2)
    stack = symmetric(np.random.default_rng(12), 5, 4, dtype)
    stack[1, 3, 0] = np.nan
    stack[2, 2, 2] = np.inf
    out = kernels.symmetric_eigenvalues(stack)
    assert kernels.symmetric_eigenvalues(stack[:0]).shape == (0, 4)
    assert np.isnan(out[[1, 2]]).all()
    assert_eigenvalues(out[[0, 3, 4]], stack[[0, 3, 4]])


def path_inputs(rng, n_trials, n, f_rows, y_rows, extra):
    """Trapezoids f and y, a lower triangle and its inverse, an upper one and rows to add."""
    f = np.triu(rng.standard_normal((n_trials, f_rows, n)))
    y = np.triu(rng.standard_normal((n_trials, y_rows, n)))
    lower = np.tril(rng.standard_normal((n_trials, n, n)), -1) + 2 * np.sqrt(n) * np.eye(n)
    rows = rng.standard_normal((n_trials, extra, n))
    return f, y, np.tril(np.linalg.inv(lower)), lower.transpose(0, 2, 1).copy(), rows


PATH_TYPES = pytest.mark.parametrize(
    ("scalar", "cell"),
    [(np.float64, np.float64), (np.float64, np.float32), (np.float32, np.float32)],
)


def assert_path(cells, squares, oracle, scalar, cell):
    """``oracle(trial)`` returns nuclear norms and squares of one trial."""
    assert cells.dtype == cell
    assert squares.dtype == scalar
    for trial in range(len(cells)):
        nuclear, expected = oracle(trial)
        found = naive.nuclear_norms(cells[trial].astype(np.float64))
        np.testing.assert_allclose(found, nuclear, rtol=10 * TOLERANCE[cell])
        np.testing.assert_allclose(squares[trial], expected, rtol=10 * TOLERANCE[scalar])


@PATH_TYPES
@pytest.mark.parametrize(
    ("n", "f_rows", "y_rows", "ks"),
    [
        (1, 1, 1, [1]),
        (7, 4, 6, [1, 2, 4, 7]),
        (12, 12, 5, range(1, 13)),
        (31, 9, 31, [30, 31]),
        (33, 33, 33, [1, 20, 33]),
        (64, 64, 64, [64]),
    ],
)
def test_leading_path(kernels, scalar, cell, n, f_rows, y_rows, ks):
    rng = np.random.default_rng(n)
    f, y, inverse, *_ = (x.astype(scalar) for x in path_inputs(rng, 2, n, f_rows, y_rows, 0))
    cells, squares = kernels.leading_path(f, y, inverse, ks, cell)
    assert cells.shape == (2, len(ks), n, f_rows)
    assert_path(
        cells,
        squares,
        lambda t: naive.leading_path(*(x[t].astype(float) for x in (f, y, inverse)), ks),
        scalar,
        cell,
    )
    exact = f[0].astype(float)[:, : ks[0]] @ inverse[0].astype(float)[: ks[0]]
    np.testing.assert_allclose(cells[0, 0].T, exact, atol=10 * TOLERANCE[cell] * abs(exact).max())


@PATH_TYPES
@pytest.mark.parametrize(
    ("n", "f_rows", "y_rows", "counts"),
    [
        (1, 1, 1, [0, 1, 3]),
        (7, 4, 6, [1, 2, 2, 9, 30]),
        (12, 12, 5, range(10)),
        (31, 9, 31, [17]),
        (33, 33, 33, [1, 8]),
        (64, 64, 64, [9]),
    ],
)
def test_tall_path(kernels, scalar, cell, n, f_rows, y_rows, counts):
    rng = np.random.default_rng(n)
    f, y, _, r, rows = path_inputs(rng, 2, n, f_rows, y_rows, counts[-1])
    rows[:, :, 0] *= np.arange(rows.shape[1]) % 2  # a rotation by nothing
    f, y, r, rows = (x.astype(scalar) for x in (f, y, r, rows))
    before = [x.copy() for x in (f, y, r, rows)]
    cells, squares = kernels.tall_path(r, rows, counts, f, y, cell)
    assert cells.shape == (2, len(counts), n, f_rows)
    for x, y_ in zip(before, (f, y, r, rows), strict=True):
        np.testing.assert_array_equal(x, y_)
    assert_path(
        cells,
        squares,
        lambda t: naive.tall_path(
            *(x[t].astype(float) for x in (r, rows)), counts, *(x[t].astype(float) for x in (f, y))
        ),
        scalar,
        cell,
    )


@dtypes
def test_grouping_and_grid_do_not_change_a_bit_of_a_path(kernels, dtype, monkeypatch):
    rng = np.random.default_rng(21)
    f, y, inverse, r, rows = (x.astype(dtype) for x in path_inputs(rng, 3, 5, 5, 3, 11))
    ks, counts = [1, 2, 3, 5], [0, 1, 5, 8, 11]

    def both():
        leading = kernels.leading_path(f, y, inverse, ks, dtype)
        return *leading, *kernels.tall_path(r, rows, counts, f, y, dtype)

    expected = both()
    for group, blocks, grid in [(1, 512, 65_535), (2, 512, 2), (8, 1, 1)]:
        monkeypatch.setattr(linear_path, "_GROUP", group)
        monkeypatch.setattr(linear_path, "_BLOCKS", blocks)
        monkeypatch.setattr(_load, "MAX_BLOCKS", grid)
        for a, b in zip(expected, both(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_path_of_nothing_and_a_trial_of_nan(kernels):
    f, y, inverse, r, rows = path_inputs(np.random.default_rng(22), 2, 4, 3, 2, 2)
    r[1, 0, 2] = np.nan
    inverse[1, 2, 0] = np.nan
    for cells, squares in [
        kernels.leading_path(f, y, inverse, [], float),
        kernels.tall_path(r, rows, [], f, y, float),
    ]:
        assert cells.shape == (2, 0, 4, 3)
        assert squares.shape == (2, 0)
    _, leading = kernels.leading_path(f, y, inverse, [4], float)
    _, tall = kernels.tall_path(r, rows, [2], f, y, float)
    for squares in (leading, tall):
        assert np.isfinite(squares[0]).all()
        assert np.isnan(squares[1]).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 2, 65), "float64", "at most 64 columns and no more rows than columns, got 2 x 65"),
        ((1, 3, 2), "float64", "at most 64 columns and no more rows than columns, got 3 x 2"),
        ((1, 2, 2), "float32", "must be float32 for float32 arrays, got float64; convert"),
        ((1, 2, 2), "int64", "all float32 or all float64, got int64; convert"),
        ((1, 1, 2), "float64", "path ends at 2, the rows given, got 3; give more"),
    ],
)
def test_door_of_the_paths(kernels, shape, dtype, message):
    f = np.ones(shape, dtype)
    square = np.ones((1, shape[2], shape[2]), dtype)
    with pytest.raises(ValueError, match=message):
        kernels.leading_path(f, f, square, [1, 3], "float64")
    with pytest.raises(ValueError, match=message):
        kernels.tall_path(square, square, [1, 3], f, f, "float64")
    with pytest.raises(ValueError, match="square matrices, got 2 x 3"):
        kernels.symmetric_eigenvalues(np.ones((1, 2, 3)))


def race_arguments(kernel):
    """Three matrices, or two trials, on one block: one barrier may matter from one to the next."""
    rng = np.random.default_rng(6)
    stack = rng.standard_normal((3, 9, 8))
    f, y, inverse, r, rows = path_inputs(rng, 2, 6, 6, 4, 12)
    cells, squares = np.empty((2, 4, 6, 6)), np.empty((2, 4))
    ks, counts = np.array([1, 2, 4, 6]), np.array([0, 3, 3, 12])
    sizes = np.int64(2), *(np.int32(size) for size in (6, 4, 6, 4, 4))
    tall_sizes = np.int64(2), *(np.int32(size) for size in (6, 12, 6, 4, 4, 4))
    uses = np.array([[8, 9, 3], [6, 8, 8]], dtype=np.int32)
    solved = rng.standard_normal((3, 9, 5)), *uses, np.empty((3, 8, 5)), np.empty(3)
    return {
        "nuclear_norms": nuclear_arguments(stack),
        "symmetric_eigen": (
            symmetric(rng, 3, 7, np.float64),
            np.int64(3),
            np.int32(7),
            np.empty((3, 7)),
            np.empty((3, 7, 7)),
        ),
        "leading_path": (f, y, inverse, ks, cells, squares, *sizes),
        "tall_path": (r, rows, counts, f, y, cells, squares, *tall_sizes),
        "solve_left": (stack, *solved, np.int64(3), *(np.int32(size) for size in (9, 8, 5))),
    }[kernel]


RACES = {
    "nuclear_norms": ("nuclear", "nuclear_norms<double, 32, 32>"),
    "symmetric_eigen": ("nuclear", "symmetric_eigen<double, 32, true>"),
    "leading_path": ("linear_path", "leading_path<double, double, 32>"),
    "tall_path": ("linear_path", "tall_path<double, double, 32>"),
    "solve_left": ("alternating", "solve_left<double, 32>"),
}


def race(kernel, text=None):
    return host.thread_sanitizer(*RACES[kernel], 1, 128, race_arguments(kernel), text=text)


def with_reduction(name):
    """Return the source; "nuclear" with the barriers of the block's reduction in it.

    Only there do all threads use what the reduction returns.
    """
    text = cuda.sources()[name]
    if name == "nuclear":
        header = cuda.headers()["include/block.cuh"].replace("#pragma once", "")
        text = text.replace('#include "include/block.cuh"', header)
    return text


def barriers():
    """Every barrier in the order of the text, and the kernel whose data must show it missing."""
    for name in dict.fromkeys(name for name, _ in RACES.values()):
        kernel = "nuclear_norms"
        for which, before in enumerate(with_reduction(name).split(BARRIER)[:-1]):
            kernel = (re.findall(r"__launch_bounds__\(.*\)\n(\w+)\(", before) or [kernel])[-1]
            yield pytest.param(name, which, kernel, id=f"{kernel}-{which}")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", RACES)
def test_no_data_race(kernel):
    assert race(kernel) == ""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "which", "kernel"), [*barriers()])
def test_each_missing_barrier_is_a_data_race(name, which, kernel):
    pieces = with_reduction(name).split(BARRIER)
    pieces[which : which + 2] = [";".join(pieces[which : which + 2])]
    assert "data race" in race(kernel, BARRIER.join(pieces))


@pytest.mark.gpu
@dtypes
def test_nuclear_norms_on_the_device(dtype):
    cupy = host.require_device()
    rng = np.random.default_rng(7)
    for shape in [(1000, 1, 1), (300, 5, 3), (300, 20, 33), (100, 32, 32), (100, 64, 64)]:
        stack = rng.standard_normal(shape).astype(dtype)
        stack[1] = 0
        on_device = cuda.nuclear_norms(cupy.asarray(stack))
        actual = cupy.asnumpy(on_device)
        assert actual[1] == 0
        rest = np.arange(len(stack)) != 1
        assert_close(actual[rest], stack[rest])
        np.testing.assert_array_equal(cupy.asnumpy(cuda.nuclear_norms(cupy.asarray(stack))), actual)
    stack[0, 3, 3] = np.nan
    assert np.isnan(cupy.asnumpy(cuda.nuclear_norms(cupy.asarray(stack)))[0])
    assert cuda.nuclear_norms(cupy.empty((0, 4, 4), dtype=dtype)).shape == (0,)
