"""Figures of searches: pairs of images, and distributions of errors."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from fastgen import plotting

RNG = np.random.default_rng(0)
TRAIN, VALIDATION = RNG.chisquare(5, 200) / 100, 1.3 * RNG.chisquare(5, 100) / 100


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def decades(axes):
    low, high = np.log10(axes.get_xlim())
    return high - low


def test_overfit_shows_what_is_compared_and_names_a_floor_far_below():
    (axes,) = plotting.overfit_figure(TRAIN, VALIDATION, np.full(64, 3e-17)).axes
    assert decades(axes) < 4
    assert legend(axes) == [
        "train, n = 200",
        "validation, n = 100",
        "planted floor: median 3e-17, n = 64",
    ]
    assert sum(map(len, (patch.get_xy() for patch in axes.patches))) > 0
    counts = [patch.get_xy()[:, 1].max() for patch in axes.patches]
    assert len(counts) == 2, "the floor is not drawn"


def test_overfit_draws_a_floor_that_is_near():
    (axes,) = plotting.overfit_figure(TRAIN, VALIDATION, TRAIN[:50] / 20).axes
    assert legend(axes)[2] == "planted, n = 50"
    assert len(axes.patches) == 3


def test_overfit_takes_panels_labels_and_titles():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    found = plotting.overfit_figure(
        TRAIN, VALIDATION, TRAIN, ax=right, labels={"train": "seen"}, title="epoch 3"
    )
    assert found is figure
    assert not left.patches
    assert legend(right)[0] == "seen, n = 200"
    assert right.get_title() == "epoch 3"
    with pytest.raises(ValueError, match="labels must be one of 'train', 'validation', 'planted'"):
        plotting.overfit_figure(TRAIN, VALIDATION, TRAIN, labels={"test": "unseen"})


def test_overfit_leaves_out_what_was_not_searched():
    some = TRAIN.copy()
    some[:50] = np.nan
    (axes,) = plotting.overfit_figure(some, VALIDATION, np.zeros(3)).axes
    assert legend(axes)[0] == "train, n = 150"


@pytest.mark.parametrize("errors", [np.zeros(4), np.zeros(0), np.ones(1)])
def test_overfit_of_degenerate_errors(errors):
    figure = plotting.overfit_figure(errors, errors, errors)
    figure.draw_without_rendering()
    assert legend(figure.axes[0])[0] == f"train, n = {len(errors)}"


def test_targets_are_reshaped_and_tensors_taken():
    torch = pytest.importorskip("torch")
    targets = torch.rand(4, 1, 6, 6, requires_grad=True)
    flat = targets.detach().numpy().reshape(4, 36)
    figure = plotting.nearest_figure(targets, flat + 0.1, np.full(4, 0.01), n_images=2)
    assert figure.axes[1].images[0].get_array().shape == (6, 6)
    with pytest.raises(ValueError, match=r"X must be the targets, of shape \(4, 36\)"):
        plotting.nearest_figure(flat[:3], flat, np.ones(4))
    with pytest.raises(ValueError, match="no target was searched"):
        plotting.nearest_figure(flat, flat, np.ones(4), finished=np.zeros(4, bool))


def test_score_shows_effort_of_data_and_floor():
    targets = RNG.random((6, 5, 5))
    history = np.array([[1.0, 25.0], [8.0, 2.5]])
    figure = plotting.score_figure(
        targets, targets, np.full(6, 0.1), np.full(9, 1e-12), history=history,
        planted_history=history / 100, n_images=3, title="a net",
    )  # fmt: skip
    errors, effort = figure.axes[:2]
    assert legend(errors) == ["data, n = 6", "planted, n = 9"]
    np.testing.assert_allclose(effort.lines[0].get_ydata(), [1.0, 0.1])
    assert figure._suptitle.get_text() == "a net"
