"""Class-conditional residual networks in the manner of BigGAN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from .. import _validate
from ._shapes import classes, levels
from ._shapes import image_shape as checked
from .resnet import double


class BigGANGenerator(nn.Module):
    """Residual blocks with conditional batch norm, self-attention and spectral norm.

    Brock, Donahue and Simonyan, "Large Scale GAN Training for High Fidelity Natural Image
    Synthesis", ICLR 2019, arXiv:1809.11096, appendix B. Every conditional batch norm sees the
    shared embedding of the class and the whole latent, as in their deep variant. Sizes below theirs
    and the place of the attention layer (at half the image size, at most 32) are our reading.

    Parameters
    ----------
    latent_dim : int, default 64
    image_shape : tuple of int, default (3, 32, 32)
        (channels, size, size); the size is 4 to 7 times a power of two, from 8 to 64.
    n_classes : int, optional
        Number of classes; without it the networks take no labels, and the batch norm is conditioned
        on the latent alone.
    width : int, default 32
        Channels of the last block; blocks before have up to four times as many.
    embedding_dim : int, default 32

    Raises
    ------
    ValueError, TypeError
        For another size, or a number that is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import BigGANGenerator
    >>> net = BigGANGenerator(16, (3, 16, 16), n_classes=10, width=8)
    >>> net(torch.randn(5, 16), torch.arange(5)).shape
    torch.Size([5, 3, 16, 16])
    """

    def __init__(
        self,
        latent_dim: int = 64,
        image_shape: Sequence[int] = (3, 32, 32),
        *,
        n_classes: int | None = None,
        width: int = 32,
        embedding_dim: int = 32,
    ) -> None:
        super().__init__()
        self.latent_dim = _validate.integer(latent_dim, "latent_dim")
        self.image_shape = checked(image_shape)
        self.n_classes = classes(n_classes)
        width = _validate.integer(width, "width")
        channels, size, _ = self.image_shape
        base, count = levels(size)
        widths = [width * min(4, 2 ** (count - 1 - i)) for i in range(count)]
        n_conditions = self.latent_dim
        if self.n_classes is not None:
            embedding_dim = _validate.integer(embedding_dim, "embedding_dim")
            self.embedding = nn.Embedding(self.n_classes, embedding_dim)
            nn.init.orthogonal_(self.embedding.weight)
            n_conditions += embedding_dim
        self.first = _spectral(nn.Linear(n_conditions, widths[0] * base * base))
        self.reshape = nn.Unflatten(1, (widths[0], base, base))
        self.blocks = nn.ModuleList()
        now = base
        for inputs, outputs in zip([widths[0], *widths[:-1]], widths, strict=True):
            self.blocks.append(ConditionalUpBlock(inputs, outputs, n_conditions))
            now *= 2
            if now == min(size // 2, 32):
                self.blocks.append(SelfAttention(outputs))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = _spectral(nn.Conv2d(widths[-1], channels, 3, padding=1))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return images ``(B, *image_shape)`` in [-1, 1] of latents (B, latent_dim) and labels."""
        if self.n_classes is not None:
            z = torch.cat([z, self.embedding(_labels(y, self.n_classes))], 1)
        x = self.reshape(self.first(z))
        for block in self.blocks:
            x = block(x, z) if isinstance(block, ConditionalUpBlock) else block(x)
        return torch.tanh(self.last(functional.relu(self.norm(x))))


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gain and offset are linear in a condition.

    Parameters
    ----------
    num_features, n_conditions : int
    """

    def __init__(self, num_features: int, n_conditions: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_features, affine=False)
        self.gain = _spectral(nn.Linear(n_conditions, num_features, bias=False))
        self.offset = _spectral(nn.Linear(n_conditions, num_features, bias=False))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return normalized maps of maps (B, C, h, w) under conditions (B, n_conditions)."""
        gain, offset = 1 + self.gain(condition), self.offset(condition)
        return self.norm(x) * gain[..., None, None] + offset[..., None, None]


