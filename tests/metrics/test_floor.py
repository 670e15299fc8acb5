"""Floors of FID and WaM: the law, halves of data, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import wam as naive

from fastgen.metrics import _fits
from fastgen.metrics.fid_wam import fid, floor_law, wam
from fastgen.metrics.floor import from_halves, gaussian_distance


def normal(n, d, *, seed=0):
    """Normal samples with variances 1 / i in a random basis."""
    rng = np.random.default_rng(seed)
    root = np.linalg.qr(np.random.default_rng(99).standard_normal((d, d)))[0]
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 @ root.T


@pytest.mark.parametrize("n", [(50, 50), (40, 400), (7.5, 1e6)])
def test_floor_law_is_the_double_sum(n):
    for values in (np.ones(5), np.arange(6.0), 1 / np.arange(1, 20), np.zeros(3), np.ones(1)):
        found = floor_law(values, *n)
        mean, covariance = naive.floor_law(values, *n)
        assert found.mean == pytest.approx(mean, rel=1e-12)
        assert found.covariance == pytest.approx(covariance, rel=1e-12)
        assert found.total == found.mean + found.covariance
    many = floor_law(np.stack((np.ones(4), np.arange(4.0))), np.array([10, 20]), 30)
    assert many.total.shape == (2,)
    assert many.covariance[1] == floor_law(np.arange(4.0), 20, 30).covariance


def test_floor_law_of_the_tables():
    """Covariance part over the trace, d 256, at n / d = 1, 2, 5, 10, 25, 100."""
    ratios = np.array([1, 2, 5, 10, 25, 100])
    white = [floor_law(np.ones(256), 256 * r, 256 * r).covariance / 256 for r in ratios]
    np.testing.assert_allclose(white, [0.502, 0.251, 0.1004, 0.0502, 0.0201, 0.0050], atol=5e-5)
    values = 1 / np.arange(1, 257)
    graded = [floor_law(values, 256 * r, 256 * r).covariance / values.sum() for r in ratios]
    np.testing.assert_allclose(graded, [0.2245, 0.1123, 0.0449, 0.0225, 0.009, 0.0022], atol=5e-5)
    # one Gaussian cut into K components with common labels has K times its floor
    values = 4 / np.arange(1, 65)
    total = [floor_law(values, 4000 / k, 4000 / k).total for k in (1, 5, 10, 20)]
    np.testing.assert_allclose(total, [0.0960, 0.480, 0.960, 1.921], rtol=1e-3)


def test_floor_law_is_the_mean_of_fids_of_one_law():
    values = 1 / np.arange(1, 17)
    rng = np.random.default_rng(0)
    draws = [
        fid(*(np.sqrt(values) * rng.standard_normal((n, 16)) for n in (160, 320)))
        for _ in range(200)
    ]
    assert np.mean(draws) == pytest.approx(floor_law(values, 160, 320).total, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((1.0, 5, 5), r"eigenvalues must be of shape"),
        (([], 5, 5), "eigenvalues must be of shape"),
        (([1, -1], 5, 5), "not negative, got shape .* and -1"),
        (([1, np.nan], 5, 5), "eigenvalues must be finite"),
        (([1], 0, 5), "n1 must be positive, got 0"),
        (([1], 5, -1), "n2 must be positive, got -1"),
    ],
)
def test_floor_law_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        floor_law(*arguments)


def test_floor_is_what_one_law_gives():
    values = 1 / np.arange(1, 9)
    for k in (1, 4):
        found = [
            wam(
                *(normal(n, 8, seed=2 * seed + i) for i, n in enumerate((2400, 1200))),
                n_components=k,
                n_splits=4,
                random_state=seed,
            )
            for seed in range(4)
        ]
        law = floor_law(values, 2400 / k, 1200 / k).total
        assert np.mean([f.floor for f in found]) == pytest.approx(law, rel=0.2)
        assert np.mean([f.wam2 for f in found]) == pytest.approx(law, rel=0.3)
        assert abs(np.mean([f.debiased for f in found])) < 0.3 * law
        assert np.mean([f.fid_floor for f in found]) == pytest.approx(law / k, rel=0.25)


def test_floor_is_rescaled_to_the_sizes_compared():
    X = normal(1000, 4)
    few, many = (wam(X, normal(n, 4, seed=1), n_components=1, random_state=0) for n in (100, 5000))
    expected = (1 / 1000 + 1 / 100) / (1 / 1000 + 1 / 5000)
    assert few.floor / many.floor == pytest.approx(expected, rel=1e-9)
    assert few.fid_floor / many.fid_floor == pytest.approx(expected, rel=1e-9)


def test_floors_are_the_distances_of_the_halves():
    X, Y = normal(90, 4), normal(40, 4, seed=1)
    options = _fits.Options("full", 1e-6, 1e-3, 100, 1)
    pair = _fits.fit_pair(X, Y, 1, options, shared=True, rng=np.random.default_rng(0))
    found = from_halves(
        *(X, pair, options),
        shared=True,
        sizes=(90, 40),
        n_splits=1,
        rng=np.random.default_rng(1),
    )
    order = np.random.default_rng(1).permutation(90)
    halves = X[order[:45]], X[order[45:]]
    scale = (1 / 90 + 1 / 40) / (2 / 45)
    assert found.fid == pytest.approx(scale * fid(*halves), rel=1e-12)
    moments = gaussian_distance(*halves, ddof=0, reg_covar=1e-6)
    assert found.moments == pytest.approx(scale * moments, rel=1e-12)
    assert found.wam2 == pytest.approx(found.moments, rel=1e-9)  # one component


def test_interval_lies_about_the_distance_of_the_laws():
    """Widths 1 and 2 in four dimensions: 4 (2 - 1)^2, plus 1 for a shift."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4))
    Y = 2 * rng.standard_normal((400, 4)) + 0.5
    found = wam(X, Y, n_components=1, n_bootstrap=100, random_state=0)
    low, high = found.interval
    assert low < 5 < high
    assert high - low < 2.0
    again = wam(X, Y, n_components=1, n_bootstrap=100, random_state=0, setting="paper")
    assert again.interval == pytest.approx(found.interval, rel=0.2)


def test_interval_is_free_of_the_bias_of_sampling():
    found = wam(
        normal(80, 8), normal(80, 8, seed=1), n_components=1, n_bootstrap=50, random_state=0
    )
    low, high = found.interval
    # resampled sets are further apart than the sets, by about the floor again
    assert (low + high) / 2 < found.wam2 - found.floor / 2
    assert low < high


@pytest.mark.slow
def test_interval_covers():
    """Half of X and 30 % of Y in the lower of two modes: a fifth of the mass moves 18."""
    truth = 0.2 * (18**2 + 1) + 0.8 * 1
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X, Y = (
            np.where(rng.random((300, 1)) < share, -9.0, 9.0)
            + width * rng.standard_normal((300, 1))
            for share, width in ((0.5, 1.0), (0.3, 2.0))
        )
        found = wam(X, Y, n_components=2, n_bootstrap=100, random_state=seed, debias=False)
        covered += found.interval[0] <= truth <= found.interval[1]
    assert 52 <= covered
