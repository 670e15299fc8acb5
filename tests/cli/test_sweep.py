"""The command line: what it prints and writes, and that bad input costs one line and no file."""

from __future__ import annotations

import functools
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import fastgen
from fastgen.cli import data, grammar
from fastgen.cli.app import app
from fastgen.linear import SpikedGaussian, sweep

SMALL = ["--n-samples", "6", "--latent-dims", "1:14", "--trials", "3", "--seed", "0"]
COMMAND = [sys.executable, "-m", "fastgen.cli"]
ROWS = np.random.default_rng(0).standard_normal((30, 2, 3))
LIKE_SMALL = {"latent_dims": range(1, 15), "n_samples": 6, "n_trials": 3, "random_state": 0}


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run_sweep(*arguments):
    return call("sweep", *SMALL, "--no-progress", *arguments)


def read(path):
    with xarray.open_dataset(path, engine="scipy") as opened:
        return opened.load()


def test_digits_end_to_end(tmp_path):
    out, plot = tmp_path / "sweep.nc", tmp_path / "sweep.png"
    options = ["--n-samples", "20", "--latent-dims", "1:60", "--trials", "5", "--seed", "0"]
    result = call("sweep", "--data", "digits", *options, "--out", out, "--plot", plot)
    assert result.exit_code == 0, result.output
    head, flat, peaked, *written = result.stdout.splitlines()
    assert head.split()[0] == "problem"
    assert flat.split()[:3] == ["unsupervised", "-", "-"]
    assert peaked.split()[:3] == ["pseudo_supervised", "20", "20"]
    assert written == [f"wrote {out}", f"wrote {plot}"]
    assert "5/5" in result.stderr
    assert plot.read_bytes().startswith(b"\x89PNG")

    expected = sweep(
        load_digits().data, latent_dims=range(1, 61), n_samples=20, n_trials=5, random_state=0
    )
    saved = read(out)
    xarray.testing.assert_equal(saved, expected)
    assert saved.attrs["n_samples"] == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sweep.nc", "sweep.png"]


def test_every_option_reaches_the_library(tmp_path):
    out = tmp_path / "sweep.nc"
    result = run_sweep(
        *("--problems", "reduced_rank, ridge", "--n-supervised", "3,5:6", "--ridge", "0.5"),
        *("--rank", "2", "--dtype", "float32", "--jobs", "1", "--out", out),
        *("--dim", "9", "--true-dim", "4", "--noise-variance", "0.3"),
    )
    assert result.exit_code == 0, result.output
    expected = sweep(
        SpikedGaussian(dim=9, true_dim=4, noise_variance=0.3),
        n_supervised=[3, 5, 6],
        problems=["reduced_rank", "ridge"],
        ridge=0.5,
        rank=2,
        dtype="float32",
        **LIKE_SMALL,
    )
    xarray.testing.assert_equal(read(out), expected)


def test_json(tmp_path):
    plot = tmp_path / "sweep.svg"
    assert len(run_sweep().stdout.splitlines()) == 3
    assert not list(tmp_path.iterdir())
    result = run_sweep("--json", "--plot", plot)
    assert result.exit_code == 0
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert [row["problem"] for row in found["summary"]] == ["unsupervised", "pseudo_supervised"]
    assert found["summary"][0]["peak"] is None
    assert found["attrs"]["arguments"]["n_samples"] == 6
    assert found["files"] == [str(plot)]


def test_info_and_version():
    assert call("--version").stdout == f"fastgen {fastgen.__version__}\n"
    assert set(json.loads(call("info", "--json").stdout)) >= {"fastgen", "python", "numpy"}


