"""Which starts are worth finishing: a race of cheap steps, then the solver for those ahead.

Whether a start is finished depends only on the starts before it: it must be among the best few of
those after each part of the race. So with more starts the finished ones stay finished, and a
distance can only fall.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from . import adam, gncg, lbfgs, lm
from .pairs import Outcome, Status

if TYPE_CHECKING:
    from torch import Tensor

    from .objective import Objective

METHODS = ("auto", "lm", "gncg", "lbfgs", "adam")
_LARGEST_NORMAL_MATRIX = 256
# Parts of the race: gradients per start at its end, the damping of the metric, and the starts that
# then go on. A metric that is almost the identity at first leads to better minima; L-BFGS alone
# lets fewer starts go on.
_RACE = ((20, 1.0, 4), (60, 0.1, 4), (120, 0.03, 1))
_SHORT_RACE = ((5, 1.0, 4), (20, 0.1, 2), (60, 0.03, 1))
_COARSE_SWEEPS = 20  # with products of reduced precision
_KEEP = 1  # starts that go on after the coarse part of the solver
# Share of the squared distance that a step must gain, twice in a row, for the solver to go on.
_COARSE_TOL, _FINE_TOL = 1e-2, 1e-4
_RACE_TOL = 1e-5  # the same for the race before a solver, three times in a row
_RACE_SHARE = 3  # gradients of the race per step of the solver, at most

Solver = Callable[["Objective", "Tensor", "Tensor"], Outcome]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What each start goes through, dearer from stage to stage.

    ``race`` holds (gradients so far, damping of the metric, starts that go on); ``solvers``
    (solver, starts that go on).
    """

    race: tuple[tuple[int, float, int], ...]
    solvers: tuple[tuple[Solver, int], ...]
    race_tol: float  # as for lbfgs.solve
    round_size: int = 4  # starts of the first round


def plan(method: str, max_iter: int, objective: Objective) -> Plan:
    """Return the stages of a method.

    "auto" takes normal matrices up to 256 latent coordinates. Levenberg-Marquardt in float32 is in
    two parts, the first with matrices of reduced precision.
    """
    if method == "auto":
        small = objective.generator.latent_dim <= _LARGEST_NORMAL_MATRIX
        method = "lm" if small else "gncg"
    if method == "adam":
        return Plan((), ((functools.partial(adam.solve, max_iter=max_iter), 1),), 0.0)
    if method == "lbfgs":
        return Plan(_cut(_SHORT_RACE, max_iter), (), lbfgs.TOL, round_size=8)
    race = _cut(_RACE, min(_RACE_SHARE * max_iter, _RACE[-1][0]))
    if method == "lm" and objective.coarse and max_iter > 1:
        half = max_iter // 2
        coarse = functools.partial(lm.solve, max_iter=half, tol=_COARSE_TOL, coarse=True)
        fine = functools.partial(lm.solve, max_iter=max_iter - half, tol=_FINE_TOL)
        return Plan(race, ((coarse, _KEEP), (fine, 1)), _RACE_TOL)
    solve = lm.solve if method == "lm" else gncg.solve
    return Plan(race, ((functools.partial(solve, max_iter=max_iter), 1),), _RACE_TOL)


@dataclasses.dataclass
class _Best(Outcome):
    """Best of each target so far, and which start (n,) it came from."""

    column: Tensor


def _cut(
    race: tuple[tuple[int, float, int], ...], sweeps: int
) -> tuple[tuple[int, float, int], ...]:
    """Let a race end after ``sweeps`` gradients, later or earlier."""
    earlier = [part for part in race if part[0] < sweeps]
    _, damping, keep = race[min(len(earlier), len(race) - 1)]
    return (*earlier, (sweeps, damping, keep))


