"""NonparametricMixture on generated data: the algorithm, its options, and what it refuses."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from oracles import smoothing as naive
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import check_estimator

from fastgen.mixture import NonparametricMixture, select_components

BLOCKS = [0, 1, 1, 2]


def generated(n=120, seed=0, *, ties=False):
    """Two components in four columns: rows, and the component of each."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    rows = rng.gamma(2.0, size=(n, 4)) + 4.0 * labels[:, None]
    return (np.round(rows, 1) if ties else rows), labels


def start_of(n, n_components=2, seed=1):
    return np.random.default_rng(seed).dirichlet(np.ones(n_components), size=n)


def fit_of(rows, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return NonparametricMixture(**{"n_components": 2, "blocks": BLOCKS, **options}).fit(rows)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("method", ["npmsl", "npem"])
def test_every_iteration_is_the_oracles(method, ties):
    rows, _ = generated(ties=ties)
    start = start_of(120)
    fit = fit_of(rows, method=method, bandwidth=0.5, init=start)
    run = naive.npmsl if method == "npmsl" else naive.npem
    weights, objective, posteriors = run(rows, start.copy(), np.array(BLOCKS), 0.5)
    assert fit.converged_
    assert fit.n_iter_ == len(objective)
    np.testing.assert_allclose(fit.objective_, objective, rtol=1e-12)
    np.testing.assert_allclose(fit.weights_, weights, atol=1e-12)
    np.testing.assert_allclose(fit.posteriors_, posteriors, atol=1e-11)
    np.testing.assert_array_equal(fit.lambda_, fit.weights_)


MUTANTS = ["log of smooth", "interpolated", "block size"]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_have_another_objective(mutant):
    rows, _ = generated()
    start = start_of(120)
    fit = fit_of(rows, bandwidth=0.5, init=start)
    weights, objective, _ = naive.npmsl(rows, start, np.array(BLOCKS), 0.5, mutant=mutant)
    assert abs(objective[-1] - fit.objective_[-1]) > 1
    if mutant == "block size":  # only the objective shows it
        np.testing.assert_allclose(weights, fit.weights_, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_npmsl_with_fixed_bandwidth_never_falls(seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_t(3, size=(80, 3)) + 2 * rng.integers(0, 3, (80, 1))
    h = rng.uniform(0.3, 1.5)
    fit = fit_of(rows, n_components=3, blocks=None, bandwidth=h, random_state=seed)
    assert np.diff(fit.objective_).min() >= -1e-6


def test_npem_may_fall():
    worst = 0.0
    for seed in range(8):
        rows = np.random.default_rng(seed).standard_normal((60, 3))
        fit = fit_of(rows, method="npem", blocks=[0, 0, 0], bandwidth=0.5, init=start_of(60))
        worst = min(worst, np.diff(fit.objective_).min())
    assert worst < -1e-6


def test_one_component_and_one_block():
    rows, _ = generated()
    fit = fit_of(rows, n_components=1, blocks=[7] * 4)
    np.testing.assert_allclose(fit.weights_, [1.0])
    np.testing.assert_array_equal(fit.posteriors_, np.ones((120, 1)))
    assert fit.n_iter_ == 2
    assert fit.densities_.shape == (1, 1, 200)


@pytest.mark.parametrize("bandwidth", [None, 0.5, [0.5, 0.7, 0.4], "adaptive", "S", "cv"])
@pytest.mark.parametrize("method", ["npmsl", "npem"])
def test_components_are_recovered(method, bandwidth):
    rows, labels = generated(300)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the grid is narrow")
        fit = fit_of(rows, method=method, bandwidth=bandwidth, random_state=0)
    assert adjusted_rand_score(labels, fit.labels_) > 0.97
    assert fit.weights_.sum() == pytest.approx(1)
    assert fit.bandwidth_.shape == (2, 3)
    assert fit.grid_.shape == (3, 200)
    assert fit.densities_.shape == (2, 3, 200)
    mass = np.trapezoid(fit.densities_, fit.grid_, axis=-1)
    np.testing.assert_allclose(mass, 1, atol=0.02)
    if isinstance(bandwidth, list):
        np.testing.assert_array_equal(fit.bandwidth_, [bandwidth, bandwidth])
    if isinstance(bandwidth, str):
        assert len(np.unique(fit.bandwidth_)) == 6


def test_rule_is_renewed_from_the_posteriors():
    rows, _ = generated()
    start = start_of(120)
    one = fit_of(rows, bandwidth="S", init=start, max_iter=1, grid_margin=0.5)
    entries, mass = rows[:, [1, 2]].T.ravel(), np.tile(start, (2, 1))
    shares = mass / mass.sum(axis=0)
    for j in range(2):
        expected = naive.silverman(entries, shares[:, j], 2 * start[:, j].sum())
        assert one.bandwidth_[j, 1] == pytest.approx(expected, rel=1e-12)
    two = fit_of(rows, bandwidth="adaptive", init=one.posteriors_, max_iter=1, grid_margin=0.5)
    again = fit_of(rows, bandwidth="S", init=start, max_iter=2, grid_margin=0.5)
    np.testing.assert_allclose(two.bandwidth_, again.bandwidth_, rtol=1e-12)


def test_stochastic_averages():
    rows, labels = generated(200)
    options = {"method": "npem", "stochastic": True, "max_iter": 30, "random_state": 3}
    fit = fit_of(rows, **options)
    assert fit.n_iter_ == 30
    assert not fit.converged_
    assert adjusted_rand_score(labels, fit.labels_) > 0.97
    np.testing.assert_array_equal(fit_of(rows, **options).posteriors_, fit.posteriors_)
    other = fit_of(rows, **{**options, "random_state": 4})
    assert (other.posteriors_ != fit.posteriors_).any()
    assert fit.weights_[1] == pytest.approx(fit.posteriors_[:, 1].mean(), abs=0.01)


# --- starts --------------------------------------------------------------------------------------


def test_centres_are_refined_by_lloyd():
    rows, _ = generated()
    centres = np.array([[1.0] * 4, [7.0] * 4])
    labels = np.zeros(120)
    for _ in range(100):
        labels = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array([rows[labels == j].mean(axis=0) for j in range(2)])
    expected = fit_of(rows, init=np.eye(2)[labels], max_iter=3)
    found = fit_of(rows, init=[[1] * 4, [7] * 4], max_iter=3)
    np.testing.assert_allclose(found.posteriors_, expected.posteriors_, atol=1e-12)


def test_best_start_wins_whatever_the_threads():
    rows, _ = generated()
    many = [
        fit_of(rows, n_components=4, n_init=5, random_state=2, n_jobs=jobs) for jobs in (None, 2)
    ]
    np.testing.assert_array_equal(many[0].posteriors_, many[1].posteriors_)
    seen = [fit_of(rows, n_components=4, random_state=seed).objective_[-1] for seed in range(3)]
    assert many[0].objective_[-1] >= min(seen)
    short = fit_of(rows, n_components=4, n_init=5, small_em_iter=3, random_state=2)
    finals = many[0].objective_[-1], short.objective_[-1]
    assert len(short.objective_) > 3
    assert finals[0] >= finals[1] - 1e-9  # all starts were finished


def test_random_state_takes_every_kind():
    rows, _ = generated()
    for state in (0, np.random.default_rng(0), np.random.RandomState(0), None):
        fit_of(rows, random_state=state, max_iter=2)
    same = [fit_of(rows, n_components=5, random_state=7, max_iter=3).posteriors_ for _ in "ab"]
    np.testing.assert_array_equal(*same)


# --- prediction ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bandwidth", [0.6, "S"])
@pytest.mark.parametrize("method", ["npmsl", "npem"])
def test_prediction_repeats_the_fit_and_rows_do_not_mix(method, bandwidth):
    rows, _ = generated(ties=True)
    fit = fit_of(rows, method=method, bandwidth=bandwidth, random_state=0, grid_margin=0.5)
    np.testing.assert_allclose(fit.predict_proba(rows), fit.posteriors_, atol=1e-12)
    np.testing.assert_array_equal(fit.predict(rows), fit.labels_)
    assert fit.score(rows) * 120 == pytest.approx(fit.objective_[-1], rel=1e-12)
    far = np.vstack([rows[:5], rows[:5] + 3, np.full((1, 4), 1e9), np.full((1, 4), -1e9)])
    together, alone = fit.score_samples(far), [fit.score_samples(row[None])[0] for row in far]
    np.testing.assert_allclose(together, alone, rtol=1e-10)
    np.testing.assert_allclose(fit.predict_proba(far).sum(axis=1), 1)
    assert together[-1] < -1000
    assert together[-2] < -1000


@pytest.mark.parametrize("method", ["npmsl", "npem"])
def test_log_density_falls_smoothly_outside_the_data(method):
    rows, _ = generated()
    fit = fit_of(rows, method=method, bandwidth=0.6, random_state=0, grid_margin=0.5)
    line = np.tile(np.linspace(0, 8, 81)[:, None], (1, 4)) + rows.max()
    value = fit.score_samples(line)
    assert (np.diff(value) < 0).all()
    # one kernel: the second difference of four coordinates is -4 / h^2
    np.testing.assert_allclose(np.diff(value, 2)[40:] / 0.01, -4 / 0.36, rtol=0.05)


def test_npem_scores_are_kernel_estimates():
    rows, _ = generated()
    fit = fit_of(rows, method="npem", bandwidth=0.6, init=start_of(120), max_iter=1)
    new = rows[:7] + 0.31
    z = start_of(120)
    total = np.tile(np.log(z.mean(axis=0)), (7, 1))
    for c in range(4):
        columns = np.flatnonzero(np.array(BLOCKS) == BLOCKS[c])
        mass = np.tile(z, (len(columns), 1))
        total += np.log(naive.densities(rows[:, columns].T.ravel(), mass, new[:, c], 0.6))
    np.testing.assert_allclose(fit.score_samples(new), np.log(np.exp(total).sum(axis=1)))


# --- options -------------------------------------------------------------------------------------


def test_memory_budget_changes_nothing():
    rows, _ = generated()
    kept, computed = (fit_of(rows, init=start_of(120), memory_budget=b) for b in (2**25, 0))
    np.testing.assert_allclose(kept.objective_, computed.objective_, rtol=1e-13)


def test_own_grids_resolve_blocks_of_different_units():
    rows, labels = generated()
    rows = rows * [1, 1, 1, 1e-4]
    with pytest.raises(ValueError, match=r"half the grid step.*shared_grid=False"):
        fit_of(rows, bandwidth=[0.5, 0.5, 0.5e-4])
    options = {"bandwidth": [0.5, 0.5, 0.5e-4], "init": np.eye(2)[labels]}
    fit = fit_of(rows, shared_grid=False, **options)
    plain = fit_of(rows * [1, 1, 1, 1e4], shared_grid=False, init=options["init"], bandwidth=0.5)
    np.testing.assert_allclose(fit.posteriors_, plain.posteriors_, atol=1e-9)
    with pytest.warns(UserWarning, match="raised to half the grid step"):
        fit_of(rows, bandwidth="S", grid_margin=0.5, random_state=0)


def test_progress(capsys):
    rows, _ = generated()
    seen = []
    fit = fit_of(rows, progress=seen.append, init=start_of(120))
    assert seen == list(range(1, fit.n_iter_ + 1))
    fit_of(rows, progress=True, max_iter=3)
    captured = capsys.readouterr()
    assert "iteration" in captured.err
    assert captured.out == ""


def test_plot():
    rows, _ = generated()
    fit = fit_of(rows, max_iter=5)
    figure = fit.plot()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title().split(":")[0] for axes in panels] == ["block 0", "block 1", "block 2"]
    x, y = panels[1].lines[1].get_data()
    np.testing.assert_array_equal(x, fit.grid_[1])
    np.testing.assert_allclose(y, fit.weights_[1] * fit.densities_[1, 1])


def test_scikit_learn_conventions():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed = [
            result["check_name"]
            for result in check_estimator(NonparametricMixture(max_iter=20), on_fail=None)
            if result["status"] == "failed"
        ]
    assert failed == []
    estimator = NonparametricMixture(3, blocks=[0, 0, 1], bandwidth="S")
    assert clone(estimator).get_params() == estimator.get_params()
    with pytest.raises(NotFittedError):
        estimator.predict(np.zeros((2, 3)))


# --- bad input -----------------------------------------------------------------------------------

ROWS = generated(30)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components must be at least 1"),
        ({"n_components": 31}, "at least n_components=31 rows, got 30; lower"),
        ({"method": "em"}, "method must be one of 'npmsl', 'npem'"),
        ({"blocks": [1, 2]}, r"one label for each of the 4 columns of X, got shape \(2,\)"),
        ({"blocks": [0.1, 0.2, 0.3, 0.4]}, "blocks must hold one label"),
        ({"bandwidth": 0.0}, "bandwidth must be finite and positive"),
        ({"bandwidth": [1.0, np.nan, 1.0]}, "bandwidth must be finite and positive"),
        ({"bandwidth": [1.0, 2.0]}, "each of the 3 blocks"),
        ({"bandwidth": "silverman"}, "bandwidth must be one of"),
        ({"bandwidth": 1e-3}, r"at least half the grid step.*n_grid=\d+"),
        ({"init": "random"}, "init must be one of 'k-means"),
        ({"init": np.ones((3, 3))}, r"centers of shape \(2, 4\) or posteriors of shape \(30, 2\)"),
        ({"init": np.ones((30, 2))}, "sum to 1 in each row, got a sum of 2"),
        ({"init": np.tile([1.5, -0.5], (30, 1))}, "least entry of -0.5"),
        ({"init": np.full((2, 4), np.nan)}, "init must be finite"),
        ({"init": ROWS[:2], "n_init": 2}, "n_init must be 1 unless"),
        ({"n_init": 0}, "n_init must be at least 1"),
        ({"small_em_iter": 0}, "small_em_iter must be at least 1"),
        ({"max_iter": 0}, "max_iter must be at least 1"),
        ({"tol": -1.0}, "tol must be finite and at least 0"),
        ({"n_grid": 5}, "n_grid must be at least 10"),
        ({"grid_margin": -0.1}, "grid_margin must be"),
        ({"memory_budget": -1}, "memory_budget must be at least 0"),
        ({"device": "gpu"}, "device must be one of 'cpu', 'cuda'"),
        ({"stochastic": True}, 'stochastic=True belongs to method="npem"'),
        ({"random_state": -1}, "random_state must be at least 0"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        fit_of(ROWS, **options)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            np.where(np.arange(120).reshape(30, 4) == 9, np.nan, ROWS),
            "NaN at row 2, column 1; drop",
        ),
        (np.where(np.arange(120).reshape(30, 4) == 4, np.inf, ROWS), "inf at row 1, column 0"),
        (np.ones((30, 4)), "entries that differ, got 1 everywhere"),
        (np.tile([[0.0, 1, 2, 3]], (30, 1)), "2 distinct rows, got 1; lower"),
        (ROWS[:1], "minimum of 2 is required"),
        (ROWS[:0], "minimum of 2 is required"),
        (ROWS[0], "Expected 2D array"),
    ],
)
def test_data_that_cannot_be_fitted(rows, message):
    with pytest.raises(ValueError, match=message):
        fit_of(rows)


