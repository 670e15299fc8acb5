"""How long kernels were compiled in this process; loads no compiler to answer."""

from __future__ import annotations

import sys


def seconds() -> float:
    """Return the seconds in which some thread compiled a kernel, 0 while no kernel is loaded."""
    module = sys.modules.get("fastgen.kernels.cpu.compilation")
    return 0.0 if module is None else module.CLOCK.elapsed()


def folder() -> str | None:
    """Return where compiled kernels are kept, None where no folder can be written."""
    from ..kernels.cpu import compilation, nuclear  # noqa: F401  (a module with kernels)

    return next(iter(compilation.DISPATCHERS.values()))._cache.cache_path
