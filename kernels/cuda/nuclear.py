"""Launchers of ``nuclear.cu``: nuclear norms and eigenvalues of stacks of small matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastgen.kernels import quadrature

from . import _load

if TYPE_CHECKING:
    import cupy


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
    _load.check_stack(stack, "stack", "(b, rows, cols)")
    if max(stack.shape[1:]) > _load.LARGEST:
        raise ValueError(
            f"stack must hold matrices of at most {_load.LARGEST} rows and columns, got "
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
        side = _load.side(rows)
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
    _load.check_stack(stack, "stack", "(b, n, n)")
    if stack.shape[1] != stack.shape[2]:
        raise ValueError(
            f"stack must hold square matrices, got {stack.shape[1]} x {stack.shape[2]}"
        )
    cupy = _load.require_device()
    with _load.device_of(stack):
        n_matrices, n, _ = stack.shape
        if stack.size and n > _load.LARGEST:
            return cupy.linalg.eigh(stack) if vectors else (cupy.linalg.eigvalsh(stack), None)
        values = cupy.empty((n_matrices, n), dtype=stack.dtype)
        found = cupy.empty(stack.shape, dtype=stack.dtype) if vectors else None
        if stack.size:
            template = f"{_load.SCALARS[stack.dtype]}, {_load.side(n)}, {str(vectors).lower()}"
            written = values if found is None else found  # without vectors it is not touched
            arguments = (cupy.ascontiguousarray(stack), np.int64(n_matrices), np.int32(n))
            _load.launch(
                "nuclear", f"symmetric_eigen<{template}>", n_matrices, (*arguments, values, written)
            )
    return values, found
