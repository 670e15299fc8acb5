"""Theory and evaluation of generative models at compiled speed.

Submodules load when first used, so that importing fastgen costs nothing and needs neither torch nor
CuPy.

Examples
--------
>>> import fastgen
>>> fastgen.linear.theory.expected_gain(20, 41)
1.0
"""

from __future__ import annotations

import importlib
from types import ModuleType

from ._show_versions import show_versions
from ._version import __version__

_SUBMODULES = ("goof", "linear", "metrics", "mixture", "modes", "networks", "plotting")

__all__ = [
    "__version__",
    "goof",
    "linear",
    "metrics",
    "mixture",
    "modes",
    "networks",
    "plotting",
    "show_versions",
]


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_SUBMODULES))
