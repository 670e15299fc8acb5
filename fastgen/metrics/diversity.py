"""Vendi score of a set of features: how many different samples it holds, in effect."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _results, _validate

__all__ = ["VendiScore", "vendi"]

_NORMAL = 1.959963984540054
# Eigenvalues below this are rounding of a unit trace: their entropy is none.
_ROUNDING = 1e-14


@dataclasses.dataclass(frozen=True, repr=False)
class VendiScore(_results.Result):
    """What `vendi` found.

    Attributes
    ----------
    value : float
        Effective number of different samples, from 1 to the smaller of n and d. Higher is more
        diverse; it does not look at any real sample, so noise scores high as well.
    standard_error : float
        Standard error of ``value`` for independent samples, to first order.
    q : float
        Order of the entropy.
    n, n_features : int
    """

    value: float
    standard_error: float
    q: float
    n: int
    n_features: int

    def __repr__(self) -> str:
        return (
            f"VendiScore(value={self.value:.6g}, standard_error={self.standard_error:.2g}, "
            f"q={self.q:g}, n={self.n})"
        )

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval: ``value`` and 1.96 standard errors on either side."""
        return (
            self.value - _NORMAL * self.standard_error,
            self.value + _NORMAL * self.standard_error,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain Python, for JSON; an infinite ``q`` is "inf"."""
        found = {**dataclasses.asdict(self), "interval": self.interval}
        return _results.plain({**found, "q": self.q if np.isfinite(self.q) else "inf"})


def vendi(X: Any, *, q: float = 1.0) -> VendiScore:
    """Vendi score: the exponential of the entropy of the eigenvalues of a similarity matrix.

    Friedman and Dieng, "The Vendi score: a diversity evaluation metric for machine learning",
    TMLR 2023, definition 3.1, for ``K / n`` with the cosine similarities of the samples; of order q
    as in Pasarkar and Dieng, "Cousins of the Vendi score", AISTATS 2024. Higher is more diverse.
    The eigenvalues are those of the d x d or of the n x n side, whichever is smaller.

    Parameters
    ----------
    X : array (n, d)
        Features, none of them all zero. NumPy, torch or CuPy.
    q : float, default 1.0
        Order of Renyi's entropy, 0 < q <= infinity: below 1 rare kinds of samples count more, above
        1 common ones; infinity looks at the largest eigenvalue only.

    Returns
    -------
    VendiScore

    Raises
    ------
    TypeError, ValueError
        If X is not a finite numeric matrix of at least two rows, a row is zero, or q is out of its
        range.

    Notes
    -----
    Similarities are about the origin, as published: features with a large common mean, such as
    ReLU outputs, have scores far below those of the same features centered.

    Examples
    --------
    Three kinds of samples, equally many of each, and nothing else.

    >>> import numpy as np
    >>> from fastgen.metrics import vendi
    >>> round(vendi(np.repeat(np.eye(3), 10, axis=0)).value, 6)
    3.0
    """
    X = _validate.data_matrix(X, "X")
    order = _order(q)
    lengths = np.sqrt(np.einsum("ij,ij->i", X, X))
    if not (np.isfinite(lengths).all() and lengths.all()):
        row = int(np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))[0])
        raise ValueError(
            f"X must have rows with a direction, got length {lengths[row]:g} at row {row}; drop "
            "such rows, or divide all by their scale"
        )
    rows = X / lengths[:, None]
    values, scores = _spectrum(rows, order)
    score, weights = _entropy(values, order)
    # x^T f(rho) x of every sample, f the derivative of the entropy
    error = float(scores(weights).std() / np.sqrt(len(X)) * score)
    return VendiScore(float(score), error, order, *X.shape)


def _order(q: Any) -> float:
    if q == np.inf:
        return float("inf")
    found = _validate.number(q, "q")
    if found == 0:
        raise ValueError(
            "q must be positive, got 0, which counts eigenvalues that are rounding only; pass a "
            "small number such as 0.1"
        )
    return found


def _spectrum(rows: np.ndarray, order: float):
    """Eigenvalues of ``rows^T rows / n``, and a function from weights of them to sums per row."""
    n, d = rows.shape
    if n < d:
        values, vectors = np.linalg.eigh(rows @ rows.T / n)
        values = np.where(values > _ROUNDING, values, 0.0)
        return values, lambda weights: n * (vectors**2 @ (values * weights))
    values, vectors = np.linalg.eigh(rows.T @ rows / n)
    values = np.where(values > _ROUNDING, values, 0.0)
    return values, lambda weights: (rows @ vectors) ** 2 @ weights


def _entropy(values: np.ndarray, q: float) -> tuple[float, np.ndarray]:
    """Exponential of the entropy, and the entropy's derivatives by the eigenvalues.

    Where a direction holds no sample its derivative, which no sample meets, is 0.
    """
    kept = values > 0
    weights = np.zeros(len(values))
    positive = values[kept] / values.sum()
    if q == 1:
        logs = np.log(positive)
        weights[kept] = -logs
        return float(np.exp(-(positive @ logs))), weights
    if np.isinf(q):
        weights[-1] = -1 / positive.max()
        return float(1 / positive.max()), weights
    total = (positive**q).sum()
    weights[kept] = q / (1 - q) * positive ** (q - 1) / total
    return float(total ** (1 / (1 - q))), weights
