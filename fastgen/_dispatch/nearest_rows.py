"""The kernels of ``fastgen.goof.nearest_rows``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np


def select_rows(scores, bounds, unit, x, pool, first, distances, indices) -> int:
    """Run ``kernels.cpu.nearest_rows.select_rows``."""
    from fastgen.kernels.cpu import nearest_rows

    return nearest_rows.select_rows(scores, bounds, unit, x, pool, first, distances, indices)


def centre_rows(rows, mean, scale, out, squares) -> None:
    """Run ``kernels.cpu.nearest_rows.centre_rows``."""
    from fastgen.kernels.cpu import nearest_rows

    nearest_rows.centre_rows(rows, mean, scale, out, squares)


def renew_lists(x, pool, scale, first, distances, indices) -> None:
    """Run ``kernels.cuda.nearest_rows.renew_lists`` in the common dtype of ``x`` and ``pool``."""
    from fastgen.kernels.cuda import nearest_rows

    common = np.result_type(x.dtype, pool.dtype)
    x, pool = x.astype(common, copy=False), pool.astype(common, copy=False)
    nearest_rows.renew_lists(x, pool, scale, first, distances, indices)


@contextlib.contextmanager
def array_library(array: Any) -> Iterator[Any]:
    """Yield CuPy with the device of ``array`` as the current one, NumPy for arrays of the host.

    ImportError or RuntimeError if CuPy is missing.
    """
    array = detached(array)
    if not hasattr(array, "__cuda_array_interface__"):
        yield np
        return
    from fastgen.kernels.cuda import _load

    cupy = _load.require_device()
    with _load.device_of(cupy.asarray(array)):
        yield cupy


def detached(array: Any) -> Any:
    """Take a torch tensor out of its graph, so that other libraries read it where it is."""
    return array.detach() if hasattr(array, "detach") else array
