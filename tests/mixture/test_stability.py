"""How stable the clusters of a nonparametric mixture are."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen.mixture import NonparametricMixture, stability


def test_stability_tells_clusters_from_none():
    rng = np.random.default_rng(5)
    apart = rng.standard_normal((90, 3)) + 8 * (np.arange(90) % 3)[:, None]
    fit = NonparametricMixture(3, random_state=0, n_init=3).fit(apart)
    before = fit.posteriors_.copy()
    found = stability(fit, apart, n_resamples=4, random_state=1)
    assert found.shape == (4,)
    assert np.median(found) == pytest.approx(1)
    np.testing.assert_array_equal(fit.posteriors_, before)
    again = stability(fit, apart, n_resamples=4, random_state=1, n_jobs=2)
    np.testing.assert_array_equal(found, again)
    none = rng.standard_normal((90, 3))
    loose = NonparametricMixture(4, random_state=0, max_iter=20, tol=1.0).fit(none)
    assert np.median(stability(loose, none, n_resamples=4, random_state=1)) < 0.7
    np.testing.assert_allclose(
        fit.means_, [apart[fit.labels_ == k].mean(axis=0) for k in range(3)], atol=1e-3
    )


def test_stability_refuses():
    X = np.random.default_rng(0).standard_normal((20, 2))
    fit = NonparametricMixture(2, random_state=0, tol=9.0).fit(X)
    with pytest.raises(ValueError, match="X must be the 20 rows"):
        stability(fit, X[:19])
    given = NonparametricMixture(2, init=X[:2], tol=9.0).fit(X)
    with pytest.raises(ValueError, match='init must be "k-means'):
        stability(given, X)
