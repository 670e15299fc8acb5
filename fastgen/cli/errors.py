"""What the user can put right becomes one line; a bug keeps its traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer

BAD_INPUT = 2
INTERRUPTED = 130


@contextlib.contextmanager
def reported(*, store: str | None = None) -> Iterator[None]:
    """Turn input errors into one line and exit code 2, Ctrl-C into one line and 130.

    Parameters
    ----------
    store : str, optional
        Where unfinished work is kept, named when interrupted.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        _say(f"error: {error}")
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt as interrupt:
        remedy = "nothing was written; with --store finished trials are kept"
        if store is not None:
            remedy = f"the same command with --store {store} resumes"
        _say(f"interrupted: {remedy}")
        raise typer.Exit(INTERRUPTED) from interrupt


def _say(text: str) -> None:
    typer.echo("fastgen: " + " ".join(text.split()), err=True)
