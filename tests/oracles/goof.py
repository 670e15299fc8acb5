"""Nearest points in a range: grids, plain least squares and closed forms."""

from __future__ import annotations

import itertools

import numpy as np


def mlp(weights, z, activation=np.tanh, output=lambda a: a):
    """Output (n, d) of a network with weights [(W, b), ...] at latents (n, k)."""
    for weight, bias in weights[:-1]:
        z = activation(z @ weight.T + bias)
    weight, bias = weights[-1]
    return output(z @ weight.T + bias)


def nearest_on_grid(function, X, low, high, steps, k):
    """Squared distances (n,) to the images of a dense grid of latents in [low, high]^k."""
    axis = np.linspace(low, high, steps)
    grid = np.stack(np.meshgrid(*[axis] * k, indexing="ij"), -1).reshape(-1, k)
    outputs = function(grid)
    best = np.full(len(X), np.inf)
    for row, x in enumerate(X):
        best[row] = ((outputs - x) ** 2).sum(axis=1).min()
    return best


def linear_free(weight, bias, X):
    """Squared distances to the range of W z + b: what a projection leaves."""
    u, s, _ = np.linalg.svd(weight, full_matrices=False)
    q = u[:, s > 1e-12 * s.max()]
    rest = (X - bias) - (X - bias) @ q @ q.T
    return (rest**2).sum(axis=1)


def linear_in_ball(weight, bias, X, radius, sphere=False):
    """Squared distances with ||z|| <= radius, or = radius, by bisection on the multiplier."""
    gram = weight.T @ weight
    eye, least = np.eye(len(gram)), np.linalg.eigvalsh(gram)[0]
    found = []
    for x in X:
        c = weight.T @ (x - bias)
        free = np.linalg.lstsq(weight, x - bias, rcond=None)[0]
        if not sphere and np.linalg.norm(free) <= radius:
            z = free
        else:
            low = -least if sphere else 0.0
            high = low + np.linalg.norm(c) / radius + 1.0
            for _ in range(200):
                middle = (low + high) / 2
                if np.linalg.norm(np.linalg.solve(gram + middle * eye, c)) > radius:
                    low = middle
                else:
                    high = middle
            z = np.linalg.solve(gram + high * eye, c)
        found.append(((weight @ z + bias - x) ** 2).sum())
    return np.array(found)


def cone_distance(weight, Y):
    """Squared distances to {weight h, h >= 0}: the best face of the cone, of all that there are."""
    k = weight.shape[1]
    best = (Y**2).sum(axis=1)
    for face in itertools.chain.from_iterable(
        itertools.combinations(range(k), size) for size in range(1, k + 1)
    ):
        part = weight[:, face]
        h = np.linalg.lstsq(part, Y.T, rcond=None)[0]
        distance = ((Y.T - part @ h) ** 2).sum(axis=0)
        best = np.where((h >= 0).all(axis=0), np.minimum(best, distance), best)
    return best


def finite_difference_jacobian(function, z, step=1e-6):
    """Transposed Jacobians (n, k, d) by central differences."""
    columns = []
    for j in range(z.shape[1]):
        shift = np.zeros_like(z)
        shift[:, j] = step
        columns.append((function(z + shift) - function(z - shift)) / (2 * step))
    return np.stack(columns, 1)


def ks_statistic(a, b):
    """Largest gap between two empirical distribution functions."""
    points = np.concatenate([a, b])
    return max(abs((a <= p).mean() - (b <= p).mean()) for p in points)
