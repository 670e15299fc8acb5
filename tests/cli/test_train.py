"""``fastgen train``: a file makes a run, a run can be scored, mistakes are one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

from fastgen.cli.app import app
from fastgen.networks import read_weights

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]

RUN = """
[data]
path = "digits"

[generator]
kind = "dcgan"
latent_dim = 4
width = 4

[discriminator]
kind = "dcgan"
width = 4
normalize = false

[objective]
kind = "relativistic"
r1 = 0.5

[train]
steps = 4
batch_size = 8
out = "{out}"
ema = 50
checkpoint_every = 2
"""


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(out=(tmp_path / "run").as_posix()))
    return path


def test_end_to_end(config, tmp_path):
    result = call("train", "--config", config)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "data: 1797 samples of shape (1, 8, 8)"
    assert lines[1].startswith("generator: DCGANGenerator, ")
    assert "objective: Relativistic(r1=0.5, r2=1.0, every=1)" in lines
    assert any("4 steps, 32 images" in line for line in lines)
    assert "discriminator=" in result.stderr
    command = lines[-1].split()
    assert command[:2] == ["fastgen", "goof"]
    scored = call(*command[1:], "--pool", 50, "--starts", 1, "--max-iter", 2, "--planted", 2,
                  "--checked", 0, "--json", "--no-progress")  # fmt: skip
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["n"] == 256
    # the weights alone, in a network made without them
    weights = tmp_path / "run" / "generator.safetensors"
    spec = command[2].replace(":make", ":network")
    scored = call("goof", spec, "--weights", weights, *command[3:], "--pool", 50, "--starts", 1,
                  "--max-iter", 2, "--planted", 2, "--checked", 0, "--json",
                  "--no-progress")  # fmt: skip
    assert scored.exit_code == 0, scored.output


def test_resume_and_changes(config, tmp_path):
    assert call("train", "--config", config, "--no-progress").exit_code == 0
    again = call("train", "--config", config)
    assert again.exit_code == 2
    assert "holds a run; pass resume=True" in again.stderr
    more = call("train", "--config", config, "--resume", "--set", "train.steps=6", "--json")
    assert more.exit_code == 0, more.output
    assert json.loads(more.stdout)["step"] == 6
    other = tmp_path / "other"
    changes = ["--set", "train.steps=6", "--set", f"train.out={other}"]
    assert call("train", "--config", config, *changes).exit_code == 0
    for name in ("generator", "discriminator", "ema"):
        one, two = (
            read_weights(run / "checkpoints" / "0000000006" / f"{name}.safetensors")
            for run in (tmp_path / "run", other)
        )
        assert all(np.array_equal(one[key], two[key]) for key in one)


def test_ensembles_terms_pairs_and_labels(config, tmp_path):
    text = config.read_text().replace("dcgan", "mlp").replace("width = 4", "widths = [8]")
    text = text.replace("normalize = false", "").replace("relativistic", "non_saturating")
    text = text.replace('path = "digits"', 'path = "digits"\nlabels = "digits"')
    text += "[ensemble]\nn_members = 2\nprivate_layers = 1\n[pairs]\nfraction = 0.1\n"
    text += '[[terms]]\nkind = "generator_classifier"\nweight = 0.1\n'
    config.write_text(text)
    result = call("train", "--config", config, "--no-progress")
    assert result.exit_code == 0, result.output
    assert "generator: 2 x MLPGenerator" in result.stdout
    assert "term: GeneratorClassifier(weight=0.1, schedule=None)" in result.stdout
    command = result.stdout.splitlines()[-1].split()
    scored = call(*command[1:], "--pool", 50, "--starts", 1, "--max-iter", 2, "--planted", 40,
                  "--checked", 0, "--json", "--no-progress")  # fmt: skip
    assert scored.exit_code == 0, scored.output


def test_arrays(config, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 64), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(20) % 3)
    path = (tmp_path / "images.npz").as_posix()
    changes = ["--set", f"data.path={path}:images", "--set", "data.shape=[1, 8, 8]"]
    result = call("train", "--config", config, "--no-progress", *changes)
    assert result.exit_code == 0, result.output
    assert "data: 20 samples of shape (1, 8, 8)" in result.stdout
    targets = np.load(tmp_path / "run" / "targets.npy")
    np.testing.assert_allclose(targets.reshape(20, 64), images / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.batchsize=4", "[train] has no key 'batchsize'; did you mean 'batch_size'?"),
        ("generator.widht=4", "[generator] has no key 'widht'; did you mean 'width'?"),
        ("generator.kind=dcgna", "[generator] has no kind 'dcgna'; did you mean 'dcgan'?"),
        ("objective.kind=hing", "[objective] has no kind 'hing'; did you mean 'hinge'?"),
        ("objective.r3=1", "[objective] has no key 'r3'; did you mean 'r2'?"),
        ("data.pathh=x", "[data] has no key 'pathh'; did you mean 'path'?"),
        ("optim.lr=1", "has no table 'optim'"),
        ("train.steps=-1", "steps must be at least 0, got -1"),
        ("train.steps", "--set must be table.key=value"),
        ("ensemble.members=2", "[ensemble] has no key 'members'; did you mean 'n_members'?"),
        ("data.path=missing.npy", "missing.npy"),
        ("data.shape=[1, 7, 7]", "shape [1, 7, 7] does not hold the 64 values of a sample"),
        ("generator.image_shape=[1, 16, 16]", "data must have samples of shape (1, 16, 16)"),
        ("pairs.weight=1", "[pairs] must have the key 'fraction'"),
    ],
)
def test_mistakes_are_one_line(config, tmp_path, change, message):
    result = call("train", "--config", config, "--set", change, "--no-progress")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_runs(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("steps = ")
    assert "is not TOML" in call("train", "--config", path).stderr
    path.write_text("[data]\npath = 'digits'\n")
    assert "must have a table [generator]" in call("train", "--config", path).stderr
    assert "No such file" in call("train", "--config", tmp_path / "no.toml").stderr
