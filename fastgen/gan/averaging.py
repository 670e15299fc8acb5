"""Exponential moving average of weights, counted in images."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .. import _validate


class Average:
    """Exponential moving average of a generator, with a half-life in images that grows at first."""

    def __init__(self, generator: nn.Module, half_life: float, warmup: float) -> None:
        self.half_life = _validate.number(half_life, "ema")
        self.warmup = _validate.number(warmup, "ema_warmup")
        self.generator = generator
        self.module = copy.deepcopy(generator).eval().requires_grad_(False)
        self._mine = list(self.module.parameters())
        self._theirs = list(generator.parameters())
        self._buffers = list(zip(self.module.buffers(), generator.buffers(), strict=True))

    @torch.no_grad()
    def update(self, images: int, batch_size: int) -> None:
        """Take in the weights after a step that ended at so many images."""
        half_life = self.half_life
        if self.warmup > 0:
            half_life = min(half_life, self.warmup * images)
        decay = 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0
        get_ema_multi_avg_fn(decay)(self._mine, self._theirs, None)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
