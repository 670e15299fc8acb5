"""The kernels of ``fastgen.goof.nearest_rows``."""

from __future__ import annotations

import numpy as np


def select_rows(scores, bounds, unit, x, pool, first, distances, indices) -> int:
    """Run ``kernels.cpu.nearest_rows.select_rows``."""
    from ..kernels.cpu import nearest_rows

    return nearest_rows.select_rows(scores, bounds, unit, x, pool, first, distances, indices)


def center_rows(rows, mean, scale, out, squares) -> None:
    """Run ``kernels.cpu.nearest_rows.center_rows``."""
    from ..kernels.cpu import nearest_rows

    nearest_rows.center_rows(rows, mean, scale, out, squares)


def renew_lists(x, pool, scale, first, distances, indices) -> None:
    """Run ``kernels.cuda.nearest_rows.renew_lists`` in the common dtype of ``x`` and ``pool``."""
    from ..kernels.cuda import nearest_rows

    common = np.result_type(x.dtype, pool.dtype)
    x, pool = x.astype(common, copy=False), pool.astype(common, copy=False)
    nearest_rows.renew_lists(x, pool, scale, first, distances, indices)
