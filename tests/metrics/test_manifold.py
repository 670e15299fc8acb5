"""Precision, recall, density, coverage and realism: formulas, planted failures, doors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oracles import neighbor_pass as naive
from samples import normal

from fastgen.metrics import Manifold, manifold, neighbor_pass

FIGURES = ("precision", "recall", "density", "coverage")


def two_modes(n, seed, width=1.0):
    rng = np.random.default_rng(seed)
    rows = width * rng.standard_normal((n, 6))
    rows[: n // 2, 0] += 20
    return rows


# What is planted, and which figures see it: low (-), as for two samples of one law (0), high (+).
PLANTED = {
    "one law": (lambda: two_modes(600, 1), "0000"),
    "a mode dropped": (lambda: two_modes(1200, 1)[600:], "0-0-"),
    "narrow": (lambda: two_modes(600, 1, 0.4), "+-+-"),
    "noise added": (lambda: two_modes(600, 1) + 3 * normal(600, 6, seed=2), "-+--"),
    "elsewhere": (lambda: two_modes(600, 1) + 100, "----"),
    "one point of the data": (lambda: np.repeat(two_modes(600, 0)[7:8], 600, 0), "+---"),
    "copies": (lambda: two_modes(600, 0), "++0+"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_planted_failures_are_seen_by_the_figure_that_is_made_for_them(case):
    make, wanted = PLANTED[case]
    real = two_modes(600, 0)
    usual = manifold(real, two_modes(600, 3))
    found = manifold(real, make())
    for name, sign in zip(FIGURES, wanted, strict=True):
        change = getattr(found, name) - getattr(usual, name)
        if case == "copies" and name == "density":
            assert found.density == pytest.approx(1 + 1 / 5, abs=0.02)  # closed balls
        elif case == "one point of the data" and name == "density":
            assert found.density == found.real_balls[0] / 5
        elif sign == "0":
            assert abs(change) < 0.08, (name, change)
        elif sign == "-":
            assert change < -0.1, (name, change)
        else:
            assert change > 0.02, (name, change)


def test_precision_and_recall_are_not_swapped():
    """A generator of one mode of two is precise; one of both modes and noise recalls all."""
    real = two_modes(400, 0)
    half, wide = two_modes(800, 1)[400:], np.vstack([two_modes(400, 1), 50 + normal(400, 6)])
    dropped, noisy = manifold(real, half), manifold(real, wide)
    assert dropped.precision > 0.75
    assert 0.3 < dropped.recall < 0.5
    assert noisy.recall > 0.75
    assert 0.3 < noisy.precision < 0.5
    # the first argument is what is real
    back = manifold(half, real)
    assert (back.precision, back.recall) == (dropped.recall, dropped.precision)
    np.testing.assert_array_equal(back.real_balls > 0, dropped.recalled)


def test_by_hand():
    """Real 0, 1, 3 with radii 1, 1, 2; generated 1.5, 9, 9.25 with radii 7.5, 0.25, 0.25."""
    found = manifold([[0.0], [1.0], [3.0]], [[1.5], [9.0], [9.25]], n_neighbors=1)
    np.testing.assert_array_equal(found.real_balls, [2, 0, 0])
    np.testing.assert_array_equal(found.recalled, [True] * 3)
    np.testing.assert_array_equal(found.covered, [False, True, True])
    figures = [getattr(found, name) for name in FIGURES]
    np.testing.assert_allclose(figures, [1 / 3, 1, 2 / 3, 2 / 3])
    # radii up to the median are those of 0 and 1
    np.testing.assert_allclose(found.realism, [2, 1 / 8, 1 / 8.25])
    np.testing.assert_array_equal(found.nearest_real, [1, 2, 2])
    np.testing.assert_array_equal(found.nearest_generated, [0, 0, 0])


@pytest.mark.parametrize("offset", [0.0, 1e7])
@pytest.mark.parametrize(("n", "m", "d", "k"), [(60, 80, 5, 5), (90, 40, 40, 3), (30, 30, 1, 1)])
def test_equals_the_formulas(n, m, d, k, offset):
    real, generated = normal(n, d) + offset, 0.9 * normal(m, d, seed=1) + offset
    found = manifold(real, generated, n_neighbors=k)
    for name, value in naive.manifold_figures(real, generated, k).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12)
    assert (found.n_real, found.n_generated, found.n_neighbors) == (n, m, k)


def test_two_samples_of_one_law_have_the_expected_figures():
    """Naeem et al.: density 1, coverage 1 - 2**-k in expectation, for sets of equal size."""
    found = [manifold(normal(500, 3, seed=s), normal(500, 3, seed=s + 50)) for s in range(8)]
    assert np.mean([f.density for f in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([f.coverage for f in found]) == pytest.approx(1 - 2**-5, abs=0.01)


def test_rotation_shift_and_scale_change_nothing():
    real, generated = normal(80, 6), 1.3 * normal(70, 6, seed=1)
    turn = np.linalg.qr(normal(6, 6, seed=2))[0]
    first = manifold(real, generated)
    second = manifold(7 * real @ turn + 100, 7 * generated @ turn + 100)
    np.testing.assert_array_equal(first.real_balls, second.real_balls)
    np.testing.assert_allclose(first.realism, second.realism)


def test_duplicated_data_are_inside_their_balls():
    """A copy of a row that occurs more often than k times lies in a ball of radius 0."""
    real = np.repeat(normal(10, 3), 4, axis=0)
    found = manifold(real, real[::4].repeat(3, axis=0), n_neighbors=2)
    assert found.precision == found.recall == found.coverage == 1
    assert np.isinf(found.realism).all()
    assert found.to_dict()["realism_median"] is None


def test_threads_and_libraries_change_nothing(backend):
    real, generated = normal(60, 4), normal(50, 4, seed=1)
    expected = manifold(real, generated, n_neighbors=3).to_dict()
    found = manifold(backend.array(real), backend.array(generated), n_neighbors=3, n_jobs=2)
    assert found.to_dict() == expected


def test_what_is_shown():
    found = manifold(normal(60, 4), normal(50, 4, seed=1))
    told = json.loads(json.dumps(found.to_dict()))
    assert set(told["directions"]) == {*FIGURES, "realism"}
    assert all("higher is better" in text for text in told["directions"].values())
    low, high = told["intervals"]["precision"]
    assert 0 <= low < found.precision < high <= 1
    assert "precision=" in repr(found)
    assert "<th" in found._repr_html_()
    data = found.to_xarray()
    assert dict(data.sizes) == {"real": 60, "generated": 50}
    assert float(data.recall) == float(data.recalled.mean())
    figure = found.plot()
    assert len(figure.axes[0].patches) == 4
    assert len(manifold([[0.0]] * 9, [[0.0]] * 9).plot().axes) == 2


@pytest.mark.parametrize(
    ("real", "generated", "k", "error", "message"),
    [
        (normal(5, 3), normal(9, 3), 5, ValueError, "real must have more than n_neighbors=5 rows"),
        (normal(9, 3), normal(1, 3), 1, ValueError, "generated must have more than n_neighbors=1"),
        (normal(9, 3), normal(9, 3)[:0], 2, ValueError, "generated must have rows and columns"),
        (normal(9, 3), normal(9, 2), 2, ValueError, "same number of columns, got 3 and 2"),
        (normal(9, 3) * np.nan, normal(9, 3), 2, ValueError, "real must be finite, got nan"),
        (normal(9, 3), "abc", 2, TypeError, "generated must hold real numbers"),
        (normal(9, 3), normal(9, 3), True, TypeError, "n_neighbors must be an integer"),
    ],
)
def test_bad_input_is_named(real, generated, k, error, message):
    with pytest.raises(error, match=message):
        manifold(real, generated, n_neighbors=k)


def test_a_pass_without_balls_is_refused():
    found = neighbor_pass(normal(9, 3), normal(9, 3), 2, balls=False)
    with pytest.raises(ValueError, match="balls=True"):
        Manifold.of(found)