def test_arrays(tmp_path):
    flat, pixels = ROWS.reshape(30, 6), np.abs(ROWS * 9).astype(np.uint8)
    np.save(tmp_path / "rows.npy", ROWS)
    np.savez(tmp_path / "one.npz", images=pixels)
    np.savez_compressed(tmp_path / "two.npz", x=ROWS, y=ROWS[:, 0])
    np.testing.assert_array_equal(data.load(f"{tmp_path}/rows.npy"), flat)
    for spec in ("one.npz", "one.npz:images"):
        np.testing.assert_array_equal(data.load(f"{tmp_path}/{spec}"), pixels.reshape(30, 6) / 255)
    np.testing.assert_array_equal(data.load(f"{tmp_path}/two.npz:y"), ROWS[:, 0])
    for spec in ("rows.npy", "one.npz", "two.npz:x"):
        assert run_sweep("--data", f"{tmp_path}/{spec}").exit_code == 0


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("1", 1)])
def test_images(tmp_path, mode, channels):
    rng = np.random.default_rng(0)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "notes.txt").write_text("not an image")
    pixels = rng.integers(0, 256, (14, 4, 5, 4), dtype=np.uint8)
    for i, image in enumerate(pixels):
        folder = tmp_path / "deeper" if i % 2 else tmp_path
        Image.fromarray(image).convert(mode).save(folder / f"{13 - i:02}.png")
    read = data.load(str(tmp_path))
    assert read.shape == (14, 4 * 5 * channels)
    assert read.min() >= 0
    assert read.max() <= 1
    first = np.asarray(Image.fromarray(pixels[13 - 0]).convert(mode).convert("RGB"))
    if mode == "RGBA":  # over white
        opacity = pixels[13, :, :, 3:] / 255
        first = np.rint(first * opacity + 255 * (1 - opacity))
    in_order = data.load(str(tmp_path / "deeper"))
    expected = first[..., 0] if channels == 1 else first
    off = 1 / 255 if mode == "RGBA" else 0  # Pillow's rounding
    np.testing.assert_allclose(in_order[0], expected.ravel() / 255, rtol=0, atol=off)
    assert run_sweep("--data", tmp_path).exit_code == 0
    (tmp_path / "deep").mkdir()
    Image.fromarray(np.full((2, 2), 65535, np.uint16)).save(tmp_path / "deep" / "a.png")
    np.testing.assert_array_equal(data.load(str(tmp_path / "deep")), np.ones((1, 4)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", [3]), ("1:4", [1, 2, 3, 4]), ("1:10:4, 2", [1, 5, 9, 2]), ("5:5", [5])],
)
def test_grammar(text, expected):
    assert grammar.integers(text, "--latent-dims") == expected


def refuse(result, message, folder=None, kept=()):
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("fastgen: error: ")
    assert message in line
    if folder is not None:
        assert sorted(p.name for p in folder.iterdir()) == sorted(kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latent-dims", ""], "--latent-dims must be integers and ranges such as"),
        (["--latent-dims", "1:5,x,7"], "got 'x' in '1:5,x,7'"),
        (["--latent-dims", "1:2:3:4"], "got '1:2:3:4'"),
        (["--latent-dims", "4,"], "got ''"),
        (["--latent-dims", "²"], "got '²'"),
        (["--latent-dims", "0"], "must be positive, got '0'"),
        (["--latent-dims", "9:1"], "write 1:9"),
        (["--latent-dims", "1:999999999"], "at most 1000000 integers"),
        (["--n-supervised", "3,two"], "--n-supervised must be integers"),
        (["--n-supervised", "7"], "n_supervised must be at most n_samples=6, got 7"),
        (["--n-samples", "1"], "n_samples must be at least 2, got 1"),
        (["--data", "digits", "--n-samples", "1700"], "training pool of 1797 rows"),
        (["--problems", "rigd"], "did you mean 'ridge'?"),
        (["--problems", ""], "problems must be one of"),
        (["--problems", "reduced_rank"], "rank must be a positive integer"),
        (["--trials", "0"], "n_trials must be at least 1"),
        (["--ridge", "nan"], "ridge must be finite"),
        (["--jobs", "0"], "--jobs must be"),
        (["--dtype", "float16"], "--dtype must be one of 'float64', 'float32', got 'float16'"),
        (["--population-fraction", "1", "--data", "digits"], "between 0 and 1"),
        *((["--population-fraction", f], "belongs to data of rows") for f in ("0", "0.5", "2")),
        (["--true-dim", "99", "--dim", "6"], "--true-dim must be at most --dim=6, got 99"),
        (["--data", "digits", "--true-dim", "3"], "--true-dim belongs to --data spiked"),
        (["--data", "digit"], "no such file or folder exists"),
        (["--data", "missing.npy"], "'missing.npy' cannot be read: No such file"),
        (["--data", "missing.npz:x"], "'missing.npz' cannot be read: No such file"),
    ],
)
def test_bad_arguments(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse(run_sweep("--out", "a.nc", "--plot", "a.png", *options), message, tmp_path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.where(np.eye(20, 3), np.nan, 1.0), "data must be finite, got nan at row 0, column 0"),
        (np.ones((1, 3)), "data must have at least 4 rows"),
        (np.ones((20, 3)), "data must vary, got 20 identical rows"),
        (np.arange(20.0), "data must be two-dimensional"),
        (np.empty((0, 2, 2)), "data must have at least 4 rows"),
        (np.array(["a", "b"]), "must hold numbers, got dtype <U1"),
        (np.ones((20, 3), complex), "must hold numbers, got dtype complex128"),
        (np.eye(11)[::-1], "n_samples must be at most 5"),
        (np.eye(11), "pass fastgen.linear.GaussianData(data)"),
    ],
)
def test_bad_arrays(array, message, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, array)
    out = tmp_path / "a.nc"
    refuse(run_sweep("--data", path, "--out", out), message, tmp_path, ["rows.npy"])


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["FASTGEN_TEST_BOMB"],)


