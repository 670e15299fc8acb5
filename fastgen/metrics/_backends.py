"""Which library the arrays belong to."""

from __future__ import annotations

from typing import Any

from ._factors import CovarianceFactor


def backend(*values: Any) -> str:
    """Return "torch", "cupy" or "numpy"; torch and CuPy together are refused."""
    found = {_library(value) for value in values} - {None}
    if len(found) > 1:
        raise TypeError(
            "arrays must all be torch tensors or all CuPy arrays, got both; convert one with "
            "torch.from_dlpack"
        )
    return found.pop() if found else "numpy"


def _library(value: Any) -> str | None:
    if isinstance(value, CovarianceFactor):
        return _library(value.array)
    if isinstance(value, list | tuple):
        return next((name for name in map(_library, value) if name), None)
    if hasattr(value, "requires_grad"):
        return "torch"
    return "cupy" if hasattr(value, "__cuda_array_interface__") else None
