"""Holds BLAS at one thread where the workers are threads or processes of our own."""

from __future__ import annotations

import contextlib
import functools


@functools.cache
def thread_pools():
    """Return the controller of the thread pools of this process, those of BLAS loaded."""
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be counted)
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


def single_blas_thread() -> contextlib.AbstractContextManager:
    """Hold every BLAS of this process at one thread, whichever thread calls it.

    To be entered by the thread that starts and awaits the workers: only one thread of a process
    controls the limits of a BLAS with a thread pool of its own.
    """
    return thread_pools().limit(limits=1, user_api="blas")


@functools.cache
def keep_single_blas_thread() -> None:
    """Hold BLAS at one thread for the life of this process: for worker processes."""
    thread_pools().limit(limits=1, user_api="blas")
