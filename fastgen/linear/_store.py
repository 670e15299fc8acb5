"""A sweep on disk: one chunk a trial, written as trials finish, so that a killed sweep resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .. import _random, _warnings

_KEY = "fastgen_sweep"
_BUSY = "initialising"
_FOREIGN = (
    "store must be a new path or a fastgen sweep, but {} holds something else; choose another"
)


# What a store may hold more of than a sweep asks for, or be given: it is not compared.
_GROWING = ("latent_dims", "n_trials")
_MOST_GROWTHS = 255


@dataclasses.dataclass(frozen=True)
class Gap:
    """Cells that a store lacks: some latent dimensions of some trials.

    Attributes
    ----------
    latent_dims : ndarray of int
        Ascending.
    trials : ndarray of int
    first : int
        Place of the first of the latent dimensions in the store, where they follow each other.
    level : int
        What the trials have finished when these are written.
    """

    latent_dims: np.ndarray
    trials: np.ndarray
    first: int
    level: int


class SweepStore:
    """A zarr group with one array per metric and a ``finished`` flag per trial.

    A trial's flag is written after its values, so whatever a kill leaves behind is either a whole
    trial or one that is computed again. More trials and more latent dimensions may be asked for
    later, which are appended: the flag tells how many of these growths a trial has finished.

    Parameters
    ----------
    path : path
        A folder, or an address that zarr knows.
    identity : mapping
        Arguments of the sweep as JSON; all but ``latent_dims`` and ``n_trials`` must be those of
        the store.
    metrics : sequence of str
        Names of the arrays.
    coords : mapping of str to sequence
        Dimensions of the arrays: latent dimensions last but one, trials last.
    any_seed : bool, default False
        Whether the seed is taken from the store if there is one.
    iterative : sequence of str, default ()
        Problems whose starts depend on the largest latent dimension.

    Attributes
    ----------
    seed : numpy.random.SeedSequence
        Seed of the sweep that the store holds.
    largest : int
        The latent dimension for which random numbers are drawn.
    gaps : list of Gap
        What is to be computed.

    Raises
    ------
    ValueError
        If the store was made with other arguments, holds something else or is damaged, or if
        iterative problems are asked for more latents than they were begun with.
    OSError
        If it cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        identity: Mapping[str, Any],
        metrics: Sequence[str],
        coords: Mapping[str, Sequence],
        *,
        any_seed: bool = False,
        iterative: Sequence[str] = (),
    ) -> None:
        self._zarr = _zarr()
        self.path = os.fspath(path)
        self.metrics = tuple(metrics)
        self._cells = tuple(len(values) for values in list(coords.values())[:-2])
        *_, self._wanted, trials = (list(values) for values in coords.values())
        group = _open(self._zarr, self.path)
        state = None if group is None else group.attrs.get(_KEY)
        if group is not None and state is None:
            raise ValueError(_FOREIGN.format(self.path))
        if state is None or state == _BUSY:
            group = self._create(identity, coords)
        else:
            self._compare(state, identity, any_seed)
        self._group = group
        self.seed = self._read_seed()
        self._dims, self._ends, self.largest = self._read_dims()
        self._n_trials = len(trials)
        held = self._held()
        flags = self._whole("finished", held[-1:])
        self._grow(held[-1], iterative)
        self._values = np.full((len(self.metrics), *self._cells, *self._size), np.nan)
        for name, values in zip(self.metrics, self._values, strict=True):
            values[..., : held[-2], : held[-1]] = self._whole(name, held)
        # zarr reads a chunk that was lost as NaN: such a trial is computed again
        self._level = np.zeros(self._size[-1], dtype=np.int64)
        for trial, level in enumerate(flags.tolist()):
            last = self._ends[min(level, len(self._ends)) - 1] if level else 0
            whole = not np.isnan(self._values[..., :last, trial]).any()
            self._level[trial] = min(level, len(self._ends)) if whole else 0
        self.gaps = self._find_gaps()

    @property
    def _size(self) -> tuple[int, int]:
        """Numbers of latent dimensions and of trials in the store."""
        return len(self._dims), max(self._n_trials, self._known["n_trials"])

    @property
    def _known(self) -> dict[str, Any]:
        return self._group.attrs[_KEY]

    def _held(self) -> tuple[int, ...]:
        """Shape of what has been written: an array may be larger if growth was cut short."""
        try:
            return (*self._cells, len(self._dims), int(self._known["n_trials"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged("its number of trials cannot be read") from error

    def _read_dims(self) -> tuple[list[int], list[int], int]:
        """Return latent dimensions as they lie, how many each growth ended with, and the largest.

        A store that has not grown need not tell.
        """
        try:
            dims = [int(k) for k in self._known["latent_dims"]]
            ends = [int(end) for end in self._known.get("growths", [len(dims)])]
            largest = int(self._known.get("largest", max(dims)))
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged("its latent dimensions cannot be read") from error
        if not dims or sorted(set(ends)) != ends or ends[-1] != len(dims) or largest < max(dims):
            raise self._damaged("its latent dimensions contradict each other")
        return dims, ends, largest

    def _grow(self, n_trials: int, iterative: Sequence[str]) -> None:
        """Make room for what the store lacks."""
        fresh = sorted(set(self._wanted) - set(self._dims))
        if fresh and iterative and fresh[-1] > self.largest:
            raise ValueError(
                f"store {self.path} was begun with latent_dims up to {self.largest}, and what "
                f"{iterative[0]!r} starts from depends on them; ask for no larger ones, got "
                f"{fresh[-1]}, or choose another path"
            )
        if not fresh and n_trials >= self._n_trials:
            return
        if fresh:
            self._dims = [*self._dims, *fresh]
            self._ends = [*self._ends, len(self._dims)]
            self.largest = max(self.largest, fresh[-1])
        if len(self._ends) > _MOST_GROWTHS:
            raise ValueError(f"store {self.path} has grown too often; choose another path")
        for name in self.metrics:
            self._group[name].resize((*self._cells, *self._size))
        self._group["finished"].resize(self._size[-1:])
        self._group.attrs[_KEY] = {
            **self._known,
            "latent_dims": self._dims,
            "growths": self._ends,
            "largest": self.largest,
            "n_trials": self._size[-1],
        }

    def _find_gaps(self) -> list[Gap]:
        places = {k: place for place, k in enumerate(self._dims)}
        last = max(places[k] for k in self._wanted)
        goal = next(level for level, end in enumerate(self._ends, 1) if end > last)
        gaps = []
        for level in range(goal):
            trials = np.flatnonzero(self._level[: self._n_trials] == level)
            if trials.size:
                first = self._ends[level - 1] if level else 0
                dims = np.sort(self._dims[first : self._ends[goal - 1]])
                gaps.append(Gap(dims, trials, first, goal))
        return gaps

    def sample(self) -> tuple[int, np.ndarray, np.ndarray] | None:
        """Return a trial that is finished, its latent dimensions and values, or None."""
        finished = np.flatnonzero(self._level)
        if not finished.size:
            return None
        trial = int(finished[0])
        order = np.argsort(self._dims[: self._ends[0]])
        return trial, np.array(self._dims)[order], self._values[..., order, trial]

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"store {self.path} is damaged: {what}; remove it or choose another path")

    def _whole(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        try:
            array = self._group[name]
            values = np.asarray(array[:] if isinstance(array, self._zarr.Array) else None)
        except (KeyError, ValueError, RuntimeError, OSError, TypeError) as error:
            raise self._damaged(f"{name} cannot be read ({error})") from error
        smaller = [found < wanted for found, wanted in zip(values.shape, shape, strict=False)]
        if values.ndim != len(shape) or any(smaller):
            raise self._damaged(f"{name} has shape {values.shape}, expected {shape}")
        return values[tuple(slice(size) for size in shape)]

    def _read_seed(self) -> np.random.SeedSequence:
        said = self._group.attrs[_KEY].get("random_state")
        try:
            entropy, spawn_key = said
            return np.random.SeedSequence(_random.from_text(entropy), spawn_key=tuple(spawn_key))
        except (TypeError, ValueError, AttributeError) as error:
            raise self._damaged(f"its seed cannot be read, got {_short(said)}") from error

    def _create(self, identity: Mapping[str, Any], coords: Mapping[str, Sequence]) -> Any:
        shape = tuple(len(values) for values in coords.values())
        try:
            group = self._zarr.open_group(self.path, mode="w", attributes={_KEY: _BUSY})
        except OSError as error:
            raise OSError(f"store {self.path} cannot be written: {error}") from error
        for name in self.metrics:
            group.create_array(
                name,
                shape=shape,
                chunks=(*shape[:-1], 1),
                dtype="float64",
                fill_value=np.nan,
                dimension_names=list(coords),
            )
        group.create_array(
            "finished",
            shape=shape[-1:],
            chunks=(1,),
            dtype="uint8",
            fill_value=0,
            dimension_names=[list(coords)[-1]],
        )
        group.attrs[_KEY] = dict(identity)
        return group

    def _compare(self, stored: Any, wanted: Mapping[str, Any], any_seed: bool) -> None:
        if not isinstance(stored, Mapping):
            raise self._damaged(f"its arguments cannot be read, got {_short(stored)}")
        for name, value in wanted.items():
            found = stored.get(name)
            if (
                name in _GROWING
                or found == json.loads(json.dumps(value))
                or (name == "random_state" and any_seed)
            ):
                continue
            if name == "version":
                _warnings.warn(
                    f"store {self.path} was begun by fastgen {found} and goes on with {value}: "
                    "trials of both versions are mixed"
                )
                continue
            raise ValueError(
                f"store {self.path} was made with {name}={_short(found)}, this call has "
                f"{name}={_short(value)}; repeat the first call's {name}, or choose another path"
            )

    def write(self, gap: Gap, trial: int, values: np.ndarray) -> None:
        """Write the cells of a gap in one trial, then the trial's flag.

        Parameters
        ----------
        gap : Gap
        trial : int
        values : ndarray (n_metrics, problem, n_supervised, latent_dim)
            For the latent dimensions of the gap.
        """
        last = gap.first + len(gap.latent_dims)
        order = np.searchsorted(gap.latent_dims, self._dims[gap.first : last])
        self._values[..., gap.first : last, trial] = values[..., order]
        for name, value in zip(self.metrics, values[..., order], strict=True):
            self._group[name][..., gap.first : last, trial] = value
        self._group["finished"][trial] = gap.level

    def read(self) -> np.ndarray:
        """Return the values that were asked for, NaN where there are none yet, trials last."""
        places = [self._dims.index(k) for k in self._wanted]
        return self._values[..., places, : self._n_trials]


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _zarr() -> ModuleType:
    try:
        import zarr
    except ImportError as error:
        raise ImportError("store= needs zarr: pip install zarr") from error
    return zarr


def _is_local(path: str) -> bool:
    return "://" not in path


def _open(zarr: ModuleType, path: str) -> Any:
    """Return the group at ``path``, or None if nothing is there."""
    if _is_local(path) and os.path.exists(path):
        if not os.path.isdir(path):
            raise ValueError(
                f"store must be a folder (a zarr group), but {path} is a file; choose another path"
            )
        if not os.listdir(path):
            return None
        try:
            return zarr.open_group(path, mode="r+")
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise ValueError(_FOREIGN.format(path)) from error
    if _is_local(path):
        return None
    try:
        return zarr.open_group(path, mode="r+")
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def alone(path: str | os.PathLike) -> Iterator[None]:
    """Hold the store at ``path`` for this sweep alone.

    A file ``PATH.lock`` beside the store is locked through the operating system, which lets go of
    it when the process ends, however it ends. Stores that are no local folders are not locked, nor
    are those on file systems or in folders that refuse a lock.

    Raises
    ------
    ValueError
        If another sweep holds the store.
    """
    path = os.fspath(path)
    handle = _locked(f"{path.rstrip(os.sep)}.lock", path) if _is_local(path) else None
    try:
        yield
    finally:
        if handle is not None:
            os.unlink(handle.name)
            handle.close()


def _locked(name: str, path: str) -> Any:
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return None
    while True:
        try:
            os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
            handle = open(name, "a+")
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read() or "another process"
            handle.close()
            raise ValueError(
                f"store {path} is in use by {holder}; wait for it to end, or choose another path"
            ) from None
        except OSError:
            handle.close()
            return None
        # who held it before may have removed the file between our two calls
        if os.path.exists(name) and os.path.samestat(os.fstat(handle.fileno()), os.stat(name)):
            break
        handle.close()
    handle.truncate(0)
    handle.write(f"process {os.getpid()}")
    handle.flush()
    return handle
