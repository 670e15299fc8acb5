"""Plain oracles for fastgen.goof: grids, SciPy solvers, closed forms. NumPy arrays in and out."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares, nnls


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


def nearest_from_start(function, x, start, low=-np.inf, high=np.inf):
    """Squared distance that SciPy's trust-region least squares reaches from one start."""
    found = least_squares(
        lambda z: function(z[None])[0] - x, start, bounds=(low, high), xtol=1e-15, ftol=1e-15,
        gtol=1e-15, max_nfev=1000,
    )  # fmt: skip
    return 2 * found.cost


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
    """Squared distances to {weight h, h >= 0}."""
    return np.array([nnls(weight, y)[1] ** 2 for y in Y])


def pca_tail(X, k):
    """Sum of the eigenvalues of the 1/n covariance beyond the k largest."""
    centred = X - X.mean(axis=0)
    return np.sort(np.linalg.eigvalsh(centred.T @ centred / len(X)))[: max(X.shape[1] - k, 0)].sum()


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
