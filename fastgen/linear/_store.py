"""A sweep on disk: one chunk a trial, written as trials finish, so that a killed sweep resumes."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_KEY = "fastgen_sweep"
_BUSY = "initialising"
_FOREIGN = (
    "store must be a new path or a fastgen sweep, but {} holds something else; choose another"
)


class SweepStore:
    """A zarr group with one array per metric and a ``finished`` flag per trial.

    A trial's flag is written after its values, so whatever a kill leaves behind is either a whole
    trial or one that is computed again.
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
        zarr = _zarr()
        self.path = os.fspath(path)
        self.metrics = tuple(metrics)
        group = _open(zarr, self.path)
        state = None if group is None else group.attrs.get(_KEY)
        if group is not None and state is None:
            raise ValueError(_FOREIGN.format(self.path))
        if state is None or state == _BUSY:
            group = self._create(zarr, identity, coords)
        else:
            self._compare(state, identity, any_seed)
        self.group = group
        self.identity = group.attrs[_KEY]
        self.finished = np.flatnonzero(self._whole("finished"))

    def _whole(self, name: str) -> np.ndarray:
        try:
            return self.group[name][:]
        except (KeyError, ValueError, RuntimeError, OSError) as error:
            raise ValueError(
                f"store {self.path} is damaged: {name} cannot be read ({error}); "
                "remove it or choose another path"
            ) from error

    def _create(self, zarr, identity, coords):
        try:
            group = zarr.open_group(self.path, mode="w", attributes={_KEY: _BUSY})
        except OSError as error:
            raise OSError(f"store {self.path} cannot be written: {error}") from error
        shape = tuple(len(values) for values in coords.values())
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

    def _compare(
        self, stored: Mapping[str, Any], wanted: Mapping[str, Any], any_seed: bool
    ) -> None:
        for name, value in wanted.items():
            found = stored.get(name)
            if found == json.loads(json.dumps(value)) or (name == "random_state" and any_seed):
                continue
            if name == "version":
                warnings.warn(
                    f"store {self.path} was begun by fastgen {found} and goes on with {value}: "
                    "trials of both versions are mixed",
                    stacklevel=4,
                )
                continue
            raise ValueError(
                f"store {self.path} was made with {name}={_short(found)}, this call has "
                f"{name}={_short(value)}; repeat the first call's {name}, or choose another path"
            )

    def write(self, trial: int, values: np.ndarray) -> None:
        """Write one trial, values (n_metrics, problem, n_supervised, latent_dim), then its flag."""
        for name, value in zip(self.metrics, values, strict=True):
            self.group[name][..., trial] = value
        self.group["finished"][trial] = 1

    def read(self) -> np.ndarray:
        """Return all values, trials last, NaN where unfinished."""
        return np.stack([self._whole(name) for name in self.metrics])


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _zarr():
    try:
        import zarr
    except ImportError as error:
        raise ImportError("store= needs zarr: pip install zarr") from error
    return zarr


def _open(zarr, path: str):
    """Return the group at ``path``, or None if nothing is there."""
    if "://" not in path and os.path.exists(path):
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
    if "://" not in path:
        return None
    try:
        return zarr.open_group(path, mode="r+")
    except FileNotFoundError:
        return None
