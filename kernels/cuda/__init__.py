"""CUDA C kernels for CuPy: one Python function per kernel.

Every ``NAME.cu`` beside this file is package data. Its arithmetic is in ``include/*.cuh``, what to
compile and how it is loaded in ``_load.py``; launch shapes and the choice of a template are here.
Importing this package loads no GPU library and compiles nothing: a module is built on its first
launch and then kept, in memory and in CuPy's cache on disk.

To add a kernel: write it into a ``NAME.cu``, add its line to ``_load._INSTANTIATIONS``, and write
the function that launches it. The compile test and the host runner of the tests read both through
`sources`, `headers` and `instantiations`.

The kernels have been compiled for sm_80 and sm_90 and run on a CPU through a shim, the functions
here with NumPy in CuPy's place. Neither has yet been run on a device: no statement about their
speed is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastgen.kernels import quadrature

from . import _load
from ._load import folder, headers, instantiations, module, sources

if TYPE_CHECKING:
    import cupy

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

_LARGEST = _load.SIDES[-1]
_BLOCKS = 512  # about as many as fill a device
_GROUP = 8  # wanted values that are worth computing again what leads to the first


def _check_stack(stack: cupy.ndarray, name: str, shape: str) -> None:
    if stack.ndim != 3:
        raise ValueError(
            f"{name} must have 3 dimensions {shape}, got {stack.ndim}; "
            "add a leading axis for one matrix"
        )
    if stack.dtype not in _load.SCALARS:
        raise ValueError(
            f"{name} must be float32 or float64, got {stack.dtype}; convert it with .astype"
        )


def _side(size: int) -> int:
    return next(side for side in _load.SIDES if side >= size)


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
    _check_stack(stack, "stack", "(b, rows, cols)")
    if max(stack.shape[1:]) > _LARGEST:
        raise ValueError(
            f"stack must hold matrices of at most {_LARGEST} rows and columns, got "
            f"{stack.shape[1]} x {stack.shape[2]}; for larger ones sum the output of "
            "cupy.linalg.svd(stack, compute_uv=False)"
        )
    cupy = _load.require_device()
    with _load.device_of(stack):
        if stack.size == 0:
            return cupy.zeros(len(stack), dtype=stack.dtype)
        if stack.shape[1] < stack.shape[2]:
            stack = stack.transpose(0, 2, 1)
        stack = cupy.ascontiguousarray(stack)
        n_matrices, rows, cols = stack.shape
        gamma, omega = (cupy.asarray(x) for x in quadrature.nodes(stack.dtype))
        out = cupy.empty(n_matrices, dtype=stack.dtype)
        side = _side(rows)
        expression = f"nuclear_norms<{_load.SCALARS[stack.dtype]}, {side}, {side}>"
        sizes = (np.int64(n_matrices), np.int32(rows), np.int32(cols))
        arguments = (stack, *sizes, gamma, omega, np.int32(gamma.size), out)
        _load.launch("nuclear", expression, n_matrices, arguments)
    return out


def symmetric_eigenvalues(stack: cupy.ndarray) -> cupy.ndarray:
    """Eigenvalues of every symmetric matrix of a stack, on the GPU.

    Up to a side of 64 the cyclic Jacobi method in shared memory, one block per matrix, with the
    rotations of a round of a round-robin tournament at a time (Golub and Van Loan, Matrix
    Computations, 4th ed., section 8.5.5); above it ``cupy.linalg.eigvalsh``.

    This path has not yet been run on a device.

    Parameters
    ----------
    stack : cupy.ndarray, shape (b, n, n)
        float32 or float64; only the lower triangles are read.

    Returns
    -------
    cupy.ndarray, shape (b, n)
        Ascending, of the dtype of ``stack``. NaN where the matrix holds a NaN or an infinity.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As for `nuclear_norms`.
    """
    return _symmetric(stack, vectors=False)[0]


def symmetric_eigen(stack: cupy.ndarray) -> tuple[cupy.ndarray, cupy.ndarray]:
    """Eigenvalues and eigenvectors of every symmetric matrix of a stack, on the GPU.

    As `symmetric_eigenvalues`, the rotations applied to the vectors as well; above a side of 64
    ``cupy.linalg.eigh``. Rows and columns of zeros keep exact unit vectors.

    This path has not yet been run on a device.

    Parameters
    ----------
    stack : cupy.ndarray, shape (b, n, n)
        float32 or float64; only the lower triangles are read.

    Returns
    -------
    values : cupy.ndarray, shape (b, n)
        Ascending, of the dtype of ``stack``. NaN where the matrix holds a NaN or an infinity.
    vectors : cupy.ndarray, shape (b, n, n)
        In columns, in the order of the values.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As for `nuclear_norms`.
    """
    return _symmetric(stack, vectors=True)


def _symmetric(stack: cupy.ndarray, vectors: bool) -> tuple[cupy.ndarray, cupy.ndarray | None]:
    _check_stack(stack, "stack", "(b, n, n)")
    if stack.shape[1] != stack.shape[2]:
        raise ValueError(
            f"stack must hold square matrices, got {stack.shape[1]} x {stack.shape[2]}"
        )
    cupy = _load.require_device()
    with _load.device_of(stack):
        n_matrices, n, _ = stack.shape
        if stack.size and n > _LARGEST:
            return cupy.linalg.eigh(stack) if vectors else (cupy.linalg.eigvalsh(stack), None)
        values = cupy.empty((n_matrices, n), dtype=stack.dtype)
        found = cupy.empty(stack.shape, dtype=stack.dtype) if vectors else None
        if stack.size:
            template = f"{_load.SCALARS[stack.dtype]}, {_side(n)}, {str(vectors).lower()}"
            written = values if found is None else found  # without vectors it is not touched
            arguments = (cupy.ascontiguousarray(stack), np.int64(n_matrices), np.int32(n))
            _load.launch(
                "nuclear", f"symmetric_eigen<{template}>", n_matrices, (*arguments, values, written)
            )
    return values, found


def solve_left(
    a: cupy.ndarray, b: cupy.ndarray, rows: Sequence[int], columns: Sequence[int]
) -> tuple[cupy.ndarray, cupy.ndarray]:
    """``pinv(a) @ b`` for a stack of small systems of full rank, on the GPU.

    A Householder QR factorization in shared memory, of the transpose where a system has more
    columns than rows: least squares there, the solution of minimum norm here.

    This path has not yet been run on a device.

    Parameters
    ----------
    a : cupy.ndarray, shape (s, m, n)
        float32 or float64; m and n at most 64.
    b : cupy.ndarray, shape (s, m, c)
        Of the dtype of ``a``.
    rows, columns : sequence of int, shape (s,)
        How much of every matrix is in use; the rest is not read.

    Returns
    -------
    x : cupy.ndarray, shape (s, n, c)
        Zero beyond the columns in use. NaN where ``a`` holds a NaN or an infinity.
    share : cupy.ndarray, shape (s,)
        Smallest over largest diagonal entry of the triangular factor, 0 for a matrix of zeros.
        Where it is near the rounding error the rank is not full and ``x`` means nothing.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As for `nuclear_norms`.
    """
    _check_stack(a, "a", "(s, m, n)")
    _check_stack(b, "b", "(s, m, c)")
    if max(a.shape[1:]) > _LARGEST:
        raise ValueError(
            f"a must hold matrices of at most {_LARGEST} rows and columns, got "
            f"{a.shape[1]} x {a.shape[2]}; for larger ones use cupy.linalg.qr"
        )
    if a.shape[:2] != b.shape[:2] or a.dtype != b.dtype:
        raise ValueError(
            f"b must have the first two sizes and the dtype of a, {a.shape[:2]} and {a.dtype}, "
            f"got {b.shape[:2]} and {b.dtype}"
        )
    sizes = [np.asarray(size, dtype=np.int32) for size in (rows, columns)]
    for name, size, most in zip(("rows", "columns"), sizes, a.shape[1:], strict=True):
        if size.shape != (len(a),) or (size.size and not 1 <= size.min() <= size.max() <= most):
            raise ValueError(
                f"{name} must be {len(a)} numbers from 1 to {most}, the size of a, got "
                f"{size.tolist()}"
            )
    cupy = _load.require_device()
    with _load.device_of(a):
        n_systems, m, n = a.shape
        x = cupy.empty((n_systems, n, b.shape[2]), dtype=a.dtype)
        share = cupy.empty(n_systems, dtype=a.dtype)
        if n_systems:
            arrays = (*map(cupy.ascontiguousarray, (a, b)), *map(cupy.asarray, sizes), x, share)
            integers = (np.int64(n_systems), *(np.int32(size) for size in (m, n, b.shape[2])))
            expression = f"solve_left<{_load.SCALARS[a.dtype]}, {_side(max(m, n))}>"
            _load.launch("alternating", expression, n_systems, (*arrays, *integers))
    return x, share


def _check_path(kernel, inputs, f, y, wanted, limit, dtype) -> None:
    n_columns, tallest = f.shape[2], max(f.shape[1], y.shape[1])
    if n_columns > _LARGEST or tallest > n_columns:
        raise ValueError(
            f"f and y must have at most {_LARGEST} columns and no more rows than columns, got "
            f"{tallest} x {n_columns}; reduce them by a QR factorization"
        )
    types = sorted({str(x.dtype) for x in inputs if x is not wanted})
    if types not in (["float32"], ["float64"]):
        raise ValueError(
            f"the arrays must be all float32 or all float64, got {' and '.join(types)}; "
            "convert them with .astype"
        )
    if (_load.SCALARS[f.dtype], _load.SCALARS[dtype]) not in _load.PATHS:
        raise ValueError(f"dtype must be float32 for float32 arrays, got {dtype}; convert them")
    if wanted.size and wanted[-1] > limit:
        raise ValueError(f"{kernel} ends at {limit}, the rows given, got {wanted[-1]}; give more")


def _path(kernel, inputs, f, y, wanted, dtype, sizes):
    """Allocate and launch; ``inputs`` in the kernel's order, ``f``, ``y``, ``wanted`` among."""
    cupy = _load.require_device()
    with _load.device_of(f):
        n_trials, f_rows, side = f.shape
        n_wanted = len(wanted)
        cells = cupy.empty((n_trials, n_wanted, side, f_rows), dtype=dtype)
        squares = cupy.empty((n_trials, n_wanted), dtype=f.dtype)
        if squares.size:
            per_block = max(_GROUP, -(-n_wanted * n_trials // _BLOCKS))
            n_blocks = n_trials * -(-n_wanted // per_block)
            scalar, cell = _load.SCALARS[f.dtype], _load.SCALARS[dtype]
            arguments = (
                *(cupy.ascontiguousarray(cupy.asarray(x)) for x in inputs),
                cells,
                squares,
                np.int64(n_trials),
                *(np.int32(size) for size in (*sizes, n_wanted, per_block)),
            )
            n_blocks *= 2 if kernel == "leading_path" else 1
            _load.launch(
                "linear_path", f"{kernel}<{scalar}, {cell}, {_side(side)}>", n_blocks, arguments
            )
    return cells, squares


def leading_path(
    f: cupy.ndarray,
    y: cupy.ndarray,
    inverse: cupy.ndarray,
    ks: Sequence[int],
    dtype: np.dtype,
) -> tuple[cupy.ndarray, cupy.ndarray]:
    """``f[:, :k] inverse[:k, :k]`` for every k, and squared norms of the same with ``y``.

    The CPU's namesake goes on to the nuclear norms; here they are `nuclear_norms` of the cells.
    This path has not yet been run on a device.

    Parameters
    ----------
    f, y : cupy.ndarray, shapes (t, r, p) and (t, s, p)
        Upper trapezoidal (r, s <= p <= 64), float64 or float32.
    inverse : cupy.ndarray, shape (t, p, p)
        Lower triangular.
    ks : sequence of int, shape (m,)
        Ascending, 1 to p.
    dtype : numpy.dtype
        Of the cells; float32 is allowed for float64 input, which computes in float64.

    Returns
    -------
    cells : cupy.ndarray, shape (t, m, p, r)
        Transposed, zero beyond k.
    squares : cupy.ndarray, shape (t, m)
        Of the dtype of ``f``.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As for `nuclear_norms`.
    """
    wanted, dtype = np.asarray(ks, dtype=np.int64), np.dtype(dtype)
    inputs = (f, y, inverse, wanted)
    _check_path("leading_path", inputs, f, y, wanted, f.shape[2], dtype)
    return _path("leading_path", inputs, f, y, wanted, dtype, (f.shape[1], *y.shape[1:]))


def tall_path(
    r: cupy.ndarray,
    rows: cupy.ndarray,
    counts: Sequence[int],
    f: cupy.ndarray,
    y: cupy.ndarray,
    dtype: np.dtype,
) -> tuple[cupy.ndarray, cupy.ndarray]:
    """``f inv(R)`` for R as rows join it, and squared norms of the same with ``y``.

    The CPU's namesake goes on to the nuclear norms; here they are `nuclear_norms` of the cells. No
    input is written to. This path has not yet been run on a device.

    Parameters
    ----------
    r : cupy.ndarray, shape (t, n, n)
        Upper triangular: the QR factors before any of the rows; n <= 64, float64 or float32.
    rows : cupy.ndarray, shape (t, l, n)
    counts : sequence of int, shape (m,)
        Ascending, 0 to l: after how many rows each cell is wanted.
    f, y : cupy.ndarray, shapes (t, r, n) and (t, s, n)
        Upper trapezoidal, r, s <= n.
    dtype : numpy.dtype
        Of the cells; float32 is allowed for float64 input, which computes in float64.

    Returns
    -------
    cells : cupy.ndarray, shape (t, m, n, r)
        Transposed.
    squares : cupy.ndarray, shape (t, m)
        Of the dtype of ``f``.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As for `nuclear_norms`.
    """
    wanted, dtype = np.asarray(counts, dtype=np.int64), np.dtype(dtype)
    inputs = (r, rows, wanted, f, y)
    _check_path("tall_path", inputs, f, y, wanted, rows.shape[1], dtype)
    sizes = (r.shape[1], rows.shape[1], f.shape[1], y.shape[1])
    return _path("tall_path", inputs, f, y, wanted, dtype, sizes)
