"""The trials of a sweep: what one is, and who runs them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import _arrays, _random
from .._dispatch import linear as kernels
from .._dispatch import threads
from ._sources import ArraySource, ModelSource
from .device import run as device_run
from .host.trial import Trial
from .options import CLOSED_FORM, ROWS, Options
from .problems import Problem

# Below this many floating-point operations starting workers costs more than the sweep.
_SERIAL_WORK = 3e8
# A task of this many operations is some 30 ms: enough to hide the scheduler, little to lose.
_TASK_WORK = 1e9
# Trials drawn on the host and handed to the device together.
_DEVICE_TRIALS = 64

Block = list[tuple[int, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A sweep: everything a worker needs to compute any trial.

    The fields are the arguments of `fastgen.linear.sweep` that decide its values, so that two
    sweeps with equal `identity` may share a store.
    """

    data: ModelSource | ArraySource
    latent_dims: np.ndarray
    n_samples: int
    n_supervised: np.ndarray
    problems: tuple[Problem, ...]
    n_trials: int
    options: Options
    device: str
    population_fraction: float
    random_state: np.random.SeedSequence
    largest: int | None = None  # latents that are drawn, if more than the largest latent dimension

    def __post_init__(self) -> None:
        if self.n_supervised[-1] > self.n_samples:
            raise ValueError(
                f"n_supervised must be at most n_samples={self.n_samples}, got "
                f"{self.n_supervised[-1]}; only drawn samples can be paired"
            )
        for problem in self.problems:
            problem.check(self.options, f'problems has "{problem.name}"')
            if self.device == "cuda" and problem.device is None:
                raise ValueError(
                    f'device must be "cpu" for the problem {problem.name!r}, which has no solver '
                    'on a device, got "cuda"'
                )
        self.data.check_samples(self.n_samples)

    def identity(self) -> dict[str, Any]:
        """Arguments that two sweeps must share to share a store, ready for JSON."""
        said: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "largest":
                continue
            if isinstance(value, Options):
                said |= {key: _plain(part) for key, part in dataclasses.asdict(value).items()}
            else:
                said[field.name] = _plain(value)
        return said

    @property
    def work(self) -> float:
        """Rough floating-point operations of one trial."""
        size = np.minimum(self.latent_dims, min(self.n_samples, self.data.dim)).astype(float)
        cells = len(self.problems) * len(self.n_supervised)
        return float(cells * (4 * size**3 + 4 * size * self.n_samples**2).sum())


def _plain(value: Any) -> Any:
    """Return an argument of a sweep as JSON holds it."""
    if isinstance(value, ModelSource | ArraySource):
        return value.describe()
    if isinstance(value, np.random.SeedSequence):
        return [_random.to_text(value.entropy), list(value.spawn_key)]
    if isinstance(value, tuple):
        return [problem.name for problem in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.name if isinstance(value, np.dtype) else value


def _run_block(
    plan: Plan, trials: Iterable[int], home: int, rows: np.ndarray | None = None
) -> Block:
    """Run some trials; ``home`` is the process of the sweep, ``rows`` its data if sent apart."""
    if os.getpid() != home:
        threads.keep_single_blas_thread()
    if rows is not None and isinstance(plan.data, ArraySource):
        plan = dataclasses.replace(plan, data=plan.data.attached(rows))
    return [(int(trial), run_trial(plan, int(trial))) for trial in trials]


def draw(plan: Plan, index: int) -> tuple[Any, Any, np.ndarray, np.ndarray | None]:
    """Draw trial number ``index`` of a sweep.

    Returns
    -------
    factor, x : arrays (q, d) and (d, n)
        Factor of the true covariance, and centered samples.
    z : ndarray (K, n)
        Pseudo-latents.
    starts : ndarray (K, d) or None
        What iterative problems start from; None where no problem is.
    """
    seed = plan.random_state
    child = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index))
    rng = np.random.default_rng(child)
    factor, x = plan.data.draw(rng, plan.n_samples)
    most = int(plan.latent_dims[-1])
    drawn = most if plan.largest is None else plan.largest
    z = rng.standard_normal((drawn, plan.n_samples))[:most]
    if not any(problem.iterative for problem in plan.problems):
        return factor, x, z, None
    return factor, x, z, rng.standard_normal((drawn, plan.data.dim))[:most]


