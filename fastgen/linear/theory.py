"""What is known exactly, or in the limit, of linear generators: the formulas of `fastgen.gains`."""

from __future__ import annotations

from ..gains import (
    asymptotic_gain,
    condition_number,
    expected_gain,
    gain_curve,
    gain_variance,
    ridge_gain,
    spectrum_edges,
    training_steps,
)

__all__ = [
    "asymptotic_gain",
    "condition_number",
    "expected_gain",
    "gain_curve",
    "gain_variance",
    "ridge_gain",
    "spectrum_edges",
    "training_steps",
]
