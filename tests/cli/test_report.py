"""``fastgen report``: a page from files, its parts, and what is refused before any work."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from fastgen.cli.app import app

GENERATOR = """
from fastgen.linear import LinearGAN
import numpy as np

def made():
    return LinearGAN(4, "unsupervised").fit(np.load("real.npy").reshape(120, 64) / 255)
"""
QUICK = ["--metrics", "fid,recall", "--no-progress"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digits = load_digits()
    images = (digits.images / 16 * 255).astype(np.uint8)
    for number, name in enumerate(("real", "made", "held")):
        np.save(f"{name}.npy", images[120 * number : 120 * (number + 1)])
    np.save("labels.npy", digits.target[:120, None])
    (tmp_path / "models.py").write_text(GENERATOR)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, ["report", *arguments])


def test_a_page_of_files(folder):
    done = run("real.npy", "made.npy", "--out", "page.html", *QUICK, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["files"] == ["page.html"]
    assert told["sections"][:2] == ["All figures", "Samples"]
    page = (folder / "page.html").read_text()
    assert "<title>made.npy beside real.npy</title>" in page
    assert str(folder) not in page


def test_labels_holdout_and_generator_add_their_parts(folder):
    done = run(
        "real.npy", "made.npy", "--holdout", "held.npy", "--labels", "labels.npy",
        "--generator", "models.py:made", "--targets", "8", "--title", "<i>Title</i>", *QUICK,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    page = (folder / "report.html").read_text()
    assert "&lt;i&gt;Title&lt;/i&gt;" in page
    assert 'id="modes"' in page
    assert "Training images are" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "real.npy"], "--out must end in .html or .htm"),
        (["--out", "none/page.html"], "does not exist"),
        (["--labels", "made.npy"], "labels must be one for each of 120 real samples"),
        (["--generator-weights", "w.npz"], "--generator-weights needs --generator"),
        (["--metrics", "fidd"], "metrics must be one of"),
        (["--cache", "here", "--no-cache"], "contradict each other"),
    ],
)
def test_what_is_refused(folder, arguments, message):
    before = {path.name for path in folder.iterdir()}
    options = QUICK[2:] if "--metrics" in arguments else QUICK
    done = run("real.npy", "made.npy", *options, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert {path.name for path in folder.iterdir()} == before
