"""``fastgen goof``: what it reads, prints and writes, what it refuses, and that no file runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from fastgen.cli import generators
from fastgen.cli.app import app
from fastgen.goof import NearestResult, nearest, score

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

MODELS = """
import torch
from torch import nn
from helper_of_models import SIDE


class Generator(nn.Module):
    def __init__(self, last=nn.Sigmoid):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, SIDE * SIDE), last())

    def forward(self, z):
        return self.body(z).reshape(len(z), 1, SIDE, SIDE)


def trained(last=nn.Sigmoid):
    torch.manual_seed(0)
    return Generator(last)


def tanh():
    return trained(nn.Tanh)


def mixture():
    return [trained(), Generator()]


def function():
    return lambda z: torch.sigmoid(z.repeat(1, 6)[:, :16])


def broken():
    raise KeyError("no such layer")


number = 7
"""
QUICK = tuple("--pool 200 --starts 4 --max-iter 20 --planted 8 --checked 0 --seed 3".split())
OPTIONS = {"pool_size": 200, "n_starts": 4, "max_iter": 20, "n_checked": 0, "random_state": 3}
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: models, weights of every kind, images."""
    (tmp_path / "models_of_test.py").write_text(MODELS)
    (tmp_path / "helper_of_models.py").write_text("SIDE = 4\n")
    for i, image in enumerate(PIXELS):
        sub = tmp_path / "images" / f"{i % 2}"
        sub.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(sub / f"{i}.png")
    np.save(tmp_path / "images.npy", PIXELS)
    monkeypatch.chdir(tmp_path)
    for name in ("models_of_test", "helper_of_models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    # an import seen before must not be taken from a cache of another folder
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    net = generators.load("models_of_test:trained", None)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2)
    torch.save(net.state_dict(), "weights.pt")
    np.savez("weights.npz", **{k: v.numpy() for k, v in net.state_dict().items()})
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(net.state_dict(), "weights.safetensors")
    monkeypatch.delitem(sys.modules, "models_of_test")
    monkeypatch.delitem(sys.modules, "helper_of_models")
    return net


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(*arguments):
    result = call("goof", *arguments, *QUICK, "--json", "--no-progress")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments):
    result = call("goof", *arguments, "--no-progress")
    assert result.exit_code == 2, result.output
    assert not result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fastgen: error: ")
    return lines[0]


MODEL, IMAGES = "models_of_test:trained", ("--data", "images")
IN_ORDER = np.concatenate((PIXELS[::2], PIXELS[1::2]))[:, None] / np.float32(255)


@pytest.mark.parametrize("weights", ["weights.safetensors", "weights.npz", "weights.pt"])
def test_weights_of_every_kind(folder, weights):
    found = told(MODEL, "--weights", weights, *IMAGES)
    expected = score(folder, IN_ORDER, n_planted=8, **OPTIONS)
    assert found["goof"] == pytest.approx(expected.goof, rel=1e-5)
    assert found["mse"] == pytest.approx(expected.mse, rel=1e-5)
    assert found["rms"] == found["goof"]
    floor = expected.planted
    assert found["planted"]["mse"] == pytest.approx(floor.mse.mean(), rel=1e-3, abs=1e-9)
    assert found["planted"]["recovered"] == floor.recovered
    assert {*expected.to_dict()} == {*found} - {"generator", "weights", "data", "seed", "files"}
    assert (found["n"], found["n_pixels"], found["seed"]) == (6, 16, 3)
    assert sum(found["status"].values()) == 6
    assert found["files"] == []


def test_figures_are_printed_beside_the_planted_floor(folder):
    arguments = (MODEL, "--weights", "weights.pt", *IMAGES)
    found = told(*arguments)
    result = call("goof", *arguments, *QUICK, "--checked", 3)
    assert result.exit_code == 0
    assert f"GOoF {found['goof']:.4g}; search error about " in result.stdout
    assert "squared distance per pixel of these 3: " in result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["data", "planted", "floor"]
    assert lines[1].startswith("GOoF (root mean square distance) ")
    assert lines[1].split()[-2:] == [f"{found['goof']:.4g}", f"{found['planted']['goof']:.4g}"]
    assert lines[3].split()[-2:] == [f"{found['mse']:.4g}", f"{found['planted']['mse']:.4g}"]
    assert "of 8 planted targets found" in result.stdout
    assert "6 targets of 16 values" in result.stdout
    assert "6/6" in result.stderr  # progress is not on standard output
    assert "6/6" not in result.stdout


