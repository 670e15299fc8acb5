"""The device's sweep: with NumPy in CuPy's place, its kernels through the shim, and on a device."""

from __future__ import annotations

import sys
import time
import types

import numpy as np
import pytest
from shim import host
from shim.formulas import Formulas

from fastgen import _arrays
from fastgen._dispatch import linear as kernels
from fastgen.linear import sweep
from fastgen.linear.device import batch
from fastgen.linear.device.run import run_trials
from fastgen.linear.host.trial import Trial
from fastgen.linear.options import METRICS, Options
from fastgen.linear.problems import PROBLEMS

NAMES = ("unsupervised", "pseudo_supervised")
FLOAT64, FLOAT32 = np.dtype("float64"), np.dtype("float32")


@pytest.fixture(params=["shim", "formulas"])
def engine(request):
    if request.param == "formulas":
        yield Formulas
        return
    with host.numpy_as_cupy() as kernels:
        yield kernels


def run(draws, ks, n_pairs, names, dtype, **device):
    draws = [(*draw, None) for draw in draws]
    problems = [PROBLEMS[name] for name in names]
    return run_trials(draws, ks, n_pairs, problems, Options(dtype=dtype), **device)


def on_cpu(draws, ks, n_pairs, names=NAMES):
    out = np.empty((len(draws), 4, len(names), len(n_pairs), len(ks)))
    for t, draw in enumerate(draws):
        trial = Trial(*draw, Options(0.1, None, FLOAT64))
        for i, name in enumerate(names):
            for j, pairs in enumerate(n_pairs):
                out[t, :, i, j] = PROBLEMS[name].host(trial, ks, pairs)
    return out


def compare(draws, ks, n_pairs, engine, dtype=FLOAT64, xp=np, **options):
    ks = np.unique([k for k in ks if k >= 1])
    draws = [(factor, x, z[: ks[-1]]) for factor, x, z in draws]
    found = run(draws, ks, n_pairs, NAMES, dtype, xp=xp, engine=engine, **options)
    assert (found[:, 4] == 1).all()
    assert (found[:, 5] == 0).all()
    found = found[:, :4]
    expected = on_cpu(draws, ks, n_pairs)
    assert found.shape == expected.shape
    assert found.dtype == FLOAT64
    trace = np.array([(factor**2).sum() for factor, _, _ in draws])[:, None, None, None]
    scale = trace * (1 + expected[:, 3])
    for metric, name in enumerate(METRICS):
        a, b = found[:, metric], expected[:, metric]
        size = np.array([(x**2).sum() for _, x, _ in draws])[:, None, None, None] / min(n_pairs)
        if dtype == FLOAT64:
            limit = 1e-9 * abs(b) + 1e-12 * np.maximum(trace, size)
        else:
            limit = 1e-4 * scale if name == "w2" else 1e-9 * (scale + size)
        np.testing.assert_array_less(abs(a - b), limit + 1e-300, err_msg=name)
    return found


def spiked(d, n, largest, *, m=3, n_trials=2, seed=0):
    draws = []
    for trial in range(n_trials):
        rng = np.random.default_rng([seed, d, n, trial])
        theta = rng.standard_normal((d, m)) / np.sqrt(m)
        noise = np.sqrt(0.1)
        x = theta @ rng.standard_normal((m, n)) + noise * rng.standard_normal((d, n))
        factor = np.vstack([theta.T, noise * np.eye(d)])
        draws.append((factor, x, rng.standard_normal((largest, n))))
    return draws


def around(d, n, far):
    return [1, n - 1, n, n + 1, d, far]


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@pytest.mark.parametrize(
    ("d", "n", "n_pairs"),
    [(12, 8, [8, 5]), (5, 11, [11, 3, 1]), (8, 8, [8]), (1, 4, [4, 2]), (33, 9, [9])],
)
def test_small_trials(engine, dtype, d, n, n_pairs):
    compare(spiked(d, n, 40), around(d, n, 3 * n), n_pairs, engine, dtype)


@pytest.mark.parametrize("n", [32, 33, 64, 65])
def test_sizes_where_the_kernels_change(engine, n):
    draws = spiked(n + 2, n, n + 6, n_trials=1)
    compare(draws, [1, n - 1, n, n + 1, n + 6], [n], engine)


