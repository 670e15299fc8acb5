"""The kernels of ``fastgen.goof.nearest_rows``."""

from __future__ import annotations


def select_rows(scores, bounds, unit, x, pool, first, distances, indices) -> int:
    """Run ``kernels.cpu.nearest_rows.select_rows``."""
    from fastgen.kernels.cpu import nearest_rows

    return nearest_rows.select_rows(scores, bounds, unit, x, pool, first, distances, indices)
