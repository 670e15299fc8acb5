"""Weights of networks in files: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from .. import _arrays
from .._files import read_npz, replacing

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = (".safetensors", ".npz", ".pt", ".pth", ".bin", ".ckpt")
_WRITTEN = (".safetensors", ".npz")


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the tensors of a network by name. Nothing in the file can run.

    Parameters
    ----------
    path : path
        .safetensors; .npz of plain arrays; or what ``torch.save(net.state_dict(), path)`` writes,
        .pt, .pth, .bin or .ckpt, read with ``weights_only=True``.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    ValueError
        If the file is damaged, of another kind, or holds anything but tensors.
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
    path = os.fspath(path)
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in WEIGHTS:
        raise ValueError(f"weights must be in a file ending in {', '.join(WEIGHTS)}, got {path!r}")
    with open(path, "rb"):
        pass
    if suffix == ".safetensors":
        return _from_safetensors(path)
    if suffix == ".npz":
        return _from_npz(path)
    return _from_torch(path)


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
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in _WRITTEN:
        raise ValueError(f"path must end in {' or '.join(_WRITTEN)}, got {os.fspath(path)!r}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(path) as beside:
        if suffix == ".npz":
            np.savez(beside, **{name: _arrays.to_host(tensor) for name, tensor in tensors.items()})
        else:
            _safetensors().save_file(tensors, beside)


def _safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError('.safetensors need safetensors: pip install "fastgen[torch]"') from error
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


def _from_torch(path: str) -> dict[str, Tensor]:
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
    if isinstance(found, Mapping) and all(isinstance(v, torch.Tensor) for v in found.values()):
        return dict(found)
    held = f"entries {', '.join(map(repr, found))}" if isinstance(found, Mapping) else ""
    raise ValueError(
        f"{path} must hold the tensors of one network by name, got {type(found).__name__} {held}; "
        "save net.state_dict() alone"
    )
