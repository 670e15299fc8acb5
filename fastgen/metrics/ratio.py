"""How FID and WaM respond to the same perturbation, with the floors of both beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _random, _validate, _warnings
from . import _fits
from . import floor as _floor
from .covariances import same_dimension
from .mixture import between

if TYPE_CHECKING:
    import xarray

__all__ = ["ratio_study"]

_FITS = ("separate", "shared")


def ratio_study(
    reference: Any,
    original: Any,
    perturb: Callable[[float, np.random.Generator], Any] | None = None,
    *,
    levels: Sequence[float],
    n_components: Sequence[int] = (1, 5, 10, 20),
    fits: Sequence[str] = _FITS,
    n_trials: int = 1,
    n_splits: int = 1,
    covariance_type: str = "full",
    reg_covar: float = 1e-6,
    tol: float = 1e-3,
    max_iter: int = 100,
    n_init: int = 1,
    random_state: Any = None,
) -> xarray.Dataset:
    """FID and WaM^2 of perturbed features, by level, number of components and way of fitting.

    The paper on WaM (Luzi et al., 2023, section 4) compares by ``R = R_FID / R_WaM``, the ratio of
    the factors by which a perturbation raises both distances. A distance with a large floor rises
    by a small factor whatever its sensitivity: ``ratio_debiased``, the ratio of the perturbed
    distances less their floors, says which of the two responds more.

    Parameters
    ----------
    reference, original : array (n, d)
        Features of the set that all others are compared with, and of the set that is perturbed.
    perturb : callable (level, rng) -> array (n, d), optional
        Features of the perturbed set. By default ``original`` plus normal noise of standard
        deviation ``level``; to perturb images, perturb them and extract features.
    levels : sequence of float
        Positive. Level 0, the original, is added.
    n_components : sequence of int, default (1, 5, 10, 20)
    fits : sequence of "separate" and "shared"
        As ``shared_fit`` of `wam`.
    n_trials : int, default 1
        Repetitions with other fits and other noise on the same data.
    n_splits, covariance_type, reg_covar, tol, max_iter, n_init
        As for `wam`.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of the perturbations, fits and splits.

    Returns
    -------
    xarray.Dataset
        Dimensions ``fit``, ``n_components``, ``level``, ``trial``; variables ``fid`` (the
        ``moment_distance`` of `WaMResult`, so that one component has ratio 1), ``wam2``,
        ``fid_floor``, ``wam2_floor`` (from halves of the reference, as in `wam`), ``r_fid``,
        ``r_wam`` (factors over level 0), ``ratio`` (their ratio R, NaN at level 0) and
        ``ratio_debiased``.

    Raises
    ------
    TypeError, ValueError
        As for `wam`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import ratio_study
    >>> rng = np.random.default_rng(0)
    >>> first, second = rng.standard_normal((2, 400, 3))
    >>> found = ratio_study(first, second, levels=[0.5, 1.0], n_components=[1, 2], random_state=0)
    >>> dict(found.wam2.sizes)
    {'fit': 2, 'n_components': 2, 'level': 3, 'trial': 1}
    >>> bool((found.wam2_floor.sel(n_components=2) > found.fid_floor).all())
    True
    """
    import xarray

    reference = _validate.data_matrix(reference, "reference")
    original = _validate.data_matrix(original, "original")
    same_dimension(reference, original, "reference", "original")
    ks = _validate.positive_integers(n_components, "n_components")
    levels = [0.0, *_levels(levels)]
    fits = [_validate.one_of(fit, "fits", _FITS) for fit in fits]
    if not fits:
        raise ValueError(f"fits must hold at least one of {', '.join(map(repr, _FITS))}, got none")
    options = _fits.Options(covariance_type, reg_covar, tol, max_iter, n_init)
    n_trials = _validate.integer(n_trials, "n_trials")
    n_splits = _validate.integer(n_splits, "n_splits")
    if perturb is None:

        def perturb(level, rng):
            return original + level * rng.standard_normal(original.shape)

    trials = []
    with _warnings.silenced():  # the study is of what these warn of
        for rng in _random.generator(random_state).spawn(n_trials):
            sets = [original]
            for level in levels[1:]:
                rows = _validate.data_matrix(perturb(level, rng), "the perturbed set")
                same_dimension(reference, rows, "reference", "the perturbed set")
                sets.append(rows)
            trials.append(_trial(reference, sets, fits, ks.tolist(), options, n_splits, rng))
    dims = ("fit", "n_components", "level")
    names = {"fid": dims[2:], "wam2": dims, "fid_floor": (), "wam2_floor": dims[:2]}
    found = xarray.Dataset(
        {
            name: ((*names[name], "trial"), np.stack([t[name] for t in trials], axis=-1))
            for name in names
        },
        coords={"fit": fits, "n_components": ks, "level": levels, "trial": range(n_trials)},
        attrs={
            "covariance_type": covariance_type,
            "reg_covar": reg_covar,
            "n_reference": len(reference),
            "n_original": len(original),
            "n_features": reference.shape[1],
        },
    )
    return _with_ratios(found)


def _trial(reference, sets, fits, ks, options, n_splits, rng) -> dict[str, np.ndarray]:
    """Distances and floors of one trial, by way of fitting, components and level."""
    wam2, floor = np.empty((len(fits), len(ks), len(sets))), np.empty((len(fits), len(ks)))
    split_seed = int(rng.integers(2**31))  # all cells see the same halves
    for i, j in np.ndindex(floor.shape):
        shared = fits[i] == "shared"
        pairs = _pairs(reference, sets, ks[j], shared, options, rng)
        wam2[i, j] = [between(*pair.parsed()).squared_distance for pair in pairs]
        floors = _floor.from_halves(
            reference,
            pairs[0],
            options,
            shared=shared,
            sizes=(len(reference), len(sets[0])),
            n_splits=n_splits,
            rng=np.random.default_rng(split_seed),
        )
        floor[i, j] = floors.wam2
    fid = np.array(
        [
            _floor.gaussian_distance(reference, rows, ddof=0, reg_covar=options.reg_covar)
            for rows in sets
        ]
    )
    return {"fid": fid, "wam2": wam2, "fid_floor": np.array(floors.moments), "wam2_floor": floor}


def _levels(levels: Sequence[float]) -> list[float]:
    found = sorted({_validate.number(level, "levels") for level in levels})
    if not found or found[0] == 0:
        raise ValueError(f"levels must be positive numbers, got {list(levels)}; 0 is added")
    return found


def _pairs(reference, sets, k: int, shared: bool, options, rng) -> list[_fits.Pair]:
    """Mixtures of the reference and of each set; separate fits share that of the reference."""
    if shared:
        return [_fits.fit_pair(reference, r, k, options, shared=True, rng=rng) for r in sets]
    fitted = options.fit(reference, k, rng)
    others = [options.fit(rows, k, rng) for rows in sets]
    return [_fits.Pair(fitted, other, fitted, other) for other in others]


def _with_ratios(found: xarray.Dataset) -> xarray.Dataset:
    perturbed = found.level > 0
    r_fid, r_wam = (found[name] / found[name].sel(level=0) for name in ("fid", "wam2"))
    excess = found.fid - found.fid_floor, found.wam2 - found.wam2_floor
    return found.assign(
        r_fid=r_fid,
        r_wam=r_wam,
        ratio=(r_fid / r_wam).where(perturbed),
        ratio_debiased=(excess[0] / excess[1]).where(perturbed),
    )
