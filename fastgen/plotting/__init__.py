"""Figures for papers, without pyplot: nothing global changes and no window opens.

Names load when first used; matplotlib is imported then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .densities import density_figure
    from .plane import plane_figure
    from .study import study_figure
    from .style import SUFFIXES, save_figure
    from .sweep import sweep_figure
    from .theory import theory_figure

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
    "SUFFIXES",
    "density_figure",
    "plane_figure",
    "save_figure",
    "study_figure",
    "sweep_figure",
    "theory_figure",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
