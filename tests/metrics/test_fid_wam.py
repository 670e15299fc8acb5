"""FID and WaM: oracles, theorems that hold for any data, floors, choices."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from oracles import wam as naive
from samples import modes, normal
from scipy.special import ndtr, ndtri
from scipy.stats import laplace

from fastgen.metrics import _fits
from fastgen.metrics.fid_wam import WaMResult, fid, wam
from fastgen.metrics.statistics import FeatureStatistics

OPTIONS = _fits.Options("full", 1e-6, 1e-3, 100, 1)
KINDS = ("full", "tied", "diag", "spherical")


def paper(X, Y, k, **options):
    return wam(X, Y, n_components=k, setting="paper", random_state=0, **options)


# --- FID -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "d"), [(400, 300, 8), (900, 500, 64), (33, 31, 3)])
def test_fid_is_the_formula_of_fid_tools(tmp_path, n, m, d):
    X, Y = normal(n, d), 1.3 * normal(m, d, seed=1, shift=0.2)
    moments = [(A.mean(0), np.cov(A, rowvar=False)) for A in (X, Y)]
    expected = naive.pytorch_fid(*moments[0], *moments[1])
    assert fid(X, Y) == pytest.approx(expected, rel=1e-8)
    for name, (mu, sigma) in zip("xy", moments, strict=True):
        np.savez(tmp_path / f"{name}.npz", mu=mu, sigma=sigma)
    files = [FeatureStatistics.load(tmp_path / f"{name}.npz") for name in "xy"]
    assert fid(*files) == pytest.approx(expected, rel=1e-8)
    assert fid(X, files[1]) == pytest.approx(expected, rel=1e-8)


@pytest.mark.filterwarnings("ignore:. has n=")
def test_fid_of_fewer_samples_than_features_is_not_squared():
    u, v = np.random.default_rng(0).standard_normal((2, 40))
    X, Y = np.stack((-u, u)), np.stack((-v, v))
    exact = 2 * (u @ u + v @ v - 2 * abs(u @ v))  # covariances 2 u u^T and 2 v v^T
    assert fid(X, Y) == pytest.approx(exact, rel=1e-13)
    X, Y = normal(20, 50), normal(31, 50, seed=1)
    factors = [(A - A.mean(0)) / np.sqrt(len(A) - 1) for A in (X, Y)]
    nuclear = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    gap = X.mean(0) - Y.mean(0)
    expected = gap @ gap + sum((f**2).sum() for f in factors) - 2 * nuclear
    assert fid(X, Y) == pytest.approx(expected, rel=1e-12)
    assert fid(FeatureStatistics().update(X), Y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.filterwarnings("ignore:. has n=")
@pytest.mark.parametrize("n", [2, 20, 200])
def test_fid_of_equal_sets_is_zero(n):
    X = normal(n, 30)
    assert fid(X, X) == 0
    assert fid(X, X.copy()) == 0
    assert fid(X, X[::-1]) == pytest.approx(0, abs=1e-12)
    statistics = FeatureStatistics().update(X)
    assert fid(statistics, statistics) == 0


def test_fid_symmetry_scaling_and_motions():
    X, Y = normal(80, 6), 2 * normal(70, 6, seed=1)
    value = fid(X, Y)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))[0]
    assert fid(Y, X) == pytest.approx(value, rel=1e-12)
    assert fid(X @ turn + 3, Y @ turn + 3) == pytest.approx(value, rel=1e-10)
    centered = fid(X - X.mean(0), Y - Y.mean(0))
    assert value == pytest.approx(centered + ((X.mean(0) - Y.mean(0)) ** 2).sum(), rel=1e-12)
    for scale in (1e-150, 1e-9, 1e9, 1e150):
        assert fid(scale * X, scale * Y) / scale / scale == pytest.approx(value, rel=1e-10)
    for library in (torch.from_numpy, torch.tensor, np.ndarray.tolist):
        assert fid(library(X), library(Y)) == value
    with pytest.raises(ValueError, match="squares that float64 can hold"):
        fid(1e200 * X, Y)


def zero_fid_laws(n=20_000):
    """Quantiles of the five laws of mean 0 and variance 100, brought to exactly these moments."""
    p = (np.arange(n) + 0.5) / n
    grid = np.linspace(-80, 80, 400_001)

    def mixture(weights, means, variances):
        parts = zip(weights, means, variances, strict=True)
        return np.interp(p, sum(w * ndtr((grid - m) / v**0.5) for w, m, v in parts), grid)

    laws = {
        "normal": 10 * ndtri(p),
        "b": mixture([0.2, 0.8], [-8 * 5**0.5, 2 * 5**0.5], [40, 15]),
        "uniform": 10 * 3**0.5 * (2 * p - 1),
        "d": mixture([0.5, 0.5], [-4 * 5**0.5, 4 * 5**0.5], [20, 20]),
        "laplace": laplace(scale=5 * 2**0.5).ppf(p),
    }
    return {name: (10 * (q - q.mean()) / q.std())[:, None] for name, q in laws.items()}


def test_fid_does_not_see_what_wam_sees():
    laws = zero_fid_laws()
    for X in laws.values():
        assert fid(laws["normal"], X) == pytest.approx(0, abs=1e-10)
    found = paper(laws["b"], laws["d"], 2, tol=1e-9, max_iter=2000)
    assert found.fid == pytest.approx(0, abs=1e-10)
    # 80.9735 for the laws; standardised quantiles are not quite samples of them
    assert found.wam2 == pytest.approx(80.9734785799, rel=5e-3)
    order = np.argsort(found.gmm_x.means_[:, 0])[:, None], np.argsort(found.gmm_y.means_[:, 0])
    np.testing.assert_allclose(found.plan[order], [[0.2, 0], [0.3, 0.5]], atol=2e-3)


# --- WaM: what holds for any data ----------------------------------------------------------------


@pytest.mark.parametrize("setting", [None, "paper"])
@pytest.mark.parametrize("reg_covar", [1e-6, 0.05])
def test_one_component_is_the_fid_of_mixture_moments(setting, reg_covar):
    X, Y = normal(300, 5), 1.5 * normal(200, 5, seed=1, shift=1.0)
    found = wam(X, Y, n_components=1, setting=setting, reg_covar=reg_covar, random_state=0)
    args = []
    for A in (X, Y):
        args += [A.mean(0), np.cov(A.T, bias=True) + reg_covar * np.eye(5)]
    expected = naive.pytorch_fid(*args)
    assert found.wam2 == pytest.approx(expected, rel=1e-9)
    assert found.moment_distance == pytest.approx(expected, rel=1e-9)
    assert found.fid == fid(X, Y)
    assert found.plan == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:. has n=")
@pytest.mark.filterwarnings("ignore:a component has", "ignore:the covariances of components")
@pytest.mark.parametrize("n", [15, 20, 21])
def test_one_component_with_fewer_samples_than_features(n):
    X, Y = normal(n, 20), 1.5 * normal(n + 1, 20, seed=1)
    for reg_covar in (1e-6, 1e-2):
        found = paper(X, Y, 1, reg_covar=reg_covar)
        assert found.moment_distance == pytest.approx(found.wam2, rel=1e-9)
        assert found.fid == fid(X, Y)


@pytest.mark.filterwarnings("ignore:a component has")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [True, False])
def test_moments_of_the_mixtures_and_the_order_of_the_distances(kind, shared):
    for seed in range(4):
        X, Y = modes(300, seed=seed), modes(240, seed=seed + 50, width=2.0, apart=9.0)
        found = wam(
            *(X, Y),
            n_components=4,
            covariance_type=kind,
            shared_fit=shared,
            debias=False,
            reg_covar=1e-3,
            random_state=seed,
        )
        for A, gmm in ((X, found.gmm_x), (Y, found.gmm_y)):
            np.testing.assert_allclose(gmm.weights_ @ gmm.means_, A.mean(0), rtol=1e-9, atol=1e-9)
            if kind == "full":
                moments = naive.mixture_moments(gmm.weights_, gmm.means_, gmm.covariances_)
                expected = np.cov(A.T, bias=True) + 1e-3 * np.eye(3)
                np.testing.assert_allclose(moments[1], expected, rtol=1e-9, atol=1e-9)
        if kind in ("full", "tied"):
            assert found.moment_distance <= found.wam2 * (1 + 1e-12)
        assert found.fid == fid(X, Y)
        assert found.wam2 > 0


def test_fid_bound_is_not_vacuous():
    X = modes(300)
    Y = normal(300, 3) @ np.linalg.cholesky(np.cov(X.T)).T + X.mean(0)
    found = paper(X, Y, 3)
    assert found.fid < 0.3 * found.wam2


def test_shared_fit_is_one_step_from_common_parameters():
    X, Y = modes(300), modes(150, seed=1, width=1.7)
    pair = _fits.fit_pair(X, Y, 3, OPTIONS, shared=True, rng=np.random.default_rng(0))
    common = pair.labels_x
    assert common is pair.labels_y
    for A, gmm in ((X, pair.gmm_x), (Y, pair.gmm_y)):
        expected = naive.one_step(A, common.weights_, common.means_, common.covariances_, 1e-6)
        for found, right in zip(
            (gmm.weights_, gmm.means_, gmm.covariances_), expected, strict=True
        ):
            np.testing.assert_allclose(found, right, rtol=1e-8, atol=1e-9)


def test_plan_costs_and_contributions():
    X, Y = modes(300), modes(300, seed=1, width=2.0)
    found = wam(X, Y, n_components=3, random_state=0)
    assert found.wam2 == pytest.approx((found.plan * found.mw2.costs).sum(), rel=1e-12)
    assert found.contributions.sum() == pytest.approx(found.wam2, rel=1e-12)
    np.testing.assert_allclose(found.plan.sum(1), found.gmm_x.weights_, atol=1e-12)
    np.testing.assert_allclose(found.plan.sum(0), found.gmm_y.weights_, atol=1e-12)
    parts = found.component_contributions
    assert parts.sum() == pytest.approx(found.wam2, rel=1e-12)
    # widths 1 against 2 in three dimensions: covariances contribute 3, means 3 (1 + 4) / 100
    assert parts[:, 1].sum() == pytest.approx(3, rel=0.15)
    assert 0.05 < parts[:, 0].sum() < 0.4
    np.testing.assert_allclose(found.samples_x, 100, atol=1)
    np.testing.assert_allclose(found.samples_per_dimension, 100 / 3, rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_sets(kind):
    X = modes(300)
    found = wam(X, X.copy(), n_components=3, covariance_type=kind, random_state=0)
    assert found.wam2 == 0
    assert found.fid == 0
    assert found.debiased == -found.floor < 0  # not clamped


def test_disjoint_sets_and_a_missing_mode():
    X, Y = normal(200, 3), normal(200, 3, seed=1, shift=1000.0)
    found = wam(X, Y, n_components=2, random_state=0)  # one component has no mass in each set
    assert found.wam2 == pytest.approx(fid(X, Y), rel=1e-6)
    assert sorted(found.gmm_x.weights_) == [0, 1]
    X, Y = modes(300), modes(300, seed=1)[:200]
    found = wam(X, Y, n_components=3, random_state=0)
    lost = np.argmin(found.gmm_y.weights_)
    assert found.component_contributions.sum(axis=1).argmax() == lost
    assert found.debiased == pytest.approx(2 * 12**2 / 3, rel=0.1)  # a third moves 12 sqrt(2)


def test_scaling_and_motions_of_wam():
    X, Y = modes(300), modes(240, seed=1, width=2.0)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]

    def value(A, B, **options):
        return wam(A, B, n_components=3, random_state=0, tol=1e-8, **options)

    first = value(X, Y, reg_covar=0)
    moved = value(X @ turn + 5, Y @ turn + 5, reg_covar=0)
    scaled = value(1e3 * X, 1e3 * Y, reg_covar=0)
    for name in ("wam2", "fid"):
        assert getattr(moved, name) == pytest.approx(getattr(first, name), rel=1e-5)
        assert getattr(scaled, name) == pytest.approx(1e6 * getattr(first, name), rel=1e-5)
    swapped = value(Y, X, reg_covar=0)
    assert swapped.wam2 == pytest.approx(first.wam2, rel=1e-2)  # rows arrive in another order


def test_the_papers_setting_has_a_name():
    X, Y = modes(300), modes(300, seed=1, width=2.0)
    named = paper(X, Y, 3)
    spelled = wam(X, Y, n_components=3, shared_fit=False, debias=False, random_state=0)
    assert named.wam2 == spelled.wam2
    assert named.floor is named.debiased is named.fid_debiased is named.interval is None
    assert named.settings["shared_fit"] is False
    for contradiction in ({"shared_fit": True}, {"debias": True}):
        with pytest.raises(ValueError, match='"paper" means separate fits and no floor'):
            paper(X, Y, 3, **contradiction)
    with pytest.raises(ValueError, match="setting must be one of 'paper'"):
        wam(X, Y, setting="article")


def test_separate_fits_see_different_optima_and_shared_ones_do_not():
    X, Y = normal(1500, 8), normal(1500, 8, seed=1)
    shared = wam(X, Y, n_components=5, random_state=0)
    separate = wam(X, Y, n_components=5, shared_fit=False, random_state=0)
    assert separate.wam2 > 1.5 * shared.wam2
    assert separate.floor > 1.5 * shared.floor
    assert separate.fid == shared.fid


def test_repeatable_and_every_argument_has_its_own_stream():
    X, Y = modes(300), modes(300, seed=1, width=2.0)
    first = wam(X, Y, n_components=3, random_state=0, n_bootstrap=10)
    again = wam(X, Y, n_components=3, random_state=0, n_bootstrap=10)
    assert first.to_dict() == again.to_dict()
    tensors = wam(torch.from_numpy(X), torch.from_numpy(Y), n_components=3, random_state=0)
    assert tensors.wam2 == first.wam2
    alone = wam(X, Y, n_components=3, random_state=0, debias=False)
    assert alone.wam2 == first.wam2
    undebiased = wam(X, Y, n_components=3, random_state=0, debias=False, n_bootstrap=10)
    assert undebiased.interval == first.interval
    other = wam(X, Y, n_components=3, random_state=np.random.default_rng(5))
    assert other.floor != first.floor


# --- the number of components --------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["heldout", "aic", "bic"])
def test_criteria_find_the_modes(criterion):
    X, Y = modes(600), modes(600, seed=1)
    found = wam(X, Y, n_components=criterion, candidates=[1, 2, 3, 6], debias=False, random_state=0)
    assert found.n_components == 3
    assert min(found.criterion, key=found.criterion.get) == 3
    assert set(found.criterion) == {1, 2, 3, 6}


def test_default_criterion_is_held_out_likelihood_of_candidates_with_enough_samples():
    X, Y = normal(100, 10), normal(100, 10, seed=1)
    found = wam(X, Y, debias=False, random_state=0)
    assert found.n_components == 1
    assert set(found.criterion) == {1, 2, 3, 5, 8}  # 80 rows are fitted to, 10 to a component
    with pytest.raises(ValueError, match="candidates must leave at least 10 samples"):
        wam(X, Y, candidates=[9, 20])
    X, Y = normal(1000, 50), normal(1000, 50, seed=1)
    options = {"candidates": [21], "covariance_type": "diag", "debias": False, "reg_covar": 1e-3}
    assert set(wam(X, Y, n_components="bic", **options).criterion) == {21}


# --- what a result shows -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result() -> WaMResult:
    return wam(modes(300), modes(300, seed=1, width=2.0), n_components=3, random_state=0)


def test_result_as_text_and_json(result):
    assert repr(result).startswith(f"WaMResult(wam2={result.wam2:.6g}, floor={result.floor:.6g}")
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["debiased"] == result.wam2 - result.floor
    assert told["reg_covar"] == 1e-6
    assert np.shape(told["samples_per_dimension"]) == (2, 3)
    assert "floor" not in repr(paper(modes(300), modes(300, seed=1), 2))


def test_result_in_a_notebook_and_with_labels(result):
    assert "<th style='text-align:left'>wam2</th>" in result._repr_html_()
    found = result.to_xarray()
    assert float(found.contributions.sum()) == pytest.approx(result.wam2)
    assert dict(found.sizes) == {"x": 3, "y": 3}
    np.testing.assert_array_equal(found.samples_y, result.samples_y)
    told = json.loads(json.dumps(result.mw2.to_dict(), allow_nan=False))
    assert told["squared_distance"] == result.wam2


def test_plot_shows_the_plan_and_the_contributions(result, tmp_path):
    from fastgen.plotting.style import save_figure

    figure = result.plot()
    plan, bars = figure.axes
    np.testing.assert_allclose(plan.images[0].get_array(), 100 * result.plan)
    shown = {text.get_text() for text in plan.texts}
    assert shown == {f"{100 * w:.2g}" for w in result.plan[result.plan > 0]}
    heights = np.array([bar.get_height() for bar in bars.patches]).reshape(2, 3)
    assert heights.sum() == pytest.approx(result.wam2)
    assert (np.diff(heights.sum(axis=0)) <= 0).all()
    assert f"{result.floor:.4g}" in bars.get_title()
    assert [text.get_text() for text in bars.get_legend().get_texts()] == ["means", "covariances"]
    save_figure(figure, tmp_path / "wam.png")
    with pytest.raises(ValueError, match="width"):
        result.plot(width=0)


def test_plot_of_many_components_has_a_scale_in_place_of_numbers():
    X, Y = normal(600, 2), normal(600, 2, seed=1)
    options = {"covariance_type": "diag", "debias": False, "random_state": 0}
    found = wam(X, Y, n_components=30, **options)
    figure = found.plot(width=5)
    assert len(figure.axes) == 3  # the third is the scale
    assert not figure.axes[0].texts
    assert not len(figure.axes[1].get_xticks())
