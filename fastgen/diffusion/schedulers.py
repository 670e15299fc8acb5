"""Local sampling by the steps of a scheduler of diffusers, which is never imported."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .denoiser import output_of
from .steps import Strength, evenly


class Scheduled:
    """The steps of a scheduler from a strength down to the clean sample.

    Parameters
    ----------
    network : callable
        What the scheduler's model is: called with scaled noisy samples and times (B,).
    scheduler : object
        Copied, for it counts its steps.
    levels : float64 array (T,)
        Noise levels of its training steps.
    strength : Strength
    steps : int or None
        Steps of the way back; all of the schedule if None.
    eta : float
        Handed to schedulers that take it.

    Attributes
    ----------
    levels : float64 array
        Noise levels that the steps begin with, and 0.
    strength : Strength
        Where the first step begins: what is noised to.
    drew : bool
        Whether a step has drawn noise so far.

    Raises
    ------
    ValueError
        If no step is left to take.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        scheduler: Any,
        levels: np.ndarray,
        strength: Strength,
        steps: int | None,
        eta: float,
    ) -> None:
        assert strength.t is not None
        self._network, self._scheduler, self._eta = network, scheduler, eta
        self._indices: list[int] | None = None
        count = len(levels)
        if hasattr(scheduler, "custom_timesteps"):
            self._indices = evenly(strength.t, steps).tolist()
        self._count = count if steps is None else max(1, round(steps * count / strength.t))
        timesteps = torch.as_tensor(self._fresh().timesteps)
        order = getattr(scheduler, "order", 1)
        times = np.asarray(timesteps, dtype=np.float64)
        below = np.flatnonzero(times[::order] <= strength.t - 1)
        if not len(below):
            raise ValueError(
                f"the scheduler has no step at {strength.t - 1} or below among {len(times)}; pass "
                "a greater strength, or more steps"
            )
        self._begin = int(below[0]) * order
        times = times[self._begin :]
        used = np.interp(times, np.arange(count), levels)
        self.levels = np.append(used, 0.0)
        first = float(times[0])
        self.strength = Strength(round(first) + 1, (first + 1) / count, float(used[0]))
        self.drew = False

    def _fresh(self) -> Any:
        scheduler = copy.deepcopy(self._scheduler)
        if self._indices is not None:
            scheduler.set_timesteps(timesteps=self._indices)
        else:
            scheduler.set_timesteps(self._count)
        return scheduler

    def run(
        self,
        x: Tensor,
        noise: Tensor,
        seeds: Sequence[np.random.SeedSequence],
        kwargs: Mapping[str, Any],
    ) -> Tensor:
        """Return samples near ``x``.

        Parameters
        ----------
        x, noise : tensor (B, ...)
        seeds : sequence of SeedSequence (B,)
            Each row's, for schedulers that draw.
        kwargs : mapping
            Keyword arguments of the network.

        Returns
        -------
        tensor (B, ...)

        Raises
        ------
        ValueError
            If the network returns NaN or infinity.
        """
        scheduler = self._fresh()
        timesteps = torch.as_tensor(scheduler.timesteps)[self._begin :]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(self._begin)
        rows = [
            torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
            for seed in seeds
        ]
        before = rows[0].get_state()
        known = inspect.signature(scheduler.step).parameters
        options = {"eta": self._eta, "generator": rows}
        options = {name: value for name, value in options.items() if name in known}
        y = scheduler.add_noise(x, noise, timesteps[:1].to(x.device).repeat(len(x)))
        for time in timesteps:
            seen = scheduler.scale_model_input(y, time)
            told = output_of(self._network(seen, time.to(x.device).expand(len(x)), **kwargs))
            if not bool(torch.isfinite(told.sum(dtype=torch.float64))):
                raise ValueError(
                    f"the model returned NaN or infinity at step {float(time):g}; it may have "
                    "diverged in training, or need float32 instead of half precision"
                )
            y = scheduler.step(told, time, y, **options).prev_sample.to(x.dtype)
        self.drew = self.drew or not torch.equal(before, rows[0].get_state())
        return y
