"""What the user can put right, and warnings, become one line each; a bug keeps its traceback."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TextIO

import typer

from .._lazy import missing

BAD_INPUT = 2
INTERRUPTED = 130
# torch has no error of its own for this on the CPU
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory")


@contextlib.contextmanager
def reported(*, interrupted: str = "nothing was written") -> Iterator[None]:
    """Turn input errors into one line and exit code 2, Ctrl-C into one line and 130.

    Warnings for users are printed as they arise, one line each.

    Parameters
    ----------
    interrupted : str, default "nothing was written"
        What Ctrl-C leaves behind, and how to go on.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _show_line
            yield
    except BrokenPipeError:
        raise
    except ModuleNotFoundError as error:
        say(f"error: {missing('this command', error.name or str(error))}")
        raise typer.Exit(BAD_INPUT) from error
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        say(f"error: {error}")
        raise typer.Exit(BAD_INPUT) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _OUT_OF_MEMORY):
            raise
        say(f"error: not enough memory: {str(error).splitlines()[0]}; ask for less at a time")
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt as stop:
        say(f"interrupted: {interrupted}")
        raise typer.Exit(INTERRUPTED) from stop


def _show_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(f"warning: {message}")


def say(text: str) -> None:
    """Print one line on standard error, in which names from files cannot steer the terminal."""
    typer.echo(printable("fastgen: " + " ".join(text.split())), err=True)


def printable(text: str) -> str:
    """Return text whose lines hold only what any terminal shows, the rest as escapes."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )
