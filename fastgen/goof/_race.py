"""Which starts are worth finishing: a race of cheap steps, then the solver for those ahead.

Whether a start is finished depends only on the starts before it: it must be among the best few of
those after the race. So with more starts the finished ones stay finished, and a distance can
only fall.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from . import adam, gncg, lbfgs, lm
from ._pairs import Outcome, Status

if TYPE_CHECKING:
    from torch import Tensor

    from ._objective import Objective

METHODS = ("auto", "lm", "gncg", "lbfgs", "adam")
_LARGEST_NORMAL_MATRIX = 256
_SWEEPS = 20  # gradients per start in the race
_KEEP = (4, 1)  # starts that go on after the race, and after the first part of the solver
_ROUND = 4
_COARSE_TOL = 1e-3

Solver = Callable[["Objective", "Tensor", "Tensor"], Outcome]


def stages(method: str, max_iter: int, objective: Objective) -> list[Solver]:
    """Return what each start goes through, dearer from stage to stage.

    "auto" takes normal matrices up to 256 latent coordinates. Levenberg-Marquardt in float32 is in
    two parts, the first with matrices of reduced precision.
    """
    if method == "auto":
        small = objective.generator.latent_dim <= _LARGEST_NORMAL_MATRIX
        method = "lm" if small else "gncg"
    if method == "adam":
        return [functools.partial(adam.solve, max_iter=max_iter)]
    race = functools.partial(lbfgs.solve, max_iter=min(_SWEEPS, max_iter))
    if method == "lm":
        if not objective.coarse or max_iter < 2:
            return [race, functools.partial(lm.solve, max_iter=max_iter)]
        half = max_iter // 2
        coarse = functools.partial(lm.solve, max_iter=half, tol=_COARSE_TOL, coarse=True)
        return [race, coarse, functools.partial(lm.solve, max_iter=max_iter - half)]
    solver = lbfgs.solve if method == "lbfgs" else gncg.solve
    return [race, functools.partial(solver, max_iter=max_iter)]


def search(
    objective: Objective,
    starts: Tensor,
    solvers: Sequence[Solver],
    history: list[tuple[float, float]],
) -> Outcome:
    """Return the best latent of each target over its starts (n, s, k), NaN where there is none.

    ``history`` gets, after each stage, the passes through the generator and the sum over targets of
    the best squared distances so far.
    """
    import torch

    n, s, _ = starts.shape
    device = starts.device
    best = Outcome(
        starts[:, 0].clone(),
        torch.full((n,), float("inf"), dtype=starts.dtype, device=device),
        torch.full((n,), Status.FAILED, dtype=torch.int8, device=device),
        torch.zeros(n, dtype=torch.int64, device=device),
    )
    reached = torch.full((len(solvers), n, s), float("inf"), dtype=starts.dtype, device=device)
    for first, last in _rounds(s):
        unsolved = (best.status != Status.EXACT).nonzero().squeeze(1)
        rows = unsolved.repeat_interleave(last - first)
        columns = torch.arange(first, last, device=device).repeat(len(unsolved))
        usable = starts[rows, columns].isfinite().all(1)
        rows, columns = rows[usable], columns[usable]
        z, n_iter = starts[rows, columns], torch.zeros_like(rows)
        for stage, solver in enumerate(solvers):
            if stage:
                ahead = _rank(reached[stage - 1], rows, columns) < _KEEP[stage - 1]
                rows, columns, z, n_iter = rows[ahead], columns[ahead], z[ahead], n_iter[ahead]
            if not len(rows):
                break
            outcome = solver(objective, z, rows)
            outcome.n_iter += n_iter
            z, n_iter = outcome.z, outcome.n_iter
            _merge(objective, best, outcome, rows, columns, reached[stage])
            history.append((objective.work.sum().item(), best.value.sum().item()))
    return best


def _rounds(count: int) -> Iterator[tuple[int, int]]:
    """Ranges of starts of growing size: later ones are for targets still unsolved."""
    first, size = 0, _ROUND
    while first < count:
        yield first, min(first + size, count)
        first, size = first + size, 2 * size if first else size


def _rank(reached: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Count, for each start, those before it that did at least as well in the stage before."""
    import torch

    before = torch.arange(reached.shape[1], device=reached.device)[None, :] < columns[:, None]
    return (before & (reached[rows] <= reached[rows, columns][:, None])).sum(1)


def _merge(
    objective: Objective,
    best: Outcome,
    outcome: Outcome,
    rows: Tensor,
    columns: Tensor,
    reached: Tensor,
) -> None:
    """Note the squared distances of an outcome in ``reached`` (n, s), keep what is nearer.

    Distances are compared without the penalty, and the earlier start wins a tie.
    """
    import torch

    squared = outcome.value
    if objective.penalty:
        squared = objective.squared_distance(outcome.z, rows)
    reached[rows, columns] = squared
    table, place = (
        torch.full_like(reached, float("inf")),
        torch.zeros_like(reached, dtype=torch.int64),
    )
    table[rows, columns] = squared
    place[rows, columns] = torch.arange(len(rows), device=rows.device)
    value, column = table.min(1)
    better = (value < best.value).nonzero().squeeze(1)
    source = place[better, column[better]]
    best.z[better], best.value[better] = outcome.z[source], value[better]
    best.status[better], best.n_iter[better] = outcome.status[source], outcome.n_iter[source]
