"""The CUDA kernel of cross-products against the oracle, on the CPU by the shim; it compiles."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import bures as naive
from shim import compiler, host

from fastgen.kernels.cuda import _load, bures

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
TOLERANCE = {np.float64: 1e-13, np.float32: 1e-5}
SCALAR = {np.float64: "double", np.float32: "float"}


def problem(dtype, sizes=(3, 0, 33, 1, 7), d=35, seed=0):
    rng = np.random.default_rng(seed)
    starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    rows = rng.standard_normal((starts[-1], d)).astype(dtype)
    pairs = np.array([(a, b) for a in range(len(sizes)) for b in range(len(sizes))], np.int64)
    return rows, starts, pairs


def arguments(rows, starts, pairs, height, width):
    out = np.full((len(pairs), height, width), np.nan, rows.dtype)
    sizes = np.int64(len(pairs)), np.int32(rows.shape[1]), np.int32(height), np.int32(width)
    return [rows, starts, pairs, *sizes, out]


def launch(dtype, given, grid=2, text=None):
    expression = f"cross_products<{SCALAR[dtype]}, {bures.TILE}>"
    host.launch("bures", expression, grid, _load.THREADS, given, text=text)
    return given[-1]


def expected_products(rows, starts, pairs, height, width):
    out = np.zeros((len(pairs), height, width))
    for p, (a, b) in enumerate(pairs):
        first, second = (rows[starts[i] : starts[i + 1]].astype(float) for i in (a, b))
        product = first @ second.T if len(first) >= len(second) else second @ first.T
        out[p, : product.shape[0], : product.shape[1]] = product
    return out


@dtypes
@pytest.mark.parametrize("d", [1, 31, 32, 33, 70])
def test_cross_products(dtype, d):
    given = problem(dtype, d=d)
    found = launch(dtype, arguments(*given, 33, 33))
    expected = expected_products(*given, 33, 33)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * 10 * np.sqrt(d))
    for grid in (1, 5):
        np.testing.assert_array_equal(launch(dtype, arguments(*given, 33, 33), grid), found)


@dtypes
def test_nuclear_norms_of_pairs(dtype):
    rows, starts, pairs = problem(dtype)
    with host.numpy_as_cupy():
        found = bures.pair_nuclear_norms(rows, starts, pairs)
    assert found.dtype == dtype
    expected = naive.pair_nuclear_norms(rows.astype(float), starts, pairs)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype])


def test_large_factors_and_chunks(monkeypatch):
    rows, starts, pairs = problem(np.float64, sizes=(70, 2, 66), d=80)
    expected = naive.pair_nuclear_norms(rows, starts, pairs)
    for chunk in (bures._CHUNK, 1):
        monkeypatch.setattr(bures, "_CHUNK", chunk)
        with host.numpy_as_cupy():
            found = bures.pair_nuclear_norms(rows, starts, pairs[:4])
        np.testing.assert_allclose(found, expected[:4], rtol=1e-13)


def test_empty_factors_and_no_pairs():
    rows, starts, pairs = problem(np.float64, sizes=(0, 2))
    with host.numpy_as_cupy():
        assert not bures.pair_nuclear_norms(rows, starts, pairs[:3]).any()
        assert bures.pair_nuclear_norms(rows, starts, pairs[:0]).shape == (0,)


@pytest.mark.parametrize("rows", [np.ones(3), np.ones((2, 2), int), np.ones((2, 2), np.float16)])
def test_refusals(rows):
    with pytest.raises(ValueError, match="rows must be a float32 or float64 matrix"):
        bures.pair_nuclear_norms(rows, [0, 1], [[0, 0]])


def test_missing_barriers_are_races():
    given = arguments(*problem(np.float64, sizes=(3, 4)), 4, 4)
    expression = f"cross_products<double, {bures.TILE}>"
    text = host.cuda.sources()["bures"]
    assert host.thread_sanitizer("bures", expression, 1, _load.THREADS, given) == ""
    pieces = text.split("__syncthreads();")
    assert len(pieces) == 3
    for at in range(2):
        mutant = (
            "__syncthreads();".join(pieces[: at + 1])
            + pieces[at + 1]
            + ("__syncthreads();" + pieces[2] if at == 0 else "")
        )
        report = host.thread_sanitizer("bures", expression, 1, _load.THREADS, given, text=mutant)
        assert "data race" in report


@pytest.mark.parametrize("arch", compiler.ARCHITECTURES)
def test_it_compiles_without_a_warning(arch):
    expressions = host.cuda.instantiations("bures")
    result = compiler.compile_cuda(host.cuda.sources()["bures"], expressions, arch)
    assert (result.status, result.log) == (0, "")
    assert len(set(result.lowered.values())) == len(expressions) == 2
