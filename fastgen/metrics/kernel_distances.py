"""Kernel distances of two sets of features: KID and CMMD, from all pairs, none of them kept.

Both are squared maximum mean discrepancies (Gretton et al., "A kernel two-sample test", JMLR 13,
2012): ``E k(x, x') + E k(y, y') - 2 E k(x, y)``, zero for equal laws. Lower is better.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _random, _results, _validate
from .._dispatch import kernel_sums
from .._dispatch.kernel_sums import Gaussian, Kernel, Polynomial
from ..neighbors import finite_rows
from .covariances import same_dimension

__all__ = ["KernelDistance", "cmmd", "kid"]

_NORMAL = 1.959963984540054  # of a two-sided probability of 95 %
_PAIRS = 2000  # rows that the median of distances is taken from


@dataclasses.dataclass(frozen=True, repr=False)
class KernelDistance(_results.Result):
    """What `kid` and `cmmd` found.

    Attributes
    ----------
    value : float
        The squared maximum mean discrepancy; an unbiased one is negative half of the time for equal
        laws. Lower is better.
    standard_error : float
        Standard error of ``value``, by the jackknife over the samples of both sets. For equal laws
        it is too large by a factor of about 1.4.
    floor : float
        What two sets of X's law and of these sizes give on average: 0 if ``unbiased``.
    noise : float
        Standard deviation of that: values within twice of it above ``floor`` tell of no difference.
    n_x, n_y : int
        Numbers of samples.
    settings : dict
        The kernel, its parameters, whether the estimate is unbiased and what subsets were taken.
    """

    value: float
    standard_error: float
    floor: float
    noise: float
    n_x: int
    n_y: int
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return (
            f"KernelDistance(value={self.value:.6g}, standard_error={self.standard_error:.2g}, "
            f"floor={self.floor:.6g}, noise={self.noise:.2g}, kernel={self.settings['kernel']!r})"
        )

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval: ``value`` and 1.96 standard errors on either side."""
        return (
            self.value - _NORMAL * self.standard_error,
            self.value + _NORMAL * self.standard_error,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain Python, for JSON."""
        found = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "settings"
        }
        return _results.plain({**found, "interval": self.interval, **self.settings})


def kid(
    X: Any,
    Y: Any,
    *,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    subset_size: int | None = None,
    n_subsets: int = 100,
    random_state: Any = None,
) -> KernelDistance:
    """Kernel inception distance: the unbiased squared MMD of a polynomial kernel.

    Binkowski, Sutherland, Arbel and Gretton, "Demystifying MMD GANs", ICLR 2018, section 4, with
    ``k(x, y) = (gamma x.y + coef0)^degree`` and Inception features. They and most tools average
    over random subsets to save memory; here all pairs are taken, which has the least variance of
    all unbiased estimates, and no matrix of them is kept. Lower is better.

    Parameters
    ----------
    X, Y : array (n, d)
        Features of the reference and of what is compared with it, at least three rows each; n may
        differ. NumPy, torch or CuPy.
    degree : int, default 3
    gamma : float, optional
        Positive; ``1 / d`` by default.
    coef0 : float, default 1.0
    subset_size : int, optional
        Average over random subsets of so many samples of each set, as published figures do, instead
        of all pairs.
    n_subsets : int, default 100
        Number of subsets; not read without ``subset_size``.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of the subsets.

    Returns
    -------
    KernelDistance

    Raises
    ------
    TypeError, ValueError
        If a set is not a finite numeric matrix of at least three rows, if they differ in dimension,
        an argument is out of its range, or the kernel's values overflow.

    See Also
    --------
    cmmd : the same with a Gaussian kernel, which sees every difference of laws.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import kid
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((2, 500, 8))
    >>> same, moved = kid(X, Y), kid(X, Y + 0.5)
    >>> abs(same.value - same.floor) < 2 * same.noise, moved.value > 10 * moved.noise
    (True, True)
    """
    X, Y = _pair(X, Y)
    kernel = Polynomial(
        _validate.integer(degree, "degree"),
        1 / X.shape[1] if gamma is None else _positive(gamma, "gamma"),
        _validate.number(coef0, "coef0"),
    )
    settings = {"kernel": "polynomial", **dataclasses.asdict(kernel), "unbiased": True}
    if subset_size is None:
        return _measured(kernel, X, Y, settings)
    size = _validate.integer(subset_size, "subset_size", minimum=3)
    count = _validate.integer(n_subsets, "n_subsets")
    if size > min(len(X), len(Y)):
        raise ValueError(
            f"subset_size must be at most the {min(len(X), len(Y))} rows of the smaller set, got "
            f"{size}; lower it, or leave it out to take all pairs"
        )
    settings.update(subset_size=size, n_subsets=count)
    return _over_subsets(kernel, X, Y, settings, _random.generator(random_state))


def cmmd(X: Any, Y: Any, *, sigma: float | str = 10.0, unbiased: bool = True) -> KernelDistance:
    """Squared MMD of a Gaussian kernel, as CMMD is, from all pairs.

    Jayasumana et al., "Rethinking FID: towards a better evaluation metric for image generation",
    CVPR 2024, section 4, with ``k(x, y) = exp(-|x - y|^2 / (2 sigma^2))``. It is their CMMD if the
    features are CLIP's image embeddings and ``sigma`` is 10; their code prints 1000 times the
    biased estimate (``unbiased=False``). Lower is better.

    Parameters
    ----------
    X, Y : array (n, d)
        Features of the reference and of what is compared with it, at least three rows each; n may
        differ. NumPy, torch or CuPy.
    sigma : float or "median", default 10.0
        Width of the kernel, in units of the features. "median" takes the median distance of pairs
        of up to 2000 rows of X: of use for features whose scale is another than CLIP's, but figures
        of different X are then not comparable.
    unbiased : bool, default True
        Whether pairs of a sample with itself are left out (Gretton et al. 2012, equation 3) or not
        (equation 5, whose floor is above zero).

    Returns
    -------
    KernelDistance

    Raises
    ------
    TypeError, ValueError
        If a set is not a finite numeric matrix of at least three rows, they differ in dimension,
        or ``sigma`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import cmmd
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((2, 500, 8))
    >>> found = cmmd(X, 2 * Y, sigma="median")
    >>> found.value > 10 * found.noise, round(found.settings["sigma"], 1)
    (True, 3.8)
    """
    X, Y = _pair(X, Y)
    if isinstance(sigma, str):
        _validate.one_of(sigma, "sigma", ("median",))
        width = median_distance(X)
        if width == 0:
            raise ValueError(
                'sigma="median" needs rows of X that differ, but half of its pairs are equal; pass '
                "a number"
            )
    else:
        width = _positive(sigma, "sigma")
    settings = {"kernel": "gaussian", "sigma": width, "unbiased": bool(unbiased)}
    return _measured(Gaussian(width), X, Y, settings)


def median_distance(X: np.ndarray) -> float:
    """Median distance of pairs of rows, of at most 2000 evenly spaced ones."""
    some = X[np.linspace(0, len(X) - 1, min(len(X), _PAIRS)).astype(int)]
    some = some - some.mean(0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", some, some)
    distances = squares[:, None] + squares - 2 * some @ some.T
    return float(np.sqrt(max(np.median(distances[np.triu_indices(len(some), 1)]), 0.0)))


def _pair(X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray]:
    X, Y = finite_rows(X, "X"), finite_rows(Y, "Y")
    for rows, name in ((X, "X"), (Y, "Y")):
        if len(rows) < 3:
            raise ValueError(f"{name} must have at least 3 rows, got {len(rows)}")
    same_dimension(X, Y, "X", "Y")
    return X, Y


def _positive(value: Any, name: str) -> float:
    found = _validate.number(value, name)
    if found == 0:
        raise ValueError(f"{name} must be positive, got 0")
    return found


@dataclasses.dataclass(frozen=True)
class _Estimate:
    """The unbiased estimate, and what its spread and the biased one are made of."""

    value: float
    variance: float  # by the jackknife
    spread: float  # standard deviation for two sets of the law of X
    mean: float  # of the kernel over pairs of X
    mean_y: float


@np.errstate(over="ignore", invalid="ignore")  # what overflows is refused
def _estimate(kernel: Kernel, X: np.ndarray, Y: np.ndarray) -> _Estimate:
    x, y = kernel_sums.prepared(kernel, X, Y)
    xx, yy = (kernel_sums.sums_within(kernel, side) for side in (x, y))
    xy = kernel_sums.sums_between(kernel, x, y)
    m, n = len(X), len(Y)
    total = float(xx.rows.sum() / (m * (m - 1)) + yy.rows.sum() / (n * (n - 1)))
    value = total - 2 * float(xy.rows.sum()) / (m * n)
    if not np.isfinite(value + xx.squares):
        raise ValueError(
            "values of the kernel overflow float64; divide the features of both sets by their scale"
        )
    variance = _left_out(xx.rows, xy.rows, n) + _left_out(yy.rows, xy.columns, m)
    # second moment of the kernel, less what depends on one of its points only
    means = xx.rows / (m - 1)
    degenerate = xx.squares / (m * (m - 1)) - 2 * (means @ means) / m + means.mean() ** 2
    spread = np.sqrt(2 * max(degenerate, 0.0)) * (1 / m + 1 / n)
    mean_y = float(yy.rows.mean() / (n - 1))
    return _Estimate(value, variance, float(spread), float(means.mean()), mean_y)


def _left_out(within: np.ndarray, between: np.ndarray, other: int) -> float:
    """Jackknife variance over the samples of one set, from their sums over both sets."""
    m = len(within)
    values = -2 * within / ((m - 1) * (m - 2)) + 2 * between / ((m - 1) * other)
    return float((m - 1) * values.var())


def _measured(
    kernel: Kernel, X: np.ndarray, Y: np.ndarray, settings: dict[str, Any]
) -> KernelDistance:
    found = _estimate(kernel, X, Y)
    m, n = len(X), len(Y)
    value, floor = found.value, 0.0
    if not settings["unbiased"]:
        # a point's kernel with itself, which is 1, enters with the weight of a sample
        value += (1 - found.mean) / m + (1 - found.mean_y) / n
        floor = (1 - found.mean) * (1 / m + 1 / n)
    return KernelDistance(
        value, float(np.sqrt(found.variance)), floor, found.spread, m, n, settings
    )


def _over_subsets(
    kernel: Kernel,
    X: np.ndarray,
    Y: np.ndarray,
    settings: dict[str, Any],
    rng: np.random.Generator,
) -> KernelDistance:
    size, count = settings["subset_size"], settings["n_subsets"]
    found = [
        _estimate(kernel, *(rows[rng.choice(len(rows), size, replace=False)] for rows in (X, Y)))
        for _ in range(count)
    ]
    values = np.array([part.value for part in found])
    spread = float(np.mean([part.spread for part in found]))
    # subsets of a set share samples: what they average away ends at the error of the whole set
    one = values.var(ddof=1) if count > 1 else found[0].variance
    error = np.sqrt(one * (1 / count + (size / len(X) + size / len(Y)) / 2))
    noise = spread * np.sqrt(1 / count + (size / len(X)) * (size / len(Y)))
    return KernelDistance(
        float(values.mean()), float(error), 0.0, float(noise), len(X), len(Y), settings
    )
