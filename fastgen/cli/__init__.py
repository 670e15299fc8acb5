"""The command line, ``fastgen`` or ``python -m fastgen``.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 2 input
that cannot be used or output that cannot be written (one line says why), 130 interrupted, 143 ended
by SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

__all__ = ["main"]

_BAD, _INTERRUPTED, _TERMINATED = 2, 130, 143


def main() -> None:
    """Run the command line with the arguments of the process."""
    try:
        signal.signal(signal.SIGTERM, _terminate)
        from .app import app

        app(prog_name="fastgen")
    except KeyboardInterrupt:  # while modules were loaded: commands report theirs
        _end("interrupted: nothing was written", _INTERRUPTED)
    except OSError as error:  # of what is printed: commands report theirs
        _end(f"error: standard output cannot be written: {error.strerror or error}", _BAD)
    except SystemExit as stop:
        try:
            sys.stdout.flush()
        except OSError as error:
            if stop.code in (None, 0):
                told = error.strerror or error
                _end(f"error: standard output cannot be written: {told}", _BAD)
            _discard_output()
        if stop.code == _INTERRUPTED and threading.active_count() > 1:
            sys.stderr.flush()
            os._exit(_INTERRUPTED)  # threads that compute still would be waited for
        raise


def _terminate(number: int, frame: FrameType | None) -> None:
    """End as after an error, so that no part of a file is left behind."""
    raise SystemExit(_TERMINATED)


def _end(text: str, code: int) -> None:
    print(f"fastgen: {text}", file=sys.stderr)
    _discard_output()
    raise SystemExit(code)


def _discard_output() -> None:
    """Let Python's own flush at the end of the process go nowhere: it would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
