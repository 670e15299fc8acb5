"""Iterated local search: restarts from perturbed latents around the best found so far.

Where the nearest latents of data lie far outside the prior, further starts from the prior do not
help; restarts near the best do. A chain belongs to four starts and begins at the best of them. Each
round it draws a few latents around its incumbent, races them by L-BFGS, and moves to the best if
that is nearer. How far it draws is learned from what has paid off for this chain.

Two chains of eight consecutive starts are a pair. They know nothing of each other, so a point to
which both have come is better founded than that of either, and the pair rests there. What a pair
does depends on no later start, and its first rounds do not depend on how many follow: more starts,
and more rounds, can only lower a distance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import domains
from . import lbfgs

if TYPE_CHECKING:
    from torch import Tensor

    from ..generators import Adapter
    from .objective import Objective
    from .pairs import Outcome

_STARTS = 4  # of a chain
_MOST_PAIRS = 4
COUNT = 4  # restarts of a chain and round
# Sizes of the perturbations of a round, in units of the size that the chain has learned.
_SIZES = (0.5, 0.7, 1.0, 1.4)
_FIRST, _SMALLEST, _LARGEST = 0.5, 0.02, 2.0  # sizes, in units of the prior
_SHRINK = 0.8  # of the size, after a round that gained nothing
_GAIN = 1e-3  # share of the squared distance that counts as a gain
# A pair has met where the squared distances differ by less than the first share, and that between
# the two points is less than the second.
SAME, _SAME_POINT = 1e-3, 1e-2
# Share of the target's square below which the nearest point is the target itself.
_SOLVED = 1e-9
_TOL = 1e-5  # as for ``lbfgs.solve``


class Heat(NamedTuple):
    """A part of a race: when it ends, and which go on."""

    gradients: int
    """Gradients per start from the beginning of the race to the end of this heat."""
    damping: float
    """Share of the identity in the metric: see ``Metric.inverse``."""
    survivors: int
    """Starts of a target, or restarts of a chain, that go on."""


HEATS = (Heat(10, 0.3, 2), Heat(40, 0.1, 1), Heat(120, 0.03, 1))


@dataclasses.dataclass(frozen=True)
class Restarts:
    """What all targets share.

    Attributes
    ----------
    noise : Tensor (n_chains, n_rounds, COUNT, k)
        Standard normal directions of the restarts.
    scale : float
        Root mean square of a coordinate of the prior.
    rounds : tuple of int
        As in `Effort`.
    heats : tuple of Heat
        The race of each round.
    """

    noise: Tensor
    scale: float
    rounds: tuple[int, ...]
    heats: tuple[Heat, ...] = HEATS


def draw(
    generator: Adapter,
    prior: str | Callable,
    seed: int,
    n_starts: int,
    rounds: tuple[int, ...],
) -> Restarts | None:
    """Return the restarts of a search, None where there are too few starts for a pair of chains.

    The directions of a chain and round do not depend on how many chains and rounds there are.
    """
    import torch

    count, k = _n_chains(n_starts), generator.latent_dim
    if not count:
        return None
    noise = [
        np.random.default_rng([seed, 2, chain]).standard_normal((rounds[-1], COUNT, k))
        for chain in range(count)
    ]
    typical = domains.draw(prior, 64, k, np.random.default_rng([seed, 3]))
    directions = torch.from_numpy(np.stack(noise)).to(generator.device, generator.dtype)
    return Restarts(directions, float(np.sqrt((typical**2).mean())), rounds)


def _n_chains(n_starts: int) -> int:
    return 2 * min(n_starts // (2 * _STARTS), _MOST_PAIRS)


class Chains:
    """Chains of a chunk of targets.

    Parameters
    ----------
    starts : Tensor (n, s, k)

    Attributes
    ----------
    z : Tensor (n, c, k)
        Incumbents.
    value : Tensor (n, c)
        Their squared distances, infinite where nothing was found.
    met : Tensor (n, c / 2)
        Whether the two of a pair have come to the same point.
    """

    def __init__(self, starts: Tensor) -> None:
        n, s, k = starts.shape
        c = _n_chains(s)
        self.z, self.value = starts.new_zeros(n, c, k), starts.new_full((n, c), float("inf"))
        self.met = self.value.new_zeros((n, c // 2)).bool()
        self._size = self.value.new_full((n, c), _FIRST)
        self._round = 0

    def keep(self, z: Tensor, squared: Tensor, rows: Tensor, columns: Tensor) -> None:
        """Take what the starts ``columns`` of targets ``rows`` have come to, where it is nearer."""
        import torch

        n, c = self.value.shape
        if not c:
            return
        mine = columns < _STARTS * c
        z, squared, rows, columns = z[mine], squared[mine], rows[mine], columns[mine]
        table = self.value.new_full((n, _STARTS * c), float("inf"))
        place = torch.zeros_like(table, dtype=torch.int64)
        table[rows, columns] = squared
        place[rows, columns] = torch.arange(len(rows), device=rows.device)
        least, won = table.unflatten(1, (c, _STARTS)).min(2)
        better = least < self.value
        source = place.unflatten(1, (c, _STARTS)).gather(2, won[:, :, None]).squeeze(2)
        self.z[better], self.value[better] = z[source[better]], least[better]

    def nearest(self) -> tuple[Tensor, Tensor]:
        """Return the least squared distances (n, c / 2) of the pairs, and of which chains."""
        import torch

        value, which = self.value.unflatten(1, (-1, 2)).min(2)
        return value, 2 * torch.arange(value.shape[1], device=value.device) + which

    def move(self, z: Tensor, squared: Tensor, rows: Tensor, chain: Tensor) -> None:
        """Move incumbents (one a row) to latents where those are nearer."""
        better = (squared < self.value[rows, chain]).nonzero().squeeze(1)
        at = (rows[better], chain[better])
        self.z[at], self.value[at] = z[better], squared[better]

    def run(self, objective: Objective, restarts: Restarts, last: int) -> None:
        """Go on until round ``last``; targets and pairs that are done take no work."""
        import torch

        scale = restarts.scale
        factors = self.value.new_tensor(_SIZES)
        solved = (_SOLVED * objective.targets.square().sum(1)).clamp(min=objective.floor)
        self._look(objective)
        for number in range(self._round, last):
            # of this pair or an earlier one: a pair must not depend on later starts
            least = self.nearest()[0].cummin(1).values
            resting = (self.met | (least <= solved[:, None])).repeat_interleave(2, 1)
            rows, chain = (~resting & self.value.isfinite()).nonzero(as_tuple=True)
            if not len(rows):
                break
            size, before = self._size[rows, chain], self.value[rows, chain]
            moves = (scale * size[:, None] * factors)[:, :, None] * restarts.noise[chain, number]
            places = (self.z[rows, chain, None] + moves).flatten(0, 1)
            found, squared = _race(objective, places, rows, restarts.heats)
            least, won = squared.min(1)
            winners = torch.arange(len(rows), device=rows.device) * COUNT + won
            self.move(found.z[winners], least, rows, chain)
            paid = least < (1 - _GAIN) * before
            learned = torch.where(paid, size * factors[won], size * _SHRINK)
            self._size[rows, chain] = learned.clamp(_SMALLEST, _LARGEST)
            self._look(objective)
        self._round = last

    def _look(self, objective: Objective) -> None:
        """Mark the pairs that are at the same point."""
        import torch

        first, second = self.value.unflatten(1, (-1, 2)).unbind(2)
        least, most = torch.minimum(first, second), torch.maximum(first, second)
        close = most.isfinite() & (most - least <= SAME * most) & ~self.met
        rows, pair = close.nonzero(as_tuple=True)
        if len(rows):
            one, other = (
                objective.generator(self.z[rows, 2 * pair + which], rows) for which in (0, 1)
            )
            apart = (one - other).square().sum(1)
            self.met[rows, pair] = apart <= _SAME_POINT * least[rows, pair]


def _race(
    objective: Objective, z: Tensor, rows: Tensor, heats: tuple[Heat, ...]
) -> tuple[Outcome, Tensor]:
    """Race the restarts (P * COUNT, k) of P chains; return the outcome and distances (P, COUNT)."""
    import torch

    owner = rows.repeat_interleave(COUNT)
    descent = lbfgs.Descent(objective, z, owner, damping=heats[0].damping)
    alive, done = torch.ones(len(z), dtype=torch.bool, device=z.device), 0
    for gradients, damping, survivors in heats:
        descent.damp(damping)
        found, done = descent.run(gradients - done, _TOL), gradients
        squared = found.value
        if objective.penalty:
            squared = objective.squared_distance(found.z, owner)
        table = squared.where(alive, squared.new_tensor(float("inf"))).reshape(-1, COUNT)
        rank = table.argsort(dim=1, stable=True).argsort(dim=1).reshape(-1)
        ahead = rank < survivors
        descent.drop(alive & ~ahead)
        alive = alive & ahead
    return found, squared.reshape(-1, COUNT)
