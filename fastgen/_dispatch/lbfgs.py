"""The kernels of ``fastgen.goof.solvers.lbfgs``, on tensors of the host."""

from __future__ import annotations

from typing import Any


def take_steps(trial: Any, trial_value: Any, trial_slope: Any, state: dict, tol: float) -> None:
    """Run ``kernels.cpu.lbfgs.take_steps`` on contiguous tensors; those of ``state`` change."""
    from ..kernels.cpu import lbfgs

    names = "z value slope s y rho head gamma length weak".split()
    lbfgs.take_steps(
        trial.numpy(),
        trial_value.numpy(),
        trial_slope.numpy(),
        *(state[name].numpy() for name in names),
        trial_value.numpy().dtype.type(tol),
        state["outcome"].numpy(),
    )


def first_loop(state: dict, q: Any, weights: Any) -> None:
    """Run ``kernels.cpu.lbfgs.first_loop``; ``q`` and ``weights`` change."""
    from ..kernels.cpu import lbfgs

    lbfgs.first_loop(*_memory(state), q.numpy(), weights.numpy())


def second_loop(state: dict, q: Any, weights: Any) -> None:
    """Run ``kernels.cpu.lbfgs.second_loop``; ``q`` changes."""
    from ..kernels.cpu import lbfgs

    lbfgs.second_loop(*_memory(state), q.numpy(), weights.numpy())


def _memory(state: dict) -> list:
    return [state[name].numpy() for name in ("s", "y", "rho", "head")]
