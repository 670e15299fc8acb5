"""The public sweep: golden behaviour, reproducibility, results, bad input."""

from __future__ import annotations

import importlib
import json

import joblib
import numpy as np
import pytest
import xarray
from oracles import linear as naive

from fastgen.linear import SpikedGaussian, sweep
from fastgen.linear.options import METRICS

SMALL = dict(latent_dims=range(1, 31), n_samples=10, n_trials=6, random_state=0)


@pytest.fixture(scope="module")
def table_1():
    ks = [1, 4, 8, 14, 18, 20, 22, 30, 41, 60, 100, 400]
    return sweep(latent_dims=ks, n_samples=20, n_trials=200, random_state=1).squeeze("n_supervised")


TABLE_1 = {  # k: W2 P1, projection P1, pair error P1, W2 P0, projection P0 (notes of the project)
    1: (66.5, 66.3, 66.5, 67.0, 64.9),
    4: (57.1, 55.1, 56.0, 56.2, 51.6),
    8: (52.2, 42.0, 41.9, 43.2, 37.7),
    14: (108, 26.8, 21.1, 30.0, 22.9),
    18: (508, 19.3, 6.9, 26.3, 17.7),
    20: (5888, 16.6, 0, 25.7, 16.6),
    22: (519, 16.6, 0, 25.7, 16.6),
    30: (67.4, 16.6, 0, 25.7, 16.6),
    41: (34.0, 16.6, 0, 25.7, 16.6),
    60: (27.5, 16.6, 0, 25.7, 16.6),
    100: (31.5, 16.6, 0, 25.7, 16.6),
    400: (47.7, 16.6, 0, 25.7, 16.6),
}


@pytest.mark.parametrize("k", TABLE_1)
def test_table_1(table_1, k):
    w2, projection, pair_error, w2_flat, projection_flat = TABLE_1[k]
    at = table_1.sel(latent_dim=k)
    paired = at.sel(problem="pseudo_supervised").median("trial")
    flat = at.sel(problem="unsupervised").mean("trial")
    if k == 20:
        assert w2 / 2 < float(paired.w2) < 2 * w2
    else:
        assert float(paired.w2) == pytest.approx(w2, rel=0.2 if k in (18, 22, 30) else 0.05)
    assert float(paired.projection_error) == pytest.approx(projection, rel=0.05)
    assert float(paired.train_error) == pytest.approx(pair_error, rel=0.05, abs=1e-12)
    assert float(flat.w2) == pytest.approx(w2_flat, rel=0.05)
    assert float(flat.projection_error) == pytest.approx(projection_flat, rel=0.05)


@pytest.mark.parametrize(("dim", "n"), [(64, 20), (12, 20), (20, 20)])
def test_unsupervised_is_flat_beyond_the_threshold(dim, n):
    result = sweep(
        SpikedGaussian(dim=dim, true_dim=5),
        latent_dims=range(1, 3 * max(n, dim)),
        n_samples=n,
        n_trials=5,
        problems="unsupervised",
        random_state=0,
    )
    for name in ("w2", "projection_error", "train_error", "gain"):
        flat = result[name].sel(latent_dim=slice(min(n, dim), None)).squeeze()
        spread = flat.max("latent_dim") - flat.min("latent_dim")
        assert float(spread.max()) <= 1e-9 * float(result.w2.max())


@pytest.mark.parametrize("n_pairs", [10, 20, 30, 40])
def test_peak_is_at_the_number_of_pairs(n_pairs):
    result = sweep(
        latent_dims=range(1, 81),
        n_samples=40,
        n_supervised=n_pairs,
        n_trials=100,
        problems="pseudo_supervised",
        random_state=2,
    )
    assert abs(int(result.w2.median("trial").squeeze().idxmax()) - n_pairs) <= 1


def test_projection_errors_coincide_beyond_n():
    result = sweep(**SMALL).sel(latent_dim=slice(10, None))
    first, second = (result.projection_error.isel(problem=i) for i in range(2))
    np.testing.assert_allclose(first, second, rtol=1e-10)