def test_a_floor_near_the_figure_is_said(folder):
    weak = ("--pool", 1, "--starts", 1, "--max-iter", 1, "--method", "adam", "--planted", 8)
    with torch.no_grad():  # what the generator makes itself is as near as planted targets
        own = generators.load(MODEL, None)(torch.randn(8, 3, generator=torch.Generator()))
    np.save("own.npy", own.numpy())
    result = call("goof", MODEL, "--data", "own.npy", *weak, "--seed", 0, "--no-progress")
    assert result.exit_code == 0
    assert "which measures the search too" in result.stdout


def test_files_are_written(folder):
    xarray = pytest.importorskip("xarray")
    outputs = ("--out", "goof.nc", "--plot", "goof.png", "--store", "found.npz")
    found = told(MODEL, "--weights", "weights.pt", *IMAGES, *outputs)
    assert found["files"] == ["found.npz", "goof.nc", "goof.png"]
    with xarray.open_dataset("goof.nc", engine="scipy") as dataset:
        dataset.load()
    assert float(dataset.mse.mean()) == pytest.approx(found["mse"], rel=1e-12)
    assert dict(dataset.sizes) == {"target": 6, "latent": 3, "planted": 8}
    files = [f.decode() if isinstance(f, bytes) else str(f) for f in dataset.file.values]
    assert files == ["0/0.png", "0/2.png", "0/4.png", "1/1.png", "1/3.png", "1/5.png"]
    assert json.loads(dataset.attrs["figures"])["mse"] == found["mse"]
    assert json.loads(dataset.attrs["settings"])["pool_size"] == 200
    reconstruction = folder(torch.from_numpy(dataset.z.values)).detach().numpy()
    squared = ((reconstruction - IN_ORDER) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(dataset.squared_distance, squared, rtol=1e-4)
    with Image.open("goof.png") as image:
        assert image.width == 2100
    assert len(NearestResult.load("found.npz")) == 6
    assert not [name for name in os.listdir() if name.startswith(".")]


def test_arrays_and_ranges(folder):
    order = [0, 2, 4, 1, 3, 5]
    weights = ("--weights", "weights.pt")
    whole = told(MODEL, *weights, *IMAGES)
    np.save("in_order.npy", PIXELS[order])
    assert told(MODEL, *weights, "--data", "in_order.npy")["mse"] == whole["mse"]
    np.savez("two.npz", a=PIXELS[order].reshape(6, 16) / np.float32(255), b=np.zeros((2, 16)))
    again = told(MODEL, *weights, "--data", "two.npz:a")
    assert again["mse"] == pytest.approx(whole["mse"], rel=1e-6)
    scaled = told("models_of_test:tanh", *weights, *IMAGES, "--range", -1, 1)
    assert (scaled["least_value"] < -0.9, scaled["greatest_value"] > 0.9) == (True, True)
    plain = call("goof", "models_of_test:tanh", *IMAGES, *QUICK, "--no-progress")
    assert "but the targets lie in [0, 0.973]; pass --range -1 1" in plain.stderr
    right = call("goof", "models_of_test:tanh", *IMAGES, *QUICK, "--no-progress", "--range", -1, 1)
    assert not right.stderr
    small = told("models_of_test:function", "--latent-dim", 3, "--data", "two.npz:a")
    assert small["n"] == 6
    Image.fromarray(PIXELS[0].repeat(2, 0).repeat(2, 1)).save("images/0/large.png")
    assert "images must have one size" in refused(MODEL, *IMAGES)
    assert told(MODEL, *IMAGES, "--resize", 4)["n"] == 7
    assert "got (3, 4, 4)" in refused(MODEL, *IMAGES, "--resize", 4, "--rgb")


def test_generators_of_every_kind(folder):
    here = told(os.path.join(os.curdir, "models_of_test.py") + ":trained", *IMAGES)
    by_name = told(MODEL, *IMAGES)
    assert here["mse"] == by_name["mse"]
    assert told("models_of_test:mixture", *IMAGES)["mse"] <= by_name["mse"] * (1 + 1e-6)
    assert told("models_of_test:Generator", "--weights", "weights.pt", *IMAGES)["n"] == 6
    ball = told(MODEL, *IMAGES, "--domain", "ball:0.1")
    assert ball["mse"] > by_name["mse"]


def test_an_installed_command_imports_from_the_current_folder(folder):
    code = "import sys; from fastgen.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "goof", MODEL, *IMAGES, *map(str, QUICK), "--json"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["n"] == 6


class Marks:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def as_torch(thing, path):
    torch.save({"body.0.weight": thing}, path)


def as_old_torch(thing, path):
    torch.save({"body.0.weight": thing}, path, _use_new_zipfile_serialization=False)


def as_pickle(thing, path):
    with open(path, "wb") as file:
        pickle.dump({"body.0.weight": thing}, file)


def as_npz(thing, path):
    np.savez(path, **{"body.0.weight": np.array([thing], dtype=object)})


def as_npy(thing, path):
    np.save(path, np.array([thing], dtype=object), allow_pickle=True)


def as_npz_of_pickles(thing, path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("body.0.weight.npy", pickle.dumps(thing))


def unpickled(write, path):
    """Run what a careless reader would."""
    if write in (as_torch, as_old_torch):
        shutil.copy(path, "copy.pt")  # torch goes by the name, too
        torch.load("copy.pt", weights_only=False)
    elif write is as_pickle:
        with open(path, "rb") as file:
            pickle.load(file)
    elif write is as_npz_of_pickles:
        with zipfile.ZipFile(path) as archive:
            pickle.load(io.BytesIO(archive.read("body.0.weight.npy")))
    else:
        found = np.load(path, allow_pickle=True)
        if write is as_npz:
            _ = found["body.0.weight"]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:Exception ignored")
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (as_torch, "bad.pt"),
        (as_torch, "bad.pth"),
        (as_torch, "bad.bin"),
        (as_torch, "bad.safetensors"),
        (as_torch, "bad.npz"),
        (as_old_torch, "bad.pt"),
        (as_pickle, "bad.pt"),
        (as_pickle, "bad.ckpt"),
        (as_pickle, "bad.safetensors"),
        (as_pickle, "bad.npz"),
        (as_npz, "bad.npz"),
        (as_npz_of_pickles, "bad.npz"),
        (as_npy, "bad.npy"),
    ],
)
def test_a_malicious_file_does_not_run(folder, tmp_path, write, name):
    marker = tmp_path / "marker"
    write(Marks(str(marker)), name)
    unpickled(write, name)
    assert marker.exists()  # the file does what it is feared to
    marker.unlink()
    if name.endswith((".npz", ".npy")):
        assert name in refused(MODEL, "--data", name)
        (tmp_path / "found.npz").write_bytes((tmp_path / name).read_bytes())
        assert "found.npz" in refused(MODEL, *IMAGES, "--store", "found.npz")
    if not name.endswith(".npy"):
        assert name in refused(MODEL, "--weights", name, *IMAGES)
    assert not marker.exists()


