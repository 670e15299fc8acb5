"""The CUDA kernels of nonparametric mixtures: on the CPU by the shim; they compile."""

from __future__ import annotations

import contextlib
import re
import warnings
from unittest import mock

import numpy as np
import pytest
from oracles import smoothing as naive
from shim import compiler, host

from fastgen.kernels.cuda import _load, smoothing
from fastgen.mixture import _smoothing
from fastgen.mixture.nonparametric import NonparametricMixture

NOTHING = np.empty((0, 8))
N_GRID = 7


@pytest.fixture(scope="module", autouse=True)
def on_host():
    """CuPy's place is taken by NumPy, the device's by the shim."""
    with host.numpy_as_cupy(), mock.patch.object(_load, "require_device", return_value=np):
        yield


def problem(n, n_components, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.round(rng.standard_normal((n, 3)), 1)
    points = _smoothing.sort_points(rows, np.array([0, 0, 1]))
    z = rng.dirichlet(np.ones(n_components), size=n)
    weights = naive.block_weights(z, points.entries, len(points.values))
    return points, z, np.pad(weights, [(0, 0), (0, -n_components % 8)])


@pytest.mark.parametrize(("n", "n_components"), [(1, 1), (7, 3), (12, 9)])
def test_launchers_are_the_oracle(n, n_components):
    points, z, weights = problem(n, n_components)
    place = points.values, points.starts
    rng = np.random.default_rng(n)
    h = rng.uniform(0.2, 3.0, (2, n_components))
    origins, steps = np.array([-2.5, -2.0]), np.array([0.8, 0.7])

    out = np.full_like(weights, np.nan)
    bounds = np.concatenate([[0], points.counts.cumsum()])
    smoothing.block_weights(z, np.concatenate(points.sorted_rows), bounds, out)
    np.testing.assert_allclose(out, weights, rtol=1e-14)

    on_grid = np.full((2, N_GRID, weights.shape[1]), np.nan)
    smoothing.grid_sums(*place, weights, origins, steps, h, NOTHING, on_grid)
    wanted = naive.grid_sums(*place, weights[:, :n_components], origins, steps, h, N_GRID)
    np.testing.assert_allclose(on_grid[:, :, :n_components], wanted, rtol=1e-12, atol=1e-300)
    assert (on_grid[:, :, n_components:] == 0).all()

    logs = rng.uniform(-500, 5, on_grid.shape)
    smoothing.smoothed_logs(*place, logs, origins, steps, h, NOTHING, out)
    wanted = naive.smoothed_logs(*place, logs[:, :, :n_components], origins, steps, h)
    np.testing.assert_allclose(out[:, :n_components], wanted, rtol=1e-12, atol=1e-11)

    smoothing.pair_sums(*place, weights, h, out)
    wanted = naive.pair_sums(*place, weights[:, :n_components], h)
    np.testing.assert_allclose(out[:, :n_components], wanted, rtol=1e-13)
    assert (out[:, n_components:] == 0).all()

    log_weights = np.log(rng.dirichlet(np.ones(n_components)))
    found, rows = np.full_like(z, np.nan), np.full(n, np.nan)
    smoothing.posteriors(out, points.entries, log_weights, found, rows)
    expected, expected_rows = naive.posteriors(out[:, :n_components], points.entries, log_weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(rows, expected_rows, rtol=1e-13)


@pytest.mark.parametrize("options", [{}, {"method": "npem"}, {"bandwidth": "S"}])
def test_device_cuda_gives_what_the_cpu_gives(options):
    rng = np.random.default_rng(0)
    rows = np.round(rng.standard_normal((9, 3)) + 4 * rng.integers(0, 2, (9, 1)))
    options = {"bandwidth": 0.8, **options, "init": rows[[0, 1]], "n_grid": 10, "max_iter": 2}
    found = []
    for device in ("cpu", "cuda"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = NonparametricMixture(2, blocks=[0, 0, 1], device=device, **options).fit(rows)
        found.append([fit.objective_, fit.posteriors_, fit.densities_, fit.score_samples(rows + 1)])
    for cpu, cuda in zip(*found, strict=True):
        np.testing.assert_allclose(cuda, cpu, rtol=1e-9, atol=1e-12)


def test_grid_changes_no_bit():
    points, _, weights = problem(8, 3)
    h = np.full((2, 3), 0.7)
    sizes = np.int64(len(weights)), *(np.int32(size) for size in (2, 3, 8))
    found = []
    for n_blocks in (1, 3):
        out = np.full_like(weights, np.nan)
        arguments = (points.values, points.starts, weights, h, *sizes, out)
        host.launch("smoothing", "pair_sums<double>", n_blocks, 128, arguments)
        found.append(out)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("arch", compiler.ARCHITECTURES)
def test_compiles_without_warnings_or_spills(arch):
    source = _load.sources()["smoothing"]
    options = ["--ptxas-options=-v"]
    result = compiler.compile_cuda(source, _load.instantiations("smoothing"), arch, options)
    assert result.status == 0
    assert "warning" not in result.log
    spills = set(re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", result.log))
    assert spills == {("0", "0")}


def test_without_a_device_the_door_says_so():
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            mock.patch.object(_load, "require_device", side_effect=RuntimeError("no CUDA device"))
        )
        with pytest.raises(RuntimeError, match="no CUDA device"):
            NonparametricMixture(2, device="cuda").fit(np.eye(5))


@pytest.mark.slow
def test_no_data_race():
    points, _, weights = problem(8, 2)
    h = np.full((2, 2), 0.7)
    sizes = np.int64(len(weights)), *(np.int32(size) for size in (2, 2, 8))
    out = np.empty_like(weights)
    arguments = (points.values, points.starts, weights, h, *sizes, out)
    assert host.thread_sanitizer("smoothing", "pair_sums<double>", 1, 128, arguments) == ""
