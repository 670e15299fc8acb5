"""What is known exactly, or in the limit, of linear generators."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .gains import asymptotic_gain, counts, expected_gain, gain_variance, ridge_gain
from .problems import PROBLEMS

__all__ = [
    "asymptotic_gain",
    "condition_number",
    "expected_gain",
    "gain_curve",
    "gain_variance",
    "ridge_gain",
    "spectrum_edges",
    "training_steps",
]


def gain_curve(
    problem: str, n: int, latent_dims: ArrayLike, *, ridge: float = 0.1
) -> tuple[np.ndarray, bool]:
    """Return what is known of the mean gain of a problem of `fastgen.linear.sweep`.

    Parameters
    ----------
    problem : str
        A name from `fastgen.linear.sweep`.
    n : int
        Number of pairs.
    latent_dims : array of int, shape (n_dims,)
    ridge : float, default 0.1
        As in the sweep, for "ridge".

    Returns
    -------
    gain : ndarray, shape (n_dims,)
        NaN where nothing is known. "constrained" and "lexicographic" are "pseudo_supervised" up to
        ``latent_dims = n``; the gains of the others depend on the data.
    exact : bool
        Whether it is the exact mean (`expected_gain`) or its limit (`ridge_gain`).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> from fastgen.linear.theory import gain_curve
    >>> gain_curve("constrained", 10, [5, 10, 30])
    (array([1.25,  inf,  nan]), True)
    """
    ks = np.atleast_1d(counts(latent_dims, "latent_dims"))
    found = PROBLEMS.get(problem)
    if found is None or found.theory is None:
        return np.full(ks.shape, np.nan), True
    return found.theory(n, ks, ridge)


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
