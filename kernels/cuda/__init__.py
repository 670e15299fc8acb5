"""CUDA C kernels for CuPy: what to compile, how it is loaded, one Python function per kernel.

Every ``NAME.cu`` beside this file is package data. Its arithmetic is in ``include/*.cuh``; launch
shapes and the choice of a template are here. Importing this package loads no GPU library and
compiles nothing: a module is built on its first launch and then kept, in memory and in CuPy's cache
on disk.

To add a kernel: write ``NAME.cu``, add its line to ``_INSTANTIATIONS``, and write the function that
launches it. The compile test and the host runner of the tests read both through `sources`,
`headers` and `instantiations`.

The kernels have been compiled for sm_80 and sm_90 and run on a CPU through a shim. They have not
yet been run on a device: no statement about their speed is made.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from fastgen.kernels import quadrature

if TYPE_CHECKING:
    import cupy

__all__ = ["folder", "headers", "instantiations", "module", "nuclear_norms", "sources"]

_SCALARS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}

_NUCLEAR_SIDES = (32, 64)  # float64 at 64 takes 35 of the 48 KB of static shared memory
_NUCLEAR_THREADS = 128  # THREADS in nuclear.cu

_INSTANTIATIONS = {
    "nuclear": tuple(
        f"nuclear_norms<{scalar}, {side}, {side}>"
        for scalar in _SCALARS.values()
        for side in _NUCLEAR_SIDES
    ),
}

_MAX_BLOCKS = 65_535


def folder() -> str:
    """Return the path of this folder; the ``#include`` lines of the kernels are relative to it."""
    return str(resources.files(__name__))


def sources() -> dict[str, str]:
    """Return the text of every ``NAME.cu``, by name."""
    here = resources.files(__name__)
    return {
        name: here.joinpath(f"{name}.cu").read_text(encoding="utf-8") for name in _INSTANTIATIONS
    }


def headers() -> dict[str, str]:
    """Return the text of every header, by the path that ``#include`` lines name it with."""
    include = resources.files(__name__).joinpath("include")
    return {
        f"include/{entry.name}": entry.read_text(encoding="utf-8")
        for entry in sorted(include.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".cuh")
    }


def instantiations(name: str) -> tuple[str, ...]:
    """Return every template instantiation of ``NAME.cu`` that Python may launch."""
    return _INSTANTIATIONS[name]


def _import_cupy() -> ModuleType:
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            'the CUDA kernels need CuPy: pip install "fastgen[cuda13]" (or "fastgen[cuda12]")'
        ) from error
    return cupy


@functools.cache
def module(name: str) -> cupy.RawModule:
    """Return the (not yet compiled) module of ``NAME.cu``.

    Parameters
    ----------
    name : str
        A key of `sources`.

    Returns
    -------
    cupy.RawModule
        One object per name. Compilation happens on its first ``get_function``.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    """
    cupy = _import_cupy()
    # CuPy's disk cache is keyed by the source text, not by what it includes: without this line an
    # edited header would leave the old machine code in use.
    digest = hashlib.sha256("\0".join(headers().values()).encode()).hexdigest()
    return cupy.RawModule(
        code=f"{sources()[name]}\n// headers {digest}\n",
        options=("-std=c++17", f"-I{folder()}"),
        name_expressions=instantiations(name),
    )


def _require_device() -> ModuleType:
    cupy = _import_cupy()
    if not cupy.cuda.is_available():
        raise RuntimeError(
            "no CUDA device: CuPy found no driver or no GPU; pass NumPy arrays to run on the CPU"
        )
    return cupy


def nuclear_norms(stack: cupy.ndarray) -> cupy.ndarray:
    """Sum of singular values of every matrix of a stack, on the GPU.

    Each matrix is made bidiagonal by Householder reflections; the square roots of the eigenvalues
    of the bidiagonal's Gram matrix are summed by the quadrature of `fastgen.kernels.quadrature`.
    The absolute error is that of a singular value decomposition: about 1e-15 of the result for
    float64, 1e-6 for float32.

    This path has not yet been run on a device.

    Parameters
    ----------
    stack : cupy.ndarray, shape (b, rows, cols)
        float32 or float64; both sides at most 64.

    Returns
    -------
    cupy.ndarray, shape (b,)
        Of the dtype of ``stack``. NaN where the matrix holds a NaN or an infinity.

    Raises
    ------
    ValueError
        If the shape or the dtype is not one of the above.
    ImportError
        If CuPy is not installed.
    RuntimeError
        If there is no CUDA device.
    """
    if stack.ndim != 3:
        raise ValueError(
            f"stack must have 3 dimensions (b, rows, cols), got {stack.ndim}; "
            "add a leading axis for one matrix"
        )
    if stack.dtype not in _SCALARS:
        raise ValueError(
            f"stack must be float32 or float64, got {stack.dtype}; convert it with .astype"
        )
    longest = max(stack.shape[1:])
    if longest > _NUCLEAR_SIDES[-1]:
        raise ValueError(
            f"stack must hold matrices of at most {_NUCLEAR_SIDES[-1]} rows and columns, got "
            f"{stack.shape[1]} x {stack.shape[2]}; for larger ones sum the output of "
            "cupy.linalg.svd(stack, compute_uv=False)"
        )
    cupy = _require_device()
    with stack.device:
        if stack.size == 0:
            return cupy.zeros(len(stack), dtype=stack.dtype)
        if stack.shape[1] < stack.shape[2]:
            stack = stack.transpose(0, 2, 1)
        stack = cupy.ascontiguousarray(stack)
        n_matrices, rows, cols = stack.shape
        gamma, omega = (cupy.asarray(x) for x in quadrature.nodes(stack.dtype))
        out = cupy.empty(n_matrices, dtype=stack.dtype)
        scalar = _SCALARS[stack.dtype]
        side = next(side for side in _NUCLEAR_SIDES if side >= rows)
        kernel = module("nuclear").get_function(f"nuclear_norms<{scalar}, {side}, {side}>")
        sizes = (np.int64(n_matrices), np.int32(rows), np.int32(cols))
        arguments = (stack, *sizes, gamma, omega, np.int32(gamma.size), out)
        kernel((min(n_matrices, _MAX_BLOCKS),), (_NUCLEAR_THREADS,), arguments)
    return out