def test_pickles_are_never_loaded(tmp_path, monkeypatch):
    bomb = tmp_path / "exploded"
    monkeypatch.setenv("FASTGEN_TEST_BOMB", str(bomb))
    objects = np.empty(2, dtype=object)
    objects[:] = [Bomb(), Bomb()]
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=objects)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Bomb()))
    refuse(run_sweep("--data", tmp_path / "a.npy"), "pickled Python objects")
    refuse(run_sweep("--data", tmp_path / "b.npz"), "pickled Python objects")
    refuse(run_sweep("--data", tmp_path / "c.npy"), "is not a .npy file")
    assert not bomb.exists()


def test_damaged_files(tmp_path):
    np.save(tmp_path / "whole.npy", ROWS)
    np.savez_compressed(tmp_path / "whole.npz", x=ROWS, y=ROWS)
    whole = (tmp_path / "whole.npy").read_bytes()
    archive = (tmp_path / "whole.npz").read_bytes()
    broken = archive[:200] + bytes([archive[200] ^ 255]) + archive[201:]
    for name, content in {
        "empty.npy": b"",
        "text.npy": b"1,2,3",
        "short.npy": whole[:-8],
        "head.npy": whole[:9],
        "huge.npy": whole.replace(b"(30, 2, 3)", b"(9999,9,9)"),
        "empty.npz": b"",
        "short.npz": archive[:300],
        "broken.npz": broken,
    }.items():
        (tmp_path / name).write_bytes(content)
        spec = f"{tmp_path}/{name}" + (":x" if name == "broken.npz" else "")
        refuse(run_sweep("--data", spec), name)
    refuse(run_sweep("--data", tmp_path / "whole.npz"), "holds several arrays, only x, y")
    refuse(run_sweep("--data", f"{tmp_path}/whole.npz:z"), "holds no array 'z', only x, y")
    np.savez(tmp_path / "none.npz")
    refuse(run_sweep("--data", tmp_path / "none.npz"), "holds no array")
    (tmp_path / "rows.mat").write_text("1,2")
    refuse(run_sweep("--data", tmp_path / "rows.mat"), "--data must be digits, spiked, FILE.npy")
    (tmp_path / "table.csv").write_text("gene,kind\na,x\n")
    refuse(run_sweep("--data", tmp_path / "table.csv"), "got 'x' in line 2, column 2 (kind)")