def test_whole_networks_are_refused(folder):
    torch.save(folder.body, "network.pt")
    line = refused(MODEL, "--weights", "network.pt", *IMAGES)
    assert "network.pt" in line
    assert "torch.save(net.state_dict(), path)" in line
    torch.save({"epoch": 3, "model": folder.state_dict()}, "checkpoint.pt")
    line = refused(MODEL, "--weights", "checkpoint.pt", *IMAGES)
    assert "entries 'epoch', 'model'; save net.state_dict() alone" in line


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((MODEL, "--weights", "none.pt", *IMAGES), "none.pt"),
        ((MODEL, "--weights", "weights.h5", *IMAGES), "--weights must end in .safetensors, .npz"),
        ((MODEL, "--weights", "empty.pt", *IMAGES), "empty.pt is damaged"),
        ((MODEL, "--weights", "other.pt", *IMAGES), "other.pt does not fit what models_of_test"),
        ((MODEL, "--weights", "numbers.pt", *IMAGES), "got dict entries 0, 1; save net.state_dict"),
        ((MODEL, "--weights", "numbers.pt:0", *IMAGES), "holds no network '0', only 0, 1"),
        ((MODEL, "--weights", "nested.pt:net", *IMAGES), "holds no network 'net', only net"),
        (("models_of_test:function", "--weights", "weights.pt", *IMAGES), "returned function"),
        (("models_of_test", *IMAGES), "must be module:factory or file.py:factory"),
        (("no_such_module:f", *IMAGES), "no_such_module cannot be imported"),
        (("no_such.py:f", *IMAGES), "GENERATOR 'no_such.py': no such file"),
        (("broken_module:f", *IMAGES), "ZeroDivisionError: division by zero (broken_module.py:2)"),
        (("models_of_test:traind", *IMAGES), "no 'traind'; did you mean trained?"),
        (("models_of_test:number", *IMAGES), "must be a function that returns a generator"),
        (("models_of_test:broken", *IMAGES), "models_of_test:broken failed: KeyError"),
        ((MODEL, "--data", "nowhere"), "no such file or folder exists"),
        ((MODEL, "--data", "models_of_test.py"), "--data must be a folder of images, a .npy"),
        ((MODEL, "--data", "nan.npy"), "X must be finite, got NaN or infinity in row 1"),
        ((MODEL, "--data", "wide.npy"), "X must have rows of shape (1, 4, 4)"),
        ((MODEL, "--data", "text.npy"), "text.npy must hold numbers"),
        ((MODEL, "--data", "images.npy", "--resize", 4), "need a folder of images"),
        ((MODEL, *IMAGES, "--range", 1, 0), "--range must be two finite numbers that rise"),
        ((MODEL, *IMAGES, "--latent-dim", "3x"), "--latent-dim must be a size such as 100"),
        ((MODEL, *IMAGES, "--latent-dim", 5), "generator failed on latents of shape (4, 5)"),
        (("models_of_test:function", *IMAGES, "--latent-dim", 10**11), "not enough memory"),
        ((MODEL, *IMAGES, "--domain", "ball"), "--domain must be ball:R, sphere:R or box:LOW"),
        ((MODEL, *IMAGES, "--domain", "box:1:0"), "low must be less than high"),
        ((MODEL, *IMAGES, "--method", "sgd"), "method must be one of"),
        ((MODEL, *IMAGES, "--planted", 0), "--planted must be at least 1"),
        ((MODEL, *IMAGES, "--seed", -1), "--seed must be at least 0"),
        ((MODEL, *IMAGES, "--out", "goof.csv"), "--out must end in .nc"),
        ((MODEL, *IMAGES, "--plot", "no/goof.png"), "does not exist; make it first"),
        ((MODEL, "--data", "two.npz:a", "--store", "weights.npz"), "is not of this command"),
        ((MODEL, "--data", "one.npz", "--store", "one.npz"), "must differ from what is read"),
        ((MODEL, *IMAGES, "--device", "cuda:99"), "--device cuda:99 cannot be used"),
    ],
)
def test_refusals(folder, arguments, match):
    flat = IN_ORDER.reshape(6, 16)
    np.savez("two.npz", a=flat, b=flat)
    np.savez("one.npz", a=flat)
    np.save("wide.npy", np.zeros((2, 17)))
    np.save("nan.npy", np.where(np.arange(6)[:, None] == 1, np.nan, flat))
    np.save("text.npy", np.full((2, 16), "a"))
    open("empty.pt", "w").close()
    torch.save({"body.0.weight": torch.zeros(2, 2)}, "other.pt")
    torch.save({0: torch.zeros(2), 1: torch.ones(2)}, "numbers.pt")
    torch.save({"net": {7: torch.zeros(2)}}, "nested.pt")
    with open("broken_module.py", "w") as file:
        file.write("x = 1\ny = x / 0\n")
    before = sorted(os.listdir())
    assert match in refused(*arguments)
    assert sorted(os.listdir()) == before  # no partial file


