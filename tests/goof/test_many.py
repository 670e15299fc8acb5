"""Ten thousand images on the command line: progress, Ctrl-C, and the same command goes on."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

pytest.importorskip("torch")

from fastgen.goof import NearestResult

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
COMMAND = [sys.executable, "-m", "fastgen.cli", "goof"]
DECODER = """
from torch import nn

class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, z):
        return self.fc4(self.fc3(z).relu()).sigmoid()
"""


@pytest.fixture
def command(tmp_path):
    """The command, in a folder with a trained decoder's weights and code."""
    images, vae = SHARED / "mnist_test_10000.npz", SHARED / "mnist_vae_k20.npz"
    for path in (images, vae):
        if not path.exists():
            pytest.skip(f"needs ../shared/data/{path.name}")
    with np.load(vae, allow_pickle=False) as arrays:
        kept = {k: arrays[k] for k in arrays.files if k.startswith(("fc3.", "fc4."))}
    np.savez(tmp_path / "weights.npz", **kept)
    with np.load(images, allow_pickle=False) as arrays:
        np.save(tmp_path / "images.npy", arrays["images"].reshape(10_000, 784))
    (tmp_path / "decoder.py").write_text(DECODER)
    return [
        *COMMAND, "decoder.py:Decoder", "--weights", "weights.npz", "--data", "images.npy",
        "--method", "lbfgs", "--starts", "2", "--max-iter", "40", "--pool", "2000",
        "--planted", "16", "--seed", "0", "--progress",
    ]  # fmt: skip


@pytest.mark.slow
def test_ten_thousand_images_survive_an_interrupt(command, tmp_path):
    run = functools.partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True)
    whole = run([*command, "--out", "whole.nc"], timeout=600)
    assert whole.returncode == 0, whole.stderr
    counts = [int(n) for n in re.findall(r"(\d+)/10000", whole.stderr)]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3  # progress was shown on the way
    assert counts[-1] == 10_000

    stored = [*command, "--store", "found.npz", "--out", "found.nc"]
    # a test run in the background ignores the signal, and what it starts inherits that
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(stored, cwd=tmp_path, stderr=subprocess.PIPE, preexec_fn=heed) as process:
        told = b""
        while not any(int(n) >= 2000 for n in re.findall(rb"(\d+)/10000", told)):
            piece = os.read(process.stderr.fileno(), 4096)
            assert piece, told.decode()
            told += piece
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"finished targets are kept in found.npz; the same command goes on" in rest
    part = NearestResult.load(tmp_path / "found.npz")
    open_targets = int((part.status == "interrupted").sum())
    assert 0 < open_targets <= 8000
    done = part.status != "interrupted"
    assert not (tmp_path / "found.nc").exists()

    resumed = run(stored, timeout=600)
    assert resumed.returncode == 0, resumed.stderr
    found = xarray.open_dataset(tmp_path / "found.nc", engine="scipy")
    expected = xarray.open_dataset(tmp_path / "whole.nc", engine="scipy")
    assert set(found.data_vars) == set(expected.data_vars)
    squared, reference = found.squared_distance.values, expected.squared_distance.values
    np.testing.assert_array_equal(squared[done], part.squared_distance[done])
    # other batch mates round otherwise, which now and then decides between two minima
    assert np.mean(np.isclose(squared, reference, rtol=1e-4)) > 0.97
    assert squared.mean() == pytest.approx(reference.mean(), rel=2e-3)
    assert 0.003 < squared.mean() / 784 < 0.01
