"""Arrays named on the command line: FILE.npy, FILE.npz or FILE.npz:KEY; no code is ever run."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .. import _files

if TYPE_CHECKING:
    import numpy as np

_LISTED = 10


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
    if ".npz:" in name.lower() and not os.path.exists(name):
        path, _, key = name.rpartition(":")
    if pathlib.Path(path).suffix.lower() not in (".npy", ".npz"):
        missing = "" if os.path.exists(path) else ", and no such file or folder exists"
        raise ValueError(f"{expected}, got {name!r}{missing}")
    return path, key


def read(name: str, expected: str) -> np.ndarray:
    """Read the array that ``name`` names.

    Parameters
    ----------
    name : str
        FILE.npy, FILE.npz or FILE.npz:KEY.
    expected : str
        Beginning of the message of an error: what the argument must be.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If the file is of another kind, is damaged or holds pickled objects, or if the array is
        not there or one of several.
    OSError
        If it cannot be opened.
    """
    path, key = split(name, expected)
    if path.lower().endswith(".npy"):
        return read_npy(path)
    with _opened(path) as archive:
        return archive.read(_chosen(archive.names, key, path))


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
    with _told(path):
        return _files.read_npy(path)


def choose(arrays: dict[str, np.ndarray], key: str | None, path: str) -> np.ndarray:
    """Return the array of a .npz file that was asked for, or its only one.

    Parameters
    ----------
    arrays : dict of str to ndarray
    key : str or None
    path : str
        The file, for messages.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If there is no such array, or several and none was asked for.
    """
    return arrays[_chosen(sorted(arrays), key, path)]


@contextlib.contextmanager
def _opened(path: str) -> Iterator[_files.Npz]:
    with _told(path), _files.open_npz(path) as archive:
        yield archive


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Name the file in errors of the system."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise type(error)(f"{path!r} cannot be read: {error.strerror}") from error


def _chosen(names: Sequence[str], key: str | None, path: str) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is not None and key in names:
        return key
    what = "holds no array" if key is None else f"holds no array {key!r}"
    if key is None and names:
        what = "holds several arrays"
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    remedy = f", only {listed}; choose one: {path}:{names[0]}" if names else ""
    raise ValueError(f"{path} {what}{remedy}")
