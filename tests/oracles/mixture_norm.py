"""The oracle of mixture normalization: formulas as they read. NumPy only, slow.

Points are (n, d), posteriors (n, K), weights (K,), means and variances (K, d).
"""

import numpy as np


def log_joint(x, weights, means, variances):
    """log lambda_k N(x; m_k, diag v_k), (n, K)."""
    difference = x[:, None, :] - means
    exponent = -0.5 * (difference**2 / variances).sum(2)
    return np.log(weights) + exponent - 0.5 * np.log(2 * np.pi * variances).sum(1)


def log_density(x, weights, means, variances):
    """Log density of the mixture at each point."""
    joint = log_joint(x, weights, means, variances)
    top = joint.max(1, keepdims=True)
    return (top + np.log(np.exp(joint - top).sum(1, keepdims=True)))[:, 0]


def shares(x, weights, means, variances):
    """Posteriors of the components at each point."""
    joint = log_joint(x, weights, means, variances)
    return np.exp(joint - log_density(x, weights, means, variances)[:, None])


def share_moments(x, nu):
    """Weights, means and variances of the components that posteriors nu make."""
    part = nu / nu.sum(0)
    means = part.T @ x
    variances = np.stack([s @ (x - m) ** 2 for s, m in zip(part.T, means, strict=True)])
    return nu.mean(0), means, variances


def em(x, weights, means, variances, steps, eps):
    """The mixture after some steps and the posteriors of the last; eps widens the densities."""
    for _ in range(steps):
        nu = shares(x, weights, means, variances + eps)
        weights, means, variances = share_moments(x, nu)
    return nu, weights, means, variances


def normalized(x, nu, eps):
    """xhat_i^k, (K, n, d): what each component makes of each point."""
    shares = nu / nu.sum(0)
    out = []
    for share in shares.T:
        v = x - share @ x
        out.append(v / np.sqrt(share @ v**2 + eps))
    return np.stack(out)


def mixture_norm(x, nu, eps=1e-5):
    """MN(x_i), weights being the means of the posteriors."""
    return np.einsum("ik,kid->id", nu / np.sqrt(nu.mean(0)), normalized(x, nu, eps))


def mixture_norm_gradient(x, nu, gradient, eps=1e-5, step=1e-30):
    """Gradient of sum(gradient * MN(x)) by complex steps, one number of x at a time."""
    out = np.empty_like(x)
    for index in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[index] += 1j * step
        out[index] = (gradient * mixture_norm(moved, nu, eps)).sum().imag / step
    return out


# --- sums over activations (B, C, P), posteriors (B, K, P) ----------------------------------------


def em_sums(x, nu, means):
    """Sums of nu and nu^2, (2, K); of nu (x - m) and nu (x - m)^2, (2, C, K)."""
    gaps = x[:, None] - means[:, :, None]  # (B, K, C, P)
    counts = np.stack([nu.sum((0, 2)), (nu**2).sum((0, 2))])
    sums = [np.einsum("bkp,bkcp->ck", nu, gaps**power) for power in (1, 2)]
    return counts, np.stack(sums)


def transform(x, nu, means, scales, bias):
    """sum_k nu_k (x - m_k) scale_k + bias."""
    gaps = x[:, None] - means[:, :, None]
    return np.einsum("bkp,bkcp,kc->bcp", nu, gaps, scales) + bias[:, None]


def gradient_sums(x, gradient, nu, means):
    """Sums of nu g and nu g (x - m), (2, C, K)."""
    gaps = x[:, None] - means[:, :, None]
    first = np.einsum("bkp,bcp->ck", nu, gradient)
    return np.stack([first, np.einsum("bkp,bcp,bkcp->ck", nu, gradient, gaps)])


def input_gradient(x, gradient, nu, means, scales, offsets, slopes):
    """sum_k nu_k (scale_k g - offset_k - slope_k (x - m_k))."""
    gaps = x[:, None] - means[:, :, None]
    inner = scales[:, :, None] * gradient[:, None] - offsets[:, :, None] - slopes[:, :, None] * gaps
    return np.einsum("bkp,bkcp->bcp", nu, inner)


# --- mutants: what others compute ----------------------------------------------------------------


def without_root_weights(x, nu, eps=1e-5):
    return np.einsum("ik,kid->id", nu, normalized(x, nu, eps))


def squares_of_shares(x, nu, eps=1e-5):
    """(nuhat x)^2 in place of v^2 in the variance."""
    shares = nu / nu.sum(0)
    out = 0
    for k, share in enumerate(shares.T):
        v = x - share @ x
        variance = (share[:, None] * (share[:, None] * x) ** 2).sum(0)
        out = out + (nu[:, k] / np.sqrt(nu[:, k].mean()))[:, None] * v / np.sqrt(variance + eps)
    return out


def shares_without_normalization(x, weights, means, variances):
    """Posteriors without the density's v^(-1/2)."""
    joint = log_joint(x, weights, means, variances) + 0.5 * np.log(variances).sum(1)
    joint = np.exp(joint - joint.max(1, keepdims=True))
    return joint / joint.sum(1, keepdims=True)


def divided_by_share_mean(x, nu, eps=1e-5):
    """Posteriors over their batch mean, on top of nuhat."""
    return np.einsum("ik,kid->id", nu / nu.mean(0), normalized(x, nu, eps))


# --- data ----------------------------------------------------------------------------------------


def bimodal(seed=0, n=20_000):
    """The note's example: 0.3 N(-3, 0.5^2) + 0.7 N(3, 1)."""
    rng = np.random.default_rng(seed)
    left = rng.random(n) < 0.3
    return np.where(left, rng.normal(-3, 0.5, n), rng.normal(3, 1, n))[:, None], left


def clusters(shape, n_components=3, seed=0):
    """Activations (B, C, ...) whose positions belong to clusters."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_components, size=(shape[0], *shape[2:]))
    centers = rng.normal(0, 3, (n_components, shape[1]))
    return np.moveaxis(centers[labels], -1, 1) + rng.standard_normal(shape)


def mixture(n_components, channels, seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(n_components, 20.0))
    return (
        weights,
        rng.normal(0, spread, (n_components, channels)),
        rng.uniform(0.5, 2, (n_components, channels)),
    )
