"""Alternating minimisations of the semi-supervised problems, one cell (trial, k) to a call.

Coordinates are chosen by the caller so that the pair term is diagonal: rows along the principal
axes of the data, columns along the singular directions of the paired latents and their complement.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel
from .polar import polar

# Sums in any order, so that they fill vector registers; infinities and NaN keep their meaning.
_SUMS = {"reassoc", "contract"}


@kernel(fastmath=_SUMS)
def _evaluate(g, cross, sigma, root, weight, image, basis, known):
    """Objective at g and, in ``image``, the minimiser of its quadratic majoriser there.

    ``basis`` and ``known`` as for ``polar``; the new ``known`` is returned beside the objective.
    """
    r, q = g.shape
    p = sigma.size
    scaled = np.empty((r, q))
    objective = 0.0
    for i in range(r):
        for j in range(q):
            scaled[i, j] = root[i] * g[i, j]
            objective += g[i, j] * g[i, j]
    factor, nuclear, known = polar(scaled, basis, known)
    objective -= 2 * nuclear
    pinned = np.isinf(weight)
    for i in range(r):
        for j in range(p):
            if pinned:
                image[i, j] = cross[i, j] / sigma[j]
            else:
                miss = cross[i, j] - g[i, j] * sigma[j]
                objective += weight * miss * miss
                image[i, j] = (weight * cross[i, j] * sigma[j] + root[i] * factor[i, j]) / (
                    weight * sigma[j] * sigma[j] + 1
                )
        for j in range(p, q):
            image[i, j] = root[i] * factor[i, j]
    return objective, known


@kernel(fastmath=_SUMS)
def _dot(a, b):
    total = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            total += a[i, j] * b[i, j]
    return total


@kernel(fastmath=_SUMS)
def _add(a, factor, b):
    """Add ``factor * b`` to ``a``."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[i, j] += factor * b[i, j]


@kernel(fastmath=_SUMS)
def _scaled_dot(a, b, metric):
    """Inner product of a and b over the column weights ``metric``."""
    total = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            total += a[i, j] * b[i, j] / metric[j]
    return total


@kernel(fastmath=_SUMS)
def _two_loops(gradient, metric, steps, changes, products, used, newest):
    """L-BFGS direction from the last ``used`` pairs, ``metric`` (q,) the Hessian it starts from.

    ``products`` holds the inner product of each step with its change of gradient.
    """
    memory = steps.shape[0]
    direction = gradient.copy()
    share = np.empty(memory)
    for back in range(used):
        at = (newest - back) % memory
        share[at] = _dot(steps[at], direction) / products[at]
        _add(direction, -share[at], changes[at])
    scale = 1.0
    if used:
        scale = products[newest] / _scaled_dot(changes[newest], changes[newest], metric)
    for i in range(direction.shape[0]):
        for j in range(direction.shape[1]):
            direction[i, j] *= scale / metric[j]
    for back in range(used - 1, -1, -1):
        at = (newest - back) % memory
        turn = _dot(changes[at], direction) / products[at]
        _add(direction, share[at] - turn, steps[at])
    return direction


@kernel(fastmath=_SUMS)
def _advance(here, there, image, metric, gradient, step, change):
    """Write the step from here to there and its change of gradient; renew ``gradient``.

    Returns the inner product of both, their squared lengths, and what the majoriser at ``there``,
    minimised by ``image``, would gain.
    """
    product = moved = turned = left = 0.0
    for i in range(here.shape[0]):
        for j in range(here.shape[1]):
            gap = there[i, j] - image[i, j]
            slope = metric[j] * gap
            s = there[i, j] - here[i, j]
            y = slope - gradient[i, j]
            gradient[i, j] = slope
            step[i, j] = s
            change[i, j] = y
            product += s * y
            moved += s * s
            turned += y * y
            left += slope * gap
    return product, moved, turned, left


@kernel
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
    here = start.copy()
    metric = np.ones(q)
    for j in range(sigma.size):
        if np.isinf(weight):
            here[:, j] = cross[:, j] / sigma[j]
        else:
            metric[j] = weight * sigma[j] * sigma[j] + 1
    scale = constant + (root * root).sum()
    rounding = 1e-15 * scale
    memory = 5
    steps = np.empty((memory, r, q))
    changes = np.empty((memory, r, q))
    products = np.empty(memory)
    used, newest = 0, -1
    image = np.empty((r, q))
    basis = np.empty((min(r, q), min(r, q)))
    value, known = _evaluate(here, cross, sigma, root, weight, image, basis, False)
    value += constant
    history[0] = value
    gradient = metric * (here - image)
    for step in range(1, max_iter + 1):
        there = here - _two_loops(gradient, metric, steps, changes, products, used, newest)
        next_image = np.empty((r, q))
        found, known = _evaluate(there, cross, sigma, root, weight, next_image, basis, known)
        if not found + constant <= value + rounding and used:
            used = 0
            there = image
            next_image = np.empty((r, q))
            found, known = _evaluate(there, cross, sigma, root, weight, next_image, basis, known)
        found += constant
        if not found <= value + rounding:  # the alternation's step: rounding is in the way
            history[step] = value
            return here, step, True
        history[step] = found
        gain, value = value - found, found
        slot = (newest + 1) % memory
        product, moved, turned, left = _advance(
            here, there, next_image, metric, gradient, steps[slot], changes[slot]
        )
        if product > 1e-12 * np.sqrt(moved * turned):
            newest = slot
            used = min(used + 1, memory)
            products[slot] = product
        else:  # the slot held the oldest pair of a full memory
            used = min(used, memory - 1)
        here, image = there, next_image
        # The objective is a difference, resolved to rounding; what the alternation would gain from
        # here, ``left``, is a sum of squares and tells progress far below that.
        share = tolerance * max(found, 0.0)
        if gain <= share + rounding and left <= share + 1e-18 * scale:
            return here, step, True
    return here, max_iter, False


@kernel
def _solve_left(a, b):
    """``pinv(a) @ b``, by QR where a has full rank."""
    tall = a.shape[0] >= a.shape[1]
    q, r = np.linalg.qr(a if tall else np.ascontiguousarray(a.T))
    size = np.abs(np.diag(r))
    if size.min() <= 1e-10 * size.max():
        return np.dot(np.ascontiguousarray(np.linalg.pinv(a)), b)
    q = np.ascontiguousarray(q)
    if tall:
        return np.linalg.solve(r, np.dot(np.ascontiguousarray(q.T), b))
    return np.dot(q, np.linalg.solve(np.ascontiguousarray(r.T), b))


@kernel
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
    latents = np.empty((z_pairs.shape[0], x.shape[1]))
    latents[:, :n_pairs] = z_pairs
    latents[:, n_pairs:] = z_free
    unpaired = np.ascontiguousarray(x[:, n_pairs:])
    rounding = 1e-15 * (x * x).sum()
    target = np.ascontiguousarray(x.T)
    g = np.empty((x.shape[0], z_pairs.shape[0]))
    for step in range(max_iter):
        g = np.ascontiguousarray(_solve_left(np.ascontiguousarray(latents.T), target).T)
        miss = x - np.dot(g, latents)
        history[step] = (miss * miss).sum()
        if step and history[step - 1] - history[step] <= tolerance * history[step] + rounding:
            return g, step + 1, True
        if history[step] <= rounding:
            return g, step + 1, True
        if step + 1 < max_iter:
            latents[:, n_pairs:] = _solve_left(g, unpaired)
    return g, max_iter, False
