"""GaussianMixture where the data or the arguments are not what they should be."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastgen.mixture import GaussianMixture
from fastgen.mixture.engines import device_rows


def draw(n=60, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_components": 0}, ValueError, "n_components must be at least 1, got 0"),
        ({"n_components": 2.0}, TypeError, "n_components must be an integer"),
        ({"n_components": 61}, ValueError, "n_components must be at most the 60 samples"),
        ({"covariance_type": "diagonal"}, ValueError, "covariance_type must be .* mean 'diag'"),
        ({"init_params": "kmeans++"}, ValueError, "init_params must be .* mean 'k-means"),
        ({"tol": -1.0}, ValueError, "tol must be finite and at least 0"),
        ({"reg_covar": np.nan}, ValueError, "reg_covar must be finite"),
        ({"max_iter": -1}, ValueError, "max_iter must be at least 0"),
        ({"n_init": 0}, ValueError, "n_init must be at least 1"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of"),
        ({"weights_init": [0.5, 0.6]}, ValueError, "weights_init must be .* sum of 1.1"),
        ({"weights_init": [1.0]}, ValueError, r"weights_init must have shape \(2,\), got \(1,\)"),
        ({"means_init": np.full((2, 3), np.inf)}, ValueError, "means_init must be finite"),
        ({"means_init": np.array([["a"] * 3] * 2)}, TypeError, "means_init must be a numeric"),
        ({"precisions_init": np.eye(3)}, ValueError, r"precisions_init must have shape \(2, 3, 3"),
        ({"precisions_init": [np.tri(3)] * 2}, ValueError, "precisions_init must be symmetric"),
        ({"precisions_init": [-np.eye(3)] * 2}, ValueError, "must be positive definite"),
    ],
)
def test_arguments(options, error, message):
    model = GaussianMixture(**{"n_components": 2} | options)
    with pytest.raises(error, match=message):
        model.fit(draw())
    assert not hasattr(model, "means_")


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.5, np.nan])
def test_step_decay(value):
    with pytest.raises(ValueError, match="step_decay must be"):
        GaussianMixture(step_decay=value).partial_fit(draw())


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_precisions_of_diagonals_must_be_positive(value):
    precisions = np.array([[1.0, value]])
    model = GaussianMixture(covariance_type="diag", precisions_init=precisions)
    with pytest.raises(ValueError, match="precisions_init must be positive"):
        model.fit(draw(d=2))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.array([[1.0, np.nan], [0, 1], [2, 2]]), "Input X contains NaN"),
        (np.array([[1.0, np.inf], [0, 1], [2, 2]]), "Input X contains infinity"),
        (np.zeros(5), "Expected 2D array"),
        (np.zeros((0, 3)), r"0 sample\(s\)"),
        (np.zeros((1, 3)), "minimum of 2 is required"),
        (np.zeros((4, 0)), r"0 feature\(s\)"),
        (np.array([[1.0, 1e200], [0, 1], [2, 2]]), "squares that can be summed, got .* 1e.200"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_predict"])
def test_data(X, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(GaussianMixture(), method)(X)


def test_other_features():
    fitted = GaussianMixture().fit(draw())
    for method in ("predict", "score", "partial_fit", "fitted_to"):
        with pytest.raises(ValueError, match="2 features, but GaussianMixture is expecting 3"):
            getattr(fitted, method)(draw(d=2))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(5), "must have shape"),
        (np.zeros((1, 3)), "at least 2 rows"),
        (np.full((3, 3), np.nan), "X must be finite"),
        (np.full((3, 3), 1e200), "squares that can be summed"),
    ],
)
def test_data_on_a_device(X, message):
    """The door of CuPy arrays, with NumPy in CuPy's place."""
    with pytest.raises(ValueError, match=message):
        device_rows(X, np, np.dtype("float64"), minimum_rows=2)
    rows = device_rows(draw().astype("f4"), np, np.dtype("float64"), minimum_rows=2)
    assert rows.dtype == np.float64


# Covariances that are singular --------------------------------------------------------------


def constant_column():
    X = draw()
    X[:, 1] = 5.0
    return X


def repeated_rows():
    return np.repeat(draw(2), 30, axis=0)


