"""fastgen.modes.mode_report: figures against the oracle, the result, its picture, the door."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oracles import modes as naive

from fastgen import modes
from fastgen.modes import mode_report


def skewed(seed=0, n=300):
    """Samples of a ring that favor some modes, some of them far from any."""
    rng = np.random.default_rng(seed)
    data = modes.ring(random_state=seed)
    pick = rng.choice(8, size=n, p=np.array([40, 30, 15, 10, 3, 1, 1, 0]) / 100)
    return data, data.centers[pick] + 0.09 * rng.standard_normal((n, 2))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("uneven", [False, True])
def test_the_shares_are_the_oracle(seed, uneven):
    data, samples = skewed(seed)
    scale = np.linspace(0.03, 0.1, 8) if uneven else 0.05
    weights = np.arange(1, 9) if uneven else None
    found = mode_report(samples, data.centers, scale, weights=weights, quality=2, fair_share=0.3)
    expected = naive.mode_shares(samples, data.centers, scale, weights, quality=2, fair=0.3)
    figures = found.touched, found.filled, found.low_quality, found.total_variation
    np.testing.assert_allclose(figures, expected, rtol=1e-12)
    assert found.counts.sum() == found.n_samples == 300
    assert found.wasserstein is None
    assert found.n_compared == 0


def test_touched_is_not_filled():
    data, samples = skewed()
    found = mode_report(samples, data.centers, 0.05)
    assert found.touched > found.filled > 0


def test_data_fill_all_modes_in_their_shares():
    for data in (modes.grid(random_state=0), modes.box_with_spike(2000, 50, random_state=0)):
        found = mode_report(data.X, data.centers, data.scale, weights=data.weights)
        assert found.filled == found.touched == found.n_modes
        assert found.low_quality < 0.02
        assert found.total_variation < 0.02


def test_nothing_good():
    data = modes.ring(random_state=0)
    found = mode_report(np.full((5, 2), 50.0), data.centers, data.scale, reference=data.X)
    assert (found.touched, found.filled, found.low_quality) == (0, 0, 1.0)
    assert found.total_variation == 1
    assert found.n_compared == 5
    found.plot()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_distances_of_distributions_are_the_oracle(d):
    rng = np.random.default_rng(d)
    x, y = rng.standard_normal((6, d)), rng.standard_normal((6, d)) + 1
    found = mode_report(x, np.zeros((1, d)), 1.0, reference=y)
    assert found.wasserstein == pytest.approx(naive.exact_transport(x, y), rel=1e-12)
    assert found.energy_distance == pytest.approx(naive.energy_distance(x, y), rel=1e-10)
    same = mode_report(x, np.zeros((1, d)), 1.0, reference=x[::-1])
    assert same.wasserstein == pytest.approx(0, abs=1e-12)
    assert same.energy_distance == pytest.approx(0, abs=1e-12)


def test_a_shift_of_everything_is_its_length():
    x = np.random.default_rng(0).standard_normal((400, 3))
    found = mode_report(x + np.array([3, 0, 4]), np.zeros((1, 3)), 1.0, reference=x)
    assert found.wasserstein == pytest.approx(5, rel=1e-12)


def test_as_many_rows_are_compared_as_there_are():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 2)), rng.standard_normal((80, 2))
    options = {"centers": np.zeros((1, 2)), "scale": 1.0, "reference": y}
    assert mode_report(x, **options, random_state=0).n_compared == 50
    one = mode_report(x, **options, max_compared=20, random_state=0)
    again = mode_report(x, **options, max_compared=20, random_state=0)
    other = mode_report(x, **options, max_compared=20, random_state=1)
    assert one.n_compared == 20
    assert one.wasserstein == again.wasserstein != other.wasserstein


def test_images_and_tensors():
    torch = pytest.importorskip("torch")
    data = modes.stacked_digits(300, random_state=0)
    flat = mode_report(data.X, data.centers, data.scale, reference=data.X)
    images = torch.from_numpy(data.X.reshape(-1, 3, 8, 8))
    found = mode_report(images, data.centers, data.scale, reference=images)
    assert found.total_variation == flat.total_variation
    assert found.wasserstein == flat.wasserstein
    assert found.low_quality < 0.01


# --- the result ----------------------------------------------------------------------------------


def report(n_modes=8):
    data, samples = skewed()
    if n_modes > 40:
        data = modes.grid(7, 20, random_state=0)
        return mode_report(data.X, data.centers, data.scale)
    return mode_report(samples, data.centers, data.scale, reference=data.X, random_state=0)


def test_to_dict_is_plain_and_to_xarray_labelled():
    found = report()
    figures = found.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert figures["n_modes"] == 8
    table = found.to_xarray()
    assert table["centers"].dims == ("mode", "axis")
    np.testing.assert_array_equal(table["shares"], found.shares)
    assert table.attrs["filled"] == found.filled
    no_reference = mode_report(found.samples, found.centers, found.scale).to_xarray()
    assert np.isnan(no_reference.attrs["wasserstein"])
    assert "<table>" in found._repr_html_()
    assert repr(found).startswith("ModeReport(300 samples: ")


def test_the_report_owns_its_arrays():
    data, samples = skewed()
    found = mode_report(samples, data.centers, data.scale)
    before = found.samples.copy(), found.centers.copy(), found.scale.copy()
    samples += 1
    data.centers[:] = 0
    data.scale[:] = 9
    for kept, now in zip(before, (found.samples, found.centers, found.scale), strict=True):
        np.testing.assert_array_equal(kept, now)
    with pytest.raises(AttributeError):
        found.filled = 3


@pytest.mark.parametrize("n_modes", [8, 49])
def test_the_picture(n_modes, tmp_path):
    found = report(n_modes)
    figure = found.plot(width=6)
    assert figure.get_figwidth() == 6
    plane, bars = figure.axes
    drawn = sum(len(part.get_offsets()) for part in plane.collections[:2])
    assert drawn == found.n_samples
    if n_modes == 8:
        heights = [bar.get_height() for bar in bars.patches]
        np.testing.assert_array_equal(heights, found.shares)
        assert len(plane.collections[1].get_offsets()) == round(300 * found.low_quality)
    else:
        np.testing.assert_array_equal(bars.lines[0].get_ydata(), np.sort(found.shares)[::-1])
    figure.savefig(tmp_path / "modes.png")


@pytest.mark.parametrize("d", [1, 3])
def test_the_picture_of_one_and_of_many_columns(d, tmp_path):
    rng = np.random.default_rng(0)
    figure = mode_report(rng.standard_normal((6000, d)), rng.standard_normal((4, d)), 0.5).plot()
    figure.savefig(tmp_path / "modes.png")
    label = "first principal direction" if d == 3 else "first coordinate"
    assert figure.axes[0].get_xlabel() == label


# --- the door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": np.zeros((0, 2))}, "samples must have at least 1 rows"),
        ({"samples": [[np.nan, 0.0]]}, "samples must be finite, got nan at row 0, column 0"),
        ({"centers": np.zeros((2, 3))}, "samples and centers must have the same number of columns"),
        ({"scale": 0.0}, "scale must be positive, got 0"),
        ({"scale": [1.0]}, "scale must be a number or have one of each of the 2 modes"),
        ({"scale": np.nan}, "scale must be finite, got nan"),
        ({"weights": [1.0, -1.0]}, "weights must be at least 0"),
        ({"weights": [0.0, 0.0]}, "weights must be at least 0 and have a positive sum"),
        ({"weights": [1.0, 1.0, 1.0]}, "weights must be a number or have one of each"),
        ({"quality": -1}, "quality must be finite and at least 0"),
        ({"max_compared": 0}, "max_compared must be at least 1"),
        ({"reference": np.zeros((4, 3))}, "samples and reference must have the same number"),
    ],
)
def test_the_door(changes, message):
    arguments = {"samples": np.zeros((4, 2)), "centers": np.eye(2), "scale": 1.0, **changes}
    with pytest.raises(ValueError, match=message):
        mode_report(**arguments)
