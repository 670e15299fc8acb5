"""The search for nearest points shared by the processes of ``torchrun``."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random
from .results import NearestResult, join, mean_history
from .search import nearest
from .status import codes, labels
from .targets import Targets

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["nearest_distributed"]

_PER_TARGET = tuple(
    field.name
    for field in dataclasses.fields(NearestResult)
    if field.name not in ("history", "n_dropped")
)


def nearest_distributed(
    generator: Any,
    X: Any,
    *,
    cond: Any = None,
    init: Any = None,
    resume: NearestResult | None = None,
    random_state: Any = None,
    progress: bool | Callable[[int, int], None] | None = None,
    group: ProcessGroup | None = None,
    **options: Any,
) -> NearestResult:
    """Search nearest points with the targets dealt to all processes of a process group.

    Every process calls it with the same arguments and gets the result for all targets, which is
    that of `nearest` in one process but for rounding: pools have the same seeds, and every
    target the same starts.

    Parameters
    ----------
    generator, X, cond, init, **options
        As for `nearest`; X whole, the same in every process. Process r of p searches rows r,
        r + p, and so on.
    resume : NearestResult, optional
        As for `nearest`; what it marks as interrupted is dealt to all processes.
    random_state : int, Generator or None
        Seed of the pool; that of the first process holds for all.
    progress : bool or callable, optional
        As for `nearest`: shown by the first process, for its own targets.
    group : ProcessGroup, optional
        The default group if not given. Back ends for GPUs (nccl) need
        ``torch.cuda.set_device`` first.

    Returns
    -------
    NearestResult
        ``history`` is averaged over processes.

    Raises
    ------
    RuntimeError
        If ``torch.distributed`` is not initialized, or the search failed in another process: then
        all processes raise, the one that failed its own error.
    ValueError
        If X has another shape in another process, or for what `nearest` refuses.

    Notes
    -----
    A conditional generator has a pool for each distinct condition, drawn in turn: for equal pools
    a process also searches one target of each condition that its rows lack. With conditions that
    are all distinct nothing is gained by more processes.

    Examples
    --------
    In a script started by ``torchrun --nproc-per-node 4``::

        torch.distributed.init_process_group("nccl")
        torch.cuda.set_device(torch.distributed.get_rank() % torch.cuda.device_count())
        found = nearest_distributed(net.cuda(), X, random_state=0)
    """
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        raise RuntimeError(
            "nearest_distributed needs a process group: start the script with torchrun and call "
            "torch.distributed.init_process_group first, or use nearest in one process"
        )
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    todo = _checked_rows(X, resume, group)
    if resume is not None and not len(todo):
        return resume
    rng = _of_first(_random.generator(random_state), group)
    mine = todo[rank::size]

    def search() -> NearestResult:
        targets = Targets(X, cond, init)
        part = targets.take(_with_all_conditions(mine, todo, targets.cond))
        return nearest(
            generator,
            part.given(),
            cond=part.cond,
            init=part.init,
            random_state=rng,
            progress=progress if rank == 0 else False,
            **options,
        )

    found = _in_all_processes(search, rank, group)
    gathered = _gathered(found, [todo[r::size] for r in range(size)], todo, rank, group)
    return gathered if resume is None else join(resume, gathered, todo)


def _checked_rows(X: Any, resume: Any, group: Any) -> np.ndarray:
    """Return the rows to search, after all processes agreed on the shape of X."""
    shape = tuple(X.shape) if hasattr(X, "shape") else np.shape(X)
    if resume is not None and (not isinstance(resume, NearestResult) or len(resume) != shape[0]):
        raise ValueError("resume must be the NearestResult of an earlier search of the same X")
    shapes = _all(shape, group)
    if len(set(shapes)) > 1:
        raise ValueError(f"X must be the same in all processes, got the shapes {shapes}")
    if len(shape) < 2 or not shape[0]:
        raise ValueError(f"X must have shape (n, ...) with at least one row, got {shape}")
    if resume is None:
        return np.arange(shape[0])
    return np.flatnonzero(resume.interrupted)


def _with_all_conditions(mine: np.ndarray, todo: np.ndarray, cond: Any) -> np.ndarray:
    """Return my rows and after them those that make my pools the ones of a single process."""
    if cond is None:
        return mine if len(mine) else todo[:1]
    distinct = _arrays.to_numpy(cond)[todo]
    inverse = np.unique(distinct, axis=0, return_inverse=True)[1].reshape(-1)
    own = inverse[np.isin(todo, mine)]
    first = [int(np.flatnonzero(inverse == label)[0]) for label in np.unique(inverse)]
    lacking = [i for i in first if inverse[i] not in own]
    return np.concatenate([mine, todo[lacking]]).astype(np.int64)


def _of_first(value: Any, group: Any) -> Any:
    """Return the value that the first process has."""
    import torch.distributed as dist

    held = [value]
    source = 0 if group is None else dist.get_global_rank(group, 0)
    dist.broadcast_object_list(held, src=source, group=group)
    return held[0]


def _all(value: Any, group: Any) -> list[Any]:
    """Return the values of all processes, in order."""
    import torch.distributed as dist

    found = [None] * dist.get_world_size(group)
    dist.all_gather_object(found, value, group=group)
    return found


def _in_all_processes(search: Callable[[], NearestResult], rank: int, group: Any) -> NearestResult:
    """Search, and raise in all processes if one fails: none is left waiting for another."""
    failure: Exception | None = None
    try:
        found = search()
    except Exception as error:
        failure = error
    told = "" if failure is None else traceback.format_exception_only(failure)[-1].strip()
    failures = {r: text for r, text in enumerate(_all(told, group)) if text}
    if failure is not None:
        raise failure
    if failures:
        first = min(failures)
        raise RuntimeError(f"the search failed in process {first}: {failures[first]}")
    return found


def _gathered(
    found: NearestResult, shares: list[np.ndarray], todo: np.ndarray, rank: int, group: Any
) -> NearestResult:
    """Return the results of all processes, in the order of ``todo``."""
    n_mine = len(shares[rank])
    longest = max(len(share) for share in shares)
    order = np.argsort(np.concatenate(shares), kind="stable")
    fields = {}
    for name in _PER_TARGET:
        values = getattr(found, name)
        if name == "status":
            values = codes(values)
        parts = _all_rows(values[:n_mine], longest, [len(share) for share in shares], group)
        fields[name] = np.concatenate(parts)[order]
    fields["status"] = labels(fields["status"])
    histories = zip(shares, _all(found.history, group), strict=True)
    return NearestResult(
        **fields,
        history=mean_history([(len(share), history) for share, history in histories]),
        n_dropped=max(_all(int(found.n_dropped), group)),
    )


def _all_rows(values: np.ndarray, longest: int, counts: list[int], group: Any) -> list[np.ndarray]:
    """Return the rows of all processes, sent as padded tensors of equal shape."""
    import torch
    import torch.distributed as dist

    device = "cuda" if dist.get_backend(group) == "nccl" else "cpu"
    padded = np.zeros((longest, *values.shape[1:]), dtype=values.dtype)
    padded[: len(values)] = values
    mine = torch.from_numpy(padded).to(device)
    parts = [torch.empty_like(mine) for _ in counts]
    dist.all_gather(parts, mine, group=group)
    return [part[:count].cpu().numpy() for part, count in zip(parts, counts, strict=True)]
