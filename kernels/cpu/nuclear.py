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

# Rows of the scratch of one group of matrices: the scalars of a reflection, norms and their
# inverses, and from _FIRST on, with a row for each column, the squared diagonal and superdiagonal,
# products and a row of the matrix; then, with a row for each row, a column of the matrix.
_ALPHA, _BELOW, _BETA, _INVERSE, _TAU, _NORM, _UNIT, _FIRST = 0, 1, 2, 3, 4, 5, 6, 7


@kernel(no_cpython_wrapper=True)
def _reflector(scratch):
    """Householder scalars of the vectors (alpha, tail) with squared tail norm ``below``."""
    for v in range(LANES):
        head = scratch[_ALPHA, v]
        below = scratch[_BELOW, v]
        if below == 0:
            scratch[_BETA, v] = head
            scratch[_TAU, v] = 0
            scratch[_INVERSE, v] = 0
        else:
            size = np.sqrt(head * head + below)
            size = -size if head >= 0 else size
            scratch[_BETA, v] = size
            scratch[_TAU, v] = (size - head) / size
            scratch[_INVERSE, v] = 1 / (head - size)


@kernel
def _normalize(stack, g, out, scratch):
    """Copy to ``out`` every matrix of group ``g`` over its Frobenius norm (zero stays zero)."""
    _, rows, cols, _ = stack.shape
    first = g * rows * cols
    for v in range(LANES):
        scratch[_NORM, v] = 0
    for i in range(first, first + rows * cols):
        store(scratch, _UNIT * LANES, load(stack, i * LANES))
        for v in range(LANES):
            x = abs(scratch[_UNIT, v])
            # written so that NaN passes through
            scratch[_NORM, v] = scratch[_NORM, v] if x <= scratch[_NORM, v] else x
    for v in range(LANES):
        scratch[_UNIT, v] = 1 / scratch[_NORM, v] if scratch[_NORM, v] != 0 else 0
    size = load(scratch, _UNIT * LANES)
    total = splat(out, 0)
    for i in range(rows):
        for j in range(cols):
            x = load(stack, (first + i * cols + j) * LANES) * size
            total = total + x * x
    store(scratch, _UNIT * LANES, total)
    for v in range(LANES):
        root = np.sqrt(scratch[_UNIT, v])
        scratch[_NORM, v] *= root
        scratch[_UNIT, v] = 1 / root if root != 0 else 0
    other = load(scratch, _UNIT * LANES)
    for i in range(rows):
        for j in range(cols):
            x = load(stack, (first + i * cols + j) * LANES) * size * other
            store(out, (i * out.shape[1] + j) * LANES, x)


