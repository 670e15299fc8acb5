"""Alternating minimisations of the semi-supervised problems, one cell (trial, k) to a call.

Coordinates are chosen by the caller so that the pair term is diagonal: rows along the principal
axes of the data, columns along the singular directions of the paired latents and their complement.
"""

from __future__ import annotations

import math

import numpy as np

from .compilation import kernel
from .fortran import L, N, T, U, gemm, geqrf, orgqr, trsm
from .polar import polar_rows

# Sums in any order, so that they fill vector registers; infinities and NaN keep their meaning.
_SUMS = {"reassoc", "contract"}
# Pairs of an L-BFGS memory.
_MEMORY = 5
# Columns that LAPACK works on together.
_BLOCK = 64
# A pivot of a QR factorization below this share of the largest one: the rank is not full.
_DEPENDENT = 1e-10


@kernel(fastmath=_SUMS)
def _evaluate(g, cross, sigma, root, weight, image, basis, known):
    """Objective at g and, in ``image``, the minimizer of its quadratic majorizer there.

    ``basis`` and ``known`` as for ``polar``; the new ``known`` is returned beside the objective.
    """
    r, q = g.shape
    p = sigma.size
    wide = r <= q
    scaled = np.empty((r, q) if wide else (q, r))
    factor = np.empty((r, q) if wide else (q, r))
    objective = 0.0
    for i in range(r):
        for j in range(q):
            x = g[i, j]
            objective += x * x
            if wide:
                scaled[i, j] = root[i] * x
            else:
                scaled[j, i] = root[i] * x
    nuclear, known = polar_rows(scaled, basis, known, factor)
    objective -= 2 * nuclear
    pinned = np.isinf(weight)
    for i in range(r):
        for j in range(q):
            x = root[i] * (factor[i, j] if wide else factor[j, i])
            if j < p:
                if pinned:
                    x = cross[i, j] / sigma[j]
                else:
                    miss = cross[i, j] - g[i, j] * sigma[j]
                    objective += weight * miss * miss
                    x += weight * cross[i, j] * sigma[j]
                    x /= weight * sigma[j] * sigma[j] + 1
            image[i, j] = x
    return objective, known


@kernel(fastmath=_SUMS)
def _descend(here, gradient, metric, steps, changes, products, used, newest, there):
    """Take an L-BFGS step from ``here`` to ``there`` with the last ``used`` pairs of the memory.

    All are flat; ``metric`` is the Hessian that it starts from, and ``products`` holds the inner
    product of each step with its change of gradient.
    """
    memory, size = steps.shape
    share = np.empty(memory)
    for i in range(size):
        there[i] = gradient[i]
    for back in range(used):
        at = (newest - back) % memory
        total = 0.0
        for i in range(size):
            total += steps[at, i] * there[i]
        share[at] = total / products[at]
        for i in range(size):
            there[i] -= share[at] * changes[at, i]
    scale = 1.0
    if used > 0:
        total = 0.0
        for i in range(size):
            total += changes[newest, i] * changes[newest, i] / metric[i]
        scale = products[newest] / total
    for i in range(size):
        there[i] *= scale / metric[i]
    for back in range(used - 1, -1, -1):
        at = (newest - back) % memory
        total = 0.0
        for i in range(size):
            total += changes[at, i] * there[i]
        turn = share[at] - total / products[at]
        for i in range(size):
            there[i] += turn * steps[at, i]
    for i in range(size):
        there[i] = here[i] - there[i]


@kernel(fastmath=_SUMS)
def _advance(here, there, image, metric, gradient, step, change):
    """Write the step from here to there and its change of gradient; renew ``gradient``.

    All are flat. Returns the inner product of both, their squared lengths, and what the majorizer
    at ``there``, minimized by ``image``, would gain.
    """
    product = moved = turned = left = 0.0
    for i in range(here.size):
        gap = there[i] - image[i]
        slope = metric[i] * gap
        s = there[i] - here[i]
        y = slope - gradient[i]
        gradient[i] = slope
        step[i] = s
        change[i] = y
        product += s * y
        moved += s * s
        turned += y * y
        left += slope * gap
    return product, moved, turned, left


