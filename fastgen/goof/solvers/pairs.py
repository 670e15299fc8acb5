"""What all solvers share: the outcome of (latent, target) pairs and the set of unfinished ones."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..status import Status

if TYPE_CHECKING:
    from torch import Tensor

    from .objective import Objective


@dataclasses.dataclass
class Outcome:
    """Best latents (P, k) found, their objective (P,), status (P,) and number of steps (P,)."""

    z: Tensor
    value: Tensor
    status: Tensor
    n_iter: Tensor


class Pairs:
    """State of the unfinished pairs; what is finished is filed away and takes no more work.

    Solvers keep their per-pair tensors in ``state``, which is compacted together with the pairs.

    Parameters
    ----------
    objective : Objective
    z : Tensor (P, k)
        Starts, projected into the domain here.
    rows : Tensor (P,)
        Targets of the pairs.
    """

    def __init__(self, objective: Objective, z: Tensor, rows: Tensor) -> None:
        import torch

        self.objective = objective
        self.z, self.rows = objective.domain.project(z), rows
        self.state: dict[str, Any] = {}
        self.done = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        self._index = torch.arange(len(z), device=z.device)
        self._outcome = Outcome(
            self.z.clone(),
            torch.full((len(z),), float("inf"), dtype=z.dtype, device=z.device),
            torch.full((len(z),), Status.MAX_ITER, dtype=torch.int8, device=z.device),
            torch.zeros(len(z), dtype=torch.int64, device=z.device),
        )

    def __len__(self) -> int:
        return len(self.z)

    def start(self, value: Tensor, *, coarse: bool = False) -> None:
        """File the objective at the starts; starts where it is not finite have failed.

        ``coarse`` says that ``value`` is not exact, so that nothing is found from it.
        """
        self.value = value
        self._outcome.value.copy_(value)
        self.finish(~value.isfinite(), Status.FAILED)
        if not coarse:
            self.finish(value <= self.objective.floor[self.rows], Status.EXACT)

    def drop(self, which: Tensor) -> None:
        """Give up pairs, a mask over those of the start; what they found is kept."""
        self.done = self.done | which[self._index]

    def finish(self, which: Tensor, status: Status) -> None:
        """Mark unfinished pairs ``which`` (a mask) as finished."""
        new = which & ~self.done
        if new.any():
            self._outcome.status[self._index[new]] = int(status)
            self.done = self.done | new

    def accept(self, better: Tensor, z: Tensor, value: Tensor) -> None:
        """Move the pairs ``better`` (a mask) to ``z``, where the objective is ``value``."""
        self.z = z.where(better[:, None], self.z)
        self.value = value.where(better, self.value)
        self.finish(better & (value <= self.objective.floor[self.rows]), Status.EXACT)

    def count_step(self) -> None:
        """Count one step of each pair; after `compact`, when all are unfinished."""
        self._outcome.n_iter[self._index] += 1

    def compact(self) -> bool:
        """File the finished pairs, keep the others; return whether any are left."""
        if self.done.any():
            self._file()
            keep = (~self.done).nonzero().squeeze(1)
            self.z, self.rows, self.value = self.z[keep], self.rows[keep], self.value[keep]
            self._index, self.done = self._index[keep], self.done[keep]
            self.state = {name: tensor[keep] for name, tensor in self.state.items()}
        return len(self.z) > 0

    def _file(self) -> None:
        self._outcome.z[self._index] = self.z
        self._outcome.value[self._index] = self.value

    def outcome(self) -> Outcome:
        """Return the outcome of all pairs."""
        self._file()
        return self._outcome