@kernel
def _bidiagonalize(a, cols, scratch):
    """Overwrite ``a[:, :cols]``; squared diagonal and superdiagonal go to ``scratch``."""
    rows, pitch, _ = a.shape
    stride = pitch * LANES
    zero = splat(a, 0)
    diag = _FIRST * LANES
    upper = diag + cols * LANES
    w = upper + cols * LANES
    y = w + cols * LANES
    u = y + cols * LANES
    for j in range(cols):
        here = j * LANES
        row = j * stride
        total = zero
        for i in range(j + 1, rows):
            x = load(a, i * stride + here)
            total = total + x * x
        store(scratch, _BELOW * LANES, total)
        store(scratch, _ALPHA * LANES, load(a, row + here))
        _reflector(scratch)
        x = load(scratch, _BETA * LANES)
        store(scratch, diag + here, x * x)
        store(scratch, upper + here, zero)
        if j + 1 == cols:
            break
        scale = load(scratch, _INVERSE * LANES)
        for i in range(j + 1, rows):
            store(scratch, u + i * LANES, load(a, i * stride + here) * scale)
        for at in range(here + LANES, cols * LANES, LANES):
            store(scratch, w + at, load(a, row + at))
        # four rows at a time: the running sums w are read and written once for four rows
        full = j + 1 + (rows - j - 1) % 4
        for i in range(j + 1, full):
            u0 = load(scratch, u + i * LANES)
            p = i * stride
            for at in range(here + LANES, cols * LANES, LANES):
                store(scratch, w + at, load(scratch, w + at) + u0 * load(a, p + at))
        for i in range(full, rows, 4):
            p = i * stride
            u0 = load(scratch, u + i * LANES)
            u1 = load(scratch, u + (i + 1) * LANES)
            u2 = load(scratch, u + (i + 2) * LANES)
            u3 = load(scratch, u + (i + 3) * LANES)
            for at in range(here + LANES, cols * LANES, LANES):
                x = load(scratch, w + at) + u0 * load(a, p + at)
                x = x + u1 * load(a, p + stride + at)
                x = x + u2 * load(a, p + 2 * stride + at)
                store(scratch, w + at, x + u3 * load(a, p + 3 * stride + at))
        # row j after the left reflection, and the reflector of what it holds beyond the diagonal
        scale = load(scratch, _TAU * LANES)
        for at in range(here + LANES, cols * LANES, LANES):
            x = load(scratch, w + at) * scale
            store(scratch, w + at, x)
            store(scratch, y + at, load(a, row + at) - x)
        store(scratch, _ALPHA * LANES, load(scratch, y + here + LANES))
        total = zero
        for at in range(here + 2 * LANES, cols * LANES, LANES):
            x = load(scratch, y + at)
            total = total + x * x
        store(scratch, _BELOW * LANES, total)
        _reflector(scratch)
        x = load(scratch, _BETA * LANES)
        store(scratch, upper + here, x * x)
        store(scratch, y + here + LANES, splat(a, 1))
        scale = load(scratch, _INVERSE * LANES)
        for at in range(here + 2 * LANES, cols * LANES, LANES):
            store(scratch, y + at, load(scratch, y + at) * scale)
        # both reflections of the remaining rows in one pass over memory, two rows at a time; an
        # odd number of them is met by row j, which is done with
        scale = load(scratch, _TAU * LANES)
        odd = (rows - j - 1) % 2
        if odd:
            store(scratch, u + here, zero)
        for i in range(j + 1 - odd, rows, 2):
            p = i * stride
            u0 = load(scratch, u + i * LANES)
            u1 = load(scratch, u + (i + 1) * LANES)
            dot0 = zero
            dot1 = zero
            for at in range(here + LANES, cols * LANES, LANES):
                wc = load(scratch, w + at)
                yc = load(scratch, y + at)
                x0 = load(a, p + at) - u0 * wc
                x1 = load(a, p + stride + at) - u1 * wc
                store(a, p + at, x0)
                store(a, p + stride + at, x1)
                dot0 = dot0 + x0 * yc
                dot1 = dot1 + x1 * yc
            dot0 = dot0 * scale
            dot1 = dot1 * scale
            for at in range(here + LANES, cols * LANES, LANES):
                yc = load(scratch, y + at)
                store(a, p + at, load(a, p + at) - dot0 * yc)
                store(a, p + stride + at, load(a, p + stride + at) - dot1 * yc)


@kernel
def _sum_of_roots(scratch, cols, gamma, omega, out, g):
    """Write norm times tr sqrt(B^T B) to ``out[g]``; bidiagonals by their squared entries."""
    one = splat(scratch, 1)
    zero = splat(scratch, 0)
    result = zero
    # LDL^T pivots d = q + s of B^T B + c, and w = s - c ds/dc: every term is positive. Two nodes at
    # a time hide the latency of the division.
    for j in range(0, gamma.size, 2):
        c0 = splat(scratch, gamma[j])
        c1 = splat(scratch, gamma[j + 1])
        s0, w0, total0 = c0, zero, zero
        s1, w1, total1 = c1, zero, zero
        for i in range(_FIRST, _FIRST + cols):
            q = load(scratch, i * LANES)
            e = load(scratch, (i + cols) * LANES)
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
        result = result + splat(scratch, omega[j]) * total0
        result = result + splat(scratch, omega[j + 1]) * total1
    store(out, g * LANES, result)
    for v in range(LANES):
        out[g, v] *= scratch[_NORM, v]


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
    scratch = np.empty((_FIRST + 4 * cols + rows, LANES), stack.dtype)
    for g in range(groups):
        _normalize(stack, g, work, scratch)
        _bidiagonalize(work, cols, scratch)
        _sum_of_roots(scratch, cols, gamma, omega, out, g)
