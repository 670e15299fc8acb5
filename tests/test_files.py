"""Files are written whole or not at all, under the name and with the permissions that are meant."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray
from matplotlib.figure import Figure

from fastgen._files import read_npz, replacing, write_npz
from fastgen.cli.outputs import write_netcdf
from fastgen.diffusion.calibration import Calibration
from fastgen.metrics import FeatureStatistics
from fastgen.networks import read_weights, write_weights
from fastgen.plotting import save_figure

X = np.arange(12.0).reshape(6, 2) ** 2
WRITERS = {
    "stats.npz": lambda path: FeatureStatistics().update(X).save(path),
    "net.npz": lambda path: write_weights({"w": torch.ones(2)}, path),
    "net.safetensors": lambda path: write_weights({"w": torch.ones(2)}, path),
    "curve.npz": lambda path: Calibration(X[:, 0] + 1, X[:, 1], 4).save(path),
    "figure.png": lambda path: save_figure(Figure(), path),
    "figure.pdf": lambda path: save_figure(Figure(), path),
    "data.nc": lambda path: write_netcdf(xarray.Dataset({"a": ("n", X[:, 0])}), path),
}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, name, mode):
    path = tmp_path / name
    WRITERS[name](path)
    ordinary = stat.S_IMODE(path.stat().st_mode)
    first = path.read_bytes()
    path.write_bytes(b"")
    path.chmod(mode)
    WRITERS[name](path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert len(path.read_bytes()) == len(first)
    umask = os.umask(0)
    os.umask(umask)
    assert ordinary == 0o666 & ~umask
    assert os.listdir(tmp_path) == [name]


def test_what_is_written_is_never_more_open_than_what_it_replaces(tmp_path):
    (tmp_path / "secret").write_text("")
    (tmp_path / "secret").chmod(0o600)
    with replacing(tmp_path / "secret") as beside:
        assert stat.S_IMODE(beside.stat().st_mode) == 0o600
        beside.write_text("new")
    assert (tmp_path / "secret").read_text() == "new"


@pytest.mark.parametrize("name", ["A.NPZ", "é" * 120 + ".npz", "a" * 251 + ".npz"])
def test_names_in_capitals_and_long_names(tmp_path, name):
    FeatureStatistics().update(X).save(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    assert FeatureStatistics.load(tmp_path / name).n_samples == 6
    write_weights({"w": torch.ones(2)}, tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    assert read_weights(tmp_path / name)["w"].tolist() == [1.0, 1.0]


KILLED = """
import os, signal, sys
from fastgen._files import replacing
with replacing(sys.argv[1]) as beside:
    beside.write_text("half")
    print(beside.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_killed_processes_are_removed_those_of_living_ones_not(tmp_path):
    path = tmp_path / "out.npz"
    run = subprocess.run([sys.executable, "-c", KILLED, path], capture_output=True, text=True)
    left = run.stdout.strip()
    (tmp_path / ".out-notes.npz").write_text("of somebody else")
    (tmp_path / ".other-0123abcd.npz").write_text("of another target")
    assert left in os.listdir(tmp_path)
    with replacing(path) as living:
        living.write_text("mine")
        write_npz(path, {"x": X})
        assert living.read_text() == "mine"
    kept = {"out.npz", ".out-notes.npz", ".other-0123abcd.npz"}
    assert set(os.listdir(tmp_path)) == kept
    with pytest.raises(ValueError, match="damaged"):
        read_npz(path)  # the one that ended last
    write_npz(path, {"x": X}, compressed=True)
    np.testing.assert_array_equal(read_npz(path)["x"], X)


def test_an_error_leaves_the_old_file(tmp_path):
    write_npz(tmp_path / "a.npz", {"x": X})
    with pytest.raises(ValueError, match="allow_pickle"):
        write_npz(tmp_path / "a.npz", {"x": np.array([{}])})
    assert os.listdir(tmp_path) == ["a.npz"]
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz")["x"], X)
