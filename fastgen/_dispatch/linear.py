"""Chooses the kernels of ``fastgen.linear``, and which latent dimensions share a decomposition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from .nuclear import GRAM_TOLERANCE

# Rows of a block: 32 + n / 3 balance the eigendecomposition, cubic in n and shared by the block,
# with the capacitance matrices, quadratic in its rows for each of them (stages timed by
# bench/peers/linear_path.py; half and double the length cost up to a third more for n 50..1000).
_BLOCK_ROWS = 32
_BLOCK_SHARE = 3
# Neighbours up to n / 16 rows apart belong together: every row costs, wanted or not. The widest
# grid is timed beside one k at a time by bench/peers/linear_path.py.
_GAP_SHARE = 16
# A run shorter than max(4, 400 / n) does not repay the eigendecomposition.
_SHORTEST_RUN = 4
_RUN_WORK = 400


def seen(basis: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Run ``kernels.cpu.linear_frame.seen``."""
    from ..kernels.cpu import linear_frame

    return linear_frame.seen(basis, factor)


def nested_range(columns: np.ndarray, factor: np.ndarray, tolerance: float) -> tuple:
    """Run ``kernels.cpu.linear_frame.nested_range``."""
    from ..kernels.cpu import linear_frame

    return linear_frame.nested_range(columns, factor, tolerance)


def pairs_frame(x: np.ndarray, z: np.ndarray, factor: np.ndarray, tolerance: float) -> tuple:
    """Run ``kernels.cpu.linear_frame.pairs_frame``."""
    from ..kernels.cpu import linear_frame

    return linear_frame.pairs_frame(x, z, factor, tolerance)


def principal_frame(x: np.ndarray, factor: np.ndarray, tolerance: float) -> tuple:
    """Run ``kernels.cpu.linear_frame.principal_frame``."""
    from ..kernels.cpu import linear_frame

    return linear_frame.principal_frame(x, factor, tolerance)


def match_pairs(
    cross, sigma, root, start, weight, constant, tolerance, max_iter, history
) -> tuple[np.ndarray, int, bool]:
    """Run ``kernels.cpu.alternating.match_pairs``."""
    from ..kernels.cpu import alternating

    return alternating.match_pairs(
        cross, sigma, root, start, weight, constant, tolerance, max_iter, history
    )


def free_latents(x, z_pairs, z_free, tolerance, max_iter, history) -> tuple[np.ndarray, int, bool]:
    """Run ``kernels.cpu.alternating.free_latents``."""
    from ..kernels.cpu import alternating

    return alternating.free_latents(x, z_pairs, z_free, tolerance, max_iter, history)


def subspace_descent(
    moments, cross, constant, has_pairs, has_rest, start, low, high, tolerance, max_iter, history
) -> tuple[np.ndarray, int, bool]:
    """Run ``kernels.cpu.subspace.subspace_descent``."""
    from ..kernels.cpu import subspace

    arguments = (moments, cross, constant, has_pairs, has_rest, start, low, high)
    return subspace.subspace_descent(*arguments, tolerance, max_iter, history)


def cuda_kernels():
    """Return the launchers of the CUDA kernels."""
    from ..kernels import cuda

    return cuda


def leading_path(f, y, inverse, ks, dtype, nuclear, squares) -> None:
    """Run ``kernels.cpu.linear_path.leading_path`` (``inverse`` may be None) in ``dtype``."""
    from ..kernels.cpu import linear_path
    from ..kernels.quadrature import nodes

    inverse = np.empty((0, 0)) if inverse is None else inverse
    linear_path.leading_path(f, y, inverse, ks, *nodes(dtype), nuclear, squares)


def tall_path(r, rows, counts, f, y, dtype, nuclear, squares) -> None:
    """Run ``kernels.cpu.linear_path.tall_path`` in ``dtype``."""
    from ..kernels.cpu import linear_path
    from ..kernels.quadrature import nodes

    linear_path.tall_path(r, rows, counts, f, y, *nodes(dtype), nuclear, squares)


def add_rows(r: np.ndarray, rows: np.ndarray) -> None:
    """Rotate ``rows`` into the triangular factor ``r``, both in place."""
    from ..kernels.cpu import linear_path

    linear_path.add_rows(r, rows)


def dense_runs(counts: np.ndarray, n_columns: int) -> Iterator[tuple[slice, bool]]:
    """Cut ascending counts into runs, each with whether `dense_path` suits it."""
    gap = max(1, n_columns // _GAP_SHARE)
    shortest = max(_SHORTEST_RUN, _RUN_WORK // n_columns)
    edges = (np.flatnonzero(np.diff(counts) > gap) + 1).tolist()
    waiting = 0
    for start, stop in itertools.pairwise([0, *edges, counts.size]):
        if stop - start < shortest:
            continue
        if start > waiting:
            yield slice(waiting, start), False
        yield slice(start, stop), True
        waiting = stop
    if waiting < counts.size:
        yield slice(waiting, counts.size), False


def dense_path(r, rows, counts, f, y, nuclear, squares) -> None:
    """Run ``kernels.cpu.secular.dense_path``."""
    from ..kernels.cpu import secular

    longest = _BLOCK_ROWS + len(r) // _BLOCK_SHARE
    secular.dense_path(r, rows, counts, f, y, longest, GRAM_TOLERANCE, nuclear, squares)
