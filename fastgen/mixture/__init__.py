"""Mixtures: Gaussian ones by expectation maximization, and nonparametric ones.

Names load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .gaussian import GaussianMixture
    from .nonparametric import NonparametricMixture
    from .selection import select_components, stability

_HOMES = {
    "GaussianMixture": "gaussian",
    "NonparametricMixture": "nonparametric",
    "select_components": "selection",
    "stability": "selection",
}

__all__ = [
    "GaussianMixture",
    "NonparametricMixture",
    "select_components",
    "stability",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
