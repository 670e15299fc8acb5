"""Diffusion models: training, local sampling, laws that predict it, pairing of noise with data.

Names load when first used. ``laws`` and ``schedules`` need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import laws
    from .calibration import Calibration, calibrate
    from .denoiser import Denoiser, from_denoiser, from_flow, from_predictor
    from .exact import ExactSet
    from .generator import as_generator
    from .objectives import DDPM, EDM, Flow, Objective
    from .pairing import Pairing, pairing
    from .sampling import LocalSamples, SamplingInterrupted, local_sample
    from .schedules import alphas_cumprod, noise_levels
    from .training import FitResult, fit

_HOMES = {
    "Calibration": "calibration",
    "DDPM": "objectives",
    "Denoiser": "denoiser",
    "EDM": "objectives",
    "ExactSet": "exact",
    "FitResult": "training",
    "Flow": "objectives",
    "LocalSamples": "sampling",
    "Objective": "objectives",
    "Pairing": "pairing",
    "SamplingInterrupted": "sampling",
    "alphas_cumprod": "schedules",
    "as_generator": "generator",
    "calibrate": "calibration",
    "fit": "training",
    "from_denoiser": "denoiser",
    "from_flow": "denoiser",
    "from_predictor": "denoiser",
    "local_sample": "sampling",
    "noise_levels": "schedules",
    "pairing": "pairing",
}

__all__ = [
    "DDPM",
    "EDM",
    "Calibration",
    "Denoiser",
    "ExactSet",
    "FitResult",
    "Flow",
    "LocalSamples",
    "Objective",
    "Pairing",
    "SamplingInterrupted",
    "alphas_cumprod",
    "as_generator",
    "calibrate",
    "fit",
    "from_denoiser",
    "from_flow",
    "from_predictor",
    "laws",
    "local_sample",
    "noise_levels",
    "pairing",
]

# What cannot be imported without torch.
_NEEDS = dict.fromkeys(
    ("calibration", "denoiser", "generator", "objectives", "sampling", "training"), "torch"
)

__getattr__, __dir__ = attach(__name__, _HOMES, submodules=("laws",), needs=_NEEDS)
