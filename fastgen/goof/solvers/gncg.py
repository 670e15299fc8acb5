"""Gauss-Newton by conjugate gradients, for latent spaces too large for a normal matrix.

Steihaug's truncated conjugate gradients on the Gauss-Newton model within a trust region, each pair
with its own radius. A product with ``J^T J`` is one forward-mode and one reverse pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..status import Status
from .pairs import Outcome, Pairs

if TYPE_CHECKING:
    from torch import Tensor

    from .objective import Objective

_INNER = 15
_FORCING = 1e-2  # of the gradient norm, where the inner iteration stops
_ACCEPT = 1e-4
_PATIENCE = 2


def solve(
    objective: Objective, z: Tensor, rows: Tensor, *, max_iter: int, tol: float = 1e-6
) -> Outcome:
    """Minimise the objective from each start.

    Parameters
    ----------
    objective : Objective
    z : Tensor (P, k)
    rows : Tensor (P,)
    max_iter : int
        Most steps per pair, of up to 15 products each.
    tol : float
        A pair has converged when two steps in a row gain less than this share of the objective.

    Returns
    -------
    Outcome
    """
    import torch

    pairs = Pairs(objective, z, rows)
    value, slope = objective.gradient(pairs.z, rows)
    pairs.start(value)
    pairs.state = {
        "slope": slope,
        "radius": 1 + pairs.z.norm(dim=1),
        "weak": torch.zeros(len(z), dtype=torch.int64, device=z.device),
    }
    for _ in range(max_iter):
        if not pairs.compact():
            break
        pairs.count_step()
        _step(pairs, tol)
    return pairs.outcome()


def _step(pairs: Pairs, tol: float) -> None:
    import torch

    objective, state = pairs.objective, pairs.state
    smallest = torch.finfo(pairs.value.dtype).tiny
    step, gain = _steihaug(pairs)
    trial = objective.domain.project(pairs.z + step)
    value, slope = objective.gradient(trial, pairs.rows)
    ratio = (pairs.value - value) / gain.clamp(min=smallest)
    better = (ratio > _ACCEPT) & (value < pairs.value)
    gained = (pairs.value - value) / pairs.value.clamp(min=smallest)
    state["weak"] = (state["weak"] + 1) * (~better | (gained < tol))
    length = step.norm(dim=1)
    wider = torch.where(ratio > 0.75, (3 * length).maximum(state["radius"]), state["radius"])
    state["radius"] = torch.where(ratio < 0.25, 0.25 * length, wider)
    hopeless = ~better & (gain <= torch.finfo(value.dtype).eps * pairs.value)
    # a rejected step is weak only when its region has shrunk to nothing
    tiny = length <= 1e-7 * (1 + pairs.z.norm(dim=1))
    state["weak"] = state["weak"].where(better | tiny, state["weak"].new_zeros(()))
    pairs.accept(better, trial, value)
    state["slope"] = slope.where(better[:, None], state["slope"])
    pairs.finish((state["weak"] >= _PATIENCE) | hopeless, Status.LOCAL)


def _steihaug(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return steps (P, k) and the decrease of f (P,) that the model promises."""
    objective, state = pairs.objective, pairs.state
    tangent = objective.tangent(pairs.z, state["slope"])
    residual = -tangent.apply(state["slope"])
    step, direction = 0 * residual, residual
    squares = residual.square().sum(1)
    target = _FORCING**2 * squares
    gain, running = 0 * squares, squares > 0
    for _ in range(_INNER):
        if not running.any():
            break
        live = running.nonzero().squeeze(1)
        product = 0 * direction
        found = objective.curvature_product(pairs.z[live], pairs.rows[live], direction[live])
        product[live] = found
        product = tangent.apply(product) + tangent.curve(direction)
        curvature = (direction * product).sum(1)
        to_edge = _distance_to_edge(step, direction, state["radius"])
        length = squares / curvature.clamp(min=1e-30)
        outside = (curvature <= 0) | (length >= to_edge)
        length = length.where(~outside, to_edge) * running
        gain = gain + 2 * length * (direction * residual).sum(1) - length.square() * curvature
        step = step + length[:, None] * direction
        residual = residual - length[:, None] * product
        fresh = residual.square().sum(1)
        running = running & ~outside & (fresh > target)
        direction = residual + (fresh / squares.clamp(min=1e-30))[:, None] * direction
        squares = fresh
    return step, gain


def _distance_to_edge(step: Tensor, direction: Tensor, radius: Tensor) -> Tensor:
    """Return t >= 0 with |step + t direction| = radius."""
    a = direction.square().sum(1).clamp(min=1e-30)
    b = (step * direction).sum(1)
    c = (step.square().sum(1) - radius.square()).clamp(max=0)
    return (-b + (b.square() - a * c).sqrt()) / a
