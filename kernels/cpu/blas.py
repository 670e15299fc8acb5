"""BLAS and LAPACK on parts of matrices where they lie: SciPy's wrappers copy such parts.

Arguments are Fortran-ordered views of float64 matrices whose columns may be far apart. The lock is
released during a call. The functions are SciPy's own, so that one limit of threads holds for both.
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np
from numba.extending import get_cython_function_address

# Sides up to which products with symmetric matrices are left to the library.
_LEAF = 256


@functools.cache
def _function(module: str, name: str):
    return ctypes.CFUNCTYPE(None)(get_cython_function_address(f"scipy.linalg.{module}", name))


@functools.lru_cache(maxsize=4096, typed=True)
def _constant(value: str | int | float):
    """Return a reference to a letter, an integer or a number that a routine only reads."""
    if isinstance(value, str):
        return ctypes.byref(ctypes.c_char(value.encode()))
    if isinstance(value, float):
        return ctypes.byref(ctypes.c_double(value))
    return ctypes.byref(ctypes.c_int(value))


def _call(module: str, name: str, *arguments) -> None:
    """Pass letters, integers, numbers, matrices and c_int to be written as Fortran expects them."""
    held = []
    for value in arguments:
        if isinstance(value, np.ndarray):
            held.append(ctypes.c_void_p(value.ctypes.data))
        elif isinstance(value, ctypes.c_int):
            held.append(ctypes.byref(value))
        else:
            held.append(_constant(value))
    _function(module, name)(*held)


def _pitch(a: np.ndarray) -> int:
    return max(a.strides[1] // a.itemsize, a.shape[0], 1)


def gemm(a, b, c, *, alpha=1.0, beta=0.0, transposed=False) -> None:
    """``c = alpha * a @ b + beta * c``, with ``a.T`` where ``transposed``."""
    first = "T" if transposed else "N"
    m, n = c.shape
    k = b.shape[0]
    tail = alpha, a, _pitch(a), b, _pitch(b), beta, c, _pitch(c)
    _call("cython_blas", "dgemm", first, "N", m, n, k, *tail)


def symm(a, b, c, *, beta=0.0) -> None:
    """``c = a @ b + beta * c`` for symmetric ``a``, of which the lower triangle is read.

    By halves down to ``_LEAF``: general products are faster than symmetric ones.
    """
    n, k = b.shape
    if n <= _LEAF:
        tail = 1.0, a, _pitch(a), b, _pitch(b), float(beta), c, _pitch(c)
        _call("cython_blas", "dsymm", "L", "L", n, k, *tail)
        return
    half = (n // 2 + 31) // 32 * 32
    symm(a[:half, :half], b[:half], c[:half], beta=beta)
    symm(a[half:, half:], b[half:], c[half:], beta=beta)
    corner = a[half:, :half]
    gemm(corner, b[:half], c[half:], beta=1.0)
    gemm(corner, b[half:], c[:half], beta=1.0, transposed=True)


def syr2k(a, b, c, *, alpha=-1.0, transposed=False) -> None:
    """``c += alpha * (a @ b.T + b @ a.T)``, the lower triangle; with ``a.T``, ``b.T`` likewise."""
    n, k = a.shape[::-1] if transposed else a.shape
    tail = alpha, a, _pitch(a), b, _pitch(b), 1.0, c, _pitch(c)
    _call("cython_blas", "dsyr2k", "L", "T" if transposed else "N", n, k, *tail)


def syrk(a, c, *, alpha=1.0) -> None:
    """``c += alpha * a @ a.T``, the lower triangle only."""
    n, k = a.shape
    tail = alpha, a, _pitch(a), 1.0, c, _pitch(c)
    _call("cython_blas", "dsyrk", "L", "N", n, k, *tail)


def cholesky(a, least: float = 0.0) -> bool:
    """Factor symmetric ``a`` in place, lower triangles only; False where it is not definite.

    Or where a pivot is not above ``least``. Halves are finished one after the other, so that a
    matrix of low rank costs about the cube of its rank.
    """
    n = len(a)
    if n <= 2 * _LEAF:
        info = ctypes.c_int(0)
        _call("cython_lapack", "dpotrf", "L", n, a, _pitch(a), info)
        return info.value == 0 and a.diagonal().min() ** 2 > least
    half = leading(n)
    return cholesky(a[:half, :half], least) and finish_cholesky(a, half, least)


def leading(n: int) -> int:
    """Columns of ``n`` that are factored first."""
    return min(max((n // 2 + 31) // 32 * 32, 32), n)


def finish_cholesky(a, half: int, least: float) -> bool:
    """Do the rest of `cholesky` where the leading ``half`` columns and rows are factored."""
    n = len(a)
    if half == n:
        return True
    first, corner, rest = a[:half, :half], a[half:, :half], a[half:, half:]
    trsm(first, corner)
    syrk(corner, rest, alpha=-1.0)
    return cholesky(rest, least)


def trmm(lower, b, *, left: bool) -> None:
    """``b = lower.T @ b`` where ``left``, else ``b = b @ lower``; only the triangle is read."""
    m, n = b.shape
    tail = 1.0, lower, _pitch(lower), b, _pitch(b)
    _call("cython_blas", "dtrmm", *(("L", "L", "T") if left else ("R", "L", "N")), "N", m, n, *tail)


def trsm(lower, b) -> None:
    """``b = b @ inv(lower).T``; only the triangle is read."""
    m, n = b.shape
    tail = 1.0, lower, _pitch(lower), b, _pitch(b)
    _call("cython_blas", "dtrsm", "R", "L", "T", "N", m, n, *tail)


def congruent(a, lower) -> None:
    """Turn symmetric ``a`` into ``lower.T @ a @ lower``; lower triangles are read and written.

    LAPACK's dsygst by halves: n^3 flops in large products.
    """
    n = len(a)
    if n <= _LEAF:
        info = ctypes.c_int(0)
        tail = a, _pitch(a), lower, _pitch(lower), info
        _call("cython_lapack", "dsygst", 2, "L", n, *tail)
        return
    half = (n // 2 + 31) // 32 * 32
    corner, below = a[half:, :half], lower[half:, :half]
    product = np.empty(corner.shape, order="F")
    symm(a[half:, half:], below, product)
    trmm(lower[:half, :half], corner, left=False)
    product *= 0.5
    corner += product
    congruent(a[:half, :half], lower[:half, :half])
    syr2k(corner, below, a[:half, :half], alpha=1.0, transposed=True)
    corner += product
    trmm(lower[half:, half:], corner, left=True)
    congruent(a[half:, half:], lower[half:, half:])


def geqrt(a, t) -> None:
    """QR factorization of ``a`` in place, ``Q = I - V t V^T`` with V under the diagonal of ``a``.

    ``t`` (k, k), k = min(a.shape), is zero on entry.
    """
    m, n = a.shape
    k = len(t)
    work, info = np.empty(k * n), ctypes.c_int(0)
    _call("cython_lapack", "dgeqrt", m, n, k, a, _pitch(a), t, _pitch(t), work, info)


def _checked(module: str, name: str, *arguments) -> None:
    """Call a LAPACK routine whose last argument is ``info``."""
    info = ctypes.c_int(0)
    _call(module, name, *arguments, info)
    if info.value != 0:
        raise np.linalg.LinAlgError(f"LAPACK's {name} failed with info {info.value}")


def eigenvalues(a: np.ndarray) -> np.ndarray:
    """Ascending eigenvalues of a symmetric matrix; unlike NumPy's never under the lock."""
    n = len(a)
    copy, w = np.array(a, np.float64, order="F"), np.empty(n)
    if n == 0:
        return w
    size, isize = np.empty(1), np.empty(1, np.intc)
    head = "N", "L", n, copy, n, w
    _checked("cython_lapack", "dsyevd", *head, size, -1, isize, -1)
    work, iwork = np.empty(int(size[0])), np.empty(int(isize[0]), np.intc)
    _checked("cython_lapack", "dsyevd", *head, work, work.size, iwork, iwork.size)
    return w