@pytest.mark.parametrize("bandwidth", [0.5, "S", "cv"])
@pytest.mark.parametrize("method", ["npmsl", "npem"])
def test_duplicate_rows_and_constant_columns(method, bandwidth):
    rows, labels = generated()
    rows = np.repeat(rows, 2, axis=0)
    rows[:, 3] = 5.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"bandwidths were raised|the grid is narrow")
        fit = fit_of(rows, method=method, bandwidth=bandwidth, random_state=0)
    assert np.isfinite(fit.objective_).all()
    assert np.isfinite(fit.densities_).all()
    assert adjusted_rand_score(np.repeat(labels, 2), fit.labels_) > 0.9


@pytest.mark.parametrize("method", ["npmsl", "npem"])
@pytest.mark.parametrize("bandwidth", [0.5, "S"])
def test_a_component_that_empties_is_reported(method, bandwidth):
    rows, _ = generated()
    start = np.zeros((120, 3))
    start[:, :2] = start_of(120)
    options = {"method": method, "bandwidth": bandwidth, "grid_margin": 0.5}
    with pytest.warns(UserWarning, match=r"components \[2\] lost all their rows; lower"):
        fit = fit_of(rows, n_components=3, init=start, **options)
    assert fit.weights_[2] == 0
    assert np.isfinite(fit.objective_).all()
    pair = fit_of(rows, init=start[:, :2], **options)
    np.testing.assert_allclose(fit.posteriors_[:, :2], pair.posteriors_, atol=1e-9)
    assert np.isfinite(fit.score(rows + 0.1))


