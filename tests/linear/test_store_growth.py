"""Stores of sweeps take more trials and latent dimensions, and refuse what changed its answer."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
import zarr

from fastgen.linear import sweep

SMALL = dict(latent_dims=range(1, 21), n_samples=8, n_trials=5, random_state=0)


def shorter(**changes):
    return {**SMALL, **changes}


@pytest.mark.parametrize("kills", [False, True])
def test_a_store_takes_more_trials(tmp_path, monkeypatch, kills):
    path = tmp_path / "sweep.zarr"
    sweep(**shorter(n_trials=2), store=path)
    if kills:  # once the arrays are larger and the identity is not
        grow = zarr.Array.resize

        def killed(array, shape):
            grow(array, shape)
            raise KeyboardInterrupt

        monkeypatch.setattr(zarr.Array, "resize", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(**SMALL, store=path)
        monkeypatch.undo()
    seen = []
    grown = sweep(**SMALL, store=path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 5), (4, 5), (5, 5)]
    xarray.testing.assert_equal(grown, sweep(**SMALL))
    fewer = sweep(**shorter(n_trials=3), store=path)
    xarray.testing.assert_equal(fewer, sweep(**shorter(n_trials=3)))
    seen.clear()
    again = sweep(**SMALL, store=path, progress=lambda *counts: seen.append(counts))
    xarray.testing.assert_equal(again, grown)  # asking for fewer loses none
    assert not seen


def test_a_store_takes_more_latent_dimensions_and_trials(tmp_path):
    path = tmp_path / "sweep.zarr"
    ks = [*range(1, 9), 12]
    sweep(**shorter(latent_dims=ks[::2], n_trials=2), store=path)
    sweep(**shorter(latent_dims=ks, n_trials=4), store=path)
    seen = []
    grown = sweep(
        **shorter(latent_dims=[*ks, 20, 30], n_trials=5),
        store=path,
        progress=lambda done, total: seen.append(done),
    )
    assert seen == [1, 2, 3, 4, 5]
    whole = sweep(**shorter(latent_dims=[*ks, 20, 30], n_trials=5))
    xarray.testing.assert_allclose(grown, whole, rtol=1e-8)
    assert grown.latent_dim.values.tolist() == [*ks, 20, 30]
    seen.clear()
    part = sweep(
        **shorter(latent_dims=[30, 2, 12], n_trials=3),
        store=path,
        progress=lambda done, total: seen.append(done),
    )
    assert not seen
    xarray.testing.assert_equal(part, grown.sel(latent_dim=[2, 12, 30], trial=[0, 1, 2]))


def test_growth_that_is_cut_short_goes_on(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**shorter(latent_dims=[1, 5, 9]), store=path)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    more = shorter(latent_dims=[1, 2, 5, 9, 14])
    with pytest.raises(KeyboardInterrupt):
        sweep(**more, store=path, progress=stop)
    first = sweep(**shorter(latent_dims=[1, 5, 9]), store=path)
    xarray.testing.assert_equal(first, sweep(**shorter(latent_dims=[1, 5, 9])))
    # a chunk that is lost: all of its trial is computed again
    group = zarr.open_group(path, mode="r+")
    group["w2"][..., 1, 4] = np.nan
    xarray.testing.assert_allclose(sweep(**more, store=path), sweep(**more), rtol=1e-8)


ITERATIVE = shorter(problems=("free_latents", "constrained"), n_supervised=3, n_trials=2)


def test_iterative_problems_grow_below_their_largest_latent_dimension(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**{**ITERATIVE, "latent_dims": [2, 9]}, store=path)
    grown = sweep(**{**ITERATIVE, "latent_dims": [2, 5, 9]}, store=path)
    whole = sweep(**{**ITERATIVE, "latent_dims": [2, 5, 9]})
    xarray.testing.assert_allclose(grown, whole, rtol=1e-5)
    part = sweep(**{**ITERATIVE, "latent_dims": [3], "n_trials": 3}, store=path)
    assert np.isfinite(part.w2).all()
    with pytest.raises(ValueError, match=r"begun with latent_dims up to 9.*'free_latents'"):
        sweep(**{**ITERATIVE, "latent_dims": [2, 10]}, store=path)


def solver(factor):
    def shrunk(x, z):
        return factor * (x @ np.linalg.pinv(z))

    return shrunk


def test_a_function_that_changed_is_refused(tmp_path):
    path = tmp_path / "sweep.zarr"
    asked = shorter(problems=("unsupervised", solver(0.5)), n_trials=2)
    first = sweep(**asked, store=path)
    grown = sweep(**{**asked, "problems": ("unsupervised", solver(0.5)), "n_trials": 4}, store=path)
    xarray.testing.assert_equal(grown.sel(trial=[0, 1]), first)
    with pytest.raises(ValueError, match=r"another function or model of the same name.*'shrunk'"):
        sweep(**{**asked, "problems": ("unsupervised", solver(0.6))}, store=path)


class Cubes:
    """Not Gaussian, with the covariance of what is."""

    covariance_ = np.eye(4)

    def __init__(self, power):
        self.power = power

    def sample(self, n_samples, random_state):
        rng = np.random.default_rng(random_state)
        return (
            np.sign(rng.standard_normal((n_samples, 4)))
            * abs(rng.standard_normal((n_samples, 4))) ** self.power
        )


def test_a_model_that_changed_is_refused(tmp_path):
    path = tmp_path / "sweep.zarr"
    sweep(**shorter(data=Cubes(1.0), n_trials=2), store=path)
    sweep(**shorter(data=Cubes(1.0), n_trials=3), store=path)
    with pytest.raises(ValueError, match="another function or model of the same name"):
        sweep(**shorter(data=Cubes(1.5), n_trials=3), store=path)
