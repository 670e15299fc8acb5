"""Nuclear norms of many small matrices at once, eight matrices to a vector register.

Golub-Kahan bidiagonalisation (Golub and Van Loan, Matrix Computations, 4th ed., Algorithm 5.4.2)
with the matrix index innermost, so that every arithmetic instruction works on eight matrices; then
the sum of singular values of the bidiagonals by the quadrature of ``kernels/quadrature.py``, whose
resolvent traces are a recurrence of positive terms. No Gram matrix is formed: the error is that of
an SVD, a small multiple of eps times the largest singular value.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import LANES, load, splat, store


@njit(nogil=True, cache=True, error_model="numpy")
def _normalise(a, out, norm):
    """Copy to ``out`` every matrix over its Frobenius norm, kept in ``norm`` (zero stays zero)."""
    rows, cols, _ = a.shape
    peak = np.zeros(LANES, a.dtype)
    for i in range(rows):
        for j in range(cols):
            for v in range(LANES):
                x = abs(a[i, j, v])
                # written so that NaN passes through
                peak[v] = peak[v] if x <= peak[v] else x
    for v in range(LANES):
        norm[v] = peak[v]
        peak[v] = 1 / peak[v] if peak[v] != 0 else a.dtype.type(0)
    size = load(peak, 0)
    total = splat(a, a.dtype.type(0))
    for i in range(rows):
        for j in range(cols):
            x = load(a, (i * cols + j) * LANES) * size
            store(out, (i * out.shape[1] + j) * LANES, x)
            total = total + x * x
    store(peak, 0, total)
    for v in range(LANES):
        root = np.sqrt(peak[v])
        norm[v] *= root
        peak[v] = 1 / root if root != 0 else a.dtype.type(0)
    size = load(peak, 0)
    for i in range(rows):
        for j in range(cols):
            at = (i * out.shape[1] + j) * LANES
            store(out, at, load(out, at) * size)


@njit(nogil=True, cache=True, error_model="numpy")
def _reflector(alpha, below, beta, tau, inverse):
    """Householder scalars of the vectors (alpha, tail) with squared tail norm ``below``."""
    for v in range(LANES):
        head = alpha[v]
        if below[v] == 0:
            beta[v] = head
            tau[v] = 0
            inverse[v] = 0
        else:
            size = np.sqrt(head * head + below[v])
            size = -size if head >= 0 else size
            beta[v] = size
            tau[v] = (size - head) / size
            inverse[v] = 1 / (head - size)


@njit(nogil=True, cache=True, error_model="numpy")
def _bidiagonalise(a, cols, diag, upper):
    """Overwrite ``a[:, :cols]``; squared diagonal and superdiagonal in diag, upper."""
    rows, pitch, _ = a.shape
    stride = pitch * LANES
    u = np.empty((rows, LANES), a.dtype)
    w = np.empty((cols, LANES), a.dtype)
    y = np.empty((cols, LANES), a.dtype)
    alpha = np.empty(LANES, a.dtype)
    below = np.empty(LANES, a.dtype)
    beta = np.empty(LANES, a.dtype)
    tau = np.empty(LANES, a.dtype)
    tau_right = np.empty(LANES, a.dtype)
    inverse = np.empty(LANES, a.dtype)
    zero = splat(a, a.dtype.type(0))
    for j in range(cols):
        here = j * LANES
        total = zero
        for i in range(j + 1, rows):
            x = load(a, i * stride + here)
            total = total + x * x
        store(below, 0, total)
        store(alpha, 0, load(a, j * stride + here))
        _reflector(alpha, below, beta, tau, inverse)
        x = load(beta, 0)
        store(diag, here, x * x)
        store(upper, here, zero)
        if j + 1 == cols:
            break
        scale = load(inverse, 0)
        for i in range(j + 1, rows):
            store(u, i * LANES, load(a, i * stride + here) * scale)
        for c in range(j + 1, cols):
            store(w, c * LANES, load(a, j * stride + c * LANES))
        # four rows at a time: the running sums w are read and written once for four rows
        left = (rows - j - 1) % 4
        for i in range(j + 1, j + 1 + left):
            ui = load(u, i * LANES)
            for c in range(j + 1, cols):
                at = c * LANES
                store(w, at, load(w, at) + ui * load(a, i * stride + at))
        for i in range(j + 1 + left, rows, 4):
            u0 = load(u, i * LANES)
            u1 = load(u, (i + 1) * LANES)
            u2 = load(u, (i + 2) * LANES)
            u3 = load(u, (i + 3) * LANES)
            for c in range(j + 1, cols):
                at = c * LANES
                p = i * stride + at
                x = load(w, at) + u0 * load(a, p)
                x = x + u1 * load(a, p + stride)
                x = x + u2 * load(a, p + 2 * stride)
                store(w, at, x + u3 * load(a, p + 3 * stride))
        # row j after the left reflection, and the reflector of what it holds beyond the diagonal
        scale = load(tau, 0)
        total = zero
        for c in range(j + 1, cols):
            at = c * LANES
            x = load(w, at) * scale
            store(w, at, x)
            x = load(a, j * stride + at) - x
            store(y, at, x)
            if c > j + 1:
                total = total + x * x
        store(below, 0, total)
        store(alpha, 0, load(y, here + LANES))
        _reflector(alpha, below, beta, tau_right, inverse)
        x = load(beta, 0)
        store(upper, here, x * x)
        store(y, here + LANES, splat(a, a.dtype.type(1)))
        scale = load(inverse, 0)
        for c in range(j + 2, cols):
            store(y, c * LANES, load(y, c * LANES) * scale)
        # both reflections of the remaining rows in one pass over memory, two rows at a time
        scale = load(tau_right, 0)
        left = (rows - j - 1) % 2
        if left:
            i = j + 1
            u0 = load(u, i * LANES)
            dot0 = zero
            for c in range(j + 1, cols):
                at = c * LANES
                p = i * stride + at
                x0 = load(a, p) - u0 * load(w, at)
                store(a, p, x0)
                dot0 = dot0 + x0 * load(y, at)
            dot0 = dot0 * scale
            for c in range(j + 1, cols):
                at = c * LANES
                p = i * stride + at
                store(a, p, load(a, p) - dot0 * load(y, at))
        for i in range(j + 1 + left, rows, 2):
            u0 = load(u, i * LANES)
            u1 = load(u, (i + 1) * LANES)
            dot0 = zero
            dot1 = zero
            for c in range(j + 1, cols):
                at = c * LANES
                p = i * stride + at
                wc = load(w, at)
                yc = load(y, at)
                x0 = load(a, p) - u0 * wc
                x1 = load(a, p + stride) - u1 * wc
                store(a, p, x0)
                store(a, p + stride, x1)
                dot0 = dot0 + x0 * yc
                dot1 = dot1 + x1 * yc
            dot0 = dot0 * scale
            dot1 = dot1 * scale
            for c in range(j + 1, cols):
                at = c * LANES
                p = i * stride + at
                yc = load(y, at)
                store(a, p, load(a, p) - dot0 * yc)
                store(a, p + stride, load(a, p + stride) - dot1 * yc)


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_of_roots(diag, upper, gamma, omega, out):
    """Quadrature of tr sqrt(B^T B) for unit-norm bidiagonals given by squared entries."""
    cols = diag.shape[0]
    one = splat(diag, diag.dtype.type(1))
    zero = splat(diag, diag.dtype.type(0))
    result = zero
    # LDL^T pivots d = q + s of B^T B + c, and w = s - c ds/dc: every term is positive. Two nodes at
    # a time hide the latency of the division.
    for j in range(0, gamma.size, 2):
        c0 = splat(diag, gamma[j])
        c1 = splat(diag, gamma[j + 1])
        s0, w0, total0 = c0, zero, zero
        s1, w1, total1 = c1, zero, zero
        for i in range(cols):
            q = load(diag, i * LANES)
            e = load(upper, i * LANES)
            inverse0 = one / (q + s0)
            inverse1 = one / (q + s1)
            total0 = total0 + (q + w0) * inverse0
            total1 = total1 + (q + w1) * inverse1
            s0 = s0 * inverse0
            s1 = s1 * inverse1
            w0 = e * (s0 * s0 + (q * inverse0) * (w0 * inverse0))
            w1 = e * (s1 * s1 + (q * inverse1) * (w1 * inverse1))
            s0 = c0 + e * s0
            s1 = c1 + e * s1
        result = result + splat(diag, omega[j]) * total0 + splat(diag, omega[j + 1]) * total1
    store(out, 0, result)


@njit(nogil=True, cache=True, error_model="numpy")
def nuclear_norms(stack, gamma, omega, out):
    """Sum of singular values of each matrix of ``stack``.

    Parameters
    ----------
    stack : array (groups, rows, cols, 8), rows >= cols
        Matrix ``8 * g + v`` is ``stack[g, :, :, v]``. Zero rows and columns change nothing.
    gamma, omega : array (n_nodes,)
        From ``kernels.quadrature.nodes(stack.dtype)``; n_nodes is even.
    out : array (groups, 8)
    """
    groups, rows, cols, _ = stack.shape
    # a pitch that is a multiple of 8 columns would map a matrix column to few cache sets
    pitch = cols + 1 if cols % 8 == 0 else cols
    work = np.empty((rows, pitch, LANES), stack.dtype)
    diag = np.empty((cols, LANES), stack.dtype)
    upper = np.empty((cols, LANES), stack.dtype)
    norm = np.empty(LANES, stack.dtype)
    for g in range(groups):
        _normalise(stack[g], work, norm)
        _bidiagonalise(work, cols, diag, upper)
        _sum_of_roots(diag, upper, gamma, omega, out[g])
        for v in range(LANES):
            out[g, v] *= norm[v]
