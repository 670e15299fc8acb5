"""FID and WaM of doubtful input, which is warned of, and of bad input, which is refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
from samples import modes, normal

from fastgen import metrics
from fastgen.metrics import _fits, mixture
from fastgen.metrics.fid_wam import fid, wam
from fastgen.metrics.statistics import FeatureStatistics
from fastgen.neighbors import nearest_rows

KINDS = ("full", "tied", "diag", "spherical")


def test_few_samples_per_dimension_are_warned_of():
    X, Y = normal(200, 20), normal(200, 20, seed=1)
    with pytest.warns(UserWarning, match=r"samples per dimension .* the floor is large"):
        wam(X, Y, n_components=3, debias=False, random_state=0)
    with pytest.warns(UserWarning, match="singular") as caught:
        wam(X[:30], Y[:30], n_components=2, debias=False, random_state=0)
    told = [str(w.message) for w in caught if w.filename == __file__]
    assert len(told) == 1
    assert "singular but for reg_covar=1e-06, on which wam2 depends" in told[0]
    for kind in ("diag", "spherical", "tied"):
        wam(X, Y, n_components=3, covariance_type=kind, debias=False, random_state=0)
    with pytest.raises(ValueError, match="not positive definite with reg_covar=0"):
        wam(X[:15], Y[:15], n_components=1, reg_covar=0)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"X": np.zeros(5)}, ValueError, "X must be two-dimensional"),
        ({"Y": np.zeros((1, 3))}, ValueError, "Y must have at least 2 rows"),
        ({"X": np.zeros((0, 3))}, ValueError, "X must have at least 2 rows"),
        ({"X": np.full((9, 3), np.nan)}, ValueError, "X must be finite, got nan at row 0"),
        ({"Y": np.full((9, 3), np.inf)}, ValueError, "Y must be finite, got inf"),
        ({"Y": np.zeros((9, 4))}, ValueError, "X and Y must have the same number of columns"),
        ({"X": np.array([["a"]])}, TypeError, "X must be a numeric array"),
        ({"X": FeatureStatistics()}, TypeError, "X must be the features .* got their mean"),
        ({"n_components": 0}, ValueError, "n_components must be at least 1"),
        ({"n_components": 2.0}, TypeError, "n_components must be an integer"),
        ({"n_components": "cv"}, ValueError, "n_components must be one of 'heldout', 'aic', 'bic'"),
        ({"n_components": 31}, ValueError, "Y must have at least n_components=31 rows, got 30"),
        ({"n_components": 25}, ValueError, "X must have at least 50 rows to measure the floor"),
        ({"n_components": 3, "candidates": [3]}, ValueError, "candidates are for a criterion"),
        ({"covariance_type": "ful"}, ValueError, "did you mean 'full'"),
        ({"reg_covar": -1.0}, ValueError, "reg_covar must be finite and at least 0"),
        ({"n_bootstrap": -1}, ValueError, "n_bootstrap must be at least 0"),
        ({"n_splits": 0}, ValueError, "n_splits must be at least 1"),
    ],
)
def test_bad_input_is_named(changes, error, match):
    arguments = {"X": normal(40, 3), "Y": normal(30, 3, seed=1), "n_components": 1, **changes}
    with pytest.raises(error, match=match):
        wam(**arguments)


@pytest.mark.parametrize(
    ("sets", "error", "match"),
    [
        ((np.zeros((3, 2)), np.zeros((3, 3))), ValueError, "same number of columns, got 2 and 3"),
        ((np.zeros((1, 2)), np.zeros((3, 2))), ValueError, "X must have at least 2 rows"),
        ((np.zeros((3, 2)), [[0, np.nan]] * 3), ValueError, "Y must be finite"),
        ((np.zeros((3, 2)), FeatureStatistics()), ValueError, "at least 1 sample, got 0"),
        (
            (FeatureStatistics().update(np.eye(2)), np.eye(3)),
            ValueError,
            "same number of columns, got 2 and 3",
        ),
        (("text", np.zeros((3, 2))), TypeError, "X must be a numeric array"),
    ],
)
def test_fid_names_bad_input(sets, error, match):
    with pytest.raises(error, match=match):
        fid(*sets)


@pytest.mark.parametrize("wrap", [np.ma.masked_invalid, lambda x: list(np.ma.masked_invalid(x))])
def test_masked_arrays_are_refused(wrap):
    X = normal(9, 3)
    masked = wrap(np.where(X > 0.5, np.nan, X))
    one = ([1.0], X[:1], [1.0])
    calls = [
        lambda: fid(masked, X),
        lambda: wam(X, masked),
        lambda: FeatureStatistics().update(masked),
        lambda: metrics.CovarianceFactor.from_samples(masked),
        lambda: metrics.bures(masked[:3], np.eye(3)),
        lambda: metrics.dist_bures_squared(masked, X, np.ones(9), np.ones(9)),
        lambda: metrics.mw2((np.ones(9) / 9, masked, np.ones(9)), one),
        lambda: metrics.ratio_study(masked, X, levels=[1.0]),
        lambda: metrics.mw2(one, one).transport(masked),
        lambda: metrics.gmm_ot_apply_map(masked, X[:1], X[:1], [1.0], [1.0], [1.0], [1.0]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="must not be a masked array"):
            call()


def test_masked_vectors_are_refused():
    C, masked = np.eye(3), np.ma.masked_equal(np.array([0.5, 0.25, 0.25]), 0.5)
    means = np.zeros((3, 3))
    for call in (
        lambda: metrics.frechet_distance(masked, C, masked, C),
        lambda: metrics.mw2((masked, means, np.ones(3)), (masked, means, np.ones(3))),
        lambda: metrics.floor_law(masked, 5, 5),
    ):
        with pytest.raises(TypeError, match="must not be a masked array"):
            call()


def test_rows_are_checked_once_for_each_set(monkeypatch):
    """Counted wherever it is asked of as many rows, but inside the cluster search of sklearn."""
    import sys

    from sklearn.utils import validation

    X, Y = normal(200, 7), normal(160, 7, seed=1)
    counted = []

    def watched(check):
        def call(values, *args, **options):
            if np.ndim(values) == 2 and values.shape[1] == 7 and len(values) > 30:
                frame, files = sys._getframe(1), []
                while frame is not None:
                    files.append(frame.f_code.co_filename.replace("\\", "/"))
                    frame = frame.f_back
                if not any(
                    "sklearn/cluster" in name or "sklearn/metrics" in name for name in files
                ):
                    counted.append(len(values))
            return check(values, *args, **options)

        return call

    monkeypatch.setattr(np, "isfinite", watched(np.isfinite))
    monkeypatch.setattr(validation, "_assert_all_finite", watched(validation._assert_all_finite))
    wam(X, Y, random_state=0)
    assert counted == [200, 160]
    counted.clear()
    fid(X, Y)
    assert counted == [200, 160]


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_mixtures_need_no_check(kind):
    """What is handed on parsed is symmetric to the last bit, and gives what the door gives."""
    X, Y = modes(300), modes(240, seed=1, width=2.0)
    options = _fits.Options(kind, 1e-6, 1e-3, 100, 1)
    for shared in (True, False):
        pair = _fits.fit_pair(X, Y, 3, options, shared=shared, rng=np.random.default_rng(0))
        for one in pair.parsed():
            for covariance in one.components:
                if covariance.kind == "full":
                    np.testing.assert_array_equal(covariance.values, covariance.values.T)
        expected = metrics.mw2(pair.gmm_x, pair.gmm_y)
        found = mixture.between(*pair.parsed())
        assert found.squared_distance == expected.squared_distance
        np.testing.assert_array_equal(found.plan, expected.plan)


def test_fewer_samples_than_features_are_warned_of():
    X, Y = normal(60, 20), normal(15, 20, seed=1)
    with pytest.warns(UserWarning, match=r"Y has n=15 samples of d=20 features.*floor") as caught:
        fid(X, Y)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match="X has n=15"):
        fid(FeatureStatistics().update(Y), X)


def test_wam_takes_every_kind_of_seed():
    X = normal(60, 2)
    found = [
        wam(X, X[::-1], n_components=1, random_state=seed).floor
        for seed in (np.random.RandomState(0), np.random.RandomState(0), np.random.SeedSequence(0))
    ]
    assert found[0] == found[1] > 0
    with pytest.raises(TypeError, match="random_state"):
        wam(X, X, n_components=1, random_state="seed")


def test_fits_in_threads_leave_the_filters_of_warnings():
    import concurrent.futures
    import warnings

    X, Y = normal(200, 4), normal(200, 4, seed=1)
    wam(X, Y, random_state=0, candidates=[1, 2])
    before = list(warnings.filters)
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda s: wam(X, Y, random_state=s, candidates=[1, 2, 3]), range(8)))
        assert warnings.filters == before


class Figures:
    """A data set whose rows are computed in the workers of a DataLoader."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        X, Y = normal(60, 4, seed=index), normal(60, 4, seed=5)
        found = wam(X, Y, n_components=1, debias=False, random_state=0)
        return np.array([fid(X, Y), found.wam2, *nearest_rows(X, Y)[0][:, 0]])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_workers_that_are_forked_give_the_serial_numbers():
    data = pytest.importorskip("torch.utils.data")
    figures = Figures()
    serial = [figures[index] for index in range(2)]
    loader = data.DataLoader(
        figures, batch_size=None, num_workers=1, multiprocessing_context="fork", timeout=60
    )
    for found, expected in zip(loader, serial, strict=True):
        np.testing.assert_array_equal(found, expected)
