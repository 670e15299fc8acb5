"""What all benchmarks share: one thread, the oracle, agreement."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import threadpoolctl

REPOSITORY = Path(__file__).resolve().parents[2]


class OneThread:
    """Every thread pool at one thread from ``setup`` to ``teardown``."""

    def setup(self, *params: object) -> None:
        # leaving the context, unlike restore_original_limits, also gives up control of OpenBLAS
        self._limits = contextlib.ExitStack()
        self._limits.enter_context(threadpoolctl.threadpool_limits(limits=1))

    def teardown(self, *params: object) -> None:
        self._limits.close()


def load(path: Path) -> ModuleType:
    """Import one file of the repository that is not in a package."""
    if not path.is_file():
        raise NotImplementedError(f"{path.name} is not in this checkout")
    name = f"fastgen_bench_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def oracle() -> ModuleType:
    """``tests/oracles/linear.py``; without it a benchmark is skipped: nothing vouches for it."""
    return load(REPOSITORY / "tests" / "oracles" / "linear.py")


def agree(difference: float, tolerance: float, what: str) -> float:
    """Return ``difference`` if it is within ``tolerance``: a wrong answer is not timed."""
    if not np.isfinite(difference) or difference > tolerance:
        raise RuntimeError(f"{what} differs from the oracle by {difference:.3g} > {tolerance:g}")
    return difference
