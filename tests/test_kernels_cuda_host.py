"""The CUDA kernels against the oracle: run on the CPU by the shim, and on a device if any."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest

from fastgen.kernels import cuda, quadrature

# By path: as a package tests/cuda would be named `cuda`, which CuPy's own dependencies are too.
_spec = importlib.util.spec_from_file_location(
    "cuda_host", Path(__file__).parent / "cuda" / "host.py"
)
host = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(host)

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
    with pytest.raises(ImportError, match=r'pip install "fastgen\[cuda13\]"'):
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
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=root)


def race(text=None):
    # Three matrices on one block: one barrier matters only from one matrix to the next.
    stack = np.random.default_rng(6).standard_normal((3, 9, 8))
    return host.thread_sanitizer(
        "nuclear", "nuclear_norms<double, 32, 32>", 1, 128, nuclear_arguments(stack), text=text
    )


@pytest.mark.slow
def test_no_data_race():
    assert race() == ""


@pytest.mark.slow
@pytest.mark.parametrize("which", range(cuda.sources()["nuclear"].count(BARRIER)))
def test_each_missing_barrier_is_a_data_race(which):
    pieces = cuda.sources()["nuclear"].split(BARRIER)
    pieces[which : which + 2] = [";".join(pieces[which : which + 2])]
    assert "data race" in race(BARRIER.join(pieces))


@pytest.mark.gpu
@dtypes
def test_on_the_device(dtype):
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device")
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
