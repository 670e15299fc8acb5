"""What the figures show, read back from their artists."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fastgen import plotting
from fastgen.linear import SpikedGaussian, sweep, theory

MODEL = SpikedGaussian(dim=16, true_dim=5)


@pytest.fixture(scope="module")
def two():
    return sweep(MODEL, latent_dims=range(1, 31), n_samples=10, n_trials=12, random_state=0)


@pytest.fixture(scope="module")
def many():
    return sweep(
        MODEL,
        latent_dims=range(1, 31),
        n_samples=10,
        n_supervised=[5, 8, 10],
        problems=["unsupervised", "pseudo_supervised", "ridge", "procrustes", "reduced_rank"],
        rank=3,
        n_trials=8,
        random_state=0,
    )


def lines(axes, text):
    return [line for line in axes.lines if text in str(line.get_label())]


def texts(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def legend(figure):
    return [t.get_text() for t in figure.legends[0].get_texts() if t.get_text()]


def test_medians_and_quartile_bands(two):
    left, right = plotting.sweep_figure(two).axes
    for axes, name in ((left, "w2"), (right, "gain")):
        assert axes.get_yscale() == "log"
        (line,) = lines(axes, "pseudo_supervised")
        values = two[name].sel(problem="pseudo_supervised").squeeze()
        np.testing.assert_allclose(line.get_ydata(), values.median("trial"))
        np.testing.assert_array_equal(line.get_xdata(), two.latent_dim)
        band = axes.collections[-1].get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose(band.max(), values.quantile(0.75, "trial").max())
        np.testing.assert_allclose(band.min(), values.quantile(0.25, "trial").min())
        assert axes.get_xlabel() == "latent dimension $k$"
        low, high = axes.get_ylim()
        assert low < band.min() < band.max() < high
    assert left.get_ylabel().startswith("squared 2-Wasserstein distance")
    assert "gain" in right.get_ylabel()
    assert len(left.collections) == 2
    assert not lines(right, "unsupervised")


def test_marked_dimensions_are_merged(two, many):
    left, right = plotting.sweep_figure(two).axes
    assert sorted(texts(left)) == sorted(texts(right)) == ["$d = 16$", "$n = n_s = 10$"]
    assert sorted(texts(plotting.sweep_figure(many).axes[0])) == [
        "$d = 16$",
        "$n = n_s = 10$",
        "$n_s = 5$",
        "$n_s = 8$",
    ]
    same = two.assign_attrs(dim=10)
    assert texts(plotting.sweep_figure(same).axes[0]) == ["$n = n_s = d = 10$"]
    outside = two.assign_attrs(dim=500)
    assert texts(plotting.sweep_figure(outside).axes[0]) == ["$n = n_s = 10$"]


def test_labels_do_not_overlap(many):
    figure = plotting.sweep_figure(many)
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[i + 1 :])
            assert box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_legend_is_outside_and_within_the_figure(many, width):
    figure = plotting.sweep_figure(many, width=width)
    assert figure.get_figwidth() == width
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= -1
    assert box.x1 <= figure.bbox.x1 + 1
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert legend(figure) == [
        "unsupervised",
        "pseudo-supervised",
        "ridge",
        "procrustes",
        "reduced-rank",
        "$n_s = 10$",
        "$n_s = 8$",
        "$n_s = 5$",
        "mean gain in theory",
    ]


def test_exact_mean_agrees_with_theory_and_breaks_where_infinite(many):
    right = plotting.sweep_figure(many).axes[1]
    exact = lines(right, "exact mean")
    assert len(exact) == 3
    for line, n in zip(exact, (5, 8, 10), strict=True):
        ks = line.get_xdata()
        np.testing.assert_array_equal(ks, np.arange(1, 31))
        expected = theory.expected_gain(n, ks.astype(int))
        finite = np.isfinite(expected)
        np.testing.assert_allclose(line.get_ydata()[finite], expected[finite])
        assert np.isnan(line.get_ydata()[[n - 2, n - 1, n]]).all()
        assert to_rgb(line.get_color()) == (0, 0, 0)
    assert any(np.all(np.equal(line.get_ydata(), 1)) for line in right.lines)


def test_simulated_gain_lies_on_the_exact_mean():
    data = sweep(MODEL, latent_dims=[2, 3, 25, 30], n_samples=10, n_trials=400, random_state=1)
    mean = data.gain.sel(problem="pseudo_supervised").mean("trial").squeeze()
    right = plotting.sweep_figure(data).axes[1]
    (line,) = lines(right, "exact mean")
    at = np.isin(line.get_xdata(), data.latent_dim)
    np.testing.assert_allclose(mean, line.get_ydata()[at], rtol=0.1)


def test_theory_of_the_other_problems():
    data = sweep(
        MODEL,
        latent_dims=[2, 4, 12, 25],
        n_samples=20,
        n_supervised=6,
        problems=["lexicographic", "constrained", "ridge", "free_latents"],
        n_trials=400,
        ridge=0.3,
        random_state=1,
    )
    right = plotting.sweep_figure(data).axes[1]
    (line,) = lines(right, "exact mean")  # of the first two problems, which agree up to n_s
    np.testing.assert_allclose(line.get_ydata()[:3], theory.expected_gain(6, [2, 3, 4]))
    assert np.isnan(line.get_ydata()[6 - 1 :]).all()
    (line,) = lines(right, "limit")
    mean = data.gain.sel(problem="ridge").mean("trial").squeeze()
    at = np.isin(line.get_xdata(), data.latent_dim)
    np.testing.assert_allclose(mean, line.get_ydata()[at], rtol=0.15)


def test_theory_can_be_left_out(two):
    figure = plotting.sweep_figure(two, theory=False)
    assert not lines(figure.axes[1], "exact")
    assert legend(figure) == ["unsupervised", "pseudo-supervised"]


def test_lines_are_told_apart(many):
    left = plotting.sweep_figure(many).axes[0]
    curves = lines(left, "unsupervised") + lines(left, "n_s")
    assert len({to_rgb(line.get_color()) for line in curves}) == 1 + 4 * 3
    solid = [line for line in curves if line.get_linestyle() == "-"]
    assert len(solid) == 1 + 4


def test_without_supervision_there_is_one_panel():
    data = sweep(
        MODEL, latent_dims=[3], n_samples=10, problems="unsupervised", n_trials=1, random_state=0
    )
    (axes,) = plotting.sweep_figure(data).axes
    assert texts(axes) == []
    assert axes.lines[0].get_marker() == "o"


@pytest.mark.parametrize("metric", ["projection_error", "train_error"])
def test_other_errors(two, metric):
    figure = plotting.sweep_figure(two, metric=metric)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_ylim()
    assert high / low < 1e6, "a training error of zero must not stretch the axis"


def test_unfinished_trials(two):
    holes = two.copy(deep=True)
    holes["w2"][..., ::2] = np.nan
    line, expected = (
        lines(plotting.sweep_figure(d).axes[0], "pseudo_supervised")[0]
        for d in (holes, two.isel(trial=slice(1, None, 2)))
    )
    np.testing.assert_array_equal(line.get_ydata(), expected.get_ydata())


def test_bad_arguments(two):
    with pytest.raises(ValueError, match=r"metric must be one of 'w2', .* did you mean 'w2'"):
        plotting.sweep_figure(two, metric="W2")
    with pytest.raises(TypeError, match=r"must be the xarray\.Dataset"):
        plotting.sweep_figure(None)
    with pytest.raises(ValueError, match="width must be finite and at least 1"):
        plotting.sweep_figure(two, width=0)


def test_nothing_global(two):
    before = dict(matplotlib.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    plotting.sweep_figure(two)
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    assert dict(matplotlib.rcParams) == before


def test_in_a_panel_of_the_user(many):
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    right.plot([1, 2])
    labels = {"unsupervised": "PCA", "pseudo_supervised": "made up"}
    assert plotting.sweep_figure(many, ax=left, labels=labels, title="digits") is figure
    assert len(right.lines) == 1
    assert left.get_title() == "digits"
    shown = [text.get_text() for text in left.get_legend().get_texts()]
    assert shown[:4] == ["PCA", "made up", "ridge", "procrustes"]
    np.testing.assert_allclose(
        lines(left, "unsupervised")[0].get_ydata(),
        many.w2.sel(problem="unsupervised").isel(n_supervised=0).median("trial"),
    )
    assert not figure.legends
    nested = Figure().subfigures(1, 2)[0].subplots()
    assert plotting.sweep_figure(many, ax=nested) is not figure


def test_a_title_stands_clear_of_the_marks(many):
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    plotting.sweep_figure(many, ax=axes, title="a title that is longer than all the marks")
    alone = plotting.sweep_figure(many, title="a title that is longer than all the marks")
    for drawn, title in ((figure, axes.title), (alone, alone._suptitle)):
        drawn.draw_without_rendering()
        box = title.get_window_extent()
        for panel in drawn.axes:
            marks = [text.get_window_extent() for text in panel.texts if text.get_text()]
            assert not any(box.overlaps(mark) for mark in marks)


def test_the_gain_alone(two):
    (axes,) = plotting.sweep_figure(two, metric="gain").axes
    assert "gain" in axes.get_ylabel()
    assert lines(axes, "exact mean")
    assert "unsupervised" not in legend(axes.figure)
    with pytest.raises(ValueError, match="dataset has no supervised problem"):
        plotting.sweep_figure(two.sel(problem=["unsupervised"]), metric="gain")


def test_labels_and_panels_are_checked(two):
    with pytest.raises(ValueError, match=r"labels must be one of .* did you mean 'unsupervised'"):
        plotting.sweep_figure(two, labels={"unsupervized": "PCA"})
    with pytest.raises(TypeError, match="labels must map names of problems to texts, got list"):
        plotting.sweep_figure(two, labels=["PCA"])
    with pytest.raises(TypeError, match=r"ax must be one matplotlib\.axes\.Axes, got ndarray"):
        plotting.sweep_figure(two, ax=Figure().subplots(1, 2))


def test_further_dimensions_are_named(two):
    with pytest.raises(ValueError, match=r"got alpha too; .* dataset\.isel\(alpha=0\)"):
        plotting.sweep_figure(two.expand_dims(alpha=[0.1, 0.2]))
