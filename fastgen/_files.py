"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator


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
