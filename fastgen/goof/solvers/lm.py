"""Levenberg-Marquardt for many (latent, target) pairs, each with its own damping.

A step solves ``(J^T J + lambda s I) delta = -J^T r`` with s the mean diagonal of J^T J. A normal
matrix is far dearer than a trial of a step, so a few dampings are tried on each and the best one is
taken; a matrix is computed again only after a step was accepted. Gradients are always exact
(reverse mode); matrices may be computed in reduced precision while that still makes progress.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..status import Status
from .pairs import Outcome, Pairs

if TYPE_CHECKING:
    from torch import Tensor

    from .objective import Objective

_FIRST_DAMPING = 1e-2
_TRIALS = (0.1, 1.0, 10.0)  # times the damping
_SMALLEST, _LARGEST = 1e-12, 1e8
_FAITHFUL = 0.75  # share of the predicted gain above which a matrix is used again
_REUSES = 3
_PATIENCE = 2  # steps in a row that gain less than ``tol``


def solve(
    objective: Objective,
    z: Tensor,
    rows: Tensor,
    *,
    max_iter: int,
    tol: float = 1e-6,
    coarse: bool = False,
) -> Outcome:
    """Minimise the objective from each start.

    Parameters
    ----------
    objective : Objective
    z : Tensor (P, k)
        Starts.
    rows : Tensor (P,)
        The target of each.
    max_iter : int
        Most steps per pair; a step tries three dampings.
    tol : float
        A pair has converged when two steps in a row gain less than this share of the objective.
    coarse : bool
        Compute normal matrices in reduced precision, see `Objective.normal_matrix`.

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
        "matrix": z.new_empty(len(z), z.shape[1], z.shape[1]),
        "stale": torch.ones(len(z), dtype=torch.bool, device=z.device),
        "damping": z.new_full((len(z),), _FIRST_DAMPING),
        "reused": torch.zeros(len(z), dtype=torch.int64, device=z.device),
        "weak": torch.zeros(len(z), dtype=torch.int64, device=z.device),
    }
    for _ in range(max_iter):
        if not pairs.compact():
            break
        state = pairs.state
        stale = state["stale"].nonzero().squeeze(1)
        if len(stale):
            fresh = objective.normal_matrix(pairs.z[stale], pairs.rows[stale], coarse=coarse)
            state["matrix"][stale] = fresh
        pairs.count_step()
        _step(pairs, tol)
    return pairs.outcome()


def _step(pairs: Pairs, tol: float) -> None:
    """Try several dampings on every pair and take the best one that descends."""
    import torch

    objective, state = pairs.objective, pairs.state
    tangent = objective.tangent(pairs.z, state["slope"])
    slope = tangent.apply(state["slope"])
    matrix = tangent.restrict(state["matrix"])
    scale = matrix.diagonal(dim1=1, dim2=2).mean(1).clamp(min=torch.finfo(slope.dtype).tiny)
    best, best_z = torch.full_like(pairs.value, float("inf")), pairs.z
    chosen, predicted = state["damping"], torch.zeros_like(pairs.value)
    for factor in _TRIALS:
        damping = (state["damping"] * factor).clamp(_SMALLEST, _LARGEST)
        step = _damped(matrix, slope, damping * scale)
        trial = objective.domain.project(pairs.z + tangent.apply(step))
        value = objective.value(trial, pairs.rows)
        better = value < best
        best, best_z = value.where(better, best), trial.where(better[:, None], best_z)
        chosen = damping.where(better, chosen)
        # of the model, f(z) - m(step) = -2 g.step - step.A step
        gain = damping * scale * step.square().sum(1) - (slope * step).sum(1)
        predicted = gain.where(better, predicted)
    better = best < pairs.value
    gained = (pairs.value - best) / pairs.value.clamp(min=torch.finfo(slope.dtype).tiny)
    weak = ~better | (gained < tol)
    state["weak"] = (state["weak"] + 1) * weak
    state["damping"] = chosen.where(better, (state["damping"] * 100).clamp(max=_LARGEST))
    ratio = (pairs.value - best) / predicted.clamp(min=torch.finfo(slope.dtype).tiny)
    state["stale"] = better & ((ratio < _FAITHFUL) | (state["reused"] >= _REUSES))
    state["reused"] = (state["reused"] + better) * ~state["stale"]
    # a step that an old matrix could not make is no sign of convergence
    old = ~better & (state["reused"] > 0)
    state["stale"] = state["stale"] | old
    state["weak"] = state["weak"] * ~old
    state["reused"] = state["reused"] * ~old
    hopeless = ~better & ~old & (predicted <= torch.finfo(slope.dtype).eps * pairs.value)
    pairs.accept(better, best_z, best)
    pairs.finish(state["weak"] >= _PATIENCE, Status.LOCAL)
    pairs.finish(hopeless, Status.LOCAL)
    moved = (better & ~pairs.done).nonzero().squeeze(1)
    if len(moved):
        state["slope"][moved] = objective.gradient(pairs.z[moved], pairs.rows[moved])[1]


def _damped(matrix: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """Return the step -(matrix + shift I)^-1 slope, steepest descent where that has no Cholesky."""
    import torch

    damped = matrix.clone()
    damped.diagonal(dim1=1, dim2=2).add_(shift[:, None])
    factor, info = torch.linalg.cholesky_ex(damped)
    step = -torch.cholesky_solve(slope[:, :, None], factor).squeeze(2)
    fallback = -slope / (matrix.diagonal(dim1=1, dim2=2).sum(1) + shift)[:, None]
    usable = (info == 0) & step.isfinite().all(1)
    return step.where(usable[:, None], fallback)