def test_interrupted_runs_go_on(folder, monkeypatch):
    arguments = (MODEL, *IMAGES)
    whole = told(*arguments)
    from fastgen.goof import scores, search

    monkeypatch.setattr(search, "_CHUNK", 2)
    resumed = []

    def interrupting(generator, X, *, resume=None, **options):
        resumed.append(resume)

        def progress(done, total):
            if done >= 4 and resume is None and len(X) == 6:
                raise KeyboardInterrupt

        return nearest(generator, X, resume=resume, **{**options, "progress": progress})

    monkeypatch.setattr(scores, "nearest", interrupting)
    stored = ("--store", "found.npz", "--out", "goof.nc")
    result = call("goof", *arguments, *QUICK, *stored, "--no-progress")
    assert result.exit_code == 130
    assert result.stderr == (
        "fastgen: interrupted: finished targets are kept in found.npz; the same command goes on\n"
    )
    assert not os.path.exists("goof.nc")
    part = NearestResult.load("found.npz")
    assert 0 < (part.status == "interrupted").sum() < 6
    other = refused(*arguments, "--pool", 100, "--store", "found.npz")
    assert "--store found.npz is not of this command" in other
    found = told(*arguments, *stored)
    assert [len(part) for part in resumed if part is not None] == [6]
    assert found["mse"] == pytest.approx(whole["mse"], rel=1e-5)
    assert found["n"] == 6
    result = call("goof", *arguments, *QUICK, "--no-progress")
    assert result.stderr.startswith("fastgen: interrupted: nothing was written; with --store")


