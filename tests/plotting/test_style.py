"""What all figures share: how they are saved, shown in notebooks, and kept apart from pyplot."""

from __future__ import annotations

import ast
import concurrent.futures
import errno
import os
import pathlib

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from fastgen import plotting
from fastgen.plotting import style

PACKAGE = pathlib.Path(plotting.__file__).parent


def drawing():
    figure = style.figure(3, 2)
    axes = figure.subplots()
    axes.plot([1, 2], [2, 1])
    axes.set_title("text")
    return figure


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")]
)
def test_save(tmp_path, suffix, magic):
    path = tmp_path / f"figure{suffix}"
    path.write_text("old")
    before = dict(matplotlib.rcParams)
    plotting.save_figure(drawing(), path)
    assert path.read_bytes().startswith(magic)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert dict(matplotlib.rcParams) == before
    reference = tmp_path / "reference"
    reference.touch()
    assert path.stat().st_mode == reference.stat().st_mode


def test_save_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.svg"
    link.symlink_to(tmp_path / "real" / "figure.svg")
    plotting.save_figure(drawing(), link)
    assert link.is_symlink()
    assert (tmp_path / "real" / "figure.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("suffix", plotting.SUFFIXES)
def test_failed_save_leaves_nothing(tmp_path, monkeypatch, suffix):
    figure = drawing()
    (tmp_path / f"kept{suffix}").write_text("old")

    def half(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pathlib.Path, "write_bytes", half)
    with pytest.raises(OSError, match=r"kept.* cannot be written: No space left") as caught:
        plotting.save_figure(figure, tmp_path / f"kept{suffix}")
    assert caught.value.errno == errno.ENOSPC
    assert [p.name for p in tmp_path.iterdir()] == [f"kept{suffix}"]
    assert (tmp_path / f"kept{suffix}").read_text() == "old"


def test_save_where_it_cannot(tmp_path):
    figure = drawing()
    with pytest.raises(ValueError, match=r"must end in \.png, \.pdf, \.svg.*'figure\.gif'"):
        plotting.save_figure(figure, "figure.gif")
    with pytest.raises(FileNotFoundError, match=r"folder .* does not exist"):
        plotting.save_figure(figure, tmp_path / "missing" / "figure.png")
    assert not list(tmp_path.iterdir())


def test_the_suffix_is_checked_before_anything_is_drawn(tmp_path):
    class Untouched(Figure):
        def savefig(self, *args, **options):
            raise AssertionError("drawn")

    with pytest.raises(ValueError, match=r"must end in \.png"):
        plotting.save_figure(Untouched(), tmp_path / "figure.jpg")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        plotting.save_figure(Untouched(), tmp_path / "missing" / "figure.png")


def test_pdf_has_true_type_fonts_and_others_keep_theirs(tmp_path):
    plotting.save_figure(drawing(), tmp_path / "ours.pdf")
    ours = (tmp_path / "ours.pdf").read_bytes()
    assert b"/CIDFontType2" in ours
    assert b"/Type3" not in ours
    drawing().savefig(tmp_path / "theirs.pdf")
    assert b"/Type3" in (tmp_path / "theirs.pdf").read_bytes()
    with matplotlib.rc_context({"pdf.compression": 0}):
        plotting.save_figure(drawing(), tmp_path / "plain.pdf")
    assert (tmp_path / "plain.pdf").stat().st_size > len(ours)


def test_settings_are_what_they_were_after_threads_have_saved(tmp_path):
    paths = [tmp_path / f"{i}.pdf" for i in range(12)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: plotting.save_figure(drawing(), path), paths))
    assert matplotlib.rcParams["pdf.fonttype"] == matplotlib.rcParamsDefault["pdf.fonttype"]
    assert all(b"/CIDFontType2" in path.read_bytes() for path in paths)


FIGURES = {
    "density": lambda: plotting.density_figure(
        np.linspace(0, 1, 5)[None], np.ones((1, 1, 5)), np.ones(1), np.zeros(2, int)
    ),
    "nearest": lambda: plotting.nearest_figure(np.eye(16)[:3], np.zeros((3, 16)), np.ones(3)),
    "overfit": lambda: plotting.overfit_figure(np.ones(3), np.full(3, 2.0), np.full(3, 1e-9)),
    "theory": lambda: plotting.theory_figure(5, [1, 20]),
    "transport": lambda: plotting.transport_figure(np.eye(2) / 2, np.ones((2, 2))),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_notebook_shows_the_picture(name):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert not hasattr(figure, "_repr_html_") or figure._repr_html_() is None


def test_names_are_public_and_their_origin_is():
    for name in set(plotting.__all__) - {"SUFFIXES"}:
        member = getattr(plotting, name)
        assert "Parameters" in member.__doc__
        assert "Examples" in member.__doc__
        assert not any(part.startswith("_") for part in member.__module__.split("."))


def test_the_style_is_written_once():
    """Sizes of text, colors, dashes and the class of figures stand in the file of the style."""
    for path in PACKAGE.glob("*.py"):
        if path.name in ("style.py", "_figure.py"):
            continue
        text = path.read_text()
        assert "spines" not in text, path
        assert "0.55" not in text, path
        assert "Figure(figsize" not in text, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in (*style.COLORS, "outside lower center"), path


def test_figures_import_nothing_from_above():
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                names = [node.module] if node.module else [a.name for a in node.names]
                assert set(names) <= {"_arrays", "_files", "_lazy", "_validate", "gains"}, path
            assert not (isinstance(node, ast.ImportFrom) and node.level > 2), path
