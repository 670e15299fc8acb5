"""What a distance between two finite samples of one law is: in theory, and from halves of data."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from .. import _results
from ._fits import Options, Pair, fit_pair, fitted_to
from .covariances import real_array, sample_moments
from .engines import host
from .mixture import between

__all__ = ["FloorLaw", "floor_law"]


class _Parts(NamedTuple):
    total: Any
    mean: Any
    covariance: Any


class FloorLaw(_Parts, _results.Result):
    """What `floor_law` found: a tuple of ``total``, ``mean`` and ``covariance``.

    Attributes
    ----------
    total : float or array (...)
        ``mean + covariance``.
    mean, covariance : float or array (...)
        Parts of the means and of the covariances, in squared units of the data.

    Examples
    --------
    >>> from fastgen.metrics import floor_law
    >>> law = floor_law([1.0, 1.0], 100, 100)
    >>> law.total == law.mean + law.covariance
    True
    """

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain Python, for JSON."""
        return _results.plain(self._asdict())


def floor_law(eigenvalues: Any, n1: Any, n2: Any) -> FloorLaw:
    r"""Return the expected squared distance between the moments of two samples of one law.

    .. math:: E[W_2^2] \approx \Big(\frac1{n_1} + \frac1{n_2}\Big) \Big[\sum_a \lambda_a
        + \frac12 \sum_{ab} \frac{\lambda_a \lambda_b (1 + \delta_{ab})}{\lambda_a + \lambda_b}
        \Big],

    the means first, the covariances second. To leading order, for Gaussian data: within 3 % from n
    = d on, and no longer true below. The FID of two sets of one law is this large, and so is the
    contribution of each component to a mixture's squared distance with common labels, for n_i
    samples in component i.

    Parameters
    ----------
    eigenvalues : array (..., d)
        Eigenvalues of the covariance, in squared units of the data.
    n1, n2 : number or array (...)
        Sample sizes; broadcast against the leading axes.

    Returns
    -------
    FloorLaw
        ``total``, ``mean`` and ``covariance`` parts. The floor of a mixture with common labels is
        the sum of its components' weighted by their shares.

    Raises
    ------
    ValueError
        If eigenvalues are negative or not finite, or sizes not positive.

    Examples
    --------
    White noise: the covariances add (d + 1) / (2 n) of the trace d, here 0.0128 of 255.

    >>> import numpy as np
    >>> from fastgen.metrics import floor_law
    >>> total, mean, covariance = floor_law(np.ones(255), 10_000, 10_000)
    >>> round(mean, 6), round(covariance, 6)
    (0.051, 3.264)
    """
    values = real_array(eigenvalues, "eigenvalues")
    if values.ndim == 0 or not values.size or values.min() < 0:
        raise ValueError(
            "eigenvalues must be of shape (..., d) and not negative, got shape "
            f"{values.shape}{f' and {values.min():g}' if values.size else ''}; pass those of a "
            "covariance matrix"
        )
    sizes = [real_array(n, name) for n, name in ((n1, "n1"), (n2, "n2"))]
    for n, name in zip(sizes, ("n1", "n2"), strict=True):
        if n.size and n.min() <= 0:
            raise ValueError(f"{name} must be positive, got {n.min():g}")
    rate = 1 / sizes[0] + 1 / sizes[1]
    mean = rate * values.sum(axis=-1)
    covariance = rate * np.apply_along_axis(_pairs, -1, values)
    return FloorLaw(
        *(float(v) if np.ndim(v) == 0 else v for v in (mean + covariance, mean, covariance))
    )


def _pairs(values: np.ndarray) -> float:
    """Half the double sum of the covariance part."""
    values = values[values > 0]
    products = values[:, None] * values / (values[:, None] + values)
    return (products.sum() + products.trace()) / 2


@dataclasses.dataclass(frozen=True)
class Floors:
    """What two sets of one law, of the sizes compared, would give."""

    wam2: float
    fid: float
    moments: float  # the distance of the moments as mixtures have them


def from_halves(
    X: np.ndarray,
    pair: Pair,
    options: Options,
    *,
    shared: bool,
    sizes: tuple[int, int],
    n_splits: int,
    rng: np.random.Generator,
) -> Floors:
    """Floors from random halves of X, averaged over splits.

    The floor is ``(1/n_x + 1/n_y) / (2/n_half) * noise + fits``. ``noise`` is the distance of the
    halves under common labels: sampling noise, in proportion to 1 / n. The factor understates the
    part of it that comes from random shares of the modes, which falls with the root of n only, by
    up to sqrt(2) for equal sizes. ``fits``, what two separate fits of the halves add, comes from
    local optima of the fits, which more samples do not remove: it is taken as it is.
    """
    wam2, fid, moments = np.zeros((3, n_splits))
    n_half = len(X) // 2
    # all drawn before any fit, so that the FID's floor depends on the seed alone
    for split, order in enumerate([rng.permutation(len(X)) for _ in range(n_splits)]):
        first, second = X[order[:n_half]], X[order[n_half : 2 * n_half]]
        scale = sum(1 / n for n in sizes) / (2 / n_half)
        labels = pair.labels_x
        noise = between(*(fitted_to(labels, rows) for rows in (first, second))).squared_distance
        wam2[split] = scale * noise
        if not shared:
            k = labels.n_components
            apart = fit_pair(first, second, k, options, shared=False, rng=rng)
            wam2[split] += between(*apart.parsed()).squared_distance - noise
        fid[split] = scale * gaussian_distance(first, second, ddof=1, reg_covar=0.0)
        moments[split] = scale * gaussian_distance(
            first, second, ddof=0, reg_covar=options.reg_covar
        )
    return Floors(*(float(values.mean()) for values in (wam2, fid, moments)))


def gaussian_distance(X: np.ndarray, Y: np.ndarray, *, ddof: int, reg_covar: float) -> float:
    """Squared distance of the moments of rows that are checked already.

    Covariances are divided by ``n - ddof``, and ``reg_covar`` is added to their diagonals: the FID
    with 1 and 0, what mixtures of one component give with 0 and theirs.
    """
    first = sample_moments(X, ddof=ddof, reg_covar=reg_covar, name="X")
    second = sample_moments(Y, ddof=ddof, reg_covar=reg_covar, name="Y")
    return host.distance(*first, *second)
