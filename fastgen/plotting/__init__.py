"""Figures for papers, without pyplot: nothing global changes and no window opens.

Names load when first used; matplotlib is imported then.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "SUFFIXES": "style",
    "density_figure": "densities",
    "plane_figure": "plane",
    "save_figure": "style",
    "study_figure": "study",
    "sweep_figure": "sweep",
    "theory_figure": "theory",
}

__all__ = [
    "density_figure",
    "plane_figure",
    "save_figure",
    "study_figure",
    "sweep_figure",
    "theory_figure",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
