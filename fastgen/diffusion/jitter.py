"""Gaussian jitter: the control beside which local sampling has to show what it is good for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _arrays, _random
from .noise import RowNoise


def jitter(x: Any, rms: float, n_copies: int, random_state: Any) -> Any:
    """Return copies of images with Gaussian noise, each with a seed of its own.

    Parameters
    ----------
    x : array or tensor (n, ...)
    rms : float
        Standard deviation of the noise: the root-mean-square distance of the copies, per entry.
    n_copies : int
    random_state : int, Generator, SeedSequence or None

    Returns
    -------
    array or tensor (n, n_copies, ...)
        As ``x`` was given.
    """
    images = _arrays.to_tensor(x, "x")
    flat = images.repeat_interleave(n_copies, 0)
    noise = RowNoise(_random.seed_sequence(random_state).spawn(len(flat)), flat).draw()
    made = torch.add(flat, noise, alpha=rms).unflatten(0, (len(images), n_copies))
    return made if isinstance(x, Tensor) else made.numpy()
