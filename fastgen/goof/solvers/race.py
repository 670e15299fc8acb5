"""Which starts are worth finishing: a race of cheap steps, then the solver for those ahead.

Whether a start is finished depends only on the starts before it: it must be among the best few of
those after each part of the race. So with more starts the finished ones stay finished, and a
distance can only fall. Restarts around the best follow (``restarts.py``).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..status import Status
from . import SOLVERS, lbfgs
from .objective import LARGEST_NORMAL_MATRIX
from .pairs import Outcome
from .restarts import HEATS, SAME, Chains, Heat, Restarts

if TYPE_CHECKING:
    from torch import Tensor

    from .objective import Objective


# A metric that is almost the identity at first leads to better minima; where L-BFGS is the whole
# search, fewer starts go on.
_RACE = (Heat(20, 1.0, 4), Heat(60, 0.1, 4), Heat(120, 0.03, 1))
_SHORT_RACE = (Heat(5, 1.0, 4), Heat(20, 0.1, 2), Heat(60, 0.03, 1))
_COARSE_SWEEPS = 20  # gradients of the race whose products are of reduced precision
_KEEP = 1  # starts that go on after the coarse part of the solver
# Share of the squared distance that a step must gain, twice in a row, for the solver to go on.
_COARSE_TOL, _FINE_TOL = 1e-2, 1e-4
# Share that a step of a race with a solver after it must gain, three times in a row, to go on.
_RACE_TOL = 1e-5
_RACE_SHARE = 3  # gradients of the race per step of the solver, at most

Solver = Callable[["Objective", "Tensor", "Tensor"], Outcome]


class Finish(NamedTuple):
    """A solver after the race, and how many starts of a target go on from it."""

    solver: Solver
    survivors: int


@dataclasses.dataclass(frozen=True)
class Stages:
    """What each start goes through, dearer from stage to stage.

    Attributes
    ----------
    race : tuple of Heat
    finishes : tuple of Finish
    race_tol : float
        As for ``lbfgs.solve``.
    round_size : int
        Starts of the first round.
    restarts : Restarts, optional
        What follows after the last start.
    """

    race: tuple[Heat, ...]
    finishes: tuple[Finish, ...]
    race_tol: float
    round_size: int = 4
    restarts: Restarts | None = None


def plan(
    method: str, max_iter: int, objective: Objective, restarts: Restarts | None = None
) -> Stages:
    """Return the stages of a method.

    "auto" takes normal matrices up to 256 latent coordinates. Levenberg-Marquardt in float32 is in
    two parts, the first with matrices of reduced precision. "adam", the baseline, is never
    restarted.
    """
    if method == "auto":
        small = objective.generator.latent_dim <= LARGEST_NORMAL_MATRIX
        method = "lm" if small else "gncg"
    if restarts is not None:
        longest = max_iter if method == "lbfgs" else _RACE_SHARE * max_iter
        heats = _cut(HEATS, min(longest, HEATS[-1].gradients))
        restarts = dataclasses.replace(restarts, heats=heats)
    if method == "lbfgs":
        return Stages(_cut(_SHORT_RACE, max_iter), (), lbfgs.TOL, 8, restarts)
    solve = functools.partial(SOLVERS[method], max_iter=max_iter)
    if method == "adam":
        return Stages((), (Finish(solve, 1),), 0.0)
    race = _cut(_RACE, min(_RACE_SHARE * max_iter, _RACE[-1].gradients))
    if method == "lm" and objective.coarse and max_iter > 1:
        half = max_iter // 2
        coarse = functools.partial(solve, max_iter=half, tol=_COARSE_TOL, coarse=True)
        fine = functools.partial(solve, max_iter=max_iter - half, tol=_FINE_TOL)
        ends = (Finish(coarse, _KEEP), Finish(fine, 1))
        return Stages(race, ends, _RACE_TOL, restarts=restarts)
    return Stages(race, (Finish(solve, 1),), _RACE_TOL, restarts=restarts)


@dataclasses.dataclass
class _Best(Outcome):
    """Best of each target so far, and which start (n,) it came from."""

    column: Tensor


def _cut(race: tuple[Heat, ...], gradients: int) -> tuple[Heat, ...]:
    """Let a race end after so many gradients, later or earlier."""
    earlier = [heat for heat in race if heat.gradients < gradients]
    last = race[min(len(earlier), len(race) - 1)]
    return (*earlier, last._replace(gradients=gradients))


def search(
    objective: Objective, starts: Tensor, plan: Stages, history: list[tuple[float, float]]
) -> Outcome:
    """Return the best latent of each target over its starts (n, s, k), NaN where there is none.

    ``history`` gets, after each stage, the passes through the generator and the sum over targets of
    the best squared distances so far.
    """
    import torch

    n, s, _ = starts.shape
    device, chains = starts.device, Chains(starts)
    best = _Best(
        starts[:, 0].clone(),
        torch.full((n,), float("inf"), dtype=starts.dtype, device=device),
        torch.full((n,), Status.FAILED, dtype=torch.int8, device=device),
        torch.zeros(n, dtype=torch.int64, device=device),
        torch.zeros(n, dtype=torch.int64, device=device),
    )
    n_stages = len(plan.race) + len(plan.finishes)
    reached = torch.full((n_stages, n, s), float("inf"), dtype=starts.dtype, device=device)
    for first, last in _rounds(s, plan.round_size):
        unsolved = (best.status != Status.EXACT).nonzero().squeeze(1)
        rows = unsolved.repeat_interleave(last - first)
        columns = torch.arange(first, last, device=device).repeat(len(unsolved))
        usable = starts[rows, columns].isfinite().all(1)
        rows, columns = rows[usable], columns[usable]
        z, n_iter = starts[rows, columns], torch.zeros_like(rows)
        found = reached[: len(plan.race)]
        if plan.race and len(rows):
            rows, columns, z, n_iter = _run_race(
                objective, z, rows, columns, plan, best, found, history, chains
            )
        for (solver, survivors), table in zip(
            plan.finishes, reached[len(plan.race) :], strict=True
        ):
            if not len(rows):
                break
            outcome = solver(objective, z, rows)
            outcome.n_iter += n_iter
            _merge(objective, best, outcome, rows, columns, table)
            chains.keep(outcome.z, table[rows, columns], rows, columns)
            _note(history, objective, best)
            ahead = _rank(table, rows, columns) < survivors
            rows, columns = rows[ahead], columns[ahead]
            z, n_iter = outcome.z[ahead], outcome.n_iter[ahead]
    if plan.restarts is not None:
        _restart(objective, plan, plan.restarts, chains, best, history)
    return best


def _restart(
    objective: Objective,
    plan: Stages,
    restarts: Restarts,
    chains: Chains,
    best: _Best,
    history: list[tuple[float, float]],
) -> None:
    """Restart around the incumbents, and let the last solver end what was found by that."""
    import torch

    table = torch.empty_like(chains.value)
    best.column.fill_(-1)  # no start
    for last in restarts.rounds:
        before = chains.nearest()[0]
        chains.run(objective, restarts, last)
        least, chain = chains.nearest()
        rows, pair = (least < before).nonzero(as_tuple=True)
        if not len(rows):
            continue
        chain = chain[rows, pair]
        found = Outcome(
            chains.z[rows, chain],
            chains.value[rows, chain],
            torch.full_like(rows, Status.LOCAL, dtype=torch.int8),
            torch.full_like(rows, restarts.heats[-1].gradients),
        )
        table.fill_(float("inf"))
        _merge(objective, best, found, rows, chain, table)
        _note(history, objective, best)
        if plan.finishes:
            found = plan.finishes[-1].solver(objective, found.z, rows)
            _merge(objective, best, found, rows, chain, table)
            chains.move(found.z, table[rows, chain], rows, chain)
            _note(history, objective, best)
    near = chains.nearest()[0] <= (1 + SAME) * best.value[:, None]
    agreed = (chains.met & near).any(1)
    agreed &= (best.status == Status.LOCAL) | (best.status == Status.MAX_ITER)
    best.status[agreed] = int(Status.AGREED)


def _run_race(
    objective: Objective,
    z: Tensor,
    rows: Tensor,
    columns: Tensor,
    plan: Stages,
    best: _Best,
    reached: Tensor,
    history: list[tuple[float, float]],
    chains: Chains,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the race, and return the rows, columns, latents and step counts of those ahead.

    Values of reduced precision decide who goes on; only exact ones count as found.
    """
    import torch

    race = plan.race
    coarse = race[-1].gradients > _COARSE_SWEEPS
    descent = lbfgs.Descent(objective, z, rows, damping=race[0].damping, coarse=coarse)
    alive, done = torch.arange(len(rows), device=rows.device), 0
    for number, (gradients, damping, survivors) in enumerate(race):
        if done >= _COARSE_SWEEPS or number == len(race) - 1:
            descent.refine()
        descent.damp(damping)
        whole, done = descent.run(gradients - done, plan.race_tol), gradients
        part = Outcome(*(x[alive] for x in (whole.z, whole.value, whole.status, whole.n_iter)))
        if descent.coarse:
            reached[number][rows[alive], columns[alive]] = part.value
        else:
            where, start = rows[alive], columns[alive]
            _merge(objective, best, part, where, start, reached[number])
            chains.keep(part.z, reached[number][where, start], where, start)
            _note(history, objective, best)
        ahead = _rank(reached[number], rows[alive], columns[alive]) < survivors
        behind = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        behind[alive[ahead]] = False
        descent.drop(behind)
        alive = alive[ahead]
    return rows[alive], columns[alive], whole.z[alive], whole.n_iter[alive]


def _note(history: list[tuple[float, float]], objective: Objective, best: _Best) -> None:
    """Add a stage to the history, if anything was left to do in it."""
    work = objective.work.sum().item()
    if not history or work > history[-1][0]:
        history.append((work, best.value.sum().item()))


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
