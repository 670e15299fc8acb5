"""What a run draws: derived at every step from the seed and the count, so that no state is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _validate
from .sharing import Place

_PURPOSES = (
    "latents", "second", "labels", "mix", "rows", "pair rows", "global", "generator latents",
    "generator labels",
)  # fmt: skip
_EPOCHS, PAIRS, FIXED, _STEP = range(4)

Prior = Callable[[int, torch.Generator], Any]


def source(seed: int, *path: int) -> torch.Generator:
    """Return a generator of random numbers derived from a seed and a path of integers."""
    child = np.random.SeedSequence(seed, spawn_key=path)
    return torch.Generator().manual_seed(int(child.generate_state(1, np.uint64)[0] >> 1))


class StepDraws:
    """Generators of one step, each derived from the seed, the step and a purpose."""

    def __init__(self, seed: int, step: int, repeat: int) -> None:
        child = np.random.SeedSequence(seed, spawn_key=(_STEP, step, repeat))
        self._states = child.generate_state(len(_PURPOSES), np.uint64) >> np.uint64(1)
        self._generator = torch.Generator()

    def seed(self, purpose: str) -> int:
        """Return the seed of a purpose."""
        return int(self._states[_PURPOSES.index(purpose)])

    def __getitem__(self, purpose: str) -> torch.Generator:
        return self._generator.manual_seed(self.seed(purpose))


class Order:
    """In which order rows are seen: every row once an epoch, or at random by weights.

    Parameters
    ----------
    n_rows : int
    seed : int
    weights : ndarray (n_rows,), optional
        Rows are drawn with replacement, with probabilities proportional to them.
    path : int, default _EPOCHS
        Tells orders of one seed apart.
    """

    def __init__(
        self, n_rows: int, seed: int, weights: np.ndarray | None = None, path: int = _EPOCHS
    ) -> None:
        self.n_rows, self.seed, self.path = n_rows, seed, path
        self._cumulated = None if weights is None else torch.from_numpy(np.cumsum(weights))
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.long)

    def rows(self, start: int, count: int, draws: torch.Generator | None = None) -> Tensor:
        """Return rows (count,) after ``start`` rows have been seen."""
        if self._cumulated is not None:
            uniform = torch.rand(count, dtype=torch.float64, generator=draws)
            total = self._cumulated[-1]
            found = torch.searchsorted(self._cumulated, uniform * total, right=True)
            return found.clamp_(max=self.n_rows - 1)
        parts, end = [], start + count
        while start < end:
            epoch, inside = divmod(start, self.n_rows)
            if epoch != self._epoch:
                generator = source(self.seed, self.path, epoch)
                self._permutation = torch.randperm(self.n_rows, generator=generator)
                self._epoch = epoch
            taken = min(end - start, self.n_rows - inside)
            parts.append(self._permutation[inside : inside + taken])
            start += taken
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def latent_prior(prior: Any, latent_dim: int, dtype: torch.dtype) -> Prior:
    """Return a function of a count and a generator that draws latents (count, latent_dim).

    Parameters
    ----------
    prior : {"normal", "uniform", "whitened"}, callable or object with ``sample``
        "uniform" is on [-1, 1]; "whitened" is normal with second moments of the batch exactly one;
        a callable is called with a count and a torch generator; ``sample(n, random_state)`` with a
        NumPy generator is that of mixtures and estimators.
    latent_dim : int
    dtype : torch.dtype

    Raises
    ------
    ValueError, TypeError
        For anything else.
    """
    if callable(getattr(prior, "sample", None)):

        def sampled(count: int, generator: torch.Generator) -> Any:
            seed = int(torch.randint(2**62, (), generator=generator))
            found = prior.sample(count, random_state=np.random.default_rng(seed))
            return found[0] if isinstance(found, tuple) else found

        return _checked(sampled, latent_dim, dtype)
    if callable(prior):
        return _checked(prior, latent_dim, dtype)
    _validate.one_of(prior, "prior", ("normal", "uniform", "whitened"))

    def drawn(count: int, generator: torch.Generator) -> Tensor:
        if prior == "uniform":
            return torch.rand(count, latent_dim, dtype=dtype, generator=generator) * 2 - 1
        z = torch.randn(count, latent_dim, dtype=dtype, generator=generator)
        if prior == "whitened":
            if count < latent_dim:
                raise ValueError(
                    f"batch_size must be at least latent_dim, {latent_dim}, for whitened latents, "
                    f"got {count}"
                )
            z = torch.linalg.qr(z).Q * count**0.5
        return z

    return drawn


def _checked(prior: Callable[..., Any], latent_dim: int, dtype: torch.dtype) -> Prior:
    def drawn(count: int, generator: torch.Generator) -> Tensor:
        z = torch.as_tensor(prior(count, generator)).to(dtype)
        if z.shape != (count, latent_dim):
            raise ValueError(
                f"prior must return latents ({count}, {latent_dim}), got {tuple(z.shape)}"
            )
        return z

    return drawn


def share(tensor: Tensor, where: Place, n_members: int) -> Tensor:
    """Return the part of a process of rows (K B, ...): the same share of every member's block."""
    if where.size == 1:
        return tensor
    blocks = tensor.unflatten(0, (n_members, where.size, -1))
    return blocks[:, where.rank].flatten(0, 1)
