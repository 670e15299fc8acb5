"""What ``kernels/cpu/lbfgs.py`` does, in tensor operations: for pairs on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

REJECTED, MOVED, RESTARTED, STUCK = 0, 1, 2, 3
_ARMIJO = 1e-4
_CURVATURE = 1e-10
_SHORTEST = 1e-10


def take_steps(
    trial: Tensor, trial_value: Tensor, trial_slope: Tensor, state: dict, tol: float
) -> None:
    """Move to the trials that descend enough, shorten the steps of the others."""
    import torch

    z, value, slope, length = (state[name] for name in ("z", "value", "slope", "length"))
    move = trial - z
    promised = 2 * (slope * move).sum(1)
    moved = (trial_value < value) & (trial_value <= value + _ARMIJO * promised.clamp(max=0))
    change = trial_slope - slope
    inner, squares = (move * change).sum(1), change.square().sum(1)
    stored = moved & (inner > _CURVATURE * (move.square().sum(1) * squares).sqrt())
    rows, at = stored.nonzero().squeeze(1), state["head"][stored]
    state["s"][rows, at], state["y"][rows, at] = move[stored], change[stored]
    state["rho"][rows, at] = 1 / inner[stored]
    state["gamma"][stored] = inner[stored] / squares[stored]
    state["head"][stored] = (at + 1) % state["rho"].shape[1]
    small = value - trial_value < tol * value
    weak = state["weak"]
    weak.copy_(torch.where(moved, (weak + 1) * small, weak))
    shorter = -promised / (2 * (trial_value - value - promised)).clamp(min=2e-30)
    known = trial_value.isfinite() & (promised < 0)
    shorter = shorter.where(known, torch.full_like(shorter, 0.1)).clamp(0.1, 0.5)
    length.copy_(torch.where(moved, 1.0, length * shorter))
    exhausted = ~moved & (length < _SHORTEST)
    blank = (state["rho"] == 0).all(1)
    outcome = torch.where(exhausted, torch.where(blank, STUCK, RESTARTED), moved * MOVED)
    state["outcome"].copy_(outcome)
    state["rho"].masked_fill_(exhausted[:, None], 0)
    state["gamma"].masked_fill_(exhausted, 1)
    length.masked_fill_(exhausted, 1)
    for mine, other in ((z, trial), (slope, trial_slope)):
        mine.copy_(other.where(moved[:, None], mine))
    value.copy_(trial_value.where(moved, value))


def first_loop(state: dict, q: Tensor, weights: Tensor) -> None:
    """First loop of the two-loop recursion, newest pair first; ``q`` and ``weights`` change."""
    for rows, at in _places(state, newest_first=True):
        weight = state["rho"][rows, at] * (state["s"][rows, at] * q).sum(1)
        weights[rows, at] = weight
        q -= weight[:, None] * state["y"][rows, at]


def second_loop(state: dict, q: Tensor, weights: Tensor) -> None:
    """Second loop of the two-loop recursion, oldest pair first; ``q`` changes."""
    for rows, at in _places(state, newest_first=False):
        rest = weights[rows, at] - state["rho"][rows, at] * (state["y"][rows, at] * q).sum(1)
        rest = rest * (state["rho"][rows, at] != 0)
        q += rest[:, None] * state["s"][rows, at]


def _places(state: dict, *, newest_first: bool):
    import torch

    history = state["rho"].shape[1]
    rows = torch.arange(len(state["head"]), device=state["head"].device)
    for j in range(history):
        yield rows, (state["head"] + (-1 - j if newest_first else j)) % history
