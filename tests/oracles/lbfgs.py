"""The oracle of kernels/cpu/lbfgs.py: one search at a time, lists instead of rings."""

from __future__ import annotations

import numpy as np

REJECTED, MOVED, RESTARTED, STUCK = 0, 1, 2, 3


def remembered(s, y, rho, head):
    """Stored (step, change) pairs of one search, oldest first."""
    order = [(head + j) % len(rho) for j in range(len(rho))]
    return [(s[i], y[i]) for i in order if rho[i] != 0]


def take_steps(
    trial, trial_value, trial_slope, z, value, slope, s, y, rho, head, gamma, length, weak, tol,
    outcome,
):  # fmt: skip
    """Armijo's test of every trial, in place."""
    for p in range(len(z)):
        move, change = trial[p] - z[p], trial_slope[p] - slope[p]
        promised = 2 * slope[p] @ move
        gain = value[p] - trial_value[p]
        if gain > 0 and trial_value[p] <= value[p] + 1e-4 * min(promised, 0):
            if move @ change > 1e-10 * np.linalg.norm(move) * np.linalg.norm(change):
                s[p, head[p]], y[p, head[p]] = move, change
                rho[p, head[p]] = 1 / (move @ change)
                gamma[p] = (move @ change) / (change @ change)
                head[p] = (head[p] + 1) % len(rho[p])
            weak[p] = weak[p] + 1 if gain < tol * value[p] else 0
            z[p], value[p], slope[p] = trial[p], trial_value[p], trial_slope[p]
            length[p], outcome[p] = 1, MOVED
            continue
        if np.isfinite(trial_value[p]) and promised < 0:
            # least of the parabola through both values with the slope at the first
            length[p] *= np.clip(-promised / (2 * max(-gain - promised, 1e-30)), 0.1, 0.5)
        else:
            length[p] *= 0.1
        outcome[p] = REJECTED
        if length[p] < 1e-10:
            outcome[p] = RESTARTED if (rho[p] != 0).any() else STUCK
            rho[p], gamma[p], length[p] = 0, 1, 1


def inverse_product(pairs, metric, slope):
    """Product of the BFGS matrix (k, k), formed, with a vector; ``metric`` is the first one."""
    matrix = np.array(metric, dtype=float)
    for step, change in pairs:
        rho = 1 / (step @ change)
        left = np.eye(len(step)) - rho * np.outer(step, change)
        matrix = left @ matrix @ left.T + rho * np.outer(step, step)
    return matrix @ slope


def first_loop(s, y, rho, head, q, weights):
    """First of the two loops, in place."""
    for p in range(len(q)):
        for j in range(1, len(rho[p]) + 1):
            at = (head[p] - j) % len(rho[p])
            weights[p, at] = rho[p, at] * (s[p, at] @ q[p])
            q[p] -= weights[p, at] * y[p, at]


def second_loop(s, y, rho, head, q, weights):
    """Second of the two loops, in place."""
    for p in range(len(q)):
        for j in range(len(rho[p])):
            at = (head[p] + j) % len(rho[p])
            if rho[p, at] != 0:
                q[p] += (weights[p, at] - rho[p, at] * (y[p, at] @ q[p])) * s[p, at]