def test_result_is_labelled():
    result = sweep(SpikedGaussian(dim=8, true_dim=3), n_supervised=[4, 10], **SMALL)
    assert result.w2.dims == ("problem", "n_supervised", "latent_dim", "trial")
    assert dict(result.sizes) == {
        "problem": 2,
        "n_supervised": 2,
        "latent_dim": 30,
        "trial": 6,
    }
    assert list(result.n_supervised.values) == [4, 10]
    assert set(result.data_vars) == {*METRICS, "converged", "n_iter"}
    arguments = json.loads(result.attrs["arguments"])
    assert arguments["n_samples"] == 10
    assert arguments["data"].startswith("SpikedGaussian(dim=8")
    assert result.attrs["seed_entropy"] == "0"
    assert result.attrs["created"].endswith("Z")
    flat = result.sel(problem="unsupervised")
    xarray.testing.assert_equal(
        flat.sel(n_supervised=4, drop=True), flat.sel(n_supervised=10, drop=True)
    )


def test_netcdf_round_trip(tmp_path):
    result = sweep(**SMALL)
    result.to_netcdf(tmp_path / "a.nc", engine="scipy")
    again = xarray.load_dataset(tmp_path / "a.nc", engine="scipy")
    np.testing.assert_array_equal(again.w2.values, result.w2.values)
    assert list(again.problem.values) == list(result.problem.values)


def test_latent_dims_are_sorted_and_distinct():
    result = sweep(latent_dims=[5, 1, 5, np.int32(3)], n_samples=4, n_trials=1, random_state=0)
    assert list(result.latent_dim.values) == [1, 3, 5]


def test_a_denser_sweep_holds_the_same_numbers():
    dense = sweep(**SMALL)
    sparse = sweep(**{**SMALL, "latent_dims": [3, 10, 11, 24, 30]})
    for name in METRICS:
        np.testing.assert_allclose(
            dense[name].sel(latent_dim=sparse.latent_dim), sparse[name], rtol=1e-10, atol=1e-10
        )


# trials heavy enough to leave the serial path
PARALLEL = dict(latent_dims=range(1, 121), n_samples=40, n_trials=12, random_state=5)


@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_results_do_not_depend_on_the_backend(backend):
    alone = sweep(**PARALLEL)
    with joblib.parallel_config(backend, n_jobs=2):
        xarray.testing.assert_equal(sweep(**PARALLEL), alone)


def test_results_do_not_depend_on_n_jobs_or_blocks(monkeypatch):
    module = importlib.import_module("fastgen.linear.trials")
    alone = sweep(**PARALLEL)
    xarray.testing.assert_equal(sweep(**PARALLEL, n_jobs=2), alone)
    monkeypatch.setattr(module, "_TASK_WORK", 1.0)
    xarray.testing.assert_equal(sweep(**PARALLEL, n_jobs=2), alone)
    monkeypatch.setattr(module, "_SERIAL_WORK", np.inf)
    xarray.testing.assert_equal(sweep(**PARALLEL, n_jobs=2), alone)


def test_trials_do_not_depend_on_their_number():
    few, many = (sweep(**{**SMALL, "n_trials": n}) for n in (3, 6))
    xarray.testing.assert_equal(many.isel(trial=slice(3)), few)


@pytest.mark.parametrize(
    "seed",
    [
        lambda: 3,
        lambda: np.random.SeedSequence(3, spawn_key=(1,)),
        lambda: np.random.default_rng(3),
        lambda: np.random.RandomState(3),
    ],
)
def test_every_kind_of_seed_repeats(seed):
    first, second = (sweep(**{**SMALL, "random_state": seed()}) for _ in range(2))
    xarray.testing.assert_equal(first, second)
    other = sweep(**{**SMALL, "random_state": None})
    assert not np.array_equal(first.w2, other.w2)


def test_float32_is_near():
    exact = sweep(**SMALL)
    short = sweep(**SMALL, dtype="float32")
    scale = 70 * (1 + exact.gain)
    assert 0 < float((abs(short.w2 - exact.w2) / scale).max()) < 1e-5


