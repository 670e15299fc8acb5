"""Which library an array is of, where it lies, and how to bring it to the host.

These questions are asked here and nowhere else, so that a new array library or a new kind of device
is met in one file. Nothing here imports torch or CuPy unless an array of theirs has been given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np


def library(*values: Any) -> str:
    """Name the array library that the values belong to.

    Parameters
    ----------
    *values : arrays, lists of arrays, or objects that hold one in ``array``
        A `fastgen.metrics.CovarianceFactor` is such an object.

    Returns
    -------
    {"numpy", "torch", "cupy"}
        "numpy" also for lists of numbers and whatever else NumPy reads.

    Raises
    ------
    TypeError
        If torch tensors and CuPy arrays are mixed.
    """
    found = {_library(value) for value in values} - {None}
    if len(found) > 1:
        raise TypeError(
            "arrays must all be torch tensors or all CuPy arrays, got both; convert one with "
            "torch.from_dlpack"
        )
    return found.pop() or "numpy" if found else "numpy"


def _library(value: Any) -> str | None:
    value = getattr(value, "array", value)
    if isinstance(value, list | tuple):
        return next((name for name in map(_library, value) if name), None)
    if is_tensor(value):
        return "torch"
    return "cupy" if hasattr(value, "__cuda_array_interface__") else None


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a torch tensor, asked without importing torch."""
    return hasattr(value, "requires_grad")


def wants_gradient(value: Any) -> bool:
    """Whether ``value`` is a torch tensor whose graph is recorded."""
    return is_tensor(value) and bool(value.requires_grad)


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array of any library, or an object that NumPy reads as one."""
    return hasattr(value, "__array__") or on_device(value)


def on_device(value: Any) -> bool:
    """Whether ``value`` is an array in the memory of a CUDA device, of CuPy or of torch."""
    if is_tensor(value):
        return bool(value.is_cuda)
    return hasattr(value, "__cuda_array_interface__")


def detached(value: Any) -> Any:
    """Take a torch tensor out of its graph, so that other libraries read it where it is."""
    return value.detach() if is_tensor(value) else value


def to_host(value: Any, name: str = "the array") -> Any:
    """Bring a CuPy array or a torch tensor to the host; leave what is no array as it is.

    Lists of them too. Arrays of other libraries that follow the array API standard become NumPy's.
    NumPy has neither bfloat16 nor floats of 8 bits: such tensors come as float32, which holds all
    of their values.

    Parameters
    ----------
    value : Any
    name : str, default "the array"
        The argument, for messages.

    Raises
    ------
    TypeError
        For tensors without values of their own (meta, sparse, quantized), for masked arrays, whose
        mask every function would ignore, and for dates, which NumPy turns into numbers.
    """
    if is_tensor(value):
        return _tensor_to_host(value, name)
    if hasattr(value, "__cuda_array_interface__"):
        return value.get()
    if isinstance(value, list | tuple) and _library(value):
        return [to_host(part, name) for part in value]
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise TypeError(
            f"{name} must not be a masked array, got one; drop the masked rows, or impute them "
            "with filled, first"
        )
    if getattr(getattr(value, "dtype", None), "kind", None) in ("M", "m"):
        raise TypeError(
            f"{name} must be a numeric array, got dtype {value.dtype}; convert times to numbers "
            "of a unit of your choice first"
        )
    if hasattr(value, "__array_namespace__") and not isinstance(value, np.ndarray):
        return np.asarray(value)  # of another library, which scikit-learn would dispatch to
    return value


def require_values(value: Any, name: str) -> None:
    """Raise TypeError for a torch tensor that is not a plain array of values."""
    if not is_tensor(value) or not hasattr(value, "layout"):  # stand-ins of tensors have none
        return
    layout = str(value.layout)
    if value.is_meta:
        found, remedy = "on the device 'meta', which holds none", "load its values first"
    elif layout != "torch.strided":
        found, remedy = f"of layout {layout}", "pass to_dense()"
    elif value.is_quantized:
        found, remedy = "quantized", "pass dequantize()"
    else:
        return
    raise TypeError(f"{name} must be a dense tensor with values, got one {found}; {remedy}")


def _tensor_to_host(value: Any, name: str) -> np.ndarray:
    require_values(value, name)
    value = value.detach().cpu().resolve_conj().resolve_neg()
    narrow = str(value.dtype).removeprefix("torch.")
    wide = narrow == "bfloat16" or narrow.startswith("float8")
    return value.float().numpy() if wide else value.numpy()


def copied(value: Any) -> Any:
    """Copy an array of any library where it is, lists of arrays and objects that hold one too."""
    if isinstance(value, list | tuple):
        return [copied(part) for part in value]
    if hasattr(value, "array"):
        return type(value)(copied(value.array))
    if is_tensor(value):
        return value.detach().clone()
    return value.copy() if hasattr(value, "copy") else np.array(value)


def to_numpy(value: Any, name: str = "the array") -> np.ndarray:
    """Return ``value`` as a NumPy array, brought to the host if it is elsewhere; see `to_host`."""
    return np.asarray(to_host(value, name))


def to_tensor(value: Any, name: str = "the array") -> Any:
    """Return ``value`` as a torch tensor: tensors as they are, arrays on the host.

    Memory is shared where torch can; arrays that were flipped, must not be written to, or are in
    another byte order are copied, which torch refuses or warns of.
    """
    import torch

    if isinstance(value, torch.Tensor):
        return value
    array = to_numpy(value, name)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array) if array.ndim else torch.as_tensor(array)


def namespace(*values: Any) -> ModuleType:
    """Return CuPy if one of the values is CuPy's, else NumPy.

    Parameters
    ----------
    *values : as for `library`
    """
    if library(*values) != "cupy":
        return np
    import cupy

    return cupy


def require_device(what: str = 'device="cuda"') -> ModuleType:
    """Return CuPy, after making sure that there is a device for it.

    Parameters
    ----------
    what : str
        What needs it, for the message.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    RuntimeError
        If there is no CUDA device.
    """
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f'{what} needs CuPy: pip install "fastgen-core[cuda13]" (or "fastgen-core[cuda12]")'
        ) from error
    if not cupy.cuda.is_available():
        raise RuntimeError(
            f"{what} needs a CUDA device, CuPy found no driver or no GPU; pass NumPy arrays, or "
            'device="cpu", to run on the CPU'
        )
    return cupy


def require_torch(what: str) -> ModuleType:
    """Return torch.

    Parameters
    ----------
    what : str
        What needs it, for the message.

    Raises
    ------
    ImportError
        If torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(f'{what} needs torch: pip install "fastgen-core[torch]"') from error
    return torch


@contextlib.contextmanager
def array_library(array: Any) -> Iterator[Any]:
    """Yield CuPy with the device of ``array`` as the current one, NumPy for arrays of the host.

    Raises
    ------
    ImportError, RuntimeError
        As `require_device`, for an array that lies on a device.
    """
    if not on_device(array):
        yield np
        return
    cupy = require_device("an array on a CUDA device")
    with device_of(cupy.asarray(detached(array))):
        yield cupy


def device_of(array: Any) -> contextlib.AbstractContextManager:
    """Return the context in which the device of a CuPy array is the current one."""
    return array.device
