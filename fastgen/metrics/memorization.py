"""Whether generated features are copies of training features.

Four published answers from one pass over the pairs: authenticity, the copying test, the
memorization distance of MiFID, and near copies by the ratio of the two nearest distances. A holdout
that the generator never saw tells what each would be without copying. None of them proves that
nothing was memorized: what features do not see, they do not see either.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random, _validate, _warnings
from .._results import Result, plain
from ..neighbors import finite_rows, nearest_rows
from .neighbor_pass import NeighborPass, nearest_real, neighbor_pass

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["Memorization", "copying_z", "memorization"]

DIRECTIONS = {
    "authenticity": "higher is better, near one half for new samples of the law",
    "copying_z": "below -2: closer to the training data than a holdout, copying; near 0 is best",
    "mifid_distance": "higher is better",
    "mifid_penalty": "lower is better, 1 without penalty",
    "near_copies": "lower is better, compare with near_copies_holdout",
}
# Generated rows that a cell needs for the copying test: Meehan et al. take as many.
_LEAST = 20


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Memorization(Result):
    """What `memorization` found.

    Attributes
    ----------
    authenticity : float
        Share of the generated rows that are farther from their nearest training row than that row
        is from its own nearest neighbor, in [0, 1] (AuthPct over 100). Higher is better: 0 for
        copies.
    copying_z : float or None
        C_T of Meehan et al.: how many standard deviations farther generated rows are from the
        training rows than holdout rows are. Far below 0 (-2 or less): data are copied; far above
        0: underfitting. None without holdout; NaN if no cell has enough rows.
    copying_cells : ndarray (n_cells,) or None
        Mann-Whitney's Z of each cell, NaN where a cell has too few rows.
    mifid_distance : float
        Mean over generated rows of the least ``1 - |cos|`` to a training row. Higher is better.
    mifid_penalty : float
        What MiFID multiplies the FID with: one over ``mifid_distance`` where that is below the
        threshold, else 1. Lower is better.
    distance_ratio : ndarray (m,)
        Distance to the nearest training row over that to the nearest row that differs from it.
        0 for a copy, near 1 for a row that is like no training row in particular.
    near_copies, near_copies_holdout : float
        Share of the generated and of the holdout rows whose ratio is at most ``copy_ratio``, in
        [0, 1]. Lower is better; the second, None without holdout, is what chance gives.
    holdout_ratio : ndarray (h,) or None
        ``distance_ratio`` of the holdout rows.
    nearest : ndarray of int64 (m,)
        Nearest training row of every generated row; of equally near ones the first.
    nearest_distance : ndarray (m,)
        Euclidean distance to it.
    authentic : ndarray of bool (m,)
        Which generated rows are authentic.
    holdout_duplicates : ndarray of int64
        Holdout rows that are equal to a training row.
    n_train_duplicates : int
        Training rows that are equal to another one.
    n_train, n_generated, n_holdout : int
    copy_ratio, mifid_threshold : float
        As given.
    """

    authenticity: float
    copying_z: float | None
    copying_cells: np.ndarray | None
    mifid_distance: float
    mifid_penalty: float
    distance_ratio: np.ndarray
    near_copies: float
    near_copies_holdout: float | None
    holdout_ratio: np.ndarray | None
    nearest: np.ndarray
    nearest_distance: np.ndarray
    authentic: np.ndarray
    holdout_duplicates: np.ndarray
    n_train_duplicates: int
    n_train: int
    n_generated: int
    n_holdout: int
    copy_ratio: float
    mifid_threshold: float

    def __repr__(self) -> str:
        z = "" if self.copying_z is None else f"copying_z={self.copying_z:.3g}, "
        held = (
            "" if self.near_copies_holdout is None else f" (holdout {self.near_copies_holdout:.3g})"
        )
        return (
            f"Memorization(authenticity={self.authenticity:.3g}, {z}"
            f"mifid_distance={self.mifid_distance:.3g}, near_copies={self.near_copies:.3g}{held}, "
            f"n_train={self.n_train}, n_generated={self.n_generated}, n_holdout={self.n_holdout})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and their directions as plain Python, ready for JSON."""
        names = (
            "authenticity copying_z mifid_distance mifid_penalty near_copies near_copies_holdout "
            "copying_cells n_train n_generated n_holdout n_train_duplicates copy_ratio "
            "mifid_threshold"
        ).split()
        return plain(
            {
                **{name: getattr(self, name) for name in names},
                "distance_ratio_median": float(np.median(self.distance_ratio)),
                "n_holdout_duplicates": len(self.holdout_duplicates),
                "directions": DIRECTIONS,
            }
        )

    def to_xarray(self) -> xarray.Dataset:
        """Return what was found of each row, by the dimensions ``generated`` and ``holdout``."""
        import xarray

        names = "distance_ratio", "nearest", "nearest_distance", "authentic"
        columns = {name: ("generated", getattr(self, name)) for name in names}
        if self.holdout_ratio is not None:
            columns["holdout_ratio"] = ("holdout", self.holdout_ratio)
        figures = "authenticity", "mifid_distance", "mifid_penalty", "near_copies"
        return xarray.Dataset({**{name: getattr(self, name) for name in figures}, **columns})

    def plot(self, *, width: float = 7.0) -> Figure:
        """Draw how the distance ratios of generated and of holdout rows are distributed.

        Parameters
        ----------
        width : float, default 7.0
            Width of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.manifold import ratio_figure

        return ratio_figure(
            self.distance_ratio, self.holdout_ratio, copy_ratio=self.copy_ratio, width=width
        )


def memorization(
    train: Any,
    generated: Any,
    holdout: Any = None,
    *,
    n_cells: int | None = None,
    copy_ratio: float = 1 / 3,
    mifid_threshold: float = 0.1,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> Memorization:
    """Find authenticity, copying test, MiFID's memorization term and near copies in one exact pass.

    Parameters
    ----------
    train, generated : array (n, d), (m, d)
        Features of what the generator was trained on and of what it makes; at least two training
        rows. NumPy, torch or CuPy, brought to the host.
    holdout : array (h, d), optional
        Features of data of the same law that the generator never saw: needed for the copying test.
    n_cells : int, optional
        Cells, by k-means on the training rows, in each of which the copying test is done. By
        default a cell for 200 rows of the smaller one of the sets, at least 1 and at most 20.
    copy_ratio : float, default 0.3333333333333333
        A row is a near copy if its distance to the nearest training row is at most this part of the
        distance to the next one; Yoon et al. (2023) take a third.
    mifid_threshold : float, default 0.1
        Distance from which on MiFID has no penalty.
    n_jobs : int, optional
        Number of threads, as in joblib.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of k-means.

    Returns
    -------
    Memorization

    Raises
    ------
    TypeError, ValueError
        If a set is not a finite numeric matrix, the sets differ in dimension, there is one training
        row only, or fewer training rows than cells; or an option is out of its range.

    Warns
    -----
    UserWarning
        If holdout rows are equal to training rows: figures of the holdout are then no measure of
        chance.

    Notes
    -----
    Alaa, van Breugel, Saveliev and van der Schaar, "How faithful is your synthetic data?", ICML
    2022, section 3.3. Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying
    in generative models", AISTATS 2020, section 4: Mann-Whitney's Z in each cell that has at least
    20 generated rows, weighted by holdout rows. Distances are to the nearest of all training rows,
    also beyond the border of a cell; their published code looks inside the cell only. Equal
    distances count one half each, without a correction of the variance. Bai, Lin, Raffel and Kan,
    "On training sample memorization", KDD 2021 (MiFID), sections 3 and 4; rows of zeros, which have
    no direction, are left out.

    A training row that occurs twice is at distance 0 from its neighbor: every generated row near it
    counts as authentic that is not exactly equal. ``distance_ratio`` sees such copies, since the
    second distance is to the nearest row that differs. Equally far is not authentic.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import memorization
    >>> rng = np.random.default_rng(0)
    >>> train, holdout, fresh = rng.standard_normal((3, 400, 8))
    >>> copies = train + 0.01 * rng.standard_normal((400, 8))
    >>> found = memorization(train, copies, holdout, random_state=0)
    >>> found.authenticity, found.copying_z < -10, found.near_copies
    (0.0, True, 1.0)
    >>> found = memorization(train, fresh, holdout, random_state=0)
    >>> found.authenticity > 0.3, abs(found.copying_z) < 3, found.near_copies
    (True, True, 0.0)
    """
    found = neighbor_pass(
        train, generated, 1, balls=False, n_jobs=n_jobs, names=("train", "generated")
    )
    return memorization_of(
        found, holdout, n_cells=n_cells, copy_ratio=copy_ratio, mifid_threshold=mifid_threshold,
        n_jobs=n_jobs, random_state=random_state,
    )  # fmt: skip


def memorization_of(
    found: NeighborPass,
    holdout: Any = None,
    *,
    n_cells: int | None = None,
    copy_ratio: float = 1 / 3,
    mifid_threshold: float = 0.1,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> Memorization:
    """Read the figures of `memorization` off a pass whose real rows are the training rows.

    Parameters
    ----------
    found : NeighborPass
    holdout, n_cells, copy_ratio, mifid_threshold, n_jobs, random_state
        As for `memorization`.

    Returns
    -------
    Memorization
    """
    copy_ratio = _validate.number(copy_ratio, "copy_ratio")
    threshold = _validate.number(mifid_threshold, "mifid_threshold")
    train, generated = (_arrays.to_numpy(rows) for rows in (found.real, found.generated))
    own = found.real_real.squared_distance[:, 0]
    near = found.generated_real
    nearest, squared = near.index[:, 0].copy(), near.squared_distance[:, 0]
    authentic = squared > own[nearest]
    twins = own == 0
    ratio = _ratios(generated, train, near.squared_distance, near.index, twins)
    cosine = found.cosine_distance
    known = cosine[~np.isnan(cosine)]
    distance = float(known.mean()) if known.size else float("nan")
    held, z, cells, held_ratio = np.empty(0), None, None, None
    duplicates = np.empty(0, np.int64)
    if holdout is not None:
        held = _holdout(holdout, train)
        lists = nearest_real(found, held, 2, n_jobs=n_jobs, name="holdout")
        held_ratio = _ratios(held, train, lists.squared_distance, lists.index, twins)
        beyond = lists.squared_distance[:, 0]
        duplicates = np.flatnonzero(beyond == 0)
        labels = _cells(train, (generated, held), n_cells, random_state)
        z, cells = copying_z(squared, beyond, *labels)
        _warn_of_overlap(duplicates, len(held))
    elif n_cells is not None:
        raise ValueError(
            "n_cells is for the copying test, which needs holdout; pass holdout, or leave n_cells "
            "out"
        )
    chance = None if held_ratio is None else float(np.mean(held_ratio <= copy_ratio))
    return Memorization(
        authenticity=float(authentic.mean()),
        copying_z=z,
        copying_cells=cells,
        mifid_distance=distance,
        mifid_penalty=_penalty(distance, threshold),
        distance_ratio=ratio,
        near_copies=float(np.mean(ratio <= copy_ratio)),
        near_copies_holdout=chance,
        holdout_ratio=held_ratio,
        nearest=nearest,
        nearest_distance=np.sqrt(squared),
        authentic=authentic,
        holdout_duplicates=duplicates,
        n_train_duplicates=int(twins.sum()),
        n_train=len(train),
        n_generated=len(generated),
        n_holdout=len(held),
        copy_ratio=copy_ratio,
        mifid_threshold=threshold,
    )


def _holdout(value: Any, train: np.ndarray) -> np.ndarray:
    held = finite_rows(value, "holdout")
    if held.shape[1] != train.shape[1]:
        raise ValueError(
            f"train and holdout must have the same number of columns, got {train.shape[1]} and "
            f"{held.shape[1]}; compute both with the same features"
        )
    return held


def _warn_of_overlap(duplicates: np.ndarray, n: int) -> None:
    if duplicates.size:
        _warnings.warn(
            f"{duplicates.size} of {n} holdout rows are equal to a training row, the first at "
            f"{duplicates[0]}: near_copies_holdout and copying_z understate copying; drop the rows "
            "in holdout_duplicates"
        )


def _penalty(distance: float, threshold: float) -> float:
    if not distance < threshold:
        return 1.0
    return 1 / distance if distance > 0 else float("inf")


def _ratios(
    rows: np.ndarray,
    train: np.ndarray,
    squares: np.ndarray,
    indices: np.ndarray,
    twins: np.ndarray,
) -> np.ndarray:
    """Distance to the nearest training row over that to the nearest one that differs from it.

    NaN where all training rows are equal, 0 where the nearest one is at distance 0.
    """
    first, second = squares[:, 0], squares[:, 1].copy()
    # equal training rows are equally near: only there the second one may be a twin
    again = np.flatnonzero((first == second) & twins[indices[:, 0]])
    if again.size:
        plain = train + np.zeros((), train.dtype)  # no negative zeros
        # by their bytes: rows that are sorted, as by np.unique, cost more than the pass
        firsts = {row.tobytes(): i for i, row in enumerate(plain)}
        different = plain[np.fromiter(firsts.values(), np.int64, len(firsts))]
        if len(different) > 1:
            second[again] = nearest_rows(rows[again], different, 2)[0][:, 1]
        else:
            second[again] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(first == 0, 0.0, np.sqrt(first / second))


def _cells(
    train: np.ndarray, sets: tuple[np.ndarray, np.ndarray], n_cells: int | None, random_state: Any
) -> list[np.ndarray]:
    """Cell of every row of the sets, by k-means on the training rows."""
    if n_cells is None:
        smaller = min(len(train), *(len(rows) for rows in sets))
        n_cells = min(max(smaller // 200, 1), 20)
    count = _validate.integer(n_cells, "n_cells")
    if count > len(train):
        raise ValueError(f"n_cells must be at most the {len(train)} training rows, got {count}")
    if count == 1:
        return [np.zeros(len(rows), np.int64) for rows in sets]
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    mean = train.mean(0, dtype=np.float64)
    seed = int(_random.generator(random_state).integers(2**31))
    with warnings.catch_warnings():
        # fewer different rows than cells: some cells stay empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans = KMeans(count, n_init=1, max_iter=50, random_state=seed).fit(
            (train - mean).astype(train.dtype)
        )
    return [kmeans.predict((rows - mean).astype(train.dtype)) for rows in sets]


def copying_z(
    generated: np.ndarray,
    holdout: np.ndarray,
    generated_cells: np.ndarray,
    holdout_cells: np.ndarray,
    *,
    least: int = _LEAST,
) -> tuple[float, np.ndarray]:
    """C_T: Mann-Whitney's Z of distances to the training rows, by cells, weighted by the holdout.

    Parameters
    ----------
    generated, holdout : ndarray (m,), (h,)
        Distances to the nearest training row, or any increasing function of them.
    generated_cells, holdout_cells : ndarray of int (m,), (h,)
        The cell that each row lies in.
    least : int, default 20
        Generated rows that a cell needs to be counted.

    Returns
    -------
    z : float
        Negative where generated rows are closer. NaN if no cell has ``least`` generated rows and a
        holdout row.
    cells : ndarray
        Z of each cell, NaN for those not counted.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics.memorization import copying_z
    >>> z, _ = copying_z(np.arange(20), np.arange(20) + 100, *np.zeros((2, 20), int))
    >>> round(z, 2)
    -5.41
    """
    from scipy.stats import rankdata

    count = 1 + max(generated_cells.max(initial=0), holdout_cells.max(initial=0))
    cells = np.full(count, np.nan)
    weights = np.zeros(count)
    for cell in range(count):
        mine, held = generated[generated_cells == cell], holdout[holdout_cells == cell]
        m, h = len(mine), len(held)
        if m < least or h == 0:
            continue
        ranks = rankdata(np.concatenate([mine, held]))
        above = ranks[:m].sum() - m * (m + 1) / 2  # pairs whose generated row is farther
        cells[cell] = (above - m * h / 2) / np.sqrt(m * h * (m + h + 1) / 12)
        weights[cell] = h
    if not weights.any():
        return float("nan"), cells
    counted = weights > 0
    return float(np.average(cells[counted], weights=weights[counted])), cells
