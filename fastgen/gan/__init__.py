"""Generative adversarial networks: one, mixtures of many, and what lies between.

Names load when first used; torch is imported then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .ensemble import Ensemble
    from .objectives import Hinge, MADSoftmax, NonSaturating, Quadratic, Relativistic, WassersteinGP
    from .steps import Batch, NotFiniteError, discriminator_step, generator_step
    from .sweeping import energy_distance, sweep
    from .terms import (
        Balanced,
        EvenWeights,
        GeneratorClassifier,
        PairwiseDistance,
        PseudoSupervision,
    )
    from .training import FitResult, fit

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

__getattr__, __dir__ = attach(__name__, _HOMES, needs=dict.fromkeys(_HOMES.values(), "torch"))
