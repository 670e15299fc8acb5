"""Fully connected generators and discriminators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import _validate
from ._shapes import classes

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "linear": nn.Identity,
}
_OUTPUTS = {"linear": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class MLPGenerator(nn.Module):
    """Generator of fully connected layers.

    Parameters
    ----------
    latent_dim : int
    image_shape : int or tuple of int
        Shape of one output, such as 2 for points of the plane or (1, 28, 28) for images.
    widths : sequence of int, default (128, 128)
        Widths of the hidden layers; () makes a linear generator.
    activation : {"relu", "leaky_relu", "tanh", "silu", "linear"}, default "relu"
    output : {"linear", "tanh", "sigmoid"}, default "linear"
    n_classes : int, optional
        Makes a conditional generator: a one-hot label is appended to the latent.
    bias : bool, default True

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer or a name unknown.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import MLPGenerator
    >>> net = MLPGenerator(8, (1, 28, 28), widths=(64,), output="tanh")
    >>> net(torch.randn(5, 8)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: int | Sequence[int],
        *,
        widths: Sequence[int] = (128, 128),
        activation: str = "relu",
        output: str = "linear",
        n_classes: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.latent_dim = _validate.integer(latent_dim, "latent_dim")
        self.image_shape = _shape(image_shape)
        self.n_classes = classes(n_classes)
        _validate.one_of(output, "output", tuple(_OUTPUTS))
        inputs = self.latent_dim + (self.n_classes or 0)
        layers = _layers(inputs, widths, math.prod(self.image_shape), activation, bias)
        self.layers = nn.Sequential(*layers, _OUTPUTS[output](), nn.Unflatten(1, self.image_shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return samples ``(B, *image_shape)`` of latents (B, latent_dim) and labels (B,)."""
        if self.n_classes is not None:
            z = torch.cat([z, _one_hot(y, self.n_classes, z)], 1)
        return self.layers(z)


class MLPDiscriminator(nn.Module):
    """Discriminator of fully connected layers.

    Parameters
    ----------
    image_shape : int or tuple of int
        Shape of one input.
    widths : sequence of int, default (128, 128)
    activation : {"relu", "leaky_relu", "tanh", "silu", "linear"}, default "leaky_relu"
    n_outputs : int, default 1
        Outputs per sample: the score, then the logits of a classifier of K generators (1 + K).
    n_classes : int, optional
        Makes a conditional discriminator: a one-hot label is appended to the input.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer or a name unknown.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import MLPDiscriminator
    >>> MLPDiscriminator(2)(torch.randn(5, 2)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        image_shape: int | Sequence[int],
        *,
        widths: Sequence[int] = (128, 128),
        activation: str = "leaky_relu",
        n_outputs: int = 1,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.image_shape = _shape(image_shape)
        self.n_outputs = _validate.integer(n_outputs, "n_outputs")
        self.n_classes = classes(n_classes)
        inputs = math.prod(self.image_shape) + (self.n_classes or 0)
        self.layers = nn.Sequential(*_layers(inputs, widths, self.n_outputs, activation, True))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return outputs (B, n_outputs) of samples ``(B, *image_shape)`` and labels (B,)."""
        x = x.flatten(1)
        if self.n_classes is not None:
            x = torch.cat([x, _one_hot(y, self.n_classes, x)], 1)
        return self.layers(x)


def _shape(value: Any) -> tuple[int, ...]:
    sizes = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    return tuple(_validate.integer(size, "image_shape") for size in sizes)


def _layers(
    inputs: int, widths: Sequence[int], outputs: int, activation: str, bias: bool
) -> list[nn.Module]:
    _validate.one_of(activation, "activation", tuple(_ACTIVATIONS))
    found: list[nn.Module] = []
    for width in widths:
        width = _validate.integer(width, "widths")
        found += [nn.Linear(inputs, width, bias=bias), _ACTIVATIONS[activation]()]
        inputs = width
    return [*found, nn.Linear(inputs, outputs, bias=bias)]


def _one_hot(y: Tensor | None, n_classes: int, like: Tensor) -> Tensor:
    if y is None:
        raise ValueError(
            f"y must be labels (B,) of this network of {n_classes} classes, got None; call "
            "net(inputs, labels)"
        )
    return nn.functional.one_hot(y, n_classes).to(like.dtype)