def search(
    objective: Objective, starts: Tensor, stages: Plan, history: list[tuple[float, float]]
) -> Outcome:
    """Return the best latent of each target over its starts (n, s, k), NaN where there is none.

    ``history`` gets, after each stage, the passes through the generator and the sum over targets of
    the best squared distances so far.
    """
    import torch

    n, s, _ = starts.shape
    device = starts.device
    best = _Best(
        starts[:, 0].clone(),
        torch.full((n,), float("inf"), dtype=starts.dtype, device=device),
        torch.full((n,), Status.FAILED, dtype=torch.int8, device=device),
        torch.zeros(n, dtype=torch.int64, device=device),
        torch.zeros(n, dtype=torch.int64, device=device),
    )
    n_stages = len(stages.race) + len(stages.solvers)
    reached = torch.full((n_stages, n, s), float("inf"), dtype=starts.dtype, device=device)
    for first, last in _rounds(s, stages.round_size):
        unsolved = (best.status != Status.EXACT).nonzero().squeeze(1)
        rows = unsolved.repeat_interleave(last - first)
        columns = torch.arange(first, last, device=device).repeat(len(unsolved))
        usable = starts[rows, columns].isfinite().all(1)
        rows, columns = rows[usable], columns[usable]
        z, n_iter = starts[rows, columns], torch.zeros_like(rows)
        found = reached[: len(stages.race)]
        if stages.race and len(rows):
            rows, columns, z, n_iter = _run_race(
                objective, z, rows, columns, stages, best, found, history
            )
        for (solver, keep), table in zip(stages.solvers, reached[len(stages.race) :], strict=True):
            if not len(rows):
                break
            outcome = solver(objective, z, rows)
            outcome.n_iter += n_iter
            _merge(objective, best, outcome, rows, columns, table)
            history.append((objective.work.sum().item(), best.value.sum().item()))
            ahead = _rank(table, rows, columns) < keep
            rows, columns = rows[ahead], columns[ahead]
            z, n_iter = outcome.z[ahead], outcome.n_iter[ahead]
    return best


def _run_race(
    objective: Objective,
    z: Tensor,
    rows: Tensor,
    columns: Tensor,
    stages: Plan,
    best: _Best,
    reached: Tensor,
    history: list[tuple[float, float]],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the race, and return the rows, columns, latents and step counts of those ahead.

    Values of reduced precision decide who goes on; only exact ones count as found.
    """
    import torch

    race = stages.race
    coarse = race[-1][0] > _COARSE_SWEEPS
    descent = lbfgs.Descent(objective, z, rows, damping=race[0][1], coarse=coarse)
    alive, done = torch.arange(len(rows), device=rows.device), 0
    for number, (sweeps, damping, keep) in enumerate(race):
        if done >= _COARSE_SWEEPS or number == len(race) - 1:
            descent.refine()
        descent.damp(damping)
        whole, done = descent.run(sweeps - done, stages.race_tol), sweeps
        part = Outcome(*(x[alive] for x in (whole.z, whole.value, whole.status, whole.n_iter)))
        if descent.coarse:
            reached[number][rows[alive], columns[alive]] = part.value
        else:
            _merge(objective, best, part, rows[alive], columns[alive], reached[number])
            history.append((objective.work.sum().item(), best.value.sum().item()))
        ahead = _rank(reached[number], rows[alive], columns[alive]) < keep
        behind = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        behind[alive[ahead]] = False
        descent.drop(behind)
        alive = alive[ahead]
    return rows[alive], columns[alive], whole.z[alive], whole.n_iter[alive]


def _rounds(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of starts of growing size: later ones are for targets still unsolved."""
    first = 0
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
    best: _Best,
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
    # a later stage of the same start says how the search ended, also where it gained nothing
    slack = 8 * torch.finfo(value.dtype).eps * best.value.nan_to_num(posinf=0.0)
    same = (column == best.column) & (value <= best.value + slack) & value.isfinite()
    better = ((value < best.value) | same).nonzero().squeeze(1)
    source = place[better, column[better]]
    best.z[better], best.value[better] = outcome.z[source], value[better]
    best.status[better], best.n_iter[better] = outcome.status[source], outcome.n_iter[source]
    best.column[better] = column[better]