def test_not_converged_is_said():
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 iterations.*raise max_iter or tol"):
        NonparametricMixture(2, max_iter=2, random_state=0).fit(ROWS)


def test_narrow_grid_is_reported_for_bandwidths_that_change():
    rows, _ = generated(20)
    with pytest.warns(UserWarning, match=r"grid is narrow.*raise grid_margin to"):
        fit_of(rows, bandwidth="S", grid_margin=0.01, init=start_of(20), max_iter=3)


# --- number of components ------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["heldout", "bic"])
def test_number_of_components_is_found(criterion):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((240, 4)) + 7 * rng.integers(0, 3, (240, 1))
    found = select_components(
        rows, [4, 1, 3, 2], criterion=criterion, random_state=0, blocks=BLOCKS, max_iter=100
    )
    assert found.attrs["best"] == 3
    assert found.n_components.values.tolist() == [1, 2, 3, 4]
    assert found.score.dims == (
        ("n_components", "fold") if criterion == "heldout" else ("n_components",)
    )
    if criterion == "bic":
        sizes = found.n_parameters.values
        assert (sizes > 4).all()
        fit = fit_of(rows, n_components=1, blocks=BLOCKS)
        expected = 2 * fit.objective_[-1] - np.log(240) * sizes[0]
        assert found.score.sel(n_components=1) == pytest.approx(expected)


