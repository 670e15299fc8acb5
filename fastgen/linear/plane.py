"""Errors of subspace fits over the supervision-orthonormality plane."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _progress, _random, _validate
from .._dispatch import threads
from .._version import __version__
from .subspace import at_most, first_guess, share_of, slack_of, solve, supervised_count

if TYPE_CHECKING:
    import xarray

__all__ = ["subspace_sweep"]

METRICS = ("supervised_error", "unsupervised_error", "objective", "converged")


def subspace_sweep(
    *,
    n_observed: int | Iterable[int],
    supervision: float | Iterable[float] = (0.5, 0.75, 0.9, 1.0),
    orthonormality_slack: float | Iterable[float] = (0.0, 0.5, 1.0, 3.0, np.inf),
    dim: int = 32,
    n_components: int = 4,
    n_samples: int = 16,
    noise_variance: float = 0.1,
    n_trials: int = 40,
    max_iter: int = 1500,
    tol: float = 1e-5,
    random_state: Any = None,
    n_jobs: int | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
) -> xarray.Dataset:
    r"""Test errors of `SubspaceFit` over the supervision-orthonormality plane.

    In every trial samples ``x = U z + eps`` are drawn, with U (dim, n_components) random
    orthonormal, ``z ~ N(0, I)`` and ``eps ~ N(0, noise_variance I)``. Fits see the first p
    coordinates of x, and z as targets. All cells of a trial share samples and starting point, so
    differences between cells are less noisy than the cells.

    Parameters
    ----------
    n_observed : int or iterable of int
        Numbers p of observed coordinates, from ``n_components`` to ``dim``.
    supervision : float or iterable of float, default (0.5, 0.75, 0.9, 1.0)
        Shares of samples with a target, 0 to 1.
    orthonormality_slack : float or iterable of float, default (0.0, 0.5, 1.0, 3.0, np.inf)
        Slacks from 0 (orthonormal) to infinity (free).
    dim : int, default 32
        Dimension of x.
    n_components : int, default 4
        Dimension k of the targets z, at most ``n_samples`` and ``dim``.
    n_samples : int, default 16
        Number n of samples, at least 2.
    noise_variance : float, default 0.1
        Variance of the noise in every coordinate, at least 0.
    n_trials : int, default 40
        Independent repetitions.
    max_iter : int, default 1500
    tol : float, default 1e-5
        Passed to every `SubspaceFit`. Where p is near ``n_samples``, with slack and supervision
        from 0.75 to below 1, ``max_iter`` often comes first: see ``converged``.
    random_state : int, numpy.random.Generator, SeedSequence, RandomState or None
        Seed of the sweep; trial t uses its t-th child, whatever ``n_jobs``, the joblib backend, the
        number of trials or the other cells.
    n_jobs : int, optional
        Trials in parallel threads, as in scikit-learn. BLAS is held at one thread meanwhile.
    progress : bool or callable, optional
        As in `fastgen.linear.sweep`.

    Returns
    -------
    xarray.Dataset
        Dimensions (n_observed, supervision, orthonormality_slack, trial), each sorted, without
        duplicates; variables

        - ``supervised_error``: exact expectation of :math:`\|z - W^T x_S\|^2` for new data; NaN for
          supervision 0, where W is known only up to a rotation;
        - ``unsupervised_error``: exact expectation of :math:`\|(I - W W^T) x_S\|^2`, which grows
          with p by itself;
        - ``objective``: what was minimised, at the solution;
        - ``converged``: whether ``tol`` was reached before ``max_iter``; True for closed forms.

        Attributes tell the version, the arguments, the seed and the time.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range.

    Notes
    -----
    Near ``n_observed == n_samples`` full supervision without constraint is nearly singular and its
    errors have heavy tails: take medians over trials. It is solved by the pseudo-inverse; gradient
    steps stop early and hide the peak. See `SubspaceFit` for the source and for what is a
    reading of it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.linear import subspace_sweep
    >>> result = subspace_sweep(n_observed=[5, 10, 20], supervision=1.0, dim=20, n_samples=10,
    ...                         orthonormality_slack=[0, np.inf], n_trials=10, random_state=0)
    >>> error = result.supervised_error.median("trial").squeeze()
    >>> [int(p) for p in error.idxmax("n_observed")]
    [5, 10]
    """
    started = time.time()
    plan = Plan(
        n_observed=_validate.positive_integers(n_observed, "n_observed"),
        supervision=grid(supervision, "supervision", share_of),
        slack=grid(orthonormality_slack, "orthonormality_slack", slack_of),
        dim=_validate.integer(dim, "dim"),
        n_components=_validate.integer(n_components, "n_components"),
        n_samples=_validate.integer(n_samples, "n_samples", minimum=2),
        noise_variance=_validate.number(noise_variance, "noise_variance"),
        n_trials=_validate.integer(n_trials, "n_trials"),
        max_iter=_validate.integer(max_iter, "max_iter"),
        tol=_validate.number(tol, "tol"),
        random_state=_random.seed_sequence(random_state),
    )
    plan.check(n_jobs)
    values = np.full((len(METRICS), *plan.shape), np.nan)
    with _progress.reporter(progress, unit="trial", total=plan.n_trials) as report:
        for trial, metrics in results(plan, n_jobs):
            values[..., trial] = metrics
            report()
    return to_dataset(values, plan, started)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A sweep of the plane: everything a worker needs to compute any trial."""

    n_observed: np.ndarray
    supervision: np.ndarray
    slack: np.ndarray
    dim: int
    n_components: int
    n_samples: int
    noise_variance: float
    n_trials: int
    max_iter: int
    tol: float
    random_state: np.random.SeedSequence

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sizes of the dimensions of the result."""
        return len(self.n_observed), len(self.supervision), len(self.slack), self.n_trials

    def check(self, n_jobs: int | None) -> None:
        """Raise ValueError for arguments that do not fit together."""
        at_most(self.n_components, "n_components", self.n_samples, "n_samples")
        at_most(self.n_components, "n_components", self.dim, "dim")
        at_most(int(self.n_observed[-1]), "n_observed", self.dim, "dim")
        if self.n_observed[0] < self.n_components:
            raise ValueError(
                f"n_observed must be at least n_components={self.n_components}, got "
                f"{self.n_observed[0]}; fewer coordinates cannot hold orthonormal components"
            )
        for share in self.supervision:
            supervised_count(float(share), self.n_samples, "supervision")
        if n_jobs is not None and _validate.integer(n_jobs, "n_jobs", minimum=-(2**31)) == 0:
            raise ValueError("n_jobs must be None, a positive number of workers or -1, got 0")


def grid(values: Any, name: str, check: Callable[[Any, str], float]) -> np.ndarray:
    """Return one number or an iterable of them, each checked, sorted and without duplicates."""
    values = list(values) if np.iterable(values) and not isinstance(values, str) else [values]
    if not values:
        raise ValueError(f"{name} must hold at least one number, got an empty sequence")
    return np.unique([check(value, name) for value in values])


def run_trial(plan: Plan, index: int) -> tuple[int, np.ndarray]:
    """Metrics (n_metrics, n_observed, supervision, slack) of one trial."""
    seed = plan.random_state
    child = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index))
    rng = np.random.default_rng(child)
    k, n = plan.n_components, plan.n_samples
    u = np.linalg.qr(rng.standard_normal((plan.dim, k)))[0]
    z = rng.standard_normal((k, n))
    x = u @ z + np.sqrt(plan.noise_variance) * rng.standard_normal((plan.dim, n))
    draw = rng.standard_normal((plan.dim, k))
    out = np.empty((len(METRICS), *plan.shape[:3]))
    with threads.single_blas_thread():
        for cell in np.ndindex(out.shape[1:]):
            p, share = int(plan.n_observed[cell[0]]), float(plan.supervision[cell[1]])
            slack = float(plan.slack[cell[2]])
            if share == 0 and cell[2]:
                out[:, *cell] = out[:, cell[0], cell[1], 0]
                continue
            n_supervised = supervised_count(share, n, "supervision")
            solution = solve(
                x[:p],
                z[:, :n_supervised],
                slack,
                first_guess(draw[:p], slack),
                plan.tol,
                plan.max_iter,
            )
            errors = expected_errors(solution.w, u[:p], plan.noise_variance)
            out[:, *cell] = *errors, solution.history[-1], solution.converged
            if n_supervised == 0:
                out[0, *cell] = np.nan
    return index, out


def expected_errors(w: np.ndarray, u: np.ndarray, noise_variance: float) -> tuple[float, float]:
    """Return the expected errors for new data; u (p, k) holds the observed rows of U."""
    shared, square = w.T @ u, w.T @ w
    supervised = ((np.eye(w.shape[1]) - shared) ** 2).sum() + noise_variance * (w**2).sum()
    outside = len(w) - 2 * (w**2).sum() + (square**2).sum()
    return supervised, ((u - w @ shared) ** 2).sum() + noise_variance * outside


def results(plan: Plan, n_jobs: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (trial, metrics) as trials finish."""
    import joblib

    tasks = [joblib.delayed(run_trial)(plan, trial) for trial in range(plan.n_trials)]
    try:
        parallel = joblib.Parallel(
            n_jobs=n_jobs, prefer="threads", batch_size=1, return_as="generator_unordered"
        )
    except ValueError:  # a backend that cannot hand out results as they come
        parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1)
    yield from parallel(tasks)


