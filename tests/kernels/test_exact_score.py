"""Means of a finite set with Gaussian weights: CPU kernel, CUDA twin and what chooses between."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import diffusion as naive
from shim import host

from fastgen._dispatch import exact_score as dispatch
from fastgen.kernels.cpu import exact_score
from fastgen.kernels.cuda import _load
from fastgen.kernels.cuda import exact_score as on_device

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}


def problem(dtype, n=33, d=7, rows=5, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, d)).astype(dtype)
    sigma = rng.uniform(0.3, 3, rows)
    z = points[rng.integers(n, size=rows)] + sigma[:, None] * rng.standard_normal((rows, d))
    return z.astype(dtype), points, sigma


def close(found, z, points, sigma, dtype):
    expected = naive.weighted_means(z.astype(float), points.astype(float), sigma)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype])


@dtypes
@pytest.mark.parametrize("n", [1, 31, 32, 33, 200])
@pytest.mark.parametrize("d", [1, 5, 64])
def test_kernel(dtype, n, d):
    z, points, sigma = problem(dtype, n, d)
    scores = (z @ points.T - 0.5 * (points**2).sum(1)).astype(np.float32)
    means, dense = np.full(z.shape, np.nan), np.zeros(len(z), bool)
    window = np.full(len(z), 1e9)
    exact_score.weighted_means(scores, z, points, sigma, window, means, n, dense)
    assert not dense.any()
    close(means, z, points, sigma, dtype)
    if n > 1:
        means[:] = 7.0
        exact_score.weighted_means(scores, z, points, sigma, window, means, n - 1, dense)
        assert dense.all()
        assert (means == 7.0).all()
    scores[2, n // 2] = np.nan
    narrow = np.zeros(len(z))
    exact_score.weighted_means(scores, z, points, sigma, narrow, means, n, dense)
    assert np.isfinite(means[[0, 1, 3, 4]]).all()


@dtypes
@pytest.mark.parametrize("sigma", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_dispatch_at_all_noise_levels(dtype, sigma, offset):
    """Few weights that count, many, and points far from the origin."""
    z, points, _ = problem(dtype, 400, 20, rows=9)
    rng = np.random.default_rng(1)
    points = (points + offset).astype(dtype)
    z = (points[:9] + sigma * rng.standard_normal((9, 20))).astype(dtype)
    levels = np.full(9, sigma)
    found = dispatch.PointSet(points).weighted_means(z, levels)
    assert found.dtype == dtype
    expected = naive.weighted_means(z.astype(float), points.astype(float), levels)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * (1 + offset))


@dtypes
@pytest.mark.parametrize("probes", [1, 128, 10**6])
def test_rows_of_all_noise_levels_together(monkeypatch, dtype, probes):
    """Whatever the probes say of a row, and they may be wrong, its mean is right."""
    monkeypatch.setattr(dispatch, "_PROBES", probes)
    _, points, _ = problem(dtype, 400, 20, rows=9)
    levels = np.geomspace(1e-3, 50, 24)
    noise = np.random.default_rng(1).standard_normal((24, 20))
    z = (points[:24] + levels[:, None] * noise).astype(dtype)
    known = dispatch.PointSet(points)
    found = known.weighted_means(z, levels)
    expected = naive.weighted_means(z.astype(float), points.astype(float), levels)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype])


def test_blocks_do_not_change_a_bit(monkeypatch):
    z, points, sigma = problem(np.float64, 50, 6, rows=40)
    whole = dispatch.PointSet(points).weighted_means(z, sigma)
    monkeypatch.setattr(dispatch, "_ENTRIES", 50 * 7)
    np.testing.assert_allclose(
        dispatch.PointSet(points).weighted_means(z, sigma), whole, rtol=1e-13, atol=1e-13
    )


def test_ties_and_duplicates():
    points = np.array([[0.0, 0], [0, 0], [2, 0], [0, 2]])
    z, sigma = np.array([[1.0, 1], [0, 0], [5, 5]]), np.array([1.0, 1e-6, 1e-6])
    found = dispatch.PointSet(points).weighted_means(z, sigma)
    np.testing.assert_allclose(found, naive.weighted_means(z, points, sigma), atol=1e-14)


@dtypes
@pytest.mark.parametrize(("n", "d"), [(1, 1), (31, 3), (128, 129), (129, 5), (300, 33)])
def test_cuda_twin(dtype, n, d):
    z, points, sigma = problem(dtype, n, d)
    with host.numpy_as_cupy():
        found = on_device.weighted_means(z, points, sigma.astype(dtype))
    close(found, z, points, sigma.astype(dtype).astype(float), dtype)


def test_cuda_grid_and_chunks_do_not_change_a_bit(monkeypatch):
    z, points, sigma = problem(np.float64, 70, 9, rows=7)
    with host.numpy_as_cupy():
        whole = on_device.weighted_means(z, points, sigma)
        monkeypatch.setattr(on_device, "_ENTRIES", 70 * 3)
        np.testing.assert_array_equal(on_device.weighted_means(z, points, sigma), whole)
    columns, weights = np.ascontiguousarray(points.T), np.empty((7, 70))
    means = np.empty_like(z)
    sizes = np.int64(7), np.int64(70), np.int32(9)
    arguments = [z, columns, points, sigma, *sizes, weights, means]
    host.launch("exact_score", "weighted_means<double>", 2, _load.THREADS, arguments)
    np.testing.assert_array_equal(means, whole)
