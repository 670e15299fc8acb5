"""The ratio study: what its numbers are, and that its large ratios come from the floor."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen.metrics.fid_wam import floor_law, wam
from fastgen.metrics.ratio import ratio_study


def sets(n=400, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n, d))


def shift(original):
    """A perturbation that moves all samples: the distance it adds is the level squared."""
    return lambda level, rng: original + level * np.eye(1, original.shape[1])


def test_labels_and_ratios():
    reference, original = sets()
    levels, ks = [1.0, 0.25], [2, 1]
    found = ratio_study(
        reference, original, levels=levels, n_components=ks, n_trials=2, random_state=0
    )
    assert found.wam2.dims == ("fit", "n_components", "level", "trial")
    assert found.level.values.tolist() == [0, 0.25, 1]
    assert found.n_components.values.tolist() == [1, 2]
    assert found.fit.values.tolist() == ["separate", "shared"]
    one = found.sel(n_components=1)
    for fit in ("separate", "shared"):
        np.testing.assert_allclose(one.wam2.sel(fit=fit), found.fid, rtol=1e-8)
    np.testing.assert_allclose(one.ratio.sel(level=[0.25, 1.0]), 1, rtol=1e-7)
    np.testing.assert_allclose(one.ratio_debiased.sel(level=1.0), 1, rtol=0.1)
    assert np.isnan(found.ratio.sel(level=0)).all()
    at = {"fit": "shared", "n_components": 2, "level": 1.0, "trial": 1}
    cell = found.sel(at)
    origin = found.sel({**at, "level": 0.0})
    assert cell.r_fid == pytest.approx(float(cell.fid / origin.fid))
    assert cell.r_wam == pytest.approx(float(cell.wam2 / origin.wam2))
    assert cell.ratio == pytest.approx(float(cell.r_fid / cell.r_wam))
    excess = (cell.fid - cell.fid_floor) / (cell.wam2 - cell.wam2_floor)
    assert cell.ratio_debiased == pytest.approx(float(excess))
    # noise of variance 1 adds (sqrt 2 - 1)^2 = 0.17 in each of three dimensions
    assert 0.3 < float(cell.fid) < 0.9
    assert (found.fid.isel(trial=0) != found.fid.isel(trial=1)).any()
    assert (found.fid <= found.wam2 * (1 + 1e-9)).all()


def test_repeatable_and_equal_to_wam():
    reference, original = sets()
    options = {"levels": [2.0], "n_components": [2], "fits": ["shared"], "random_state": 3}
    first = ratio_study(reference, original, shift(original), **options)
    assert first.equals(ratio_study(reference, original, shift(original), **options))
    assert first.attrs["n_reference"] == 400
    far = first.sel(level=2.0).squeeze()
    alone = wam(reference, original + 2 * np.eye(1, 3), n_components=2, random_state=0)
    assert float(far.fid) == pytest.approx(alone.moment_distance, rel=1e-12)
    assert float(far.wam2) == pytest.approx(alone.wam2, rel=0.1)  # other starts


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"levels": []}, "levels must be positive"),
        ({"levels": [0.0, 1.0]}, "levels must be positive"),
        ({"levels": [np.nan]}, "levels must be finite"),
        ({"fits": ["common"]}, "fits must be one of 'separate', 'shared'"),
        ({"fits": []}, "fits must hold at least one of 'separate', 'shared', got none"),
        ({"n_components": []}, "n_components must hold at least one"),
        ({"reference": np.zeros((5, 2))}, "reference and original must have the same number"),
        ({"original": np.full((5, 3), np.nan)}, "original must be finite"),
        ({"perturb": lambda level, rng: np.zeros((4, 2))}, "reference and the perturbed set"),
        ({"perturb": lambda level, rng: np.full((4, 3), np.inf)}, "the perturbed set must be fin"),
        ({"n_components": [300]}, "n_components must be at most the 40 samples"),
    ],
)
def test_bad_input_is_named(changes, match):
    reference, original = sets(40)
    arguments = {"reference": reference, "original": original, "levels": [1.0], **changes}
    with pytest.raises(ValueError, match=match):
        ratio_study(**{"n_components": [1], **arguments})


@pytest.mark.slow
def test_the_ratio_is_an_artefact_of_the_floor():
    """Gaussian data, where FID's model is right, shifted by a unit vector: 1 is added to both."""
    d, n, ks = 64, 4000, [1, 5, 10]
    deviations = 2 * np.arange(1, d + 1) ** -0.5
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
        reference, original = (rng.standard_normal((n, d)) * deviations @ basis for _ in range(2))
        found.append(
            ratio_study(
                reference,
                original,
                shift(original),
                levels=[1.0],
                n_components=ks,
                random_state=seed,
            )
        )
    median = {
        name: np.median([study[name].sel(level=1.0).squeeze("trial") for study in found], axis=0)
        for name in ("ratio", "ratio_debiased")
    }
    separate, shared = median["ratio"]
    assert separate[0] == pytest.approx(1)
    assert (separate[1:] > 5).all()
    assert (shared[1:] > 2).all()
    # less their floors, both distances see the shift alike
    separate, shared = median["ratio_debiased"]
    np.testing.assert_allclose(shared, 1, atol=0.35)
    np.testing.assert_allclose(separate[0], 1, atol=0.05)
    # floors follow the law of sampling noise with common labels, and exceed it with separate fits
    law = [floor_law(deviations**2, n / k, n / k).total for k in ks]
    floors = np.mean([study.wam2_floor.squeeze("trial") for study in found], axis=0)
    iid = np.mean([study.wam2.sel(level=0).squeeze("trial") for study in found], axis=0)
    np.testing.assert_allclose(floors[1], law, rtol=0.15)
    np.testing.assert_allclose(iid[1], law, rtol=0.15)
    assert (iid[0, 1:] > 2 * np.array(law[1:])).all()
    np.testing.assert_allclose(floors[0], iid[0], rtol=0.5)
