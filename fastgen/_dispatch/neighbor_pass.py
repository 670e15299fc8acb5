"""The kernels of the neighbor pass over two sets, `fastgen.metrics.neighbor_pass`.

Each takes tuples of arrays in the order of the fields of the kernels' own tuples.
"""

from __future__ import annotations

import numpy as np

Arrays = tuple[np.ndarray, ...]


def start_lists(
    scores: np.ndarray, left: Arrays, right: Arrays, unit: float, *, same: bool
) -> None:
    """Run ``kernels.cpu.neighbor_pass.start_lists``."""
    from ..kernels.cpu import neighbor_pass as cpu

    cpu.start_lists(scores, cpu.Lists(*left), cpu.Lists(*right), unit, same)


def join_lists(
    scores: np.ndarray,
    left: Arrays,
    right: Arrays,
    firsts: tuple[int, int],
    unit: float,
    *,
    same: bool,
) -> int:
    """Run ``kernels.cpu.neighbor_pass.join_lists``."""
    from ..kernels.cpu import neighbor_pass as cpu

    return cpu.join_lists(scores, cpu.Lists(*left), cpu.Lists(*right), *firsts, unit, same)


def join_sets(
    scores: np.ndarray,
    lists: tuple[Arrays, Arrays],
    balls: tuple[Arrays, Arrays],
    kept: np.ndarray,
    angles: tuple[Arrays, Arrays],
    least: Arrays,
    firsts: tuple[int, int],
    unit: float,
) -> int:
    """Run ``kernels.cpu.neighbor_pass.join_sets`` on the two sides of each pair of tuples."""
    from ..kernels.cpu import neighbor_pass as cpu

    return cpu.join_sets(
        scores, *(cpu.Lists(*side) for side in lists), *(cpu.Balls(*side) for side in balls),
        kept, *(cpu.Angles(*side) for side in angles), cpu.Least(*least), *firsts, unit,
    )  # fmt: skip