def test_effective_parameters_of_separate_points():
    """Points far apart are one parameter each, less one for each density."""
    rows = np.arange(12.0).reshape(6, 2) * 100
    found = select_components(rows, 1, criterion="aic", bandwidth=4.0)
    assert found.n_parameters.values == pytest.approx([12 - 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": [0]}, "candidates must be positive"),
        ({"criterion": "icl"}, "criterion must be one of"),
        ({"n_splits": 31}, "n_splits must be at most the 30 rows"),
        ({"n_splits": 1}, "n_splits must be at least 2"),
    ],
)
def test_selection_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        select_components(ROWS, **{"candidates": [1, 2], **arguments})


# Scales ----------------------------------------------------------------------------------------


def scaled(scale, column=slice(None)):
    rows = np.random.default_rng(0).standard_normal((60, 4))
    rows[:30] += 4
    rows[:, column] *= scale
    return rows


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("options", [{}, {"bandwidth": "adaptive"}, {"method": "npem"}], ids=str)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("scale", [1e-162, 1e155, 5e-324, 1e-300, 1e307, 1e-130, 1e130, 1e-8, 0])
@pytest.mark.parametrize("column", [slice(None), 1], ids=["all", "one column"])
def test_any_scale_gives_finite_numbers_or_a_refusal_that_names_it(column, scale, shared, options):
    X = scaled(scale, column)
    model = NonparametricMixture(2, random_state=0, max_iter=5, shared_grid=shared, **options)
    with np.errstate(all="ignore"):
        try:
            model.fit(X)
        except ValueError as error:
            told = str(error)
            assert "spread" in told or "entries that differ" in told or "grid step" in told
            return
    for name in ("weights_", "posteriors_", "objective_", "bandwidth_", "grid_", "densities_"):
        assert np.isfinite(getattr(model, name)).all(), name
    assert np.isfinite(model.score_samples(X)).all()
    assert (model.bandwidth_ > 0).all()


@pytest.mark.parametrize(
    ("scale", "message"),
    [(1e155, "divide it by a constant"), (1e-162, "multiply it by a constant")],
)
def test_refusals_name_the_scale(scale, message):
    with pytest.raises(ValueError, match=r"X must have entries that spread over .* got .*e.1\d\d"):
        NonparametricMixture(2).fit(scaled(scale))
    with pytest.raises(ValueError, match=message):
        NonparametricMixture(2).fit(scaled(scale))


def test_to_dict_is_plain_and_plots_name_columns():
    pandas = pytest.importorskip("pandas")
    rows = scaled(1)
    fit = NonparametricMixture(2, random_state=0).fit(
        pandas.DataFrame(rows, columns=["a", "b", "c", "d"])
    )
    found = fit.to_dict()
    assert found == json.loads(json.dumps(found, allow_nan=False))
    assert found["n_rows"] == sum(found["sizes"]) == 60
    assert found["weights"] == fit.weights_.tolist()
    assert (found["n_iter"], found["converged"]) == (fit.n_iter_, fit.converged_)
    figure = fit.plot(title="four")
    assert figure.axes[1].get_title() == "block 1: column b"
