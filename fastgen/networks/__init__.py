"""Layers and networks for torch.

Names load when first used; torch is imported then.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "BigGANDiscriminator": "biggan",
    "BigGANGenerator": "biggan",
    "DCGANDiscriminator": "dcgan",
    "DCGANGenerator": "dcgan",
    "MLPDiscriminator": "mlp",
    "MLPGenerator": "mlp",
    "R3Discriminator": "r3",
    "R3Generator": "r3",
    "ResNetDiscriminator": "resnet",
    "ResNetGenerator": "resnet",
    "MixtureNorm1d": "mixture_norm",
    "MixtureNorm2d": "mixture_norm",
    "convert_batchnorm": "mixture_norm",
    "read_weights": "weights",
    "write_weights": "weights",
}

__all__ = [
    "BigGANDiscriminator",
    "BigGANGenerator",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "MLPDiscriminator",
    "MLPGenerator",
    "MixtureNorm1d",
    "MixtureNorm2d",
    "R3Discriminator",
    "R3Generator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "convert_batchnorm",
    "read_weights",
    "write_weights",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_MODULES))
