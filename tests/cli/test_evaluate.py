"""``fastgen evaluate``: what it reads, prints and writes, its exit codes, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from samples import normal
from typer.testing import CliRunner

from fastgen.cli.app import app
from fastgen.metrics import evaluate

FAST = ("--metrics", "fid,kid,precision,vendi")


def call(*arguments):
    return CliRunner().invoke(app, ["evaluate", *(str(argument) for argument in arguments)])


def refused(*arguments):
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert not result.stdout
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for seed, name in enumerate(("real", "fake", "held")):
        np.save(tmp_path / f"{name}.npy", normal(60, 3, seed=seed))
    np.savez(tmp_path / "both.npz", real=normal(60, 3), fake=normal(60, 3, seed=1))
    np.savez(tmp_path / "stats.npz", mu=np.zeros(3), sigma=np.eye(3))
    rng = np.random.default_rng(0)
    for name in ("images", "others"):
        (tmp_path / name).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    Image.fromarray(pixels).save(tmp_path / "one" / "a.png")
    (tmp_path / "large").mkdir()
    for i in range(5):
        Image.fromarray(pixels).resize((9, 9)).save(tmp_path / "large" / f"{i}.png")
    return tmp_path


def test_is_the_function(files):
    expected = evaluate(*(normal(60, 3, seed=s) for s in range(3)), progress=False)
    arguments = (files / "real.npy", files / "both.npz:fake", "--holdout", files / "held.npy")
    result = call(*arguments, "--json", "--no-progress")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["metrics"] == json.loads(json.dumps(expected.to_dict()["metrics"]))
    assert told["failures"] == []
    table = call(*arguments, "--no-progress").stdout
    assert table == str(expected) + "\n"


def test_folders_progress_and_plot(files):
    result = call(
        files / "images", files / "others", *FAST, "--plot", files / "scores.png", "--resize", 4
    )
    assert result.exit_code == 0, result.output
    assert "features of real" in result.stderr
    assert "12/12" in result.stderr
    assert result.stdout.splitlines()[-1] == f"wrote {files / 'scores.png'}"
    assert "48 features: pixels" in result.stdout
    components = call(
        files / "images", files / "others", "--features", "pca", "--pca-components", 5, *FAST
    )
    assert "5 features: pca (5 components)" in components.stdout


def test_conditions_are_exit_codes(files):
    arguments = (files / "real.npy", files / "fake.npy", *FAST, "--no-progress")
    assert call(*arguments, "--fail-if", "fid>1e9").exit_code == 0
    failed = call(*arguments, "--fail-if", "precision < 2", "--fail-if", "kid>=-1", "--json")
    assert failed.exit_code == 1
    assert len(json.loads(failed.stdout)["failures"]) == 2
    lines = failed.stderr.strip().splitlines()
    assert lines[0].startswith("fastgen: failed: precision is ")
    assert lines[0].endswith(", < 2")
    missing = call(*arguments, "--fail-if", "fld>1", "--json")
    assert missing.exit_code == 2
    assert "fld was not computed: needs a holdout" in missing.stderr
    assert json.loads(missing.stdout)["metrics"]["fid"]["value"] > 0
    other = call(*arguments, "--fail-if", "recall<0")  # computed since it is asked about
    assert other.exit_code == 0
    assert "recall" in other.stdout


def test_an_overlapping_holdout_is_said_in_a_line(files):
    arguments = (files / "real.npy", files / "fake.npy", "--holdout", files / "real.npy")
    result = call(*arguments, *FAST, "--no-progress")
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fastgen: warning: 60 of 60 samples of holdout are exact duplicates")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("real.npy", "none"), "no such file or folder exists"),
        (("real.npy", "both.npz"), "holds several arrays"),
        (("real.npy", "stats.npz"), "from which the FID alone can be computed"),
        (("images", "empty"), "must hold images"),
        (("images", "one"), "generated must have at least 4 samples, got 1"),
        (("images", "large"), "the images differ in size or channels"),
        (("real.npy", "fake.npy", "--metrics", "fid,kidd"), "did you mean 'kid'"),
        (("real.npy", "fake.npy", "--fail-if", "fid=3"), "--fail-if must be a metric, one of"),
        (("real.npy", "fake.npy", "--fail-if", "fidd>3"), "did you mean 'fid'"),
        (("real.npy", "fake.npy", "--fail-if", "fid>x"), "must compare with a number"),
        (("real.npy", "fake.npy", "--features", "pixel"), "did you mean 'pixels'"),
        (("real.npy", "fake.npy", "--weights", "w.pth"), "--weights belongs to"),
        (("real.npy", "fake.npy", "--cache", "c", "--no-cache"), "contradict each other"),
        (("real.npy", "fake.npy", "--plot", "a.txt"), "--plot must end in"),
        (("real.npy", "fake.npy", "--neighbors", "0"), "n_neighbors must be at least 1"),
    ],
)
def test_bad_input_is_one_line(files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    before = {path for path in files.rglob("*")}
    assert message in refused(*arguments, "--no-progress")
    assert {path for path in files.rglob("*")} == before
