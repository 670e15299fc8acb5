"""The mean of ``J^T J`` over a generator's prior: curvature shared by all searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from . import _starts
from ._objective import Objective

if TYPE_CHECKING:
    from torch import Tensor

# Latents averaged over. The mean settles long before it has the rank of a single normal matrix.
_COUNT = 16
_LARGEST = 256  # latent coordinates; beyond, tangents cost more than the pool of starts


class Metric:
    """A symmetric positive semidefinite matrix (k, k), and its inverses for several dampings."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self._inverses: dict[float, Tensor | None] = {}

    def inverse(self, damping: float) -> Tensor | None:
        """Return the inverse with ``damping`` times its mean diagonal added, None if singular."""
        if damping not in self._inverses:
            self._inverses[damping] = _inverse(self._matrix, damping)
        return self._inverses[damping]


def _inverse(matrix: Tensor, damping: float) -> Tensor | None:
    import torch

    damped = matrix.clone()
    damped.diagonal().add_(damping * matrix.diagonal().mean())
    factor, info = torch.linalg.cholesky_ex(damped)
    return None if info else torch.cholesky_inverse(factor)


def typical_metric(
    objective: Objective, prior: str | Callable, rng: np.random.Generator
) -> Metric | None:
    """Return the mean over latents of the prior, or None where it says nothing.

    It depends on the generator, the prior and the seed only: a target's search is the same
    whatever its batch mates.
    """
    import torch

    generator = objective.generator
    k = generator.latent_dim
    if k > _LARGEST:
        return None
    z = torch.from_numpy(_starts.draw(prior, _COUNT, k, rng))
    z = objective.domain.project(z.to(generator.device, generator.dtype))
    mean = objective.normal_matrix(z, _conditions(generator), coarse=objective.coarse, count=False)
    mean = mean.mean(0)
    scale = mean.diagonal().mean()
    return Metric(mean) if scale > 0 and scale.isfinite() else None


def _conditions(generator) -> Tensor:
    """Return rows of ``generator.cond`` whose conditions are spread over the distinct ones."""
    import torch

    if generator.cond is None:
        return torch.zeros(_COUNT, dtype=torch.int64, device=generator.device)
    _, inverse = torch.unique(generator.cond, dim=0, return_inverse=True)
    n_distinct = int(inverse.max()) + 1
    first = inverse.new_full((n_distinct,), len(inverse))
    first.scatter_reduce_(0, inverse, torch.arange(len(inverse), device=inverse.device), "amin")
    return first[torch.arange(_COUNT, device=first.device) * n_distinct // _COUNT]
