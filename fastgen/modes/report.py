"""Which modes samples cover, and how far the samples are from the data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random, _validate
from .._results import Result, plain
from ..neighbors import nearest_rows

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ModeReport(Result):
    """How samples are shared among the modes of the data.

    A sample belongs to the mode of the nearest center. It is good if it is within ``quality``
    scales of that center.

    Attributes
    ----------
    touched : int
        Modes with at least one good sample. Of little use to tell methods apart: a generator that
        spreads its samples thinly touches all.
    filled : int
        Modes with at least ``fair_share`` of the good samples that their weight entitles them to.
    low_quality : float
        Share of the samples that are not good, in [0, 1].
    total_variation : float
        Half the sum of the differences of ``shares`` and ``weights``, in [0, 1]; 1 if no sample is
        good.
    wasserstein : float or None
        W1 of samples and reference, the cost of an optimal assignment in units of the data; None
        without a reference.
    energy_distance : float or None
        ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` over the same rows, at least 0; None without a
        reference.
    counts, good_counts : ndarray (n_modes,)
        Samples, and good samples, of each mode.
    shares : ndarray (n_modes,)
        Share of each mode in the good samples; zeros if there are none.
    weights : ndarray (n_modes,)
        Shares that the modes should have.
    centers : ndarray (n_modes, d)
    scale : ndarray (n_modes,)
    samples : ndarray (n, d)
    labels : ndarray (n,)
        Mode of each sample.
    distances : ndarray (n,)
        Distance of each sample to its center, in scales.
    quality, fair_share : float
        The arguments.
    n_compared : int
        Rows on each side of ``wasserstein`` and ``energy_distance``.
    """

    touched: int
    filled: int
    low_quality: float
    total_variation: float
    wasserstein: float | None
    energy_distance: float | None
    counts: np.ndarray
    good_counts: np.ndarray
    shares: np.ndarray
    weights: np.ndarray
    centers: np.ndarray
    scale: np.ndarray
    samples: np.ndarray
    labels: np.ndarray
    distances: np.ndarray
    quality: float
    fair_share: float
    n_compared: int

    @property
    def n_modes(self) -> int:
        """Number of modes."""
        return len(self.weights)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the shares as plain Python."""
        names = (
            "n_samples", "n_modes", "touched", "filled", "low_quality", "total_variation",
            "wasserstein", "energy_distance", "n_compared", "quality", "fair_share", "shares",
            "weights",
        )  # fmt: skip
        return {name: plain(getattr(self, name)) for name in names}

    def to_xarray(self) -> xarray.Dataset:
        """Return what belongs to a mode along the dimension "mode", the figures as attributes.

        Returns
        -------
        xarray.Dataset
            Figures that were not computed are NaN.
        """
        import xarray

        by_mode = ("counts", "good_counts", "shares", "weights", "scale")
        figures = {
            name: np.nan if value is None else value
            for name, value in self.to_dict().items()
            if name not in by_mode
        }
        return xarray.Dataset(
            {
                **{name: ("mode", getattr(self, name)) for name in by_mode},
                "centers": (("mode", "axis"), self.centers),
            },
            coords={"mode": np.arange(self.n_modes)},
            attrs=figures,
        )

    def plot(self, *, width: float = 7.0) -> Figure:
        """Draw the samples with the modes, and the share of each mode beside its weight.

        Parameters
        ----------
        width : float, default 7.0
            In inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.modes import mode_figure

        return mode_figure(
            samples=self.samples,
            good=self.distances <= self.quality,
            centers=self.centers,
            radius=self.quality * self.scale,
            shares=self.shares,
            weights=self.weights,
            fair_share=self.fair_share,
            width=width,
        )

    def __repr__(self) -> str:
        return (
            f"ModeReport({self.n_samples} samples: {self.filled} of {self.n_modes} modes filled, "
            f"{self.touched} touched; total variation {self.total_variation:.3g}; "
            f"{self.low_quality:.1%} of low quality)"
        )


def mode_report(
    samples: Any,
    centers: Any,
    scale: Any,
    *,
    weights: Any = None,
    reference: Any = None,
    quality: float = 3.0,
    fair_share: float = 0.2,
    max_compared: int = 2000,
    random_state: Any = None,
) -> ModeReport:
    """Say which modes samples cover and in what shares, and how far they are from the data.

    Parameters
    ----------
    samples : array (n, d) or (n, ...)
        Samples of a generator; images are flattened.
    centers : array (n_modes, d)
    scale : float or array (n_modes,)
        Standard deviation of a mode, the unit of ``quality``.
    weights : array (n_modes,), optional
        Shares that the modes should have, in any unit; equal ones by default.
    reference : array (m, d) or (m, ...), optional
        Rows of the data, for the distances of distributions.
    quality : float, default 3.0
        A sample is good within as many scales of the nearest center.
    fair_share : float, default 0.2
        A mode is filled if it has this part of the good samples that its weight entitles it to.
    max_compared : int, default 2000
        The two distances of distributions take as many rows of samples and reference, or what the
        smaller of the two has. An assignment of 2000 takes about a second.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of the choice of those rows.

    Returns
    -------
    ModeReport

    Raises
    ------
    TypeError, ValueError
        If an array is empty or not finite, if the numbers of columns or of modes differ, if a scale
        or the sum of the weights is not positive.

    Notes
    -----
    High quality within three standard deviations is the rule of MAD-GAN (Ghosh et al., CVPR 2018).
    ``wasserstein`` and ``energy_distance`` of two samples of one law are not 0: compare with the
    figures of a held-out sample of the data.

    Examples
    --------
    >>> from fastgen.modes import mode_report, ring
    >>> data = ring(random_state=0)
    >>> report = mode_report(data.X[:1000], data.centers, data.scale)
    >>> report.touched, report.filled, round(report.total_variation, 3)
    (4, 4, 0.5)
    """
    x = _flat(samples, "samples")
    middles = _flat(centers, "centers")
    if x.shape[1] != middles.shape[1]:
        raise ValueError(
            "samples and centers must have the same number of columns, got "
            f"{x.shape[1]} and {middles.shape[1]}"
        )
    n_modes = len(middles)
    widths = _per_mode(scale, "scale", n_modes)
    if not (widths > 0).all():
        raise ValueError(f"scale must be positive, got {widths.min():g}")
    wanted = _shares(weights, n_modes)
    reach = _validate.number(quality, "quality")
    fair = _validate.number(fair_share, "fair_share")
    most = _validate.integer(max_compared, "max_compared")

    squared, nearest = nearest_rows(x, middles)
    labels = nearest[:, 0]
    distances = np.sqrt(squared[:, 0]) / widths[labels]
    good_counts = np.bincount(labels[distances <= reach], minlength=n_modes)
    n_good = int(good_counts.sum())
    shares = good_counts / max(n_good, 1)
    wasserstein, energy, n_compared = None, None, 0
    if reference is not None:
        wasserstein, energy, n_compared = _compare(
            x, _flat(reference, "reference"), most, _random.generator(random_state)
        )
    return ModeReport(
        touched=int(np.count_nonzero(good_counts)),
        filled=int((good_counts >= fair * wanted * n_good).sum()) if n_good else 0,
        low_quality=1 - n_good / len(x),
        total_variation=float(np.abs(shares - wanted).sum() / 2) if n_good else 1.0,
        wasserstein=wasserstein,
        energy_distance=energy,
        counts=np.bincount(labels, minlength=n_modes),
        good_counts=good_counts,
        shares=shares,
        weights=wanted,
        centers=middles.copy(),
        scale=widths,
        samples=x.copy(),
        labels=labels,
        distances=distances,
        quality=reach,
        fair_share=fair,
        n_compared=n_compared,
    )


def _flat(value: Any, name: str) -> np.ndarray:
    array = _arrays.to_numpy(value, name)
    if array.ndim > 2:
        array = array.reshape(len(array), -1)
    return _validate.data_matrix(array, name, minimum_rows=1)


def _per_mode(value: Any, name: str, n_modes: int) -> np.ndarray:
    """Return a finite number of each mode, from one for all or one for each."""
    array = np.asarray(_arrays.to_host(value, name), dtype=np.float64)
    if array.shape not in ((), (n_modes,)):
        raise ValueError(
            f"{name} must be a number or have one of each of the {n_modes} modes, got shape "
            f"{array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}")
    return np.broadcast_to(array, n_modes).copy()


def _shares(weights: Any, n_modes: int) -> np.ndarray:
    if weights is None:
        return np.full(n_modes, 1 / n_modes)
    given = _per_mode(weights, "weights", n_modes)
    if given.min() < 0 or given.sum() <= 0:
        raise ValueError(
            f"weights must be at least 0 and have a positive sum, got {given.min():g} at least and "
            f"a sum of {given.sum():g}"
        )
    return given / given.sum()


def _compare(
    x: np.ndarray, y: np.ndarray, most: int, rng: np.random.Generator
) -> tuple[float, float, int]:
    """Return W1 by assignment and the energy distance of as many rows of each side."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if x.shape[1] != y.shape[1]:
        raise ValueError(
            "samples and reference must have the same number of columns, got "
            f"{x.shape[1]} and {y.shape[1]}"
        )
    count = min(len(x), len(y), most)
    a, b = (rows[rng.permutation(len(rows))[:count]] for rows in (x, y))
    across = cdist(a, b)
    energy = 2 * across.mean() - cdist(a, a).mean() - cdist(b, b).mean()
    return (
        float(across[linear_sum_assignment(across)].mean()),
        max(float(energy), 0.0),
        count,
    )
