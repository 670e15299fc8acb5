"""Data named on the command line: built in, an array, a table, or a folder of images."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arrays, tables

if TYPE_CHECKING:
    from ..linear import SpikedGaussian

_KINDS = (
    "digits, spiked, FILE.npy, FILE.npz, FILE.npz:KEY, a table (.csv, .tsv, .txt) or a folder of "
    "images"
)
_BATCH = 256


def load(
    spec: str,
    *,
    resize: int | None = None,
    rgb: bool = False,
    columns: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
    **spiked: Any,
) -> SpikedGaussian | np.ndarray | None:
    """Read what ``--data`` names.

    Parameters
    ----------
    spec : str
        "digits" (the images that come with scikit-learn), "spiked", a .npy file, a .npz file or
        ``file.npz:key``, a table, or a folder, whose images are read in the order of their paths.
    resize : int, optional
        Pixels a side that images of a folder or an array are resized to.
    rgb : bool, default False
        Convert images to three channels.
    columns, ignore : sequence of str, optional
        Columns of a table that are data, or that are not; see `fastgen.cli.tables.read`.
    **spiked
        ``dim``, ``true_dim`` and ``noise_variance`` of "spiked"; None where not given.

    Returns
    -------
    None, SpikedGaussian or ndarray (n_rows, n_features)
        None is "spiked" as it is. Arrays with more dimensions have been flattened to rows. Images,
        and arrays of integers that can only be images (four dimensions; three if unsigned), or of
        three and four dimensions where ``resize`` or ``rgb`` is given, are scaled to [0, 1].

    Raises
    ------
    ValueError
        If the file or folder does not hold numeric data, the images are not of one size, or spiked
        data would have more signal dimensions than dimensions.
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

        model = SpikedGaussian(**given)
        if model.true_dim > model.dim > 0:
            raise ValueError(
                f"--true-dim must be at most --dim={model.dim}, got {model.true_dim}; give both"
            )
        return model
    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise ValueError(f"{option} belongs to --data spiked, got --data {spec}")
    if os.path.isdir(spec):
        from ..images import ImageFolder

        return _rows(ImageFolder(spec, resize=resize, rgb=rgb))
    option = "--rgb" if resize is None else "--resize"
    asked = resize is not None or rgb
    if asked and (tables.is_table(spec) or spec == "digits"):
        raise ValueError(f"{option} needs a folder or an array of images, got --data {spec}")
    if tables.is_table(spec):
        return tables.read(spec, columns=columns, ignore=ignore).rows
    if columns is not None or ignore is not None:
        option = "--ignore" if columns is None else "--columns"
        raise ValueError(f"{option} needs a table, got --data {spec}")
    if spec == "digits":
        return _digits()
    array = arrays.read(spec, f"--data must be {_KINDS}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"--data {spec!r} must hold numbers, got dtype {array.dtype}")
    if asked:
        from ..images import ImageArray

        if array.ndim not in (3, 4):
            raise ValueError(
                f"{option} needs a folder or an array of images, got --data {spec} of shape "
                f"{array.shape}"
            )
        return _rows(ImageArray(array, resize=resize, rgb=rgb, name=f"--data {spec}"))
    return _flat(array, spec)


def _digits() -> np.ndarray:
    """Read the images that come with scikit-learn, without the second that importing it takes."""
    found = importlib.util.find_spec("sklearn")
    places = (found.submodule_search_locations or ()) if found else ()
    for place in places:
        path = os.path.join(place, "datasets", "data", "digits.csv.gz")
        if os.path.exists(path):
            return np.loadtxt(path, delimiter=",")[:, :-1]
    from sklearn.datasets import load_digits

    return load_digits().data


def _flat(array: np.ndarray, spec: str) -> np.ndarray:
    if array.dtype.kind in ("u" if array.ndim == 3 else "iu" if array.ndim == 4 else ""):
        from ..images import ImageArray

        return _rows(ImageArray(array, name=f"--data {spec}"))
    if array.ndim > 2:
        return array.reshape(array.shape[0], int(np.prod(array.shape[1:])))
    return array


def _rows(images: Any) -> np.ndarray:
    """Return images as rows, the channels of a pixel beside each other."""
    parts = [part.transpose(0, 2, 3, 1) for part in images.batches(_BATCH)]
    return np.concatenate([part.reshape(len(part), -1) for part in parts])
