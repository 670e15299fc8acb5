"""One body for every array library, wherever a public function outside `metrics` takes several."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen.linear import LinearGAN, sweep
from fastgen.metrics import FeatureStatistics, fid, wam
from fastgen.mixture import GaussianMixture, NonparametricMixture
from fastgen.neighbors import nearest_rows

ROWS = np.random.default_rng(0).standard_normal((60, 3)) + np.repeat([[-4.0], [4.0]], 30, axis=0)


def to_numpy(value):
    return np.asarray(value.get() if hasattr(value, "get") else value)


def test_fid_and_statistics(backend):
    expected = fid(ROWS, ROWS[::2] + 1)
    assert fid(backend.array(ROWS), backend.array(ROWS[::2] + 1)) == pytest.approx(expected)
    statistics = FeatureStatistics().update(backend.array(ROWS))
    np.testing.assert_allclose(statistics.mean, ROWS.mean(axis=0), atol=1e-14)


def test_wam(backend):
    options = {"n_components": 2, "debias": False, "covariance_type": "diag", "random_state": 0}
    expected = wam(ROWS, ROWS + 1, **options).wam2
    found = wam(backend.array(ROWS), backend.array(ROWS + 1), **options).wam2
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_gaussian_mixture(backend, kind):
    options = {"covariance_type": kind, "random_state": 0, "init_params": "k-means++"}
    expected = GaussianMixture(2, **options).fit(ROWS)
    found = GaussianMixture(2, **options).fit(backend.array(ROWS))
    order = np.argsort(to_numpy(found.means_)[:, 0]), np.argsort(expected.means_[:, 0])
    np.testing.assert_allclose(
        to_numpy(found.means_)[order[0]], expected.means_[order[1]], rtol=1e-6
    )
    labels = to_numpy(found.predict(backend.array(ROWS)))
    assert (labels[:30] == labels[0]).all()
    assert (labels[30:] == labels[-1]).all()
    assert labels[0] != labels[-1]


def test_nonparametric_mixture(backend):
    expected = NonparametricMixture(2, random_state=0).fit(ROWS)
    found = NonparametricMixture(2, random_state=0).fit(backend.array(ROWS))
    np.testing.assert_allclose(found.weights_, expected.weights_, rtol=1e-12)


def test_linear(backend):
    options = {"latent_dims": [1, 3, 8], "n_samples": 6, "n_trials": 2, "random_state": 0}
    np.testing.assert_allclose(
        sweep(backend.array(ROWS), **options).w2, sweep(ROWS, **options).w2, rtol=1e-12
    )
    expected = LinearGAN(2, "unsupervised").fit(ROWS).components_
    np.testing.assert_allclose(
        LinearGAN(2, "unsupervised").fit(backend.array(ROWS)).components_, expected, rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearest_rows(backend, dtype):
    x, pool = (ROWS[::4] + 0.1).astype(dtype), np.repeat(ROWS, 2, axis=0).astype(dtype)  # ties
    expected = nearest_rows(x, pool, 3)
    squared = np.square(x[:, None].astype(float) - pool).sum(axis=-1)
    np.testing.assert_allclose(expected[0], np.sort(squared, axis=1)[:, :3], rtol=1e-12)
    for given in (backend.array(pool), (backend.array(part) for part in (pool[:50], pool[50:]))):
        distances, indices = nearest_rows(backend.array(x), given, 3)
        np.testing.assert_allclose(to_numpy(distances), expected[0], rtol=1e-12)
        np.testing.assert_array_equal(to_numpy(indices), expected[1])
