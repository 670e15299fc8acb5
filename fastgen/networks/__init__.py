"""Layers and networks for torch, and their weights on disk.

Names load when first used; torch is imported then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .biggan import BigGANDiscriminator, BigGANGenerator
    from .dcgan import DCGANDiscriminator, DCGANGenerator
    from .denoisers import MLPDenoiser, UNetDenoiser
    from .mixture_norm import MixtureNorm1d, MixtureNorm2d, convert_batchnorm
    from .mlp import MLPDiscriminator, MLPGenerator
    from .r3 import R3Discriminator, R3Generator
    from .resnet import ResNetDiscriminator, ResNetGenerator
    from .weights import read_weights, write_weights

_HOMES = {
    "BigGANDiscriminator": "biggan",
    "BigGANGenerator": "biggan",
    "DCGANDiscriminator": "dcgan",
    "DCGANGenerator": "dcgan",
    "MLPDenoiser": "denoisers",
    "MLPDiscriminator": "mlp",
    "MLPGenerator": "mlp",
    "R3Discriminator": "r3",
    "R3Generator": "r3",
    "ResNetDiscriminator": "resnet",
    "ResNetGenerator": "resnet",
    "UNetDenoiser": "denoisers",
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
    "MLPDenoiser",
    "MLPDiscriminator",
    "MLPGenerator",
    "MixtureNorm1d",
    "MixtureNorm2d",
    "R3Discriminator",
    "R3Generator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "UNetDenoiser",
    "convert_batchnorm",
    "read_weights",
    "write_weights",
]

__getattr__, __dir__ = attach(__name__, _HOMES, needs=dict.fromkeys(_HOMES.values(), "torch"))
