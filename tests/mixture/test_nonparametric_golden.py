"""Published and measured values: the water-level data, simulated examples, mixtools."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from oracles import smoothing as naive
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from fastgen.mixture._nonparametric import given
from fastgen.mixture.nonparametric import NonparametricMixture

WATER = Path(__file__).resolve().parents[3] / "shared" / "data" / "waterdata.csv"
BLOCKS = np.array([4, 3, 2, 1, 3, 4, 1, 2])  # pairs of opposite hours
CENTRES = [
    (13.5, -10, 1.6, -25.6, 22.55, 36.3, -33.2, 69.9),
    (15.65, 51.68, -26.59, -33.46, 45.65, 32.08, -26.14, -48.97),
    (-0.88, 3.89, -6.82, -2.36, 5.47, -0.16, 0.74, -9.64),
]


@pytest.fixture(scope="module")
def water():
    if not WATER.is_file():
        pytest.skip("the shared data are not here")
    return np.loadtxt(WATER, delimiter=",", skiprows=1)[:, 2:]


def fit_of(rows, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="the grid is narrow|bandwidths were raised")
        return NonparametricMixture(**{"n_components": 3, "init": CENTRES, **options}).fit(rows)


GOLDEN = [
    (
        {"blocks": BLOCKS, "bandwidth": 4},
        (58, (0.47078492, 0.06411437, 0.46510072), 1e-8, -12902.136392, -12539.026569),
    ),
    ({"bandwidth": 4}, (91, (0.457040, 0.074429, 0.468530), 1e-6, -12871.8802, -12478.500684)),
    (
        {"blocks": BLOCKS, "bandwidth": 2},
        (70, (0.47289, 0.06913, 0.45797), 6e-6, -12518.6869, -12030.7087),
    ),
    (
        {"blocks": BLOCKS, "bandwidth": 8},
        (131, (0.42073, 0.06644, 0.51283), 6e-6, -13600.7821, -13441.3696),
    ),
    (
        {"blocks": BLOCKS, "bandwidth": 4, "n_grid": 100},
        (58, (0.470785, 0.064114, 0.465101), 1e-6, None, -12539.026711),
    ),
    (
        {"blocks": BLOCKS, "bandwidth": 4, "n_grid": 400},
        (58, (0.470785, 0.064114, 0.465101), 1e-6, None, -12539.026473),
    ),
    (
        {"blocks": BLOCKS, "bandwidth": 4, "n_grid": 800},
        (58, (0.470785, 0.064114, 0.465101), 1e-6, None, -12539.026415),
    ),
]


@pytest.mark.parametrize(("options", "golden"), GOLDEN)
def test_water_npmsl(water, options, golden):
    n_iter, weights, digits, first, last = golden
    fit = fit_of(water, **options)
    assert fit.n_iter_ == n_iter
    assert fit.converged_
    np.testing.assert_allclose(fit.weights_, weights, atol=digits)
    assert fit.objective_[-1] == pytest.approx(last, abs=2e-6 if n_iter == 58 else 1e-3)
    if first is not None:
        assert fit.objective_[0] == pytest.approx(first, abs=1e-3)
    assert np.diff(fit.objective_).min() >= -1e-6


def test_water_start(water):
    start = given(CENTRES, water, 3)
    np.testing.assert_array_equal(start.sum(axis=0), [20, 37, 348])
    means = start.T @ water / start.sum(axis=0)[:, None]
    assert ((water - start @ means) ** 2).sum() == pytest.approx(1011669.81, abs=0.01)


def test_water_components(water):
    fit = fit_of(water, blocks=BLOCKS, bandwidth=4)
    np.testing.assert_array_equal(np.bincount(fit.labels_), [189, 26, 190])
    shares = fit.posteriors_ / fit.posteriors_.sum(axis=0)
    expected = {
        1: [(-3.80, 23.7), (-34.22, 13.6), (-1.92, 4.2)],
        2: [(-10.86, 27.8), (-37.81, 52.3), (-2.63, 4.2)],
        3: [(11.13, 27.4), (49.07, 36.7), (0.84, 4.9)],
        4: [(2.03, 22.3), (28.14, 17.6), (0.44, 4.9)],
    }
    for block, values in expected.items():
        columns = water[:, block == BLOCKS]
        for j, (mean, deviation) in enumerate(values):
            found = shares[:, j] @ columns.mean(axis=1)
            square = shares[:, j] @ ((columns - found) ** 2).mean(axis=1)
            assert found == pytest.approx(mean, abs=0.006)
            assert np.sqrt(square) == pytest.approx(deviation, abs=0.06)


def test_water_npem(water):
    fit = fit_of(water, blocks=BLOCKS, bandwidth=4, method="npem")
    assert fit.n_iter_ == 91
    np.testing.assert_allclose(fit.weights_, (0.430773, 0.077024, 0.492203), atol=1e-6)
    assert fit.objective_[0] == pytest.approx(-12472.889136, abs=1e-5)
    assert fit.objective_[-1] == pytest.approx(-12009.445422, abs=1e-5)
    assert np.diff(fit.objective_).min() == pytest.approx(-0.02657, abs=1e-5)


def test_water_adaptive_bandwidths(water):
    one = fit_of(water, blocks=BLOCKS, bandwidth="S", max_iter=1)
    first = [
        (14.384476, 7.878804, 1.451128),
        (22.309384, 12.779206, 2.539475),
        (8.029079, 9.018874, 2.720866),
        (14.938404, 8.216396, 1.451128),
    ]
    np.testing.assert_allclose(one.bandwidth_.T, first, atol=1e-5)
    fit = fit_of(water, blocks=BLOCKS, bandwidth="S")
    last = [
        (12.36309, 1.62559, 1.27730),
        (19.19059, 2.27582, 2.55459),
        (13.99693, 2.27582, 2.73706),
        (12.17205, 0.97535, 1.45977),
    ]
    np.testing.assert_allclose(fit.bandwidth_.T, last, atol=1e-4)
    assert fit.n_iter_ == 500
    assert not fit.converged_
    np.testing.assert_allclose(fit.weights_, (0.11941421, 0.04645205, 0.83413375), atol=1e-7)
    assert fit.objective_[0] == pytest.approx(-12643.968784, abs=1e-5)
    assert fit.objective_[-1] == pytest.approx(-12484.959722, abs=1e-4)
    assert np.diff(fit.objective_).min() == pytest.approx(-18.1, abs=0.05)


def test_water_narrow_grid_is_said(water):
    with pytest.warns(UserWarning, match="the grid is narrow"):
        NonparametricMixture(
            3, blocks=BLOCKS, bandwidth="S", init=CENTRES, max_iter=500, tol=1e-3
        ).fit(water)
    wide = fit_of(water, blocks=BLOCKS, bandwidth=15.0)
    assert wide.grid_.min() == pytest.approx(water.min() - 60)


MUTANTS = [
    ("log of smooth", 39, (0.41393, 0.06697, 0.51910), -12258.687, None),
    ("interpolated", 90, (0.43044, 0.07701, 0.49255), -12014.33, -0.021),
    ("block size", 58, (0.470785, 0.064114, 0.465101), -10293.229, None),
]


@pytest.mark.parametrize(("mutant", "n_iter", "weights", "last", "worst"), MUTANTS)
def test_water_mutants_are_told_apart(water, mutant, n_iter, weights, last, worst):
    """The values of wrong algorithms, none of which passes for ours."""
    found, objective, _ = naive.npmsl(water, given(CENTRES, water, 3), BLOCKS, 4.0, mutant=mutant)
    assert len(objective) == n_iter
    np.testing.assert_allclose(found, weights, atol=6e-6)
    assert objective[-1] == pytest.approx(last, abs=6e-3)
    if worst is not None:
        assert np.diff(objective).min() == pytest.approx(worst, abs=1e-3)
    assert abs(objective[-1] - -12539.026569) > 100


# --- simulated examples --------------------------------------------------------------------------

NORMAL_MISE = [
    (0.07724759, 0.07699926, 0.07745280),
    (0.06476345, 0.06154020, 0.06604921),
]
MEANS = np.array([(0.0, 0, 0), (3, 4, 5)])


def replicates(count, draw):
    """Rows and labels of samples of 300, four tenths from the first component."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        labels = (rng.random(300) >= 0.4).astype(int)
        yield draw(rng, labels), labels


