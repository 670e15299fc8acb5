"""Local sampling with diffusion models, laws that predict it, and pairing of noise with data.

Names load when first used. ``laws`` and ``schedules`` need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import laws
    from .denoiser import Denoiser, from_denoiser, from_flow, from_predictor
    from .exact import ExactSet
    from .schedules import alphas_cumprod, noise_levels

_HOMES = {
    "Denoiser": "denoiser",
    "ExactSet": "exact",
    "alphas_cumprod": "schedules",
    "from_denoiser": "denoiser",
    "from_flow": "denoiser",
    "from_predictor": "denoiser",
    "noise_levels": "schedules",
}

__all__ = [
    "Denoiser",
    "ExactSet",
    "alphas_cumprod",
    "from_denoiser",
    "from_flow",
    "from_predictor",
    "laws",
    "noise_levels",
]

__getattr__, __dir__ = attach(__name__, _HOMES, submodules=("laws",))
