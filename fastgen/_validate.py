"""Checks at the door: which argument, what was expected, what was found, what to do."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import _arrays


def integer(value: Any, name: str, *, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``, or raise naming the argument."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return int(value)


def positive_integers(values: Any, name: str) -> np.ndarray:
    """Return any iterable of positive integers as a sorted int64 array without duplicates."""
    if isinstance(values, numbers.Number):
        values = [values]
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(
            f"{name} must be positive integers, got {values!r}; pass for example range(1, 121)"
        )
    values = list(values)
    if not values:
        raise ValueError(f"{name} must hold at least one positive integer, got an empty sequence")
    for position, value in enumerate(values):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
        if not whole or not 1 <= value < 2**31:
            raise ValueError(
                f"{name} must be positive integers, got {value!r} at position {position}"
            )
    return np.unique(np.asarray(values, dtype=np.int64))


def number(value: Any, name: str, *, minimum: float = 0.0) -> float:
    """Return ``value`` as a finite float of at least ``minimum``."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    if not math.isfinite(float(value)) or float(value) < minimum:
        raise ValueError(f"{name} must be finite and at least {minimum:g}, got {value}")
    return float(value)


def one_of(value: Any, name: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise with a suggestion."""
    if isinstance(value, str) and value in choices:
        return value
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(repr(choice) for choice in choices)
    raise ValueError(f"{name} must be one of {listed}, got {value!r}{hint}")


def data_matrix(value: Any, name: str, *, minimum_rows: int = 2) -> np.ndarray:
    """Return ``value`` as a finite float64 array of shape (n_rows, n_features), on the host."""
    if type(value) is not np.ndarray:
        unmasked(value, name)
        value = _arrays.to_host(value, name)
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must be a numeric array (n_rows, n_features), got dtype {array.dtype}"
        )
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional (n_rows, n_features), got shape {array.shape}; "
            "flatten images with reshape(len(images), -1)"
        )
    if array.shape[0] < minimum_rows or array.shape[1] < 1:
        raise ValueError(
            f"{name} must have at least {minimum_rows} rows and one column, got shape {array.shape}"
        )
    array = np.ascontiguousarray(array, dtype=np.float64)
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"{name} must be finite, got {array[row, column]} at row {row}, column {column}; "
            "drop or impute such rows first"
        )
    return array


def samples(value: Any, name: str) -> Any:
    """Return what an estimator was given on the host, for scikit-learn's checks of the rest.

    Those would take dates for numbers, ignore masks, and know no tensors but plain ones.

    Raises
    ------
    TypeError
        For dates, masked arrays and tensors without values.
    """
    unmasked(value, name)
    for column, dtype in zip(
        getattr(value, "columns", ()), getattr(value, "dtypes", ()), strict=False
    ):
        if getattr(dtype, "kind", None) in ("M", "m"):
            raise TypeError(
                f"{name} must hold numbers, got dtype {dtype} in column {column!r}; drop it, or "
                "convert times to numbers of a unit of your choice"
            )
    return _arrays.to_host(value, name)


def unmasked(value: Any, name: str) -> None:
    """Raise for a masked array: NumPy's functions would take what is masked for data."""
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):
        raise TypeError(
            f"{name} must not be a masked array, got one; drop the masked rows, or impute them "
            "with filled, first"
        )


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows that `data_matrix` has returned, or some of them: nobody needs to check them again."""

    array: np.ndarray
