"""Arrays named on the command line: FILE.npy, FILE.npz or FILE.npz:KEY; no code is ever run."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def split(name: str, expected: str) -> tuple[str, str | None]:
    """Return the path and, after a colon, the key of ``name``.

    Parameters
    ----------
    name : str
    expected : str
        Beginning of the message of an error: what the argument must be.

    Returns
    -------
    path : str
    key : str or None

    Raises
    ------
    ValueError
        If the path ends neither in .npy nor in .npz.
    """
    path, key = name, None
    if ".npz:" in name and not os.path.exists(name):
        path, _, key = name.rpartition(":")
    if pathlib.Path(path).suffix.lower() not in (".npy", ".npz"):
        missing = "" if os.path.exists(path) else ", and no such file or folder exists"
        raise ValueError(f"{expected}, got {name!r}{missing}")
    return path, key


def read_npy(path: str) -> np.ndarray:
    """Read a .npy file.

    Parameters
    ----------
    path : str

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If it is damaged or holds pickled objects.
    OSError
        If it cannot be opened.
    """
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not a .npy file of numbers, or is damaged: {error}; write it again with "
            "numpy.save"
        ) from error


def choose(arrays: dict[str, np.ndarray], key: str | None, path: str) -> np.ndarray:
    """Return the array of a .npz file that was asked for, or its only one.

    Parameters
    ----------
    arrays : dict of str to ndarray
    key : str or None
    path : str
        For messages.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If there is no such array, or several and none was asked for.
    """
    keys = sorted(arrays)
    if key is None and len(keys) == 1:
        return arrays[keys[0]]
    if key not in keys:
        what = "holds no array" if key is None else f"holds no array {key!r}"
        if key is None and keys:
            what = "holds several arrays"
        listed = f", only {', '.join(keys)}; choose one: {path}:{keys[0]}" if keys else ""
        raise ValueError(f"{path} {what}{listed}")
    return arrays[key]
