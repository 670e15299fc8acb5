"""Figures of local sampling."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen.plotting.diffusion import calibration_figure, local_figure, training_figure


def test_calibration():
    figure = calibration_figure([0.1, 1, 10], [0.1, 0.6, 1.2], measured=[0.1, 0.5, 1.1])
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    drawn = [line.get_ydata().tolist() for line in axes.lines]
    assert drawn == [[0.1, 0.6, 1.2], [0.1, 0.5, 1.1]]
    with pytest.raises(ValueError, match="one shape"):
        calibration_figure([1.0], [1.0, 2.0])


def test_training():
    errors = np.array([[0.5, 0.9, 1.0], [0.2, 0.7, 0.95]])
    (axes,) = training_figure([10, 20], errors, [0.1, 1.0, 5.0]).axes
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal([line.get_ydata() for line in axes.lines], errors.T)
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["0.1", "1", "5"]
    for steps, levels in (([10], [0.1, 1, 5]), ([10, 20], [0.1]), ([], [])):
        with pytest.raises(ValueError, match=r"errors must have shape \(steps, levels\)"):
            training_figure(steps, errors, levels)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_their_samples(channels):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, channels, 8, 6))
    samples = rng.uniform(-1, 1, (2, 3, channels, 8, 6))
    picture = local_figure(x, samples).axes[0].images[0].get_array()
    assert picture.shape[:2] == (2 * 10, 4 * 8)
    np.testing.assert_allclose(picture[10:18, 16:22].reshape(8, 6, -1),
                               (samples[1, 1].transpose(1, 2, 0) + 1) / 2)  # fmt: skip
    with pytest.raises(ValueError, match="same images"):
        local_figure(x, samples[:, :, :, :4])
