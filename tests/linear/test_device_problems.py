"""Every problem of the device's sweep against the CPU's, with NumPy in CuPy's place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shim import host, strict
from shim.formulas import Formulas as formulas

from fastgen import _arrays
from fastgen._dispatch import linear as kernels
from fastgen.linear import sweep
from fastgen.linear.device import batch as _batch
from fastgen.linear.device import iterations, run
from fastgen.linear.host.trial import Trial
from fastgen.linear.options import ROWS, Options
from fastgen.linear.problems import PROBLEMS

CLOSED = ("ridge", "procrustes", "reduced_rank", "lexicographic")
ITERATIVE = ("free_latents", "penalized", "constrained")
EVERY = tuple(PROBLEMS)
CONVERGED, N_ITER = 4, 5
FLOAT64, FLOAT32 = np.dtype("float64"), np.dtype("float32")


def draw(factor, x, largest, seed):
    rng = np.random.default_rng(seed)
    d, n = x.shape
    return factor, x, rng.standard_normal((largest, n)), rng.standard_normal((largest, d))


def spiked(d, n, largest, *, m=3, n_trials=2, seed=0):
    draws = []
    for trial in range(n_trials):
        rng = np.random.default_rng([seed, d, n, trial])
        theta = rng.standard_normal((d, m)) / np.sqrt(m)
        x = theta @ rng.standard_normal((m, n)) + 0.3 * rng.standard_normal((d, n))
        draws.append(draw(np.vstack([theta.T, 0.3 * np.eye(d)]), x, largest, [seed, trial]))
    return draws


def run_trials(draws, ks, n_pairs, names, *arguments, **device):
    return run.run_trials(
        draws, ks, n_pairs, [PROBLEMS[name] for name in names], *arguments, **device
    )


def on_cpu(draws, ks, n_pairs, names, options):
    out = np.empty((len(draws), 6, len(names), len(n_pairs), len(ks)))
    out[:, CONVERGED:] = np.array([1.0, 0.0])[:, None, None, None]
    for t, (factor, x, z, starts) in enumerate(draws):
        trial = Trial(factor, x, z, options, starts)
        for i, name in enumerate(names):
            for j, pairs in enumerate(n_pairs):
                rows = PROBLEMS[name].host(trial, ks, pairs)
                out[t, : len(rows), i, j] = rows
    return out


def compare(draws, ks, n_pairs, names=EVERY, *, engine=formulas, only_converged=False, **settings):
    """Run both; closed forms and P2 to rounding, P3 and P4 to what their tolerance leaves open.

    Where an objective is flat to 1e-9 of itself a generator is known to about the root of that,
    3e-5; after many steps without an end, rounding alone leads to different iterates.
    """
    ks = np.unique([k for k in ks if k >= 1])
    draws = [(factor, x, z[: ks[-1]], starts[: ks[-1]]) for factor, x, z, starts in draws]
    options = Options(**{"rank": 3, **settings})
    device = dict(xp=np, engine=engine)
    found = run_trials(draws, ks, n_pairs, names, options, **device)
    expected = on_cpu(draws, ks, n_pairs, names, options)
    assert found.shape == expected.shape
    trace = np.array([(draw[0] ** 2).sum() for draw in draws])[:, None, None]
    size = np.array([(draw[1] ** 2).sum() for draw in draws])[:, None, None] / min(n_pairs)
    for i, name in enumerate(names):
        for metric, row in enumerate(ROWS[:4]):
            a, b = found[:, metric, i], expected[:, metric, i]
            scale = np.maximum(trace * (1 + expected[:, 3, i]), size)
            normed = row == "w2" or (name == "procrustes" and row == "train_error")
            if options.dtype == FLOAT32 and normed:
                limit = 1e-5 * scale
            elif name in ("penalized", "constrained"):
                limit = 3e-5 * abs(b) + 1e-9 * scale
                if only_converged:
                    ended = found[:, CONVERGED, i] * expected[:, CONVERGED, i] == 1
                    limit = np.where(ended, limit, np.inf)
            else:
                limit = 1e-9 * abs(b) + 1e-12 * scale
            np.testing.assert_array_less(abs(a - b), limit + 1e-300, err_msg=f"{name}: {row}")
        outcome = found[:, CONVERGED:, i], expected[:, CONVERGED:, i]
        if name not in ("penalized", "constrained"):
            np.testing.assert_array_equal(*outcome, err_msg=name)
    return found


@pytest.mark.parametrize(
    ("d", "n", "largest", "n_pairs"),
    [
        (12, 8, 30, [8, 5, 1]),
        (5, 11, 30, [11, 3]),
        (8, 8, 20, [8, 7]),
        (1, 4, 9, [4, 2]),
        (33, 9, 40, [9, 4]),
        (10, 12, 5, [12, 7]),  # fewer latent dimensions than pairs
        (10, 12, 1, [12, 1]),
        (3, 2, 8, [2, 1]),
    ],
)
def test_small_trials(d, n, largest, n_pairs):
    every = [1, 2, 3, 4, n_pairs[-1], n_pairs[-1] + 1, n - 1, n, n + 1, d, d + 1, largest]
    compare(spiked(d, n, largest), [k for k in every if k <= largest], n_pairs)


def test_kernels_through_the_shim():
    with host.numpy_as_cupy() as kernels:
        compare(spiked(4, 3, 6), range(1, 7), [3, 2], CLOSED, engine=kernels)
        few = spiked(4, 3, 6, n_trials=1)
        compare(few, [1, 3, 4, 6], [2], ITERATIVE, engine=kernels, max_iter=6)


@pytest.mark.parametrize("names", [CLOSED, ITERATIVE])
def test_float32_is_for_the_norms_only(names):
    compare(spiked(9, 7, 20), [1, 3, 6, 7, 8, 9, 10, 20], [7, 4], names, dtype=FLOAT32)


@pytest.mark.parametrize("engine", ["formulas", "strict"])
def test_nothing_of_the_host_meets_the_device(engine):
    draws, ks = spiked(6, 5, 14), np.array([1, 2, 4, 5, 6, 7, 9, 14])
    arguments = (draws, ks, [5, 3], EVERY, Options(rank=2))
    expected = run_trials(*arguments, xp=np, engine=formulas)
    device = dict(xp=strict.StrictModule(), engine=strict.StrictEngine(formulas))
    np.testing.assert_array_equal(run_trials(*arguments, **device), expected)
    batch = _batch.Batch.of(draws, ks, Options(rank=2), *device.values(), 2**28)
    assert {type(problem.device(batch, 3)) for problem in PROBLEMS.values()} == {np.ndarray}


def test_the_stand_in_refuses_what_cupy_refuses():
    xp = strict.StrictModule()
    ours, theirs = xp.asarray([1.0, 2.0]), np.ones(2)
    for wrong in (
        lambda: ours + theirs,
        lambda: theirs @ ours,
        lambda: ours[np.array([0])],
        lambda: ours.__setitem__(slice(None), theirs),
        lambda: xp.where(ours > 1, theirs, 0.0),
        lambda: xp.concatenate([ours, theirs]),
        lambda: strict.StrictEngine(formulas).nuclear_norms(np.ones((1, 2, 2))),
        lambda: np.concatenate([ours, ours]),
    ):
        with pytest.raises(TypeError):
            wrong()
    assert type(xp.asnumpy(2 * ours[1:] + np.float64(1))) is np.ndarray


def deficient(d, n, largest):
    """Trials of different ranks in one batch: low, repeated, blind to two axes, flat, and full."""
    rng = np.random.default_rng(1)
    low = rng.standard_normal((d, 2)) @ rng.standard_normal((2, n))
    twice = np.repeat(rng.standard_normal((d, (n + 1) // 2)), 2, axis=1)[:, :n]
    blind = rng.standard_normal((d, n))
    blind[:2] = 0
    sees_two = np.zeros((2, d))
    sees_two[:, :2] = rng.standard_normal((2, 2))
    cases = [
        (rng.standard_normal((d, d)), rng.standard_normal((d, n))),
        (rng.standard_normal((3, d)), low),
        (rng.standard_normal((d + 2, d)), twice),
        (sees_two, blind),
    ]
    return [draw(factor, x, largest, [2, i]) for i, (factor, x) in enumerate(cases)]


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_batches_of_several_ranks(rank):
    compare(deficient(7, 6, 18), [1, 2, 3, 5, 6, 7, 8, 18], [6, 4, 1], CLOSED, rank=rank)


def test_rounding_is_no_direction_of_the_free_samples():
    draws, ks, n_pairs = deficient(7, 6, 18), np.array([2, 3, 4, 5, 6, 18]), 3
    device = dict(xp=np, engine=formulas)
    found = run_trials(draws, ks, [n_pairs], ["lexicographic"], Options(), **device)
    for t, (factor, x, z, _) in enumerate(draws):
        for v, k in enumerate(ks):
            columns = x[:, :n_pairs] @ np.linalg.pinv(z[:k, :n_pairs])
            paired = np.linalg.svd(columns, full_matrices=False)
            basis = paired[0][:, paired[1] > 1e-9 * paired[1][0]]
            free = x[:, n_pairs:] - basis @ (basis.T @ x[:, n_pairs:])
            u, s, _ = np.linalg.svd(free, full_matrices=False)
            new = (s > 1e-9 * np.linalg.norm(x)) & (np.arange(s.size) < max(0, k - n_pairs))
            basis = np.hstack([basis, u[:, new]])
            outside = factor - (factor @ basis) @ basis.T
            np.testing.assert_allclose(found[t, 1, 0, 0, v], (outside**2).sum(), rtol=1e-9)


def test_iterations_on_batches_of_several_ranks():
    compare(deficient(7, 6, 18), [1, 2, 5, 6, 8, 18], [6, 4], ITERATIVE)


def test_data_of_zeros():
    draws = spiked(4, 3, 6)
    factor, x, *latents = draws[0]
    draws[0] = (factor, 0 * x, *latents)
    options = Options(rank=2)
    ks = np.array([1, 3, 4, 6])
    names = [name for name in EVERY if name != "procrustes"]
    found = run_trials(draws, ks, [3, 2], names, options, xp=np, engine=formulas)
    trace = (factor**2).sum()
    np.testing.assert_allclose(found[0, 0], trace, rtol=1e-12)
    closed = [i for i, name in enumerate(names) if name not in ITERATIVE]
    np.testing.assert_allclose(found[0, 1, closed], trace, rtol=1e-12)
    np.testing.assert_allclose(found[0, 2:4], 0, atol=1e-12)
    assert np.isfinite(found).all()
    compare(draws, ks, [3, 2], ("procrustes",))


@given(
    d=st.integers(1, 9),
    n=st.integers(2, 8),
    largest=st.integers(1, 20),
    rank=st.integers(1, 6),
    pairs=st.integers(1, 8),
    ridge=st.sampled_from([0.0, 1e-3, 0.1, 10.0]),
    weight=st.sampled_from([0.0, 0.1, 10.0, 1e3]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_any_sizes(d, n, largest, rank, pairs, ridge, weight, seed):
    draws = spiked(d, n, largest, m=min(2, d), n_trials=2, seed=seed)
    n_pairs = sorted({min(pairs, n), n})
    options = dict(rank=rank, ridge=ridge, weight=weight, max_iter=60)
    names = [name for name in EVERY if name not in ("penalized", "constrained")]
    compare(draws, range(1, largest + 1), n_pairs, names, **options)
    # to the end: generators stopped at 1e-9 of the objective differ by about the root of that
    options.update(only_converged=True, tol=1e-12, max_iter=1000)
    compare(draws[:1], range(1, largest + 1), n_pairs, ("penalized", "constrained"), **options)


@pytest.mark.parametrize("side", [1, 3, 6])
def test_library_route_where_the_kernels_stop(monkeypatch, side):
    monkeypatch.setattr(_batch, "SIDE", side)
    compare(spiked(8, 7, 20), [1, 2, 3, 4, 6, 7, 8, 9, 20], [7, 4])
    compare(deficient(7, 6, 12), [1, 2, 5, 6, 8, 12], [6, 4], EVERY)


def test_large_trials():
    compare(spiked(70, 66, 140, n_trials=1), [5, 65, 67, 71, 140], [66, 30], CLOSED, rank=8)
    compare(spiked(70, 66, 67, n_trials=1), [5, 67], [30], ITERATIVE, max_iter=5)


def test_memory_changes_the_chunks_and_not_the_numbers(monkeypatch):
    draws = spiked(6, 5, 15, n_trials=3)
    ks = np.array([1, 3, 4, 5, 6, 8, 15])
    arguments = (draws, ks, [5, 4], EVERY, Options(rank=2))
    device = dict(xp=np, engine=formulas)
    whole = run_trials(*arguments, **device)
    for memory in (0, 60_000):
        parts = run_trials(*arguments, memory=memory, **device)
        limit = np.where(np.isin(EVERY, ["penalized", "constrained"]), 1e-6, 1e-10)
        miss = abs(parts - whole)[:, :4] / (1e-3 + abs(whole[:, :4]))
        assert (miss.max(axis=(0, 1, 3, 4)) < limit).all()


def test_memory_bounds_the_iterations(monkeypatch):
    largest = []
    real = iterations.match_pairs

    def watched(batch, cells, start, *rest):
        largest.append(start.nbytes * _batch.ITERATED)
        return real(batch, cells, start, *rest)

    monkeypatch.setattr("fastgen.linear.device.semisupervised.match_pairs", watched)
    draws, options = spiked(12, 10, 30, n_trials=6), Options(max_iter=2)
    ks = np.arange(1, 31)
    for memory in (10**6, 10**7):
        largest.clear()
        device = dict(xp=np, engine=formulas, memory=memory)
        run_trials(draws, ks, [6], ["penalized"], options, **device)
        assert memory / 20 < max(largest) <= memory / 2


@pytest.mark.parametrize("n_pairs", [3, 6])
def test_cells_that_run_out_of_steps_say_so(n_pairs):
    found = compare(spiked(6, 6, 9), [2, 4, 7, 9], [n_pairs], ITERATIVE, max_iter=2)
    unfinished = found[:, CONVERGED] == 0
    assert (found[:, N_ITER][unfinished] == 2).all()
    assert unfinished[:, 1].all()
    assert not unfinished[:, 0].any() if n_pairs == 6 else unfinished[:, 0].any()


def test_interpolation_and_exactness():
    """P4 interpolates the pairs and meets the sample covariance where it can."""
    d, n, n_pairs = 12, 10, 3
    draws = spiked(d, n, 60, m=4)
    ks = np.array([4, 8, 60])
    device = dict(xp=np, engine=formulas)
    names = ["constrained", "unsupervised"]
    found = run_trials(draws, ks, [n_pairs], names, Options(max_iter=2000), **device)
    assert (found[:, 2, 0] < 1e-20).all()
    np.testing.assert_allclose(found[:, 0, 0, :, -1], found[:, 0, 1, :, -1], rtol=1e-6)


class OnDevice:
    """What a CuPy array or a CUDA tensor shows of itself."""

    def __init__(self, array):
        self.array = array

    @property
    def __cuda_array_interface__(self):
        return self.array.__array_interface__


@pytest.fixture
def device(monkeypatch):
    """Run sweeps of device="cuda" on the stand-in; returns the sizes of what came to the host."""
    xp, sizes = strict.StrictModule(), []

    def asnumpy(value):
        sizes.append(value.size)
        return strict.StrictModule.asnumpy(value)

    xp.asnumpy = asnumpy
    monkeypatch.setattr(_arrays, "require_device", lambda: xp)
    engine = strict.StrictEngine(formulas)
    monkeypatch.setattr(kernels, "cuda_kernels", lambda: engine)
    return sizes


SWEEP = dict(latent_dims=[1, 3, 5, 6, 9], n_samples=5, n_supervised=[3, 5], n_trials=3)


@pytest.mark.parametrize("data", ["model", "array"])
def test_sweep_of_every_problem(device, data):
    rows = np.random.default_rng(0).standard_normal((30, 4))
    given = None if data == "model" else OnDevice(rows)
    arguments = dict(**SWEEP, problems=EVERY, rank=2, random_state=0)
    found = sweep(given, **arguments, device="cuda")
    expected = sweep(None if given is None else rows, **arguments)
    for name in ROWS:
        a, b = found[name], expected[name]
        loose = a.problem.isin(["penalized", "constrained"])
        if name not in ("converged", "n_iter"):
            np.testing.assert_allclose(a[~loose], b[~loose], rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(a[loose], b[loose], rtol=3e-5, atol=1e-8)
        else:
            np.testing.assert_array_equal(a[~loose], b[~loose])


def test_data_on_the_device_stay_there(device):
    rows = np.random.default_rng(1).standard_normal((4000, 6)).astype(np.float32)
    arguments = dict(latent_dims=[1, 2], n_samples=4, n_trials=2, random_state=0)
    found = sweep(OnDevice(rows), **arguments, device="cuda")
    assert max(device) < 100
    np.testing.assert_allclose(found.w2, sweep(rows, **arguments).w2, rtol=1e-9)


def test_a_store_tells_arrays_on_the_device_apart(device, tmp_path):
    rows = np.random.default_rng(2).standard_normal((30, 4))
    arguments = dict(**SWEEP, random_state=0, device="cuda", store=tmp_path / "sweep.zarr")
    first = sweep(OnDevice(rows), **arguments)
    xr = pytest.importorskip("xarray")
    again = sweep(OnDevice(rows.copy()), **arguments)
    xr.testing.assert_equal(first, again)
    for change in (
        lambda a: a.__setitem__((0, 0), 1.5),
        lambda a: a.__setitem__(slice(2), a[1::-1]),
    ):
        other = rows.copy()
        change(other)
        with pytest.raises(ValueError, match="data"):
            sweep(OnDevice(other), **arguments)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (np.full((9, 2), "a"), TypeError, "numeric array .* got dtype <U1"),
        (np.ones(9), ValueError, r"shape \(n_rows, d\) with at least 4 rows, got \(9,\); flatten"),
        (np.ones((3, 2)), ValueError, r"at least 4 rows, got \(3, 2\)"),
        (np.ones((9, 0)), ValueError, r"got \(9, 0\)"),
        (np.ones((9, 2)), ValueError, "data must vary, got 9 identical rows"),
        (np.array([[0.0], [1], [np.nan], [np.inf]] * 3), ValueError, "finite, got 6 NaN or infin"),
    ],
)
def test_door_for_data_on_the_device(device, rows, error, message):
    arguments = dict(latent_dims=[1], n_samples=2, device="cuda")
    with pytest.raises(error, match=message):
        sweep(OnDevice(rows), **arguments)
    with pytest.raises(ValueError, match="population_fraction must lie between 0 and 1, got 2"):
        sweep(OnDevice(np.eye(9)), **arguments, population_fraction=2.0)
    half = np.zeros((9, 1))
    half[np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0,))).permutation(9)[-1]] = 1
    with pytest.raises(ValueError, match="population part of data is constant"):
        sweep(OnDevice(half), **arguments, n_trials=1, random_state=0)


def test_tensors_on_the_host_are_drawn_there(device):
    torch = pytest.importorskip("torch")
    rows = np.random.default_rng(3).standard_normal((30, 4))
    tensor = torch.tensor(rows, requires_grad=True)
    arguments = dict(**SWEEP, random_state=0, device="cuda")
    np.testing.assert_array_equal(sweep(tensor, **arguments).w2, sweep(rows, **arguments).w2)


@pytest.mark.gpu
@pytest.mark.parametrize(("d", "n"), [(20, 16), (64, 40)])
def test_on_the_device(d, n):
    host.require_device()
    from fastgen.kernels import cuda

    ks = np.arange(1, 3 * n + 1, 3)
    draws, options = spiked(d, n, ks[-1], n_trials=4), Options(rank=5)
    xp = _arrays.require_device()
    found = run_trials(draws, ks, [n, n // 3], EVERY, options, xp=xp, engine=cuda)
    expected = run_trials(draws, ks, [n, n // 3], EVERY, options, xp=np, engine=formulas)
    loose = np.isin(EVERY, ["penalized", "constrained"])
    for limit, some in ((1e-9, ~loose), (3e-5, loose)):
        a, b = found[:, :4, some], expected[:, :4, some]
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit)