def test_bad_images(tmp_path):
    refuse(run_sweep("--data", tmp_path), "must hold images (.png, ")
    rng = np.random.default_rng(0)
    for name, shape in {"a": (4, 5), "b": (4, 5), "c": (5, 4)}.items():
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    refuse(run_sweep("--data", tmp_path), "c.png is 4x5 with 1 channel")
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "c.png")
    refuse(run_sweep("--data", tmp_path), "c.png is 5x4 with 3 channels")
    whole = (tmp_path / "a.png").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:20] + b"?" * 20):
        (tmp_path / "c.png").write_bytes(content)
        refuse(run_sweep("--data", tmp_path), "c.png cannot be read")
    (tmp_path / "c.png").unlink()
    Image.fromarray(np.zeros((4, 5), np.float32)).save(tmp_path / "c.tif")
    refuse(run_sweep("--data", tmp_path), "c.tif cannot be read: mode F")


def test_outputs_are_checked_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgen.linear.sweep", lambda *_, **__: pytest.fail("worked in vain"))
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "folder.nc").mkdir()
    kept = ["file", "folder.nc"]
    for options, message in [
        (["--out", tmp_path / "a.txt"], "--out must end in .nc"),
        (["--out", tmp_path / "a"], "--out must end in .nc"),
        (["--plot", tmp_path / "a.gif"], "--plot must end in .png or .pdf or .svg"),
        (["--out", tmp_path / "no" / "a.nc"], f"folder {tmp_path / 'no'} does not exist"),
        (["--plot", tmp_path / "no" / "a.png"], f"folder {tmp_path / 'no'} does not exist"),
        (["--out", file / "a.nc"], f"folder {file} does not exist"),
        (["--out", tmp_path / "folder.nc"], "is a folder"),
        (["--out", tmp_path / "a.nc", "--store", tmp_path / "a.nc"], "must differ"),
    ]:
        refuse(run_sweep(*options), message, tmp_path, kept)


def test_names_that_are_no_text(tmp_path):
    out, plot, store = (tmp_path / f"\udcff{end}" for end in (".nc", ".png", ".zarr"))
    for _ in range(2):
        result = run_sweep("--out", out, "--plot", plot, "--store", store)
        assert result.exit_code == 0, result.output
        assert r"\udcff.nc" in result.stdout
    assert len(read(out).trial) == 3
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {out.name, plot.name, store.name}


