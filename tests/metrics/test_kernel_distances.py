"""KID and CMMD: the matrices' formulas, planted truths, errors that cover, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import kernel_distances as naive
from samples import normal

from fastgen.metrics import kernel_distances as module
from fastgen.metrics.kernel_distances import cmmd, kid


def sets(m=41, n=30, d=5, shift=0.3):
    return normal(m, d), normal(n, d, seed=1, shift=shift)


@pytest.mark.parametrize(
    "options", [{}, {"degree": 1}, {"degree": 4, "gamma": 0.7, "coef0": 0.0}, {"degree": 2}]
)
def test_kid_is_the_formula(options):
    X, Y = sets()
    kxx, kyy, kxy = (naive.polynomial_kernel(a, b, **options) for a, b in ((X, X), (Y, Y), (X, Y)))
    found = kid(X, Y, **options)
    assert found.value == pytest.approx(naive.unbiased_mmd2(kxx, kyy, kxy), rel=1e-11, abs=1e-14)
    assert found.standard_error == pytest.approx(naive.jackknife_error(kxx, kyy, kxy), rel=1e-9)
    assert found.floor == 0
    assert found.interval[0] < found.value < found.interval[1]


@pytest.mark.parametrize("unbiased", [True, False])
def test_cmmd_is_the_formula(unbiased):
    X, Y = sets()
    matrices = [naive.gaussian_kernel(a, b, 1.5) for a, b in ((X, X), (Y, Y), (X, Y))]
    formula = naive.unbiased_mmd2 if unbiased else naive.biased_mmd2
    found = cmmd(X, Y, sigma=1.5, unbiased=unbiased)
    assert found.value == pytest.approx(formula(*matrices), rel=1e-11)
    assert found.standard_error == pytest.approx(naive.jackknife_error(*matrices), rel=1e-9)
    assert (found.floor == 0) == unbiased
    if not unbiased:
        null = [
            cmmd(normal(41, 5, seed=s), normal(30, 5, seed=s + 999), sigma=1.5, unbiased=False)
            for s in range(300)
        ]
        values, floors = ([getattr(one, name) for one in null] for name in ("value", "floor"))
        assert np.mean(values) == pytest.approx(np.mean(floors), rel=0.1)


@pytest.mark.parametrize("far", [0.0, 1000.0])
@pytest.mark.parametrize("measure", [kid, lambda X, Y: cmmd(X, Y, sigma="median")])
def test_tiles_and_precision_do_not_matter(monkeypatch, measure, far):
    """Features that float32 holds are multiplied in float32; a common offset costs no digits."""
    X, Y = ((rows + far).astype(np.float32) for rows in sets(150, 90, 24))
    single = measure(X, Y)
    monkeypatch.setattr(module.kernel_sums, "product_type", lambda *sets: np.float64)
    double = measure(X, Y)
    assert single.value == pytest.approx(double.value, rel=1e-6)
    monkeypatch.setattr(module.kernel_sums, "_ROWS", 32)
    monkeypatch.setattr(module.kernel_sums, "_COLUMNS", 17)
    tiled = measure(X, Y)
    assert tiled.value == pytest.approx(double.value, rel=1e-7)
    assert tiled.standard_error == pytest.approx(double.standard_error, rel=1e-9)
    assert tiled.noise == pytest.approx(double.noise, rel=1e-6)


def test_an_outlier_costs_no_digits():
    X, Y = (rows.astype(np.float32) for rows in sets(150, 90, 24))
    X[7] = 1e8
    found = cmmd(X, Y, sigma=3.0)
    matrices = [naive.gaussian_kernel(a.astype(float), b, 3.0) for a, b in ((X, X), (Y, Y), (X, Y))]
    assert found.value == pytest.approx(naive.unbiased_mmd2(*matrices), rel=1e-5)


@pytest.mark.parametrize(
    "measure", [kid, lambda X, Y: cmmd(X, Y, sigma="median"), lambda X, Y: kid(X, Y, degree=2)]
)
def test_noise_and_standard_error_are_those_of_repetitions(measure):
    """Equal laws: the noise; different ones: the jackknife; intervals cover."""
    n, repetitions = 80, 150
    for shift in (0.0, 0.5):
        found = [
            measure(normal(n, 4, seed=2 * s), normal(n, 4, seed=2 * s + 1, shift=shift))
            for s in range(repetitions)
        ]
        values = np.array([one.value for one in found])
        errors = [one.standard_error for one in found]
        if shift == 0:
            assert abs(values.mean()) < 4 * values.std() / np.sqrt(repetitions)
            assert np.mean([one.noise for one in found]) == pytest.approx(values.std(), rel=0.25)
            assert np.mean(errors) > values.std()
        else:
            assert np.mean(errors) == pytest.approx(values.std(), rel=0.2)
            inside = [one.interval[0] <= values.mean() <= one.interval[1] for one in found]
            assert np.mean(inside) > 0.88


@pytest.mark.parametrize("measure", [kid, lambda X, Y: cmmd(X, Y, sigma="median")])
def test_planted_truths(measure):
    real, fresh = normal(400, 6), normal(400, 6, seed=1)
    same = measure(real, fresh)
    assert abs(same.value) < 3 * same.noise
    assert measure(real, real).value < 0  # of one set, unbiased: less than two samples
    collapsed = measure(real, np.repeat(fresh[:1], 400, axis=0))
    noisy = measure(real, fresh + normal(400, 6, seed=2))
    dropped = measure(real, fresh[fresh[:, 0] > 0])
    for wrong in (collapsed, noisy, dropped):
        assert wrong.value > 5 * wrong.noise
    copied = measure(real, real[:200])
    assert abs(copied.value) < 3 * copied.noise  # copies are not seen


def test_subsets_are_the_published_average():
    X, Y = sets(60, 50)
    found = kid(X, Y, subset_size=20, n_subsets=7, random_state=0)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(7):
        a, b = (rows[rng.choice(len(rows), 20, replace=False)] for rows in (X, Y))
        pairs = ((a, a), (b, b), (a, b))
        values.append(naive.unbiased_mmd2(*(naive.polynomial_kernel(*pair) for pair in pairs)))
    assert found.value == pytest.approx(np.mean(values), rel=1e-10)
    whole = kid(X, Y)
    many = kid(X, Y, subset_size=20, n_subsets=300, random_state=0)
    assert many.value == pytest.approx(whole.value, abs=2 * whole.standard_error)
    assert many.standard_error == pytest.approx(whole.standard_error, rel=0.6)


def test_results_are_plain_and_symmetric():
    X, Y = sets()
    found = cmmd(X, Y, sigma=2.0)
    told = found.to_dict()
    assert told["value"] == found.value
    assert told["sigma"] == 2.0
    assert told["interval"] == list(found.interval)
    assert "KernelDistance(value=" in repr(found)
    assert "<table>" in found._repr_html_()
    assert cmmd(Y, X, sigma=2.0).value == pytest.approx(found.value, rel=1e-12)


def test_arrays_of_every_library(backend):
    X, Y = sets()
    found = kid(backend.array(X), backend.array(Y))
    assert found.value == pytest.approx(kid(X, Y).value, rel=1e-12)


@pytest.mark.parametrize(
    ("measure", "error", "match"),
    [
        (lambda X, Y: kid(X[:2], Y), ValueError, "X must have at least 3 rows"),
        (lambda X, Y: kid(X, Y[:, :2]), ValueError, "same number of columns, got 5 and 2"),
        (lambda X, Y: kid(X, np.full_like(Y, np.nan)), ValueError, "Y must be finite"),
        (lambda X, Y: kid(X, Y, degree=0), ValueError, "degree must be at least 1"),
        (lambda X, Y: kid(X, Y, gamma=0), ValueError, "gamma must be positive"),
        (lambda X, Y: kid(X, Y, coef0=-1), ValueError, "coef0 must be finite and at least 0"),
        (lambda X, Y: kid(X, Y, subset_size=31), ValueError, "subset_size must be at most the 30"),
        (lambda X, Y: kid(X, Y, subset_size=5, n_subsets=0), ValueError, "n_subsets"),
        (lambda X, Y: kid(1e60 * X, Y), ValueError, "overflow"),
        (lambda X, Y: cmmd(X, Y, sigma=0), ValueError, "sigma must be positive"),
        (lambda X, Y: cmmd(X, Y, sigma="mean"), ValueError, "sigma must be one of 'median'"),
        (lambda X, Y: cmmd(np.ones((9, 5)), Y, sigma="median"), ValueError, "pairs are equal"),
    ],
)
def test_bad_input_is_named(measure, error, match):
    with pytest.raises(error, match=match):
        measure(*sets())
