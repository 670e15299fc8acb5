"""Kernel density sums of nonparametric mixtures on a uniform grid.

Points are the sorted distinct values of a block of coordinates, each with one weight per component.
Work goes by groups of eight neighbouring points. On a grid u_a of step D the kernel of a point x,
with s the grid point nearest to the group, t = (x - u_s) / h and v = D / h, is

    exp(-((x - u_(s+k)) / h)^2 / 2) = exp(-t^2 / 2) exp(t v)^k exp(-(k v)^2 / 2),

so that an entry costs two multiplications; the last factor is a table. Grid sums keep every term
above exp(-544): densities are wanted down to exp(-500). Smoothed logarithms are sums of values
between -500 and a few, of which the kernel beyond 8.6 bandwidths changes less than 1e-14.

Arrays with a component axis are padded with zeros to a multiple of eight components.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel
from .simd import LANES, load, splat, store
from .smoothing_pairs import FAR, pair_sums

__all__ = [
    "block_weights",
    "cache_rows",
    "fill_cache",
    "grid_sums",
    "pair_sums",
    "posteriors",
    "smoothed_logs",
]

NEAR = 8.6
# Points of a group lie within this many bandwidths: exp(t v k) stays far from overflow.
_SPREAD = 4.0


@kernel(no_cpython_wrapper=True)
def _table(ratio, count):
    """Return exp(-(k ratio)^2 / 2) for k below ``count``, zero where it is below exp(-700)."""
    out = np.zeros(count)
    for k in range(count):
        half = 0.5 * (k * ratio) ** 2
        if half > 700:
            break
        out[k] = np.exp(-half)
    return out


@kernel(no_cpython_wrapper=True)
def _group(values, start, stop, origin, step, width, reach, n_grid):
    """Return the end of the group from ``start``, its nearest grid point and its grid range."""
    end = start + 1
    while end < stop and end - start < LANES and values[end] - values[start] <= _SPREAD * width:
        end += 1
    center = (0.5 * (values[start] + values[end - 1]) - origin) / step
    nearest = min(max(int(np.rint(center)), 0), n_grid - 1)
    near = int(np.ceil(reach * width / step)) + 1
    first = max(int(np.floor((values[start] - origin) / step)) - near, 0)
    last = min(int(np.ceil((values[end - 1] - origin) / step)) + near, n_grid - 1)
    return end, nearest, min(first, nearest), max(last, nearest)


@kernel(no_cpython_wrapper=True)
def _factors(values, start, end, center, ratio, width, lanes):
    """Write exp(-t^2/2), exp(t v) and exp(-t v) of eight points; the last one fills up."""
    for s in range(LANES):
        t = (values[min(start + s, end - 1)] - center) / width
        lanes[0, s] = np.exp(-0.5 * t * t)
        lanes[1, s] = np.exp(t * ratio)
        lanes[2, s] = np.exp(-t * ratio)


@kernel(no_cpython_wrapper=True)
def _fill(lanes, table, nearest, first, last, tile):
    """Kernels of a group on grid points first..last, to ``tile[a - first, point]``."""
    head = load(lanes, 0)
    p = head
    r = load(lanes, LANES)
    for a in range(nearest, last + 1):
        store(tile, (a - first) * LANES, p * splat(tile, table[a - nearest]))
        p = p * r
    r = load(lanes, 2 * LANES)
    p = head * r
    for a in range(nearest - 1, first - 1, -1):
        store(tile, (a - first) * LANES, p * splat(tile, table[nearest - a]))
        p = p * r


@kernel(no_cpython_wrapper=True)
def _add_group(tile, weights, start, end, first, last, offset, out):
    """Add eight points times their kernels to the sums of all components on the grid."""
    pitch = weights.shape[1]
    zero = splat(tile, 0.0)
    for v in range(0, pitch, LANES):
        base = start * pitch + v
        w0 = load(weights, base)
        w1 = load(weights, base + pitch) if end - start > 1 else zero
        w2 = load(weights, base + 2 * pitch) if end - start > 2 else zero
        w3 = load(weights, base + 3 * pitch) if end - start > 3 else zero
        w4 = load(weights, base + 4 * pitch) if end - start > 4 else zero
        w5 = load(weights, base + 5 * pitch) if end - start > 5 else zero
        w6 = load(weights, base + 6 * pitch) if end - start > 6 else zero
        w7 = load(weights, base + 7 * pitch) if end - start > 7 else zero
        for a in range(first, last + 1):
            k = a - first
            at = (offset + a) * pitch + v
            x = load(out, at) + w0 * splat(tile, tile[k, 0])
            y = w1 * splat(tile, tile[k, 1]) + w2 * splat(tile, tile[k, 2])
            x = x + w3 * splat(tile, tile[k, 3])
            y = y + w4 * splat(tile, tile[k, 4])
            x = x + w5 * splat(tile, tile[k, 5])
            y = y + w6 * splat(tile, tile[k, 6])
            x = x + w7 * splat(tile, tile[k, 7])
            store(out, at, x + y)


@kernel(no_cpython_wrapper=True)
def _read_group(tile, logs, start, end, first, last, offset, scale, out):
    """Sum the logarithms of all components on the grid times the kernels of eight points."""
    pitch = out.shape[1]
    zero = splat(tile, 0.0)
    factor = splat(tile, scale)
    lane = np.empty((LANES, LANES))
    for v in range(0, pitch, LANES):
        s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
        for a in range(first, last + 1):
            k = a - first
            x = load(logs, (offset + a) * pitch + v)
            s0 = s0 + x * splat(tile, tile[k, 0])
            s1 = s1 + x * splat(tile, tile[k, 1])
            s2 = s2 + x * splat(tile, tile[k, 2])
            s3 = s3 + x * splat(tile, tile[k, 3])
            s4 = s4 + x * splat(tile, tile[k, 4])
            s5 = s5 + x * splat(tile, tile[k, 5])
            s6 = s6 + x * splat(tile, tile[k, 6])
            s7 = s7 + x * splat(tile, tile[k, 7])
        store(lane, 0, s0)
        store(lane, LANES, s1)
        store(lane, 2 * LANES, s2)
        store(lane, 3 * LANES, s3)
        store(lane, 4 * LANES, s4)
        store(lane, 5 * LANES, s5)
        store(lane, 6 * LANES, s6)
        store(lane, 7 * LANES, s7)
        for s in range(end - start):
            store(out, (start + s) * pitch + v, load(lane, s * LANES) * factor)


@kernel(no_cpython_wrapper=True)
def _add_component(values, start, stop, weights, j, origin, step, width, sums):
    """Kernel sums of one component on the grid, ``sums[a, lane]`` to be added over lanes."""
    n_grid = sums.shape[0]
    ratio = step / width
    table = _table(ratio, n_grid)
    lanes = np.empty((4, LANES))
    while start < stop:
        end, nearest, first, last = _group(values, start, stop, origin, step, width, FAR, n_grid)
        _factors(values, start, end, origin + nearest * step, ratio, width, lanes)
        for s in range(LANES):
            lanes[3, s] = weights[start + s, j] if start + s < end else 0.0
        head = load(lanes, 0) * load(lanes, 3 * LANES)
        p = head
        r = load(lanes, LANES)
        for a in range(nearest, last + 1):
            x = load(sums, a * LANES) + p * splat(sums, table[a - nearest])
            store(sums, a * LANES, x)
            p = p * r
        r = load(lanes, 2 * LANES)
        p = head * r
        for a in range(nearest - 1, first - 1, -1):
            x = load(sums, a * LANES) + p * splat(sums, table[nearest - a])
            store(sums, a * LANES, x)
            p = p * r
        start = end


@kernel(no_cpython_wrapper=True)
def _read_component(values, start, stop, column, origin, step, width, j, out):
    """Smoothed logarithms of one component, given as ``column[a]``, at the points."""
    n_grid = column.shape[0]
    ratio = step / width
    scale = ratio / np.sqrt(2 * np.pi)
    table = _table(ratio, n_grid)
    lanes = np.empty((4, LANES))
    while start < stop:
        end, nearest, first, last = _group(values, start, stop, origin, step, width, NEAR, n_grid)
        _factors(values, start, end, origin + nearest * step, ratio, width, lanes)
        total = splat(lanes, 0.0)
        p = load(lanes, 0)
        r = load(lanes, LANES)
        for a in range(nearest, last + 1):
            total = total + p * splat(lanes, table[a - nearest] * column[a])
            p = p * r
        r = load(lanes, 2 * LANES)
        p = load(lanes, 0) * r
        for a in range(nearest - 1, first - 1, -1):
            total = total + p * splat(lanes, table[nearest - a] * column[a])
            p = p * r
        store(lanes, 3 * LANES, total)
        for s in range(end - start):
            out[start + s, j] = lanes[3, s] * scale
        start = end


@kernel
def block_weights(posteriors, rows, bounds, out):
    """Sum the posteriors of equal values.

    Parameters
    ----------
    posteriors : array (n, K)
    rows : int64 array (entries,)
        Rows of the entries of the data, sorted by point.
    bounds : int64 array (points + 1,)
        Point u has the entries ``bounds[u]`` to ``bounds[u + 1] - 1``.
    out : array (points, pitch), pitch >= K
        Overwritten: row u sums the posteriors of the rows of its entries.
    """
    out[:] = 0
    for u in range(out.shape[0]):
        for entry in range(bounds[u], bounds[u + 1]):
            for j in range(posteriors.shape[1]):
                out[u, j] += posteriors[rows[entry], j]


@kernel
def cache_rows(values, starts, origins, steps, bandwidths, n_grid):
    """Return the number of rows of eight that keep the kernels of all groups.

    Parameters
    ----------
    values, starts, origins, steps, bandwidths
        As in :func:`grid_sums`; bandwidths are equal within each block.
    n_grid : int
    """
    rows = 0
    for block in range(starts.size - 1):
        start, stop = starts[block], starts[block + 1]
        while start < stop:
            start, _, first, last = _group(
                values,
                start,
                stop,
                origins[block],
                steps[block],
                bandwidths[block, 0],
                FAR,
                n_grid,
            )
            rows += last - first + 1
    return rows


@kernel
def fill_cache(values, starts, origins, steps, bandwidths, n_grid, cache):
    """Write the kernels of all groups.

    Parameters
    ----------
    values, starts, origins, steps, bandwidths, n_grid
        As in :func:`cache_rows`.
    cache : array (rows, 8)
    """
    lanes = np.empty((4, LANES))
    at = 0
    for block in range(starts.size - 1):
        origin, step, width = origins[block], steps[block], bandwidths[block, 0]
        table = _table(step / width, n_grid)
        start, stop = starts[block], starts[block + 1]
        while start < stop:
            end, nearest, first, last = _group(
                values, start, stop, origin, step, width, FAR, n_grid
            )
            _factors(values, start, end, origin + nearest * step, step / width, width, lanes)
            _fill(lanes, table, nearest, first, last, cache[at:])
            at += last - first + 1
            start = end


@kernel
def grid_sums(values, starts, weights, origins, steps, bandwidths, cache, out):
    """Weighted kernel sums on the grid of each block, without normalisation.

    Parameters
    ----------
    values : array (points,)
        Sorted within each block.
    starts : int64 array (B + 1,)
        Block l holds the points ``starts[l]`` to ``starts[l + 1] - 1``.
    weights : array (points, pitch)
    origins, steps : array (B,)
        Grid point a of block l is ``origins[l] + a * steps[l]``.
    bandwidths : array (B, K)
        At least half the step. Equal ones of a block share their kernels.
    cache : array (rows, 8)
        From :func:`fill_cache`; no rows: kernels are computed, one group at a time.
    out : array (B, n_grid, pitch)
        ``sum_u weights[u, j] exp(-((values[u] - grid_a) / h)^2 / 2)``.
    """
    n_blocks, n_grid, _ = out.shape
    out[:] = 0
    scratch = np.empty((n_grid, LANES))
    lanes = np.empty((4, LANES))
    at = 0
    for block in range(n_blocks):
        origin, step = origins[block], steps[block]
        start, stop = starts[block], starts[block + 1]
        width = bandwidths[block, 0]
        if not (bandwidths[block] == width).all():
            for j in range(bandwidths.shape[1]):
                h = bandwidths[block, j]
                scratch[:] = 0
                _add_component(values, start, stop, weights, j, origin, step, h, scratch)
                for a in range(n_grid):
                    out[block, a, j] = scratch[a].sum()
            continue
        table = _table(step / width, n_grid)
        while start < stop:
            end, nearest, first, last = _group(
                values, start, stop, origin, step, width, FAR, n_grid
            )
            if cache.size:
                tile = cache[at : at + last - first + 1]
                at += last - first + 1
            else:
                tile = scratch
                center = origin + nearest * step
                _factors(values, start, end, center, step / width, width, lanes)
                _fill(lanes, table, nearest, first, last, tile)
            _add_group(tile, weights, start, end, first, last, block * n_grid, out)
            start = end


@kernel
def smoothed_logs(values, starts, logs, origins, steps, bandwidths, cache, out):
    """Smooth logarithms given on a grid with a Gaussian kernel, at the points.

    Parameters
    ----------
    values, starts, origins, steps, bandwidths, cache
        As in :func:`grid_sums`.
    logs : array (B, n_grid, pitch)
    out : array (points, pitch)
        ``D / (h sqrt(2 pi)) sum_a exp(-((values[u] - grid_a) / h)^2 / 2) logs[l, a, j]``.
    """
    n_blocks, n_grid, _ = logs.shape
    scratch = np.empty((n_grid, LANES))
    lanes = np.empty((4, LANES))
    at = 0
    for block in range(n_blocks):
        origin, step = origins[block], steps[block]
        start, stop = starts[block], starts[block + 1]
        width = bandwidths[block, 0]
        if not (bandwidths[block] == width).all():
            for j in range(bandwidths.shape[1]):
                h = bandwidths[block, j]
                column = logs[block, :, j].copy()
                _read_component(values, start, stop, column, origin, step, h, j, out)
            continue
        table = _table(step / width, n_grid)
        scale = step / width / np.sqrt(2 * np.pi)
        while start < stop:
            end, nearest, first, last = _group(
                values, start, stop, origin, step, width, NEAR, n_grid
            )
            if cache.size:
                _, _, low, high = _group(values, start, stop, origin, step, width, FAR, n_grid)
                tile = cache[at + first - low : at + last - low + 1]
                at += high - low + 1
            else:
                tile = scratch
                center = origin + nearest * step
                _factors(values, start, end, center, step / width, width, lanes)
                _fill(lanes, table, nearest, first, last, tile)
            _read_group(tile, logs, start, end, first, last, block * n_grid, scale, out)
            start = end


@kernel
def posteriors(logs, index, log_weights, out, rows):
    """Posterior probabilities of the components.

    Parameters
    ----------
    logs : array (points, pitch)
        Log densities at the points.
    index : int64 array (n, d)
    log_weights : array (K,)
        Minus infinity for an empty component.
    out : array (n, K)
    rows : array (n,)
        Log densities of the mixture, ``log sum_j exp(log_weights[j] + sum_c logs[index, j])``.
    """
    n, n_components = out.shape
    total = np.empty(n_components)
    for i in range(n):
        for j in range(n_components):
            total[j] = log_weights[j]
        for c in range(index.shape[1]):
            u = index[i, c]
            for j in range(n_components):
                total[j] += logs[u, j]
        peak = total.max()
        mass = 0.0
        for j in range(n_components):
            out[i, j] = np.exp(total[j] - peak)
            mass += out[i, j]
        for j in range(n_components):
            out[i, j] /= mass
        rows[i] = peak + np.log(mass)
