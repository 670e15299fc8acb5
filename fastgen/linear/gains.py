"""The gain of a generator, its scale over the truth's: exact means, variances and limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["asymptotic_gain", "expected_gain", "gain_variance", "ridge_gain"]


def expected_gain(n: ArrayLike, k: ArrayLike) -> np.ndarray | float:
    r"""Return the expected scale of the covariance a pseudo-supervised linear GAN generates.

    For pairs ``(z_i, x_i)``, i = 1..n, with latents ``z_i ~ N(0, I_k)`` independent of the data,
    the minimum-norm least-squares generator ``G = X pinv(Z)`` satisfies, given X,

    .. math:: E_Z[G G^T] = g\, X X^T / n, \qquad
        g = \begin{cases} k / (n - k - 1) & k \le n - 2 \\ n / (k - n - 1) & k \ge n + 2 \end{cases}

    and infinite for k in {n-1, n, n+1}: too little variance, the right amount at k = (n-1)/2,
    divergence at the interpolation threshold, the right amount again at k = 2n + 1, then decay.

    Parameters
    ----------
    n : int or array of int
        Number of pairs, at least 1.
    k : int or array of int
        Latent dimension, at least 1; broadcast against ``n``.

    Returns
    -------
    float or ndarray
        The gain g, dimensionless, ``inf`` where the expectation does not exist.

    Raises
    ------
    ValueError
        If ``n`` or ``k`` holds anything but positive integers.

    Notes
    -----
    The expectation of ``inv(Z^T Z)`` is that of an inverse Wishart matrix; for k < n the middle
    factor is a multiple of the identity by rotation invariance. The double descent it describes is
    that of Luzi, Dar and Baraniuk, arXiv:2106.04003, for pseudo-supervised training.

    Examples
    --------
    >>> from fastgen.linear.theory import expected_gain
    >>> expected_gain(20, [5, 19, 20, 41, 400])
    array([0.35714286,        inf,        inf, 1.        , 0.05277045])
    """
    n, k = counts(n, "n"), counts(k, "k")
    n, k = np.broadcast_arrays(n, k)
    gain = np.full(n.shape, np.inf)
    below, above = k <= n - 2, k >= n + 2
    gain[below] = k[below] / (n[below] - k[below] - 1)
    gain[above] = n[above] / (k[above] - n[above] - 1)
    return gain if gain.ndim else float(gain)


def asymptotic_gain(ratio: ArrayLike) -> np.ndarray | float:
    """Return the limit of `expected_gain` for many pairs.

    Parameters
    ----------
    ratio : float or array
        k / n, positive.

    Returns
    -------
    float or ndarray
        ``ratio / (1 - ratio)`` below 1, ``1 / (ratio - 1)`` above, infinite at 1.

    Raises
    ------
    ValueError
        If a ratio is not positive and finite.

    Examples
    --------
    >>> from fastgen.linear.theory import asymptotic_gain
    >>> asymptotic_gain([0.5, 1.0, 2.0])
    array([ 1., inf,  1.])
    """
    ratio = positive(ratio, "ratio")
    with np.errstate(divide="ignore"):
        gain = np.where(ratio < 1, ratio, 1.0) / np.abs(1 - ratio)
    return gain if gain.ndim else float(gain)


def ridge_gain(n: ArrayLike, k: ArrayLike, ridge: ArrayLike) -> np.ndarray | float:
    r"""Return the expected gain of the ridge generator in the limit of large n and k.

    The generator minimises ``||X - G Z||^2 / n + ridge ||G||^2`` over pairs with latents drawn
    independently of the data. Its gain is, given X, the mean of
    ``||Z^T (Z Z^T + n ridge I)^-1||^2``: finite at k = n, where `expected_gain` is not.

    Parameters
    ----------
    n, k : int or array of int
        Number of pairs and latent dimension, at least 1.
    ridge : float or array
        Weight of ``||G||^2``, positive; all arguments broadcast.

    Returns
    -------
    float or ndarray
        Dimensionless.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The limit of ``1/n sum_i l_i / (l_i + ridge)^2`` over the eigenvalues l of ``Z Z^T / n``, from
    the Stieltjes transform of Marchenko and Pastur's law and its derivative: with c = k / n and
    ``s^2 = (1 - c + ridge)^2 + 4 c ridge`` it is ``2 c / (s (1 + c + ridge + s))``. At n = 20 it is
    within 5 % of the mean.

    Examples
    --------
    >>> from fastgen.linear.theory import ridge_gain
    >>> ridge_gain(20, [5, 20, 100], 0.1).round(3)
    array([0.244, 1.14 , 0.235])
    """
    n, k, r = np.broadcast_arrays(counts(n, "n"), counts(k, "k"), positive(ridge, "ridge"))
    ratio = k / n
    root = np.sqrt((1 - ratio + r) ** 2 + 4 * ratio * r)
    gain = 2 * ratio / (root * (1 + ratio + r + root))
    return gain if gain.ndim else float(gain)


def gain_variance(n: ArrayLike, k: ArrayLike, effective_rank: ArrayLike) -> np.ndarray | float:
    r"""Return the relative variance of the gain over pseudo-latents, the data given.

    ``Var(||G||^2) / E(||G||^2)^2`` for the generator of `expected_gain`; infinite for
    |k - n| <= 3, where the second moment does not exist.

    Parameters
    ----------
    n, k : int or array of int
        Number of pairs and latent dimension, at least 1.
    effective_rank : float or array
        ``tr(S)^2 / tr(S^2)`` of the sample covariance S of the pairs: the number of directions that
        share its variance, at least 1.

    Returns
    -------
    float or ndarray
        Dimensionless; all arguments broadcast.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    For k > n, ``||G||^2 = tr(A V)`` with A = X^T X and V inverse Wishart of dimension n with k
    degrees of freedom, whose second moments are classical (Muirhead, Aspects of Multivariate
    Statistical Theory, 1982, section 3.2). For k < n the roles of n and k are exchanged and V is
    embedded by a uniformly random frame.

    Examples
    --------
    >>> from fastgen.linear.theory import gain_variance
    >>> gain_variance(20, [21, 30, 200], 10.0).round(4)
    array([   inf, 0.0543, 0.0012])
    """
    n, k = counts(n, "n"), counts(k, "k")
    rank = positive(effective_rank, "effective_rank")
    if (rank < 1).any():
        raise ValueError(f"effective_rank must be at least 1, got {effective_rank!r}")
    n, k, rank = np.broadcast_arrays(n, k, rank)
    out = np.full(n.shape, np.inf)
    above = k >= n + 4
    gap = (k - n)[above].astype(float)
    out[above] = 2 * ((gap - 1) / rank[above] + 1) / (gap * (gap - 3))
    below = k <= n - 4
    p, m, gap = (a[below].astype(float) for a in (k, n, n - k))
    mean = p / (gap - 1)
    square_of_trace = mean**2 + 2 * ((gap - 1) * p + p**2) / (gap * (gap - 1) ** 2 * (gap - 3))
    trace_of_square = p * (m - 1) / (gap * (gap - 1) * (gap - 3))
    # E[M_ij M_kl] = alpha d_ij d_kl + beta (d_ik d_jl + d_il d_jk), from its two traces
    beta = (m * trace_of_square - square_of_trace) / (m * (m - 1) * (m + 2))
    alpha = (square_of_trace - 2 * m * beta) / m**2
    out[below] = (alpha + 2 * beta / rank[below]) / (mean / m) ** 2 - 1
    return out if out.ndim else float(out)


def positive(values: ArrayLike, name: str) -> np.ndarray:
    """Return ``values`` as floats, refused unless positive and finite."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"{name} must be positive and finite, got {values!r}")
    return array.astype(float)


def counts(values: ArrayLike, name: str) -> np.ndarray:
    """Return ``values`` as integers, refused unless positive integers."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or (array < 1).any():
        raise ValueError(f"{name} must be positive integers, got {values!r}")
    return array.astype(np.int64)


def pairs_curve(n: int, ks: np.ndarray, ridge: float) -> tuple[np.ndarray, bool]:
    """Return the exact mean gains of "pseudo_supervised"."""
    del ridge
    return np.atleast_1d(expected_gain(n, ks)), True


def pairs_curve_to_n(n: int, ks: np.ndarray, ridge: float) -> tuple[np.ndarray, bool]:
    """Return the same for a problem that goes its own way beyond k = n: NaN there."""
    return np.where(ks <= n, pairs_curve(n, ks, ridge)[0], np.nan), True


def ridge_curve(n: int, ks: np.ndarray, ridge: float) -> tuple[np.ndarray, bool]:
    """Return the limit of the mean gains of "ridge", the exact means without a penalty."""
    if ridge == 0:
        return pairs_curve(n, ks, ridge)
    return np.atleast_1d(ridge_gain(n, ks, ridge)), False
