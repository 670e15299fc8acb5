"""The factorizations that start a path: one call each, so that threads rarely meet at the lock.

LAPACK through Numba throughout; see ``linear_path`` for how the factors are used.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Columns of a triangular factor that are worked on together.
_PANEL = 32


@njit(nogil=True, cache=True, error_model="numpy")
def _tail_sums(values):
    """``values[i:].sum()`` for i = 0 .. len(values)."""
    out = np.zeros(values.size + 1)
    for i in range(values.size - 1, -1, -1):
        out[i] = out[i + 1] + values[i]
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _column_squares(a):
    out = np.zeros(a.shape[1])
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[j] += a[i, j] * a[i, j]
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def seen(basis, factor):
    """Measure the truth ``factor.T @ factor`` on an orthonormal basis (d, r).

    Returns its triangular factor there, the variance along each direction and the variance left
    outside (trace of the truth on the complement), all without cancellation.
    """
    if basis.shape[1] == 0:
        return np.zeros((0, 0)), np.zeros(0), _column_squares(factor).sum()
    image = np.dot(factor, basis)
    energy = _column_squares(image)
    rest = 0.0
    if basis.shape[1] < basis.shape[0]:
        trace = _column_squares(factor).sum()
        rest = trace - energy.sum()
        if rest < 1e-3 * trace:  # the difference would lose digits
            outside = factor - np.dot(image, np.ascontiguousarray(basis.T))
            rest = _column_squares(outside).sum()
    truth = np.ascontiguousarray(np.linalg.qr(image)[1])
    return truth, energy, rest


@njit(nogil=True, cache=True, error_model="numpy")
def nested_range(columns, factor, tolerance):
    """Orthonormalise columns (d, p) in their order, up to the first that depends on earlier ones.

    Returns the basis (d, r), the columns in it (r, p), and what ``seen`` returns.
    """
    q, upper = np.linalg.qr(columns)
    size = np.abs(np.diag(upper))
    limit = tolerance * size.max() if size.size else 0.0
    rank = 0
    while rank < size.size and size[rank] > limit:
        rank += 1
    basis = np.ascontiguousarray(q[:, :rank])
    truth, energy, rest = seen(basis, factor)
    return basis, np.ascontiguousarray(upper[:rank]), truth, energy, rest


@njit(nogil=True, cache=True, error_model="numpy")
def _lower_inverse(lower):
    """Inverse of a lower triangular matrix; its leading blocks are the inverses of the blocks."""
    n = lower.shape[0]
    inverse = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            x = lower[i, j]
            for col in range(j + 1):
                inverse[i, col] -= x * inverse[j, col]
        scale = 1 / lower[i, i]
        for col in range(i):
            inverse[i, col] *= scale
        inverse[i, i] = scale
    return inverse


@njit(nogil=True, cache=True, error_model="numpy")
def pairs_frame(x, z, factor, tolerance):
    """Everything the pair problems share.

    Parameters
    ----------
    x : array (d, n)
        Paired data.
    z : array (K, n)
        Their pseudo-latents, nested over k.
    factor : array (q, d)
        ``factor.T @ factor`` is the truth.
    tolerance : float
        Relative size below which a direction counts as dependent.

    Returns
    -------
    inverse : array (p, p)
        Of the lower triangular factor in ``z[:p] = lower @ q.T``, p = min(K, n).
    square : array (p, p)
        Triangular QR factor of ``z[:p] @ q``.
    rows : array (K - p, p)
        ``z[p:] @ q``.
    residual : array (p + 1,)
        ``||x (I - Q_k Q_k^T)||^2`` for k = 0 .. p.
    basis, coordinates, truth, energy, rest
        :func:`nested_range` of ``x @ q``.
    """
    n = z.shape[1]
    p = min(z.shape[0], n)
    q, upper = np.linalg.qr(np.ascontiguousarray(z[:p].T))
    q = np.ascontiguousarray(q)
    lower = np.ascontiguousarray(upper.T)
    y = np.dot(x, q)
    residual = _tail_sums(_column_squares(y))
    if p < n:
        residual += _column_squares(x - np.dot(y, np.ascontiguousarray(q.T))).sum()
    basis, coordinates, truth, energy, rest = nested_range(y, factor, tolerance)
    square = np.ascontiguousarray(np.linalg.qr(lower)[1])
    rows = np.dot(np.ascontiguousarray(z[p:]), q)
    inverse = _lower_inverse(lower)
    return (
        inverse,
        square,
        rows,
        residual,
        basis,
        coordinates,
        truth,
        energy,
        rest,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def principal_frame(x, factor, tolerance):
    """Principal axes of data x (d, n) of known zero mean.

    Returns the standard deviations along the axes (those above ``tolerance`` times the first), the
    sum of all variances beyond each k = 0, 1, .., and what ``seen`` returns of the axes.
    """
    u, s, _ = np.linalg.svd(x / np.sqrt(x.shape[1]), False)
    rank = 0
    while rank < s.size and s[rank] > tolerance * s[0]:
        rank += 1
    truth, energy, rest = seen(np.ascontiguousarray(u[:, :rank]), factor)
    return s[:rank].copy(), _tail_sums(s * s), truth, energy, rest


@njit(nogil=True, cache=True, error_model="numpy")
def symmetric_eigenvalues(a):
    """Ascending eigenvalues of a symmetric matrix; unlike NumPy's, never under the lock."""
    return np.linalg.eigvalsh(a)


