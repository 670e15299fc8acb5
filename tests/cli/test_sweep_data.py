"""What ``fastgen sweep`` reads, and what it imports for it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from fastgen.cli import data
from fastgen.cli.app import app

SMALL = ["--n-samples", "6", "--latent-dims", "1:14", "--trials", "3", "--seed", "0"]


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_images_are_resized_and_columns_chosen(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(pixels):
        mode = "L" if i % 2 else "RGB"
        Image.fromarray(image).convert(mode).save(tmp_path / "images" / f"{i:02}.png")
    np.save(tmp_path / "images.npy", pixels)
    asked = ("--resize", 2, "--rgb", "--latent-dims", "1", "--n-samples", 3, "--trials", 1)
    for spec in ("images", "images.npy"):
        result = call("sweep", "--data", tmp_path / spec, *asked, "--json", "--seed", 0)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["attrs"]["dim"] == 12
    table = "gene,a,b,c\n" + "".join(f"g{i},{i},{i * i % 7},{-i}\n" for i in range(12))
    (tmp_path / "t.csv").write_text(table)
    asked = ("--latent-dims", "1", "--n-samples", 3, "--trials", 1, "--json", "--seed", 0)
    for options, dim in (((), 3), (("--columns", "a,c"), 2), (("--ignore", "b"), 2)):
        result = call("sweep", "--data", tmp_path / "t.csv", *asked, *options)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["attrs"]["dim"] == dim
    np.save(tmp_path / "flat.npy", np.zeros((4, 4)))
    for options, message in (
        (("digits", "--resize", 4), "--resize needs a folder or an array of images"),
        ((tmp_path / "t.csv", "--rgb"), "--rgb needs a folder or an array of images"),
        ((tmp_path / "flat.npy", "--rgb"), "of shape (4, 4)"),
        (("digits", "--columns", "a"), "--columns needs a table"),
        ((tmp_path / "t.csv", "--columns", "d"), "'d'"),
    ):
        result = call("sweep", "--data", *options, *asked)
        assert result.exit_code == 2
        assert message in result.stderr


def test_digits_are_those_of_scikit_learn():
    expected = load_digits().data
    found = data.load("digits")
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous == expected.flags.c_contiguous


def test_a_sweep_imports_what_it_needs(tmp_path):
    """scikit-learn, of which estimators are made, takes more time than the sweep."""
    command = [
        "sweep",
        "--data",
        "digits",
        *SMALL,
        "--out",
        str(tmp_path / "a.nc"),
        "--no-progress",
    ]
    code = (
        "import sys\nfrom fastgen.cli import main\ntry:\n    main()\nexcept SystemExit:\n"
        "    heavy = {'sklearn', 'scipy.stats', 'scipy.signal', 'torch'} & set(sys.modules)\n"
        "    assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
