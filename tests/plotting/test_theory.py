"""The figure of theory draws what the formulas say."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen import plotting
from fastgen.linear import theory


def test_theory_figure_draws_what_theory_says():
    figure = plotting.theory_figure(10, [1, 30], effective_rank=5.0)
    gain, spread, steps = (axes.lines for axes in figure.axes)
    ks = np.arange(1, 31)
    for line, values in (
        (gain[0], theory.expected_gain(10, ks)),
        (gain[1], theory.asymptotic_gain(ks / 10)),
        (spread[0], np.sqrt(theory.gain_variance(10, ks, 5.0))),
        (steps[0], theory.training_steps(10, ks)),
    ):
        np.testing.assert_array_equal(line.get_xdata(), ks)
        finite = np.isfinite(values)
        assert not finite.all()
        np.testing.assert_array_equal(line.get_ydata()[finite], values[finite])
        assert np.isnan(line.get_ydata()[~finite]).all()
    for axes in figure.axes:
        assert axes.get_yscale() == "log"


def test_theory_figure_refuses():
    with pytest.raises(ValueError, match="n must be at least 1"):
        plotting.theory_figure(0, [1, 2])
    with pytest.raises(ValueError, match="latent_dims must be positive integers"):
        plotting.theory_figure(5, [0, 2])
    with pytest.raises(ValueError, match="effective_rank must be at least 1"):
        plotting.theory_figure(5, [1, 20], effective_rank=0.5)
