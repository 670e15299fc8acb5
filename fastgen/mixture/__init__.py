"""Mixtures: Gaussian ones by expectation maximization, and nonparametric ones.

Names load when first used.
"""

from __future__ import annotations

from .._lazy import attach

_HOMES = {
    "GaussianMixture": "gaussian",
    "NonparametricMixture": "nonparametric",
    "select_components": "selection",
}

__all__ = [
    "GaussianMixture",
    "NonparametricMixture",
    "select_components",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
