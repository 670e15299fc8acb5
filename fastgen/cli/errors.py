"""What the user can put right becomes one line; a bug keeps its traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer

BAD_INPUT = 2
INTERRUPTED = 130


@contextlib.contextmanager
def reported(*, interrupted: str = "nothing was written") -> Iterator[None]:
    """Turn input errors into one line and exit code 2, Ctrl-C into one line and 130.

    Parameters
    ----------
    interrupted : str, default "nothing was written"
        What Ctrl-C leaves behind, and how to go on.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        _say(f"error: {error}")
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt as stop:
        _say(f"interrupted: {interrupted}")
        raise typer.Exit(INTERRUPTED) from stop


def _say(text: str) -> None:
    typer.echo("fastgen: " + " ".join(text.split()), err=True)
