"""Bookkeeping of many L-BFGS searches at once: line searches, memories, two-loop recursions.

Nocedal and Wright, Numerical Optimization, 2nd ed., Algorithm 7.4, for P points of k coordinates
that share nothing. The caller evaluates the function and multiplies by the matrix between the two
loops; what is left here would be some hundred passes over small arrays in an array library.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel

# What became of a trial.
REJECTED, MOVED, RESTARTED, STUCK = 0, 1, 2, 3
ARMIJO = 1e-4
CURVATURE = 1e-10  # of |s| |y|: a pair with less curvature is not stored
SHORTEST = 1e-10
_TINY = 1e-30


@kernel(no_cpython_wrapper=True, fastmath={"reassoc", "contract"})
def _dot(a, b):
    total = a[0] * b[0]
    for i in range(1, a.size):
        total += a[i] * b[i]
    return total


@kernel(no_cpython_wrapper=True)
def _store(move, change, s, y, rho, head, gamma, p):
    """Remember a step and its change of slope where the curvature along it is positive."""
    inner = _dot(move, change)
    squares = _dot(change, change)
    if not inner > CURVATURE * np.sqrt(_dot(move, move) * squares):
        return
    at = head[p]
    for i in range(move.size):
        s[p, at, i] = move[i]
        y[p, at, i] = change[i]
    rho[p, at] = 1 / inner
    gamma[p] = inner / squares
    head[p] = (at + 1) % rho.shape[1]


@kernel
def take_steps(
    trial,
    trial_value,
    trial_slope,
    z,
    value,
    slope,
    s,
    y,
    rho,
    head,
    gamma,
    length,
    weak,
    tol,
    outcome,
):
    """Move to the trials that descend enough, shorten the steps of the others.

    Parameters
    ----------
    trial, trial_slope : array (P, k)
        Trials and half the gradients there.
    trial_value : array (P,)
    z, value, slope
        Where the points are, in the same shapes; renewed.
    s, y : array (P, h, k)
        Last steps and changes of slope, a ring; renewed.
    rho : array (P, h)
        Reciprocals of their inner products, 0 in empty places.
    head : int64 array (P,)
        Place of the next pair.
    gamma : array (P,)
        Inner product of the last pair over the squared change.
    length : array (P,)
        Step length along the direction: 1 after a step.
    weak : int64 array (P,)
        Steps in a row that gained less than ``tol`` times the value.
    tol : float
    outcome : int8 array (P,)
        REJECTED, MOVED, RESTARTED (length exhausted, memory cleared) or STUCK (and it was empty).
    """
    move = np.empty_like(z[0])
    change = np.empty_like(z[0])
    for p in range(z.shape[0]):
        for i in range(move.size):
            move[i] = trial[p, i] - z[p, i]
            change[i] = trial_slope[p, i] - slope[p, i]
        promised = 2 * _dot(slope[p], move)
        old, new = value[p], trial_value[p]
        if new < old and new <= old + ARMIJO * min(promised, 0.0):
            _store(move, change, s, y, rho, head, gamma, p)
            weak[p] = weak[p] + 1 if old - new < tol * old else 0
            for i in range(move.size):
                z[p, i] = trial[p, i]
                slope[p, i] = trial_slope[p, i]
            value[p] = new
            length[p] = 1
            outcome[p] = MOVED
            continue
        shorter = 0.1
        if np.isfinite(new) and promised < 0:
            shorter = min(max(-promised / (2 * max(new - old - promised, _TINY)), 0.1), 0.5)
        length[p] *= shorter
        outcome[p] = REJECTED
        if length[p] < SHORTEST:
            outcome[p] = STUCK
            for i in range(rho.shape[1]):
                if rho[p, i] != 0:
                    outcome[p] = RESTARTED
                rho[p, i] = 0
            gamma[p] = 1
            length[p] = 1


@kernel
def first_loop(s, y, rho, head, q, weights):
    """First loop of the two-loop recursion, newest pair first.

    Parameters
    ----------
    s, y, rho, head
        As for :func:`take_steps`.
    q : array (P, k)
        Slopes; renewed.
    weights : array (P, h)
        For :func:`second_loop`.
    """
    h = rho.shape[1]
    for p in range(q.shape[0]):
        row = q[p]
        for j in range(1, h + 1):
            at = (head[p] - j) % h
            weight = rho[p, at] * _dot(s[p, at], row)
            weights[p, at] = weight
            if weight != 0:
                past = y[p, at]
                for i in range(row.size):
                    row[i] -= weight * past[i]


@kernel
def second_loop(s, y, rho, head, q, weights):
    """Second loop of the two-loop recursion, oldest pair first; ``q`` (P, k) is renewed."""
    h = rho.shape[1]
    for p in range(q.shape[0]):
        row = q[p]
        for j in range(h):
            at = (head[p] + j) % h
            if rho[p, at] == 0:
                continue
            rest = weights[p, at] - rho[p, at] * _dot(y[p, at], row)
            past = s[p, at]
            for i in range(row.size):
                row[i] += rest * past[i]
