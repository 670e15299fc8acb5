"""L-BFGS for many (latent, target) pairs: memory, step length and line search of each are its own.

Every sweep evaluates one trial point of every unfinished pair. Where Armijo's condition holds the
pair moves, stores its curvature pair and gets a new direction; elsewhere its step is shortened
by quadratic interpolation. No pair waits for another.

Before a pair has learned its own curvature it uses that of the generator: the mean of ``J^T J``
over its prior (``typical_metric.py``), one matrix for all pairs. On networks with many kinks,
whose normal matrices say little beyond a small neighborhood, this descends faster per second than
Levenberg-Marquardt until the end is near (``bench/results/goof.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._dispatch import lbfgs as kernels
from ..status import Status
from . import lbfgs_tensors
from .pairs import Outcome, Pairs

if TYPE_CHECKING:
    from torch import Tensor

    from .objective import Objective

TOL = 1e-12
_HISTORY = 10
_PATIENCE = 3


class Descent:
    """Searches under way, which can be stopped, thinned out and continued.

    Parameters
    ----------
    objective : Objective
    z : Tensor (P, k)
        Starts.
    rows : Tensor (P,)
        The target of each.
    damping : float
        Share of the identity in the metric, see `Metric.inverse`.
    coarse : bool
        Begin with products of reduced precision, until `refine`.
    """

    def __init__(
        self,
        objective: Objective,
        z: Tensor,
        rows: Tensor,
        *,
        damping: float = 0.03,
        coarse: bool = False,
    ) -> None:
        import torch

        self.objective, self._coarse = objective, coarse and objective.coarse
        self._inverse: Tensor | None = None
        self.damp(damping)
        # kernels write in place; the caller's latents are not ours
        self.pairs = pairs = Pairs(objective, z.clone(memory_format=torch.contiguous_format), rows)
        value, slope = objective.gradient(pairs.z, rows, coarse=self._coarse)
        pairs.start(value, coarse=self._coarse)
        p, k = z.shape
        zeros = torch.zeros(p, dtype=torch.int64, device=z.device)
        pairs.state = {
            "slope": slope,
            "s": z.new_zeros(p, _HISTORY, k),
            "y": z.new_zeros(p, _HISTORY, k),
            "rho": z.new_zeros(p, _HISTORY),
            "head": zeros,
            "gamma": z.new_ones(p),
            "direction": torch.zeros_like(z),
            "length": z.new_ones(p),
            "weak": zeros.clone(),
            "outcome": torch.zeros(p, dtype=torch.int8, device=z.device),
        }
        if pairs.compact():
            self._first_direction()

    def _first_direction(self) -> None:
        """Set the first direction with the length that is exact for a linear generator."""
        pairs, state = self.pairs, self.pairs.state
        tangent = self.objective.tangent(pairs.z, state["slope"])
        slope = tangent.apply(state["slope"])
        direction = -slope
        if self._inverse is not None:
            direction = tangent.apply(direction @ self._inverse)
        promised = -(slope * direction).sum(1)
        stretch = self.objective.stretch(pairs.z, pairs.rows, direction)
        curvature = stretch + (direction * tangent.curve(direction)).sum(1)
        length = promised / curvature.clamp(min=1e-30)
        fallback = direction.square().sum(1).clamp(min=1e-30).rsqrt()
        length = length.where((curvature > 0) & length.isfinite(), fallback)
        state["direction"] = length[:, None] * direction

    def run(self, sweeps: int, tol: float = TOL) -> Outcome:
        """Go on for at most ``sweeps`` gradients a pair; ``tol`` as for `solve`."""
        for _ in range(sweeps):
            if not self.pairs.compact():
                break
            self.pairs.count_step()
            self._sweep(tol)
        return self.pairs.outcome()

    def damp(self, damping: float) -> None:
        """Change the damping of the metric."""
        if self.objective.metric is not None:
            self._inverse = self.objective.metric.inverse(damping)

    def drop(self, which: Tensor) -> None:
        """Give up the pairs ``which``, a mask (P,) over the starts."""
        self.pairs.drop(which)

    def refine(self) -> None:
        """Evaluate where the pairs are in full precision, and go on in it."""
        if self._coarse and self.pairs.compact():
            pairs = self.pairs
            pairs.value, pairs.state["slope"] = self.objective.gradient(pairs.z, pairs.rows)
            pairs.state["weak"].zero_()
            pairs.finish(pairs.value <= self.objective.floor[pairs.rows], Status.EXACT)
        self._coarse = False

    @property
    def coarse(self) -> bool:
        """Whether what was found is still of reduced precision."""
        return self._coarse

    def _sweep(self, tol: float) -> None:
        pairs, state = self.pairs, self.pairs.state
        trial = pairs.z + state["length"][:, None] * state["direction"]
        trial = self.objective.domain.project(trial)
        value, slope = self.objective.gradient(trial, pairs.rows, coarse=self._coarse)
        on_host = trial.device.type == "cpu"
        step = kernels if on_host else lbfgs_tensors
        step.take_steps(trial, value, slope, {**state, "z": pairs.z, "value": pairs.value}, tol)
        outcome = state["outcome"]
        if not self._coarse:  # else a value may seem exact or final by rounding
            floor = self.objective.floor[pairs.rows]
            pairs.finish(pairs.value <= floor, Status.EXACT)
            ended = (state["weak"] >= _PATIENCE) | (outcome == lbfgs_tensors.STUCK)
            pairs.finish(ended, Status.LOCAL)
        tangent = self.objective.tangent(pairs.z, state["slope"])
        downhill = tangent.apply(state["slope"])
        if not self._coarse:
            pairs.finish(downhill.square().sum(1) == 0, Status.LOCAL)
        q, weights = downhill.clone(), state["rho"].new_zeros(state["rho"].shape)
        step.first_loop(state, q, weights)
        if self._inverse is None:
            q *= state["gamma"][:, None]
        else:
            q = tangent.apply(q) @ self._inverse
        step.second_loop(state, q, weights)
        fresh = tangent.apply(-q)
        uphill = (fresh * downhill).sum(1) >= 0
        fresh = (-downhill).where(uphill[:, None], fresh)
        renewed = outcome != lbfgs_tensors.REJECTED
        state["direction"] = fresh.where(renewed[:, None], state["direction"])


def solve(
    objective: Objective, z: Tensor, rows: Tensor, *, max_iter: int, tol: float = TOL
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
    return Descent(objective, z, rows).run(max_iter, tol)
