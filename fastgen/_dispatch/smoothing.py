"""Chooses the kernels of nonparametric mixtures."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

LANES = 8


class Backend(NamedTuple):
    """An array library, the kernels that take its arrays, and whether they can be cached."""

    arrays: Any
    kernels: ModuleType
    caches: bool


def backend(device: str, *, plain: bool = False) -> Backend:
    """Return the kernels for "cpu" or "cuda"; ImportError or RuntimeError if CUDA is missing.

    ``plain`` asks for plain arrays instead, on the host.
    """
    if device == "cuda":
        from ..kernels.cuda import _load, smoothing

        return Backend(_load.require_device(), smoothing, caches=False)
    if plain:
        from . import smoothing_plain

        return Backend(np, smoothing_plain, caches=True)
    from ..kernels.cpu import smoothing

    return Backend(np, smoothing, caches=True)
