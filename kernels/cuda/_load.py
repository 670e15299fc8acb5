"""Where the CUDA sources are, what to compile of them, and how CuPy loads and launches it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import resources
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import cupy

SCALARS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
SIDES = (32, 64)  # float64 at 64 fits the 48 KB of static shared memory
LARGEST = SIDES[-1]
THREADS = 128  # THREADS in include/block.cuh
MAX_BLOCKS = 65_535

# Type of the factorizations and of the matrices they write.
PATHS = (("double", "double"), ("double", "float"), ("float", "float"))

_INSTANTIATIONS = {
    "alternating": tuple(
        f"solve_left<{scalar}, {side}>" for scalar in SCALARS.values() for side in SIDES
    ),
    "bourgain": ("matrix_set_distances<double>", "point_set_distances<double>"),
    "bures": tuple(f"cross_products<{scalar}, 32>" for scalar in SCALARS.values()),
    "exact_score": tuple(f"weighted_means<{scalar}>" for scalar in SCALARS.values()),
    "linear_path": tuple(
        f"{kernel}<{scalar}, {cell}, {side}>"
        for kernel in ("leading_path", "tall_path")
        for scalar, cell in PATHS
        for side in SIDES
    ),
    "nearest_rows": (
        *(
            f"{kernel}<{scalar}>"
            for kernel in ("screen_tiles", "merge_lists", "squared_distances")
            for scalar in SCALARS.values()
        ),
        "select_products<float>",
    ),
    "neighbor_pass": tuple(f"count_balls<{scalar}>" for scalar in SCALARS.values()),
    "nuclear": tuple(
        kernel.format(scalar=scalar, side=side)
        for kernel in (
            "nuclear_norms<{scalar}, {side}, {side}>",
            "symmetric_eigen<{scalar}, {side}, false>",
            "symmetric_eigen<{scalar}, {side}, true>",
        )
        for scalar in SCALARS.values()
        for side in SIDES
    ),
    "smoothing": tuple(
        f"{kernel}<double>"
        for kernel in ("block_weights", "grid_sums", "pair_sums", "posteriors", "smoothed_logs")
    ),
}


def folder() -> str:
    """Return the path of this folder; the ``#include`` lines of the kernels are relative to it."""
    return str(resources.files(__package__))


def sources() -> dict[str, str]:
    """Return the text of every ``NAME.cu``, by name."""
    here = resources.files(__package__)
    return {
        name: here.joinpath(f"{name}.cu").read_text(encoding="utf-8") for name in _INSTANTIATIONS
    }


def headers() -> dict[str, str]:
    """Return the text of every header, by the path that ``#include`` lines name it with."""
    include = resources.files(__package__).joinpath("include")
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
            'the CUDA kernels need CuPy: pip install "fastgen-core[cuda13]" (or '
            '"fastgen-core[cuda12]")'
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


def require_device() -> ModuleType:
    """Return CuPy, or say in one line what is missing (ImportError, RuntimeError)."""
    cupy = _import_cupy()
    if not cupy.cuda.is_available():
        raise RuntimeError(
            "no CUDA device: CuPy found no driver or no GPU; pass NumPy arrays to run on the CPU"
        )
    return cupy


def device_of(array: cupy.ndarray) -> AbstractContextManager:
    """Return the context in which the device of ``array`` is the current one."""
    return array.device


def launch(name: str, expression: str, n_blocks: int, arguments: Sequence[Any]) -> None:
    """Run one instantiation of ``NAME.cu`` on the current device."""
    kernel = module(name).get_function(expression)
    kernel((min(n_blocks, MAX_BLOCKS),), (THREADS,), tuple(arguments))


def check_stack(stack: cupy.ndarray, name: str, shape: str) -> None:
    """Raise ValueError where a stack of matrices is none, or not of a type of the kernels."""
    if stack.ndim != 3:
        raise ValueError(
            f"{name} must have 3 dimensions {shape}, got {stack.ndim}; "
            "add a leading axis for one matrix"
        )
    if stack.dtype not in SCALARS:
        raise ValueError(
            f"{name} must be float32 or float64, got {stack.dtype}; convert it with .astype"
        )


def side(size: int) -> int:
    """Return the side of the smallest template that holds ``size``."""
    return next(found for found in SIDES if found >= size)