def test_array_data_use_the_split_of_the_docstring():
    rows = np.random.default_rng(0).standard_normal((50, 6)) * np.arange(1, 7)
    result = sweep(rows, latent_dims=[1, 6, 20], n_samples=12, n_trials=2, random_state=4)
    assert result.attrs["dim"] == 6
    seed = np.random.SeedSequence(4, spawn_key=(1,))
    rng = np.random.default_rng(seed)
    order = rng.permutation(50)
    population = rows[order[:25]]
    x = (rows[order[25:37]] - population.mean(axis=0)).T
    z = rng.standard_normal((20, 12))
    truth = np.cov(population.T, bias=True)
    cell = naive.cell("pseudo_supervised", x, z[:6], 12, truth)
    found = result.sel(problem="pseudo_supervised", latent_dim=6, trial=1).squeeze()
    for name, value in cell.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-9)


class FixedModel:
    """The least a model must have."""

    def __init__(self, covariance):
        self.covariance_ = np.asarray(covariance, dtype=float)

    def sample(self, n_samples, random_state=None):
        rng = np.random.default_rng(random_state)
        return rng.multivariate_normal(np.zeros(len(self.covariance_)), self.covariance_, n_samples)


def test_models_with_a_fixed_covariance():
    result = sweep(
        FixedModel(np.diag([4.0, 1.0, 0.0])),
        latent_dims=[1, 2, 3, 9],
        n_samples=5,
        n_trials=3,
        random_state=0,
    )
    assert np.isfinite(result.w2).all()
    # the truth has rank two: PCA of the samples finds its range
    error = result.projection_error.sel(problem="unsupervised", latent_dim=2)
    assert float(error.max()) < 1e-12


def test_models_must_be_repeatable():
    class Unseeded(FixedModel):
        def sample(self, n_samples):
            return np.zeros((n_samples, 2))

    with pytest.raises(TypeError, match=r"Unseeded\.sample must accept random_state="):
        sweep(Unseeded(np.eye(2)), latent_dims=[1], n_samples=3)
    with pytest.raises(TypeError, match="data must be None, an array"):
        sweep(object(), latent_dims=[1], n_samples=3)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.zeros((2, 2)), "positive trace, got constant data"),
        (np.eye(3)[:2], r"square matrix, got shape \(2, 3\)"),
        (np.full((2, 2), np.nan), "must be finite"),
    ],
)
def test_bad_model_covariance(covariance, message):
    with pytest.raises(ValueError, match=message):
        sweep(FixedModel(covariance), latent_dims=[1], n_samples=3)


def with_nan():
    rows = np.random.default_rng(0).standard_normal((20, 3))
    rows[7, 2] = np.nan
    return rows


