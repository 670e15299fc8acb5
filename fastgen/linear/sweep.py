"""Sweeps over the latent dimension of linear generators."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _progress, _random, _validate
from .._version import __version__
from . import _sources
from ._store import SweepStore, alone
from .device import source as device_source
from .options import METRICS, ROWS, Options
from .problems import PROBLEMS, Problem, describe, given
from .trials import Plan, run

if TYPE_CHECKING:
    import xarray


def sweep(
    data: Any = None,
    *,
    latent_dims: Iterable[int],
    n_samples: int,
    n_supervised: int | Sequence[int] | None = None,
    problems: str | Callable[..., Any] | Sequence[str | Callable[..., Any]] = (
        "unsupervised",
        "pseudo_supervised",
    ),
    n_trials: int = 100,
    random_state: Any = None,
    ridge: float = 0.1,
    rank: int | None = None,
    weight: float = 10.0,
    tol: float = 1e-9,
    max_iter: int = 400,
    n_jobs: int | None = None,
    device: str = "cpu",
    store: str | os.PathLike | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
    dtype: Any = "float64",
    population_fraction: float = 0.5,
) -> xarray.Dataset:
    r"""Errors of linear generators ``G(z) = G z`` over the latent dimension, exactly and fast.

    In every trial n samples and pseudo-latents Z (max(latent_dims), n) are drawn; latent dimension
    k uses the first k rows of Z. The solutions are nested in the same way, and one pass over k
    shares their factorizations instead of a fresh SVD for each k.

    Parameters
    ----------
    data : None, model or array (n_rows, d)
        None is ``SpikedGaussian()``. A model has ``covariance_`` (d, d) and
        ``sample(n_samples, random_state)``; one that also has ``draw(random_state)``, such as
        `SpikedGaussian`, is drawn afresh in every trial; ``mean_``, if it has one, is
        subtracted. The rows of an array are split at random once per trial into a population, whose
        mean is subtracted and whose covariance is the truth, and a training pool, whence the
        samples.
    latent_dims : iterable of int
        Latent dimensions k, at least 1, below, at and beyond n and d. Sorted, without duplicates,
        in the result.
    n_samples : int
        Number n of training samples, at least 2.
    n_supervised : int or sequence of int, optional
        Number of samples paired with pseudo-latents, from 1 to ``n_samples`` (the default). The
        supervised problems see these pairs only; "unsupervised" sees all samples.
    problems : str, callable or sequence, default ("unsupervised", "pseudo_supervised")
        A callable is a problem of your own: it takes X (d, n_supervised) and Z (k, n_supervised),
        a sample a column, which it must not change, and returns a generator (d, k). The result,
        and a store, know it by its ``__name__``. The names are

        - "unsupervised": minimum of the Wasserstein distance to the sample covariance, which is
          PCA;
        - "pseudo_supervised": minimum-norm least squares ``X pinv(Z)``;
        - "ridge": minimum of ``||X - G Z||^2 / n_supervised + ridge ||G||^2``;
        - "procrustes": ``||X - G Z||`` over orthonormal columns (rows for k > d); what the pairs
          leave undetermined is taken nearest to ``eye(d, k)``;
        - "reduced_rank": ``||X - G Z||`` over maps of at most ``rank``, the global minimum of a
          multilayer linear generator of that narrowest width;
        - "free_latents": ``||X_s - G Z_s||^2 + ||X_u - G Z_u||^2`` over G and the latents Z_u of
          the unpaired samples, by alternation from entries N(0, 1/k) in units of the data (their
          root mean square). For k > ``n_supervised`` the minimizers differ in ``w2``: the start
          selects one. It shows triple descent, with peaks near ``n_supervised`` and at n;
        - "lexicographic": as "free_latents" with free latents of unit variance, the pairs
          interpolated first, in closed form;
        - "penalized": ``weight ||X_s - G Z_s||^2 / n_supervised`` plus the squared Wasserstein
          distance between N(0, G G^T) and the covariance of all samples;
        - "constrained": that distance over the generators of minimum pair error.
    n_trials : int, default 100
    random_state : int, numpy.random.Generator, SeedSequence, RandomState or None
        Seed of the sweep; None takes a new one, kept in the attributes of the result. Trial t uses
        the t-th child of this seed, whatever ``n_jobs``, the joblib backend or a resume.
    ridge : float, default 0.1
        Penalty on ``||G||^2`` in "ridge", at least 0; with 0 it is "pseudo_supervised".
    rank : int, optional
        Largest rank of the maps in "reduced_rank"; required for it.
    weight : float, default 10
        Weight of the pair error against the distance in "penalized", at least 0.
    tol : float, default 1e-9
        The iterative problems, "free_latents", "penalized" and "constrained", stop when a step
        gains no more than this share of their objective. No step raises it.
    max_iter : int, default 400
        Largest number of steps of an iterative problem; cells that reach it are marked in
        ``converged``.
    n_jobs : int, optional
        Trials in parallel, as in scikit-learn: None is 1 unless in a
        `joblib.parallel_config` context, -1 all cores. Threads by default (the kernels hold
        no lock). BLAS is held at one thread meanwhile, in worker processes for good. Small sweeps
        stay in the calling thread.
    device : {"cpu", "cuda"}
        "cuda" runs batches of trials of every problem on a GPU through CuPy. Random numbers are
        drawn on the host, so the closed forms are the CPU's to rounding and the iterative problems
        to their tolerance; CuPy arrays and CUDA tensors given as ``data`` are not copied to the
        host. Compiled and run on a CPU in the tests, not yet on a device.
    store : path, optional
        A zarr group in which trials are written as they finish. If it exists the sweep resumes and
        gives bit for bit what an uninterrupted one gives; trials that were damaged are computed
        again. More trials and more latent dimensions may be asked for later: only what is lacking
        is computed, which for added latent dimensions agrees with one sweep of them all to
        rounding. The problems that iterate take none beyond the largest of the first call. Where
        ``problems`` has callables or ``data`` is a model of your own, one stored trial is computed
        again, and the store refused if it differs. One sweep holds a local store at a time (a file
        ``STORE.lock`` beside it), another is refused; object stores know no such lock.
    progress : bool or callable, optional
        True for a bar on standard error, False for none; by default one appears on a terminal after
        two seconds. A callable receives (trials done, ``n_trials``).
    dtype : {"float64", "float32"}
        Precision of the singular values of matrices up to 160 columns. With float32 the error of
        ``w2`` is below 1e-5 times ``tr Sigma + ||G||^2``; the factorizations that lead there, and
        larger matrices, stay in float64.
    population_fraction : float, default 0.5
        Share of the rows of an array that are the population.

    Returns
    -------
    xarray.Dataset
        Dimensions (problem, n_supervised, latent_dim, trial); variables, in squared units of the
        data but for the gain,

        - ``w2``: squared 2-Wasserstein distance between N(0, G G^T) and N(0, Sigma);
        - ``projection_error``: tr((I - P) Sigma), P the projector on the range of G; directions
          under 1e-9 of the largest do not count;
        - ``train_error``: ``||X - G Z||^2 / n_supervised`` of the pairs; for "unsupervised" the
          Wasserstein distance to the sample covariance, its eigenvalues beyond k; for
          "free_latents" the objective over n;
        - ``gain``: ``||G||^2 / tr(Sigma)``;
        - ``converged`` (bool) and ``n_iter``: for the iterative problems; closed forms are
          converged in no steps.

        Attributes tell the version, the arguments, the seed and the time. Near
        k = ``n_supervised`` the errors of "pseudo_supervised" have infinite means: take medians
        and quartiles over trials.

    Raises
    ------
    ImportError, RuntimeError
        For ``device="cuda"`` without CuPy or without a device.
    ValueError, TypeError
        For an argument out of its range, data that are not finite, constant, of extreme size or a
        covariance (see `GaussianData`), a callable that returns no generator, more samples than
        the training pool holds, or a store made with other arguments, damaged or in use.

    See Also
    --------
    fastgen.linear.theory.expected_gain : exact expectation of ``gain`` for "pseudo_supervised".

    Notes
    -----
    Pseudo-supervision pairs fabricated latents, drawn once and independent of the data, with real
    samples; Luzi, Dar and Baraniuk, "Double Descent and Other Interpolation Phenomena in GANs",
    arXiv:2106.04003, announce flat curves without it and double, in some cases triple descent with
    it. The semi-supervised problems, dimensions, test metric and trial counts here are a reading of
    that, not a reproduction of its figures.

    Examples
    --------
    >>> from fastgen.linear import SpikedGaussian, sweep
    >>> result = sweep(SpikedGaussian(dim=16, true_dim=5), latent_dims=range(1, 31), n_samples=10,
    ...                n_trials=20, random_state=0)
    >>> median = result.w2.median("trial").squeeze()
    >>> int(median.sel(problem="pseudo_supervised").idxmax())
    10
    """
    started = time.time()
    if n_jobs is not None and _validate.integer(n_jobs, "n_jobs", minimum=-(2**31)) == 0:
        raise ValueError("n_jobs must be None, a positive number of workers or -1, got 0")
    fraction = _validate.number(population_fraction, "population_fraction")
    pairs = n_samples if n_supervised is None else n_supervised
    plan = Plan(
        latent_dims=_validate.positive_integers(latent_dims, "latent_dims"),
        n_samples=_validate.integer(n_samples, "n_samples", minimum=2),
        n_supervised=_validate.positive_integers(pairs, "n_supervised"),
        problems=_chosen(problems),
        n_trials=_validate.integer(n_trials, "n_trials"),
        options=Options(
            ridge=ridge, rank=rank, dtype=dtype, weight=weight, tol=tol, max_iter=max_iter
        ),
        device=_validate.one_of(device, "device", ("cpu", "cuda")),
        data=_source(data, fraction, device),
        population_fraction=fraction,
        random_state=_random.seed_sequence(random_state),
    )
    coords = {
        "problem": [problem.name for problem in plan.problems],
        "n_supervised": plan.n_supervised.tolist(),
        "latent_dim": plan.latent_dims.tolist(),
        "trial": list(range(plan.n_trials)),
    }
    if store is None:
        values = np.full((len(ROWS), *map(len, coords.values())), np.nan)
        with _progress.reporter(progress, unit="trial", total=plan.n_trials) as report:
            for trial, rows in run(plan, np.arange(plan.n_trials), n_jobs):
                values[..., trial] = rows
                report()
    else:
        with alone(store):
            saved = SweepStore(
                store,
                {"version": __version__, **plan.identity()},
                ROWS,
                coords,
                any_seed=random_state is None,
                iterative=[problem.name for problem in plan.problems if problem.iterative],
            )
            plan = dataclasses.replace(plan, random_state=saved.seed)
            _resume(plan, saved, n_jobs, progress)
            values = saved.read()
    return _dataset(values, coords, plan, started)


def _chosen(
    problems: str | Callable[..., Any] | Sequence[str | Callable[..., Any]],
) -> tuple[Problem, ...]:
    """Look problems up by name, and take functions as problems of their own."""
    wanted = (problems,) if isinstance(problems, str) or callable(problems) else tuple(problems)
    if not wanted:
        raise ValueError(f"problems must name at least one of {', '.join(PROBLEMS)}, got none")
    known = tuple(PROBLEMS)
    chosen = tuple(
        given(one) if callable(one) else PROBLEMS[_validate.one_of(one, "problems", known)]
        for one in wanted
    )
    names = tuple(problem.name for problem in chosen)
    if len(set(names)) < len(names):
        raise ValueError(f"problems must be distinct, got {names}")
    taken = [p.name for p in chosen if p.name in PROBLEMS and PROBLEMS[p.name] is not p]
    if taken:
        raise ValueError(
            f"problems must not give functions the name of another problem, got {taken[0]!r}"
        )
    return chosen


def _resume(plan: Plan, saved: SweepStore, n_jobs: int | None, progress: Any) -> None:
    """Compute what the store lacks."""
    _prove(plan, saved)
    done = plan.n_trials - sum(gap.trials.size for gap in saved.gaps)
    with _progress.reporter(progress, unit="trial", total=plan.n_trials, done=done) as report:
        for gap in saved.gaps:
            part = dataclasses.replace(plan, latent_dims=gap.latent_dims, largest=saved.largest)
            for trial, rows in run(part, gap.trials, n_jobs):
                saved.write(gap, trial, rows)
                report()


def _prove(plan: Plan, saved: SweepStore) -> None:
    """Compute a stored trial again where names alone do not tell what made it.

    Two functions may have one name, and two models one class and covariance.

    Raises
    ------
    ValueError
        If the store holds something else.
    """
    suspects = [problem for problem in plan.problems if problem.name not in PROBLEMS]
    if not (plan.data.described or suspects):
        suspects = [plan.problems[0]]
    found = saved.sample()
    if not suspects or found is None:
        return
    trial, dims, kept = found
    part = dataclasses.replace(
        plan, latent_dims=dims, largest=saved.largest, problems=tuple(suspects)
    )
    places = [plan.problems.index(problem) for problem in suspects]
    ((_, again),) = run(part, np.array([trial]), 1)
    for i, name in enumerate(METRICS):
        old, new = kept[i, places], again[i]
        if not np.allclose(new, old, rtol=1e-6, atol=1e-9 * np.abs(old).max()):
            whose = "the data" if not plan.data.described else f"{suspects[0].name!r}"
            raise ValueError(
                f"store {saved.path} was made by another function or model of the same name: "
                f"trial {trial}, computed again, has another {name}. Where {whose} changed, "
                "choose another path; it must depend on nothing but its arguments"
            )


def _source(
    data: Any, population_fraction: float, device: str
) -> _sources.ModelSource | _sources.ArraySource:
    if device == "cuda":
        return device_source.make_source(data, population_fraction, _arrays.require_device())
    return _sources.make_source(data, population_fraction)


_LONG_NAMES = {
    "w2": "squared 2-Wasserstein distance to the truth",
    "projection_error": "variance of the truth outside the generator's range",
    "train_error": "mean squared training error",
    "gain": "generated over true total variance",
}


def _dataset(
    values: np.ndarray, coords: Mapping[str, list], plan: Plan, started: float
) -> xarray.Dataset:
    """Label the values (n_rows, problem, n_supervised, latent_dim, trial)."""
    import xarray

    dims = tuple(coords)
    variables: dict[str, tuple] = {
        name: (dims, values[i], {"long_name": _LONG_NAMES[name]}) for i, name in enumerate(METRICS)
    }
    variables["gain"][2]["units"] = "1"
    variables["converged"] = (dims, values[-2] == 1, {"long_name": "whether the cell converged"})
    variables["n_iter"] = (dims, values[-1].astype(np.int32), {"long_name": "steps taken"})
    arguments = plan.identity()
    entropy, spawn_key = arguments.pop("random_state")
    attrs = {
        **describe(plan.problems),
        "fastgen_version": __version__,
        "arguments": json.dumps(arguments),
        "seed_entropy": entropy,
        "seed_spawn_key": json.dumps(spawn_key),
        "n_samples": plan.n_samples,
        "dim": plan.data.dim,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
    }
    return xarray.Dataset(variables, coords=coords, attrs=attrs)
