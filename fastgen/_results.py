"""The one face of results: plain numbers for JSON, and a table that a notebook shows."""

from __future__ import annotations

import abc
import html
import math
import numbers
from typing import Any

import numpy as np

# Longer lists are shown by their length.
_LISTED = 8


class Result(abc.ABC):
    """What a public function found.

    A result owns what it needs: nothing that the caller changes afterwards changes it. Those that
    have a natural picture add ``plot()``, those whose values are labelled by more than their
    position ``to_xarray()``; a command prints what these return.
    """

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain Python, ready for JSON."""

    def __repr__(self) -> str:
        """Return the figures, not the arrays behind them."""
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in self.to_dict().items())
        return f"{type(self).__name__}({shown})"

    def _repr_html_(self) -> str:
        """Return the figures as a table of HTML."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(str(name))}</th>"
            f"<td style='text-align:left'>{html.escape(_shown(value))}</td></tr>"
            for name, value in self.to_dict().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


def plain(value: Any) -> Any:
    """Return a number, array or container as plain Python: what JSON can hold.

    NaN and infinity, which JSON cannot hold, become None.
    """
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(part)}" for key, part in value.items())
    if isinstance(value, list):
        if len(value) > _LISTED or any(isinstance(part, list | dict) for part in value):
            return f"{len(value)} values"
        return ", ".join(map(_shown, value))
    return "none" if value is None else str(value)