@njit(nogil=True, cache=True, error_model="numpy")
def gram_error(roots):
    """Error of the sum of the roots (ascending) of computed eigenvalues of a Gram matrix.

    An eigenvalue is wrong by about eps times the largest one, its root by that over twice the root.
    Errors of either sign add up in squares; those of eigenvalues that are all error, in full.
    """
    noise = 4 * np.finfo(np.float64).eps * roots[-1] ** 2
    floor = np.sqrt(noise)
    lost = 0
    spread = 0.0
    for x in roots:
        if x < floor:
            lost += 1
        else:
            spread += 0.25 / (x * x)
    return lost * floor + noise * np.sqrt(spread)


@njit(nogil=True, cache=True, error_model="numpy")
def upper_inverse(upper):
    """Inverse of an upper triangular matrix (n, n), by blocks of rows from the last up."""
    n = upper.shape[0]
    inverse = np.zeros((n, n))
    start = n
    while start > 0:
        stop = start
        start = max(0, stop - _PANEL)
        corner = np.zeros((stop - start, stop - start))
        for i in range(stop - 1, start - 1, -1):
            scale = 1 / upper[i, i]
            for j in range(i + 1, stop):
                x = upper[i, j] * scale
                for col in range(j, stop):
                    corner[i - start, col - start] -= x * corner[j - start, col - start]
            corner[i - start, i - start] = scale
        if stop < n:
            beyond = np.dot(np.ascontiguousarray(upper[start:stop, stop:]), inverse[stop:])
            np.dot(-corner, beyond, inverse[start:stop])
        inverse[start:stop, start:stop] = corner
    return inverse


@njit(nogil=True, cache=True, error_model="numpy")
def _eliminate(triangle, panel, tau):
    """Householder QR of a triangle (w, w) on a panel (m, w), which keeps the vectors' tails."""
    m, width = panel.shape
    dots = np.empty(width)
    for j in range(width):
        below = 0.0
        for i in range(m):
            below += panel[i, j] * panel[i, j]
        tau[j] = 0.0
        if below == 0:
            continue
        head = triangle[j, j]
        size = np.sqrt(head * head + below)
        size = -size if head > 0 else size
        tau[j] = (size - head) / size
        triangle[j, j] = size
        scale = 1 / (head - size)
        for col in range(j + 1, width):
            dots[col] = triangle[j, col]
        for i in range(m):
            v = panel[i, j] * scale
            panel[i, j] = v
            for col in range(j + 1, width):
                dots[col] += v * panel[i, col]
        for col in range(j + 1, width):
            dots[col] *= tau[j]
            triangle[j, col] -= dots[col]
        for i in range(m):
            v = panel[i, j]
            for col in range(j + 1, width):
                panel[i, col] -= v * dots[col]


@njit(nogil=True, cache=True, error_model="numpy")
def absorb_rows(r, rows):
    """As ``linear_path.add_rows``, for many rows at once: blocked Householder reflections.

    A product of reflections is ``I - V S V^T`` with S upper triangular (Schreiber and Van Loan,
    SIAM J. Sci. Stat. Comput. 10 (1989)).
    """
    n = r.shape[0]
    for start in range(0, n, _PANEL):
        stop = min(start + _PANEL, n)
        width = stop - start
        panel = rows[:, start:stop].copy()
        tau = np.empty(width)
        _eliminate(r[start:stop, start:stop], panel, tau)
        if stop == n:
            break
        inner = np.dot(panel.T, panel)
        middle = np.zeros((width, width))
        for j in range(width):
            middle[j, j] = tau[j]
            for i in range(j):
                x = 0.0
                for a in range(i, j):
                    x += middle[i, a] * inner[a, j]
                middle[i, j] = -tau[j] * x
        rest = rows[:, stop:].copy()
        change = np.dot(middle.T, np.dot(panel.T, rest) + r[start:stop, stop:])
        r[start:stop, stop:] -= change
        rows[:, stop:] -= np.dot(panel, change)
