"""Whether work is worth a compiled kernel, and how long kernels were compiled in this process.

Loads no compiler to answer.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

_always = False


def worthwhile(work: float, least: float) -> bool:
    """Whether ``work`` is above the ``least`` that is given to kernels.

    Less is done in plain arrays within some hundredths of a second: the first call would otherwise
    wait for the compiler, for seconds (``bench/peers/small_inputs.py``). The answer depends on the
    work alone, so that the same call gives the same numbers whether kernels are compiled or not.
    """
    return _always or work > least


@contextlib.contextmanager
def always() -> Iterator[None]:
    """Give kernels all work of this process, however small: to prepare and to test them."""
    global _always
    before, _always = _always, True
    try:
        yield
    finally:
        _always = before


def seconds() -> float:
    """Return the seconds in which some thread compiled a kernel, 0 while no kernel is loaded."""
    module = sys.modules.get("fastgen.kernels.cpu.compilation")
    return 0.0 if module is None else module.CLOCK.elapsed()


def folder() -> str | None:
    """Return where compiled kernels are kept, None where no folder can be written."""
    from ..kernels.cpu import compilation, nuclear  # noqa: F401  (a module with kernels)

    return next(iter(compilation.DISPATCHERS.values()))._cache.cache_path