def match_pairs(cross, sigma, root, start, weight, constant, tolerance, max_iter, history):
    """Minimise ``weight ||cross - G_1 sigma||^2 + ||G||^2 - 2 ||diag(root) G||_* + constant``.

    The objective has a quadratic majoriser at every point, whose minimiser is the alternation's
    next iterate and can only lower it. Its constant Hessian starts an L-BFGS iteration; where an
    L-BFGS step would raise the objective the alternation's step is taken and the memory dropped. So
    the objective never rises, and about four times fewer polar factors are needed than by
    alternation.

    Parameters
    ----------
    cross : array (r, p)
        Data of the pairs along the right singular vectors of the latents.
    sigma : array (p,)
        Singular values of the paired latents.
    root : array (r,)
        Standard deviations of the data along their principal axes.
    start : array (r, q), q >= p
        First G; its first p columns are along the left singular vectors of the latents.
    weight : float
        Of the pair term; infinity holds ``G_1 = cross / sigma``.
    constant : float
        What makes the objective a distance, at least 0.
    tolerance : float
        Stop when a step gained, and the alternation would gain, no more than this share of the
        objective (plus rounding).
    max_iter : int
    history : array (max_iter + 1,)
        Objectives: of the start, then of every step.

    Returns
    -------
    g : array (r, q)
    n_iter : int
    converged : bool
    """
    r, q = start.shape
    p = sigma.size
    cross, root = np.ascontiguousarray(cross), np.ascontiguousarray(root)
    here, metric = np.array(start, order="C"), np.ones((r, q))
    weight = float(weight)
    if math.isinf(weight):
        here[:, :p] = cross / sigma
    else:
        metric[:, :p] += weight * sigma * sigma
    metric = metric.ravel()
    scale = constant + float((root * root).sum())
    rounding = 1e-15 * scale
    steps, changes = np.empty((2, _MEMORY, r * q))
    products = np.empty(_MEMORY)
    used, newest = 0, -1
    image, there, next_image = np.empty((3, r, q))
    side = min(r, q)
    basis = np.empty((side, side))
    value, known = _evaluate(here, cross, sigma, root, weight, image, basis, False)
    value += constant
    history[0] = value
    gradient = metric * (here - image).ravel()
    for step in range(1, max_iter + 1):
        flat = here.ravel()
        _descend(flat, gradient, metric, steps, changes, products, used, newest, there.ravel())
        found, known = _evaluate(there, cross, sigma, root, weight, next_image, basis, known)
        if not found + constant <= value + rounding and used:
            used = 0
            there[:] = image
            found, known = _evaluate(there, cross, sigma, root, weight, next_image, basis, known)
        found += constant
        if not found <= value + rounding:  # the alternation's step: rounding is in the way
            history[step] = value
            return here, step, True
        history[step] = found
        gain, value = value - found, found
        slot = (newest + 1) % _MEMORY
        product, moved, turned, left = _advance(
            flat,
            there.ravel(),
            next_image.ravel(),
            metric,
            gradient,
            steps[slot],
            changes[slot],
        )
        if product > 1e-12 * math.sqrt(moved * turned):
            newest = slot
            used = min(used + 1, _MEMORY)
            products[slot] = product
        else:  # the slot held the oldest pair of a full memory
            used = min(used, _MEMORY - 1)
        here, there = there, here
        image, next_image = next_image, image
        # The objective is a difference, resolved to rounding; what the alternation would gain from
        # here, ``left``, is a sum of squares and tells progress far below that.
        share = tolerance * max(found, 0.0)
        if gain <= share + rounding and left <= share + 1e-18 * scale:
            return here, step, True
    return here, max_iter, False


@kernel(no_cpython_wrapper=True)
def _orthogonal(a, upper):
    """QR factorization of the transpose of ``a`` (k, n), k <= n: orthonormal rows in place.

    ``upper`` (k, k) is the triangular factor as Fortran reads it. Returns whether the rank is full.
    """
    k, n = a.shape
    work = np.empty((_BLOCK + 1) * k)
    info = np.empty(1, np.int32)
    tau = work[_BLOCK * k :]
    geqrf((n, k, a, n, tau, work, _BLOCK * k, info))
    smallest = largest = abs(a[0, 0])
    for i in range(k):
        size = abs(a[i, i])
        smallest = size if size < smallest else smallest
        largest = size if size > largest else largest
        for j in range(i + 1):
            upper[i, j] = a[i, j]
    orgqr((n, k, k, a, n, tau, work, _BLOCK * k, info))
    return not smallest <= _DEPENDENT * largest


