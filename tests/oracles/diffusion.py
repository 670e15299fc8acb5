"""Local sampling and the exact score of a finite set in plain NumPy: for ``fastgen.diffusion``."""

from __future__ import annotations

import itertools

import numpy as np


def linear_schedule(n_steps=1000):
    """``alphas_cumprod`` of the betas of DDPM."""
    return np.cumprod(1 - np.linspace(1e-4, 0.02, n_steps))


def gaussian_limits(lam, kept):
    """Stochastic and deterministic E (x' - x)^2 of a Gaussian, in the paper's symbols."""
    rho = kept * lam / (kept * lam + 1 - kept)
    return 2 * lam * (1 - rho), 2 * lam * (1 - np.sqrt(rho))


def chain_moments(lam, kept, steps, eta, start=None):
    """E (x' - x)^2 and Var x' of a list of steps, with the noise predictor of a Gaussian.

    ``start`` is the ``(gain, variance)`` of the noised point: mutants noise it in other ways.
    """
    levels = [kept[i] for i in steps] + [1.0]
    g, v = start or (np.sqrt(levels[0]), 1 - levels[0])
    for ab, below in itertools.pairwise(levels):
        ce = np.sqrt(1 - ab) / (ab * lam + 1 - ab)
        cx = (1 - np.sqrt(1 - ab) * ce) / np.sqrt(ab)
        s2 = eta**2 * (1 - below) / (1 - ab) * (1 - ab / below)
        factor = np.sqrt(below) * cx + np.sqrt(1 - below - s2) * ce
        g, v = factor * g, factor**2 * v + s2
    return (g - 1) ** 2 * lam + v, g**2 * lam + v


def softmax_weights(z, points, sigma):
    """Weights (B, N) of the points in the posterior mean of each z."""
    squares = ((z[:, None] - points[None]) ** 2).sum(2)
    logits = -squares / (2 * np.asarray(sigma).reshape(-1, 1) ** 2)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def weighted_means(z, points, sigma):
    """Posterior means (B, d): the exact denoiser of a finite set."""
    return softmax_weights(z, points, sigma) @ points


def transitions(points, sigma, rng, n=40_000):
    """Kernel of local sampling a finite set: the average weight of j over noised copies of i."""
    rows = []
    for point in points:
        z = point + sigma * rng.standard_normal((n, points.shape[1]))
        rows.append(softmax_weights(z, points, np.full(n, sigma)).mean(0))
    return np.array(rows)


def denoiser_trial(lam, sigma, n, rng, frozen, width=None):
    """Test error per dimension of a linear noise predictor fitted to n samples, once.

    ``frozen`` is the share of the loss on one noise per sample; 1 takes the least norm.
    """
    d = len(lam)
    width = width or d
    kept = 1 / (1 + sigma**2)
    x = np.sqrt(lam)[:, None] * rng.standard_normal((d, n))
    noise = np.sqrt(1 - kept)
    e = rng.standard_normal((d, n))
    noisy = (np.sqrt(kept) * x + noise * e)[:width]
    if frozen == 1:
        w = e @ np.linalg.pinv(noisy)
    else:
        fresh = kept * x[:width] @ x[:width].T / n + (1 - kept) * np.eye(width)
        goal = (1 - frozen) * noise * np.eye(d, width) + frozen * e @ noisy.T / n
        w = goal @ np.linalg.inv((1 - frozen) * fresh + frozen * noisy @ noisy.T / n)
    w = np.hstack([w, np.zeros((d, d - width))])
    total = np.diag(kept * lam + 1 - kept)
    return np.trace(np.eye(d) - 2 * noise * w + w @ total @ w.T) / d
