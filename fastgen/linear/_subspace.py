"""Plumbing of ``subspace``: a fit, a trial of a sweep, its labelled result, checks at the door."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.extmath import svd_flip

from .. import _validate
from .._dispatch import linear as kernels
from .._dispatch import threads
from .._version import __version__
from .sweep import _from_text

if TYPE_CHECKING:
    import xarray

METRICS = ("supervised_error", "unsupervised_error", "objective", "converged")


@dataclasses.dataclass(frozen=True)
class Solution:
    """What a fit found; ``history`` are the objectives, one for a closed form."""

    w: np.ndarray
    history: np.ndarray
    n_iter: int = 1
    converged: bool = True


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything a worker needs to compute any trial."""

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
    entropy: str = "0"
    spawn_key: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.n_observed), len(self.supervision), len(self.slack), self.n_trials

    def check(self, n_jobs: int | None) -> None:
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


def solve(
    x: np.ndarray, z: np.ndarray, slack: float, start: np.ndarray, tol: float, max_iter: int
) -> Solution:
    """Fit data x (p, n), the first of them with targets z (k, n_supervised), from start (p, k)."""
    n, k, n_supervised = x.shape[1], start.shape[1], z.shape[1]
    if n_supervised == 0:
        u, _, vt = np.linalg.svd(x.T, full_matrices=False)
        w = svd_flip(u, vt, u_based_decision=False)[1][:k].T
        return Solution(w, np.array([((x - w @ (w.T @ x)) ** 2).sum() / n]))
    if n_supervised == n and np.isinf(slack):
        w = np.linalg.lstsq(x.T, z.T, rcond=None)[0]
        return Solution(w, np.array([((z - w.T @ x) ** 2).sum() / n]))
    basis = None
    if len(x) > n + k:  # no step leaves the span of the data and the start
        basis = np.linalg.qr(np.hstack([x, start]))[0]
        x, start = basis.T @ x, basis.T @ start
    seen, rest = x[:, :n_supervised], x[:, n_supervised:]
    moments = [seen @ seen.T / n_supervised]
    constant = (z**2).sum() / n_supervised
    if rest.shape[1]:
        moments.append(rest @ rest.T / rest.shape[1])
        constant += np.trace(moments[1])
    history = np.empty(max_iter + 1)
    w, n_iter, converged = kernels.subspace_kernels().subspace_descent(
        np.vstack(moments),
        np.ascontiguousarray(seen @ z.T / n_supervised),
        float(constant),
        True,
        rest.shape[1] > 0,
        np.ascontiguousarray(start),
        max(0.0, 1.0 - slack),
        1.0 + slack,
        tol,
        max_iter,
        history,
    )
    w = w if basis is None else basis @ w
    return Solution(w, np.maximum(history[: n_iter + 1], 0.0), n_iter, bool(converged))


def first_guess(draw: np.ndarray, slack: float) -> np.ndarray:
    """Orthonormalise a Gaussian draw (p, k), small where nothing bounds W."""
    start = np.linalg.qr(draw)[0]
    return 0.1 * start if np.isinf(slack) else start


