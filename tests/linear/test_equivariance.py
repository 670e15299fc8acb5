"""Problems do not depend on the unit of the data, nor, where nothing else does, on its axes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastgen.linear import GaussianData, LinearGAN, sweep
from fastgen.linear.problems import PROBLEMS

EVERY = tuple(PROBLEMS)
# Orthonormal columns have no unit: such a generator does not change with the data's.
SCALED = tuple(name for name in EVERY if name != "procrustes")
ARGUMENTS = dict(
    latent_dims=[1, 2, 3, 4, 6, 7, 9, 14], n_samples=8, n_supervised=[4, 8], n_trials=1, rank=2
)


def rows_of(seed, n=40):
    spread = np.diag([3.0, 2, 1, 1, 0.5, 0.1])
    return np.random.default_rng([5, seed]).standard_normal((n, 6)) @ spread


@settings(max_examples=12, deadline=None)
@given(power=st.floats(-6, 6), seed=st.integers(0, 9))
def test_errors_scale_with_the_square_of_the_unit(power, seed):
    c = 10.0**power
    arguments = dict(**ARGUMENTS, problems=EVERY, random_state=seed)
    plain, scaled = sweep(rows_of(seed), **arguments), sweep(c * rows_of(seed), **arguments)
    trace = (rows_of(seed) ** 2).sum() / 40
    for name in SCALED:
        a, b = plain.sel(problem=name), scaled.sel(problem=name)
        # an objective flat to 1e-9 of itself is minimized to about its root
        rtol = 1e-5 if PROBLEMS[name].iterative else 1e-8
        for metric in ("w2", "projection_error", "train_error"):
            np.testing.assert_allclose(b[metric] / c**2, a[metric], rtol=rtol, atol=1e-9 * trace)
        np.testing.assert_allclose(b.gain, a.gain, rtol=rtol)
    a, b = plain.sel(problem="procrustes"), scaled.sel(problem="procrustes")
    np.testing.assert_allclose(b.projection_error / c**2, a.projection_error, atol=1e-9 * trace)
    np.testing.assert_allclose(b.gain * c**2, a.gain, rtol=1e-8)


@settings(max_examples=12, deadline=None)
@given(power=st.floats(-6, 6), seed=st.integers(0, 9), k=st.sampled_from([2, 5, 11]))
def test_generators_scale_with_the_unit(power, seed, k):
    c = 10.0**power
    for name in EVERY:
        options = dict(n_supervised=5, rank=2, random_state=seed, tol=1e-6, max_iter=9999)
        gan = LinearGAN(k, name, **options)
        with warnings.catch_warnings():
            # an end or none: it is the same in all units
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits = [clone(gan).fit(factor * rows_of(seed, 9)) for factor in (1.0, c)]
        assert fits[0].converged_ == fits[1].converged_, name
        unit = 1.0 if name == "procrustes" else c
        size = np.abs(fits[0].components_).max()
        difference = np.abs(fits[1].components_ / unit - fits[0].components_).max()
        assert difference <= (1e-4 if PROBLEMS[name].iterative else 1e-8) * size, name


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 99))
def test_closed_forms_do_not_depend_on_the_axes(seed):
    names = [n for n in SCALED if not PROBLEMS[n].iterative]
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((6, 6)))[0]
    arguments = dict(**ARGUMENTS, problems=names, random_state=seed)
    plain, turned = (sweep(rows, **arguments) for rows in (rows_of(seed), rows_of(seed) @ rotation))
    for metric in ("w2", "projection_error", "train_error", "gain"):
        np.testing.assert_allclose(turned[metric], plain[metric], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("scale", [1e-162, 1e-40, 1e40, 1e155])
@pytest.mark.parametrize("problem", EVERY)
def test_data_of_extreme_size_are_refused(problem, scale):
    arguments = dict(**ARGUMENTS, problems=problem, random_state=0)
    with pytest.raises(ValueError, match=r"data must vary by 1e-30 to 1e.30.*divide by a constant"):
        sweep(scale * rows_of(0), **arguments)
    with pytest.raises(ValueError, match="X must vary by"):
        LinearGAN(2, problem, rank=2).fit(scale * rows_of(0))
    if scale in (1e-40, 1e40):
        with pytest.raises(ValueError, match="data must vary by"):
            sweep(GaussianData(scale**2 * np.eye(3)), **arguments)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
@pytest.mark.parametrize("problem", EVERY)
def test_data_of_large_size_are_solved(problem, scale):
    found = sweep(scale * rows_of(0), **ARGUMENTS, problems=problem, random_state=0)
    for name in ("w2", "projection_error", "train_error", "gain"):
        assert np.isfinite(found[name]).all(), name


@pytest.mark.parametrize("problem", EVERY)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e9])
def test_rows_that_are_all_equal(problem, value):
    z = np.random.default_rng(0).standard_normal((7, 3))
    gan = LinearGAN(3, problem, rank=2).fit(np.full((7, 4), value), Z=z)
    expected = np.eye(4, 3) if problem == "procrustes" else np.zeros((4, 3))
    np.testing.assert_allclose(gan.components_.T, expected, atol=1e-12)
