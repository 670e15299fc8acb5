"""What is known of local sampling and of linear denoisers without running a network.

Local sampling (Boomerang: Luzi et al., arXiv 2210.12100) noises a point x to the level sigma and
samples back to x'. Levels are relative to the signal: ``sigma = sqrt((1 - a) / a)`` where a is the
schedule's ``alphas_cumprod``, and ``sigma = s / (1 - s)`` at time s of flow matching.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .. import _validate
from .schedules import noise_levels

__all__ = [
    "chain_distance",
    "distance_from_mmse",
    "gaussian_distance",
    "gaussian_mmse",
    "intrinsic_dimension",
    "linear_denoiser_error",
]


def gaussian_mmse(variances: Any, sigma: Any) -> np.ndarray:
    """Return the least mean squared error of denoising a Gaussian, direction by direction.

    Parameters
    ----------
    variances : array
        Variances of the data along its principal directions.
    sigma : array
        Noise levels; both are broadcast.

    Returns
    -------
    float64 array
        ``v sigma^2 / (v + sigma^2)``.

    Raises
    ------
    ValueError
        If a value is negative or not finite.

    Examples
    --------
    >>> from fastgen.diffusion import laws
    >>> float(laws.gaussian_mmse(1.0, 1.0))
    0.5
    """
    v, s = _levels(variances, "variances"), _levels(sigma, "sigma") ** 2
    total = v + s
    return np.divide(v * s, total, out=np.zeros(total.shape), where=total > 0)


def gaussian_distance(variances: Any, sigma: Any, *, eta: float = 1.0) -> np.ndarray:
    """Return ``E (x' - x)^2`` of local sampling a Gaussian, in the limit of many steps.

    With ``r = v / (v + sigma^2)`` it is ``2 v (1 - r)`` for stochastic sampling and
    ``2 v (1 - sqrt(r))`` for deterministic sampling, which always stays closer.

    Parameters
    ----------
    variances, sigma
        As for `gaussian_mmse`.
    eta : {1.0, 0.0}
        Stochastic or deterministic reverse sampling. What lies between has no limit: any share of
        noise is lost in ever finer steps; see `chain_distance`.

    Returns
    -------
    float64 array
        Mean squared distances, direction by direction.

    Raises
    ------
    ValueError
        For another ``eta``, or as `gaussian_mmse`.

    Examples
    --------
    >>> from fastgen.diffusion import laws
    >>> [round(float(laws.gaussian_distance(3.0, 1.0, eta=eta)), 4) for eta in (1, 0)]
    [1.5, 0.8038]
    """
    if eta not in (0, 1):
        raise ValueError(f"eta must be 0 or 1, got {eta}; use chain_distance for a list of steps")
    stochastic = 2 * gaussian_mmse(variances, sigma)
    if eta == 1:
        return stochastic
    v, s = _levels(variances, "variances"), _levels(sigma, "sigma") ** 2
    total = v + s
    root = np.sqrt(np.divide(v, total, out=np.ones(total.shape), where=total > 0))
    return stochastic / (1 + root)  # 2 v (1 - root) without the cancellation


def chain_distance(
    variances: Any, alphas_cumprod: Any, steps: Any, *, eta: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return exact moments of local sampling a Gaussian with a given list of steps.

    With the exact denoiser of a Gaussian every step is linear, so that the moments of the whole
    chain follow from a recursion over its steps.

    Parameters
    ----------
    variances : array
        Variances of the data along its principal directions.
    alphas_cumprod : array (T,)
    steps : array of int
        Indices into ``alphas_cumprod`` that fall: the first is what is noised to, after the last
        one comes the clean point.
    eta : float, default 1.0
        Share of the noise of the ancestral (DDPM) chain: 1 is that chain, 0 is DDIM.

    Returns
    -------
    distance, variance : float64 array
        ``E (x' - x)^2`` and ``Var x'``, direction by direction.

    Raises
    ------
    ValueError
        If ``steps`` is empty, does not fall or leaves the schedule, or ``eta`` is not in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.diffusion import alphas_cumprod, laws
    >>> distance, _ = laws.chain_distance(4.0, alphas_cumprod("linear"), range(100, -1, -1))
    >>> round(float(distance), 4)
    0.2234
    """
    v = _levels(variances, "variances")
    sigmas = noise_levels(alphas_cumprod)
    indices = np.asarray(list(steps), dtype=np.int64)
    if not len(indices) or (np.diff(indices) >= 0).any():
        raise ValueError("steps must be indices that fall, at least one of them")
    if indices[0] >= len(sigmas) or indices[-1] < 0:
        raise ValueError(
            f"steps must lie in 0..{len(sigmas) - 1}, got {indices[0]} to {indices[-1]}"
        )
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    levels = np.append(sigmas[indices], 0.0)
    gain, spread = np.ones_like(v), np.full_like(v, levels[0] ** 2)
    for level, below in itertools.pairwise(levels):
        fresh = eta**2 * below**2 * (level**2 - below**2) / level**2
        share = v / (v + level**2)
        factor = share + np.sqrt(below**2 - fresh) / level * (1 - share)
        gain, spread = factor * gain, factor**2 * spread + fresh
    return (gain - 1) ** 2 * v + spread, gain**2 * v + spread


def distance_from_mmse(mmse: Any) -> np.ndarray:
    """Return ``E ||x' - x||^2`` of exact stochastic sampling, which is twice the denoising error.

    Given the noised point, x and x' are independent draws of one posterior. So the held-out error
    of a denoiser is a curve from noise levels to distances.

    Parameters
    ----------
    mmse : array
        Mean squared errors ``E ||x - D(x + sigma e, sigma)||^2`` of the best denoiser.

    Returns
    -------
    float64 array

    Examples
    --------
    >>> from fastgen.diffusion import laws
    >>> float(laws.distance_from_mmse(0.5))
    1.0
    """
    return 2 * _levels(mmse, "mmse")


def intrinsic_dimension(sigma: Any, squared_distances: Any) -> float:
    """Estimate the dimension of the data from distances at small noise.

    The posterior has variance ``sigma^2`` along the data and none across, so that
    ``E ||x' - x||^2`` is about ``2 m sigma^2``; m is fitted to the relative errors.

    Parameters
    ----------
    sigma : array (n,)
        Noise levels, small beside the scale on which the data bends.
    squared_distances : array (n,)
        Mean squared distances of stochastic local sampling, or twice the denoising errors.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the shapes differ or a value is not positive.

    Examples
    --------
    >>> from fastgen.diffusion import laws
    >>> round(laws.intrinsic_dimension([0.1, 0.2], [0.06, 0.24]), 6)
    3.0
    """
    s, found = np.broadcast_arrays(
        _levels(sigma, "sigma"), _levels(squared_distances, "squared_distances")
    )
    if np.shape(sigma) != np.shape(squared_distances):
        raise ValueError(
            "sigma and squared_distances must have one shape, got "
            f"{np.shape(sigma)} and {np.shape(squared_distances)}"
        )
    if not s.size or s.min() <= 0:
        raise ValueError("sigma must hold positive numbers, at least one")
    return float(np.mean(found / (2 * s**2)))


def linear_denoiser_error(
    variances: Any, sigma: float, n: Any, *, frozen: float = 0.0, width: Any = None
) -> Any:
    """Return the expected test error of a linear predictor of the noise, per dimension.

    The predictor minimizes ``||e - W x_t||^2`` over n samples of a centered Gaussian: in
    expectation over fresh noise, with one frozen noise per sample, of least norm where it is not
    unique, or a weighted sum of the two. It sees the ``width`` leading principal coordinates of the
    noisy data.

    Frozen noise alone makes it ordinary least squares: for ``n > width + 1`` the error is exactly
    ``(n - 1) / (n - width - 1)`` times that of the best predictor, it is infinite about
    ``n = width``, and falls again beyond. All else are deterministic equivalents of the random
    matrices (Bach, arXiv 2303.01372) with corrections for finite sizes: for frozen noise those that
    are exact for equal variances, for fresh noise the first one for real numbers, and the same in
    proportion for sums of both. They are within 2 % of the expectation at d = 32, and nearer for
    larger sizes. That the frozen pairs are those of the pseudo-supervised training of Luzi's thesis
    (Rice, 2024) is our reading: its text does not settle it.

    Parameters
    ----------
    variances : array (d,)
        Variances of the data along its principal directions.
    sigma : float
        Noise level; positive.
    n : int or array of int
        Training samples.
    frozen : float, default 0.0
        Share of the loss that is on one noise per sample, kept for the whole training, rather than
        on fresh noise; True is 1.
    width : int or array of int, optional
        Coordinates seen, at most d; all of them if not given. Broadcast with ``n``.

    Returns
    -------
    float or float64 array
        ``E ||e - W x_t||^2 / d`` for a new sample; infinite for frozen noise alone with n within
        one of ``width``.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.diffusion import laws
    >>> laws.linear_denoiser_error(np.ones(20), 1.0, [10, 20, 40], frozen=1).round(3)
    array([1.306,   inf, 1.026])
    >>> laws.linear_denoiser_error(np.ones(20), 1.0, [10, 20, 40], frozen=0.1).round(3)
    array([0.802, 0.667, 0.58 ])
    """
    v = np.sort(_levels(variances, "variances").reshape(-1))[::-1]
    sigma = _validate.number(sigma, "sigma")
    if sigma == 0 or not v.size:
        raise ValueError("sigma must be positive, and variances hold at least one number")
    share = float(frozen) if isinstance(frozen, bool) else _validate.number(frozen, "frozen")
    if share > 1:
        raise ValueError(f"frozen must lie in [0, 1], got {frozen}")
    counts, widths = np.broadcast_arrays(n, len(v) if width is None else width)
    found = np.empty(counts.shape)
    for at in np.ndindex(counts.shape):
        count = _validate.integer(counts[at], "n")
        seen = _validate.integer(widths[at], "width")
        if seen > len(v):
            raise ValueError(f"width must be at most the {len(v)} variances, got {seen}")
        found[at] = _denoiser_error(v[:seen], sigma, count, share, len(v) - seen)
    return found if found.ndim else float(found)


def _denoiser_error(v: np.ndarray, sigma: float, n: int, share: float, unseen: int) -> float:
    d = v.size + unseen
    if share == 1:
        return _frozen_error(v, sigma, n, unseen) / d
    fresh = _fresh_error(v, sigma, n) + unseen
    if share == 0:
        return fresh / d
    mixed, alone = (_mixed_error(v, sigma, n, part, unseen) for part in (share, 0.0))
    return mixed * fresh / alone / d


def _frozen_error(v: np.ndarray, sigma: float, n: int, unseen: int) -> float:
    """Sum of the errors of all outputs, of least squares with ``v.size`` features."""
    features = v + sigma**2  # variances of the noisy data over a
    best = float((v / features).sum()) + unseen
    width = v.size
    if abs(n - width) <= 1:
        return np.inf
    if n > width:
        return best * (n - 1) / (n - width - 1)
    kappa = _solved(features, n, 0.0)
    share = features / (features + kappa)
    # each output e_j depends on its own coordinate with the slope sigma / features
    bias = float((sigma**2 / features * (1 - share) ** 2).sum())
    # least squares of n samples on so many equal features is known exactly
    alike = n**2 / float((share**2).sum())
    if alike <= n + 1:
        return np.inf
    return best * (alike - 1) / (alike - n - 1) + bias / (1 - n / alike)


def _fresh_error(v: np.ndarray, sigma: float, n: int) -> float:
    """Sum of the errors of all outputs, of ridge regression with the ridge of the noise."""
    ridge = sigma**2
    step = 1e-3 * ridge
    inverse = _mean_inverse(v, n, ridge)
    higher, lower = (_mean_inverse(v, n, ridge + gap) for gap in (step, -step))
    squared = (lower - higher) / (2 * step)  # E diag Q^2, since dQ = -Q^2 d(ridge)
    return float((1 - 2 * ridge * inverse + (ridge * v + ridge**2) * squared).sum())


def _mixed_error(v: np.ndarray, sigma: float, n: int, share: float, unseen: int) -> float:
    """Sum of the errors of all outputs, of a loss of which a share is on frozen noise.

    With ``u = x`` and ``w = sigma e`` of a sample, the matrix of the problem is the mean of
    ``[u w] C [u w]^T`` plus a ridge. Both are independent Gaussians, so that its inverse Q is that
    of the means with C replaced by a diagonal, found from Q itself. ``W = N Q`` minimizes a
    quadratic function whose least value has the test error as its derivative.
    """
    b = sigma**2
    ridge = (1 - share) * b
    c = np.array([[1.0, share], [share, share]])

    def solved(extra: float) -> tuple[float, np.ndarray]:
        t = c.copy()
        while True:
            q = 1 / (ridge + extra * (v + b) + t[0, 0] * v + t[1, 1] * b)
            sizes = np.diag([float((v * q).sum()), float((b * q).sum())]) / n
            new = c @ np.linalg.inv(np.eye(2) + sizes @ c)
            if np.abs(new - t).max() < 1e-14:
                return float(new[1, 1]), q
            t = (t + new) / 2

    def gained(extra: float) -> float:
        t, q = solved(extra)
        return (ridge + t * b) ** 2 / b * float(q.sum()) + (v.size + unseen) * (share - t)

    t, q = solved(0.0)
    step = 1e-4
    slope = (gained(-step) - gained(step)) / (2 * step)
    return v.size + unseen - 2 * (ridge + t * b) * float(q.sum()) + slope


def _mean_inverse(v: np.ndarray, n: int, ridge: float) -> np.ndarray:
    """Return ``E diag Q`` of ``Q = (S + ridge)^-1``, S the covariance of n Gaussian samples.

    Integration by parts gives ``1 - ridge Q = t v Q - (v / n) (Q - ridge Q^2)`` in expectation,
    with ``t = 1 - tr(1 - ridge Q) / n``. The last term, small and particular to real numbers, is
    taken from the solution without it.
    """
    from scipy.optimize import brentq

    def trace(t: float, extra: np.ndarray) -> float:
        return t - 1 + float((1 - ridge * (1 + extra) / (ridge + t * v)).sum()) / n

    none = np.zeros_like(v)
    t = float(brentq(trace, 0.0, 1.0, args=(none,), xtol=1e-15, rtol=1e-14))
    inverse = 1 / (ridge + t * v)
    slope = -float((t * v * inverse**2).sum()) / n  # of `trace` in the ridge, and in t
    slope /= 1 + float((ridge * v * inverse**2).sum()) / n
    squared = (1 - slope * v) * inverse**2
    extra = v * (inverse - ridge * squared) / n
    t = float(brentq(trace, 0.0, 2.0, args=(extra,), xtol=1e-15, rtol=1e-14))
    return (1 + extra) / (ridge + t * v)


def _solved(v: np.ndarray, n: int, ridge: float) -> float:
    """Return kappa with ``kappa - ridge = kappa / n * sum v / (v + kappa)``."""
    from scipy.optimize import brentq

    def gap(kappa: float) -> float:
        return 1 - ridge / kappa - float((v / (v + kappa)).sum()) / n

    least = max(ridge, 1e-12 * float(v.max(initial=0.0)), 1e-300)
    most = ridge + float(v.sum()) / n
    if most <= least:
        return least
    return float(brentq(gap, least, most * (1 + 1e-9), xtol=1e-15 * most, rtol=1e-14))


def _levels(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"{name} must be finite and not negative, got {value}")
    return array
