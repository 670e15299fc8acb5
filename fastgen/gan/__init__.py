"""Generative adversarial networks: one, mixtures of many, and what lies between.

Names load when first used; torch is imported then.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Ensemble": "ensemble",
    "Batch": "steps",
    "NotFiniteError": "steps",
    "discriminator_step": "steps",
    "generator_step": "steps",
    "FitResult": "training",
    "fit": "training",
    "energy_distance": "sweeping",
    "sweep": "sweeping",
    "Hinge": "objectives",
    "MADSoftmax": "objectives",
    "NonSaturating": "objectives",
    "Quadratic": "objectives",
    "Relativistic": "objectives",
    "WassersteinGP": "objectives",
    "Balanced": "terms",
    "EvenWeights": "terms",
    "GeneratorClassifier": "terms",
    "PairwiseDistance": "terms",
    "PseudoSupervision": "terms",
}

__all__ = [
    "Balanced",
    "Batch",
    "Ensemble",
    "EvenWeights",
    "FitResult",
    "GeneratorClassifier",
    "Hinge",
    "MADSoftmax",
    "NonSaturating",
    "NotFiniteError",
    "PairwiseDistance",
    "PseudoSupervision",
    "Quadratic",
    "Relativistic",
    "WassersteinGP",
    "discriminator_step",
    "energy_distance",
    "fit",
    "generator_step",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
