"""Targets of a search, checked once at the door: behind it nothing sees what the user gave."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays
from .._warnings import warn
from .bounds import check_scale

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .generators import Adapter

_BLOCK = 2**24  # values converted to float64 at once
# What torch lacks, or has for storage only, and what holds it.
_WIDER = {
    np.dtype(np.longdouble).char: np.float64,
    np.dtype(np.uint16).char: np.int32,
    np.dtype(np.uint32).char: np.int64,
    np.dtype(np.ulonglong).char: np.float64,
    np.dtype(np.uint64).char: np.float64,
}


class Targets:
    """Rows whose nearest points are searched, with what belongs to each of them.

    Parameters
    ----------
    X : array or tensor (n, ...)
        As the user gave it.
    cond : array (n, ...), optional
        Conditions, row by row.
    init : array (n, k) or (n, s, k), or encoder, optional
        Starts, row by row, or a function of X.

    Attributes
    ----------
    rows : ndarray (n, d)
        The values in their own precision, on the host; those of X itself where they can be.
    shape : tuple of int
        Shape of X.
    cond, init
        As given; arrays for NumPy, tensors as they are.

    Raises
    ------
    TypeError, ValueError
        If X is not numeric, not finite, masked or without rows, or ``cond`` has not a row for each
        of its rows.
    """

    def __init__(self, X: Any, cond: Any = None, init: Any = None) -> None:
        self._given = X.detach() if _arrays.is_tensor(X) else None
        array = native(X, "X")
        if array.ndim < 2 or not len(array):
            raise ValueError(f"X must have shape (n, ...) with at least one row, got {array.shape}")
        self.shape = array.shape
        self.rows = array.reshape(len(array), -1)
        _check_finite(self.rows)
        check_scale(self.rows)
        self.cond = None if cond is None else _listed(cond)
        self.init = init if init is None or callable(init) else _listed(init)
        if self.init is not None and not callable(self.init) and len(self.init) != len(self):
            raise ValueError(
                f"init must have shape ({len(self)}, k) or ({len(self)}, n_starts, k), with a row "
                f"per row of X, or be an encoder, got shape {tuple(self.init.shape)}"
            )
        if self.cond is not None and self.cond.ndim and len(self.cond) != len(self):
            raise ValueError(
                f"cond must have a row per row of X, {len(self)}, got {len(self.cond)}"
            )
        self._made: dict[tuple, Tensor] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def double(self) -> bool:
        """Whether X is of float64: a callable without weights is then called in float64 too."""
        return self.rows.dtype == np.float64

    @property
    def exact(self) -> np.ndarray:
        """The rows (n, d) in float64."""
        return self.rows.astype(np.float64, copy=False)

    def take(self, index: np.ndarray) -> Targets:
        """Return some of the targets, each with its condition and its starts."""
        part = object.__new__(Targets)
        part._given = None if self._given is None else self._given[index]
        part.rows = self.rows[index]
        part.shape = (len(part.rows), *self.shape[1:])
        part.cond = None if self.cond is None else self.cond[index]
        part.init = self.init if self.init is None or callable(self.init) else self.init[index]
        part._made = {}
        return part

    def given(self) -> Any:
        """Return the rows in the shape of X: a tensor if X was one."""
        return self.rows.reshape(self.shape) if self._given is None else self._given

    def on(self, generator: Adapter) -> Tensor:
        """Return the rows (n, d) as the solvers want them: on its device, in its precision.

        Kept for the next member of a mixture that wants the same.

        Raises
        ------
        ValueError
            If the rows are not of the size that the generator returns, or overflow its precision.
        """
        check_rows(self.shape[1:], generator.output_shape)
        return self.as_tensor(generator.dtype, generator.device)

    def as_tensor(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the rows (n, d) in a precision, on a device."""
        key = (dtype, device)
        if key not in self._made:
            source = self._given
            if source is None:
                source = _arrays.to_tensor(self.rows)
            tensor = source.reshape(len(self), -1).to(device, dtype)
            if source.dtype != dtype and not tensor.isfinite().all():
                _check_finite(tensor.cpu().numpy(), f" in {dtype}")
            self._made = {key: tensor}
        return self._made[key]

    def squared_distances(self, outputs: np.ndarray) -> np.ndarray:
        """Return squared distances (n,) in float64 to outputs (n, d); infinite where not finite."""
        found = np.empty(len(self))
        step = max(1, _BLOCK // max(self.rows.shape[1], 1))
        for start in range(0, len(self), step):
            some = slice(start, start + step)
            residual = outputs[some].astype(np.float64) - self.rows[some]
            found[some] = (residual**2).sum(axis=1)
        found[~np.isfinite(found)] = np.inf
        return found


def native(value: Any, name: str) -> np.ndarray:
    """Return numbers as a NumPy array of a type that torch has too.

    Bytes in the other order, long doubles and unsigned integers of more than a byte are converted,
    those of 64 bits and long doubles to float64.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If some are masked.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise ValueError(
            f"{name} must not be masked, got {int(np.ma.getmaskarray(value).sum())} masked values; "
            "fill them or drop their rows"
        )
    array = _arrays.to_numpy(value, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be a numeric array (n, ...), got dtype {array.dtype}")
    wider = _WIDER.get(array.dtype.newbyteorder("=").char)
    return array.astype(wider or array.dtype.newbyteorder("="), copy=False)


def _listed(value: Any) -> Any:
    """Return rows that can be picked by an array of positions."""
    return value.detach() if _arrays.is_tensor(value) else _arrays.to_numpy(value)


def _check_finite(rows: np.ndarray, where: str = "") -> None:
    """Raise naming the first row that is not finite; a sum tells in one pass that all are."""
    if rows.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(rows.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(
            f"X must be finite{where}, got NaN or infinity in row {int(np.argmax(bad))}; drop such "
            "rows first"
        )


def check_rows(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise unless rows of ``shape`` are what a generator returns, up to flattening."""
    plain, wanted = (tuple(size for size in sizes if size != 1) for sizes in (shape, expected))
    size = math.prod(expected)
    if plain == wanted or (math.prod(shape) == size and min(len(plain), len(wanted)) <= 1):
        return
    remedy = ""
    if sorted(plain) == sorted(wanted):
        remedy = "; the axes are in another order: transpose X (channels first is (n, c, h, w))"
    raise ValueError(
        f"X must have rows of shape {expected}, what the generator returns, or flattened "
        f"{(size,)}, got {shape}{remedy}"
    )


def warn_of_range(member: Any, targets: Targets) -> None:
    """Warn where targets lie outside what the last layer can return: a matter of scaling."""
    if not hasattr(member, "modules"):
        return
    last = type(list(member.modules())[-1]).__name__
    if last not in ("Tanh", "Sigmoid"):
        return
    low, high = (-1.0, 1.0) if last == "Tanh" else (0.0, 1.0)
    least, most = float(targets.rows.min()), float(targets.rows.max())
    if least < low - 1e-3 or most > high + 1e-3:
        warn(
            f"X reaches from {least:.3g} to {most:.3g}, but the generator ends in {last}, which "
            f"returns values from {low:g} to {high:g}; scale X to that range"
        )
