"""E-step of Gaussian mixtures: log densities of tiles of rows, and responsibilities.

A tile is held feature by feature, so that any leading features of its rows are one contiguous
matrix: a triangular factor is applied in strips of ``STRIP`` rows, each to the features it reads
only, which halves the work of a full product and leaves a lower bound after every strip.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel

STRIP = 48


@kernel
def pack(factors, packed):
    """Lay the strips of lower triangular ``factors`` (K, d, d) out one after the other."""
    n_components, d, _ = factors.shape
    for k in range(n_components):
        position = 0
        for start in range(0, d, STRIP):
            stop = min(start + STRIP, d)
            for i in range(start, stop):
                for j in range(stop):
                    packed[k, position] = factors[k, i, j]
                    position += 1


@kernel(no_cpython_wrapper=True)
def _keep(chosen, live, partial, constant, cutoff, best, z, features):
    """Drop the rows whose density cannot come within ``cutoff`` of the best; return their number.

    The rows stay where they are while more than three quarters of them are left.
    """
    left = 0
    for i in range(live):
        left += constant - 0.5 * partial[i] > best[chosen[i]] - cutoff
    if 4 * left > 3 * live:
        return live
    kept = np.empty(left, np.int64)
    j = 0
    for i in range(live):
        if constant - 0.5 * partial[i] > best[chosen[i]] - cutoff:
            kept[j] = i
            chosen[j] = chosen[i]
            partial[j] = partial[i]
            j += 1
    for f in range(features):
        for j in range(left):
            z[f * left + j] = z[f * live + kept[j]]
    return left


@kernel(no_cpython_wrapper=True)
def _evaluate(columns, mean, packed, constant, cutoff, chosen, live, best, work, out):
    """Log density of one component on the ``chosen`` rows of a tile that can matter."""
    d, size = columns.shape
    z, y, partial = work
    partial[:live] = 0.0
    position = 0
    for start in range(0, d, STRIP):
        stop = min(start + STRIP, d)
        for f in range(start, stop):
            center = mean[f]
            if live == size:
                for i in range(live):
                    z[f * live + i] = columns[f, i] - center
            else:
                for i in range(live):
                    z[f * live + i] = columns[f, chosen[i]] - center
        strip = packed[position : position + (stop - start) * stop].reshape(stop - start, stop)
        position += (stop - start) * stop
        product = y[: (stop - start) * live].reshape(stop - start, live)
        np.dot(strip, z[: stop * live].reshape(stop, live), product)
        for f in range(stop - start):
            for i in range(live):
                value = np.float64(product[f, i])
                partial[i] += value * value
        if stop < d:
            live = _keep(chosen, live, partial, constant, cutoff, best, z, stop)
            if live == 0:
                return
    for i in range(live):
        value = constant - 0.5 * partial[i]
        out[chosen[i]] = value
        best[chosen[i]] = max(best[chosen[i]], value)


@kernel
def full_densities(rows, order, means, packed, constants, likely, cutoff, tile, joint):
    """Weighted log densities of full covariances where they can matter.

    Parameters
    ----------
    rows : array (N, d)
    order : int64 array (m,)
        Rows to look at; best when those of one likely component follow each other.
    means : array (K, d)
    packed : array (K, numbers)
        From ``pack``: inverses of the Cholesky factors of the covariances.
    constants : float64 array (K,)
        Log density at the mean plus log weight.
    likely : int64 array (N,)
        The component evaluated first; any is right.
    cutoff : float
        A component this far below the best found may be left out; infinity leaves out none.
    tile : int
        Rows at a time.
    joint : float64 array (K, N)
        Holds minus infinity at the rows of ``order``, and keeps it where a component is left out.
    """
    n_components, d = means.shape
    columns_store = np.empty(d * tile, rows.dtype)
    work = (np.empty(d * tile, rows.dtype), np.empty(STRIP * tile, rows.dtype), np.empty(tile))
    chosen = np.empty(tile, np.int64)
    for start in range(0, order.size, tile):
        index = order[start : start + tile]
        size = index.size
        columns = columns_store[: d * size].reshape(d, size)
        for i in range(size):
            row = rows[index[i]]
            for f in range(d):
                columns[f, i] = row[f]
        best = np.full(size, -np.inf)
        out = np.full((n_components, size), -np.inf)
        for others in range(2):
            for k in range(n_components):
                live = size - size  # not the literal zero, which would be compiled apart
                for i in range(size):
                    if (likely[index[i]] != k) == (others == 1):
                        chosen[live] = i
                        live += 1
                if live > 0 and constants[k] > -np.inf:
                    _evaluate(
                        columns,
                        means[k],
                        packed[k],
                        constants[k],
                        cutoff,
                        chosen,
                        live,
                        best,
                        work,
                        out[k],
                    )
        for k in range(n_components):
            for i in range(size):
                joint[k, index[i]] = out[k, i]


@kernel
def diagonal_densities(rows, offset, means, scales, constants, tile, joint):
    """Weighted log densities of diagonal covariances.

    Parameters
    ----------
    rows : array (m, d)
    offset : int
        Column of ``joint`` (K, N) that belongs to the first of the rows.
    means, scales : array (K, d)
        Means and inverse standard deviations.
    constants : float64 array (K,)
        Log density at the mean plus log weight.
    tile : int
        Rows at a time.
    joint : float64 array (K, N)
    """
    n_components, d = means.shape
    for start in range(0, len(rows), tile):
        size = min(tile, len(rows) - start)
        columns = np.ascontiguousarray(rows[start : start + size].T)
        total = np.empty(size)
        for k in range(n_components):
            total[:] = 0.0
            for f in range(d):
                center = means[k, f]
                scale = scales[k, f]
                for i in range(size):
                    value = np.float64((columns[f, i] - center) * scale)
                    total[i] += value * value
            for i in range(size):
                joint[k, offset + start + i] = constants[k] - 0.5 * total[i]


@kernel
def normalize(joint, start, stop, threshold, log_likelihood, likely):
    """Turn weighted log densities (K, N) into responsibilities, in place, for some rows.

    Responsibilities up to ``threshold`` become zero and the others are scaled to the sum one.
    ``log_likelihood`` and ``likely`` (N,) receive the log of the sum and the largest component.
    """
    n_components = joint.shape[0]
    for i in range(start, stop):
        top = 0
        for k in range(1, n_components):
            if joint[k, i] > joint[top, i]:
                top = k
        largest = joint[top, i]
        total = 0.0
        for k in range(n_components):
            share = 0.0
            if joint[k, i] > -np.inf:
                share = np.exp(joint[k, i] - largest)
            joint[k, i] = share
            total += share
        kept = 0.0
        for k in range(n_components):
            if joint[k, i] <= threshold * total:
                joint[k, i] = 0.0
            kept += joint[k, i]
        for k in range(n_components):
            joint[k, i] /= kept
        log_likelihood[i] = largest + np.log(total)
        likely[i] = top


@kernel
def weighted_rows(rows, chosen, share, center, out, total):
    """Roots of shares times the ``chosen`` rows about a center; adds their weighted sum to total.

    Parameters
    ----------
    rows : array (N, d)
    chosen : int64 array (m,)
    share : array (N,)
    center : array (d,)
    out : array (m, d)
    total : array (d,)
    """
    for i in range(chosen.size):
        weight = share[chosen[i]]
        root = np.sqrt(weight)
        for f in range(center.size):
            value = rows[chosen[i], f] - center[f]
            total[f] += weight * value
            out[i, f] = root * value
