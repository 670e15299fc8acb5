"""The oracle of Gaussian Wasserstein distances: formulas as they read. NumPy only, slow.

Matrices follow the mathematics: a factor is ``(d, n)``, a covariance ``(d, d)``.
"""

import itertools

import numpy as np


def root(covariance):
    """Symmetric square root; negative eigenvalues are rounding."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def overlap(cov1, cov2):
    """tr (A^{1/2} B A^{1/2})^{1/2}."""
    half = root(cov1)
    return np.sqrt(np.clip(np.linalg.eigvalsh(half @ cov2 @ half), 0, None)).sum()


def bures(cov1, cov2):
    """Covariance part of the squared 2-Wasserstein distance of Gaussians."""
    return np.trace(cov1) + np.trace(cov2) - 2 * overlap(cov1, cov2)


def bures_2x2(cov1, cov2):
    """The same in two dimensions, without a decomposition."""
    inside = np.trace(cov1 @ cov2) + 2 * np.sqrt(np.linalg.det(cov1) * np.linalg.det(cov2))
    return np.trace(cov1) + np.trace(cov2) - 2 * np.sqrt(inside)


def bures_factors(left, right):
    """From factors (d, n) of the covariances."""
    nuclear = np.linalg.svd(left.T @ right, compute_uv=False).sum()
    return (left**2).sum() + (right**2).sum() - 2 * nuclear


def dense(band):
    """The symmetric matrix of a band (n, width + 1), whose row j holds entries (j + i, j)."""
    n = len(band)
    out = np.zeros((n, n))
    for j in range(n):
        for i in range(min(band.shape[1], n - j)):
            out[j + i, j] = out[j, j + i] = band[j, i]
    return out


def to_band(matrix, width):
    """Givens rotations clear the columns from their ends up."""
    a = np.array(matrix)
    n = len(a)
    for j in range(n):
        for i in range(n - 1, j + width, -1):
            size = np.hypot(a[i - 1, j], a[i, j])
            if size > 0:
                c, s = a[i - 1, j] / size, a[i, j] / size
                rotation = np.array([[c, s], [-s, c]])
                a[i - 1 : i + 1] = rotation @ a[i - 1 : i + 1]
                a[:, i - 1 : i + 1] = a[:, i - 1 : i + 1] @ rotation.T
    band = np.zeros((n, width + 1))
    for i in range(min(width + 1, n)):
        band[: n - i, i] = a.diagonal(-i)
    return band


def log_determinants(band, scales, shifts):
    """Of ``scale * B + shift``, NaN where that is not positive definite."""
    values = np.linalg.eigvalsh(dense(band))
    found = []
    for scale, shift in zip(scales, shifts, strict=True):
        moved = scale * values + shift
        found.append(np.log(moved).sum() if moved.min() > 0 else np.nan)
    return np.array(found)


def root_trace(band):
    """Sum of the square roots of the eigenvalues."""
    return np.sqrt(np.clip(np.linalg.eigvalsh(dense(band)), 0, None)).sum()


def pair_nuclear_norms(rows, starts, pairs):
    """Nuclear norms of products of row blocks."""
    blocks = [rows[a:b] for a, b in itertools.pairwise(starts)]
    return np.array(
        [np.linalg.svd(blocks[a] @ blocks[b].T, compute_uv=False).sum() for a, b in pairs]
    )


def costs(means1, covs1, means2, covs2):
    """Squared distances of all pairs of Gaussians."""
    return np.array(
        [
            [((m - n) ** 2).sum() + bures(a, b) for n, b in zip(means2, covs2, strict=True)]
            for m, a in zip(means1, covs1, strict=True)
        ]
    )


def transport(p, q, cost):
    """Discrete optimal transport: value and plan, by the simplex method as textbooks have it."""
    rows, columns = cost.shape
    sums = [np.kron(np.eye(rows)[i], np.ones(columns)) for i in range(rows)]
    sums += [np.kron(np.ones(rows), np.eye(columns)[j]) for j in range(columns - 1)]
    sums, wanted, price = np.array(sums), np.concatenate((p, q[:-1])), cost.ravel()
    basis = _northwest(p, q)
    while True:
        inverse = np.linalg.inv(sums[:, basis])
        value = inverse @ wanted
        gain = price - price[basis] @ inverse @ sums
        entering = np.flatnonzero(gain < -1e-12 * np.abs(price).max())
        if not len(entering):
            break
        direction = inverse @ sums[:, entering[0]]  # Bland's rule: the first that gains
        ratios = np.where(
            direction > 1e-12, value / np.where(direction > 1e-12, direction, 1), np.inf
        )
        ties = np.flatnonzero(ratios <= ratios.min() + 1e-15)
        basis[min(ties, key=lambda at: basis[at])] = entering[0]
    plan = np.zeros(cost.size)
    plan[basis] = value.clip(0)
    return plan @ price, plan.reshape(cost.shape)


def _northwest(p, q):
    """Positions of a first plan: each cell in turn takes what its row and column have left."""
    i = j = 0
    left, right = p[0], q[0]
    found = [0]
    while len(found) < len(p) + len(q) - 1:
        if j == len(q) - 1 or (i < len(p) - 1 and left <= right):
            i, left, right = i + 1, p[i + 1], right - left
        else:
            j, left, right = j + 1, left - right, q[j + 1]
        found.append(i * len(q) + j)
    return found


def mixture_moments(weights, means, covs):
    """Mean and covariance of a mixture."""
    mean = weights @ means
    second = np.einsum("k,kij->ij", weights, covs) + np.einsum("k,ki,kj->ij", weights, means, means)
    return mean, second - np.outer(mean, mean)


def gaussian_map(cov1, cov2):
    """Linear part of the optimal map between Gaussians; ``cov1`` invertible."""
    half = root(cov1)
    inverse = np.linalg.inv(half)
    return inverse @ root(half @ cov2 @ half) @ inverse


def posterior(x, weights, means, covs):
    """Probability (n, K) of each component at each row of x."""
    density = [
        w
        * np.exp(-0.5 * np.einsum("ni,ij,nj->n", x - m, np.linalg.inv(c), x - m))
        / np.sqrt(np.linalg.det(2 * np.pi * c))
        for w, m, c in zip(weights, means, covs, strict=True)
    ]
    return np.array(density).T / np.sum(density, axis=0)[:, None]


def mean_map(x, plan, first, second):
    """T_mean of a plan between mixtures (weights, means, covariances)."""
    chance = posterior(x, *first) / first[0]
    out = np.zeros_like(x)
    for i, j in itertools.product(range(plan.shape[0]), range(plan.shape[1])):
        image = second[1][j] + (x - first[1][i]) @ gaussian_map(first[2][i], second[2][j])
        out += plan[i, j] * chance[:, i, None] * image
    return out


def gaussian_barycenter(covs, weights, n_iter=500):
    """Fixed point of S = sum w_j (S^{1/2} C_j S^{1/2})^{1/2}, iterated as it reads."""
    mean = np.einsum("j,jkl->kl", weights, covs)
    for _ in range(n_iter):
        half = root(mean)
        mean = sum(w * root(half @ c @ half) for w, c in zip(weights, covs, strict=True))
    return mean
