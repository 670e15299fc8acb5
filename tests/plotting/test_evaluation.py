"""Figures of evaluations: what they show, and what they refuse."""

from __future__ import annotations

import pytest

from fastgen.plotting import evaluation_figure, extrapolation_figure, save_figure

SCORE = {"value": 3.0, "floor": 1.0, "interval": (2.5, 3.5), "better": "lower"}


@pytest.mark.parametrize("width", [3.5, 7.0])
def test_scores(tmp_path, width):
    bare = {"value": 0.5, "floor": None, "interval": None, "better": None}
    none = {**SCORE, "value": None}
    outside = {**SCORE, "interval": (3.1, 3.2)}
    figure = evaluation_figure(
        {"fid": SCORE, "copying_z": bare, "fld": none, "kid": outside}, width=width
    )
    titles = {axes.get_title(loc="left") for axes in figure.axes}
    assert titles == {"fid (lower is better)", "copying_z", "kid (lower is better)"}
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["generated", "a perfect generator"]
    save_figure(figure, tmp_path / "scores.svg")


def test_extrapolation(tmp_path):
    figure = extrapolation_figure([1, 0.5, 0.25], [3.0, 4.0, 6.0], 2.0, 1.0, (1.8, 2.2))
    line, points = figure.axes[0].lines[:2]
    assert line.get_xydata().tolist() == [[0, 2], [4, 6]]
    assert points.get_xydata().tolist() == [[1, 3], [2, 4], [4, 6]]
    save_figure(figure, tmp_path / "fid.svg")


@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: evaluation_figure({"fid": {**SCORE, "value": None}}), "at least one value"),
        (lambda: evaluation_figure({"fid": SCORE}, width=0.1), "width must be"),
        (lambda: extrapolation_figure([1], [1, 2], 0, 0, (0, 0)), "one shape"),
        (lambda: extrapolation_figure([1], [1], 0, 0, (0, 0), width=-1), "width must be"),
    ],
)
def test_bad_input_is_named(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()