def gaussian(rng, labels):
    return MEANS[labels] + rng.standard_normal((300, 3))


def root_mise(count, **options):
    """Root mean integrated squared errors (component, coordinate) and the mean first weight."""
    errors, weights = np.zeros((2, 3)), 0.0
    for rows, _ in replicates(count, gaussian):
        fit = fit_of(rows, n_components=2, init=[(0, 0, 0), (4, 4, 4)], **options)
        truth = stats.norm.pdf(fit.grid_, MEANS[:, :, None])
        errors += np.trapezoid((fit.densities_ - truth) ** 2, fit.grid_, axis=-1)
        weights += fit.weights_[0]
    return np.sqrt(errors / count), weights / count


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"method": "npem", "bandwidth": "S"}, {"bandwidth": "S"}, {"bandwidth": None}],
    ids=["npem", "npmsl", "npmsl fixed"],
)
def test_trivariate_gaussian(options):
    errors, weight = root_mise(100, **options)
    np.testing.assert_allclose(errors, NORMAL_MISE, atol=0.008)
    assert weight == pytest.approx(0.3988, abs=0.01)


def t_beta(rng, labels):
    heavy = rng.standard_normal((300, 3)) / np.sqrt(rng.chisquare(2, (300, 3)) / 2)
    shifted = (8 + rng.standard_normal((300, 3))) / np.sqrt(rng.chisquare(10, (300, 3)) / 10)
    first = labels[:, None] == 0
    return np.hstack(
        [
            np.where(first, heavy, shifted),
            np.where(first, rng.beta(1, 1, (300, 2)), rng.beta(1, 5, (300, 2))),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("method", "error"), [("npem", 0.0040), ("npmsl", 0.0033)])
def test_t_and_beta(method, error):
    weights, wrong = [], []
    for rows, labels in replicates(100, t_beta):
        fit = fit_of(
            rows,
            n_components=2,
            method=method,
            blocks=(1, 1, 1, 2, 2),
            bandwidth="S",
            shared_grid=False,
            grid_margin=0.3,
            n_grid=1000,  # of a t distribution with two degrees of freedom some entries are far out
            init=[(0, 0, 0, 0.5, 0.5), (4, 4, 4, 0.5, 0.5)],
        )
        weights.append(fit.weights_[0])
        wrong.append((fit.labels_ != labels).mean())
    assert np.mean(weights) == pytest.approx(0.395, abs=0.02)
    assert np.mean(wrong) == pytest.approx(error, abs=0.004)


@pytest.mark.slow
@pytest.mark.parametrize(("distance", "error"), [(1.0, 0.249), (1.5, 0.104), (2.0, 0.0425)])
def test_overlap(distance, error):
    """Both methods err alike on three shifted coordinates."""
    for method in ("npmsl", "npem"):
        wrong = []
        for rows, labels in replicates(
            20, lambda rng, z: rng.standard_normal((300, 3)) + distance * z[:, None]
        ):
            init = [[0.0] * 3, [distance] * 3]
            fit = fit_of(rows, n_components=2, method=method, init=init)
            wrong.append((fit.labels_ != labels).mean())
        assert np.mean(wrong) == pytest.approx(error, abs=0.035)


# --- mixtools ------------------------------------------------------------------------------------

SCRIPT = """
suppressMessages(library(mixtools))
for (folder in commandArgs(TRUE)) {
  x <- as.matrix(read.csv(file.path(folder, "rows"), header = FALSE))
  z <- as.matrix(read.csv(file.path(folder, "start"), header = FALSE))
  fit <- npMSL(x, mu0 = 3, post = z, blockid = c(1, 1, 2, 2, 3), maxiter = 15, verb = FALSE)
  write.table(fit$posteriors, file.path(folder, "end"), sep = ",", row.names = FALSE,
              col.names = FALSE)
}
"""


@pytest.fixture(scope="module")
def rscript():
    found = shutil.which("Rscript")
    if found is None:
        pytest.skip("R is not installed")
    asked = subprocess.run(
        [found, "-e", "quit(status = !requireNamespace('mixtools', quietly = TRUE))"],
        capture_output=True,
        timeout=120,
    )
    if asked.returncode:
        pytest.skip("R's package mixtools is not installed")
    return found


def test_posteriors_are_those_of_mixtools(rscript, tmp_path):
    drawn = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((150, 5)) + 1.5 * rng.integers(0, 3, (150, 1))
        start = rng.dirichlet(np.ones(3), size=150)
        folder = tmp_path / str(seed)
        folder.mkdir()
        for name, array in (("rows", rows), ("start", start)):
            np.savetxt(folder / name, array, delimiter=",", fmt="%.17g")
        drawn.append((folder, rows, start))
    script = tmp_path / "fit.R"
    script.write_text(SCRIPT)
    command = [rscript, script, *(folder for folder, _, _ in drawn)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    for folder, rows, start in drawn:
        fit = fit_of(rows, init=start, blocks=[1, 1, 2, 2, 3], max_iter=15)
        expected = np.loadtxt(folder / "end", delimiter=",")
        np.testing.assert_allclose(fit.posteriors_, expected, atol=1e-8)