ROWS = np.random.default_rng(0).standard_normal((20, 3))
BAD = [
    (dict(latent_dims=[]), ValueError, "latent_dims must hold at least one positive integer"),
    (dict(latent_dims=[1, 2, -3]), ValueError, "positive integers, got -3 at position 2"),
    (dict(latent_dims=[1.5]), ValueError, r"positive integers, got 1\.5 at position 0"),
    (dict(latent_dims=[True]), ValueError, "positive integers, got True"),
    (dict(latent_dims=[10**20]), ValueError, "positive integers, got 100000000000000000000"),
    (dict(latent_dims="1:3"), TypeError, "latent_dims must be positive integers, got '1:3'"),
    (dict(n_samples=1), ValueError, "n_samples must be at least 2, got 1"),
    (dict(n_samples=2.0), TypeError, "n_samples must be an integer"),
    (dict(n_supervised=11), ValueError, "n_supervised must be at most n_samples=10, got 11"),
    (dict(n_supervised=0), ValueError, "n_supervised must be positive integers, got 0"),
    (dict(n_trials=0), ValueError, "n_trials must be at least 1"),
    (dict(problems="pseudosupervised"), ValueError, "did you mean 'pseudo_supervised'"),
    (dict(problems=[]), ValueError, "problems must name at least one"),
    (dict(problems=["ridge", "ridge"]), ValueError, "problems must be distinct"),
    (dict(problems="reduced_rank"), ValueError, "rank must be a positive integer, got None"),
    (dict(rank=0), ValueError, "rank must be at least 1"),
    (dict(ridge=-1.0), ValueError, "ridge must be finite and at least 0"),
    (dict(ridge=np.inf), ValueError, "ridge must be finite"),
    (dict(weight=-1), ValueError, "weight must be finite and at least 0"),
    (dict(tol=np.nan), ValueError, "tol must be finite"),
    (dict(max_iter=0), ValueError, "max_iter must be at least 1"),
    (dict(dtype="float16"), ValueError, "dtype must be one of"),
    (dict(dtype="float99"), ValueError, "dtype must be one of 'float64', 'float32', got 'float99'"),
    (dict(dtype=np.int32), ValueError, "dtype must be one of"),
    (dict(n_jobs=0), ValueError, "n_jobs must be None"),
    (dict(n_jobs=1.5), TypeError, "n_jobs must be an integer"),
    (dict(random_state=-1), ValueError, "random_state must be at least 0"),
    (dict(random_state="x"), TypeError, "random_state must be an integer"),
    (dict(data=with_nan()), ValueError, "data must be finite, got nan at row 7, column 2"),
    (dict(data=np.full((20, 3), np.inf)), ValueError, "data must be finite, got inf"),
    (dict(data=np.ones((20, 3))), ValueError, "20 identical rows: the covariance is zero"),
    (dict(data=ROWS[:1]), ValueError, "data must have at least 4 rows"),
    (dict(data=np.empty((0, 3))), ValueError, "data must have at least 4 rows"),
    (dict(data=ROWS[0]), ValueError, "data must be two-dimensional"),
    (dict(data=ROWS.astype(complex)), TypeError, "data must be a numeric array"),
    (dict(data=[["a", "b"]] * 9), TypeError, "data must be a numeric array"),
    (dict(data=ROWS, n_samples=11), ValueError, "n_samples must be at most 10, the training pool"),
    (dict(data=ROWS, population_fraction=1.0), ValueError, "population_fraction must lie between"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD)
def test_bad_input_is_one_clear_line(change, kind, message):
    arguments = {"latent_dims": [1, 2], "n_samples": 10, "n_trials": 2, **change}
    data = arguments.pop("data", None)
    with pytest.raises(kind, match=message) as caught:
        sweep(data, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(dim=0), "dim must be at least 1"),
        (dict(true_dim=-2), "true_dim must be at least 1"),
        (dict(noise_variance=-0.1), "noise_variance must be finite and at least 0"),
    ],
)
def test_bad_models(arguments, message):
    with pytest.raises(ValueError, match=message):
        sweep(SpikedGaussian(**arguments), latent_dims=[1], n_samples=3)


def test_population_that_is_constant_in_a_split():
    rows = np.zeros((40, 2))
    rows[0, 0] = 1.0
    with pytest.raises(ValueError, match="population part of data is constant"):
        sweep(rows, latent_dims=[1], n_samples=4, n_trials=30, random_state=0)


def test_training_samples_may_all_coincide_with_the_mean():
    rows = np.zeros((40, 2))
    rows[:20, 0] = 1.0
    result = sweep(
        rows,
        latent_dims=[1, 2, 3],
        n_samples=2,
        n_trials=20,
        random_state=0,
        problems=("unsupervised", "pseudo_supervised", "ridge", "procrustes", "reduced_rank"),
        rank=1,
    )
    assert np.isfinite(result.to_array()).all()


def test_progress_callable_counts_every_trial():
    seen = []
    sweep(**SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_progress_bar_is_on_standard_error(capsys):
    sweep(**SMALL, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "6/6" in captured.err
    sweep(**SMALL, progress=False)
    assert capsys.readouterr().err == ""


def test_spiked_gaussian():
    model = SpikedGaussian(dim=6, true_dim=2, noise_variance=0.3, random_state=0)
    x = model.sample(200_000, random_state=1)
    np.testing.assert_allclose(np.cov(x.T), model.covariance_, atol=0.05)
    factor = model.covariance_factor_
    np.testing.assert_allclose(factor.T @ factor, model.covariance_, atol=1e-12)
    flat = SpikedGaussian(dim=6, true_dim=2, noise_variance=0.0, random_state=0)
    assert flat.covariance_factor_.shape == (2, 6)
    assert not np.array_equal(model.draw(1).loadings_, model.draw(2).loadings_)
    np.testing.assert_array_equal(model.loadings_, model.loadings_)
