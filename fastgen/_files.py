"""Files that are written whole or not at all, and read without running code from them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

_NPY = b"\x93NUMPY"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # with members, empty


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Give a path beside ``path`` to write to; it takes its place at the end if all went well."""
    target = pathlib.Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"folder {target.parent} of {os.fspath(path)!r} does not exist")
    beside = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield beside
        beside.replace(target)
    except PermissionError as error:
        raise PermissionError(f"{os.fspath(path)!r} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """Read the array of a .npy file, never running code from it.

    Parameters
    ----------
    path : path

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If the file is no .npy file, is damaged, or holds pickled objects; the message names it.
    OSError
        If it cannot be opened.
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        if file.read(len(_NPY)) != _NPY:
            raise ValueError(f"{name} is not a .npy file, or is damaged; write it again")
        file.seek(0)
        return _array(_parsed(lambda: np.load(file, allow_pickle=False), name), name, None)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all arrays of a .npz file, never running code from it.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ValueError
        If the file is no .npz file, is damaged, or holds anything but numeric arrays; the message
        names it.
    OSError
        If it cannot be opened.
    """
    with open_npz(path) as archive:
        return {key: archive.read(key) for key in archive.names}


class Npz:
    """An open .npz file whose arrays are read one by one, each checked.

    Attributes
    ----------
    names : list of str
    """

    def __init__(self, archive: Any, path: str) -> None:
        self._archive, self._path = archive, path
        self.names: list[str] = list(archive.files)

    def read(self, name: str) -> np.ndarray:
        """Return one array; ValueError if it is damaged, pickled, or no array."""
        return _array(_parsed(lambda: self._archive[name], self._path), self._path, name)


@contextlib.contextmanager
def open_npz(path: str | os.PathLike) -> Iterator[Npz]:
    """Yield the arrays of a .npz file, to be read by name; raises as `read_npz`."""
    name = os.fspath(path)
    with open(name, "rb") as file:
        if file.read(4) not in _ZIP:
            raise ValueError(f"{name} is not a .npz file, or is damaged; write it again")
        file.seek(0)
        with _parsed(lambda: _archive(file), name) as archive:
            yield Npz(archive, name)


def _archive(file: BinaryIO) -> Any:
    return np.load(file, allow_pickle=False)


def _parsed(read: Callable[[], Any], name: str) -> Any:
    """Return what ``read`` does; whatever it stumbles over in the file becomes a ValueError."""
    try:
        return read()
    except OSError as error:
        raise OSError(f"{name} cannot be read: {error}") from error
    except Exception as error:  # readers of damaged files raise nearly every kind there is
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{name} holds pickled Python objects, which are never loaded because they can "
                "run code; save numeric arrays with numpy.save or numpy.savez"
            ) from error
        told = str(error) or type(error).__name__
        raise ValueError(f"{name} is damaged: {told}; write it again") from error


def _array(value: Any, path: str, name: str | None) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    what = type(value).__name__ if name is None else repr(name)
    raise ValueError(f"{path} must hold arrays only, got {what}; use numpy.savez")
