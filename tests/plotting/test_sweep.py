"""What the figures show, read back from their artists."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

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


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")]
)
def test_save(two, tmp_path, suffix, magic):
    path = tmp_path / f"figure{suffix}"
    path.write_text("old")
    before = dict(matplotlib.rcParams)
    plotting.save_figure(plotting.sweep_figure(two), path)
    assert path.read_bytes().startswith(magic)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert dict(matplotlib.rcParams) == before
    reference = tmp_path / "reference"
    reference.touch()
    assert path.stat().st_mode == reference.stat().st_mode


def test_save_through_a_link(two, tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.svg"
    link.symlink_to(tmp_path / "real" / "figure.svg")
    plotting.save_figure(plotting.sweep_figure(two), link)
    assert link.is_symlink()
    assert (tmp_path / "real" / "figure.svg").read_bytes().startswith(b"<?xml")


def test_failed_save_leaves_nothing(two, tmp_path, monkeypatch):
    figure = plotting.sweep_figure(two)
    (tmp_path / "kept.png").write_text("old")

    def half(path, **options):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="no space left"):
        plotting.save_figure(figure, tmp_path / "kept.png")
    assert [p.name for p in tmp_path.iterdir()] == ["kept.png"]
    assert (tmp_path / "kept.png").read_text() == "old"


def test_save_where_it_cannot(two, tmp_path):
    figure = plotting.sweep_figure(two)
    with pytest.raises(ValueError, match=r"must end in \.png, \.pdf, \.svg.*'figure\.gif'"):
        plotting.save_figure(figure, "figure.gif")
    with pytest.raises(FileNotFoundError, match=r"folder .* does not exist"):
        plotting.save_figure(figure, tmp_path / "missing" / "figure.png")
    assert not list(tmp_path.iterdir())


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
