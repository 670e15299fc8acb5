"""Data that lie on the device already: split and centered there, never copied to the host."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ... import _arrays
from .._sources import (
    COVARIANCE,
    ArraySource,
    ModelSource,
    check_fraction,
    check_size,
    is_covariance,
)
from .._sources import make_source as make_host_source

# Odd multipliers of the sums by which arrays are told apart.
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)


def make_source(data: Any, population_fraction: float, xp: ModuleType) -> ModelSource | ArraySource:
    """Return the source that fits ``data``; arrays on the device (CuPy's, torch's) stay there."""
    data = _arrays.detached(data)  # a tensor that wants gradients does not show its memory
    if _arrays.on_device(data):
        return DeviceSource(xp.asarray(data), population_fraction, xp)
    return make_host_source(data, population_fraction)


class DeviceSource(ArraySource):
    """Rows on the device of ``xp``; the order of a split is drawn on the host, as for a CPU."""

    def __init__(self, rows: Any, population_fraction: float, xp: ModuleType) -> None:
        if rows.dtype.kind not in "fiub":
            raise TypeError(f"data must be a numeric array (n_rows, d), got dtype {rows.dtype}")
        if rows.ndim != 2 or rows.shape[0] < 4 or rows.shape[1] < 1:
            raise ValueError(
                f"data must have shape (n_rows, d) with at least 4 rows, got {rows.shape}; "
                "flatten images with reshape(len(images), -1)"
            )
        check_fraction(population_fraction)
        rows = xp.ascontiguousarray(rows, dtype=np.float64)
        wrong = rows.size - int(xp.isfinite(rows).sum())
        if wrong:
            raise ValueError(
                f"data must be finite, got {wrong} NaN or infinite values; drop or impute such "
                "rows first"
            )
        if bool((rows == rows[0]).all()):
            raise ValueError(
                f"data must vary, got {len(rows)} identical rows: the covariance is zero"
            )
        check_size(float((rows.max(axis=0) - rows.min(axis=0)).max()), "data")
        if is_covariance(rows, xp):
            raise ValueError(COVARIANCE.format(len(rows)))
        self.xp = xp
        self._split(rows, population_fraction)

    def describe(self) -> str:
        """Shape and sums of the bits: what tells arrays apart without a copy to the host."""
        xp = self.xp
        bits = self.rows.ravel().view(np.uint64)
        odd = 2 * xp.arange(bits.size, dtype=np.uint64) + np.uint64(1)
        mixed = (bits ^ (bits >> np.uint64(29))) * odd
        sums = []
        for multiplier in map(np.uint64, _MULTIPLIERS):
            mixed = (mixed ^ (mixed >> np.uint64(32))) * multiplier
            sums.append(int(mixed.sum()))
        return f"array {self.rows.shape} on a device, sums {sums[0]:016x}{sums[1]:016x}"

    def draw(self, rng: np.random.Generator, n_samples: int) -> tuple[Any, Any]:
        """Return a factor C (q, d) of the population covariance and data X (d, n_samples)."""
        xp = self.xp
        order = rng.permutation(len(self.rows))
        population = self.rows[xp.asarray(order[: self.n_population])]
        mean = population.mean(axis=0)
        factor = (population - mean) / np.sqrt(len(population))
        if factor.shape[0] > factor.shape[1]:
            factor = xp.linalg.qr(factor, mode="r")
        if not bool(factor.any()):
            raise ValueError(
                "the population part of data is constant in this split; raise population_fraction"
            )
        chosen = order[self.n_population : self.n_population + n_samples]
        return factor, (self.rows[xp.asarray(chosen)] - mean).T