def test_the_seed_is_told_and_repeats_the_run(folder):
    quick = QUICK[:-2]
    result = call("goof", MODEL, *IMAGES, *quick, "--json", "--no-progress")
    first = json.loads(result.stdout)
    again = call("goof", MODEL, *IMAGES, *quick, "--seed", first["seed"], "--json", "--no-progress")
    assert json.loads(again.stdout) == first


# --- checkpoints, labels, stores -----------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_checkpoints_and_wrappers(folder, prefix):
    expected = told(MODEL, "--weights", "weights.pt", *IMAGES)["goof"]
    state = {prefix + name: tensor for name, tensor in folder.state_dict().items()}
    torch.save({"epoch": 3, "G_ema": state, "sub": {"G": state}}, "ck.pt")
    line = refused(MODEL, "--weights", "ck.pt", *IMAGES)
    assert "or name one: ck.pt:G_ema" in line
    for spec in ("ck.pt:G_ema", "ck.pt:sub.G"):
        found = told(MODEL, "--weights", spec, *IMAGES)
        assert found["goof"] == pytest.approx(expected, rel=1e-6)
    torch.save({f"net.{name}": tensor for name, tensor in state.items()}, "under.pt")
    assert told(MODEL, "--weights", "under.pt:net", *IMAGES)["goof"] == pytest.approx(expected)
    torch.save({**state, prefix + "encoder.weight": torch.zeros(2)}, "more.pt")
    result = call("goof", MODEL, "--weights", "more.pt", *IMAGES, *QUICK, "--no-progress")
    assert result.exit_code == 0
    assert "more.pt holds 1 tensors that what models_of_test:trained returned does" in result.stderr
    torch.save({prefix + "body.0.weight": torch.zeros(12, 3)}, "less.pt")
    assert "Missing key(s)" in refused(MODEL, "--weights", "less.pt", *IMAGES)


def test_conditional_generators_take_labels(folder):
    with open("labelled.py", "w") as file:
        file.write(
            "import torch\n\n\nclass G(torch.nn.Module):\n    def __init__(self):\n"
            "        super().__init__()\n        torch.manual_seed(0)\n"
            "        self.table = torch.nn.Embedding(3, 16)\n"
            "        self.body = torch.nn.Linear(2, 16)\n\n"
            "    def forward(self, z, labels):\n"
            "        return torch.tanh(self.body(z)) + self.table(labels)\n"
        )
    np.save("labels.npy", np.array([0, 1, 2, 0, 1, 2], np.uint8))
    generator = ("labelled.py:G", "--data", "images.npy", "--latent-dim", 2)
    found = told(*generator, "--labels", "labels.npy", "--penalty", 0.1, "--polish")
    assert (found["n"], found["n_pixels"]) == (6, 16)
    np.save("labels.npy", np.zeros(5, np.uint8))
    assert "cond must have a row per row of X" in refused(*generator, "--labels", "labels.npy")


def test_a_store_belongs_to_its_weights_and_seed(folder):
    stored = ("--store", "S.NPZ")
    first = told(MODEL, *IMAGES, *stored)
    assert told(MODEL, *IMAGES, *stored) == first
    assert sorted(n for n in os.listdir() if n.lower().endswith(".npz")) == ["S.NPZ", "weights.npz"]
    assert "is not of this command" in refused(
        MODEL, "--weights", "weights.pt", *IMAGES, *QUICK, *stored
    )
    assert "is not of this command" in refused(MODEL, *IMAGES, *QUICK[:-1], 4, *stored)
    assert "--seed must be at least 0 and less than 2^63" in refused(
        MODEL, *IMAGES, "--seed", 10**20, *stored
    )


def test_targets_are_kept_before_the_floor_is_searched(folder, monkeypatch):
    from fastgen.goof import scores

    whole = told(MODEL, *IMAGES)
    seen = []

    def killed(*arguments, **options):
        seen.append(NearestResult.load("found.npz"))
        raise SystemExit(137)

    monkeypatch.setattr(scores, "planted", killed)
    result = call("goof", MODEL, *IMAGES, *QUICK, "--store", "found.npz", "--no-progress")
    assert result.exit_code == 137
    assert not seen[0].interrupted.any()
    assert whole["mse"] == pytest.approx(seen[0].mse.mean(), rel=1e-5)
