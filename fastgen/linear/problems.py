"""The registry of problems: everything that differs from one to the next is named here once.

To add a problem, write its solver over all latent dimensions (``host``), if it is to run on a GPU
its twin (``device``), and if an estimator is to keep its generator the formula (``generator``); add
a line to `PROBLEMS`, a paragraph to the docstring of `fastgen.linear.sweep`, and a test. The sweep,
the estimator, the command line and the figures read the registry.

The notes and the paper of Luzi, Dar and Baraniuk (arXiv:2106.04003) number some of them: P0 is
"unsupervised", P1 "pseudo_supervised", P2 "free_latents", P3 "penalized" and P4 "constrained".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable

import numpy as np

from . import generators
from .device import nested as device_nested
from .device import projections as device_projections
from .device import regression as device_regression
from .device import semisupervised as device_semisupervised
from .device.batch import Batch
from .host import given as host_given
from .host import nested, projections, regression, semisupervised
from .host.trial import Trial
from .options import Options

Generator = np.ndarray | tuple[np.ndarray, bool, int]


@dataclasses.dataclass(frozen=True)
class Problem:
    """One way to fit a linear generator.

    Attributes
    ----------
    name : str
        What users call it.
    host : callable (Trial, ks, n_pairs) -> ndarray (4 or 6, n_k)
        The metrics of one trial over ascending latent dimensions, the rows of ``options.METRICS``
        or ``options.ROWS``.
    device : callable (Batch, n_pairs) -> ndarray (n_trials, 4 or 6, n_k), optional
        The same for a batch of trials on a device; None where there is no such solver.
    generator : callable (Trial, n_pairs), optional
        The generator (d, k) for all latents of the trial, or it with whether it converged and in
        how many steps. None where no estimator offers the problem.
    iterative : bool, default False
        Whether it starts from a random generator.
    theory : str, optional
        Name of the law of its mean gain in `fastgen.gains.LAWS`, where one is known.
    paired : bool, default True
        Whether the number of pairs plays a part.
    wide : bool, default False
        Whether its cells on the device have a column for every latent, also beyond n.
    needs : tuple of str, default ()
        Options that must be given.
    """

    name: str
    host: Callable[[Trial, np.ndarray, int], np.ndarray]
    device: Callable[[Batch, int], np.ndarray] | None = None
    generator: Callable[[Trial, int], Generator] | None = None
    iterative: bool = False
    theory: str | None = None
    paired: bool = True
    wide: bool = False
    needs: tuple[str, ...] = ()

    def check(self, options: Options, argument: str) -> None:
        """Raise ValueError if an option that the problem needs was not given.

        Parameters
        ----------
        options : Options
        argument : str
            How the problem was asked for, for the message.
        """
        for option in self.needs:
            if getattr(options, option) is None:
                raise ValueError(f"{argument}: {option} must be a positive integer, got None")


PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem(
            "unsupervised",
            nested.unsupervised,
            device_nested.unsupervised,
            generators.unsupervised,
            paired=False,
        ),
        Problem(
            "pseudo_supervised",
            nested.pseudo_supervised,
            device_nested.pseudo_supervised,
            generators.pseudo_supervised,
            theory="pseudo_supervised",
        ),
        Problem(
            "ridge",
            regression.ridge,
            device_regression.ridge,
            generators.ridge,
            theory="ridge",
        ),
        Problem(
            "procrustes",
            projections.procrustes,
            device_projections.procrustes,
            generators.procrustes,
            wide=True,
        ),
        Problem(
            "reduced_rank",
            projections.reduced_rank,
            device_projections.reduced_rank,
            generators.reduced_rank,
            needs=("rank",),
        ),
        Problem(
            "free_latents",
            semisupervised.free_latents,
            device_semisupervised.free_latents,
            generators.free_latents,
            iterative=True,
        ),
        Problem(
            "lexicographic",
            regression.lexicographic,
            device_regression.lexicographic,
            generators.lexicographic,
            theory="pseudo_supervised up to n",
        ),
        Problem(
            "penalized",
            semisupervised.penalized,
            device_semisupervised.penalized,
            generators.penalized,
            iterative=True,
        ),
        Problem(
            "constrained",
            semisupervised.constrained,
            device_semisupervised.constrained,
            generators.constrained,
            iterative=True,
            theory="pseudo_supervised up to n",
        ),
    )
}


def describe(problems: Iterable[Problem]) -> dict[str, str]:
    """Return what a figure needs to know of problems, as attributes of a Dataset (JSON).

    Parameters
    ----------
    problems : iterable of Problem

    Returns
    -------
    dict of str to str
        ``unpaired``, the problems in which pairs play no part, and ``laws``, the law in
        `fastgen.gains.LAWS` of each problem that has one.
    """
    problems = list(problems)
    return {
        "unpaired": json.dumps([p.name for p in problems if not p.paired]),
        "laws": json.dumps({p.name: p.theory for p in problems if p.theory is not None}),
    }


def given(solver: host_given.Solver) -> Problem:
    """Return a function ``(X, Z) -> G`` as a problem, named by its ``__name__``."""
    inner = getattr(solver, "func", solver)  # of functools.partial
    name = str(getattr(inner, "__name__", type(inner).__name__))
    return Problem(name, host_given.GivenProblem(name, solver))
