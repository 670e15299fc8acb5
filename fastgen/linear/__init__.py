"""Linear generative models in closed form: how they generalize as the latent space grows.

``sweep`` computes the errors of unsupervised and pseudo-supervised linear GANs over the latent
dimension, ``evaluate`` those of a generator of one's own, ``theory`` the expectations that are
known exactly, ``subspace_sweep`` the errors of subspace fits that are partly regressions. Names
load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import theory
    from .estimators import LinearGAN
    from .evaluation import evaluate
    from .models import GaussianData, SpikedGaussian, power_law
    from .plane import subspace_sweep
    from .subspace import SubspaceFit
    from .summary import format_table, summarize
    from .sweep import sweep

_HOMES = {
    "GaussianData": "models",
    "LinearGAN": "estimators",
    "SpikedGaussian": "models",
    "SubspaceFit": "subspace",
    "evaluate": "evaluation",
    "format_table": "summary",
    "power_law": "models",
    "subspace_sweep": "plane",
    "summarize": "summary",
    "sweep": "sweep",
}

__all__ = [
    "GaussianData",
    "LinearGAN",
    "SpikedGaussian",
    "SubspaceFit",
    "evaluate",
    "format_table",
    "power_law",
    "subspace_sweep",
    "summarize",
    "sweep",
    "theory",
]

__getattr__, __dir__ = attach(__name__, _HOMES, submodules=("theory",))
