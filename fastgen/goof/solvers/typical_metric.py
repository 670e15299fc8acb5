"""The mean of ``J^T J`` over a generator's prior: curvature shared by all searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..domains import Free, draw
from ..generators import Adapter
from .objective import LARGEST_NORMAL_MATRIX, Metric, Objective

if TYPE_CHECKING:
    from torch import Tensor

_COUNT = 16  # latents averaged over; each costs k tangents


def typical_metric(
    generator: Adapter,
    prior: str | Callable,
    domain: Free,
    penalty: float,
    rng: np.random.Generator,
) -> Metric | None:
    """Return the mean over latents of the prior, or None where it says nothing.

    It depends on the generator with its conditions and on the options, not on the targets: a search
    is the same whatever its batch mates.
    """
    import torch

    k = generator.latent_dim
    if k > LARGEST_NORMAL_MATRIX:
        return None
    z = torch.from_numpy(draw(prior, _COUNT, k, rng))
    z = domain.project(z.to(generator.device, generator.dtype))
    if generator.cond is not None:
        generator = generator.select(_spread(generator.cond))
    objective = Objective(generator, z.new_zeros(_COUNT, generator.output_dim), domain, penalty)
    rows = torch.arange(_COUNT, device=z.device)
    mean = objective.normal_matrix(z, rows, coarse=objective.coarse).mean(0)
    scale = mean.diagonal().mean()
    return Metric(mean) if scale > 0 and scale.isfinite() else None


def _spread(cond: Tensor) -> Tensor:
    """Return rows whose conditions are spread over the distinct ones."""
    import torch

    _, inverse = torch.unique(cond, dim=0, return_inverse=True)
    n_distinct = int(inverse.max()) + 1
    first = inverse.new_full((n_distinct,), len(inverse))
    first.scatter_reduce_(0, inverse, torch.arange(len(inverse), device=inverse.device), "amin")
    return first[torch.arange(_COUNT, device=first.device) * n_distinct // _COUNT]
