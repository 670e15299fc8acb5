"""NumPy in CuPy's place that, like CuPy, takes no array of the host where one of its own belongs.

`StrictModule` holds the functions of CuPy that the package uses and no others: what is named here
must exist in the oldest CuPy that ``pyproject.toml`` allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

FUNCTIONS = (
    "arange ascontiguousarray broadcast_to concatenate count_nonzero cumsum diagonal einsum empty "
    "exp eye flatnonzero flip full isfinite log maximum minimum nonzero ones repeat sort sqrt "
    "stack take take_along_axis tril where zeros zeros_like"
).split()
LINALG = "cholesky eigh inv pinv qr solve svd".split()


def _is_host(value: Any) -> bool:
    return type(value) is np.ndarray and value.ndim > 0


def refuse_host(values: Any) -> None:
    """Raise TypeError at the first array of the host, as CuPy does."""
    for value in values:
        if isinstance(value, list | tuple):
            refuse_host(value)
        elif isinstance(value, dict):
            refuse_host(value.values())
        elif _is_host(value):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")


class DeviceArray(np.ndarray):
    """An array that meets only its kind."""

    __cuda_array_interface__ = property(lambda self: {"shape": self.shape, "version": 3})

    def get(self):
        """Return a copy on the host."""
        return np.array(self.view(np.ndarray))

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        refuse_host(inputs)
        if out is not None:
            options["out"] = tuple(to_host(a) for a in out)
        found = getattr(ufunc, method)(*map(to_host, inputs), **options)
        return out[0] if out is not None else to_device(found)

    def __array_function__(self, function, types, arguments, options):
        raise TypeError(f"{function.__name__} of NumPy was called with an array of the device")

    def __getitem__(self, index):
        refuse_host(index if isinstance(index, tuple) else (index,))
        return super().__getitem__(index)

    def __setitem__(self, index, value):
        refuse_host((*(index if isinstance(index, tuple) else (index,)), value))
        super().__setitem__(index, value)


def to_device(value: Any) -> Any:
    """View arrays and numbers as arrays of the device, in tuples too."""
    if isinstance(value, tuple):
        return tuple(map(to_device, value))
    return value if value is NotImplemented else np.asarray(value).view(DeviceArray)


def to_host(value: Any) -> Any:
    """View arrays of the device as NumPy's, in lists and tuples too."""
    if isinstance(value, list | tuple):
        return type(value)(map(to_host, value))
    return value.view(np.ndarray) if isinstance(value, DeviceArray) else value


def strict(function):
    """Return ``function`` for arrays of the device."""

    def call(*arguments, **options):
        refuse_host((arguments, options))
        return to_device(function(*map(to_host, arguments), **options))

    return call


class StrictModule:
    """What `_arrays.require_device` returns, and ``import cupy`` where it is put in its place."""

    __name__ = "cupy"
    float32, float64, ndarray = np.float32, np.float64, DeviceArray

    def __init__(self) -> None:
        for name in FUNCTIONS:
            setattr(self, name, strict(getattr(np, name)))
        self.linalg = StrictLinalg()

    @staticmethod
    def asarray(value, dtype=None):
        if not isinstance(value, DeviceArray):
            there = hasattr(value, "__cuda_array_interface__")
            value = to_device(value.array if there else np.array(value))
        return value if dtype is None else value.astype(dtype, copy=False)

    @staticmethod
    def from_dlpack(value):
        return to_device(np.from_dlpack(value))

    @staticmethod
    def asnumpy(value):
        return np.array(to_host(value))


class StrictLinalg:
    """Its ``linalg``."""

    def __init__(self) -> None:
        for name in LINALG:
            setattr(self, name, strict(getattr(np.linalg, name)))


class StrictEngine:
    """The launchers of an engine for arrays of the device; sizes are lists of the host."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def __getattr__(self, name: str):
        def call(*arguments):
            for argument in arguments:
                if _is_host(argument) and argument.dtype.kind == "f":
                    raise TypeError("Unsupported type <class 'numpy.ndarray'>")
            return to_device(getattr(self.engine, name)(*map(to_host, arguments)))

        return call