def run_trial(plan: Plan, index: int) -> np.ndarray:
    """Compute one trial on the CPU.

    Returns
    -------
    ndarray (6, n_problems, n_n_supervised, n_latent_dims)
        The first axis is ``options.ROWS``.
    """
    factor, x, z, starts = draw(plan, index)
    trial = Trial(factor, x, z, plan.options, starts)
    out = np.empty((len(ROWS), len(plan.problems), len(plan.n_supervised), len(plan.latent_dims)))
    for i, problem in enumerate(plan.problems):
        for j, n_pairs in enumerate(plan.n_supervised):
            if j and not problem.paired:
                out[:, i, j] = out[:, i, 0]
                continue
            rows = problem.host(trial, plan.latent_dims, int(n_pairs))
            out[: len(rows), i, j] = rows
            if len(rows) < len(ROWS):
                out[len(rows) :, i, j] = np.array(CLOSED_FORM)[:, None]
    return out


def run(plan: Plan, todo: np.ndarray, n_jobs: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (trial, rows) as trials finish, in any order.

    Parameters
    ----------
    plan : Plan
    todo : ndarray of int
        Trials to run.
    n_jobs : int or None
        As for joblib.
    """
    if todo.size == 0:
        return
    blocks = _blocks(todo, max(1, int(_TASK_WORK / max(plan.work, 1.0))))
    if plan.device == "cuda":
        yield from _on_device(plan, todo)
        return
    finished: Iterator[Block]
    with threads.single_blas_thread():
        if plan.work * todo.size < _SERIAL_WORK:
            finished = (_run_block(plan, block, os.getpid()) for block in blocks)
        else:
            finished = _parallel(plan, blocks, n_jobs)
        for results in finished:
            yield from results


def _blocks(todo: np.ndarray, largest: int) -> list[np.ndarray]:
    """Cut trials into tasks that shrink towards the end, so that workers finish together."""
    blocks, start = [], 0
    while start < todo.size:
        size = min(largest, max(1, (todo.size - start) // 8))
        blocks.append(todo[start : start + size])
        start += size
    return blocks


def _on_device(plan: Plan, todo: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Draw on the host, as for the CPU, and run blocks of trials on the device."""
    xp = _arrays.require_device()
    engine = kernels.cuda_kernels()
    for start in range(0, todo.size, _DEVICE_TRIALS):
        block = todo[start : start + _DEVICE_TRIALS]
        rows = device_run.run_trials(
            [draw(plan, int(trial)) for trial in block],
            plan.latent_dims,
            plan.n_supervised.tolist(),
            plan.problems,
            plan.options,
            xp=xp,
            engine=engine,
        )
        yield from zip(block.tolist(), rows, strict=True)


def _parallel(plan: Plan, blocks: Sequence[np.ndarray], n_jobs: int | None) -> Iterator[Block]:
    """Run blocks by joblib's backend, handing out results as they come."""
    import joblib

    common: dict[str, Any] = dict(n_jobs=n_jobs, prefer="threads", batch_size=1)
    backend, default = joblib.parallel.get_active_backend(prefer="threads")
    if isinstance(backend, joblib.parallel.ThreadingBackend):
        # joblib polls its results every 10 ms, a tenth of a short sweep
        workers = backend.effective_n_jobs(default if n_jobs is None else n_jobs)
        yield from _threads(plan, blocks, workers)
        return
    rows = None
    if isinstance(plan.data, ArraySource):
        light, rows = plan.data.detached()
        plan = dataclasses.replace(plan, data=light)
    tasks = [joblib.delayed(_run_block)(plan, block, os.getpid(), rows) for block in blocks]
    if getattr(backend, "supports_return_generator", False):
        yield from joblib.Parallel(**common, return_as="generator_unordered")(tasks)
    else:  # a backend that cannot hand out results as they come: in rounds
        parallel = joblib.Parallel(**common)
        size = 4 * backend.effective_n_jobs(default if n_jobs is None else n_jobs)
        for start in range(0, len(tasks), size):
            yield from parallel(tasks[start : start + size])


def _threads(plan: Plan, blocks: Sequence[np.ndarray], workers: int) -> Iterator[Block]:
    """Run blocks in threads, one too: the caller's answers Ctrl-C while they compute."""
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        # no list of ours keeps the results of what was handed out
        for future in concurrent.futures.as_completed(
            [pool.submit(_run_block, plan, block, os.getpid()) for block in blocks]
        ):
            yield future.result()
    finally:
        # what runs cannot be stopped: on Ctrl-C it ends by itself, and nobody waits for it
        interrupted = isinstance(sys.exc_info()[1], KeyboardInterrupt)
        pool.shutdown(wait=not interrupted, cancel_futures=True)
