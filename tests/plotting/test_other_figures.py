"""Figures of densities and of transport."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen import plotting

GRID = np.linspace(-1, 1, 9)[None]


def test_densities_name_columns_and_components():
    figure = plotting.density_figure(
        GRID, np.ones((9, 1, 9)), np.full(9, 1 / 9), np.zeros(8, int),
        labels=list("abcdefgh"), title="genes",
    )  # fmt: skip
    (axes,) = figure.axes
    assert axes.get_title() == "block 0: columns a, b, c, d, e, f, ..."
    assert figure._suptitle.get_text() == "genes"
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 9


@pytest.mark.parametrize("labels", ["ab", ["a"], ["a", "b", "c"]])
def test_densities_refuse_labels_of_another_length(labels):
    with pytest.raises(ValueError, match="labels must name each of the"):
        plotting.density_figure(
            GRID, np.ones((1, 1, 9)), np.ones(1), np.zeros(len(labels) + 1, int), labels=labels
        )


def test_densities_refuse_shapes_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"densities must have shape \(2, 1, 9\)"):
        plotting.density_figure(GRID, np.ones((1, 1, 9)), np.ones(2), np.zeros(1, int))


def test_transport_names_the_sets_and_shows_one_component():
    figure = plotting.transport_figure(
        np.ones((1, 1)), np.array([[3.0, 1.0]]), labels=("real", "made"), title="WaM 4"
    )
    plan, bars = figure.axes
    assert [text.get_text() for text in plan.texts] == ["100"]
    assert list(plan.get_xticks()) == list(plan.get_yticks()) == [0]
    assert plan.get_ylabel() == "component of real"
    assert bars.get_title() == "WaM 4"
    figure.draw_without_rendering()
    box = bars.get_legend().get_window_extent()
    assert not any(box.overlaps(patch.get_window_extent()) for patch in bars.patches)


@pytest.mark.parametrize(
    ("plan", "parts", "labels", "message"),
    [
        (np.ones(2), np.ones((2, 2)), "XY", "plan must have shape"),
        (np.eye(2), np.ones((3, 2)), ("X", "Y"), "contributions"),
        (np.eye(2), np.ones((2, 2)), "XY", "labels must name the two sets"),
    ],
)
def test_transport_refuses(plan, parts, labels, message):
    with pytest.raises(ValueError, match=message):
        plotting.transport_figure(plan, parts, labels=labels)
