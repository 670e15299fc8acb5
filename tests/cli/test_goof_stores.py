"""``fastgen goof``: stores and names that are not what they were, devices that are not there."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from fastgen.cli.app import app
from fastgen.goof import NearestResult

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

MODEL = """
import torch


def trained():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, 8))


def function():
    return lambda z: torch.sigmoid(z.repeat(1, 3)[:, :8])
"""
QUICK = ("--pool", 20, "--starts", 2, "--max-iter", 4, "--planted", 4, "--seed", 3)
ASKED = ("model.py:trained", "--data", "rows.npy", *QUICK)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    np.save("rows.npy", np.random.default_rng(0).random((5, 8), dtype=np.float32))
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(app, ["goof", *map(str, arguments), "--no-progress"])


def told(*arguments):
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments):
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("fastgen: error: ")
    return line


def test_a_store_does_not_outlive_an_edited_factory(folder):
    told(*ASKED, "--store", "found.npz")
    before = NearestResult.load("found.npz").z
    (folder / "model.py").write_text(MODEL.replace("manual_seed(0)", "manual_seed(1)"))
    assert "--store found.npz is not of this command" in refused(*ASKED, "--store", "found.npz")
    np.testing.assert_array_equal(NearestResult.load("found.npz").z, before)


def test_names_of_tensors_cannot_steer_the_terminal():
    np.savez("odd.npz", **{"\x1b]0;owned\x07": np.zeros(2), "\x9b2J": np.zeros(2)})
    line = refused(*ASKED, "--weights", "odd.npz")
    assert "odd.npz does not fit" in line
    assert line.isprintable()


def test_names_that_are_no_text():
    name = "found\udcff"
    outputs = ("--store", f"{name}.npz", "--out", f"{name}.nc")
    first = told(*ASKED, *outputs)
    assert told(*ASKED, *outputs) == first
    assert rf"wrote {name}.nc".replace("\udcff", r"\udcff") in call(*ASKED, *outputs).stdout
    assert {f"{name}.npz", f"{name}.nc"} < set(os.listdir())


@pytest.mark.parametrize("device", ["foo", "meta", "xla", "cuda:99"])
@pytest.mark.parametrize("factory", ["trained", "function"])
def test_devices_that_cannot_be_used_are_a_line(factory, device):
    generator = (f"model.py:{factory}", "--latent-dim", 3, "--data", "rows.npy", *QUICK)
    assert "cannot be used" in refused(*generator, "--device", device)
