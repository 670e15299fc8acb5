"""fastgen.modes.data: constants of the codes they come from, labels, centers and scales."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastgen import modes

GAUSSIANS = {
    "ring": (8, 2, 0.05, 250),
    "grid": (25, 2, 0.1, 50),
    "cube": (27, 3, 0.1, 50),
    "spiral": (20, 2, 0.1, 50),
    "circles": (24, 2, 0.05, 50),
    "helix": (20, 2, 1.0, 50),
}


@pytest.mark.parametrize("name", GAUSSIANS)
def test_gaussian_modes(name):
    n_modes, d, scale, count = GAUSSIANS[name]
    data = getattr(modes, name)(random_state=0)
    assert data.X.shape == (n_modes * count, d)
    assert data.centers.shape == (n_modes, d)
    np.testing.assert_array_equal(data.scale, np.full(n_modes, scale))
    np.testing.assert_array_equal(np.bincount(data.labels), np.full(n_modes, count))
    np.testing.assert_allclose(data.weights, 1 / n_modes)
    noise = (data.X - data.centers[data.labels]) / scale
    assert np.abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1, abs=0.05)
    again = getattr(modes, name)(random_state=0)
    np.testing.assert_array_equal(again.X, data.X)
    assert not np.array_equal(getattr(modes, name)(random_state=1).X, data.X)


def test_where_the_centers_are():
    np.testing.assert_allclose(np.linalg.norm(modes.ring().centers, axis=1), 2)
    assert sorted(set(modes.grid().centers[:, 0])) == [-4, -2, 0, 2, 4]
    assert set(modes.cube(2).centers.ravel()) == {-4, 4}
    far = np.linalg.norm(modes.circles().centers, axis=1)
    np.testing.assert_allclose(far, np.repeat([1, 2, 3], 8))
    i = np.arange(20)
    np.testing.assert_allclose(np.linalg.norm(modes.helix().centers, axis=1), i**2)
    np.testing.assert_allclose(modes.helix().centers[3], [9 * math.cos(1), 9 * math.sin(1)])
    spiral = modes.spiral().centers
    np.testing.assert_allclose(np.linalg.norm(spiral[[0, -1]], axis=1), [0, 4], atol=1e-12)
    steps = np.linalg.norm(np.diff(spiral, axis=0), axis=1)
    assert steps[1:].max() < 1.1 * steps[1:].min()


def test_sine_with_a_rare_mode():
    data = modes.sine_with_rare_mode(random_state=0)
    assert data.weights[-1] == pytest.approx(0.00249, abs=5e-6)
    assert data.weights.sum() == pytest.approx(1)
    curve, rare = data.X[:100_000], data.X[100_000:]
    np.testing.assert_allclose(curve[:, 1], curve[:, 0] * np.sin(4 * np.pi * curve[:, 0]))
    assert np.abs(rare - [0, 10]).max() < 6 * data.scale[-1]
    assert rare.std() == pytest.approx(math.sqrt((rare - [0, 10]).var() + 25), rel=0.01)
    shares = np.bincount(data.labels) / len(data.X)
    assert (np.abs(shares - data.weights) < 4.5 * np.sqrt(data.weights / len(data.X))).all()
    report = modes.mode_report(data.X, data.centers, data.scale, weights=data.weights)
    np.testing.assert_array_equal(report.labels, data.labels)
    assert report.low_quality < 0.001
    assert report.total_variation < 0.02
    assert report.shares[-1] == pytest.approx(data.weights[-1], rel=0.02)


def test_box_with_spike():
    data = modes.box_with_spike(random_state=0)
    assert data.scale[1] == pytest.approx(math.sqrt(0.05) / 2000)
    assert data.scale[0] == pytest.approx(data.X[:100_000].std(), rel=0.01)
    assert np.abs(data.X[:100_000]).max() <= 0.05
    assert 3 * data.scale[0] > 0.05 * math.sqrt(2)
    np.testing.assert_allclose(data.X[100_000:].mean(0), [2, 2], atol=1e-4)
    np.testing.assert_array_equal(np.bincount(data.labels), [100_000, 250])


def test_stacked_digits():
    from sklearn.datasets import load_digits

    data = modes.stacked_digits(4000, random_state=0)
    assert data.X.shape == (4000, 192)
    assert (data.X.min(), data.X.max()) == (0, 1)
    images, digits = load_digits(return_X_y=True)
    known = {image.tobytes(): digit for image, digit in zip(images / 16, digits, strict=True)}
    for row, label in zip(data.X[:200], data.labels[:200], strict=True):
        channels = [known[channel.tobytes()] for channel in row.reshape(3, 64)]
        assert label == channels[0] + 10 * channels[1] + 100 * channels[2]
    label = 123
    for channel, digit in enumerate((3, 2, 1)):
        mean = images[digits == digit].mean(0) / 16
        np.testing.assert_allclose(data.centers[label].reshape(3, 64)[channel], mean)
    squares = ((data.X - data.centers[data.labels]) ** 2).sum(1)
    assert (squares / data.scale[data.labels] ** 2).mean() == pytest.approx(1, abs=0.03)
    report = modes.mode_report(data.X, data.centers, data.scale)
    assert report.low_quality < 0.01
    assert 0.65 < (report.labels == data.labels).mean() < 0.85
    assert np.bincount(data.labels % 10).min() > 300


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modes.ring(0), "n_modes must be at least 1"),
        (lambda: modes.ring(scale=-1), "scale must be finite and at least 0"),
        (lambda: modes.grid(1), "side must be at least 2"),
        (lambda: modes.spiral(1), "n_modes must be at least 2"),
        (lambda: modes.circles([]), "radii must hold at least one radius"),
        (lambda: modes.helix(n_per_mode=0), "n_per_mode must be at least 1"),
        (lambda: modes.sine_with_rare_mode(n_rare=0), "n_rare must be at least 1"),
        (lambda: modes.box_with_spike(0), "n_box must be at least 1"),
        (lambda: modes.stacked_digits(0), "n must be at least 1"),
    ],
)
def test_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_repr():
    assert repr(modes.helix()) == "ModeData(1000 rows, 2 columns, 20 modes)"
