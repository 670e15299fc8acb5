"""Fixtures that several test files use."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from shim import strict


def pytest_addoption(parser):
    parser.addoption(
        "--plain", action="store_true", help="let small inputs take plain arrays, as users have it"
    )


@pytest.fixture(autouse=True)
def kernels_for_all_sizes(request):
    """Give kernels the small inputs of tests too, which else take plain arrays.

    Tests with the mark ``sizes`` are of that choice; the option ``--plain`` runs all as users do.
    """
    if request.config.getoption("plain") or request.node.get_closest_marker("sizes"):
        yield
        return
    from fastgen._dispatch import compiling

    with compiling.always():
        yield


@pytest.fixture
def one_torch_thread():
    """Hold torch at one thread: small tensors are slower on more, and sums then repeat exactly."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclasses.dataclass(frozen=True)
class Backend:
    """An array library under test: how its arrays are made of NumPy's, and read again."""

    name: str
    array: Callable[[Any], Any]
    host: Callable[[Any], np.ndarray]
    kind: type


@pytest.fixture(params=["numpy", "torch", "stand-in", pytest.param("cuda", marks=pytest.mark.gpu)])
def backend(request, monkeypatch) -> Backend:
    """Each array library that public functions take: NumPy, torch on the CPU, CuPy.

    "stand-in" is NumPy in CuPy's place (`shim.strict`), which refuses what CuPy would refuse.
    """
    if request.param == "numpy":
        return Backend("numpy", np.asarray, np.asarray, np.ndarray)
    if request.param == "torch":
        torch = pytest.importorskip("torch")
        return Backend("torch", torch.tensor, lambda x: x.detach().numpy(), torch.Tensor)
    if request.param == "stand-in":
        put_in_place_of_cupy(monkeypatch)
        return Backend(
            "cupy", lambda x: strict.to_device(np.array(x)), strict.to_host, strict.DeviceArray
        )
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device")
    return Backend("cupy", cupy.asarray, cupy.asnumpy, cupy.ndarray)


def put_in_place_of_cupy(monkeypatch) -> strict.StrictModule:
    """Let the package find NumPy where it looks for CuPy and for the launchers of its kernels."""
    from fastgen import _arrays, neighbors
    from fastgen._dispatch import gaussian
    from fastgen.metrics import _device_pass

    module = strict.StrictModule()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(_arrays, "require_device", lambda what="": module)
    monkeypatch.setattr(_arrays, "device_of", contextlib.nullcontext)
    monkeypatch.setattr(gaussian, "cuda_kernels", lambda: strict.StrictEngine(BuresLaunchers))
    monkeypatch.setattr(neighbors, "renew_lists", renew_lists)
    monkeypatch.setattr(_device_pass, "count_balls", count_balls)
    return module


def renew_lists(x, pool, scale, first, distances, indices) -> None:
    """The launcher of ``nearest_rows.cu``, in NumPy; its lists are renewed where they lie."""
    del scale
    arrays = x, pool, distances, indices
    assert all(isinstance(array, strict.DeviceArray) for array in arrays)
    x, pool, distances, indices = map(strict.to_host, arrays)
    new = np.square(x[:, None].astype(float) - pool).sum(axis=-1)
    named = np.broadcast_to(first + np.arange(len(pool)), new.shape)
    values, names = np.hstack([distances, new]), np.hstack([indices, named])
    order = np.argsort(values, axis=1, kind="stable")[:, : distances.shape[1]]
    distances[:] = np.take_along_axis(values, order, axis=1)
    indices[:] = np.take_along_axis(names, order, axis=1)


def count_balls(x, centers, squared, kept, scale):
    """The launcher of ``neighbor_pass.cu``, in NumPy."""
    del scale
    x, centers, squared, kept = map(strict.to_host, (x, centers, squared, kept))
    distance = np.square(x[:, None].astype(float) - centers).sum(axis=-1)
    ratio = np.full(distance.shape, np.inf)
    np.divide(distance, squared, out=ratio, where=kept & (squared > 0))
    ratio[(distance == 0) & kept] = 0
    return tuple(map(strict.to_device, ((distance <= squared).sum(axis=1), ratio.min(axis=1))))


class BuresLaunchers:
    """The launchers of ``bures.cu``, in NumPy."""

    @staticmethod
    def pair_nuclear_norms(rows, starts, pairs):
        blocks = [rows[a:b] for a, b in itertools.pairwise(starts)]
        products = [blocks[a] @ blocks[b].T for a, b in pairs]
        return np.array([np.linalg.svd(m, compute_uv=False).sum() for m in products])
