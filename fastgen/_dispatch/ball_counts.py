"""The kernel of the neighbor pass on a device."""

from __future__ import annotations

from typing import Any


def count_balls(x: Any, centers: Any, squared: Any, kept: Any, scale: float) -> tuple[Any, Any]:
    """Run ``kernels.cuda.neighbor_pass.count_balls``."""
    from ..kernels.cuda import neighbor_pass

    return neighbor_pass.count_balls(x, centers, squared, kept, scale)
