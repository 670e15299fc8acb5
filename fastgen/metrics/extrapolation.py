"""FID extrapolated to infinitely many samples."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _random, _results, _validate
from . import fid_wam
from .covariances import same_dimension
from .statistics import FeatureStatistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ExtrapolatedFID", "fd_infinity"]

_LEVELS = 4  # sets are halved at most three times


@dataclasses.dataclass(frozen=True, repr=False)
class ExtrapolatedFID(_results.Result):
    """What `fd_infinity` found, in squared units of the features.

    Attributes
    ----------
    value : float
        FID of infinitely many samples: the intercept of the line through ``means``. Lower is
        better. Negative values are chance: the laws are not told apart.
    standard_error : float
        Standard error of ``value`` and of ``fid``, from the spread of the smallest parts.
    interval : (float, float)
        95 % interval of ``value``, by Student's t with one degree of freedom less than there are
        smallest parts.
    fid : float
        FID of the whole sets.
    shares : array (L,)
        Shares of the sets that each size is of: 1, 1/2, 1/4, ...
    means : array (L,)
        Mean of the FID over all disjoint parts of each size.
    slope : float
        What dividing the sets in two adds, at first.
    n_x, n_y, n_features : int
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    fid: float
    shares: np.ndarray
    means: np.ndarray
    slope: float
    n_x: int
    n_y: int
    n_features: int

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"ExtrapolatedFID(value={self.value:.6g}, interval=({low:.6g}, {high:.6g}), "
            f"fid={self.fid:.6g}, n_x={self.n_x}, n_y={self.n_y})"
        )

    @property
    def fid_interval(self) -> tuple[float, float]:
        """95 % interval about ``fid``, of the same width as that of ``value``."""
        half = (self.interval[1] - self.interval[0]) / 2
        return self.fid - half, self.fid + half

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain Python, for JSON."""
        return _results.plain(dataclasses.asdict(self))

    def plot(self, *, width: float = 3.5) -> Figure:
        """Draw the FID against the inverse of the share of samples, and the line to zero.

        Parameters
        ----------
        width : float, default 3.5
            In inches.

        Returns
        -------
        matplotlib.figure.Figure
            Save it with `fastgen.plotting.save_figure`.
        """
        from ..plotting.evaluation import extrapolation_figure

        return extrapolation_figure(
            self.shares, self.means, self.value, self.slope, self.interval, width=width
        )


def fd_infinity(X: Any, Y: Any, *, random_state: Any = None) -> ExtrapolatedFID:
    """FID of infinitely many samples, by regression on the inverse of their number.

    Chong and Forsyth, "Effectively unbiased FID and inception score and where to find them", CVPR
    2020, section 3.2: the bias of the FID is in proportion to 1 / n, so that FIDs of several n lie
    on a line whose intercept has no bias of that order. They take overlapping subsets of the
    generated set; here both sets are halved up to three times, all disjoint parts are used, their
    moments are added up instead of computed anew, and the parts give an interval. Lower is better.

    Parameters
    ----------
    X, Y : array (n, d)
        Features of the reference and of what is compared with it; n may differ. Halves must have
        more samples than features, or the FID's bias is not in proportion to 1 / n.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of the division into parts.

    Returns
    -------
    ExtrapolatedFID

    Raises
    ------
    TypeError, ValueError
        If a set is not a finite numeric matrix, the sets differ in dimension, or halves have no
        more samples than features.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import fd_infinity
    >>> X, Y = np.random.default_rng(0).standard_normal((2, 2000, 20))
    >>> found = fd_infinity(X, Y, random_state=0)
    >>> found.fid > 0.1, found.interval[0] < 0 < found.interval[1]
    (True, True)
    """
    X, Y = (_validate.data_matrix(value, name) for value, name in ((X, "X"), (Y, "Y")))
    same_dimension(X, Y, "X", "Y")
    least = min(len(X), len(Y))
    needed = X.shape[1] + 1
    if least // 2 < max(needed, 4):
        raise ValueError(
            f"X and Y must have at least {2 * max(needed, 4)} samples, twice more than the "
            f"d={X.shape[1]} features, got {least}; add samples, or reduce the features by PCA"
        )
    levels = min(_LEVELS, int(np.log2(least / max(needed, 4))) + 1)
    rng = _random.generator(random_state)
    sets = [_parts(rows, 2 ** (levels - 1), rng) for rows in (X, Y)]
    smallest = values = _distances(sets)
    means = [values.mean()]
    while len(sets[0]) > 1:
        sets = [_halved(parts) for parts in sets]
        values = _distances(sets)
        means.insert(0, values.mean())
    inverse = 2.0 ** np.arange(levels)
    slope, value = np.polyfit(inverse, means, 1)
    return _result(float(value), float(slope), np.array(means), inverse, smallest, X, Y)


def _distances(sets: list[list[FeatureStatistics]]) -> np.ndarray:
    return np.array([fid_wam.fid(x, y) for x, y in zip(*sets, strict=True)])


def _result(
    value: float,
    slope: float,
    means: np.ndarray,
    inverse: np.ndarray,
    smallest: np.ndarray,
    X: np.ndarray,
    Y: np.ndarray,
) -> ExtrapolatedFID:
    from scipy.stats import t

    # means of all sizes are of the same samples, and share what chance does to first order
    error = float(smallest.std(ddof=1) / np.sqrt(len(smallest)))
    half = float(t.ppf(0.975, len(smallest) - 1)) * error
    return ExtrapolatedFID(
        value=value,
        standard_error=error,
        interval=(value - half, value + half),
        fid=float(means[0]),
        shares=1 / inverse,
        means=means,
        slope=slope,
        n_x=len(X),
        n_y=len(Y),
        n_features=X.shape[1],
    )


def _parts(rows: np.ndarray, count: int, rng: np.random.Generator) -> list[FeatureStatistics]:
    order = rng.permutation(len(rows))
    return [FeatureStatistics().update(rows[part]) for part in np.array_split(order, count)]


def _halved(parts: list[FeatureStatistics]) -> list[FeatureStatistics]:
    """Add up the moments of every two parts."""
    return [
        FeatureStatistics().merge(first).merge(second)
        for first, second in zip(parts[::2], parts[1::2], strict=True)
    ]
