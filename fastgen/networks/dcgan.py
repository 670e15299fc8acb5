"""Convolutional generators and discriminators in the manner of DCGAN."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .. import _validate
from ._shapes import image_shape as checked
from ._shapes import levels


class DCGANGenerator(nn.Module):
    """Transposed convolutions with batch norm and ReLU, tanh at the end.

    Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", ICLR 2016, arXiv:1511.06434, section 3. Kernels are 4 x 4
    without biases; the first layer turns the latent into ``base x base`` positions.

    Parameters
    ----------
    latent_dim : int, default 100
    image_shape : tuple of int, default (3, 64, 64)
        (channels, size, size); the size is 4 to 7 times a power of two, from 8 to 64.
    width : int, default 64
        Channels before the last layer; every layer before has twice as many as the next.

    Raises
    ------
    ValueError, TypeError
        For another size, or a number that is not a positive integer.

    Examples
    --------
    >>> from fastgen.networks import DCGANGenerator
    >>> sum(p.numel() for p in DCGANGenerator().parameters())
    3576704
    """

    def __init__(
        self,
        latent_dim: int = 100,
        image_shape: Sequence[int] = (3, 64, 64),
        *,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.latent_dim = _validate.integer(latent_dim, "latent_dim")
        self.image_shape = checked(image_shape)
        width = _validate.integer(width, "width")
        channels, size, _ = self.image_shape
        base, count = levels(size)
        now = width * 2 ** (count - 1)
        layers: list[nn.Module] = [
            nn.Unflatten(1, (self.latent_dim, 1, 1)),
            nn.ConvTranspose2d(self.latent_dim, now, base, bias=False),
        ]
        for _ in range(count - 1):
            layers += [nn.BatchNorm2d(now), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(now, now // 2, 4, 2, 1, bias=False))
            now //= 2
        layers += [nn.BatchNorm2d(now), nn.ReLU()]
        layers += [nn.ConvTranspose2d(now, channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialize)

    def forward(self, z: Tensor) -> Tensor:
        """Return images ``(B, *image_shape)`` in [-1, 1] of latents (B, latent_dim)."""
        return self.layers(z)


class DCGANDiscriminator(nn.Module):
    """Strided convolutions with batch norm and LeakyReLU.

    See `DCGANGenerator` for the reference.

    Parameters
    ----------
    image_shape : tuple of int, default (3, 64, 64)
    width : int, default 64
        Channels after the first layer; every layer has twice as many as the one before.
    n_outputs : int, default 1
        Outputs per sample: the score, then the logits of a classifier of K generators (1 + K).
    normalize : bool, default True
        Batch norm in all layers but the first and the last. Objectives with a gradient penalty
        differentiate sample by sample and want it off.

    Raises
    ------
    ValueError, TypeError
        For another size, or a number that is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import DCGANDiscriminator
    >>> DCGANDiscriminator((1, 28, 28), width=8)(torch.randn(5, 1, 28, 28)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (3, 64, 64),
        *,
        width: int = 64,
        n_outputs: int = 1,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.image_shape = checked(image_shape)
        self.n_outputs = _validate.integer(n_outputs, "n_outputs")
        now = _validate.integer(width, "width")
        channels, size, _ = self.image_shape
        base, count = levels(size)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, now, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
        ]
        for _ in range(count - 1):
            layers.append(nn.Conv2d(now, 2 * now, 4, 2, 1, bias=False))
            now *= 2
            if normalize:
                layers.append(nn.BatchNorm2d(now))
            layers.append(nn.LeakyReLU(0.2))
        layers += [nn.Conv2d(now, self.n_outputs, base, bias=False), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialize)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (B, n_outputs) of images ``(B, *image_shape)``."""
        return self.layers(x)


def _initialize(layer: nn.Module) -> None:
    """Draw weights with standard deviation 0.02, as the paper does."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
