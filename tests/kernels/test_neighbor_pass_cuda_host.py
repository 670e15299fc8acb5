"""Balls on CUDA: the kernel by the shim against a double loop, rows on spheres included."""

from __future__ import annotations

import importlib
from unittest import mock

import numpy as np
import pytest
from shim import host, strict

from fastgen import _arrays
from fastgen.kernels.cuda import _load, neighbor_pass

door = importlib.import_module("fastgen.metrics.neighbor_pass")


def naive(x, centers, squared, kept):
    x, centers = x.astype(float), centers.astype(float)
    distance = np.zeros((len(x), len(centers)))
    for column in range(x.shape[1]):  # in the order of the kernel
        distance += (x[:, column, None] - centers[:, column]) ** 2
    held = ((distance <= squared) & (squared >= 0)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distance == 0, 0.0, distance / np.where(squared > 0, squared, 0.0))
    ratio[:, ~kept | (squared < 0)] = np.inf
    return held, ratio.min(axis=1, initial=np.inf), distance


@pytest.fixture
def count():
    with host.numpy_as_cupy():
        module = _load.require_device()
        module.full = np.full
        yield neighbor_pass.count_balls


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (33, 65, 5), (40, 130, 40)])
def test_is_a_double_loop(count, n, m, d, dtype):
    rng = np.random.default_rng(n + d)
    x = rng.standard_normal((n, d)).astype(dtype)
    centers = rng.standard_normal((m, d)).astype(dtype)
    centers[0] = x[0]
    kept = rng.random(m) < 0.7
    # each ball has some row of x on its sphere: closed balls hold it, to the last bit
    distance = naive(x, centers, np.ones(m), kept)[2]
    squared = np.take_along_axis(distance, rng.integers(0, n, (1, m)), axis=0)[0]
    squared[rng.random(m) < 0.1] = -1
    expected = naive(x, centers, squared, kept)
    for scale in (2.0**-5, 2.0**-8):
        held, ratio = count(x, centers, squared, kept, scale)
        np.testing.assert_array_equal(held, expected[0])
        np.testing.assert_allclose(ratio, expected[1], rtol=1e-14)


def test_radius_zero_holds_only_equal_rows(count):
    x = np.array([[1.0, 2.0], [1.0, 2.0 + 1e-9]])
    held, ratio = count(x, x[:1].copy(), np.zeros(1), np.ones(1, bool), 0.125)
    np.testing.assert_array_equal(held, [1, 0])
    np.testing.assert_array_equal(ratio, [0, np.inf])


def test_threads_do_not_race(count):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3))
    sizes = np.int64(5), np.int64(5), np.int32(3), np.float64(0.125)
    arguments = (
        x, x.copy(), np.ones(5), np.ones(5, np.uint8), *sizes, np.float64(1e-12), np.float64(0.0),
        np.zeros(5, np.int64), np.full(5, np.inf),
    )  # fmt: skip
    assert host.thread_sanitizer("neighbor_pass", "count_balls<double>", 1, 128, arguments) == ""


class Library(strict.StrictModule):
    """The functions of CuPy that the pass needs, on arrays that meet only their kind."""

    def __init__(self):
        super().__init__()
        names = "argsort argwhere flatnonzero matmul minimum nonzero sort square"
        for name in names.split():
            setattr(self, name, strict.strict(getattr(np, name)))
        self.empty = strict.strict(lambda shape, dtype: np.full(shape, 7, dtype))


@pytest.mark.parametrize("balls", [True, False])
def test_the_pass_on_a_device_is_that_of_the_host(balls):
    rng = np.random.default_rng(0)
    real, generated = rng.standard_normal((40, 5)), rng.standard_normal((35, 5))
    real[10:20] = real[3]  # more equal rows than a list holds
    generated[:5] = real[:5]
    generated[7] = 0
    expected = door.neighbor_pass(real, generated, 3, balls=balls)
    with (
        host.numpy_as_cupy(),
        mock.patch.object(_load, "require_device", return_value=Library()),
        mock.patch.object(_arrays, "require_device", return_value=Library()),
    ):
        found = door.neighbor_pass(
            strict.to_device(real), strict.to_device(generated), 3, balls=balls
        )
    assert isinstance(found.real, strict.DeviceArray)
    for name in ("real_real", "generated_generated", "generated_real", "real_generated"):
        mine, other = getattr(found, name), getattr(expected, name)
        if other is None:
            assert mine is None
            continue
        np.testing.assert_array_equal(mine.index, other.index, name)
        np.testing.assert_allclose(mine.squared_distance, other.squared_distance, rtol=1e-12)
    for name in ("real_balls", "generated_balls"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    np.testing.assert_allclose(found.realism, expected.realism, rtol=1e-12)
    np.testing.assert_allclose(found.cosine_distance, expected.cosine_distance, atol=1e-12)
