"""``fastgen local-sample``: what it reads, prints and writes, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from fastgen.cli.app import app

pytestmark = pytest.mark.usefixtures("one_torch_thread")

MODELS = """
import torch
from fastgen.diffusion import from_denoiser


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Conv2d(1, 1, 1)

    def forward(self, x, t):
        return self.body(x)


def noise():
    torch.manual_seed(0)
    return Net()


def gaussian():
    return from_denoiser(lambda y, s: y * 0.25 / (0.25 + s.reshape(-1, 1, 1, 1) ** 2))


def broken():
    return from_denoiser(lambda y, s: y * float("nan"))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "images" / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "sub/c.png"):
        pixels = rng.integers(64, 192, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    return tmp_path


def run(*arguments):
    options = ["local-sample", "--images", "images", "--no-progress", *arguments]
    return CliRunner().invoke(app, options)


def test_writes_samples_and_a_picture(place):
    done = run("--model", "models.py:gaussian", "--ratio", "0.2", "--n-samples", "3",
               "--steps", "4", "--plot", "grid.png", "--out", "near", "--seed", "5")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 images, 3 samples each, noise level 0.25, stochastic" in done.output
    assert "seed 5" in done.output
    assert "wrote near" in done.output
    written = sorted(p.relative_to(place / "near").as_posix() for p in place.glob("near/**/*.png"))
    assert written[:3] == ["a_0.png", "a_1.png", "a_2.png"]
    assert len(written) == 9
    assert written[-1] == "sub/c_2.png"
    first = np.asarray(Image.open(place / "near" / "a_0.png"))
    assert first.shape == (8, 8)
    again = run("--model", "models.py:gaussian", "--ratio", "0.2", "--n-samples", "3",
                "--steps", "4", "--out", "again", "--seed", "5", "--batch-size", "2")  # fmt: skip
    assert again.exit_code == 0
    other = np.asarray(Image.open(place / "again" / "a_0.png"))
    assert np.abs(first.astype(int) - other).max() <= 1


def test_distance_that_is_wanted(place):
    done = run("--model", "models.py:gaussian", "--rms", "0.3", "--json", "--n-samples", "20",
               "--steps", "60")  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["rms"] == pytest.approx(0.3, rel=0.2)
    assert told["files"] == []


def test_clip_bounds_what_the_model_expects(place):
    """One step goes to what the model expects itself."""
    written = {}
    for name, options in {"free": (), "clipped": ("--clip", "0.1")}.items():
        done = run("--model", "models.py:gaussian", "--sigma", "0.5", "--eta", "0", "--steps", "1",
                   "--out", name, "--seed", "0", *options)  # fmt: skip
        assert done.exit_code == 0, done.output
        picture = np.asarray(Image.open(place / name / "a_0.png"), dtype=float) / 127.5 - 1
        written[name] = np.abs(picture).max()
    assert written["clipped"] == pytest.approx(0.1, abs=0.005)
    assert written["free"] > 0.2


def test_plain_network_with_its_schedule(place):
    done = run("--model", "models:noise", "--ratio", "0.5", "--training-steps", "10", "--eta", "0",
               "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["t"], told["steps"], told["stochastic"]) == (5, 5, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "models.py:gaussian"), "exactly one of --ratio, --sigma and --rms"),
        (("--model", "models.py:gaussian", "--ratio", "1.5"), "ratio must lie in (0, 1]"),
        (("--model", "models.py:broken", "--sigma", "1"), "NaN"),
        (("--model", "models.py:gaussian", "--sigma", "1", "--clip", "0"), "--clip must be"),
        (("--model", "models.py:noise", "--ratio", "0.5", "--rgb"), "must have 1 channels"),
        (("--model", "models.py:gaussian", "--sigma", "1", "--out", "images"), "must differ"),
        (("--model", "models.py:gaussian", "--sigma", "1", "--out", "models.py"), "is a file"),
        (("--model", "models.py:gaussian", "--sigma", "1", "--plot", "x.gif"), "--plot must end"),
        (("--model", "models.py:gaussian", "--sigma", "1", "--out", "no/x"), "does not exist"),
        (("--model", "models.py:nothing", "--sigma", "1"), "has no 'nothing'"),
    ],
)
def test_refusals(place, arguments, message):
    done = run(*arguments)
    assert done.exit_code != 0
    assert message in " ".join(done.output.split())
    assert "Traceback" not in done.output
