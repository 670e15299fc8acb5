"""The supervision-orthonormality plane and its figure: golden tables, reproducibility, refusals."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pytest
import xarray
from oracles import linear as naive

from fastgen.linear import plane
from fastgen.linear.plane import subspace_sweep
from fastgen.plotting.plane import plane_figure

SLACKS = [0.0, 0.5, 1.0, 3.0, np.inf]


def bounds(slack):
    return max(0.0, 1 - slack), 1 + slack


SMALL = dict(
    n_observed=[4, 9, 12],
    supervision=[0, 0.5, 1],
    dim=12,
    n_samples=9,
    n_components=3,
    n_trials=4,
    max_iter=200,
    random_state=0,
)


@pytest.fixture(scope="module")
def small():
    return subspace_sweep(**SMALL)


def test_result_is_labelled(small, tmp_path):
    assert dict(small.sizes) == {
        "n_observed": 3,
        "supervision": 3,
        "orthonormality_slack": 5,
        "trial": 4,
    }
    assert set(small.data_vars) == set(plane.METRICS)
    assert small.converged.dtype == bool
    assert small.supervised_error.isnull().sel(supervision=0).all()
    assert small.drop_sel(supervision=0).to_array().notnull().all()
    assert bool(small.converged.sel(supervision=0).all())
    arguments = json.loads(small.attrs["arguments"])
    assert arguments["orthonormality_slack"] == [0.0, 0.5, 1.0, 3.0, "inf"]
    assert arguments["noise_variance"] == 0.1
    assert small.attrs["seed_entropy"] == "0"
    assert small.attrs["n_samples"] == 9
    small.to_netcdf(tmp_path / "plane.nc", engine="scipy")
    xarray.testing.assert_equal(xarray.load_dataset(tmp_path / "plane.nc", engine="scipy"), small)


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_results_do_not_depend_on_n_jobs(small, n_jobs):
    xarray.testing.assert_equal(subspace_sweep(**SMALL, n_jobs=n_jobs), small)
    with joblib.parallel_config("threading", n_jobs=n_jobs):
        xarray.testing.assert_equal(subspace_sweep(**SMALL), small)


def test_cells_do_not_depend_on_other_cells(small):
    few = subspace_sweep(
        **{**SMALL, "n_observed": 9, "supervision": [1.0, 0.5, 1.0], "n_trials": 3},
        orthonormality_slack=[np.inf, 0.5],
    )
    assert list(few.supervision.values) == [0.5, 1.0]
    xarray.testing.assert_equal(
        few,
        small.sel(n_observed=[9], supervision=[0.5, 1], orthonormality_slack=[0.5, np.inf]).isel(
            trial=slice(3)
        ),
    )


def test_every_cell_is_the_oracles(small):
    """Trial 1 of the sweep, drawn as its docstring says and solved by plain NumPy."""
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(1,)))
    u = np.linalg.qr(rng.standard_normal((12, 3)))[0]
    z = rng.standard_normal((3, 9))
    x = u @ z + np.sqrt(0.1) * rng.standard_normal((12, 9))
    draw = rng.standard_normal((12, 3))
    for p, n_s, share, slack in [
        (9, 5, 0.5, 0.0), (12, 5, 0.5, np.inf), (4, 9, 1.0, 0.5), (9, 9, 1.0, np.inf), (9, 0, 0, 1),
    ]:  # fmt: skip
        start = np.linalg.qr(draw[:p])[0] * (0.1 if np.isinf(slack) else 1.0)
        if n_s == 0 or (n_s == 9 and np.isinf(slack)):
            w = naive.subspace_corner(x[:p], z[:, :n_s], 3, slack)
        else:
            w, _ = naive.subspace_descent(x[:p], z[:, :n_s], start, *bounds(slack), 200)
        expected = naive.subspace_errors(w, u[:p], 0.1)
        found = small.sel(n_observed=p, supervision=share, orthonormality_slack=slack, trial=1)
        if n_s:
            assert float(found.supervised_error) == pytest.approx(expected[0], rel=2e-3)
        assert float(found.unsupervised_error) == pytest.approx(expected[1], rel=2e-3)
        objective = naive.subspace_objective(w, x[:p], z[:, :n_s])
        assert float(found.objective) == pytest.approx(objective, rel=1e-5, abs=1e-12)


def test_progress_counts_trials():
    seen = []
    subspace_sweep(**SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 4) for i in range(1, 5)]


BAD_SWEEPS = [
    (dict(n_observed=[]), ValueError, "n_observed must hold at least one positive integer"),
    (dict(n_observed=[4, 13]), ValueError, "n_observed must be at most 12, dim, got 13"),
    (dict(n_observed=[2, 9]), ValueError, "n_observed must be at least n_components=3, got 2"),
    (dict(supervision=[]), ValueError, "supervision must hold at least one number"),
    (dict(supervision=[0.5, 1.1]), ValueError, "supervision must be a share from 0 to 1"),
    (dict(supervision=0.01), ValueError, "at least half a sample, got 0.01 of 9 samples"),
    (dict(supervision="full"), TypeError, "supervision must be a number, got 'full'"),
    (dict(orthonormality_slack=-np.inf), ValueError, "orthonormality_slack must be finite"),
    (dict(orthonormality_slack=[True]), TypeError, "orthonormality_slack must be a number"),
    (dict(n_components=10), ValueError, "n_components must be at most 9, n_samples, got 10"),
    (dict(n_components=13, n_samples=20), ValueError, "n_components must be at most 12, dim"),
    (dict(n_samples=1), ValueError, "n_samples must be at least 2, got 1"),
    (dict(noise_variance=np.nan), ValueError, "noise_variance must be finite"),
    (dict(n_trials=0), ValueError, "n_trials must be at least 1"),
    (dict(n_jobs=0), ValueError, "n_jobs must be None"),
    (dict(random_state="x"), TypeError, "random_state must be an integer"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD_SWEEPS)
def test_bad_sweeps_are_one_clear_line(change, kind, message):
    with pytest.raises(kind, match=message) as caught:
        subspace_sweep(**{**SMALL, **change})
    assert "\n" not in str(caught.value)


# Supervised test error, medians of 40 trials; columns are slacks 0, 0.5, 1, 3, infinity (notes of
# the project, from another implementation and other seeds).
PLANE = {
    0.5: {
        5: (2.91, 2.91, 2.91, 2.92, 2.85),
        11: (1.94, 1.99, 1.88, 1.92, 1.84),
        13: (1.67, 1.60, 1.65, 1.64, 1.65),
        16: (1.43, 1.43, 1.44, 1.51, 1.46),
        19: (1.27, 1.29, 1.25, 1.31, 1.19),
        32: (0.764, 0.762, 0.764, 0.782, 0.722),
    },
    0.75: {
        5: (2.53, 2.58, 2.53, 2.62, 2.55),
        11: (1.75, 1.78, 1.92, 2.19, 2.19),
        13: (1.56, 1.56, 1.71, 2.16, 2.06),
        16: (1.40, 1.36, 1.56, 1.92, 1.69),
        19: (1.31, 1.30, 1.40, 1.50, 1.33),
        32: (0.973, 0.946, 0.942, 1.01, 0.919),
    },
    0.9: {
        5: (2.51, 2.55, 2.68, 2.71, 2.71),
        11: (1.77, 1.81, 2.15, 2.71, 2.73),
        13: (1.56, 1.60, 1.94, 2.74, 2.65),
        16: (1.37, 1.46, 1.87, 2.54, 2.50),
        19: (1.25, 1.42, 1.68, 2.13, 2.02),
        32: (0.814, 0.997, 1.03, 1.06, 0.917),
    },
    1.0: {
        5: (2.50, 2.53, 2.69, 3.00, 3.00),
        11: (1.67, 1.77, 2.15, 3.49, 3.77),
        13: (1.42, 1.54, 1.99, 3.74, 4.99),
        16: (1.19, 1.44, 2.05, 5.03, 55.0),
        19: (1.08, 1.35, 1.87, 3.69, 4.79),
        32: (0.724, 1.05, 1.17, 1.17, 0.923),
    },
}
UNSUPERVISED_AT_16 = {  # the same slacks, without the cells that scatter
    0.75: (1.81, 2.23),
    0.9: (1.78, 3.12, 6.61, 16.5, 17.4),
    1.0: (1.65, 4.32, 10.8, 76.0),
}


def check_plane(plane):
    """Every cell of a plane of 40 trials, and facts (a), (b) and (e) of the notes."""
    median = plane.median("trial")
    supervised, unsupervised = median.supervised_error, median.unsupervised_error
    for level in supervised.supervision.values:
        for p in supervised.n_observed.values:
            for slack in supervised.orthonormality_slack.values:
                found = float(
                    supervised.sel(supervision=level, n_observed=p, orthonormality_slack=slack)
                )
                expected = PLANE[level][p][SLACKS.index(slack)]
                if (p, level, slack) == (16, 1.0, np.inf):
                    assert 15 < found < 100
                else:
                    rel = 0.35 if slack >= 3 and abs(p - 16) < 6 else 0.2  # wide near the peak
                    assert found == pytest.approx(expected, rel=rel), (p, level, slack)
    # (a) falls with p: orthonormal at every level, every slack at level 0.5
    assert (supervised.sel(orthonormality_slack=0).diff("n_observed") < 0).all()
    assert (supervised.sel(supervision=0.5).diff("n_observed") < 0).all()
    # (b) the peak at p = n
    full = supervised.sel(supervision=1)
    for slack, low, high in ((3.0, 4.0, 6.5), (np.inf, 10.0, 100.0)):
        curve = full.sel(orthonormality_slack=slack)
        assert int(curve.idxmax("n_observed")) == 16
        assert low < float(curve.max()) < high
    # (e) rises with the slack at p = n
    for errors in (full, unsupervised.sel(supervision=1)):
        assert (errors.sel(n_observed=16).diff("orthonormality_slack") > 0).all()


def test_plane_in_short():
    check_plane(
        subspace_sweep(
            n_observed=[5, 13, 16, 32],
            supervision=[0.5, 1.0],
            orthonormality_slack=[0, 3, np.inf],
            tol=1e-4,
            random_state=0,
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_plane(seed):
    levels = [0.0, 0.5, 0.75, 0.9, 1.0]
    plane = subspace_sweep(n_observed=list(PLANE[1.0]), supervision=levels, random_state=seed)
    check_plane(plane.drop_sel(supervision=0))
    median = plane.median("trial")
    supervised, unsupervised = median.supervised_error, median.unsupervised_error
    # (c) level 0.9 and loose: a shoulder near 11 to 13; level 0.75: no peak
    loose = supervised.sel(orthonormality_slack=[3, np.inf])
    shoulder = loose.sel(supervision=0.9, n_observed=[11, 13]).max("n_observed")
    assert (shoulder > 0.75 * loose.sel(supervision=0.9, n_observed=5)).all()
    assert (shoulder > 2 * loose.sel(supervision=0.9, n_observed=32)).all()
    first = supervised.sel(supervision=0.75, n_observed=5)
    assert (supervised.sel(supervision=0.75) <= first * (1 + 1e-12)).all()
    # (d) the unsupervised error peaks; for level 0.75 and p = 16 see the next test
    for level, ps in ((0.75, [11, 13]), (0.9, [11, 13, 16]), (1.0, [11, 13, 16])):
        curve = unsupervised.sel(supervision=level, orthonormality_slack=3)
        assert (curve.sel(n_observed=ps) > float(curve.sel(n_observed=[5, 32]).max())).all()
    at_n = unsupervised.sel(n_observed=16)
    np.testing.assert_allclose(at_n.sel(supervision=0), 1.60, rtol=0.1)
    for level, row in UNSUPERVISED_AT_16.items():
        found = at_n.sel(supervision=level).values[: len(row)]
        np.testing.assert_allclose(found, row, rtol=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unsupervised_error_peaks_at_three_quarters(seed):
    """Fact (d) at level 0.75: of 120 trials, as those at p = 16 have two modes, near 2 and 16."""
    plane = subspace_sweep(
        n_observed=[5, 11, 13, 16, 32],
        supervision=0.75,
        orthonormality_slack=3.0,
        n_trials=120,
        random_state=seed,
    )
    median = plane.unsupervised_error.median("trial").squeeze()
    assert (median.sel(n_observed=[11, 13, 16]) > float(median.sel(n_observed=[5, 32]).max())).all()


# --- its figure ----------------------------------------------------------------------------------


def test_figure_shows_medians(small):
    figure = plane_figure(small)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "supervision 0.5",
        "supervision 1",
    ]
    curves = figure.axes[1].lines[:5]
    for slack, line in zip(SLACKS, curves, strict=True):
        values = small.supervised_error.sel(supervision=1, orthonormality_slack=slack)
        np.testing.assert_allclose(line.get_ydata(), values.median("trial"))
        np.testing.assert_array_equal(line.get_xdata(), [4, 9, 12])
    assert list(figure.axes[1].lines[5].get_xdata()) == [9, 9]
    assert len({line.get_linestyle() for line in curves}) >= 2
    assert len({tuple(line.get_color()) for line in curves}) == 5
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["0", "0.5", "1", "3", r"$\infty$"]
    assert figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize("width", [3.4, 7.0])
@pytest.mark.parametrize("metric", ["supervised_error", "unsupervised_error", "objective"])
def test_figure_can_be_saved(small, metric, width, tmp_path):
    figure = plane_figure(small, metric=metric, width=width)
    figure.savefig(tmp_path / "plane.png")
    assert len(figure.axes) == (2 if metric == "supervised_error" else 3)


def test_figure_of_one_point_has_markers(small):
    one = small.isel(n_observed=[1], supervision=[2])
    assert plane_figure(one).axes[0].lines[0].get_marker() == "o"


def test_bad_figures(small):
    with pytest.raises(TypeError, match=r"dataset must be the xarray\.Dataset"):
        plane_figure({})
    with pytest.raises(ValueError, match="it lacks supervised_error, n_observed"):
        plane_figure(xarray.Dataset())
    with pytest.raises(ValueError, match="metric must be one of"):
        plane_figure(small, metric="error")
    with pytest.raises(ValueError, match="draw 'unsupervised_error' instead"):
        plane_figure(small.sel(supervision=[0]))
