"""Mixtures: Gaussian ones by expectation maximization, and nonparametric ones.

Names load when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "GaussianMixture": "gaussian",
    "NonparametricMixture": "nonparametric",
    "select_components": "selection",
}

__all__ = ["GaussianMixture", "NonparametricMixture", "select_components"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_MODULES))