_LONG_NAMES = {
    "supervised_error": "expected squared error of the targets of new data",
    "unsupervised_error": "expected squared error of reconstructed new data",
    "objective": "objective at the solution",
    "converged": "whether the tolerance was reached",
}


def to_dataset(values: np.ndarray, plan: Plan, started: float) -> xarray.Dataset:
    """Label metrics (n_metrics, n_observed, supervision, slack, trial)."""
    import xarray

    coords = {
        "n_observed": plan.n_observed,
        "supervision": plan.supervision,
        "orthonormality_slack": plan.slack,
        "trial": np.arange(plan.n_trials),
    }
    variables = {
        name: (tuple(coords), values[i].astype(bool) if name == "converged" else values[i])
        for i, name in enumerate(METRICS)
    }
    arguments = {
        field.name: getattr(plan, field.name)
        for field in dataclasses.fields(plan)
        if field.name not in ("slack", "random_state")
    }
    arguments["orthonormality_slack"] = [
        "inf" if np.isinf(slack) else slack for slack in plan.slack.tolist()
    ]
    arguments["supervision"] = plan.supervision.tolist()
    arguments["n_observed"] = plan.n_observed.tolist()
    attrs = {
        "fastgen_version": __version__,
        "arguments": json.dumps(arguments),
        "seed_entropy": _random.to_text(plan.random_state.entropy),
        "seed_spawn_key": json.dumps(list(plan.random_state.spawn_key)),
        "n_samples": plan.n_samples,
        "dim": plan.dim,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
    }
    dataset = xarray.Dataset(variables, coords=coords, attrs=attrs)
    for name, text in _LONG_NAMES.items():
        dataset[name].attrs["long_name"] = text
    return dataset
