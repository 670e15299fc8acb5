"""The command line, ``fastgen`` or ``python -m fastgen``.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 2 input
that cannot be used (one line says why), 130 interrupted.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of the process."""
    from .app import app

    app(prog_name="fastgen")
