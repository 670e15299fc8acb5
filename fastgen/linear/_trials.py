"""The trials of a sweep: what one is, and who runs them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .._dispatch import linear as kernels
from .._dispatch import threads
from . import device as _cuda
from . import problems
from ._sources import ArraySource, ModelSource
from .host import projections, semisupervised

ROWS = semisupervised.ROWS

PROBLEMS: dict[str, Callable] = {
    "unsupervised": problems.unsupervised,
    "pseudo_supervised": problems.pseudo_supervised,
    "ridge": problems.ridge,
    "procrustes": projections.procrustes,
    "reduced_rank": projections.reduced_rank,
    "free_latents": semisupervised.free_latents,
    "lexicographic": semisupervised.lexicographic,
    "penalized": semisupervised.penalized,
    "constrained": semisupervised.constrained,
}
# Problems that start from a random generator.
_ITERATIVE = ("free_latents", "penalized", "constrained")
# Below this many floating-point operations starting workers costs more than the sweep.
_SERIAL_WORK = 3e8
# A task of this many operations is some 30 ms: enough to hide the scheduler, little to lose.
_TASK_WORK = 1e9
# Trials drawn on the host and handed to the device together.
_DEVICE_TRIALS = 64


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything a worker needs to compute any trial."""

    source: ModelSource | ArraySource
    latent_dims: np.ndarray
    n_samples: int
    n_supervised: np.ndarray
    problems: tuple[str, ...]
    entropy: int | tuple[int, ...]
    spawn_key: tuple[int, ...]
    options: problems.Options
    device: str = "cpu"
    process: int = dataclasses.field(default_factory=os.getpid)

    @property
    def work(self) -> float:
        """Rough floating-point operations of one trial."""
        size = np.minimum(self.latent_dims, min(self.n_samples, self.source.dim)).astype(float)
        cells = len(self.problems) * len(self.n_supervised)
        return cells * (4 * size**3 + 4 * size * self.n_samples**2).sum()


def _run_block(
    plan: Plan, trials: Sequence[int], rows: np.ndarray | None = None
) -> list[tuple[int, np.ndarray]]:
    if os.getpid() != plan.process:
        threads.keep_single_blas_thread()
    if rows is not None:
        plan = dataclasses.replace(plan, source=plan.source.attached(rows))
    return [(int(trial), _run_trial(plan, int(trial))) for trial in trials]


def _draw(plan: Plan, index: int) -> tuple:
    """Return (factor, x, z, starts) of one trial; no starts where no problem wants them."""
    seed = np.random.SeedSequence(plan.entropy, spawn_key=(*plan.spawn_key, index))
    rng = np.random.default_rng(seed)
    factor, x = plan.source.draw(rng, plan.n_samples)
    largest = int(plan.latent_dims[-1])
    z = rng.standard_normal((largest, plan.n_samples))
    if not any(name in _ITERATIVE for name in plan.problems):
        return factor, x, z, None
    return factor, x, z, rng.standard_normal((largest, plan.source.dim))


def _run_trial(plan: Plan, index: int) -> np.ndarray:
    """Rows (n_rows, problem, n_supervised, latent_dim) of one trial."""
    factor, x, z, starts = _draw(plan, index)
    trial = problems.Trial(factor, x, z, plan.options, starts)
    out = np.empty((len(ROWS), len(plan.problems), len(plan.n_supervised), len(plan.latent_dims)))
    for i, name in enumerate(plan.problems):
        for j, n_pairs in enumerate(plan.n_supervised):
            if name == "unsupervised" and j:
                out[:, i, j] = out[:, i, 0]
                continue
            rows = PROBLEMS[name](trial, plan.latent_dims, int(n_pairs))
            out[: len(rows), i, j] = rows
            if len(rows) < len(ROWS):  # a closed form is converged in no steps
                out[len(rows) :, i, j] = [[1.0], [0.0]]
    return out


def run(plan: Plan, todo: np.ndarray, n_jobs) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (trial, rows) as trials finish, in any order."""
    if todo.size == 0:
        return
    blocks = _blocks(todo, max(1, int(_TASK_WORK / max(plan.work, 1.0))))
    if plan.device == "cuda":
        yield from _on_device(plan, todo)
        return
    with threads.single_blas_thread():
        if plan.work * todo.size < _SERIAL_WORK:
            finished = (_run_block(plan, block) for block in blocks)
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
    xp = _cuda.require_device()
    engine = kernels.cuda_kernels()
    for start in range(0, todo.size, _DEVICE_TRIALS):
        block = todo[start : start + _DEVICE_TRIALS]
        found = _cuda.run_trials(
            [_draw(plan, int(trial)) for trial in block],
            plan.latent_dims,
            plan.n_supervised,
            plan.problems,
            plan.options,
            xp=xp,
            engine=engine,
        )
        yield from zip(block.tolist(), found, strict=True)


def _parallel(plan: Plan, blocks: list[np.ndarray], n_jobs) -> Iterator[list]:
    """Run blocks by joblib's backend, handing out results as they come."""
    import joblib

    common = dict(n_jobs=n_jobs, prefer="threads", batch_size=1)
    backend, default = joblib.parallel.get_active_backend(prefer="threads")
    if isinstance(backend, joblib.parallel.ThreadingBackend):
        # joblib polls its results every 10 ms, a tenth of a short sweep
        workers = backend.effective_n_jobs(default if n_jobs is None else n_jobs)
        yield from _threads(plan, blocks, workers)
        return
    rows = None
    if isinstance(plan.source, ArraySource):
        light, rows = plan.source.detached()
        plan = dataclasses.replace(plan, source=light)
    tasks = [joblib.delayed(_run_block)(plan, block, rows) for block in blocks]
    if getattr(backend, "supports_return_generator", False):
        yield from joblib.Parallel(**common, return_as="generator_unordered")(tasks)
    else:  # a backend that cannot hand out results as they come: in rounds
        parallel = joblib.Parallel(**common)
        size = 4 * backend.effective_n_jobs(default if n_jobs is None else n_jobs)
        for start in range(0, len(tasks), size):
            yield from parallel(tasks[start : start + size])


def _threads(plan: Plan, blocks: list[np.ndarray], workers: int) -> Iterator[list]:
    if workers == 1:
        yield from (_run_block(plan, block) for block in blocks)
        return
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(_run_block, plan, block) for block in blocks]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
