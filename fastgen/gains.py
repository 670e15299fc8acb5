"""What is known exactly, or in the limit, of the gain and the spectra of linear generators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "asymptotic_gain",
    "condition_number",
    "expected_gain",
    "gain_variance",
    "ridge_gain",
    "spectrum_edges",
    "training_steps",
]


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

    The generator minimizes ``||X - G Z||^2 / n + ridge ||G||^2`` over pairs with latents drawn
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
    ``|k - n| <= 3``, where the second moment does not exist.

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


def condition_number(n: ArrayLike, k: ArrayLike) -> np.ndarray | float:
    """Return the condition number of ``Z Z^T`` on its range, in the limit of large n and k.

    Parameters
    ----------
    n, k : int or array of int
        Number of pairs and latent dimension, at least 1.

    Returns
    -------
    float or ndarray
        ``((sqrt k + sqrt n) / (sqrt k - sqrt n))^2``, infinite at k = n.

    Raises
    ------
    ValueError
        If ``n`` or ``k`` holds anything but positive integers.

    Examples
    --------
    >>> from fastgen.linear.theory import condition_number
    >>> condition_number(20, [20, 60, 200]).round(1)
    array([ inf, 13.9,  3.7])
    """
    n, k = np.broadcast_arrays(counts(n, "n"), counts(k, "k"))
    with np.errstate(divide="ignore"):
        out = ((np.sqrt(k) + np.sqrt(n)) / (np.sqrt(k) - np.sqrt(n))) ** 2
    return out if out.ndim else float(out)


def training_steps(n: ArrayLike, k: ArrayLike, reduction: float = 1e-3) -> np.ndarray | float:
    """Return how many steps of gradient descent are enough to train on the pairs, in the limit.

    With the best constant step the distance to the solution shrinks at least by (c - 1) / (c + 1),
    c the `condition_number`: very large latent spaces train fast (Luzi, Dar and Baraniuk,
    arXiv:2106.04003, announce the speed; that this is their argument is a reading).

    Parameters
    ----------
    n, k : int or array of int
        Number of pairs and latent dimension, at least 1.
    reduction : float, default 1e-3
        Wanted distance over that at the start, between 0 and 1.

    Returns
    -------
    float or ndarray
        Steps, infinite at k = n.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> from fastgen.linear.theory import training_steps
    >>> training_steps(20, [19, 200]).round()
    array([2.1006e+04, 1.2000e+01])
    """
    if not 0 < reduction < 1:
        raise ValueError(f"reduction must lie between 0 and 1, got {reduction}")
    c = np.asarray(condition_number(n, k))
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(np.isinf(c), np.inf, np.log(reduction) / np.log((c - 1) / (c + 1)))
    return steps if steps.ndim else float(steps)


def spectrum_edges(n: ArrayLike, d: ArrayLike) -> tuple:
    """Return between which eigenvalues a sample covariance of white data lies, in the limit.

    Parameters
    ----------
    n, d : int or array of int
        Number of samples and dimension, at least 1.

    Returns
    -------
    lower, upper : float or ndarray
        ``(1 -+ sqrt(d / n))^2`` in units of the variance: the edges of Marchenko and Pastur's law,
        of the nonzero eigenvalues if d > n. What an unsupervised generator takes for structure in
        pure noise is inside.

    Raises
    ------
    ValueError
        If ``n`` or ``d`` holds anything but positive integers.

    Examples
    --------
    >>> from fastgen.linear.theory import spectrum_edges
    >>> spectrum_edges(100, 25)
    (0.25, 2.25)
    """
    root = np.sqrt(counts(d, "d") / counts(n, "n"))
    lower, upper = (1 - root) ** 2, (1 + root) ** 2
    return (lower, upper) if np.ndim(root) else (float(lower), float(upper))


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


def _pairs(n: int, ks: np.ndarray, ridge: float) -> tuple[np.ndarray, bool]:
    del ridge
    return np.atleast_1d(expected_gain(n, ks)), True


def _pairs_to_n(n: int, ks: np.ndarray, ridge: float) -> tuple[np.ndarray, bool]:
    return np.where(ks <= n, _pairs(n, ks, ridge)[0], np.nan), True


def _ridge(n: int, ks: np.ndarray, ridge: float) -> tuple[np.ndarray, bool]:
    if ridge == 0:
        return _pairs(n, ks, ridge)
    return np.atleast_1d(ridge_gain(n, ks, ridge)), False


# Mean gains that are known: (n, ks, ridge) -> the gains (n_k,), NaN where unknown, and whether they
# are exact. A problem names its law; a sweep keeps the names, so that a figure needs no problem.
LAWS: dict[str, Callable[[int, np.ndarray, float], tuple[np.ndarray, bool]]] = {
    "pseudo_supervised": _pairs,
    "pseudo_supervised up to n": _pairs_to_n,
    "ridge": _ridge,
}


def law_curve(
    law: str | None, n: int, latent_dims: ArrayLike, ridge: float
) -> tuple[np.ndarray, bool]:
    """Return the mean gains of a law, and whether they are exact or a limit.

    Parameters
    ----------
    law : str or None
        A key of `LAWS`; of any other nothing is known, and the gains are NaN.
    n : int
        Number of pairs.
    latent_dims : array of int, shape (n_dims,)
    ridge : float
        Weight of the penalty, for "ridge".

    Returns
    -------
    gain : ndarray, shape (n_dims,)
    exact : bool
    """
    ks = np.atleast_1d(counts(latent_dims, "latent_dims"))
    if law not in LAWS:
        return np.full(ks.shape, np.nan), True
    return LAWS[law](n, ks, ridge)
