"""matplotlib's writer of PDF with TrueType fonts, which publishers ask for, whatever is set.

The kind of font is a global setting of matplotlib, and a change of it would reach the figures of
other threads. This is a second copy of the writer's module, whose view of the settings is its own.
"""

from __future__ import annotations

import collections
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any, ClassVar, cast

import matplotlib
from matplotlib.backends import backend_pdf

_TRUE_TYPE = 42


class _Settings(types.ModuleType):
    """matplotlib as the writer sees it: with one setting changed, all others as they are."""

    rcParams: ClassVar[collections.ChainMap[str, Any]] = collections.ChainMap(
        {"pdf.fonttype": _TRUE_TYPE}, cast(dict[str, Any], matplotlib.rcParams)
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(matplotlib, name)


def _writer() -> types.ModuleType:
    name = "matplotlib.backends.fastgen_pdf"  # it imports its neighbors
    loader = importlib.machinery.SourceFileLoader(name, str(backend_pdf.__file__))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader))
    sys.modules[name] = module
    loader.exec_module(module)
    vars(module)["mpl"] = _Settings("matplotlib")
    return module


FigureCanvas = _writer().FigureCanvas
