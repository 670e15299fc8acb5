"""Laws of pairwise distances: what an embedding for a latent space is meant to preserve."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _arrays, _random, _validate
from .._dispatch import bourgain
from .._progress import Report

METRICS = ("euclidean", "precomputed")
# A matrix is symmetric if its entries differ by no more than this share of the largest.
_SYMMETRY = 1e-10


def log_pairwise_distances(
    X: Any,
    *,
    metric: str | Callable[[Any, Any], float] = "euclidean",
    max_points: int = 1000,
    random_state: Any = None,
) -> np.ndarray:
    """Return a sample of the law of log dist(x, x') for x and x' drawn from the data, x != x'.

    Parameters
    ----------
    X : array (n, d), matrix of distances (n, n), or sequence of n objects
        Which of them is said by ``metric``.
    metric : {"euclidean", "precomputed"} or callable
        A callable ``metric(x, y)`` returns the distance of two elements of X.
    max_points : int, default 1000
        Where X has more, as many are drawn; all of their pairs count.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of that draw.

    Returns
    -------
    ndarray of float64
        Natural logarithms in increasing order, at most ``max_points (max_points - 1) / 2`` of them.
        Pairs of distance 0 are left out: their logarithm is not finite.

    Raises
    ------
    ValueError, TypeError
        If X is not finite, has fewer than two elements or no two that differ, or if ``metric``
        returns what is no distance.

    Notes
    -----
    This is the "LPDD" of C. Xiao, P. Zhong and C. Zheng, "BourGAN: generative networks with metric
    embeddings", NeurIPS 2018, section 3. That coincident pairs are left out is our reading.

    Examples
    --------
    >>> from fastgen.modes import log_pairwise_distances
    >>> log_pairwise_distances([[0.0], [1.0], [1.0]]).tolist()
    [0.0, 0.0]
    """
    most = _validate.integer(max_points, "max_points", minimum=2)
    if not callable(metric):
        _validate.one_of(metric, "metric", METRICS)
        X = _validate.data_matrix(_arrays.to_host(X, "X"), "X")
    rng = _random.generator(random_state)
    rows, matrix, _ = sample_of(X, metric, most, rng, Report())
    logs = logarithms(condensed(rows, matrix))
    if not logs.size:
        raise ValueError("X must hold points that differ, got only pairs of distance 0")
    return np.sort(logs)


def lpdd_distance(first: Any, second: Any, *, center: bool = False) -> float:
    """Return W1 of two laws of log pairwise distances, in nats.

    Parameters
    ----------
    first, second : array
        What `log_pairwise_distances` returns; any two samples of numbers.
    center : bool, default False
        Take the mean off each first: laws that differ by a factor of all distances, of no
        consequence to a generator, then agree.

    Returns
    -------
    float
        Integral over (0, 1) of the difference of the quantile functions.

    Raises
    ------
    ValueError
        If a sample is empty or not finite.

    Examples
    --------
    >>> from fastgen.modes import lpdd_distance
    >>> lpdd_distance([0.0, 1.0], [2.0, 3.0]), lpdd_distance([0.0, 1.0], [2.0, 3.0], center=True)
    (2.0, 0.0)
    """
    samples = []
    for name, values in (("first", first), ("second", second)):
        sample = np.asarray(_arrays.to_host(values, name), dtype=np.float64).ravel()
        if not sample.size or not np.isfinite(sample).all():
            raise ValueError(f"{name} must hold finite numbers, got {sample.size} values")
        samples.append(sample - sample.mean() if center else sample)
    a, b = samples
    if a.size == b.size:
        return float(np.abs(np.sort(a) - np.sort(b)).mean())
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(a, b))


def subsampling_bound(n_points: int, *, confidence: float = 0.99) -> float:
    """Return how far the law of distances in a subsample can be from that of the data.

    Parameters
    ----------
    n_points : int
        Size a of the subsample, at least 2.
    confidence : float, default 0.99
        Probability with which the bound holds, in (0, 1).

    Returns
    -------
    float
        Bound of the Kolmogorov distance ``sup |F_a - F|`` of the laws of log distances. Times
        the logarithm of the ratio of the largest to the smallest distance it bounds their W1.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    Notes
    -----
    The floor(a / 2) disjoint pairs of a subsample are independent draws of a log distance, for
    which the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart gives
    ``sqrt(log(2 / delta) / (2 floor(a / 2)))``. It does not depend on the size of the data: this is
    our derivation, the constants of the BourGAN paper may differ.

    Examples
    --------
    >>> from fastgen.modes import subsampling_bound
    >>> round(subsampling_bound(2120), 4)
    0.05
    """
    count = _validate.integer(n_points, "n_points", minimum=2)
    if not 0 < _validate.number(confidence, "confidence") < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    return math.sqrt(math.log(2 / (1 - confidence)) / (2 * (count // 2)))


def subsample_size(deviation: float, confidence: float) -> int:
    """Return the size of a subsample whose bound is at most ``deviation``."""
    return 2 * math.ceil(math.log(2 / (1 - confidence)) / (2 * deviation**2))


def sample_of(
    X: Any,
    metric: str | Callable,
    most: int | None,
    rng: np.random.Generator,
    report: Report,
) -> tuple[np.ndarray, bool, np.ndarray]:
    """Draw at most ``most`` elements.

    Parameters
    ----------
    X : float64 array, two-dimensional and contiguous, or with a callable metric a sequence
        Points are finite; a matrix of distances is checked here.
    metric, most, rng, report

    Returns
    -------
    rows : float64 array, (a, a) or (a, d)
        Distances, or points with the Euclidean distance.
    matrix : bool
        Which of the two.
    indices : int64 array (a,)
        The elements that were drawn, in increasing order.
    """
    if metric == "precomputed":
        _check_matrix(X)
    n = len(X)
    if n < 2:
        raise ValueError(f"X must have at least 2 elements, got {n}")
    indices = np.arange(n)
    if most is not None and most < n:
        indices = np.sort(rng.choice(n, size=most, replace=False))
    if callable(metric):
        return _by_calls([X[i] for i in indices.tolist()], metric, report), True, indices
    if metric == "precomputed":
        return (X if len(indices) == n else X[np.ix_(indices, indices)]), True, indices
    return (X if len(indices) == n else X[indices]), False, indices


def _check_matrix(distances: np.ndarray) -> None:
    if distances.shape[0] != distances.shape[1]:
        raise ValueError(
            'X must be a square matrix of distances for metric="precomputed", got shape '
            f"{distances.shape}"
        )
    worst, largest, smallest, finite = bourgain.asymmetry(distances)
    if not finite:
        _validate.data_matrix(distances, "X")
    slack = _SYMMETRY * largest
    diagonal = np.diagonal(distances).max()
    if smallest < 0 or diagonal > slack:
        raise ValueError(
            'X must have distances of at least 0 and a diagonal of 0 for metric="precomputed", got '
            f"{smallest:g} at least and a diagonal up to {diagonal:g}"
        )
    if worst > slack:
        raise ValueError(
            'X must be symmetric for metric="precomputed", got entries that differ by '
            f"{worst:g}; pass (X + X.T) / 2 if they should not"
        )


def _by_calls(elements: list, metric: Callable, report: Report) -> np.ndarray:
    """Return the matrix of distances of a callable metric, each pair evaluated once."""
    n = len(elements)
    out = np.zeros((n, n))
    for i in range(1, n):
        row = [metric(elements[j], elements[i]) for j in range(i)]
        out[i, :i] = out[:i, i] = row
        if not (np.isfinite(out[i, :i]) & (out[i, :i] >= 0)).all():
            j = int(np.flatnonzero(~(out[i, :i] >= 0) | ~np.isfinite(out[i, :i]))[0])
            raise ValueError(
                f"metric must return finite distances of at least 0, got {row[j]!r} for two "
                "elements of X"
            )
        report()
    return out


def condensed(rows: np.ndarray, matrix: bool) -> np.ndarray:
    """Return the distances of all pairs, one after the other."""
    from scipy.spatial.distance import pdist, squareform

    return squareform(rows, checks=False) if matrix else pdist(rows)


def logarithms(distances: np.ndarray) -> np.ndarray:
    """Return the logarithms of the distances that are not 0."""
    return np.log(distances[distances > 0])