def test_fewer_latent_dimensions_than_pairs(engine):
    compare(spiked(10, 12, 5), [2, 5], [12, 7], engine)
    compare(spiked(10, 12, 1), [1], [12], engine)


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
def test_rank_deficient_trials(engine, dtype):
    rng = np.random.default_rng(1)
    d, n, ks = 7, 6, [1, 2, 3, 5, 6, 7, 8, 18]
    z = rng.standard_normal((4, 18, n))
    low = rng.standard_normal((d, 2)) @ rng.standard_normal((2, n))
    twice = np.repeat(rng.standard_normal((d, 3)), 2, axis=1)
    blind = np.zeros((d, n))
    blind[2:] = rng.standard_normal((d - 2, n))
    sees_two = np.zeros((2, d))
    sees_two[:, :2] = rng.standard_normal((2, 2))
    draws = [  # one batch of several ranks, and factors of several heights
        (rng.standard_normal((d, d)), rng.standard_normal((d, n)), z[0]),
        (rng.standard_normal((3, d)), low, z[1]),
        (rng.standard_normal((d + 2, d)), twice, z[2]),
        (sees_two, blind, z[3]),
    ]
    compare(draws, ks, [6, 4], engine, dtype)


def test_data_of_zeros(engine):
    (factor, x, z), other = spiked(4, 3, 6)
    draws = [(factor, 0 * x, z), other]
    common = dict(xp=np, engine=engine)
    found = run(draws, np.array([1, 3, 4, 6]), [3, 2], NAMES, FLOAT64, **common)
    trace = (factor**2).sum()
    np.testing.assert_allclose(found[0, :2], trace, rtol=1e-14)
    np.testing.assert_array_equal(found[0, 2:4], 0)


def test_digits(engine):
    data = pytest.importorskip("sklearn.datasets").load_digits().data
    order = np.random.default_rng(2).permutation(len(data))
    mean = data[order[:900]].mean(axis=0)
    factor = np.linalg.qr((data[order[:900]] - mean) / 30, mode="r")
    draws = []
    for trial in range(2):
        x = (data[order[900 + 13 * trial :][:13]] - mean).T
        z = np.random.default_rng([3, trial]).standard_normal((65, 13))
        draws.append((factor, x, z))
    for dtype in (FLOAT64, FLOAT32):
        compare(draws, [1, 7, 12, 13, 14, 39, 64, 65], [13, 6], engine, dtype)


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@pytest.mark.parametrize(
    ("d", "n", "n_pairs"), [(64, 100, [100, 40]), (100, 70, [70]), (80, 64, [64, 65 - 1])]
)
def test_large_trials(dtype, d, n, n_pairs):
    draws = spiked(d, n, 2 * n + 30)
    compare(draws, [3, 40, *around(d, n, 2 * n + 30)], n_pairs, Formulas, dtype)


@pytest.mark.parametrize("side", [1, 3, 7])
def test_library_route_where_the_kernels_stop(monkeypatch, engine, side):
    monkeypatch.setattr(batch, "SIDE", side)
    if engine is Formulas or side > 1:
        for dtype in (FLOAT64, FLOAT32):
            compare(spiked(9, 8, 24), [1, 2, 3, 7, 8, 9, 24], [8, 5], engine, dtype)


def test_coarse_gram_matrices_go_to_the_svd(monkeypatch):
    monkeypatch.setattr(batch, "SIDE", 1)
    sizes = []
    svd = np.linalg.svd

    def watched(a, **options):
        if a.ndim == 3 and not options.get("compute_uv", True):
            sizes.append(len(a))
        return svd(a, **options)

    monkeypatch.setattr(np.linalg, "svd", watched)
    draws = spiked(9, 8, 12)
    draws[1] = (draws[1][0] * np.logspace(0, -7, 9), draws[1][1], draws[1][2])
    compare(draws, [2, 5, 8, 12], [8], Formulas)
    assert sizes
    assert max(sizes) < 8  # of eight cells only the bad ones


def test_memory_changes_the_chunks_and_not_the_numbers(engine):
    draws = spiked(6, 5, 15, n_trials=3)
    ks, pairs = np.array([1, 3, 4, 5, 6, 8, 15]), [5, 4]
    whole = compare(draws, ks, pairs, engine)
    for memory in (0, 20_000):
        parts = compare(draws, ks, pairs, engine, memory=memory)
        np.testing.assert_allclose(parts, whole, rtol=1e-11, atol=1e-13)


def test_memory_bounds_the_cells(monkeypatch):
    largest = []

    class Watched(Formulas):
        @staticmethod
        def nuclear_norms(stack):
            largest.append(stack.nbytes)
            return Formulas.nuclear_norms(stack)

    draws = spiked(20, 20, 60, n_trials=6)
    compare(draws, range(1, 61), [20], Watched, memory=10**6)
    assert 10**4 < max(largest) <= 10**6 / 6


