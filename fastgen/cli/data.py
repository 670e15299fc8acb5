"""Data named on the command line."""

from __future__ import annotations

import os
import pathlib
import zipfile
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from ..linear import SpikedGaussian

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_KINDS = "digits, spiked, FILE.npy, FILE.npz, FILE.npz:KEY or a folder of images"


def load(spec: str, **spiked: Any) -> SpikedGaussian | np.ndarray | None:
    """Read what ``--data`` names.

    Parameters
    ----------
    spec : str
        "digits" (the images that come with scikit-learn), "spiked", a .npy file, a .npz file or
        ``file.npz:key``, or a folder, whose images are read in the order of their paths.
    **spiked
        ``dim``, ``true_dim`` and ``noise_variance`` of "spiked"; None where not given.

    Returns
    -------
    None, SpikedGaussian or ndarray (n_rows, n_features)
        None is "spiked" as it is. Arrays with more dimensions have been flattened to rows. Images
        are scaled to [0, 1].

    Raises
    ------
    ValueError
        If the file or folder does not hold numeric data, or the images are not of one size.
    OSError
        If it cannot be opened.

    Examples
    --------
    >>> from fastgen.cli.data import load
    >>> load("digits").shape
    (1797, 64)
    >>> load("spiked", dim=32)
    SpikedGaussian(dim=32, true_dim=20, noise_variance=0.1)
    """
    given = {name: value for name, value in spiked.items() if value is not None}
    if spec == "spiked":
        if not given:
            return None
        from ..linear import SpikedGaussian

        return SpikedGaussian(**given)
    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise ValueError(f"{option} belongs to --data spiked, got --data {spec}")
    if spec == "digits":
        from sklearn.datasets import load_digits

        return load_digits().data
    if os.path.isdir(spec):
        return _images(pathlib.Path(spec))
    return _flat(_array(spec), spec)


def _array(spec: str) -> np.ndarray:
    path, separator, key = spec, "", ""
    if ".npz:" in spec and not os.path.exists(spec):
        path, separator, key = spec.rpartition(":")
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in (".npy", ".npz"):
        remedy = "" if os.path.exists(path) else ", and no such file or folder exists"
        raise ValueError(f"--data must be {_KINDS}; got {spec!r}{remedy}")
    try:
        with open(path, "rb") as file:
            return _read(file, suffix, key if separator else None, path)
    except OSError as error:
        raise type(error)(f"--data {path!r} cannot be read: {error.strerror or error}") from error


def _read(file: BinaryIO, suffix: str, key: str | None, path: str) -> np.ndarray:
    magic = b"\x93NUMPY" if suffix == ".npy" else b"PK"
    if file.read(len(magic)) != magic:
        raise ValueError(f"--data {path!r} is not a {suffix} file, or is damaged")
    file.seek(0)
    try:
        loaded = np.load(file, allow_pickle=False)
        if suffix == ".npy":
            return loaded
        with loaded as archive:
            return archive[_key(archive.files, key, path)]
    except _KeyChoice:
        raise
    except (
        ValueError,
        EOFError,
        MemoryError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"--data {path!r} holds pickled Python objects, which are never loaded because "
                "they can run code; save a numeric array with numpy.save"
            ) from error
        raise ValueError(f"--data {path!r} is damaged: {error}") from error


class _KeyChoice(ValueError):
    """A key that a .npz file does not have, or has too many to choose from."""


def _key(names: Sequence[str], key: str | None, path: str) -> str:
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    if not names:
        raise _KeyChoice(f"--data {path!r} holds no array")
    if key is None:
        if len(names) > 1:
            raise _KeyChoice(
                f"--data {path!r} holds the arrays {listed}; choose one: --data {path}:{names[0]}"
            )
        return names[0]
    if key not in names:
        raise _KeyChoice(f"--data {path!r} holds no array {key!r}, only {listed}")
    return key


def _flat(array: np.ndarray, spec: str) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"--data {spec!r} must hold numbers, got dtype {array.dtype}")
    if array.ndim > 2:
        return array.reshape(array.shape[0], int(np.prod(array.shape[1:])))
    return array


def _images(folder: pathlib.Path) -> np.ndarray:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not paths:
        raise ValueError(
            f"--data {os.fspath(folder)!r} is a folder without images ({', '.join(IMAGE_SUFFIXES)})"
        )
    first = _image(paths[0])
    rows = np.empty((len(paths), first.size))
    for row, path in zip(rows, paths, strict=True):
        image = _image(path)
        if image.shape != first.shape:
            raise ValueError(
                f"--data images must have one size and number of channels: {paths[0]} is "
                f"{_size(first)}, {path} is {_size(image)}"
            )
        row[:] = image.ravel()
    return rows


def _size(image: np.ndarray) -> str:
    height, width, channels = (*image.shape, 1)[:3]
    return f"{width}x{height} with {channels} channel{'s' if channels > 1 else ''}"


def _image(path: pathlib.Path) -> np.ndarray:
    """Return an image (height, width) or (height, width, 3) with values in [0, 1]."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                return np.asarray(image, dtype=np.float64) / 65535
            if image.mode in ("I", "F"):
                raise ValueError(f"mode {image.mode}; save it with 8 or 16 bits a channel")
            gray = image.mode in ("1", "L", "LA")
            return np.asarray(image.convert("L" if gray else "RGB"), dtype=np.float64) / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"--data image {path} cannot be read: {error}") from error
