"""Holds BLAS at one thread where the workers are threads or processes of our own."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any


@functools.cache
def thread_pools():
    """Return the controller of the thread pools of this process, those of BLAS loaded."""
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be counted)
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


# The limiter that knows how many threads there were before the first of the calls that hold them.
_first: Any = None
_holders = 0
_lock = threading.Lock()


@contextlib.contextmanager
def single_blas_thread() -> Iterator[None]:
    """Hold every BLAS of this process at one thread, whichever thread calls it.

    To be entered by the thread that starts and awaits the workers: only one thread of a process
    controls the limits of a BLAS with a thread pool of its own. Calls may overlap: the last one to
    end restores what the first one found.
    """
    global _first, _holders
    with _lock:
        limiter = thread_pools().limit(limits=1, user_api="blas")
        if not _holders:
            _first = limiter
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                _first.restore_original_limits()


@functools.cache
def keep_single_blas_thread() -> None:
    """Hold BLAS at one thread for the life of this process: for worker processes."""
    thread_pools().limit(limits=1, user_api="blas")