def test_order_of_names_and_nothing_to_do():
    draws, ks = spiked(4, 3, 6), np.array([1, 6])
    common = dict(xp=np, engine=Formulas)
    both = run(draws, ks, [3, 2], NAMES, FLOAT64, **common)
    turned = run(draws, ks, [3, 2], NAMES[::-1], FLOAT64, **common)
    np.testing.assert_array_equal(turned, both[:, :, ::-1])
    one = run(draws, ks, [2], NAMES[1:], FLOAT64, **common)
    np.testing.assert_array_equal(one[:, :, 0, 0], both[:, :, 1, 1])
    assert run([], ks, [3], NAMES, FLOAT64, **common).shape == (0, 6, 2, 1, 2)


def test_unknown_problems_are_refused():
    with pytest.raises(ValueError, match=r"of 'unsupervised', .* got 'linear'"):
        sweep(latent_dims=[1], n_samples=2, problems="linear", device="cuda")


def test_missing_cupy_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r'pip install "fastgen-core\[cuda13\]"') as info:
        _arrays.require_device()
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("available", [False, True])
def test_a_device_is_required(monkeypatch, available):
    fake = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: available))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    if available:
        assert _arrays.require_device() is fake
        return
    with pytest.raises(
        RuntimeError, match='no driver or no GPU; pass NumPy arrays, or device="cpu"'
    ) as info:
        _arrays.require_device()
    assert "\n" not in str(info.value)


def test_sweep_sends_its_trials_to_the_device(monkeypatch, tmp_path):
    monkeypatch.setattr(_arrays, "require_device", lambda: np)
    monkeypatch.setattr(kernels, "cuda_kernels", lambda: Formulas)
    arguments = dict(
        latent_dims=[1, 9, 10, 11, 40],
        n_samples=10,
        n_supervised=[6, 10],
        n_trials=70,
        random_state=0,
    )
    found = sweep(**arguments, device="cuda", store=tmp_path / "sweep.zarr")
    expected = sweep(**arguments)
    for name in METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9)
    assert found.converged.all()
    with pytest.raises(ValueError, match="was made with device='cuda'"):
        sweep(**arguments, store=tmp_path / "sweep.zarr")


def test_sweep_asks_for_the_device_at_the_door(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    arguments = dict(latent_dims=[1], n_samples=4, store=tmp_path / "sweep.zarr")
    with pytest.raises(ImportError, match="needs CuPy: pip install"):
        sweep(**arguments, device="cuda")
    with pytest.raises(ValueError, match="device must be one of 'cpu', 'cuda', got 'gpu'"):
        sweep(**arguments, device="gpu")
    assert not (tmp_path / "sweep.zarr").exists()


class OnDevice:
    """What a CuPy array shows of itself."""

    def __init__(self, array):
        self.array = array

    @property
    def __cuda_array_interface__(self):
        return self.array.__array_interface__

    def get(self):
        return self.array


def test_arrays_on_a_device_are_data():
    rows = np.random.default_rng(0).standard_normal((30, 4))
    arguments = dict(latent_dims=[1, 5], n_samples=6, n_trials=2, random_state=0)
    assert sweep(OnDevice(rows), **arguments).equals(sweep(rows, **arguments))


def test_torch_tensors_are_data():
    torch = pytest.importorskip("torch")
    rows = np.random.default_rng(0).standard_normal((30, 4))
    arguments = dict(latent_dims=[1, 5], n_samples=6, n_trials=2, random_state=0)
    tensor = torch.tensor(rows, requires_grad=True)
    assert sweep(tensor, **arguments).equals(sweep(rows, **arguments))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=str)
@pytest.mark.parametrize(("d", "n", "n_trials"), [(20, 16, 50), (64, 40, 100), (64, 100, 10)])
def test_on_the_device(dtype, d, n, n_trials):
    host.require_device()
    from fastgen.kernels import cuda

    ks, pairs = np.arange(1, 3 * n + 1), [n, n // 2]
    draws = spiked(d, n, 3 * n, n_trials=n_trials)
    device = dict(xp=_arrays.require_device(), engine=cuda)
    found = compare(draws, ks, pairs, dtype=dtype, **device)
    seconds = []
    for work in (
        lambda: run(draws, ks, pairs, NAMES, dtype, **device)[:, :4],
        lambda: on_cpu(draws, ks, pairs),
    ):
        start = time.perf_counter()
        again = work()
        seconds.append(time.perf_counter() - start)
        if len(seconds) == 1:
            np.testing.assert_array_equal(again, found)
    print(
        f"\n{n_trials} trials, d={d}, n={n}, {len(ks)} latent dimensions, {dtype}: "
        f"device {seconds[0]:.3f} s, one CPU thread in float64 {seconds[1]:.3f} s"
    )
