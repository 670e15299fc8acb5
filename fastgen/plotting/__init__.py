"""Figures for papers and notebooks, without pyplot: nothing global changes and no window opens.

Arrays and Datasets go in, a figure comes out; `save_figure` writes it to a file. Names load when
first used; matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .components import component_figure
    from .densities import density_figure
    from .diffusion import calibration_figure, local_figure, training_figure
    from .evaluation import evaluation_figure, extrapolation_figure
    from .manifold import manifold_figure, ratio_figure
    from .modes import mode_figure
    from .nearest import nearest_figure, overfit_figure, score_figure
    from .plane import plane_figure
    from .profiles import profile_figure
    from .selection import selection_figure
    from .study import study_figure
    from .style import SUFFIXES, save_figure
    from .sweep import sweep_figure
    from .theory import theory_figure
    from .training import history_figure, sample_figure
    from .transport import transport_figure

_HOMES = {
    "SUFFIXES": "style",
    "calibration_figure": "diffusion",
    "component_figure": "components",
    "density_figure": "densities",
    "evaluation_figure": "evaluation",
    "extrapolation_figure": "evaluation",
    "history_figure": "training",
    "local_figure": "diffusion",
    "manifold_figure": "manifold",
    "mode_figure": "modes",
    "nearest_figure": "nearest",
    "overfit_figure": "nearest",
    "plane_figure": "plane",
    "profile_figure": "profiles",
    "ratio_figure": "manifold",
    "sample_figure": "training",
    "save_figure": "style",
    "score_figure": "nearest",
    "selection_figure": "selection",
    "study_figure": "study",
    "sweep_figure": "sweep",
    "theory_figure": "theory",
    "training_figure": "diffusion",
    "transport_figure": "transport",
}

__all__ = [
    "SUFFIXES",
    "calibration_figure",
    "component_figure",
    "density_figure",
    "evaluation_figure",
    "extrapolation_figure",
    "history_figure",
    "local_figure",
    "manifold_figure",
    "mode_figure",
    "nearest_figure",
    "overfit_figure",
    "plane_figure",
    "profile_figure",
    "ratio_figure",
    "sample_figure",
    "save_figure",
    "score_figure",
    "selection_figure",
    "study_figure",
    "sweep_figure",
    "theory_figure",
    "training_figure",
    "transport_figure",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
