"""Runs on disk: what they are, how far they are, and networks that other commands read."""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._files import replacing
from .._version import __version__
from ..networks.weights import read_weights, write_weights

RUN, LOG, FOLDER = "run.json", "log.jsonl", "checkpoints"
_KEPT = 2
_STATE = "state"


class RunFolder:
    """A folder with a run: its identity, its log, its last checkpoints, its generator.

    A checkpoint is a folder that is written beside and renamed when it is whole, so that a kill at
    any time leaves the ones before.

    Parameters
    ----------
    path : path
    identity : mapping
        What makes it this run; plain values.
    resume : bool
        Whether a run that the folder holds may go on.

    Raises
    ------
    ValueError
        If the folder holds another run, or one that is not to be resumed.
    """

    def __init__(
        self, path: str | os.PathLike, identity: Mapping[str, Any], *, resume: bool
    ) -> None:
        self.path = pathlib.Path(path)
        self.identity = json.loads(json.dumps({"version": __version__, **identity}))
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"out must be a folder, but {os.fspath(path)!r} is a file")
        known = self.path / RUN
        if known.exists():
            self._compare(known, resume)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise ValueError(
                f"out must be a new or empty folder, or that of a run, but {os.fspath(path)!r} "
                "holds something else; choose another"
            )

    def _compare(self, known: pathlib.Path, resume: bool) -> None:
        if not resume:
            raise ValueError(
                f"out {os.fspath(self.path)!r} holds a run; pass resume=True to go on with it, or "
                "choose another folder"
            )
        try:
            found = json.loads(known.read_text())
        except ValueError as error:
            raise ValueError(f"{known} is damaged: {error}; choose another folder") from error
        for name in sorted({*found, *self.identity} - {"version"}):
            if found.get(name) != self.identity.get(name):
                raise ValueError(
                    f"out {os.fspath(self.path)!r} holds a run with "
                    f"{name}={_short(found.get(name))}, this call has "
                    f"{name}={_short(self.identity.get(name))}; repeat the first call's {name}, or "
                    "choose another folder"
                )

    def begin(self) -> None:
        """Make the folder and write the identity, unless they are there."""
        (self.path / FOLDER).mkdir(parents=True, exist_ok=True)
        if not (self.path / RUN).exists():
            with replacing(self.path / RUN) as beside:
                beside.write_text(json.dumps(self.identity, indent=2) + "\n")

    def last(self) -> pathlib.Path | None:
        """Return the folder of the last whole checkpoint, or None."""
        found = self._checkpoints()
        return found[-1] if found else None

    def _checkpoints(self) -> list[pathlib.Path]:
        folder = self.path / FOLDER
        return sorted(p for p in folder.glob("[0-9]*") if (p / "state.json").is_file())

    def save(
        self,
        step: int,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        states: Mapping[str, Mapping[str, Tensor]],
        told: Mapping[str, Any],
    ) -> None:
        """Write a checkpoint, then drop the oldest."""
        folder = self.path / FOLDER
        beside = folder / f".{step:010d}-{secrets.token_hex(4)}"
        beside.mkdir()
        try:
            for name, module in modules.items():
                write_weights(module.state_dict(), beside / f"{name}.safetensors")
            tensors: dict[str, Tensor] = {}
            for name, optimizer in optimizers.items():
                tensors.update(_optimizer_tensors(name, optimizer))
            for name, state in states.items():
                tensors.update({f"{name}/{key}": value for key, value in state.items()})
            write_weights(tensors, beside / f"{_STATE}.safetensors")
            (beside / "state.json").write_text(json.dumps({"step": step, **told}) + "\n")
            target = folder / f"{step:010d}"
            if target.exists():
                shutil.rmtree(target)
            beside.rename(target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        for old in self._checkpoints()[:-_KEPT]:
            shutil.rmtree(old)

    def load(
        self,
        checkpoint: pathlib.Path,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        states: Mapping[str, dict[str, Tensor]],
    ) -> dict[str, Any]:
        """Read a checkpoint into what was handed over; return its figures."""
        for name, module in modules.items():
            module.load_state_dict(read_weights(checkpoint / f"{name}.safetensors"))
        tensors = read_weights(checkpoint / f"{_STATE}.safetensors")
        for name, optimizer in optimizers.items():
            _fill_optimizer(name, optimizer, tensors)
        for name, state in states.items():
            for key in state:
                state[key] = tensors[f"{name}/{key}"]
        return json.loads((checkpoint / "state.json").read_text())

    def cut_log(self, step: int) -> list[dict[str, Any]]:
        """Drop what the log says of steps after ``step``, and return the rest."""
        path = self.path / LOG
        if not path.exists():
            return []
        rows = []
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # a line that a kill cut short
                break
            if row["step"] <= step:
                rows.append(row)
        with replacing(path) as beside:
            beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return rows

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        with open(self.path / LOG, "a") as file:
            file.write(json.dumps(row) + "\n")


def _optimizer_tensors(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer by flat names."""
    found: dict[str, Tensor] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                found[f"{name}/{index}/{key}"] = torch.as_tensor(value)
    return found


def _fill_optimizer(
    name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        owner, _, rest = key.partition("/")
        if owner == name:
            index, _, entry = rest.partition("/")
            state.setdefault(int(index), {})[entry] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