SINGULAR = [
    (draw(20, 40), "full", 1),
    (draw(20, 40), "tied", 1),
    (draw(60, 40), "full", 2),
    (constant_column(), "full", 1),
    (constant_column(), "tied", 1),
    (constant_column(), "diag", 1),
    (repeated_rows(), "full", 2),
    (repeated_rows(), "spherical", 2),
]


@pytest.mark.parametrize(("X", "kind", "k"), SINGULAR)
def test_singular_covariances_are_regularised_with_a_warning(X, kind, k):
    model = GaussianMixture(k, covariance_type=kind, random_state=0, max_iter=50)
    with pytest.warns(UserWarning, match="singular but for reg_covar=1e-06.*lower n_comp") as seen:
        model.fit(X)
    assert seen[0].filename == __file__
    assert np.isfinite(model.score_samples(X)).all()
    assert model.lower_bound_ > 0  # of a density that is high because reg_covar is low


@pytest.mark.parametrize(("X", "kind", "k"), SINGULAR)
def test_without_regularisation_they_are_refused(X, kind, k):
    model = GaussianMixture(k, covariance_type=kind, random_state=0, reg_covar=0.0)
    message = "not positive definite with reg_covar=0; raise reg_covar, lower n_components"
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(X)
    assert not isinstance(caught.value, np.linalg.LinAlgError)


def test_well_conditioned_data_pass_in_silence():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        GaussianMixture(2, random_state=0, tol=0.1).fit(draw(200))
    assert not told


def test_float32_names_its_remedy():
    X = draw(200, 2) @ draw(2, 12, seed=1) + 1e-4 * draw(200, 12, seed=2)
    with pytest.raises(ValueError, match='dtype="float64" keeps more digits'):
        GaussianMixture(dtype="float32", reg_covar=0.0).fit(X)
    GaussianMixture(reg_covar=0.0).fit(X)


@pytest.mark.parametrize("method", ["k-means++", "kmeans"])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_more_components_than_distinct_rows(method):
    model = GaussianMixture(3, init_params=method, random_state=0)
    with pytest.raises(ValueError, match="start without samples: X has too few distinct rows"):
        model.fit(repeated_rows())


def test_starting_means_without_samples():
    means = np.array([[0.0] * 3, [1e6] * 3])
    with pytest.raises(ValueError, match=r"components \[1\] start without samples"):
        GaussianMixture(2, means_init=means).fit(draw())


def test_components_that_lose_their_samples_are_named():
    start = dict(
        weights_init=[0.5, 0.5],
        means_init=[[0.0] * 3, [1e4] * 3],
        precisions_init=[np.eye(3)] * 2,
    )
    model = GaussianMixture(2, **start)
    with pytest.warns(UserWarning, match=r"components \[1\] lost all their samples"):
        model.fit(draw())
    np.testing.assert_array_equal(model.weights_, [1.0, 0.0])
    np.testing.assert_array_equal(model.means_[1], [1e4] * 3)


def test_stopping_early_is_told():
    model = GaussianMixture(3, max_iter=2, tol=0.0, random_state=0)
    with pytest.warns(ConvergenceWarning, match="did not converge in max_iter=2") as seen:
        model.fit_predict(draw())
    assert seen[0].filename == __file__
    assert not model.converged_


def test_tiny_and_large_scales():
    X = draw(300)
    reference = GaussianMixture(2, random_state=0, reg_covar=0.0).fit(X)
    for scale in (1e-100, 1e100):
        model = GaussianMixture(2, random_state=0, reg_covar=0.0, means_init=scale * X[:2])
        model.fit(scale * X)
        assert np.isfinite(model.score_samples(scale * X)).all()
        total = np.einsum("k,kij->ij", model.weights_, model.covariances_ / scale**2)
        assert np.all(np.linalg.eigvalsh(total) > 0)
    assert reference.converged_


@pytest.mark.slow
def test_aic_fails_where_components_have_fewer_samples_than_features():
    """Note: one Gaussian, n 1500, d 64; AIC takes 40 components, held-out likelihood one."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, 65) ** -0.5
    X, held_out = (rng.standard_normal((1500, 64)) * scale for _ in range(2))
    aic, score = {}, {}
    for k in (1, 10, 40):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fitted = GaussianMixture(k, random_state=0).fit(X)
        aic[k], score[k] = fitted.aic(X), fitted.score(held_out)
    assert min(aic, key=aic.get) == 40
    assert max(score, key=score.get) == 1
    assert score[40] < -1000
