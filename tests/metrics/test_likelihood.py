"""FLD: the formula, planted truths, the gap, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import likelihood as naive
from samples import modes, normal

from fastgen.metrics import fld, likelihood


def test_is_the_formula():
    train, fake, held = normal(60, 3), normal(25, 3, seed=1, shift=0.2), normal(40, 3, seed=2)
    found = fld(train, fake, held, random_state=0)
    mean, scale = train.mean(0), train.std(0)
    train, fake, held = ((rows - mean) / scale for rows in (train, fake, held))
    order = np.random.default_rng(0).permutation(60)
    centers, rest = train[order[:25]], train[order[25:]]
    nll = {}
    for name, at, fitted in (("fake", fake, train), ("real", centers, rest)):
        variances = naive.fitted_variances(fitted, at, likelihood._COPY, likelihood._GAIN)
        nll[name] = [naive.mixture_nll(rows, at, variances) for rows in (fitted, held)]
    assert found.train == pytest.approx(nll["fake"][0].mean(), rel=1e-6)
    assert found.heldout == pytest.approx(nll["fake"][1].mean(), rel=1e-6)
    assert found.baseline == pytest.approx(nll["real"][1].mean(), rel=1e-6)
    assert found.value == pytest.approx(100 * (found.heldout - found.baseline), rel=1e-9)
    assert found.gap == pytest.approx(100 * (found.train - found.heldout), rel=1e-9)
    gaps = nll["real"][0].mean() - nll["real"][1].mean()
    assert found.gap_floor == pytest.approx(100 * gaps, rel=1e-4)
    difference = nll["fake"][1] - nll["real"][1]
    error = 100 * difference.std(ddof=1) / np.sqrt(40)
    assert found.standard_error == pytest.approx(error, rel=1e-4)


def test_planted_truths():
    train, held = modes(600, seed=0), modes(600, seed=1)
    good = fld(train, modes(600, seed=2), held, random_state=0)
    assert abs(good.value) < 20
    assert abs(good.gap - good.gap_floor) < 20
    assert good.copies == 0
    noisy = fld(train, modes(600, seed=2, width=4.0), held, random_state=0)
    dropped = fld(train, modes(600, seed=2)[:400], held, random_state=0)
    collapsed = fld(train, np.repeat(modes(600, seed=2)[:1], 600, axis=0), held, random_state=0)
    for wrong in (noisy, dropped, collapsed):
        assert wrong.interval[0] > good.interval[1]
    copied = fld(train, train, held, random_state=0)
    assert copied.copies == 1
    assert copied.value > 1000
    assert copied.gap < good.gap - 1000
    half = fld(train, train[::2], held, random_state=0)
    assert half.copies == 1  # training samples that have no copy do not hide the copies
    assert half.gap < good.gap - 100
    near = fld(train, train + 0.05 * normal(600, 3, seed=5), held, random_state=0)
    assert near.copies < 0.05
    assert near.gap < good.gap - 5 * good.gap_standard_error


def test_scale_and_constant_features_do_not_matter():
    sets = [normal(80, 3, seed=s) for s in range(3)]
    found = fld(*sets, random_state=0)
    scaled = [rows * [1e3, 1e-5, 7] + [0, 3, 1e4] for rows in sets]
    assert fld(*scaled, random_state=0).value == pytest.approx(found.value, rel=1e-6, abs=1e-3)
    wide = [np.pad(rows, ((0, 0), (0, 1)), constant_values=5.0) for rows in sets]
    assert np.isfinite(fld(*wide, random_state=0).value)


def test_large_sets_are_drawn_from():
    sets = [normal(90, 3, seed=s) for s in range(3)]
    found = fld(*sets, random_state=0, max_samples=50)
    assert (found.n_train, found.n_generated, found.n_holdout) == (50, 25, 50)
    assert found == fld(*sets, random_state=0, max_samples=50)
    assert found.to_dict()["interval"] == list(found.interval)
    assert "FeatureLikelihood(value=" in repr(found)
    assert found.gap_interval[0] < found.gap < found.gap_interval[1]


def test_what_has_not_converged_is_said(monkeypatch):
    monkeypatch.setattr(likelihood, "_STEPS", 1)
    with pytest.warns(UserWarning, match="have not converged in 1 steps"):
        fld(*(normal(40, 3, seed=s) for s in range(3)), random_state=0)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"train": np.eye(3)}, ValueError, "train must have at least 4 rows"),
        ({"generated": np.eye(3)[:1]}, ValueError, "generated must have at least 2 rows"),
        ({"holdout": np.full((9, 3), np.nan)}, ValueError, "holdout must be finite"),
        ({"holdout": np.ones((9, 2))}, ValueError, "train and holdout must have the same number"),
        ({"max_samples": 3}, ValueError, "max_samples must be at least 4"),
    ],
)
def test_bad_input_is_named(changes, error, match):
    sets = {name: normal(9, 3, seed=s) for s, name in enumerate(("train", "generated", "holdout"))}
    with pytest.raises(error, match=match):
        fld(**{**sets, **changes})
