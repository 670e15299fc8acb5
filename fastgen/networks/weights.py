"""Weights of networks in files: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import _arrays
from .._files import read_npz, replacing, write_npz
from .._warnings import warn

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = (".safetensors", ".npz", ".pt", ".pth", ".bin", ".ckpt")
_WRITTEN = (".safetensors", ".npz")
_LONGEST = 300  # characters of a message of torch
_FEW = 5  # names listed in a message


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the tensors of a network by name. Nothing in the file can run.

    Parameters
    ----------
    path : path
        .safetensors; .npz of plain arrays; or what ``torch.save`` writes, .pt, .pth, .bin or .ckpt,
        read with ``weights_only=True``. Of a checkpoint that holds several networks, or one under a
        prefix, name it after a colon: ``ckpt.pt:G_ema``, ``ckpt.pt:state_dict.generator``.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    ValueError
        If the file is damaged, of another kind, or holds anything but tensors, or no such network.
    OSError
        If it cannot be opened.
    ImportError
        For a .safetensors file where safetensors is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import torch
    >>> from fastgen.networks import read_weights, write_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.npz")
    ...     write_weights(torch.nn.Linear(2, 1).state_dict(), path)
    ...     {name: tuple(tensor.shape) for name, tensor in read_weights(path).items()}
    {'weight': (1, 2), 'bias': (1,)}
    """
    path, key = split_key(path)
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in WEIGHTS:
        raise ValueError(f"weights must be in a file ending in {', '.join(WEIGHTS)}, got {path!r}")
    with open(path, "rb"):
        pass
    if suffix == ".safetensors":
        held: Mapping[str, Any] = _from_safetensors(path)
    elif suffix == ".npz":
        held = _from_npz(path)
    else:
        held = _from_torch(path)
    return _picked(held, key, path)


def split_key(path: str | os.PathLike) -> tuple[str, str | None]:
    """Return the file and the key of ``file:key``, None where there is no key."""
    name = os.fspath(path)
    before, colon, key = name.rpartition(":")
    if colon and pathlib.Path(before).suffix.lower() in WEIGHTS and not os.path.exists(name):
        return before, key
    return name, None


def load_weights(network: nn.Module, path: str | os.PathLike, *, what: str | None = None) -> None:
    """Fill a network with the weights of a file, whose names may carry the prefix of a wrapper.

    Parameters
    ----------
    network : nn.Module
        Filled in place.
    path : path
        As for `read_weights`. ``module.`` of DataParallel and ``_orig_mod.`` of torch.compile are
        taken off names that fit without them. Tensors that the network does not have, such as those
        of an encoder, are left out, with a warning.
    what : str, optional
        How messages name the network; by its class if not given.

    Raises
    ------
    ValueError
        If tensors of the network are lacking or of another shape.
    """
    what = type(network).__name__ if what is None else what
    state = read_weights(path)
    wanted = network.state_dict()
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        if not wanted.keys() & state.keys():
            bare = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            state = bare if wanted.keys() & bare.keys() else state
    extra = [name for name in state if name not in wanted]
    try:
        network.load_state_dict({name: state[name] for name in state if name in wanted})
    except RuntimeError as error:
        told = " ".join(str(error).split())
        told = told if len(told) < _LONGEST else told[:_LONGEST] + " ..."
        theirs = f"; the file holds {_listed(extra)} besides" if extra else ""
        raise ValueError(f"{os.fspath(path)} does not fit {what}: {told}{theirs}") from error
    if extra:
        warn(
            f"{os.fspath(path)} holds {len(extra)} tensors that {what} does not have, which are "
            f"left out: {_listed(extra)}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (", ..." if len(names) > _FEW else "")


def _picked(held: Mapping[str, Any], key: str | None, path: str) -> dict[str, Tensor]:
    """Return the tensors under ``key``, an entry, a path of entries or a prefix of names."""
    if key is None:
        if _are_tensors(held):
            return dict(held)
        fit = [name for name, value in held.items() if _are_tensors(value)]
        remedy = f", or name one: {path}:{fit[0]}" if fit else ""
        raise ValueError(
            f"{path} must hold the tensors of one network by name, got {type(held).__name__} "
            f"entries {', '.join(map(repr, held))}; save net.state_dict() alone{remedy}"
        )
    for name, value in held.items():
        if name == key and _are_tensors(value):
            return dict(value)
        if key.startswith(f"{name}.") and isinstance(value, Mapping):
            return _picked(value, key[len(name) + 1 :], path)
    named = {name: value for name, value in held.items() if isinstance(name, str)}
    under = {k[len(key) + 1 :]: v for k, v in named.items() if k.startswith(f"{key}.")}
    if under and _are_tensors(under):
        return under
    raise ValueError(f"{path} holds no network {key!r}, only {_listed(sorted(map(str, held)))}")


def _are_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _arrays.is_tensor(part) for name, part in value.items()
    )


def write_weights(state: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    """Write the tensors of a network by name, whole or not at all.

    Parameters
    ----------
    state : mapping of str to Tensor
        What ``net.state_dict()`` returns.
    path : path
        Ends in .safetensors or .npz, which is the format; a file of that name is replaced. NumPy
        has no bfloat16: in .npz such tensors are kept as float32.

    Raises
    ------
    ValueError
        If the suffix is another one.
    OSError
        If the folder does not exist or cannot be written. Nothing is left behind.
    ImportError
        For a .safetensors file where safetensors is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import torch
    >>> from fastgen.networks import read_weights, write_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.npz")
    ...     write_weights({"weight": torch.ones(2)}, path)
    ...     read_weights(path)["weight"]
    tensor([1., 1.])
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in _WRITTEN:
        raise ValueError(f"path must end in {' or '.join(_WRITTEN)}, got {os.fspath(path)!r}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if suffix == ".npz":
        write_npz(path, {name: _arrays.to_host(tensor) for name, tensor in tensors.items()})
        return
    module = _safetensors()
    with replacing(path) as beside:
        module.save_file(tensors, beside)


def _safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            '.safetensors need safetensors: pip install "fastgen-core[torch]"'
        ) from error
    return safetensors.torch


def _from_safetensors(path: str) -> dict[str, Tensor]:
    module = _safetensors()
    from safetensors import SafetensorError

    try:
        return module.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a .safetensors file, or is damaged: {error}") from error


def _from_npz(path: str) -> dict[str, Tensor]:
    import torch

    arrays = read_npz(path)
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{path} must hold numbers, got dtype {array.dtype} in {name!r}")
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _from_torch(path: str) -> Mapping[str, Any]:
    import torch

    try:
        with warnings.catch_warnings():
            # of pickle protocols: what cannot be read is told below
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise all kinds for files that are not weights
        raise ValueError(
            f"{path} is damaged, or holds more than tensors, which is never loaded because it can "
            f"run code; save weights alone with torch.save(net.state_dict(), path) or safetensors "
            f"({type(error).__name__})"
        ) from error
    if isinstance(found, Mapping):
        return found
    raise ValueError(
        f"{path} must hold the tensors of one network by name, got {type(found).__name__}; save "
        "net.state_dict() alone"
    )
