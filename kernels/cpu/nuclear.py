"""Nuclear norms of many small matrices at once, eight matrices to a vector register.

Golub-Kahan bidiagonalisation (Golub and Van Loan, Matrix Computations, 4th ed., Algorithm 5.4.2)
with the matrix index innermost, so that every arithmetic instruction works on eight matrices; then
the sum of singular values of the bidiagonals by the quadrature of ``kernels/quadrature.py``, whose
resolvent traces are a recurrence of positive terms. No Gram matrix is formed: the error is that of
an SVD, a small multiple of eps times the largest singular value.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel
from .simd import LANES, load, splat, store


@kernel
def _normalize(a, out, norm):
    """Copy to ``out`` every matrix over its Frobenius norm, kept in ``norm`` (zero stays zero).

    ``norm`` is (16,); its second half is overwritten.
    """
    rows, cols, _ = a.shape
    for v in range(LANES):
        norm[v] = 0
    for i in range(rows):
        for j in range(cols):
            for v in range(LANES):
                x = abs(a[i, j, v])
                # written so that NaN passes through
                norm[v] = norm[v] if x <= norm[v] else x
    for v in range(LANES):
        norm[LANES + v] = 1 / norm[v] if norm[v] != 0 else 0
    size = load(norm, LANES)
    total = splat(a, 0)
    for i in range(rows):
        for j in range(cols):
            x = load(a, (i * cols + j) * LANES) * size
            store(out, (i * out.shape[1] + j) * LANES, x)
            total = total + x * x
    store(norm, LANES, total)
    for v in range(LANES):
        root = np.sqrt(norm[LANES + v])
        norm[v] *= root
        norm[LANES + v] = 1 / root if root != 0 else 0
    size = load(norm, LANES)
    for i in range(rows):
        for j in range(cols):
            at = (i * out.shape[1] + j) * LANES
            store(out, at, load(out, at) * size)


# Rows of the scratch of a reflection; two for tau.
_ALPHA, _BELOW, _BETA, _INVERSE, _TAU = 0, 1, 2, 3, 4


@kernel
def _reflector(s, tau):
    """Householder scalars of the vectors (alpha, tail) with squared tail norm ``below``."""
    for v in range(LANES):
        head = s[_ALPHA, v]
        below = s[_BELOW, v]
        if below == 0:
            s[_BETA, v] = head
            tau[v] = 0
            s[_INVERSE, v] = 0
        else:
            size = np.sqrt(head * head + below)
            size = -size if head >= 0 else size
            s[_BETA, v] = size
            tau[v] = (size - head) / size
            s[_INVERSE, v] = 1 / (head - size)


@kernel
def _bidiagonalize(a, cols, s, u, w, y, diag, upper):
    """Overwrite ``a[:, :cols]``; squared diagonal and superdiagonal in diag, upper.

    ``s`` (6, 8), ``u`` (rows, 8), ``w`` and ``y`` (cols, 8) are scratch.
    """
    rows, pitch, _ = a.shape
    stride = pitch * LANES
    zero = splat(a, 0)
    for j in range(cols):
        here = j * LANES
        row = j * stride
        total = zero
        for i in range(j + 1, rows):
            x = load(a, i * stride + here)
            total = total + x * x
        store(s, _BELOW * LANES, total)
        store(s, _ALPHA * LANES, load(a, row + here))
        _reflector(s, s[_TAU])
        x = load(s, _BETA * LANES)
        store(diag, here, x * x)
        store(upper, here, zero)
        if j + 1 == cols:
            break
        scale = load(s, _INVERSE * LANES)
        for i in range(j + 1, rows):
            store(u, i * LANES, load(a, i * stride + here) * scale)
        for at in range(here + LANES, cols * LANES, LANES):
            store(w, at, load(a, row + at))
        # four rows at a time: the running sums w are read and written once for four rows
        full = j + 1 + (rows - j - 1) % 4
        for i in range(j + 1, full):
            u0 = load(u, i * LANES)
            p = i * stride
            for at in range(here + LANES, cols * LANES, LANES):
                store(w, at, load(w, at) + u0 * load(a, p + at))
        for i in range(full, rows, 4):
            p = i * stride
            u0 = load(u, i * LANES)
            u1 = load(u, (i + 1) * LANES)
            u2 = load(u, (i + 2) * LANES)
            u3 = load(u, (i + 3) * LANES)
            for at in range(here + LANES, cols * LANES, LANES):
                x = load(w, at) + u0 * load(a, p + at)
                x = x + u1 * load(a, p + stride + at)
                x = x + u2 * load(a, p + 2 * stride + at)
                store(w, at, x + u3 * load(a, p + 3 * stride + at))
        # row j after the left reflection, and the reflector of what it holds beyond the diagonal
        scale = load(s, _TAU * LANES)
        for at in range(here + LANES, cols * LANES, LANES):
            x = load(w, at) * scale
            store(w, at, x)
            store(y, at, load(a, row + at) - x)
        store(s, _ALPHA * LANES, load(y, here + LANES))
        total = zero
        for at in range(here + 2 * LANES, cols * LANES, LANES):
            x = load(y, at)
            total = total + x * x
        store(s, _BELOW * LANES, total)
        _reflector(s, s[_TAU + 1])
        x = load(s, _BETA * LANES)
        store(upper, here, x * x)
        store(y, here + LANES, splat(a, 1))
        scale = load(s, _INVERSE * LANES)
        for at in range(here + 2 * LANES, cols * LANES, LANES):
            store(y, at, load(y, at) * scale)
        # both reflections of the remaining rows in one pass over memory, two rows at a time; an
        # odd number of them is met by row j, which is done with
        scale = load(s, (_TAU + 1) * LANES)
        odd = (rows - j - 1) % 2
        if odd:
            store(u, here, zero)
        for i in range(j + 1 - odd, rows, 2):
            p = i * stride
            u0 = load(u, i * LANES)
            u1 = load(u, (i + 1) * LANES)
            dot0 = zero
            dot1 = zero
            for at in range(here + LANES, cols * LANES, LANES):
                wc = load(w, at)
                yc = load(y, at)
                x0 = load(a, p + at) - u0 * wc
                x1 = load(a, p + stride + at) - u1 * wc
                store(a, p + at, x0)
                store(a, p + stride + at, x1)
                dot0 = dot0 + x0 * yc
                dot1 = dot1 + x1 * yc
            dot0 = dot0 * scale
            dot1 = dot1 * scale
            for at in range(here + LANES, cols * LANES, LANES):
                yc = load(y, at)
                store(a, p + at, load(a, p + at) - dot0 * yc)
                store(a, p + stride + at, load(a, p + stride + at) - dot1 * yc)


@kernel
def _sum_of_roots(diag, upper, gamma, omega, norm, g, out):
    """Write ``norm`` times tr sqrt(B^T B) to ``out[g]``; bidiagonals by their squared entries."""
    cols = diag.shape[0]
    one = splat(diag, 1)
    zero = splat(diag, 0)
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
    store(out, g * LANES, result)
    for v in range(LANES):
        out[g, v] *= norm[v]


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
    dtype = stack.dtype
    work, u = np.empty((rows, pitch, LANES), dtype), np.empty((rows, LANES), dtype)
    w, y, diag, upper = np.empty((4, cols, LANES), dtype)
    scratch, norm = np.empty((6, LANES), dtype), np.empty(2 * LANES, dtype)
    for g in range(groups):
        _normalize(stack[g], work, norm)
        _bidiagonalize(work, cols, scratch, u, w, y, diag, upper)
        _sum_of_roots(diag, upper, gamma, omega, norm, g, out)
