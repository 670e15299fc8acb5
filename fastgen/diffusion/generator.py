"""A deterministic sampler of a diffusion model as a generator: latents in, images out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from .. import _validate
from .denoiser import Denoiser, as_denoiser
from .steps import SAMPLERS, Strength, chain

__all__ = ["as_generator"]


class DeterministicSampler(nn.Module):
    """Maps standard noise to images by a deterministic sampler; differentiable in the noise.

    Parameters
    ----------
    denoiser : Denoiser
    shape : tuple of int
        Shape of an image.
    levels : float64 array
        Noise levels that fall to 0.
    sampler : str

    Attributes
    ----------
    latent_dim : int
        Entries of an image: the noise has the size of the image.
    """

    def __init__(
        self, denoiser: Denoiser, shape: tuple[int, ...], levels: np.ndarray, sampler: str
    ) -> None:
        super().__init__()
        self.network = denoiser.network
        self.shape, self.latent_dim = shape, math.prod(shape)
        self._denoiser, self._levels, self._sampler = denoiser, levels, sampler

    def forward(self, z: Tensor) -> Tensor:
        """Return images (B, *shape) of latents (B, latent_dim).

        Parameters
        ----------
        z : tensor (B, latent_dim)

        Returns
        -------
        tensor (B, *shape)
        """
        top = float(self._levels[0])
        scale = math.sqrt(1 + top**2) if self._denoiser.variance_preserving else top
        y = z.reshape(len(z), *self.shape) * scale
        return SAMPLERS[self._sampler](self._denoiser, y, self._levels, 0.0, None)


def as_generator(
    model: Any,
    shape: Sequence[int],
    *,
    steps: int = 20,
    sampler: str = "ddim",
    scheduler: Any = None,
    alphas_cumprod: Any = None,
    prediction: str | None = None,
) -> DeterministicSampler:
    """Return a diffusion model as a generator, to be scored like any other.

    Parameters
    ----------
    model, scheduler, alphas_cumprod, prediction
        As for `local_sample`.
    shape : sequence of int
        Shape of an image, such as (1, 28, 28).
    steps : int, default 20
        Steps from the largest noise level to 0.
    sampler : {"ddim", "heun"}
        Deterministic samplers: DDIM with ``eta=0``, or Heun's method.

    Returns
    -------
    nn.Module
        Its attribute ``latent_dim`` is the number of entries of an image.

    Raises
    ------
    ValueError, TypeError
        As `local_sample`.

    Examples
    --------
    >>> import torch
    >>> from fastgen.diffusion import as_generator, from_denoiser
    >>> gaussian = from_denoiser(lambda y, s: y / (1 + s.reshape(-1, 1) ** 2), span=None)
    >>> generator = as_generator(gaussian, (2,), steps=200)
    >>> generator(torch.ones(1, 2)).round(decimals=1)
    tensor([[1., 1.]])
    """
    denoiser = as_denoiser(
        model, scheduler=scheduler, alphas_cumprod=alphas_cumprod, prediction=prediction
    )
    sampler = _validate.one_of(sampler, "sampler", tuple(SAMPLERS))
    sizes = tuple(_validate.integer(size, "shape") for size in shape)
    levels = denoiser.levels
    top = Strength(None if levels is None else len(levels), None, denoiser.sigma_max)
    return DeterministicSampler(denoiser, sizes, chain(denoiser, top, steps), sampler)
