"""Local sampling with diffusion models, laws that predict it, and pairing of noise with data.

Names load when first used. ``laws`` and ``schedules`` need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import laws
    from .schedules import alphas_cumprod, noise_levels

_HOMES = {
    "alphas_cumprod": "schedules",
    "noise_levels": "schedules",
}

__all__ = [
    "alphas_cumprod",
    "laws",
    "noise_levels",
]

__getattr__, __dir__ = attach(__name__, _HOMES, submodules=("laws",))
