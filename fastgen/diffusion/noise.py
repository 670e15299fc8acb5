"""Noise of which every row has its own seed, so that batches do not change it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Numbers that a row draws at once.
_AHEAD = 1024


class RowNoise:
    """Standard noise for a batch, row by row from seeds of their own.

    Parameters
    ----------
    seeds : sequence of SeedSequence (B,)
    like : tensor (B, ...)
        What the noise is added to: its shape, precision and device.
    """

    def __init__(self, seeds: Sequence[np.random.SeedSequence], like: Tensor) -> None:
        self._rows = [np.random.Generator(np.random.SFC64(seed)) for seed in seeds]
        self._like = like
        size = like[0].numel()
        self._count = max(1, _AHEAD // size)
        double = like.dtype == torch.float64
        self._dtype: type = np.float64 if double else np.float32
        self._ahead = np.empty((len(seeds), self._count, size), self._dtype)
        self._used = self._count

    def draw(self) -> Tensor:
        """Return fresh noise of the shape of the batch, to be used before the next is drawn."""
        if self._used == self._count:
            for row, ahead in zip(self._rows, self._ahead, strict=True):
                row.standard_normal(out=ahead, dtype=self._dtype)
            self._used = 0
        part = torch.from_numpy(self._ahead[:, self._used])
        self._used += 1
        return part.reshape(self._like.shape).to(self._like)
