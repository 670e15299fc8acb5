"""Launchers of ``smoothing.cu``: the functions of ``kernels.cpu.smoothing`` for CuPy arrays.

Names, arguments and results are those of the CPU's namesakes, with int64 indices and float64
elsewhere; ``cache`` is not read, kernels are computed where they are used. Bandwidths may be any
positive ones. This path has not yet been run on a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _load

if TYPE_CHECKING:
    import cupy


def _launch(kernel: str, n_blocks: int, out: cupy.ndarray, *arguments) -> None:
    _load.require_device()
    with _load.device_of(out):
        _load.launch("smoothing", f"{kernel}<double>", n_blocks, arguments)


def _threads(count: int) -> int:
    """Return the blocks that give each of ``count`` entries a thread."""
    return -(-count // _load.THREADS)


def block_weights(posteriors, rows, bounds, out) -> None:
    """Sum the posteriors of equal values."""
    sizes = np.int64(out.shape[0]), np.int32(posteriors.shape[1]), np.int32(out.shape[1])
    _launch("block_weights", _threads(out.size), out, posteriors, rows, bounds, *sizes, out)


def grid_sums(values, starts, weights, origins, steps, bandwidths, cache, out) -> None:
    """Weighted kernel sums on the grid of each block, without normalisation."""
    n_blocks, n_grid, pitch = out.shape
    sizes = (np.int32(size) for size in (n_blocks, bandwidths.shape[1], n_grid, pitch))
    given = values, starts, weights, origins, steps, bandwidths
    _launch("grid_sums", out.size, out, *given, *sizes, out)


def smoothed_logs(values, starts, logs, origins, steps, bandwidths, cache, out) -> None:
    """Smooth logarithms given on a grid with a Gaussian kernel, at the points."""
    n_blocks, n_grid, pitch = logs.shape
    sizes = (np.int32(size) for size in (n_blocks, bandwidths.shape[1], n_grid, pitch))
    given = values, starts, logs, origins, steps, bandwidths, np.int64(values.size)
    _launch("smoothed_logs", _threads(out.size), out, *given, *sizes, out)


def pair_sums(values, starts, weights, bandwidths, out) -> None:
    """Weighted kernel sums at the points themselves, without normalisation."""
    sizes = (np.int32(size) for size in (*bandwidths.shape, out.shape[1]))
    given = values, starts, weights, bandwidths, np.int64(values.size)
    _launch("pair_sums", out.size, out, *given, *sizes, out)


def posteriors(logs, index, log_weights, out, rows) -> None:
    """Posterior probabilities of the components, and log densities of the rows."""
    n, n_features = index.shape
    sizes = (np.int32(size) for size in (n_features, out.shape[1], logs.shape[1]))
    _launch(
        "posteriors", _threads(n), out, logs, index, log_weights, np.int64(n), *sizes, out, rows
    )
