"""Small networks for diffusion models: they see noisy samples and how noisy these are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import _validate
from ._shapes import classes

_GROUPS = 8
_FREQUENCIES = 32
# Steps of a schedule, which are counted in hundreds, and logarithms of levels, which differ by
# tenths, are both told apart by frequencies between these.
_LEAST, _LARGEST = 1e-3, 8.0


class MLPDenoiser(nn.Module):
    """Residual network of fully connected layers for `fastgen.diffusion.fit`.

    Parameters
    ----------
    image_shape : int or tuple of int
        Shape of one sample, such as 2 for points of the plane or (1, 8, 8) for images.
    width : int, default 256
    depth : int, default 3
        Residual blocks.
    n_classes : int, optional
        Makes a conditional network, which is called with ``class_labels``.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import MLPDenoiser
    >>> MLPDenoiser((1, 8, 8))(torch.zeros(5, 1, 8, 8), torch.arange(5)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        image_shape: int | Sequence[int],
        *,
        width: int = 256,
        depth: int = 3,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        sizes = image_shape if isinstance(image_shape, Sequence) else (image_shape,)
        self.image_shape = tuple(_validate.integer(size, "image_shape") for size in sizes)
        self.n_classes = classes(n_classes)
        width, depth = _validate.integer(width, "width"), _validate.integer(depth, "depth")
        self.embed = Embedding(width, self.n_classes)
        self.first = nn.Linear(math.prod(self.image_shape), width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"norm": nn.LayerNorm(width), "linear": nn.Linear(width, width)})
            for _ in range(depth)
        )
        self.last = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, math.prod(self.image_shape))
        )

    def forward(self, x: Tensor, time: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """Return predictions, shaped as the samples x (B, ...), at times (B,)."""
        told = self.embed(time, class_labels)
        h = self.first(x.flatten(1))
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            h = h + block["linear"](functional.silu(block["norm"](h) + told))
        return self.last(h).reshape(x.shape)


class UNetDenoiser(nn.Module):
    """Small U-Net of convolutions without attention for `fastgen.diffusion.fit`.

    The residual blocks are those of Ho et al. (arXiv:2006.11239, appendix B).

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width), both sizes divisible by two to the number of widths less one.
    widths : sequence of int, default (32, 64)
        Channels of the levels, multiples of 8; every level after the first halves the size.
    n_blocks : int, default 1
        Residual blocks of a level on the way down, and on the way up.
    n_classes : int, optional
        Makes a conditional network, which is called with ``class_labels``.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer, or does not divide.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import UNetDenoiser
    >>> UNetDenoiser((1, 8, 8), widths=(8, 16))(torch.zeros(5, 1, 8, 8), torch.arange(5)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        widths: Sequence[int] = (32, 64),
        n_blocks: int = 1,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.image_shape = _checked_shape(image_shape, len(widths))
        self.n_classes = classes(n_classes)
        sizes = _checked_widths(widths)
        n_blocks = _validate.integer(n_blocks, "n_blocks")
        channels, told = self.image_shape[0], 4 * sizes[0]
        self.embed = Embedding(told, self.n_classes)
        self.first = nn.Conv2d(channels, sizes[0], 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        before = sizes[0]
        for level, width in enumerate(sizes):
            entries = [before, *[width] * (n_blocks - 1)]
            self.down.append(nn.ModuleList(ResidualBlock(i, width, told) for i in entries))
            if level < len(sizes) - 1:
                self.shrink.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            before = width
        self.middle = ResidualBlock(before, before, told)
        for level, width in reversed(list(enumerate(sizes))):
            entries = [before + width, *[2 * width] * (n_blocks - 1)]
            self.up.append(nn.ModuleList(ResidualBlock(i, width, told) for i in entries))
            if level:
                self.grow.append(nn.Conv2d(width, width, 3, padding=1))
            before = width
        self.last = nn.Sequential(
            nn.GroupNorm(_GROUPS, before), nn.SiLU(), nn.Conv2d(before, channels, 3, padding=1)
        )

    def forward(self, x: Tensor, time: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """Return predictions, shaped as the images x (B, channels, h, w), at times (B,)."""
        told = functional.silu(self.embed(time, class_labels))
        h, kept = self.first(x), []
        for level, blocks in enumerate(self.down):
            if level:
                h = self.shrink[level - 1](h)
            for block in _list(blocks):
                h = block(h, told)
                kept.append(h)
        h = self.middle(h, told)
        for level, blocks in enumerate(self.up):
            if level:
                h = self.grow[level - 1](functional.interpolate(h, scale_factor=2))
            for block in _list(blocks):
                h = block(torch.cat([h, kept.pop()], 1), told)
        return self.last(h)


class Embedding(nn.Module):
    """Times, and labels, as vectors: sines and cosines, then two layers.

    Parameters
    ----------
    width : int
    n_classes : int, optional
    """

    def __init__(self, width: int, n_classes: int | None = None) -> None:
        super().__init__()
        steps = torch.linspace(math.log(_LEAST), math.log(_LARGEST), _FREQUENCIES)
        self.register_buffer("frequencies", torch.exp(steps), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.labels = None if n_classes is None else nn.Embedding(n_classes, width)

    def forward(self, time: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """Return vectors (B, width) of times (B,) and labels (B,)."""
        assert isinstance(self.frequencies, Tensor)
        angles = time.to(self.frequencies).reshape(-1, 1) * self.frequencies
        told = self.layers(torch.cat([angles.sin(), angles.cos()], 1))
        if self.labels is None:
            return told
        if class_labels is None:
            raise ValueError(
                f"class_labels must be labels (B,) of this network of {self.labels.num_embeddings} "
                "classes, got None; call net(x, time, class_labels=labels), or pass model_kwargs"
            )
        return told + self.labels(class_labels)


class ResidualBlock(nn.Module):
    """Norm, SiLU and convolution, twice; the embedding is added in between.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    told : int
        Width of the embedding.
    """

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(_GROUPS, inputs), nn.GroupNorm(_GROUPS, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.project = nn.Linear(told, outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Return maps (B, outputs, h, w) of maps (B, inputs, h, w) and vectors (B, told)."""
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.project(told)[:, :, None, None]
        return self.skip(x) + self.conv2(functional.silu(self.norm2(h)))


def _list(blocks: nn.Module) -> nn.ModuleList:
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def _checked_shape(value: Any, n_levels: int) -> tuple[int, int, int]:
    if not isinstance(value, Sequence) or len(value) != 3:
        raise ValueError(f"image_shape must be (channels, height, width), got {value!r}")
    channels, height, width = (_validate.integer(size, "image_shape") for size in value)
    factor = 2 ** (n_levels - 1)
    if height % factor or width % factor:
        raise ValueError(
            f"image_shape must have sizes divisible by {factor} for {n_levels} widths, got "
            f"{height} x {width}; pad the images, or pass fewer widths"
        )
    return channels, height, width


def _checked_widths(values: Sequence[int]) -> list[int]:
    sizes = [_validate.integer(value, "widths") for value in values]
    if not sizes or any(size % _GROUPS for size in sizes):
        raise ValueError(f"widths must be multiples of {_GROUPS}, at least one, got {values}")
    return sizes
