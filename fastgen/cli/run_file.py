"""The file that describes a training run, read and checked key by key."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arrays

if TYPE_CHECKING:
    from torch import nn

KINDS = ("mlp", "dcgan", "resnet", "biggan", "r3")
_NAMES = {"mlp": "MLP", "dcgan": "DCGAN", "resnet": "ResNet", "biggan": "BigGAN", "r3": "R3"}
_TABLES = ("data", "generator", "discriminator", "ensemble", "objective", "terms", "pairs", "train")
_DATA = ("path", "labels", "shape", "range", "resize", "rgb")
_NOT_IN_FILE = {
    "generator", "discriminator", "data", "labels", "weights", "objective", "terms", "pairs",
    "optimizers", "resume", "callback", "progress",
}  # fmt: skip


@dataclasses.dataclass
class RunFile:
    """A run as its file describes it: one dictionary for each table."""

    name: str
    tables: dict[str, Any]

    def table(self, name: str) -> dict[str, Any]:
        """Return a table, empty where there is none."""
        return dict(self.tables.get(name, {}))


def read(path: str, changes: Iterable[str] = ()) -> RunFile:
    """Read a run file and apply changes of the form ``table.key=value``.

    Parameters
    ----------
    path : str
    changes : iterable of str
        Values are TOML; what is not is taken as text.

    Raises
    ------
    ValueError
        If the file is no TOML, a table or a change is unknown; the nearest known name is told.
    OSError
        If it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            tables = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _apply(tables, change)
    for name, table in tables.items():
        known(name, _TABLES, path, "table")
        if name == "terms":
            if not isinstance(table, list) or not all(isinstance(t, dict) for t in table):
                raise ValueError(f"{path}: write each of the terms as a table [[terms]]")
        elif not isinstance(table, dict):
            raise ValueError(f"{path}: {name} must be a table [{name}], got {table!r}")
    for name in ("data", "generator", "train"):
        if name not in tables:
            raise ValueError(f"{path} must have a table [{name}]")
    return RunFile(path, tables)


def _apply(tables: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and dot and table and name):
        raise ValueError(f"--set must be table.key=value, such as train.steps=100, got {change!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    place = tables.setdefault(table, {})
    if not isinstance(place, dict):
        raise ValueError(f"--set cannot change [[{table}]], a list of tables; edit the file")
    place[name] = value


def known(name: str, names: Sequence[str], where: str, what: str = "key") -> str:
    """Return ``name`` if it is one of ``names``, else raise with the nearest one."""
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
    raise ValueError(f"{where} has no {what} {name!r}; {hint}")


def accepted(function: Any) -> list[str]:
    """Return the names of the parameters of a class or function."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def built(run: RunFile, table: str, function: Any, given: Mapping[str, Any]) -> Any:
    """Call a constructor with the keys of a table, after all of them are known."""
    names = accepted(function)
    for name in given:
        known(name, [*names, "kind"], f"{run.name}: [{table}]")
    required = [
        name
        for name, p in inspect.signature(function).parameters.items()
        if p.default is p.empty and name not in given and name != "self"
    ]
    if required:
        raise ValueError(f"{run.name}: [{table}] must have the key {required[0]!r}")
    options = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if name != "kind"
    }
    return function(**options)


def kind_of(run: RunFile, table: str, default: str | None = None) -> str:
    """Return the kind of a network or objective."""
    found = run.table(table).get("kind", default)
    if found is None:
        raise ValueError(f"{run.name}: [{table}] must have a kind: {', '.join(KINDS)}")
    return known(str(found), KINDS, f"{run.name}: [{table}]", "kind")


def network_class(kind: str, part: str) -> type[nn.Module]:
    """Return the class of a network: part is Generator or Discriminator."""
    from .. import networks

    return getattr(networks, f"{_NAMES[kind]}{part}")


def fit_options(run: RunFile) -> dict[str, Any]:
    """Return the options of `fastgen.gan.fit` in [train], and ``device``."""
    from ..gan import fit

    names = [name for name in accepted(fit) if name not in _NOT_IN_FILE]
    found = run.table("train")
    for name in found:
        known(name, [*names, "device"], f"{run.name}: [train]")
    for name in ("steps", "out"):
        if name not in found:
            raise ValueError(f"{run.name}: [train] must have the key {name!r}")
    if "betas" in found:
        found["betas"] = tuple(found["betas"])
    return found


def samples(run: RunFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the samples (n, ...) as the networks see them, and labels (n,) if there are any.

    Eight-bit values, images of a folder and ranges that are given become [-1, 1].
    """
    table = run.table("data")
    for name in table:
        known(name, _DATA, f"{run.name}: [data]")
    if "path" not in table:
        raise ValueError(f"{run.name}: [data] must have the key 'path'")
    path, labels = str(table["path"]), table.get("labels")
    bounds = table.get("range")
    if path == "digits":
        from sklearn.datasets import load_digits

        X, found = load_digits(return_X_y=True)
        X, bounds = X.reshape(-1, 1, 8, 8), bounds or [0, 16]
        y = found if labels in ("digits", True) else None
    else:
        y = None
        if os.path.isdir(path):
            from ..images import ImageFolder

            folder = ImageFolder(path, resize=table.get("resize"), rgb=bool(table.get("rgb")))
            X = np.concatenate([part.astype(np.float32) for part in folder.batches(256)])
            bounds = bounds or [0, 1]
        else:
            X = _array(path, f"{run.name}: [data] path")
    if y is None and labels not in (None, False):
        y = _array(str(labels), f"{run.name}: [data] labels")
    if X.ndim == 3:
        X = X[:, None]
    if "shape" in table:
        X = _reshaped(X, table["shape"], run.name)
    if bounds is None:
        return (X if X.dtype == np.uint8 else X.astype(np.float32)), y
    low, high = (float(bound) for bound in bounds)
    if not low < high:
        raise ValueError(f"{run.name}: [data] range must be two numbers that rise, got {bounds}")
    return (2 * (X.astype(np.float32) - low) / (high - low) - 1).astype(np.float32), y


def _reshaped(X: np.ndarray, shape: Any, name: str) -> np.ndarray:
    try:
        return X.reshape(len(X), *shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: [data] shape {shape} does not hold the {X[0].size} values of a sample"
        ) from error


def _array(name: str, what: str) -> np.ndarray:
    """Read numbers from FILE.npy, FILE.npz or FILE.npz:KEY, never running code."""
    from .._files import read_npy, read_npz

    expected = f"{what} must be digits, a folder of images, FILE.npy, FILE.npz or FILE.npz:KEY"
    path, key = arrays.split(name, expected)
    if path.lower().endswith(".npy"):
        return read_npy(path)
    return arrays.choose(read_npz(path), key, path)