class ConditionalUpBlock(nn.Module):
    """Residual block with conditional batch norm that doubles the size."""

    def __init__(self, inputs: int, outputs: int, n_conditions: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm2d(inputs, n_conditions)
        self.norm2 = ConditionalBatchNorm2d(outputs, n_conditions)
        self.conv1 = _spectral(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.conv2 = _spectral(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = _spectral(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return maps (B, outputs, 2 h, 2 w) of maps (B, inputs, h, w)."""
        h = self.conv1(double(functional.relu(self.norm1(x, condition))))
        h = self.conv2(functional.relu(self.norm2(h, condition)))
        return h + double(self.skip(x))


class SelfAttention(nn.Module):
    """Attention between all positions, added with a gain that starts at zero.

    Zhang et al., "Self-Attention Generative Adversarial Networks", ICML 2019, arXiv:1805.08318,
    section 3; keys and values are pooled to a quarter of the positions, as BigGAN does.

    Parameters
    ----------
    width : int
        Channels, at least 8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 8:
            raise ValueError(f"width must be at least 8 where there is attention, got {width}")
        self.query = _spectral(nn.Conv2d(width, width // 8, 1, bias=False))
        self.key = _spectral(nn.Conv2d(width, width // 8, 1, bias=False))
        self.value = _spectral(nn.Conv2d(width, width // 2, 1, bias=False))
        self.out = _spectral(nn.Conv2d(width // 2, width, 1, bias=False))
        self.gain = Gain()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the shape of maps (B, width, h, w)."""
        query = self.query(x).flatten(2).transpose(1, 2)
        key = functional.max_pool2d(self.key(x), 2).flatten(2).transpose(1, 2)
        value = functional.max_pool2d(self.value(x), 2).flatten(2).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        attended = attended.transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.gain(self.out(attended))


class Gain(nn.Module):
    """A learned factor that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the factor times ``x``."""
        return self.weight * x


class BigGANDiscriminator(nn.Module):
    """Residual blocks with spectral norm and self-attention; the class enters by projection.

    Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018, arXiv:1802.05637: the inner
    product of the features with an embedding of the class is added to the score. See
    `BigGANGenerator` for the rest.

    Parameters
    ----------
    image_shape : tuple of int, default (3, 32, 32)
    n_classes : int, optional
    width : int, default 32
        Channels of the first block; later blocks have up to four times as many.
    n_outputs : int, default 1
        Outputs per sample: the score, then the logits of a classifier of K generators (1 + K).

    Raises
    ------
    ValueError, TypeError
        For another size, or a number that is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import BigGANDiscriminator
    >>> net = BigGANDiscriminator((3, 16, 16), n_classes=10, width=8)
    >>> net(torch.randn(5, 3, 16, 16), torch.arange(5)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (3, 32, 32),
        *,
        n_classes: int | None = None,
        width: int = 32,
        n_outputs: int = 1,
    ) -> None:
        super().__init__()
        self.image_shape = checked(image_shape)
        self.n_classes = classes(n_classes)
        self.n_outputs = _validate.integer(n_outputs, "n_outputs")
        width = _validate.integer(width, "width")
        channels, size, _ = self.image_shape
        _, count = levels(size)
        widths = [width * min(4, 2**i) for i in range(count)]
        blocks: list[nn.Module] = []
        now = size
        for i, (inputs, outputs) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
            blocks.append(SpectralDownBlock(inputs, outputs, first=i == 0))
            now //= 2
            if now == min(size // 2, 32):
                blocks.append(SelfAttention(outputs))
        blocks.append(SpectralDownBlock(widths[-1], widths[-1], halve=False))
        self.blocks = nn.Sequential(*blocks, nn.ReLU())
        self.last = _spectral(nn.Linear(widths[-1], self.n_outputs))
        if self.n_classes is not None:
            self.embedding = _spectral(nn.Embedding(self.n_classes, widths[-1]))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return outputs (B, n_outputs) of images ``(B, *image_shape)`` and labels (B,)."""
        features = self.blocks(x).sum((2, 3))
        out = self.last(features)
        if self.n_classes is None:
            return out
        agreement = (self.embedding(_labels(y, self.n_classes)) * features).sum(1, keepdim=True)
        return out + functional.pad(agreement, (0, self.n_outputs - 1))


class SpectralDownBlock(nn.Module):
    """Residual block with spectral norm; parameters as of ``DownBlock`` in the ResNet."""

    def __init__(
        self, inputs: int, outputs: int, *, halve: bool = True, first: bool = False
    ) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.conv1 = _spectral(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.conv2 = _spectral(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = _spectral(nn.Conv2d(inputs, outputs, 1)) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (B, outputs, h / 2, w / 2) of maps (B, inputs, h, w)."""
        h = self.conv1(x if self.first else functional.relu(x))
        h = self.conv2(functional.relu(h))
        if not self.halve:
            return h + x
        return functional.avg_pool2d(h, 2) + self.skip(functional.avg_pool2d(x, 2))


def _spectral(layer: nn.Conv2d | nn.Linear | nn.Embedding) -> nn.Module:
    """Draw orthogonal weights, as the paper does, and hold their spectral norm at one."""
    nn.init.orthogonal_(layer.weight)
    return spectral_norm(layer)


def _labels(y: Tensor | None, n_classes: int) -> Tensor:
    if y is None:
        raise ValueError(
            f"y must be labels (B,) of this network of {n_classes} classes, got None; call "
            "net(inputs, labels)"
        )
    return y
