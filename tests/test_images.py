"""Folders and arrays of images: one reading of each, or words to say which."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from fastgen.cli import data
from fastgen.images import ImageArray, ImageFolder

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
GRAY = COLOR[..., 0]


def save(folder, images, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.{suffix}")
    return folder


def whole(images):
    return np.concatenate(list(images.batches(4)))


def first(values):
    """Channels first, in [0, 1]."""
    return np.moveaxis(values, -1, 1) / 255


def test_hidden_files_and_folders_are_left_out(tmp_path):
    save(tmp_path, COLOR)
    (tmp_path / "._0.png").write_bytes(b"\0\5\x16\7" + b"\0" * 100)
    save(tmp_path / ".ipynb_checkpoints", COLOR)
    save(tmp_path / "__MACOSX" / "deeper", COLOR)
    save(tmp_path / "kept" / ".Trash-1000" / "files", COLOR)
    np.testing.assert_array_equal(whole(ImageFolder(tmp_path)), first(COLOR))


def test_a_hidden_folder_may_be_named(tmp_path):
    assert len(ImageFolder(save(tmp_path / ".cache", COLOR))) == 6


def test_linked_folders_are_followed_once(tmp_path):
    save(tmp_path / "elsewhere", COLOR[3:])
    top = save(tmp_path / "top", COLOR[:3])
    (top / "more").symlink_to(tmp_path / "elsewhere")
    (top / "again").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (top / "round").symlink_to(top, target_is_directory=True)
    assert len(ImageFolder(top)) == 6
    save(top / "z", COLOR[:1])
    (top / "a").symlink_to(top / "z")
    assert ImageFolder(top).names == ["0.png", "1.png", "2.png", "again/0.png", "again/1.png",
                                      "again/2.png", "z/0.png"]  # fmt: skip
    link = tmp_path / "link"
    link.symlink_to(top)
    assert len(ImageFolder(link)) == 7


def test_links_to_nothing_are_no_silent_loss(tmp_path):
    save(tmp_path, COLOR)
    (tmp_path / "9.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"9\.png cannot be read"):
        whole(ImageFolder(tmp_path))


def test_images_of_other_types_are_counted(tmp_path):
    save(tmp_path, COLOR[:2])
    for number, suffix in enumerate(("gif", "GIF", "ico")):
        Image.fromarray(COLOR[number]).save(tmp_path / f"other{number}.{suffix}")
    (tmp_path / "notes.txt").touch()
    with pytest.warns(UserWarning, match=r"3 images .* not read \(\.gif, \.ico\) beside the 2"):
        assert len(ImageFolder(tmp_path)) == 2
    with pytest.raises(ValueError, match="got 1 images of other types; name another folder, or"):
        ImageFolder(save(tmp_path / "gifs", COLOR[:1], "gif"))


@pytest.mark.parametrize("suffix", ["ppm", "PNG", "tiff", "bmp"])
def test_lossless_types(suffix, tmp_path):
    np.testing.assert_array_equal(whole(ImageFolder(save(tmp_path, COLOR, suffix))), first(COLOR))


@pytest.mark.parametrize("suffix", ["jpe", "jfif", "JPG"])
def test_names_of_jpeg(suffix, tmp_path):
    assert whole(ImageFolder(save(tmp_path, COLOR, suffix))).shape == (6, 3, 8, 10)


def frames(path, images):
    pictures = [Image.fromarray(image) for image in images]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])


@pytest.mark.parametrize("suffix", ["tif", "webp", "png"])
def test_several_frames_are_refused(suffix, tmp_path):
    frames(tmp_path / f"stack.{suffix}", COLOR[:3])
    with pytest.raises(ValueError, match=r"stack.* it holds 3 frames, .* a file of its own"):
        whole(ImageFolder(tmp_path))


def test_the_first_picture_of_a_camera_file(tmp_path):
    pictures = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (51, 204)]
    pictures[0].save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=pictures[1:])
    np.testing.assert_allclose(whole(ImageFolder(tmp_path)), 0.2, atol=0.01)


def over_white(values, opacity):
    return (values / 255.0) * (opacity / 255.0) + (1 - opacity / 255.0)


def test_transparent_images_are_laid_over_white(tmp_path):
    opacity = RNG.integers(0, 256, (6, 8, 10), dtype=np.uint8)
    color = np.concatenate([COLOR, opacity[..., None]], axis=-1)
    found = whole(ImageFolder(save(tmp_path / "color", color)))
    expected = np.moveaxis(over_white(COLOR, opacity[..., None]), -1, 1)
    np.testing.assert_allclose(found, expected, atol=1 / 255)
    gray = np.stack([GRAY, opacity], axis=-1)
    (tmp_path / "gray").mkdir()
    for number, image in enumerate(gray):
        merged = Image.merge("LA", [Image.fromarray(part) for part in np.moveaxis(image, -1, 0)])
        merged.save(tmp_path / "gray" / f"{number}.png")
    found = whole(ImageFolder(tmp_path / "gray"))
    np.testing.assert_allclose(found[:, 0], over_white(GRAY, opacity), atol=1 / 255)
    # one color that stands for nothing, in images without a channel of opacity
    for number, image in enumerate(COLOR):
        path = save(tmp_path / "key", []) / f"{number}.png"
        Image.fromarray(image).save(path, transparency=tuple(int(v) for v in image[0, 0]))
    found = whole(ImageFolder(tmp_path / "key"))
    np.testing.assert_array_equal(found[:, :, 0, 0], 1)
    np.testing.assert_array_equal(found[:, :, 1:], first(COLOR)[:, :, 1:])


def test_colors_that_nobody_sees_do_not_count(tmp_path):
    for shade in (0, 255):
        image = np.dstack([np.full((4, 4, 3), shade, np.uint8), np.zeros((4, 4, 1), np.uint8)])
        image[1:3, 1:3] = (20, 40, 60, 255)
        save(tmp_path / str(shade), [image])
    dark, bright = (whole(ImageFolder(tmp_path / shade)) for shade in ("0", "255"))
    np.testing.assert_array_equal(dark, bright)


def test_the_orientation_of_cameras_is_applied(tmp_path):
    picture = Image.fromarray(COLOR[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    picture.save(tmp_path / "0.png", exif=exif)
    expected = np.rot90(COLOR[0], -1).transpose(2, 0, 1) / 255
    np.testing.assert_array_equal(whole(ImageFolder(tmp_path))[0], expected)


def test_palettes_and_cmyk_become_rgb(tmp_path):
    few = COLOR // 128 * 255
    for number, image in enumerate(few):
        Image.fromarray(image).quantize(16, dither=0).save(tmp_path / f"{number}.png")
    np.testing.assert_array_equal(whole(ImageFolder(tmp_path)), first(few))
    for number, image in enumerate(few):
        Image.fromarray(image).convert("CMYK").save(save(tmp_path / "c", []) / f"{number}.tif")
    np.testing.assert_array_equal(whole(ImageFolder(tmp_path / "c")), first(few))


def test_sixteen_bits(tmp_path):
    deep = RNG.integers(0, 65536, (3, 6, 6), dtype=np.uint16)
    for suffix in ("png", "tif"):
        folder = save(tmp_path / suffix, deep, suffix)
        np.testing.assert_array_equal(whole(ImageFolder(folder))[:, 0], deep / 65535)
        assert whole(ImageFolder(folder, rgb=True)).shape == (3, 3, 6, 6)
        small = whole(ImageFolder(folder, resize=3))
        eight = (deep // 257).astype(np.uint8)
        like = whole(ImageFolder(save(tmp_path / f"8{suffix}", eight), resize=3))
        np.testing.assert_allclose(small, like, atol=0.01)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)])
def test_images_of_floats_and_32_bits_are_refused(image, tmp_path):
    save(tmp_path, [image], "tif")
    with pytest.raises(ValueError, match="save it with 8 or 16 bits a channel"):
        whole(ImageFolder(tmp_path))


def test_the_remedy_is_one(tmp_path):
    save(tmp_path, [COLOR[0], GRAY[1]])
    with pytest.raises(ValueError, match=r"channels?; convert them all to three .* --rgb\)$"):
        whole(ImageFolder(tmp_path))
    assert whole(ImageFolder(tmp_path, rgb=True)).shape == (2, 3, 8, 10)
    save(tmp_path, [COLOR[0], COLOR[1, :5]])
    with pytest.raises(ValueError, match=r"channels?; resize them all .* --resize\)$"):
        whole(ImageFolder(tmp_path))
    save(tmp_path, [COLOR[0], GRAY[1, :5]])
    with pytest.raises(ValueError, match=r"--resize\) and convert them all .* --rgb\)$"):
        whole(ImageFolder(tmp_path))
    assert whole(ImageFolder(tmp_path, rgb=True, resize=4)).shape == (2, 3, 4, 4)


def test_damaged_images_are_named(tmp_path):
    good = save(tmp_path / "good", COLOR[:1]) / "0.png"
    content = good.read_bytes()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        broken = bytearray(content[: rng.integers(1, len(content))] if seed % 3 else content)
        for at in rng.integers(0, len(broken), 9):
            broken[at] = rng.integers(256)
        (tmp_path / "bad.png").write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                next(ImageFolder(tmp_path).batches(1))
            except ValueError as error:
                assert "bad.png" in str(error)  # noqa: PT017


def test_names_that_are_no_text(tmp_path):
    save(tmp_path, COLOR[:1])
    os.rename(tmp_path / "0.png", os.fsencode(tmp_path) + b"/bad\xff.png")
    (name,) = ImageFolder(tmp_path).names
    assert name == r"bad\xff.png"
    assert whole(ImageFolder(tmp_path)).shape == (1, 3, 8, 10)


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"rgb": True}, {"resize": 4}])
@pytest.mark.parametrize("kind", ["color", "gray", "transparent"])
def test_arrays_give_what_the_folder_gives(kind, options, tmp_path):
    opacity = RNG.integers(0, 256, (6, 8, 10, 1), dtype=np.uint8)
    images = {"color": COLOR, "gray": GRAY, "transparent": np.concatenate([COLOR, opacity], -1)}
    array = images[kind]
    expected = whole(ImageFolder(save(tmp_path, array), **options))
    last = array[..., None] if kind == "gray" else array
    for same in (array, last, np.moveaxis(last, -1, 1)):
        np.testing.assert_array_equal(whole(ImageArray(same, **options)), expected)
        for dtype in (np.int64, np.float32, np.float64):
            found = whole(ImageArray(same.astype(dtype), **options))
            np.testing.assert_allclose(found, expected, atol=1.1 / 255)
        for scaled in (same / 255, same / 127.5 - 1, (same * 257.0).astype(np.uint16)):
            found = whole(ImageArray(scaled, **options))
            np.testing.assert_allclose(found, expected, atol=1.1 / 255)


def test_tensors_are_images(tmp_path):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(np.moveaxis(COLOR, -1, 1).copy())
    np.testing.assert_array_equal(whole(ImageArray(tensor)), first(COLOR))
    half = (tensor / 255).to(torch.bfloat16).requires_grad_()
    np.testing.assert_allclose(whole(ImageArray(half)), first(COLOR), atol=0.01)


@pytest.mark.parametrize("shape", [(6, 3, 8, 3), (6, 1, 5, 1), (6, 4, 4, 4), (6, 8, 8, 2)])
def test_axes_with_several_readings_are_asked_about(shape):
    array = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match="pass layout='channels_first' or 'channels_last'"):
        ImageArray(array)
    if shape[1] in (1, 3, 4):
        found = whole(ImageArray(array, layout="channels_first"))
        assert found.shape[1] == min(shape[1], 3)
        found = whole(ImageArray(array, layout="channels_last"))
        assert found.shape[1] == min(shape[3], 3)


def test_one_image_is_no_set_of_images():
    with pytest.raises(ValueError, match=r"may be one color image .* images\[None\]"):
        ImageArray(np.zeros((32, 32, 3), np.uint8))
    assert len(ImageArray(np.zeros((1, 32, 32, 3), np.uint8))) == 1


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-2.1, 2.6, 192),  # standardized
        np.linspace(0, 3.7, 192),
        np.linspace(-1, 255, 192),
        np.linspace(0, 1000, 192),
        np.arange(192, dtype=np.uint16),
        np.arange(192, dtype=np.int64) - 100,
        np.arange(192, dtype=np.int32) * 5,
    ],
)
def test_values_with_several_readings_are_asked_about(values):
    array = values.reshape(1, 8, 8, 3)
    with pytest.raises(ValueError, match=r"pass span=\(black, white\)"):
        ImageArray(array)
    low, high = float(values.min()), float(values.max())
    found = whole(ImageArray(array, span=(low, high)))
    np.testing.assert_allclose(found, np.moveaxis((array - low) / (high - low), -1, 1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"array": np.array([["a"]])}, TypeError, "must hold numbers, got dtype <U1"),
        ({"array": np.zeros((5, 192))}, ValueError, r"must have shape .* got \(5, 192\)"),
        ({"array": np.zeros((0, 8, 8))}, ValueError, "at least one image"),
        ({"array": np.full((1, 8, 8), np.nan)}, ValueError, "must be finite"),
        ({"layout": "NCHW"}, ValueError, "layout must be 'channels_first' or"),
        ({"layout": "channels_first"}, ValueError, "1, 3 or 4 channels in axis 1"),
        ({"span": (1, 0)}, ValueError, "two finite numbers that rise"),
        ({"span": (0, np.inf)}, ValueError, "two finite numbers that rise"),
    ],
)
def test_bad_arrays(change, error, message):
    with pytest.raises(error, match=message):
        ImageArray(**{"array": COLOR} | change)


def test_sweeps_read_folders_and_arrays_alike(tmp_path):
    expected = data.load(str(save(tmp_path / "folder", COLOR)))
    np.testing.assert_array_equal(expected, COLOR.reshape(6, -1) / 255)
    for name, array in {"last": COLOR, "first": np.moveaxis(COLOR, -1, 1)}.items():
        np.save(tmp_path / f"{name}.npy", array)
        np.testing.assert_array_equal(data.load(f"{tmp_path}/{name}.npy"), expected)
    np.save(tmp_path / "gray.npy", GRAY)
    np.testing.assert_array_equal(data.load(f"{tmp_path}/gray.npy"), GRAY.reshape(6, -1) / 255)
    small = data.load(str(tmp_path / "folder"), resize=4)
    assert small.shape == (6, 4 * 4 * 3)
    np.testing.assert_array_equal(data.load(f"{tmp_path}/last.npy", resize=4), small)
    assert data.load(f"{tmp_path}/gray.npy", resize=4, rgb=True).shape == (6, 4 * 4 * 3)
    np.save(tmp_path / "flat.npy", np.zeros((6, 9)))
    with pytest.raises(ValueError, match=r"--resize needs a folder or an array.*\(6, 9\)"):
        data.load(f"{tmp_path}/flat.npy", resize=4)


def test_reading_a_folder_needs_no_torch(tmp_path):
    save(tmp_path, COLOR)
    code = (
        "import sys; from fastgen.images import ImageFolder; next(ImageFolder(sys.argv[1])"
        ".batches(6)); assert 'torch' not in sys.modules and 'numba' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 0
