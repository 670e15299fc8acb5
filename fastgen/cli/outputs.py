"""Files a command writes: checked before the work begins, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from .errors import printable, say

if TYPE_CHECKING:
    import xarray


def check(path: str, option: str, suffixes: Sequence[str]) -> None:
    """Raise unless ``path`` has one of ``suffixes`` and a file can be made in its folder.

    Parameters
    ----------
    path, option : str
        The path and the option that named it.
    suffixes : sequence of str

    Raises
    ------
    ValueError
        For another suffix.
    OSError
        If the folder does not exist or no file can be made there.
    """
    target = pathlib.Path(path)
    if target.suffix.lower() not in suffixes:
        raise ValueError(f"{option} must end in {' or '.join(suffixes)}, got {path!r}")
    if target.is_dir():
        raise IsADirectoryError(f"{option} must be a file, but {path!r} is a folder")
    folder = pathlib.Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{option} {path!r}: folder {folder} does not exist; make it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(f"{option} {path!r} cannot be written: {error.strerror}") from error


def write_netcdf(dataset: xarray.Dataset, path: str) -> None:
    """Write a dataset as netCDF, readable with ``xarray.open_dataset(path, engine="scipy")``."""
    from xarray.backends import ScipyDataStore

    from .._files import replacing

    with replacing(path) as beside:
        store = ScipyDataStore(os.fspath(beside), mode="w", lock=False)
        try:  # with `to_netcdf`, or a lock, Dask would be loaded where it is installed
            dataset.dump_to_store(store)
        finally:
            store.close()


@contextlib.contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Print warnings to standard error as errors are printed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        yield
    for warning in caught:
        say(f"warning: {warning.message}")


def tell(told: dict[str, Any], text: str, as_json: bool) -> None:
    """Print ``told`` as JSON, or ``text`` and the ``files`` that were written."""
    if as_json:
        typer.echo(json.dumps(told, allow_nan=False))
        return
    typer.echo(printable(text))
    for path in told["files"]:
        typer.echo(printable(f"wrote {path}"))