def test_protected_folder(tmp_path, monkeypatch):
    def refused(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    out = tmp_path / "a.nc"
    refuse(run_sweep("--out", out), f"'{out}' cannot be written: Permission denied", tmp_path)


def test_store_of_other_arguments(tmp_path):
    store = tmp_path / "store"
    assert run_sweep("--store", store).exit_code == 0
    out = tmp_path / "a.nc"
    refuse(
        run_sweep("--store", store, "--n-samples", "5", "--out", out),
        "was made with n_samples=6",
        tmp_path,
        ["store"],
    )
    refuse(run_sweep("--store", __file__), "store must be a folder")


def test_a_store_takes_more_trials_and_latents(tmp_path):
    store, out = tmp_path / "store", tmp_path / "a.nc"
    assert run_sweep("--store", store).exit_code == 0
    more = ("--trials", "5", "--latent-dims", "1:16")
    assert run_sweep("--store", store, *more, "--out", out).exit_code == 0
    whole = sweep(**{**LIKE_SMALL, "latent_dims": range(1, 17), "n_trials": 5})
    xarray.testing.assert_allclose(read(out), whole, rtol=1e-8)


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "a.nc"
    out.write_text("old")

    write = xarray.Dataset.dump_to_store

    def half(self, store):
        write(self[["w2"]], store)
        store.sync()
        assert len(list(tmp_path.iterdir())) == 2
        raise OSError("no space left on device")

    monkeypatch.setattr(xarray.Dataset, "dump_to_store", half)
    result = run_sweep("--out", out)
    assert result.exit_code == 2
    assert result.stderr == "fastgen: error: no space left on device\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    assert out.read_text() == "old"


def test_usage_errors():
    assert call("sweep").exit_code == 2
    assert call("sweep", *SMALL, "--n-samples", "many").exit_code == 2
    assert call("swep").exit_code == 2


def test_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr("fastgen.linear.sweep", lambda *_, **__: 1 / 0)
    assert isinstance(run_sweep().exception, ZeroDivisionError)


def test_interrupted(monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastgen.linear.sweep", interrupted)
    result = run_sweep("--out", tmp_path / "a.nc")
    assert result.exit_code == 130
    (line,) = result.stderr.splitlines()
    assert line.startswith("fastgen: interrupted: nothing was written; with --store")
    assert not list(tmp_path.iterdir())


def test_interrupted_process_resumes(tmp_path):
    store, out = tmp_path / "store", tmp_path / "a.nc"
    options = ["sweep", "--n-samples", "40", "--latent-dims", "1:120", "--seed", "3"]
    options += ["--trials", "400", "--store", str(store), "--out", str(out), "--no-progress"]
    finished = store / "finished" / "c"
    # a test run in the background ignores the signal, and what it starts inherits that
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        [*COMMAND, *options], stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        until = time.monotonic() + 60
        while not (finished.is_dir() and any(finished.iterdir())) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == (
        f"fastgen: interrupted: the same command with --store {store} resumes"
    )
    assert not out.exists()
    assert 0 < len(list(finished.iterdir())) < 400
    assert call(*options).exit_code == 0
    expected = sweep(latent_dims=range(1, 121), n_samples=40, n_trials=400, random_state=3)
    xarray.testing.assert_equal(read(out), expected)


def time_of_children():
    """Processor time, which other processes on the machine do not add to."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick():
    seconds = []
    for _ in range(3):
        started = time_of_children()
        result = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True)
        seconds.append(time_of_children() - started)
        assert result.returncode == 0
        assert result.stderr == ""
    assert "sweep" in result.stdout
    assert min(seconds) < 0.5
    heavy = "{'numba', 'xarray', 'matplotlib', 'sklearn', 'scipy', 'torch'}"
    code = f"import sys, fastgen.cli.app; assert not {heavy} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_exit_code_of_the_process(tmp_path):
    command = [*COMMAND, "sweep", *SMALL, "--problems", "pca", "--out", "a.nc"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("fastgen: error: problems must be one of")
    assert not list(tmp_path.iterdir())


def test_tolerance_and_steps_reach_the_sweep(tmp_path):
    out = tmp_path / "a.nc"
    options = ["--problems", "penalized", "--tol", "1e-3", "--max-iter", "2", "--out", out]
    result = run_sweep(*options)
    assert result.exit_code == 0, result.output
    found, expected = read(out), sweep(problems="penalized", tol=1e-3, max_iter=2, **LIKE_SMALL)
    np.testing.assert_array_equal(found.w2, expected.w2)
    assert int(found.n_iter.max()) == 2
    refuse(run_sweep("--tol", "-1"), "tol must be finite and at least 0")
    refuse(run_sweep("--max-iter", "0"), "max_iter must be at least 1")


def test_a_drawn_seed_is_told_and_repeats_the_sweep(tmp_path):
    options = ["sweep", "--n-samples", "6", "--latent-dims", "1:9", "--trials", "3"]
    first = call(*options, "--no-progress", "--out", tmp_path / "a.nc", "--json")
    (line,) = [line for line in first.stderr.splitlines() if "seed" in line]
    seed = line.split("seed ")[1].split(";")[0]
    assert line == f"fastgen: seed {seed}; --seed {seed} repeats this sweep"
    assert json.loads(first.stdout)["attrs"]["seed_entropy"] == seed
    second = call(*options, "--no-progress", "--out", tmp_path / "b.nc", "--seed", seed)
    assert "seed" not in second.stderr
    np.testing.assert_array_equal(read(tmp_path / "a.nc").w2, read(tmp_path / "b.nc").w2)
