"""Authenticity, copying test, MiFID's term and near copies: formulas, planted copies, doors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oracles import neighbor_pass as naive
from samples import normal

from fastgen.metrics import Manifold, manifold, memorization, neighbor_pass
from fastgen.metrics.memorization import copying_z, memorization_of

N, D = 500, 8


def cells():
    return {"n_cells": 2, "random_state": 0}


# What is planted: authenticity and copying_z, mifid_distance and near_copies, beside new samples.
PLANTED = {
    "new samples": (lambda train: normal(N, D, seed=3), (0.3, 0.7), (-3, 3), (0.0, 0.05)),
    "copies": (lambda train: train, (0, 0), (-99, -10), (1, 1)),
    "copies with noise": (lambda train: train + 0.02 * normal(N, D), (0, 0), (-99, -10), (1, 1)),
    "some copies": (
        lambda train: np.vstack([train[:100], normal(N - 100, D, seed=3)]),
        (0.2, 0.6), (-9, -2), (0.2, 0.3),
    ),
    "one copy": (lambda train: np.repeat(train[:1], N, 0), (0, 0), (-99, -10), (1, 1)),
    "far away": (lambda train: normal(N, D, seed=3) + 30, (1, 1), (10, 99), (0, 0)),
    "wide": (lambda train: 3 * normal(N, D, seed=3), (0.9, 1), (10, 99), (0, 0.05)),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED)
def test_planted_copies_are_seen(case):
    make, authenticity, z, copies = PLANTED[case]
    train, holdout = normal(N, D), normal(N, D, seed=1)
    found = memorization(train, make(train), holdout, random_state=0)
    assert authenticity[0] <= found.authenticity <= authenticity[1]
    assert z[0] < found.copying_z < z[1]
    assert copies[0] <= found.near_copies <= copies[1]
    assert found.near_copies_holdout < 0.01
    usual = memorization(train, normal(N, D, seed=3))
    if "cop" in case and "some" not in case:
        assert found.mifid_distance < 0.1 * usual.mifid_distance
        assert found.mifid_penalty > 10


def test_copies_of_the_holdout_are_no_copies_of_the_training_data():
    """What would be seen if training rows and holdout were taken for one another."""
    train, holdout = normal(N, D), normal(N, D, seed=1)
    found = memorization(train, holdout, holdout, **cells())
    assert found.copying_z == pytest.approx(0, abs=1e-12)
    assert found.authenticity > 0.3
    assert found.near_copies == found.near_copies_holdout


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize(("n", "m", "d"), [(60, 80, 5), (90, 40, 40), (30, 30, 2)])
def test_equals_the_formulas(n, m, d, offset):
    train, generated = normal(n, d) + offset, normal(m, d, seed=1) + offset
    generated[:9] = train[3:12]
    found = memorization(train, generated)
    for name, value in naive.memorization_figures(train, generated).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-8)
    np.testing.assert_allclose(
        found.nearest_distance, np.linalg.norm(generated - train[found.nearest], axis=1)
    )
    assert found.authenticity == found.authentic.mean()
    assert found.copying_z is found.near_copies_holdout is found.holdout_ratio is None


@pytest.mark.parametrize("whole", [False, True])
def test_the_copying_test_equals_counting_pairs(whole):
    rng = np.random.default_rng(0)
    mine, held = rng.exponential(size=130), 1.2 * rng.exponential(size=110)
    if whole:  # ties
        mine, held = np.round(mine), np.round(held)
    labels = rng.integers(4, size=130), rng.integers(4, size=110)
    labels[0][:] = np.where(labels[0] == 3, 2, labels[0])
    z, by_cell = copying_z(mine, held, *labels)
    assert z == pytest.approx(naive.copying_statistic(mine, held, *labels, 20), rel=1e-12)
    np.testing.assert_array_equal(np.isnan(by_cell), [False, False, False, True])


def test_the_copying_test_has_unit_variance_for_one_law():
    rng = np.random.default_rng(0)
    zeros = np.zeros(60, int)
    found = [copying_z(*rng.random((2, 60)), zeros, zeros)[0] for _ in range(400)]
    assert np.mean(found) == pytest.approx(0, abs=0.2)
    assert np.std(found) == pytest.approx(1, abs=0.12)


def test_copies_in_one_cell_are_seen_there():
    """Copying in a tenth of the space, as Meehan et al. plant it, is seen in its cell alone."""
    shift = np.repeat([[0.0], [50.0]], [N, N], axis=0)
    train, holdout, fresh = (normal(2 * N, D, seed=s) + shift for s in range(3))
    fresh[:N] = train[:N] + 0.01 * normal(N, D, seed=9)
    found = memorization(train, fresh, holdout, **cells())
    assert found.copying_cells.min() < -10
    assert abs(found.copying_cells.max()) < 3
    assert found.copying_z == pytest.approx(found.copying_cells.mean())


def test_cells_with_few_rows_are_not_counted():
    train = np.vstack([normal(50, 3), normal(50, 3) + 40])
    few = np.vstack([normal(50, 3, seed=1), normal(5, 3, seed=1) + 40])
    found = memorization(train, few, train + 0.01, **cells())
    assert np.isnan(found.copying_cells).sum() == 1
    assert np.isfinite(found.copying_z)
    found = memorization(train, few[:10], train + 0.01)
    assert np.isnan(found.copying_z)
    assert found.to_dict()["copying_z"] is None


def test_duplicated_training_rows():
    """Copies of what occurs twice are near copies; authenticity is blind to those with noise."""
    train = np.repeat(normal(100, D), 3, axis=0)
    generated = train[::3] + 0.01 * normal(100, D, seed=1)
    found = memorization(train, generated, train[::3] + 0.02)
    np.testing.assert_allclose(
        found.distance_ratio, naive.memorization_figures(train, generated)["distance_ratio"]
    )
    assert found.near_copies == found.near_copies_holdout == 1
    assert found.authenticity == 1
    assert found.n_train_duplicates == 300
    signed = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 9.0]])
    np.testing.assert_allclose(memorization(signed, [[0.0, 2.0]]).distance_ratio, [1 / 7])


def test_training_rows_that_are_all_equal():
    found = memorization(np.ones((9, 2)), [[1.0, 1.0], [2.0, 1.0]])
    np.testing.assert_array_equal(found.distance_ratio, [0, np.nan])
    assert found.near_copies == 0.5
    assert found.plot() is not None


def test_a_holdout_that_overlaps_is_said():
    train, holdout = normal(60, 3), normal(40, 3, seed=1)
    holdout[[7, 30]] = train[[3, 3]]
    with pytest.warns(
        UserWarning, match="2 of 40 holdout rows are equal to a training row"
    ) as told:
        found = memorization(train, normal(30, 3, seed=2), holdout)
    assert told[0].filename == __file__
    np.testing.assert_array_equal(found.holdout_duplicates, [7, 30])
    assert found.to_dict()["n_holdout_duplicates"] == 2


def test_penalty_of_mifid():
    train = np.eye(2)
    found = memorization(train, [[3.0, 0.0], [0.0, -2.0]])
    assert (found.mifid_distance, found.mifid_penalty) == (0, np.inf)
    found = memorization(train, [[1.0, 1.0], [0.0, 0.0]])  # the second has no direction
    assert found.mifid_distance == pytest.approx(1 - np.sqrt(0.5))
    assert found.mifid_penalty == 1
    found = memorization(train, [[1.0, 1.0]], mifid_threshold=0.5)
    assert found.mifid_penalty == pytest.approx(1 / (1 - np.sqrt(0.5)))


def test_mifid_term_equals_that_of_torchmetrics():
    torch = pytest.importorskip("torch")
    mifid = pytest.importorskip("torchmetrics.image.mifid")
    train, generated = np.abs(normal(80, 12)), np.abs(normal(60, 12, seed=1))
    theirs = mifid._compute_cosine_distance(
        torch.from_numpy(generated), torch.from_numpy(train), cosine_distance_eps=10.0
    )
    assert memorization(train, generated).mifid_distance == pytest.approx(float(theirs), rel=1e-12)


def test_one_pass_serves_both():
    train, generated, holdout = (normal(70, 4, seed=s) for s in range(3))
    found = neighbor_pass(train, generated, 5)
    assert Manifold.of(found).to_dict() == manifold(train, generated).to_dict()
    assert (
        memorization_of(found, holdout, **cells()).to_dict()
        == memorization(train, generated, holdout, **cells()).to_dict()
    )


def test_libraries_change_nothing(backend):
    sets = [normal(60, 4, seed=s) for s in range(3)]
    expected = memorization(*sets, **cells()).to_dict()
    assert memorization(*map(backend.array, sets), **cells(), n_jobs=2).to_dict() == expected


def test_what_is_shown():
    found = memorization(normal(60, 4), normal(50, 4, seed=1), normal(40, 4, seed=2))
    told = json.loads(json.dumps(found.to_dict()))
    assert told["directions"]["authenticity"].startswith("higher is better")
    assert told["n_holdout"] == 40
    assert "copying_z=" in repr(found)
    assert "(holdout" in repr(found)
    assert "copying" not in repr(memorization(normal(60, 4), normal(50, 4)))
    assert "<th" in found._repr_html_()
    assert dict(found.to_xarray().sizes) == {"generated": 50, "holdout": 40}
    assert len(found.plot().axes[0].lines) == 3


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": normal(1, 3)}, ValueError, "train must have more than n_neighbors=1 rows"),
        ({"train": normal(0, 3)}, ValueError, "train must have rows and columns"),
        ({"generated": normal(9, 2)}, ValueError, "train and generated must have the same number"),
        ({"generated": normal(9, 3) * np.inf}, ValueError, "generated must be finite"),
        ({"holdout": normal(9, 2)}, ValueError, "train and holdout must have the same number"),
        ({"holdout": normal(9, 3) * np.nan}, ValueError, "holdout must be finite"),
        ({"holdout": normal(0, 3)}, ValueError, "holdout must have rows"),
        ({"n_cells": 2}, ValueError, "n_cells is for the copying test, which needs holdout"),
        ({"holdout": normal(9, 3), "n_cells": 99}, ValueError, "n_cells must be at most the 40"),
        ({"holdout": normal(9, 3), "n_cells": 0}, ValueError, "n_cells must be at least 1"),
        ({"copy_ratio": -1}, ValueError, "copy_ratio must be finite and at least 0"),
        ({"mifid_threshold": "x"}, TypeError, "mifid_threshold must be a number"),
    ],
)
def test_bad_input_is_named(changes, error, message):
    given = {"train": normal(40, 3), "generated": normal(30, 3, seed=1), **changes}
    with pytest.raises(error, match=message):
        memorization(
            given.pop("train"), given.pop("generated"), given.pop("holdout", None), **given
        )
