"""Exact expectations for linear generators."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["expected_gain"]


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
    n, k = _counts(n, "n"), _counts(k, "k")
    n, k = np.broadcast_arrays(n, k)
    gain = np.full(n.shape, np.inf)
    below, above = k <= n - 2, k >= n + 2
    gain[below] = k[below] / (n[below] - k[below] - 1)
    gain[above] = n[above] / (k[above] - n[above] - 1)
    return gain if gain.ndim else float(gain)


def _counts(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or (array < 1).any():
        raise ValueError(f"{name} must be positive integers, got {values!r}")
    return array.astype(np.int64)
