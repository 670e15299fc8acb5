"""Files that are written whole or not at all, and read without running code from them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

# Characters of a file's name in the name of what is written beside it.
_STEM = 40
_NPY = b"\x93NUMPY"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # with members, empty


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Give a path beside ``path`` to write to; it takes its place at the end if all went well.

    A file that is replaced keeps its permissions. What killed processes left beside the same path
    is removed.
    """
    target = pathlib.Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"folder {target.parent} of {os.fspath(path)!r} does not exist")
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    # short, so that it is no longer than the longest name that the file system takes
    start = f".{target.stem[:_STEM]}-"
    beside = target.with_name(f"{start}{secrets.token_hex(4)}{target.suffix}")
    try:
        with _held(beside, mode):
            usual = stat.S_IMODE(beside.stat().st_mode)
            _sweep_up(target.parent, start, target.suffix)
            yield beside
            beside.chmod(usual if mode is None else mode)  # some writers have a mode of their own
            beside.replace(target)
    except PermissionError as error:
        raise PermissionError(f"{os.fspath(path)!r} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(beside: pathlib.Path, mode: int | None) -> Iterator[None]:
    """Make a file and lock it as long as this process writes: others see that it is no leftover.

    It is never more open than the file that it replaces.
    """
    wanted = 0o666 if mode is None else mode | stat.S_IWUSR
    handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, wanted)
    if fcntl is None:  # where a file that is open cannot be renamed either
        os.close(handle)
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _sweep_up(folder: pathlib.Path, start: str, suffix: str) -> None:
    """Remove files that processes which no longer run have left beside the same target."""
    if fcntl is None:
        return
    ours = re.compile(re.escape(start) + "[0-9a-f]{8}" + re.escape(suffix))
    for name in os.listdir(folder):
        if not ours.fullmatch(name):
            continue
        with contextlib.suppress(OSError), open(folder / name, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where somebody writes
            os.unlink(folder / name)


def write_npz(
    path: str | os.PathLike, arrays: Mapping[str, Any], *, compressed: bool = False
) -> None:
    """Write arrays to a .npz file, whole or not at all, under exactly the name that is given.

    Parameters
    ----------
    path : path
    arrays : mapping of str to array
    compressed : bool, default False

    Raises
    ------
    OSError
        If the file cannot be written. Nothing is left behind.
    """
    save = np.savez_compressed if compressed else np.savez
    # through a file, for NumPy adds a suffix to names that do not end in .npz in small letters
    with replacing(path) as beside, open(beside, "wb") as file:
        save(file, allow_pickle=False, **arrays)


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
