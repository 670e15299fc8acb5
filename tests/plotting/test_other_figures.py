"""Figures of densities and of transport."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest
import xarray

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


def test_profiles_put_like_clusters_beside_each_other():
    means = np.array([[0.0, 0, 9], [5, 5, 9], [0.1, 0, 9], [np.nan] * 3, [5, 5.1, 9]])
    figure = plotting.profile_figure(
        means, [0.25, 0.25, 0.25, 0.0, 0.25], labels=["a", "b", "c"], title="genes"
    )
    axes = figure.axes[0]
    names = [text.get_text().split()[0] for text in axes.get_yticklabels()]
    assert names[-1] == "3"  # the one without rows
    assert {frozenset(names[:2]), frozenset(names[2:4])} == {
        frozenset({"0", "2"}), frozenset({"1", "4"}),
    }  # fmt: skip
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b", "c"]
    picture = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(picture[:4, 2], 0)  # a column that is constant
    shown = picture[names.index("1"), 0] - picture[names.index("0"), 0]
    np.testing.assert_allclose(shown, 5 / np.std([0, 5, 0.1, 5]))
    given = plotting.profile_figure(means[:2], [0.5, 0.5], center=[1, 1, 1], scale=[2, 2, 2])
    np.testing.assert_allclose(np.ptp(given.axes[0].images[0].get_array()[:, 0]), 2.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(weights=[1.0]), "with a weight for each component"),
        (dict(labels=["a"]), "labels must name each of the 3"),
        (dict(scale=[1.0]), r"scale must have shape \(3,\)"),
    ],
)
def test_profiles_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        plotting.profile_figure(**{"means": np.eye(2, 3), "weights": [0.5, 0.5], **arguments})


def test_selection_marks_the_best_and_what_did_not_converge():
    scores = xarray.Dataset(
        {
            "score": (("n_components", "fold"), [[1.0, 2.0], [3.0, 5.0], [2.0, 2.0]]),
            "converged": (("n_components", "fold"), [[True, True], [True, True], [True, False]]),
        },
        {"n_components": [2, 3, 5]},
        {"criterion": "heldout", "best": 3},
    )
    axes = plotting.selection_figure(scores, title="table").axes[0]
    curve, settled, open_, pole = axes.lines
    np.testing.assert_allclose(curve.get_ydata(), [1.5, 4, 2])
    assert settled.get_xdata().tolist() == [2, 3]
    assert open_.get_xdata().tolist() == [5]
    assert pole.get_xdata() == [3, 3]
    assert axes.get_ylabel() == "log density of rows left out (nats a row)"
    with pytest.raises(ValueError, match="must be what select_components returns"):
        plotting.selection_figure(scores.drop_vars("score"))


def test_every_figure_has_its_name_in_the_package():
    folder = pathlib.Path(plotting.__file__).parent
    defined = set()
    for path in folder.glob("[a-z]*.py"):
        defined |= set(re.findall(r"^def ([a-z_]+_figure)\(", path.read_text(), re.MULTILINE))
    assert defined <= set(plotting.__all__)