def run_trial(plan: Plan, index: int) -> tuple[int, np.ndarray]:
    """Metrics (n_metrics, n_observed, supervision, slack) of one trial."""
    seed = np.random.SeedSequence(_from_text(plan.entropy), spawn_key=(*plan.spawn_key, index))
    rng = np.random.default_rng(seed)
    k, n = plan.n_components, plan.n_samples
    u = np.linalg.qr(rng.standard_normal((plan.dim, k)))[0]
    z = rng.standard_normal((k, n))
    x = u @ z + np.sqrt(plan.noise_variance) * rng.standard_normal((plan.dim, n))
    draw = rng.standard_normal((plan.dim, k))
    out = np.empty((len(METRICS), *plan.shape[:3]))
    with threads.single_blas_thread():
        for cell in np.ndindex(out.shape[1:]):
            p, share = plan.n_observed[cell[0]], plan.supervision[cell[1]]
            slack = plan.slack[cell[2]]
            if share == 0 and cell[2]:
                out[:, *cell] = out[:, cell[0], cell[1], 0]
                continue
            n_supervised = supervised_count(share, n, "supervision")
            found = solve(
                x[:p],
                z[:, :n_supervised],
                slack,
                first_guess(draw[:p], slack),
                plan.tol,
                plan.max_iter,
            )
            errors = expected_errors(found.w, u[:p], plan.noise_variance)
            out[:, *cell] = *errors, found.history[-1], found.converged
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
    arguments = dataclasses.asdict(plan)
    del arguments["entropy"], arguments["spawn_key"]
    arguments["orthonormality_slack"] = [
        "inf" if np.isinf(slack) else slack for slack in arguments.pop("slack").tolist()
    ]
    arguments["supervision"] = plan.supervision.tolist()
    arguments["n_observed"] = plan.n_observed.tolist()
    attrs = {
        "fastgen_version": __version__,
        "arguments": json.dumps(arguments),
        "seed_entropy": plan.entropy,
        "seed_spawn_key": json.dumps(list(plan.spawn_key)),
        "n_samples": plan.n_samples,
        "dim": plan.dim,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
    }
    dataset = xarray.Dataset(variables, coords=coords, attrs=attrs)
    for name, text in _LONG_NAMES.items():
        dataset[name].attrs["long_name"] = text
    return dataset


def share_of(value: Any, name: str) -> float:
    share = _validate.number(value, name)
    if share > 1:
        raise ValueError(f"{name} must be a share from 0 to 1 of the samples, got {value}")
    return share


def slack_of(value: Any, name: str) -> float:
    if isinstance(value, float | np.floating) and value == np.inf:
        return np.inf
    return _validate.number(value, name)


def grid(values: Any, name: str, check: Callable[[Any, str], float]) -> np.ndarray:
    """Return one number or an iterable of them, each checked, sorted and without duplicates."""
    values = list(values) if np.iterable(values) and not isinstance(values, str) else [values]
    if not values:
        raise ValueError(f"{name} must hold at least one number, got an empty sequence")
    return np.unique([check(value, name) for value in values])


def supervised_count(share: float, n_samples: int, name: str) -> int:
    """Return the number of samples in a share, halves rounded up."""
    count = int(np.floor(share * n_samples + 0.5))
    if share > 0 and count == 0:
        raise ValueError(
            f"{name} must be 0 or at least half a sample, got {share:g} of {n_samples} samples"
        )
    return count


def at_most(value: int, name: str, limit: int, what: str) -> None:
    if value > limit:
        raise ValueError(f"{name} must be at most {limit}, {what}, got {value}")


def finite(array: np.ndarray, name: str) -> np.ndarray:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, column = bad[0]
        kind = "NaN" if np.isnan(array[row, column]) else str(array[row, column])
        raise ValueError(
            f"{name} must be finite, got {kind} at row {row}, column {column}; drop or impute such "
            "rows first"
        )
    return array


def targets(value: Any, n_supervised: int, n: int, k: int) -> np.ndarray:
    """Return the targets that are used, (n_supervised, k)."""
    if n_supervised == 0:
        return np.empty((0, k))
    if value is None:
        raise ValueError(
            f"Z must be given, targets of shape ({n_supervised}, {k}), got None; supervision=0 "
            "fits without targets"
        )
    z = np.asarray(value)
    if z.dtype.kind not in "fiub":
        raise TypeError(f"Z must be a numeric array (n_supervised, {k}), got dtype {z.dtype}")
    if z.ndim != 2 or z.shape[1] != k or len(z) not in (n_supervised, n):
        rows = f"{n_supervised}" if n_supervised == n else f"{n_supervised} or {n}"
        raise ValueError(
            f"Z must have shape ({rows}, {k}), a row per sample and a column per component, got "
            f"shape {z.shape}"
        )
    return finite(z[:n_supervised].astype(np.float64), "Z")
