"""Linear generative models in closed form: how they generalize as the latent space grows.

``sweep`` computes the errors of unsupervised and pseudo-supervised linear GANs over the latent
dimension, ``theory`` the expectations that are known exactly, ``subspace_sweep`` the errors of
subspace fits that are partly regressions. Names load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import theory
    from .estimators import LinearGAN
    from .models import SpikedGaussian
    from .subspace import SubspaceFit, subspace_sweep
    from .summary import format_table, summarize
    from .sweep import sweep

_HOMES = {
    "LinearGAN": "estimators",
    "SpikedGaussian": "models",
    "SubspaceFit": "subspace",
    "format_table": "summary",
    "subspace_sweep": "plane",
    "summarize": "summary",
    "sweep": "sweep",
}

__all__ = [
    "LinearGAN",
    "SpikedGaussian",
    "SubspaceFit",
    "format_table",
    "subspace_sweep",
    "summarize",
    "sweep",
    "theory",
]

__getattr__, __dir__ = attach(__name__, _HOMES, submodules=("theory",))
