"""L-BFGS for many (latent, target) pairs: memory, step length and line search of each are its own.

Every sweep evaluates one trial point of every unfinished pair. Where Armijo's condition holds the
pair moves, stores its curvature pair and gets a new direction; elsewhere its step is shortened
by quadratic interpolation. No pair waits for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._pairs import Outcome, Pairs, Status

if TYPE_CHECKING:
    from torch import Tensor

    from ._objective import Objective

_HISTORY = 10
_ARMIJO = 1e-4
_CURVATURE = 1e-10  # of |s| |y|: a pair with less curvature is not stored
_SHORTEST = 1e-10
_PATIENCE = 3


def solve(
    objective: Objective, z: Tensor, rows: Tensor, *, max_iter: int, tol: float = 1e-9
) -> Outcome:
    """Minimise the objective from each start.

    Parameters
    ----------
    objective : Objective
    z : Tensor (P, k)
    rows : Tensor (P,)
    max_iter : int
        Most sweeps, one gradient per pair each.
    tol : float
        A pair has converged when three accepted steps in a row gain less than this share.

    Returns
    -------
    Outcome
    """
    import torch

    pairs = Pairs(objective, z, rows)
    value, slope = objective.gradient(pairs.z, rows)
    pairs.start(value)
    p, k = z.shape
    pairs.state = {
        "slope": slope,
        "s": z.new_zeros(p, _HISTORY, k),
        "y": z.new_zeros(p, _HISTORY, k),
        "rho": z.new_zeros(p, _HISTORY),
        "direction": torch.zeros_like(z),
        "length": z.new_ones(p),
        "weak": torch.zeros(p, dtype=torch.int64, device=z.device),
        "open": torch.ones(p, dtype=torch.bool, device=z.device),
    }
    if pairs.compact():
        _first_direction(pairs)
    for _ in range(max_iter):
        if not pairs.compact():
            break
        pairs.count_step()
        _sweep(pairs, tol)
    return pairs.outcome()


def _first_direction(pairs: Pairs) -> None:
    """Set steepest descent with the length that is exact for a linear generator."""
    state = pairs.state
    tangent = pairs.objective.tangent(pairs.z, state["slope"])
    slope = tangent.apply(state["slope"])
    stretch = pairs.objective.stretch(pairs.z, pairs.rows, slope)
    curvature = stretch + (slope * tangent.curve(slope)).sum(1)
    squares = slope.square().sum(1)
    length = squares / curvature.clamp(min=1e-30)
    length = length.where((curvature > 0) & length.isfinite(), squares.clamp(min=1e-30).rsqrt())
    state["direction"] = -length[:, None] * slope


def _sweep(pairs: Pairs, tol: float) -> None:
    import torch

    objective, state = pairs.objective, pairs.state
    trial = objective.domain.project(pairs.z + state["length"][:, None] * state["direction"])
    value, slope = objective.gradient(trial, pairs.rows)
    move = trial - pairs.z
    # slopes are half gradients
    promised = 2 * (state["slope"] * move).sum(1)
    better = (value <= pairs.value + _ARMIJO * promised.clamp(max=0)) & (value < pairs.value)
    gained = (pairs.value - value) / pairs.value.clamp(min=torch.finfo(value.dtype).tiny)
    state["weak"] = torch.where(better, (state["weak"] + 1) * (gained < tol), state["weak"])
    _remember(state, better, move, slope - state["slope"])
    before = pairs.value
    pairs.accept(better, trial, value)
    state["slope"] = slope.where(better[:, None], state["slope"])
    rejected = ~better
    shorter = -promised / (2 * (value - before - promised)).clamp(min=1e-30)
    shorter = shorter.where(value.isfinite() & (promised < 0), torch.full_like(shorter, 0.1))
    state["length"] = torch.where(rejected, state["length"] * shorter.clamp(0.1, 0.5), 1.0)
    pairs.finish(state["weak"] >= _PATIENCE, Status.CONVERGED)
    _redirect(pairs, better)


def _remember(state: dict, better: Tensor, move: Tensor, change: Tensor) -> None:
    """Store a curvature pair where the step was taken and the curvature is positive."""
    inner = (move * change).sum(1)
    store = better & (inner > _CURVATURE * move.norm(dim=1) * change.norm(dim=1))
    for name, new in (
        ("s", move),
        ("y", change),
        ("rho", 1 / inner.where(store, inner.new_ones(()))),
    ):
        old = state[name]
        shifted = old.roll(-1, 1)
        shifted[:, -1] = new
        keep = store.reshape(-1, *[1] * (old.ndim - 1))
        state[name] = shifted.where(keep, old)


def _redirect(pairs: Pairs, moved: Tensor) -> None:
    """Give a new direction to pairs that moved, restart those that ran out of step length."""
    state = pairs.state
    stuck = ~moved & (state["length"] < _SHORTEST)
    blank = state["rho"].abs().sum(1) == 0
    pairs.finish(stuck & blank, Status.CONVERGED)
    for name in ("s", "y", "rho"):
        state[name] = state[name] * (~stuck).reshape(-1, *[1] * (state[name].ndim - 1))
    tangent = pairs.objective.tangent(pairs.z, state["slope"])
    slope = tangent.apply(state["slope"])
    fresh = tangent.apply(-_two_loops(state, slope))
    uphill = (fresh * slope).sum(1) >= 0
    fresh = (-slope).where(uphill[:, None], fresh)
    still = slope.norm(dim=1) == 0
    pairs.finish(still, Status.CONVERGED)
    renew = moved | stuck
    state["direction"] = fresh.where(renew[:, None], state["direction"])
    state["length"] = state["length"].where(~stuck, state["length"].new_ones(()))


def _two_loops(state: dict, slope: Tensor) -> Tensor:
    """Product of the inverse Hessian approximation with a gradient; empty slots have rho 0."""
    s, y, rho = state["s"], state["y"], state["rho"]
    q, weights = slope, []
    for i in reversed(range(s.shape[1])):
        weight = rho[:, i] * (s[:, i] * q).sum(1)
        q = q - weight[:, None] * y[:, i]
        weights.append(weight)
    squares = y[:, -1].square().sum(1)
    gamma = (1 / (rho[:, -1] * squares)).where((rho[:, -1] > 0) & (squares > 0), slope.new_ones(()))
    q = gamma[:, None] * q
    for i, weight in zip(range(s.shape[1]), reversed(weights), strict=True):
        q = q + (weight - rho[:, i] * (y[:, i] * q).sum(1))[:, None] * s[:, i]
    return q
