"""Mode coverage in plain NumPy: the oracle of ``fastgen.modes``."""

from __future__ import annotations

import itertools
import math

import numpy as np


def pairwise(x):
    """Euclidean distances (n, n)."""
    x = np.asarray(x, float)
    return np.sqrt(((x[:, None] - x[None]) ** 2).sum(2))


def asymmetry(distances):
    """Largest difference of mirrored entries, both extremes, and whether all are finite."""
    worst = np.abs(distances - distances.T).max()
    return worst, distances.max(), distances.min(), np.isfinite(distances).all()


def set_distances(distances, sets):
    """Distance of every point to the nearest member of every set (n, n_sets); 0 to an empty set."""
    out = np.zeros((len(distances), len(sets)))
    for i, j in itertools.product(range(len(distances)), range(len(sets))):
        members = np.flatnonzero(sets[j])
        if len(members):
            out[i, j] = distances[i, members].min()
    return out


def farthest_member(distances, sets):
    """Mutant of ``set_distances``: the farthest member instead of the nearest."""
    return np.stack([distances[:, s].max(1) if s.any() else distances[:, 0] * 0 for s in sets], 1)


def draw_sets(n, n_sets, rng, probability=lambda i: 2.0**-i):
    """Random sets (scales * n_sets, n): ``n_sets`` of each scale, sparser from scale to scale."""
    scales = range(1, math.ceil(math.log2(n)) + 1)
    return np.concatenate([rng.random((n_sets, n)) < probability(i) for i in scales])


def pair_ratios(z, distances):
    """Distances in the embedding over those given, of all pairs that are apart."""
    upper = np.triu_indices(len(distances), 1)
    given, found = distances[upper], pairwise(z)[upper]
    return found[given > 0] / given[given > 0]


def lipschitz_ratio(g, distances):
    """Return max of ||g(x) - g(y)|| / (sqrt(k) dist(x, y)): at most 1 for sound coordinates."""
    return pair_ratios(g, distances).max() / math.sqrt(g.shape[1])


def project_and_rescale(g, distances, projection):
    """Gaussian matrix (q, k), then division by the smallest ratio: 1 <= ratio <= alpha."""
    h = g @ projection.T
    ratios = pair_ratios(h, distances)
    with np.errstate(divide="ignore", invalid="ignore"):
        return h / ratios.min(), ratios.max() / ratios.min()


def centered_and_scaled(g, distances):
    """Embedding of the authors' code, and its scale factor s."""
    z = g - g.mean(0)
    z = z / (np.linalg.norm(z) / math.sqrt(len(z))) * math.sqrt(z.shape[1])
    return z, math.sqrt(1 / pair_ratios(z, distances).min())


def log_pairwise(distances):
    """Logarithms of the distances of all pairs that are apart, in order."""
    upper = distances[np.triu_indices(len(distances), 1)]
    return np.sort(np.log(upper[upper > 0]))


def lpdd_distance(first, second, center=False):
    """W1 of two samples of one size: mean difference of their order statistics."""
    a, b = np.sort(first), np.sort(second)
    if center:
        a, b = a - a.mean(), b - b.mean()
    return np.abs(a - b).mean()


# --- multiplicative weights ----------------------------------------------------------------------


def prefix_generator(probabilities, gamma, slack=1e-12):
    """Drop the longest prefix of mass at most gamma; the rest in proportion to its mass."""
    dropped = int((np.cumsum(probabilities) <= gamma + slack).sum())
    made = probabilities.copy()
    made[:dropped] = 0
    return made / made.sum()


def multiplicative_weights(n, n_rounds, generator, rule="mwu", threshold=0.25):
    """Return mixture ratios g/p, the bound, uncovered rounds and rho of each round.

    ``generator(p_t)`` returns the masses that the generator of a round gives the points. ``rule``
    is "mwu", or a fault: "never", "forgets_share" (tests g_t / p_t), "doubles_covered".
    """
    weights, total, counts, missed = np.ones(n), np.zeros(n), np.zeros(n, int), []
    for _ in range(n_rounds):
        p_t = weights / weights.sum()
        g_t = generator(p_t)
        ratio = g_t * n
        uncovered = ratio < threshold
        missed.append(p_t[uncovered].sum())
        counts += uncovered
        total += ratio
        if rule == "mwu":
            weights = np.where(uncovered, 2 * weights, weights)
        elif rule == "forgets_share":
            weights = np.where(g_t / p_t < threshold, 2 * weights, weights)
        elif rule == "doubles_covered":
            weights = np.where(uncovered, weights, 2 * weights)
    return total / n_rounds, guarantee(n, missed, threshold), counts, np.array(missed)


def guarantee(n, missed, threshold=0.25):
    """Bound of g/p at every point after ``len(missed)`` rounds."""
    rounds = len(missed)
    spent = math.log2(n) / rounds + np.log2(1 + np.asarray(missed)).mean()
    return max(threshold * (1 - spent), 0.0)


# --- report --------------------------------------------------------------------------------------


def mode_shares(samples, centers, scale, weights=None, quality=3.0, fair=0.2):
    """Touched, filled, low-quality share and total variation, by loops."""
    k = len(centers)
    weights = np.full(k, 1 / k) if weights is None else np.asarray(weights) / np.sum(weights)
    scale = np.broadcast_to(scale, k)
    touched, good = set(), np.zeros(k)
    for row in samples:
        far = np.sqrt(((centers - row) ** 2).sum(1))
        mode = int(far.argmin())
        if far[mode] <= quality * scale[mode]:
            good[mode] += 1
            touched.add(mode)
    n_good = good.sum()
    shares = good / max(n_good, 1)
    filled = int((n_good > 0) and (good >= fair * weights * n_good).sum())
    variation = 0.5 * np.abs(shares - weights).sum() if n_good else 1.0
    return len(touched), filled, 1 - n_good / len(samples), variation


def exact_transport(x, y):
    """W1 of two small samples of one size by trying every assignment."""
    cost = np.sqrt(((np.asarray(x)[:, None] - np.asarray(y)[None]) ** 2).sum(2))
    rows = range(len(cost))
    return min(
        np.mean([cost[i, j] for i, j in zip(rows, order, strict=True)])
        for order in itertools.permutations(rows)
    )


def energy_distance(x, y):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| with all pairs, those of a point with itself included."""

    def mean(a, b):
        return np.mean([np.linalg.norm(p - q) for p in a for q in b])

    return 2 * mean(x, y) - mean(x, x) - mean(y, y)
