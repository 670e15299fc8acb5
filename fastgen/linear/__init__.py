"""Linear generative models in closed form: how they generalize as the latent space grows.

``sweep`` computes the errors of unsupervised and pseudo-supervised linear GANs over the latent
dimension, ``evaluate`` those of a generator of one's own, ``theory`` the expectations that are
known exactly, ``subspace_sweep`` the errors of subspace fits that are partly regressions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import theory
from .evaluation import evaluate
from .models import GaussianData, SpikedGaussian, power_law
from .summary import format_table, summarize
from .sweep import sweep

if TYPE_CHECKING:
    from .estimators import LinearGAN
    from .plane import subspace_sweep
    from .subspace import SubspaceFit

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

# Loaded when first asked for: these need scikit-learn, which a sweep does not wait for.
_MODULES = {"LinearGAN": "estimators", "SubspaceFit": "subspace", "subspace_sweep": "plane"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
