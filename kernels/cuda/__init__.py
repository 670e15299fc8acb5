"""CUDA C kernels for CuPy: one Python function per kernel.

Every ``NAME.cu`` beside this file is package data. Its arithmetic is in ``include/*.cuh``, what to
compile and how it is loaded in ``_load.py``; launch shapes and the choice of a template are in the
``NAME.py`` of the same name. Importing this package loads no GPU library and compiles nothing: a
module is built on its first launch and then kept, in memory and in CuPy's cache on disk.

To add a kernel: write it into a ``NAME.cu``, add its line to ``_load._INSTANTIATIONS``, and write
the function that launches it into ``NAME.py``. The compile test and the host runner of the tests
read both through `sources`, `headers` and `instantiations`.

The kernels have been compiled for sm_80 and sm_90 and run on a CPU through a shim, their launchers
with NumPy in CuPy's place. Neither has yet been run on a device: no statement about their speed is
made.
"""

from __future__ import annotations

from ._load import folder, headers, instantiations, module, sources
from .alternating import solve_left
from .linear_path import leading_path, tall_path
from .nuclear import nuclear_norms, symmetric_eigen, symmetric_eigenvalues

__all__ = [
    "folder",
    "headers",
    "instantiations",
    "leading_path",
    "module",
    "nuclear_norms",
    "solve_left",
    "sources",
    "symmetric_eigen",
    "symmetric_eigenvalues",
    "tall_path",
]
