"""Exact discrete optimal transport, dense or with costs evaluated only where they can matter."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

_MAX_STEPS = 10_000_000
_GAP = 1e-9  # of a plan's optimality, relative to the largest cost


@dataclasses.dataclass(frozen=True)
class Plan:
    """An optimal plan with its value and the prices that prove it."""

    plan: np.ndarray
    value: float
    potentials: tuple[np.ndarray, np.ndarray]


def solve(p: np.ndarray, q: np.ndarray, cost: np.ndarray) -> Plan:
    """Exact plan between weights that both sum to 1, by POT's network simplex.

    Costs are brought to unit size first: the simplex has absolute tolerances. The plan is then
    checked by its prices (dual potentials).
    """
    if np.isnan(cost).any():
        raise ValueError("transport costs must not be NaN")
    if min(cost.shape) == 1:
        plan = np.outer(p, q)
        u = cost[:, 0] if cost.shape[1] == 1 else np.zeros(1)
        v = np.zeros(1) if cost.shape[1] == 1 else cost[0]
        return Plan(plan, float((plan * cost).sum()), (u, v))
    ot = solver()
    size = float(cost.max()) or 1.0
    plan, log = ot.emd(p, q, cost / size, numItermax=_MAX_STEPS, log=True)
    u, v = log["u"], log["v"]
    violated = (u[:, None] + v - cost / size).max()
    gap = (plan * cost).sum() / size - p @ u - q @ v
    marginal = max(np.abs(plan.sum(1) - p).max(), np.abs(plan.sum(0) - q).max())
    if log["warning"] or not max(violated, abs(gap), marginal) <= _GAP:
        raise RuntimeError(
            f"ot.emd returned no optimal plan ({log['warning'] or 'its prices do not prove it'}); "
            "install a newer POT"
        )
    return Plan(plan, float((plan * cost).sum()), (u * size, v * size))


def solver() -> ModuleType:
    """Return POT, or raise saying how to install it; it loads torch, which sets warning filters."""
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            'transport between mixtures needs POT: pip install "POT>=0.9.5"'
        ) from error
    return ot


def solve_lazily(
    p: np.ndarray,
    q: np.ndarray,
    lower: np.ndarray,
    evaluate: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> tuple[Plan, np.ndarray, np.ndarray]:
    """Exact plan from lower bounds of the costs and the exact costs of the cells it uses.

    The plan is solved for on costs that are exact or lower bounds, until all of its cells are
    exact: no other plan can then cost less. Returns the plan, the costs and which are exact.
    """
    cost, exact = lower.copy(), np.zeros(lower.shape, dtype=bool)
    while True:
        found = solve(p, q, cost)
        rows, columns = np.nonzero((found.plan > 0) & ~exact)
        if not len(rows):
            return found, cost, exact
        cost[rows, columns] = evaluate(rows, columns)
        exact[rows, columns] = True


def solve_multimarginal(
    weights: Sequence[np.ndarray], cost: np.ndarray
) -> tuple[np.ndarray, float]:
    """Exact plan over K_1 x ... x K_J cells with the given marginals, by HiGHS' simplex."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    cells = np.arange(cost.size)
    positions = np.unravel_index(cells, cost.shape)
    offsets = itertools.accumulate((0, *cost.shape[:-1]))
    rows = np.concatenate([at + offset for at, offset in zip(positions, offsets, strict=True)])
    columns = np.tile(cells, cost.ndim)
    marginals = csr_array((np.ones(len(rows)), (rows, columns)))
    size = float(cost.max()) or 1.0
    found = linprog(
        cost.ravel() / size, A_eq=marginals, b_eq=np.concatenate(weights), method="highs-ds"
    )
    if not found.success:
        raise RuntimeError(f"the multimarginal plan was not found: {found.message}")
    plan = np.maximum(found.x, 0).reshape(cost.shape)
    return plan, float((plan * cost).sum())
