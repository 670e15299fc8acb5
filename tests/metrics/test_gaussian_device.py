"""The array-library path (CuPy) with NumPy in CuPy's place, and CuPy itself where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import bures as naive

from fastgen import metrics
from fastgen._arrays import library
from fastgen.metrics import CovarianceFactor, mw2
from fastgen.metrics.engines import device


def stacks(seed, k, d, n):
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((k, d, n)) / np.sqrt(n)
    return rng.standard_normal((k, d)), factors, factors @ factors.transpose(0, 2, 1)


@pytest.mark.parametrize(("d", "n"), [(1, 3), (6, 4), (6, 20)])
def test_costs_are_the_hosts(d, n):
    m, f, c = stacks(0, 3, d, n)
    k, g, e = stacks(1, 2, d, n)
    found = device.dist_bures_squared(m, k, c, e)
    np.testing.assert_allclose(found, metrics.dist_bures_squared(m, k, c, e), rtol=1e-7)
    lists = [[CovarianceFactor(x) for x in side] for side in (f, g)]
    np.testing.assert_allclose(
        device.dist_bures_squared(m, k, *lists), metrics.dist_bures_squared(m, k, *lists)
    )
    single = device.dist_bures_squared(*(x.astype(np.float32) for x in (m, k, c, e)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, found, rtol=1e-4)
    np.testing.assert_allclose(
        device.frechet_distance(m[0], c[0], k, e),
        metrics.frechet_distance(m[0], c[0], k, e),
        rtol=1e-7,
    )
    np.testing.assert_allclose(device.bures(c[:, None], e), metrics.bures(c[:, None], e), rtol=1e-7)
    assert (np.diagonal(device.dist_bures_squared(m, m, c, c)) == 0).all()


def test_shapes_of_covariances():
    m, _, c = stacks(2, 3, 4, 9)
    rng = np.random.default_rng(0)
    for given, dense in (
        (c[0], c[[0, 0, 0]]),
        (v := rng.gamma(1, size=(3, 4)), v[:, :, None] * np.eye(4)),
        (s := rng.gamma(1, size=3), s[:, None, None] * np.eye(4)),
    ):
        np.testing.assert_allclose(
            device.dist_bures_squared(m, m, given, c),
            naive.costs(m, dense, m, c),
            rtol=1e-7,
            atol=1e-7,
        )


def test_transport():
    pytest.importorskip("ot")
    (m, _, c), (k, _, e) = stacks(3, 3, 2, 5), stacks(4, 2, 2, 5)
    w, v = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.5])
    value, plan = device.transport(w, v, device.dist_bures_squared(m, k, c, e))
    expected = mw2((w, m, c), (v, k, e))
    assert value == pytest.approx(expected.squared_distance, rel=1e-9)
    np.testing.assert_allclose(plan, expected.plan, atol=1e-12)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], "negative eigenvalue"),
        ([[1.0, 0.5], [0.0, 1.0]], "asymmetry"),
        ([[1.0, 0.0], [0.0, np.nan]], "must be finite"),
        ([[1.0, 0.0]], r"shape \(\.\.\., d, d\)"),
    ],
)
def test_bad_covariances_are_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        device.bures(np.array(covariance), np.eye(2))


def test_more_refusals():
    m = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"C_s must have shape \(2, 2, 2\), got \(2, 2\)"):
        device.dist_bures_squared(m, m, np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match=r"C_s must be finite"), np.errstate(invalid="ignore"):
        device.dist_bures_squared(m[:, :1], m[:, :1], -np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="must hold 2 covariances, got 1"):
        device.dist_bures_squared(m, m, [CovarianceFactor(np.eye(2))], [])
    with pytest.raises(ValueError, match=r"must be a factor \(d, n\)"):
        device.bures(CovarianceFactor(np.ones(2)), np.eye(2))


def test_libraries_are_told_apart():
    class Device:
        __cuda_array_interface__ = None

    class Tensor:
        requires_grad = False

    assert library(np.ones(2), [1.0]) == "numpy"
    assert library([CovarianceFactor(Device())], 1.0) == "cupy"
    assert library(np.ones(2), Tensor()) == "torch"
    with pytest.raises(TypeError, match="got both; convert one"):
        library(Device(), Tensor())


@pytest.mark.gpu
def test_on_the_device():
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device")
    for d in (6, 40, 100):
        (m, f, c), (k, g, e) = stacks(5, 3, d, 2 * d), stacks(6, 2, d, d)
        there = [cupy.asarray(x) for x in (m, k, c, e)]
        found = metrics.dist_bures_squared(*there)
        assert isinstance(found, cupy.ndarray)
        np.testing.assert_allclose(
            cupy.asnumpy(found), metrics.dist_bures_squared(m, k, c, e), rtol=1e-9
        )
        factors = [[CovarianceFactor(cupy.asarray(x)) for x in side] for side in (f, g)]
        np.testing.assert_allclose(
            cupy.asnumpy(metrics.dist_bures_squared(*there[:2], *factors)),
            metrics.dist_bures_squared(m, k, c, e),
            rtol=1e-9,
        )
