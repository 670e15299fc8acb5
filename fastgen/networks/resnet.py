"""Residual generators and critics in the manner of WGAN-GP."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from .. import _validate
from ._shapes import image_shape as checked
from ._shapes import levels


class ResNetGenerator(nn.Module):
    """Residual blocks with batch norm that double the size, tanh at the end.

    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, arXiv:1704.00028,
    appendix F: one width throughout, nearest-neighbor upsampling.

    Parameters
    ----------
    latent_dim : int, default 128
    image_shape : tuple of int, default (3, 32, 32)
        (channels, size, size); the size is 4 to 7 times a power of two, from 8 to 64.
    width : int, default 128

    Raises
    ------
    ValueError, TypeError
        For another size, or a number that is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import ResNetGenerator
    >>> ResNetGenerator(16, (1, 28, 28), width=8)(torch.randn(5, 16)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        latent_dim: int = 128,
        image_shape: Sequence[int] = (3, 32, 32),
        *,
        width: int = 128,
    ) -> None:
        super().__init__()
        self.latent_dim = _validate.integer(latent_dim, "latent_dim")
        self.image_shape = checked(image_shape)
        width = _validate.integer(width, "width")
        channels, size, _ = self.image_shape
        base, count = levels(size)
        self.first = nn.Linear(self.latent_dim, width * base * base)
        self.reshape = nn.Unflatten(1, (width, base, base))
        self.blocks = nn.Sequential(*(UpBlock(width) for _ in range(count)))
        self.last = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return images ``(B, *image_shape)`` in [-1, 1] of latents (B, latent_dim)."""
        return self.last(self.blocks(self.reshape(self.first(z))))


class UpBlock(nn.Module):
    """Residual block that doubles the size: norm, ReLU, upsampling, two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (B, width, 2 h, 2 w) of maps (B, width, h, w)."""
        h = self.conv1(double(functional.relu(self.norm1(x))))
        h = self.conv2(functional.relu(self.norm2(h)))
        # a convolution with one pixel commutes with the upsampling, and costs a quarter before it
        return h + double(self.skip(x))


class ResNetDiscriminator(nn.Module):
    """Residual blocks without norm that halve the size, then two that keep it, then a mean.

    Without batch norm, as the gradient penalty asks. See `ResNetGenerator` for the reference.

    Parameters
    ----------
    image_shape : tuple of int, default (3, 32, 32)
    width : int, default 128
    n_outputs : int, default 1
        Outputs per sample: the score, then the logits of a classifier of K generators (1 + K).

    Raises
    ------
    ValueError, TypeError
        For another size, or a number that is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import ResNetDiscriminator
    >>> ResNetDiscriminator((1, 28, 28), width=8)(torch.randn(5, 1, 28, 28)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (3, 32, 32),
        *,
        width: int = 128,
        n_outputs: int = 1,
    ) -> None:
        super().__init__()
        self.image_shape = checked(image_shape)
        self.n_outputs = _validate.integer(n_outputs, "n_outputs")
        width = _validate.integer(width, "width")
        channels, size, _ = self.image_shape
        _, count = levels(size)
        downs = [DownBlock(channels, width, first=True)]
        downs += [DownBlock(width, width) for _ in range(count - 1)]
        keeps = [DownBlock(width, width, halve=False) for _ in range(2)]
        self.blocks = nn.Sequential(*downs, *keeps, nn.ReLU())
        self.last = nn.Linear(width, self.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (B, n_outputs) of images ``(B, *image_shape)``."""
        return self.last(self.blocks(x).mean((2, 3)))


class DownBlock(nn.Module):
    """Residual block without norm: ReLU, two convolutions, average pooling.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    halve : bool, default True
        Whether it halves the size.
    first : bool, default False
        Whether it sees the image: there is no ReLU before the first convolution then.
    """

    def __init__(
        self, inputs: int, outputs: int, *, halve: bool = True, first: bool = False
    ) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (B, outputs, h / 2, w / 2) of maps (B, inputs, h, w)."""
        h = self.conv1(x if self.first else functional.relu(x))
        h = self.conv2(functional.relu(h))
        if not self.halve:
            return h + x
        return functional.avg_pool2d(h, 2) + self.skip(functional.avg_pool2d(x, 2))


def double(x: Tensor) -> Tensor:
    """Return maps of twice the size, every pixel repeated."""
    return functional.interpolate(x, scale_factor=2)