@kernel(fastmath=_SUMS)
def _fit_generator(x, latents, g):
    """Write ``x @ pinv(latents)`` to ``g``; its objective, or -1 where the rank is not k."""
    r, n = x.shape
    k = latents.shape[0]
    if k > n:
        return -1.0
    rows = np.empty((k, n))
    upper = np.empty((k, k))
    for i in range(k):
        for j in range(n):
            rows[i, j] = latents[i, j]
    if not _orthogonal(rows, upper):
        return -1.0
    gemm((T, N, k, r, n, 1.0, rows, n, x, n, 0.0, g, k))
    trsm((L, U, N, N, k, r, 1.0, upper, k, g, k))
    miss = np.empty((r, n))
    gemm((N, N, n, r, k, 1.0, latents, n, g, k, 0.0, miss, n))
    total = 0.0
    for i in range(r):
        for j in range(n):
            error = x[i, j] - miss[i, j]
            total += error * error
    return total


@kernel
def _fit_latents(x, g, latents, n_pairs):
    """Write ``pinv(g) @ x`` to ``latents``, beyond the pairs; False where the rank is not full."""
    r, k = g.shape
    m = x.shape[1] - n_pairs
    tall = r >= k
    least = k if tall else r
    rows = np.empty((k, r) if tall else (r, k))
    for i in range(r):
        for j in range(k):
            if tall:
                rows[j, i] = g[i, j]
            else:
                rows[i, j] = g[i, j]
    upper = np.empty((least, least))
    if not _orthogonal(rows, upper):
        return False
    unpaired = np.empty((m, r))
    for i in range(r):
        for j in range(m):
            unpaired[j, i] = x[i, n_pairs + j]
    found = np.empty((m, k))
    if tall:
        gemm((T, N, k, m, r, 1.0, rows, r, unpaired, r, 0.0, found, k))
        trsm((L, U, N, N, k, m, 1.0, upper, k, found, k))
    else:
        trsm((L, U, T, N, r, m, 1.0, upper, r, unpaired, r))
        gemm((N, N, k, m, r, 1.0, rows, k, unpaired, r, 0.0, found, k))
    for i in range(k):
        for j in range(m):
            latents[i, n_pairs + j] = found[j, i]
    return True


def free_latents(x, z_pairs, z_free, tolerance, max_iter, history):
    """Alternate between the latents of the unpaired samples and the generator.

    Parameters
    ----------
    x : array (r, n)
        Data, paired samples first.
    z_pairs : array (k, n_pairs)
        Fixed latents.
    z_free : array (k, n - n_pairs)
        First latents of the others.
    tolerance, max_iter
        Stop when a sweep gains no more than this share of the objective (plus rounding).
    history : array (max_iter,)
        Objective ``||x - G [z_pairs, z_free]||^2`` after every sweep.

    Returns
    -------
    g : array (r, k)
    n_iter : int
    converged : bool
    """
    n_pairs = z_pairs.shape[1]
    x, latents = np.ascontiguousarray(x), np.concatenate((z_pairs, z_free), axis=1)
    rounding = 1e-15 * float((x * x).sum())
    g = np.empty((x.shape[0], len(latents)))
    for step in range(max_iter):
        objective = _fit_generator(x, latents, g)
        if objective < 0:
            g[:] = x @ np.linalg.pinv(latents)
            objective = float(np.square(x - g @ latents).sum())
        history[step] = objective
        if step and history[step - 1] - objective <= tolerance * objective + rounding:
            return g, step + 1, True
        if objective <= rounding:
            return g, step + 1, True
        if step + 1 < max_iter and not _fit_latents(x, g, latents, n_pairs):
            latents[:, n_pairs:] = np.linalg.pinv(g) @ x[:, n_pairs:]
    return g, max_iter, False
