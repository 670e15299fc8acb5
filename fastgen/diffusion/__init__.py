"""Diffusion models: training, local sampling, laws that predict it, pairing of noise with data.

Names load when first used. ``laws`` and ``schedules`` need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import laws
    from .anonymization import Anonymized, anonymize
    from .augmentation import Augmented, augment
    from .calibration import Calibration, calibrate
    from .denoiser import Denoiser, from_denoiser, from_flow, from_predictor
    from .enhancement import Enhanced, enhance
    from .exact import ExactSet
    from .generator import as_generator
    from .objectives import DDPM, EDM, Flow, Objective
    from .pairing import Pairing, pairing
    from .sampling import LocalSamples, SamplingInterrupted, local_sample
    from .schedules import alphas_cumprod, noise_levels
    from .training import FitResult, fit

_HOMES = {
    "Anonymized": "anonymization",
    "Augmented": "augmentation",
    "Calibration": "calibration",
    "DDPM": "objectives",
    "Denoiser": "denoiser",
    "EDM": "objectives",
    "Enhanced": "enhancement",
    "ExactSet": "exact",
    "FitResult": "training",
    "Flow": "objectives",
    "LocalSamples": "sampling",
    "Objective": "objectives",
    "Pairing": "pairing",
    "SamplingInterrupted": "sampling",
    "alphas_cumprod": "schedules",
    "anonymize": "anonymization",
    "as_generator": "generator",
    "augment": "augmentation",
    "calibrate": "calibration",
    "enhance": "enhancement",
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
    "Anonymized",
    "Augmented",
    "Calibration",
    "Denoiser",
    "Enhanced",
    "ExactSet",
    "FitResult",
    "Flow",
    "LocalSamples",
    "Objective",
    "Pairing",
    "SamplingInterrupted",
    "alphas_cumprod",
    "anonymize",
    "as_generator",
    "augment",
    "calibrate",
    "enhance",
    "fit",
    "from_denoiser",
    "from_flow",
    "from_predictor",
    "laws",
    "local_sample",
    "noise_levels",
    "pairing",
]

# What can be imported without torch.
_WITHOUT = ("exact", "pairing", "schedules")
_NEEDS = dict.fromkeys(set(_HOMES.values()) - set(_WITHOUT), "torch")

__getattr__, __dir__ = attach(__name__, _HOMES, submodules=("laws",), needs=_NEEDS)
