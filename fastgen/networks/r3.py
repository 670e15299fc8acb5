"""Residual networks without normalization in the manner of R3GAN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import _validate
from ._shapes import image_shape as checked
from ._shapes import levels

_GAIN = math.sqrt(2 / (1 + 0.2**2))  # of LeakyReLU(0.2) on a normal variable


class R3Generator(nn.Module):
    """Residual blocks without normalization, with grouped convolutions and bilinear upsampling.

    Huang, Gokaslan, Kuleshov and Tompkin, "The GAN is dead; long live the GAN! A Modern GAN
    Baseline", NeurIPS 2024, arXiv:2501.05441, section 4: no style, no norm, the last convolution
    of every block starts at zero, the others are scaled down with the number of blocks. Widths,
    depths and groups for small images are our choice. The output is linear, as theirs.

    Parameters
    ----------
    latent_dim : int, default 64
    image_shape : tuple of int, default (3, 32, 32)
        (channels, size, size); the size is 4 to 7 times a power of two, from 8 to 64.
    width : int, default 64
        Channels at every size.
    n_blocks : int, default 1
        Residual blocks at every size.
    group_size : int, default 16
        Channels that a grouped convolution sees together; divides twice the width.

    Raises
    ------
    ValueError, TypeError
        For another size, or a number that is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import R3Generator
    >>> R3Generator(16, (1, 28, 28), width=8)(torch.randn(5, 16)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        latent_dim: int = 64,
        image_shape: Sequence[int] = (3, 32, 32),
        *,
        width: int = 64,
        n_blocks: int = 1,
        group_size: int = 16,
    ) -> None:
        super().__init__()
        self.latent_dim = _validate.integer(latent_dim, "latent_dim")
        self.image_shape = checked(image_shape)
        width, n_blocks, groups = _sizes(width, n_blocks, group_size)
        channels, size, _ = self.image_shape
        base, count = levels(size)
        depth = n_blocks * (count + 1)
        self.basis = Basis(self.latent_dim, width, base)
        stages: list[nn.Module] = []
        for i in range(count + 1):
            if i:
                stages.append(nn.Upsample(scale_factor=2, mode="bilinear"))
            stages += [Block(width, groups, depth) for _ in range(n_blocks)]
        self.stages = nn.Sequential(*stages)
        self.last = _scaled(nn.Conv2d(width, channels, 1), 1.0)

    def forward(self, z: Tensor) -> Tensor:
        """Return images ``(B, *image_shape)`` of latents (B, latent_dim)."""
        return self.last(self.stages(self.basis(z)))


class Basis(nn.Module):
    """Learned maps ``base x base``, each times a linear function of the latent."""

    def __init__(self, latent_dim: int, width: int, base: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(width, base, base))
        self.linear = _scaled(nn.Linear(latent_dim, width, bias=False), 1.0)

    def forward(self, z: Tensor) -> Tensor:
        """Return maps (B, width, base, base) of latents (B, latent_dim)."""
        return self.linear(z)[..., None, None] * self.maps


class Block(nn.Module):
    """Inverted bottleneck: 1 x 1, grouped 3 x 3, 1 x 1 convolution, added to the input.

    Parameters
    ----------
    width : int
        Channels outside; inside there are twice as many.
    groups : int
    depth : int
        Number of blocks of the network: the first two convolutions shrink with its fourth root.
    """

    def __init__(self, width: int, groups: int, depth: int) -> None:
        super().__init__()
        gain = _GAIN * depth**-0.25
        self.conv1 = _scaled(nn.Conv2d(width, 2 * width, 1), gain)
        self.conv2 = _scaled(nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=groups), gain)
        self.conv3 = _scaled(nn.Conv2d(2 * width, width, 1, bias=False), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the shape of maps (B, width, h, w)."""
        h = functional.leaky_relu(self.conv1(x), 0.2)
        return x + self.conv3(functional.leaky_relu(self.conv2(h), 0.2))


class R3Discriminator(nn.Module):
    """Mirror image of the generator: residual blocks without normalization, halving the size.

    See `R3Generator` for the reference and the parameters.

    Parameters
    ----------
    image_shape : tuple of int, default (3, 32, 32)
    width : int, default 64
    n_blocks : int, default 1
    group_size : int, default 16
    n_outputs : int, default 1
        Outputs per sample: the score, then the logits of a classifier of K generators (1 + K).

    Raises
    ------
    ValueError, TypeError
        For another size, or a number that is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import R3Discriminator
    >>> R3Discriminator((1, 28, 28), width=8)(torch.randn(5, 1, 28, 28)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (3, 32, 32),
        *,
        width: int = 64,
        n_blocks: int = 1,
        group_size: int = 16,
        n_outputs: int = 1,
    ) -> None:
        super().__init__()
        self.image_shape = checked(image_shape)
        self.n_outputs = _validate.integer(n_outputs, "n_outputs")
        width, n_blocks, groups = _sizes(width, n_blocks, group_size)
        channels, size, _ = self.image_shape
        base, count = levels(size)
        depth = n_blocks * (count + 1)
        stages: list[nn.Module] = [_scaled(nn.Conv2d(channels, width, 1), _GAIN)]
        for i in range(count + 1):
            if i:
                stages.append(nn.AvgPool2d(2))
            stages += [Block(width, groups, depth) for _ in range(n_blocks)]
        self.stages = nn.Sequential(*stages)
        self.basis = _scaled(nn.Conv2d(width, width, base, groups=width, bias=False), 1.0)
        self.last = _scaled(nn.Linear(width, self.n_outputs), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (B, n_outputs) of images ``(B, *image_shape)``."""
        return self.last(self.basis(self.stages(x)).flatten(1))


def _sizes(width: int, n_blocks: int, group_size: int) -> tuple[int, int, int]:
    width = _validate.integer(width, "width")
    n_blocks = _validate.integer(n_blocks, "n_blocks")
    group_size = _validate.integer(group_size, "group_size")
    if 2 * width % group_size:
        raise ValueError(
            f"group_size must divide twice the width, {2 * width}, got {group_size}; pass "
            f"{math.gcd(2 * width, group_size)}"
        )
    return width, n_blocks, 2 * width // group_size


def _scaled(layer: nn.Conv2d | nn.Linear, gain: float) -> nn.Module:
    """Draw weights with standard deviation gain / sqrt(fan in), biases zero."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
