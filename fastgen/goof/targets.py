"""Targets at the door: shape, kind, finiteness, range."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .generators import Adapter

if TYPE_CHECKING:
    from torch import Tensor


def row_count(X: Any) -> int:
    """Return the number of rows of X, of which there must be one."""
    shape = getattr(X, "shape", None)
    shape = np.shape(X) if shape is None else tuple(shape)
    if len(shape) < 2 or shape[0] < 1:
        raise ValueError(f"X must have shape (n, ...) with at least one row, got {tuple(shape)}")
    return int(shape[0])


def as_targets(X: Any, generator: Adapter) -> tuple[Tensor, Tensor]:
    """Return X as checked tensors (n, d) on the generator's device: in its dtype, in float64."""
    import torch

    if isinstance(X, torch.Tensor):
        tensor = X.detach()
    else:
        array = np.asarray(X)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"X must be a numeric array (n, ...), got dtype {array.dtype}")
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    n, shape = row_count(X), tuple(tensor.shape[1:])
    expected = generator.output_shape
    plain = [tuple(size for size in sizes if size != 1) for sizes in (shape, expected)]
    if plain[0] != plain[1] and shape != (generator.output_dim,):
        raise ValueError(
            f"X must have rows of shape {expected}, what the generator returns, or flattened "
            f"{(generator.output_dim,)}, got {shape}"
        )
    if generator.cond is not None and len(generator.cond) != n:
        raise ValueError(f"cond must have a row per row of X, {n}, got {len(generator.cond)}")
    wide = tensor.reshape(n, -1).to(generator.device, torch.float64)
    rows = wide.to(generator.dtype)
    finite = rows.isfinite().all(1)
    if not finite.all():
        bad = int((~finite).nonzero()[0])
        raise ValueError(
            f"X must be finite, got NaN or infinity in row {bad}; drop such rows first"
        )
    return rows, wide


def warn_of_range(member: Any, targets: Tensor) -> None:
    """Warn where targets lie outside what the last layer can return: a matter of scaling."""
    import torch

    if not isinstance(member, torch.nn.Module):
        return
    last = type(list(member.modules())[-1]).__name__
    if last not in ("Tanh", "Sigmoid"):
        return
    low, high = (-1.0, 1.0) if last == "Tanh" else (0.0, 1.0)
    least, most = targets.min().item(), targets.max().item()
    if least < low - 1e-3 or most > high + 1e-3:
        warnings.warn(
            f"X reaches from {least:.3g} to {most:.3g}, but the generator ends in {last}, which "
            f"returns values from {low:g} to {high:g}; scale X to that range",
            UserWarning,
            stacklevel=4,
        )
