"""Generative adversarial networks: one, mixtures of many, and what lies between.

Names load when first used; torch is imported then.
"""

from __future__ import annotations

from .._lazy import attach

_HOMES = {
    "Ensemble": "ensemble",
}

__all__ = [
    "Ensemble",
]

__getattr__, __dir__ = attach(__name__, _HOMES, needs=dict.fromkeys(_HOMES.values(), "torch"))
