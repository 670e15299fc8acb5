"""``fastgen fid`` and ``fastgen wam``: what they read, print and write, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fastgen.cli.app import app
from fastgen.metrics.features import PCAFeatures
from fastgen.metrics.fid_wam import fid, wam
from fastgen.metrics.statistics import FeatureStatistics

RNG = np.random.default_rng(0)
X = np.repeat([[-9.0], [9.0]], 100, axis=0) + RNG.standard_normal((200, 3))
Y = np.repeat([[-9.0], [9.0]], 90, axis=0) + 2 * RNG.standard_normal((180, 3))
PIXELS = RNG.integers(0, 256, (2, 30, 4, 4, 3), dtype=np.uint8)
WAM = ("--components", "2", "--seed", "0")


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(*arguments):
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments):
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert not result.stdout
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("fastgen: error: ")
    return lines[-1]


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "y.npz", features=Y)
    np.savez(tmp_path / "both.npz", real=X, fake=Y)
    FeatureStatistics().update(Y).save(tmp_path / "stats.npz")
    for name, images in zip(("real", "fake"), PIXELS, strict=True):
        for i, image in enumerate(images):
            folder = tmp_path / name / f"{i % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:02}.png")
    return tmp_path


def rows(images):
    """Pixels in the order of the paths: even images first."""
    return np.concatenate((images[::2], images[1::2])).transpose(0, 3, 1, 2).reshape(30, -1) / 255


def test_fid_of_every_kind_of_input(files):
    expected = fid(X, Y)
    for b in ("y.npz", "stats.npz", "both.npz:fake"):
        found = told("fid", files / "x.npy", files / b)
        assert found["fid"] == pytest.approx(expected, rel=1e-10)
        assert (found["n_a"], found["n_b"], found["n_features"]) == (200, 180, 3)
    plain = call("fid", files / "x.npy", files / "y.npz")
    assert plain.stdout == f"FID: {expected:.6g}\n"
    assert told("fid", files / "stats.npz", files / "stats.npz")["fid"] == 0


@pytest.mark.filterwarnings("ignore:. has n=")
def test_fid_of_folders_with_fewer_and_with_more_images_than_pixels(files):
    real, fake = files / "real", files / "fake"
    result = call("fid", real, fake, "--json")
    found = json.loads(result.stdout)
    assert found["fid"] == pytest.approx(fid(rows(PIXELS[0]), rows(PIXELS[1])), rel=1e-10)
    assert "30/30" in result.stderr
    assert found["n_features"] == 48
    small = told("fid", real, fake, "--resize", 2, "--batch-size", 7, "--no-progress")
    assert small["n_features"] == 12
    assert small["n_a"] == 30
    assert 0 < small["fid"] < found["fid"]
    assert not call("fid", real, real, "--resize", 2, "--no-progress").stderr
    warned = call("fid", real, real, "--no-progress")
    assert warned.exit_code == 0
    lines = warned.stderr.splitlines()
    assert len(lines) == 2
    for name, line in zip("XY", lines, strict=True):
        assert line.startswith(f"fastgen: warning: {name} has n=30 samples of d=48 features")


@pytest.mark.parametrize("command", [("fid",), ("wam", *WAM)])
def test_statistics_never_replace_an_input(files, command):
    a, b = files / "both.npz", files / "y.npz"
    (files / "link.npz").symlink_to(a)
    (files / "hard.npz").hardlink_to(b)
    before = {path: path.read_bytes() for path in (a, b)}
    for out in (a, b, files / "link.npz", files / "hard.npz", files / "real" / ".." / "y.npz"):
        line = refused(command[0], f"{a}:real", b, *command[1:], "--save-stats", out)
        assert "would replace the input" in line
    assert {path: path.read_bytes() for path in (a, b)} == before


def test_saved_statistics_take_the_place_of_their_set(files):
    saved = files / "saved.npz"
    for a, b in (("x.npy", "y.npz"), ("real", "fake"), ("stats.npz", "x.npy")):
        first = told("fid", files / a, files / b, "--save-stats", saved)
        assert first["files"] == [str(saved)]
        again = told("fid", saved, files / b)
        assert again["fid"] == pytest.approx(first["fid"], rel=1e-6)
    for command in (("fid",), ("wam", *WAM)):
        saved.unlink()
        written = call(*command, files / "x.npy", files / "y.npz", "--save-stats", saved)
        assert written.stdout.splitlines()[-1] == f"wrote {saved}"
        assert FeatureStatistics.load(saved).n_samples == len(X)


def test_principal_components_are_those_of_the_first(files):
    real, fake = (rows(images) for images in PIXELS)
    components = PCAFeatures(5).fit(real)
    arguments = (files / "real", files / "fake", "--features", "pca", "--pca-components", 5)
    found = told("fid", *arguments)
    assert found["fid"] == pytest.approx(fid(components(real), components(fake)), rel=1e-9)
    assert found["features"] == "pca"
    assert "no use with --features pca" in refused(
        "fid", *arguments, "--save-stats", files / "s.npz"
    )
    assert "at most the numbers of rows and columns" in refused("fid", *arguments[:-1], 31)


def test_wam_is_the_function(files):
    arguments = ("wam", files / "x.npy", files / "y.npz", *WAM)
    expected = wam(X, Y, n_components=2, random_state=0, n_bootstrap=5)
    found = told(*arguments, "--bootstrap", 5)
    for name, value in json.loads(json.dumps(expected.to_dict())).items():
        assert found[name] == value, name
    plain = call(*arguments, "--bootstrap", 5).stdout
    for value in (expected.wam2, expected.floor, expected.debiased, expected.fid):
        assert f"{value:.6g}" in plain
    assert "95 % interval" in plain
    assert "one fit to both sets, reg_covar 1e-06" in plain


def test_wam_options_reach_the_library(files):
    arguments = ("wam", files / "x.npy", files / "both.npz:fake", *WAM)
    separate = told(*arguments, "--separate", "--reg-covar", "0.01", "--covariance-type", "tied")
    options = {"shared_fit": False, "reg_covar": 0.01, "covariance_type": "tied"}
    assert separate["wam2"] == wam(X, Y, n_components=2, random_state=0, **options).wam2
    paper = call(*arguments, "--paper", "--components", "2")
    assert "separate fits" in paper.stdout
    assert paper.stdout.splitlines()[1].split()[2:] == ["-", "-"]
    found = told("wam", files / "x.npy", files / "y.npz", "--components", "bic", "--seed", 0)
    assert found["n_components"] == 2
    plot = files / "wam.png"
    drawn = call(*arguments, "--plot", plot)
    assert drawn.stdout.splitlines()[-1] == f"wrote {plot}"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_wam_warns_in_one_line(files):
    result = call("wam", files / "real", files / "fake", "--resize", 2, *WAM, "--no-progress")
    assert result.exit_code == 0, result.output
    lines = result.stderr.strip().splitlines()
    assert lines
    assert all(line.startswith("fastgen: warning: ") for line in lines)
    assert "samples per dimension" in lines[-1]


def test_no_weights_no_download(files):
    pytest.importorskip("torchvision")
    missing = files / "none.pth"
    for name in ("inception", "resnet18"):
        line = refused(
            "fid", files / "real", files / "fake", "--features", name, "--weights", missing
        )
        assert str(missing) in line
        assert "nothing is downloaded" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x.npy", "none.npy"), "No such file"),
        (("x.npy", "none"), "no such file or folder exists"),
        (("x.npy", "text.txt"), "must be folders of images, .npy or .npz files"),
        (("x.npy", "both.npz"), "holds several arrays, only fake, real; choose one: "),
        (("x.npy", "both.npz:none"), "holds no array 'none', only fake, real"),
        (("x.npy", "bad.npy"), "is not a .npy file, or is damaged"),
        (("x.npy", "bad.npz"), "is not a .npz file, or is damaged"),
        (("x.npy", "pickle.npy"), "pickled Python objects, which are never loaded"),
        (("x.npy", "line.npy"), "must hold features (n, d) or images"),
        (("x.npy", "wide.npy"), "same number of columns, got 3 and 4"),
        (("x.npy", "nan.npy"), "must be finite, got nan"),
        (("x.npy", "nan.npz"), "must be finite, got nan"),
        (("x.npy", "empty"), "must hold images"),
        (("real", "broken"), "broken.png cannot be read"),
        (("real", "mixed"), "resize them all (resize=, on the command line --resize)"),
        (("x.npy", "y.npz", "--features", "pixel"), "did you mean 'pixels'"),
        (("x.npy", "y.npz", "--features", "resnet18"), "needs folders or arrays"),
        (("x.npy", "y.npz", "--resize", "8"), "--resize needs folders or arrays of"),
        (("x.npy", "y.npz", "--rgb"), "--rgb needs folders or arrays of images, got 'x.npy'"),
        (("cube.npy", "cube.npy"), "has no axis of channels"),
        (("x.npy", "y.npz", "--weights", "w.pth"), "--weights belongs to --features inception"),
        (("x.npy", "y.npz", "--device", "cuda"), "--device belongs to"),
        (("real", "fake", "--resize", "0"), "--resize must be at least 1"),
        (("real", "fake", "--batch-size", "0"), "--batch-size must be at least 1"),
        (("stats.npz", "x.npy", "--features", "pca"), "got their mu and sigma"),
        (("x.npy", "y.npz", "--save-stats", "stats.txt"), "--save-stats must end in .npz"),
    ],
)
def test_bad_input_is_one_line(files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    for name in ("text.txt", "bad.npy", "bad.npz"):
        (files / name).write_text("text")
    np.save("pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save("line.npy", np.zeros(3))
    np.save("cube.npy", np.zeros((9, 5, 5, 5)))
    np.save("wide.npy", np.zeros((9, 4)))
    np.save("nan.npy", np.full((9, 3), np.nan))
    np.savez("nan.npz", mu=np.full(3, np.nan), sigma=np.eye(3))
    for name in ("empty", "broken", "mixed"):
        (files / name).mkdir()
    (files / "broken" / "broken.png").write_text("text")
    for side in (4, 5):
        Image.fromarray(PIXELS[0, 0]).resize((side, side)).save(files / "mixed" / f"{side}.png")
    before = {path for path in files.rglob("*")}
    assert message in refused("fid", *arguments)
    assert {path for path in files.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stats.npz", "x.npy"), "mixtures and principal components need features"),
        (("x.npy", "y.npz", "--components", "cv"), "n_components must be one of 'heldout'"),
        (("x.npy", "y.npz", "--components", "0"), "n_components must be at least 1"),
        (("x.npy", "y.npz", "--covariance-type", "ful"), "did you mean 'full'"),
        (("x.npy", "y.npz", "--bootstrap", "-1"), "n_bootstrap must be at least 0"),
        (("x.npy", "y.npz", "--plot", "wam.txt"), "--plot must end in"),
        (("x.npy", "y.npz", "--components", "500"), "must have at least n_components=500 rows"),
    ],
)
def test_bad_input_to_wam_is_one_line(files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    assert message in refused("wam", *arguments)


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom fastgen.cli.app import app\n"
        "heavy = {'numba', 'torch', 'scipy', 'sklearn', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.filterwarnings("ignore:. has n=")
@pytest.mark.parametrize("scale", [None, "unit", "signed", "float"])
@pytest.mark.parametrize("first", [False, True])
def test_arrays_of_images_are_what_their_folder_is(tmp_path, first, scale):
    images = np.random.default_rng(3).integers(0, 256, (9, 5, 6, 3), dtype=np.uint8)
    (tmp_path / "real").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "real" / f"{i}.png")
    if first:
        images = images.transpose(0, 3, 1, 2)
    if scale is not None:
        images = images.astype(np.float64)
        images = {"unit": images / 255, "signed": images / 127.5 - 1, "float": images}[scale]
    np.save(tmp_path / "images.npy", images)
    for options in ((), ("--resize", 3), ("--features", "pca", "--pca-components", 4)):
        found = told("fid", tmp_path / "real", tmp_path / "images.npy", *options)
        # files hold whole values, also after they are resized
        rounding = 1e-3 if scale is not None and "--resize" in options else 1e-6
        assert found["fid"] == pytest.approx(0, abs=rounding)
        assert found["n_b"] == 9


@pytest.mark.filterwarnings("ignore:. has n=")
def test_gray_and_colored_images_meet_as_rgb(files):
    for path in list((files / "fake").rglob("*.png"))[:7]:
        Image.open(path).convert("L").save(path)
    assert "--rgb" in refused("fid", files / "real", files / "fake")
    assert told("fid", files / "real", files / "fake", "--rgb")["n_features"] == 48
    found = told("wam", files / "fake", files / "fake", "--rgb", "--components", 1)
    assert found["wam2"] == pytest.approx(0, abs=1e-9)
    np.save(files / "gray.npy", PIXELS[0][..., 0])
    found = told("fid", files / "gray.npy", files / "fake", "--rgb")
    assert (found["n_a"], found["n_features"]) == (30, 48)


@pytest.mark.filterwarnings("ignore:. has n=")
def test_statistics_of_a_folder_or_array_serve_as_the_set(files):
    out = files / "REAL.NPZ"
    found = told("stats", files / "real", "--out", out)
    assert (found["n"], found["n_features"], found["features"]) == (30, 48, "pixels")
    whole = told("fid", files / "real", files / "fake")
    assert told("fid", out, files / "fake")["fid"] == pytest.approx(whole["fid"], rel=1e-9)
    with np.load(out) as kept:
        np.testing.assert_allclose(kept["mu"], rows(PIXELS[0]).mean(axis=0))
        np.testing.assert_allclose(kept["sigma"], np.cov(rows(PIXELS[0]).T), atol=1e-12)
    result = call("stats", files / "y.npz", "--out", files / "y2.npz")
    assert result.stdout.startswith("statistics of 180 rows, 3 features\nwrote ")
    assert told("fid", files / "y2.npz", files / "y.npz")["fid"] == pytest.approx(0, abs=1e-9)
    message = "would replace the input"
    assert message in refused("stats", files / "y.npz", "--out", files / "y.npz")
    assert "--out must end in .npz" in refused("stats", files / "y.npz", "--out", files / "y.txt")


@pytest.mark.filterwarnings("ignore:. has n=")
def test_a_distance_says_of_what_it_is(files):
    plain = call("fid", files / "real", files / "fake").stdout
    assert plain.endswith("(of pixels, not of Inception features; 30 and 30 images, 48 features)\n")
    wam = call("wam", files / "real", files / "real", "--components", 1).stdout
    assert wam.endswith("of pixels, not of Inception features; 30 and 30 images, 48 features\n")
    assert told("fid", files / "real", files / "fake")["features"] == "pixels"
    assert told("fid", files / "x.npy", files / "y.npz")["features"] is None


@pytest.mark.filterwarnings("ignore:. has n=")
def test_statistics_of_other_features_are_refused(files):
    found = FeatureStatistics().update(rows(PIXELS[0]))
    found.features = "inception"
    found.save(files / "inception.npz")
    line = refused("fid", files / "inception.npz", files / "real")
    assert "holds statistics of 'inception' features" in line
    assert "pass --features inception" in line
    other = FeatureStatistics().update(rows(PIXELS[1]))
    other.features = "pixels"
    with pytest.raises(ValueError, match="X and Y must be of the same features"):
        fid(FeatureStatistics.load(files / "inception.npz"), other)
    with pytest.raises(ValueError, match="self and other must be of the same features"):
        other.merge(FeatureStatistics.load(files / "inception.npz"))
