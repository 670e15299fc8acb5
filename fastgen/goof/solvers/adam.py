"""Adam with a fixed step: what most scripts run today, kept as a baseline.

Unlike those scripts it keeps the best latent it saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pairs import Outcome, Pairs

if TYPE_CHECKING:
    from torch import Tensor

    from .objective import Objective

_RATE, _BETA1, _BETA2, _EPS = 0.1, 0.9, 0.999, 1e-8


def solve(objective: Objective, z: Tensor, rows: Tensor, *, max_iter: int) -> Outcome:
    """Run ``max_iter`` steps of rate 0.1 on the mean squared error from each start.

    Parameters
    ----------
    objective : Objective
    z : Tensor (P, k)
    rows : Tensor (P,)
    max_iter : int

    Returns
    -------
    Outcome
        The best latents seen; nothing is ever said to have converged.
    """
    import torch

    pairs = Pairs(objective, z, rows)
    value, slope = objective.gradient(pairs.z, rows)
    pairs.start(value)
    pairs.state = {
        "here": pairs.z,
        "slope": slope,
        "first": torch.zeros_like(z),
        "second": torch.zeros_like(z),
    }
    for number in range(1, max_iter + 1):
        if not pairs.compact():
            break
        state = pairs.state
        gradient = 2 * state["slope"] / objective.generator.output_dim
        state["first"] = _BETA1 * state["first"] + (1 - _BETA1) * gradient
        state["second"] = _BETA2 * state["second"] + (1 - _BETA2) * gradient.square()
        root = (state["second"] / (1 - _BETA2**number)).sqrt() + _EPS
        move = _RATE / (1 - _BETA1**number) * state["first"] / root
        state["here"] = objective.domain.project(state["here"] - move)
        value, state["slope"] = objective.gradient(state["here"], pairs.rows)
        pairs.count_step()
        pairs.accept(value < pairs.value, state["here"], value)
    return pairs.outcome()
