"""The oracle of nonparametric mixtures: plain NumPy, from the formulas."""

from __future__ import annotations

import itertools

import numpy as np

FLOOR = -500.0


def block_weights(posteriors, index, n_points):
    out = np.zeros((n_points, posteriors.shape[1]))
    for i, c in np.ndindex(index.shape):
        out[index[i, c]] += posteriors[i]
    return out


def blocks_of(starts):
    return [slice(a, b) for a, b in itertools.pairwise(starts)]


def kernel(x, u, h):
    return np.exp(-0.5 * ((x[:, None] - u) / h) ** 2)


def grid_sums(values, starts, weights, origins, steps, bandwidths, n_grid):
    out = np.empty((len(origins), n_grid, weights.shape[1]))
    for block, here in enumerate(blocks_of(starts)):
        grid = origins[block] + steps[block] * np.arange(n_grid)
        for j in range(weights.shape[1]):
            out[block, :, j] = kernel(grid, values[here], bandwidths[block, j]) @ weights[here, j]
    return out


def smoothed_logs(values, starts, logs, origins, steps, bandwidths):
    out = np.empty((len(values), logs.shape[2]))
    for block, here in enumerate(blocks_of(starts)):
        grid = origins[block] + steps[block] * np.arange(logs.shape[1])
        for j in range(logs.shape[2]):
            h = bandwidths[block, j]
            scale = steps[block] / (h * np.sqrt(2 * np.pi))
            out[here, j] = scale * kernel(values[here], grid, h) @ logs[block, :, j]
    return out


def pair_sums(values, starts, weights, bandwidths):
    out = np.empty_like(weights)
    for block, here in enumerate(blocks_of(starts)):
        for j in range(weights.shape[1]):
            k = kernel(values[here], values[here], bandwidths[block, j])
            out[here, j] = k @ weights[here, j]
    return out


def posteriors(logs, index, log_weights):
    total = log_weights + logs[index].sum(axis=1)
    peak = total.max(axis=1, keepdims=True)
    rows = peak[:, 0] + np.log(np.exp(total - peak).sum(axis=1))
    return np.exp(total - rows[:, None]), rows


def densities(x, weights, at, h):
    """Kernel estimates (at, K) of entries x with weights (n, K) that are normalised here."""
    totals = weights.sum(axis=0)
    return kernel(at, x, h) @ weights / (totals * h * np.sqrt(2 * np.pi))


def grid_of(rows, n_grid):
    span = rows.max() - rows.min()
    return np.linspace(rows.min() - span / 10, rows.max() + span / 10, n_grid)


def npmsl(rows, z, blocks, h, n_grid=200, max_iter=500, tol=1e-8, mutant=None):
    """npMSL of Levine, Hunter and Chauveau: weights, objective of each iteration, posteriors.

    Mutants: "log of smooth" smooths the density, then takes the logarithm; "interpolated" does not
    smooth; "block size" forgets the number of coordinates of a block.
    """
    grid = grid_of(rows, n_grid)
    step = grid[1] - grid[0]
    previous, objective = None, []
    for _ in range(max_iter):
        weights = z.mean(axis=0)
        total = np.tile(np.log(weights), (len(rows), 1))
        for block in np.unique(blocks):
            columns = np.flatnonzero(blocks == block)
            entries = rows[:, columns].T.ravel()
            f = densities(entries, np.tile(z, (len(columns), 1)), grid, h)
            if mutant == "block size":
                f = f * len(columns)
            logs = np.maximum(np.log(np.maximum(f, 1e-300)), FLOOR)
            for c in columns:
                x = rows[:, c]
                smooth = step / (h * np.sqrt(2 * np.pi)) * kernel(x, grid, h)
                if mutant == "log of smooth":
                    total += np.maximum(np.log(np.maximum(smooth @ f, 1e-300)), FLOOR)
                elif mutant == "interpolated":
                    for j in range(z.shape[1]):
                        total[:, j] += np.maximum(
                            np.log(np.maximum(np.interp(x, grid, f[:, j]), 1e-300)), FLOOR
                        )
                else:
                    total += smooth @ logs
        objective.append(_posteriors(total, z := np.empty_like(z)))
        if previous is not None and np.abs(weights - previous).max() < tol:
            break
        previous = weights
    return weights, np.array(objective), z


def npem(rows, z, blocks, h, max_iter=500, tol=1e-8):
    """npEM of Benaglia, Chauveau and Hunter: weights, objective of each iteration, posteriors."""
    previous, objective = None, []
    for _ in range(max_iter):
        weights = z.mean(axis=0)
        total = np.tile(np.log(weights), (len(rows), 1))
        for block in np.unique(blocks):
            columns = np.flatnonzero(blocks == block)
            entries, mass = rows[:, columns].T.ravel(), np.tile(z, (len(columns), 1))
            for c in columns:
                f = densities(entries, mass, rows[:, c], h)
                total += np.maximum(np.log(np.maximum(f, 1e-300)), FLOOR)
        objective.append(_posteriors(total, z := np.empty_like(z)))
        if previous is not None and np.abs(weights - previous).max() < tol:
            break
        previous = weights
    return weights, np.array(objective), z


def _posteriors(total, out):
    peak = total.max(axis=1, keepdims=True)
    rows = peak[:, 0] + np.log(np.exp(total - peak).sum(axis=1))
    out[:] = np.exp(total - rows[:, None])
    return rows.sum()


def silverman(entries, weights, n_effective):
    """Weighted rule of thumb: weights of the entries sum to one."""
    order = np.argsort(entries, kind="stable")
    reached = np.cumsum(weights[order])
    low, high = (
        entries[order][max(np.searchsorted(reached, p, side="right") - 1, 0)] for p in (0.25, 0.75)
    )
    mean = (weights * entries).sum()
    deviation = np.sqrt((weights * (entries - mean) ** 2).sum())
    return 0.9 * min(deviation, (high - low) / 1.34) * max(1, n_effective) ** -0.2


def cross_validation(entries, weights, folds, h):
    """Weighted least-squares criterion of one bandwidth."""
    normal = 1 / (h * np.sqrt(2 * np.pi))
    squares = weights @ kernel(entries, entries, np.sqrt(2) * h) @ weights * normal / np.sqrt(2)
    crossed = 0.0
    for fold in np.unique(folds):
        here, others = folds == fold, folds != fold
        k = kernel(entries[here], entries[others], h) * normal
        crossed += weights[here] @ k @ weights[others] / weights[others].sum()
    return squares - 2 * crossed
