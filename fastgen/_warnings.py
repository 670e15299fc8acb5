"""Warnings that point at the line of the user's program, however deep they arise."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import warnings
from collections.abc import Iterator

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Between a call and the function that it calls: context managers and the modules of torch.
_BETWEEN = (
    os.sep + "contextlib.py",
    os.sep + os.path.join("nn", "modules", "module.py"),
    os.sep + os.path.join("torchmetrics", "metric.py"),
)

_silent: contextvars.ContextVar[tuple[type[Warning], ...]] = contextvars.ContextVar(
    "silent", default=()
)


@contextlib.contextmanager
def silenced(*categories: type[Warning]) -> Iterator[None]:
    """Issue no warnings of this package within, in this thread alone.

    `warnings.catch_warnings` changes the filters of all threads, and restores them in any order.

    Parameters
    ----------
    *categories : type
        Those that are not issued; all of them if none is given.
    """
    token = _silent.set((*_silent.get(), *(categories or (Warning,))))
    try:
        yield
    finally:
        _silent.reset(token)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line outside this package that led here.

    Parameters
    ----------
    message : str
    category : type, default UserWarning
    """
    if issubclass(category, _silent.get()):
        return
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _inside(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _inside(filename: str) -> bool:
    return filename.startswith(_PACKAGE) or filename.endswith(_BETWEEN)
