"""What the problems are given beside the data, and what they return."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _validate

METRICS = ("w2", "projection_error", "train_error", "gain")
# What every problem reports; closed forms leave out the last two, being converged in no steps.
ROWS = (*METRICS, "converged", "n_iter")
CLOSED_FORM = (1.0, 0.0)
# A direction whose size falls below this share of the largest does not count to a range.
RANK_TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the problems, checked as they are made; `fastgen.linear.sweep` explains each.

    Raises
    ------
    TypeError, ValueError
        For an option out of its range.
    """

    ridge: float = 0.1
    rank: int | None = None
    dtype: np.dtype = np.dtype(np.float64)  # noqa: RUF009  (immutable)
    weight: float = 10.0
    tol: float = 1e-9
    max_iter: int = 400

    def __post_init__(self) -> None:
        for name in ("ridge", "weight", "tol"):
            object.__setattr__(self, name, _validate.number(getattr(self, name), name))
        object.__setattr__(self, "max_iter", _validate.integer(self.max_iter, "max_iter"))
        if self.rank is not None:
            object.__setattr__(self, "rank", _validate.integer(self.rank, "rank"))
        name = _validate.one_of(_dtype_name(self.dtype), "dtype", ("float64", "float32"))
        object.__setattr__(self, "dtype", np.dtype(name))


def _dtype_name(dtype: Any) -> Any:
    """Name of a dtype, or what was given if it is none."""
    return dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
