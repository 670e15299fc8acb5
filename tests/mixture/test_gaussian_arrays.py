"""GaussianMixture on arrays that are not NumPy's: CuPy's, with NumPy in its place, and torch's."""

from __future__ import annotations

import contextlib
import sys
import types

import numpy as np
import pytest
from oracles import em as naive_em
from sklearn.base import clone

from fastgen._dispatch import em as dispatch
from fastgen.mixture import GaussianMixture, em
from fastgen.mixture.engines import Device, Host

KINDS = ("full", "tied", "diag", "spherical")
FLOAT64, FLOAT32 = np.dtype("float64"), np.dtype("float32")


def draw(n=400, d=5, k=3, seed=0):
    rng = np.random.default_rng(seed)
    means = 3 + 1.5 * rng.standard_normal((k, d))
    return means[rng.integers(k, size=n)] + rng.standard_normal((n, d))


class DeviceArray(np.ndarray):
    """An array that the door takes for CuPy's."""

    __cuda_array_interface__ = ()
    device = contextlib.nullcontext()


class StandIn(types.ModuleType):
    """NumPy in CuPy's place."""

    cuda = types.SimpleNamespace(is_available=lambda: True)
    asarray = staticmethod(lambda value: np.asarray(value).view(DeviceArray))
    from_dlpack = staticmethod(lambda value: np.from_dlpack(value).view(DeviceArray))
    asnumpy = staticmethod(np.array)

    def __getattr__(self, name):
        return getattr(np, name)


@pytest.fixture
def cupy(monkeypatch):
    stand_in = StandIn("cupy")
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    return stand_in


@pytest.mark.parametrize("kind", KINDS)
def test_methods_on_device_arrays(kind, cupy):
    X, more = draw(), draw(60, seed=1)
    host = GaussianMixture(3, covariance_type=kind, random_state=0, tol=1e-6).fit(X)
    device = clone(host).fit(X.view(DeviceArray))
    for step in range(2):
        if step:
            host.partial_fit(more)
            device.partial_fit(more.view(DeviceArray))
        own = host.fitted_to(more), device.fitted_to(more.view(DeviceArray))
        for a, b in ((host, device), own):
            assert a.n_iter_ == b.n_iter_
            for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
                found, expected = getattr(b, name), getattr(a, name)
                np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
        for name in ("predict", "predict_proba", "score_samples", "score", "aic", "bic"):
            found, expected = getattr(device, name)(X.view(DeviceArray)), getattr(host, name)(X)
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_device_code_with_numpy_in_its_place(kind, dtype):
    X = draw(500, 6, 3)
    with dispatch.workers() as run:
        engines = Host(X, dtype, run), Device(X, dtype, np)
        shares = naive_em.normalize(np.random.default_rng(0).standard_normal((3, 500)))[1]
        found = []
        for data in engines:
            mixture = em.mixture_of(data, em.moments(data, shares, kind), kind, 1e-6)
            for _ in range(4):
                bound, own = data.expectation(mixture)
                moments = em.moments(data, own, kind, mixture.moments)
                mixture = em.mixture_of(data, moments, kind, 1e-6)
            found.append((bound, mixture.weights, mixture.means, mixture.covariances))
            found[-1] += data.posterior(mixture)
    tolerance = 1e-9 if dtype == FLOAT64 else 1e-4
    for ours, other in zip(*found, strict=True):
        np.testing.assert_allclose(ours, other, rtol=tolerance, atol=tolerance)


def test_other_features_on_a_device(cupy):
    fitted = GaussianMixture(2, random_state=0).fit(draw().view(DeviceArray))
    with pytest.raises(ValueError, match="2 features, but GaussianMixture is expecting 5"):
        fitted.predict(draw(d=2).view(DeviceArray))


@pytest.fixture
def cuda_tensor():
    torch = pytest.importorskip("torch")

    class CudaTensor(torch.Tensor):
        """A tensor of the host that says it lies on a CUDA device."""

        is_cuda = True

        def cpu(self):
            raise AssertionError("copied to the host")

    return lambda X: torch.from_numpy(X).as_subclass(CudaTensor)


def test_cuda_tensors_stay_on_the_device(cupy, cuda_tensor):
    X = draw()
    expected = GaussianMixture(3, random_state=0).fit(X)
    found = GaussianMixture(3, random_state=0).fit(cuda_tensor(X).requires_grad_())
    np.testing.assert_allclose(found.means_, expected.means_, rtol=1e-8)
    np.testing.assert_array_equal(found.predict(cuda_tensor(X)), expected.predict(X))
    whole = X.round().astype("int16")
    np.testing.assert_array_equal(found.predict(cuda_tensor(whole)), expected.predict(whole))


def test_cuda_tensors_without_cupy_go_to_the_host(monkeypatch, cuda_tensor):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(AssertionError, match="copied to the host"):
        GaussianMixture().fit(cuda_tensor(draw()))


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    X = draw()
    tensor = torch.from_numpy(X).requires_grad_()
    found = GaussianMixture(3, random_state=0).fit(tensor)
    np.testing.assert_array_equal(found.means_, GaussianMixture(3, random_state=0).fit(X).means_)
    np.testing.assert_array_equal(found.predict(tensor), found.predict(X))
