"""A sweep on disk: one chunk a trial, written as trials finish, so that a killed sweep resumes."""

from __future__ import annotations

import contextlib
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


class SweepStore:
    """A zarr group with one array per metric and a ``finished`` flag per trial.

    A trial's flag is written after its values, so whatever a kill leaves behind is either a whole
    trial or one that is computed again.

    Parameters
    ----------
    path : path
        A folder, or an address that zarr knows.
    identity : mapping
        Arguments that two runs must share to share the store, as JSON.
    metrics : sequence of str
        Names of the arrays.
    coords : mapping of str to sequence
        Dimensions of the arrays, trials last.
    any_seed : bool, default False
        Whether the seed is taken from the store if there is one.

    Attributes
    ----------
    seed : numpy.random.SeedSequence
        Seed of the sweep that the store holds.
    finished : ndarray of int
        Trials that are whole.

    Raises
    ------
    ValueError
        If the store was made with other arguments, holds something else or is damaged.
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
    ) -> None:
        self._zarr = _zarr()
        self.path = os.fspath(path)
        self.metrics = tuple(metrics)
        self._shape = tuple(len(values) for values in coords.values())
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
        flags = self._whole("finished", self._shape[-1:]) != 0
        self._values = np.stack([self._whole(name, self._shape) for name in self.metrics])
        # zarr reads a chunk that was lost as NaN: such a trial is computed again
        lost = np.isnan(self._values).any(axis=tuple(range(self._values.ndim - 1)))
        self.finished = np.flatnonzero(flags & ~lost)

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"store {self.path} is damaged: {what}; remove it or choose another path")

    def _whole(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        try:
            array = self._group[name]
            values = np.asarray(array[:] if isinstance(array, self._zarr.Array) else None)
        except (KeyError, ValueError, RuntimeError, OSError, TypeError) as error:
            raise self._damaged(f"{name} cannot be read ({error})") from error
        if values.shape != shape:
            raise self._damaged(f"{name} has shape {values.shape}, expected {shape}")
        return values

    def _read_seed(self) -> np.random.SeedSequence:
        said = self._group.attrs[_KEY].get("random_state")
        try:
            entropy, spawn_key = said
            return np.random.SeedSequence(_random.from_text(entropy), spawn_key=tuple(spawn_key))
        except (TypeError, ValueError, AttributeError) as error:
            raise self._damaged(f"its seed cannot be read, got {_short(said)}") from error

    def _create(self, identity: Mapping[str, Any], coords: Mapping[str, Sequence]) -> Any:
        try:
            group = self._zarr.open_group(self.path, mode="w", attributes={_KEY: _BUSY})
        except OSError as error:
            raise OSError(f"store {self.path} cannot be written: {error}") from error
        for name in self.metrics:
            group.create_array(
                name,
                shape=self._shape,
                chunks=(*self._shape[:-1], 1),
                dtype="float64",
                fill_value=np.nan,
                dimension_names=list(coords),
            )
        group.create_array(
            "finished",
            shape=self._shape[-1:],
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
            if found == json.loads(json.dumps(value)) or (name == "random_state" and any_seed):
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

    def write(self, trial: int, values: np.ndarray) -> None:
        """Write one trial, values (n_metrics, problem, n_supervised, latent_dim), then its flag."""
        for name, value in zip(self.metrics, values, strict=True):
            self._group[name][..., trial] = value
        self._group["finished"][trial] = 1

    def read(self) -> np.ndarray:
        """Return the values that the store held when it was opened, trials last."""
        return self._values


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
