"""How much of either set of features lies where the other one is: precision, recall and their kin.

The set of all rows that a law might give is estimated by balls about its samples, each as wide as
the k-th nearest other sample is far. Balls are closed here, as Kynkaanniemi et al. define them: a
row on the sphere is inside.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from .._results import Result, plain
from .neighbor_pass import NeighborPass, neighbor_pass

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["Manifold", "manifold"]

_FIGURES = ("precision", "recall", "density", "coverage")
DIRECTIONS = {
    **dict.fromkeys(_FIGURES, "higher is better"),
    "realism": "higher is better, 1 or more inside the estimated manifold",
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Manifold(Result):
    """What `manifold` found.

    Attributes
    ----------
    precision : float
        Share of the generated rows that lie in the ball of a real row, in [0, 1]. Higher is better:
        low where samples are unlike the data, whatever their variety.
    recall : float
        Share of the real rows that lie in the ball of a generated row, in [0, 1]. Higher is better:
        low where a part of the data is never generated.
    density : float
        Number of real balls that hold a generated row, on average, over k. Higher is better; near 1
        for two samples of one law, and above it where samples crowd where the data are dense.
    coverage : float
        Share of the real rows whose own ball holds a generated row, in [0, 1]. Higher is better;
        ``1 - 2**-k`` for two large samples of one law and of equal size.
    realism : ndarray (m,)
        The largest ratio of a real row's radius to its distance from each generated row, over the
        real rows whose radius is at most the median. Higher is better; 1 or more inside a ball,
        infinite for a copy of one of those rows.
    real_balls : ndarray of int64 (m,)
        Number of real balls that hold each generated row.
    recalled, covered : ndarray of bool (n,)
        Whether each real row lies in a generated ball, and whether its own ball holds a generated
        row.
    nearest_real : ndarray of int64 (m,)
        Nearest real row of every generated row.
    nearest_generated : ndarray of int64 (n,)
        Nearest generated row of every real row.
    n_real, n_generated, n_neighbors : int
        Rows of both sets, and the k of the balls.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    realism: np.ndarray
    real_balls: np.ndarray
    recalled: np.ndarray
    covered: np.ndarray
    nearest_real: np.ndarray
    nearest_generated: np.ndarray
    n_real: int
    n_generated: int
    n_neighbors: int

    @classmethod
    def of(cls, found: NeighborPass) -> Manifold:
        """Read the figures off a pass, without looking at the rows again.

        Parameters
        ----------
        found : NeighborPass
            With balls.

        Returns
        -------
        Manifold

        Raises
        ------
        ValueError
            If the pass was made without balls.
        """
        if found.generated_generated is None:
            raise ValueError("found must come from neighbor_pass(..., balls=True)")
        k = found.n_neighbors
        radius = found.real_real.squared_distance[:, k - 1]
        covered = found.real_generated.squared_distance[:, 0] <= radius
        recalled = found.generated_balls > 0
        return cls(
            precision=float(np.mean(found.real_balls > 0)),
            recall=float(np.mean(recalled)),
            density=float(np.mean(found.real_balls) / k),
            coverage=float(np.mean(covered)),
            realism=found.realism,
            real_balls=found.real_balls,
            recalled=recalled,
            covered=covered,
            nearest_real=found.generated_real.index[:, 0].copy(),
            nearest_generated=found.real_generated.index[:, 0].copy(),
            n_real=len(covered),
            n_generated=len(found.realism),
            n_neighbors=k,
        )

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name):.4g}" for name in _FIGURES)
        return (
            f"Manifold({shown}, n_real={self.n_real}, n_generated={self.n_generated}, "
            f"n_neighbors={self.n_neighbors})"
        )

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of the shares if rows of the counted set were drawn anew (Wilson).

        The balls are held fixed, which understates what a new draw of both sets would give.
        """
        counts = {"precision": self.n_generated, "recall": self.n_real, "coverage": self.n_real}
        return {name: _wilson(getattr(self, name), n) for name, n in counts.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, their intervals and directions as plain Python, ready for JSON."""
        return plain(
            {
                **{name: getattr(self, name) for name in _FIGURES},
                "realism_median": float(np.median(self.realism)),
                "intervals": self.intervals,
                "n_real": self.n_real,
                "n_generated": self.n_generated,
                "n_neighbors": self.n_neighbors,
                "directions": DIRECTIONS,
            }
        )

    def to_xarray(self) -> xarray.Dataset:
        """Return what was found of each row, by the dimensions ``real`` and ``generated``."""
        import xarray

        of_real = {"recalled", "covered", "nearest_generated"}
        of_generated = {"realism", "real_balls", "nearest_real"}
        columns = {
            name: (dimension, getattr(self, name))
            for dimension, names in (("real", of_real), ("generated", of_generated))
            for name in sorted(names)
        }
        shares = {name: ((), getattr(self, name)) for name in _FIGURES}
        return xarray.Dataset({**shares, **columns}, attrs={"n_neighbors": self.n_neighbors})

    def plot(self, *, width: float = 7.0) -> Figure:
        """Draw the four figures, and how realistic the generated rows are.

        Parameters
        ----------
        width : float, default 7.0
            Width of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.manifold import manifold_figure

        values = {name: getattr(self, name) for name in _FIGURES}
        return manifold_figure(values, self.realism, intervals=self.intervals, width=width)


def _wilson(share: float, n: int) -> tuple[float, float]:
    z2 = 1.959963984540054**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def manifold(
    real: Any, generated: Any, *, n_neighbors: int = 5, n_jobs: int | None = None
) -> Manifold:
    """Precision, recall, density, coverage and realism, from one exact pass over all pairs.

    All are better when higher. Precision and density see samples that are unlike the data, recall
    and coverage data that are never generated; none of them sees copies of the real rows.

    Parameters
    ----------
    real, generated : array (n, d), (m, d)
        Features of both sets, more rows than ``n_neighbors`` each; n may differ from m, but recall
        falls and coverage grows with m. NumPy, torch or CuPy, brought to the host.
    n_neighbors : int, default 5
        The k of the balls. Naeem et al. take 5, Kynkaanniemi et al. 3.
    n_jobs : int, optional
        Number of threads, as in joblib.

    Returns
    -------
    Manifold

    Raises
    ------
    TypeError, ValueError
        If a set is not a finite numeric matrix, has no more rows than ``n_neighbors``, or the sets
        differ in dimension.

    Notes
    -----
    Kynkaanniemi, Karras, Laine, Lehtinen and Aila, "Improved precision and recall metric for
    assessing generative models", NeurIPS 2019, equations 1 to 3; Naeem, Oh, Uh, Choi and Yoo,
    "Reliable fidelity and diversity metrics for generative models", ICML 2020, equations 3 and 4.

    No row is its own neighbor, but an equal row is one, at distance 0. Balls are closed: distance
    ``<=`` radius. The package prdc takes ``<``, which differs for rows that lie exactly on a
    sphere: of copies of real rows, its density is lower by up to ``1 / k``, and copies of rows that
    occur more than k times are outside of every ball.

    Distances are compared as sums in float64 of squared differences; products in float32 only sort
    out the pairs that are surely near or far. Nothing of size n m is kept.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import manifold
    >>> rng = np.random.default_rng(0)
    >>> real = rng.standard_normal((500, 4))
    >>> one_mode_of_two = np.abs(rng.standard_normal((500, 4)))
    >>> found = manifold(real, one_mode_of_two)
    >>> found.precision > 0.9, found.recall < 0.6
    (True, True)
    """
    found = neighbor_pass(
        real, generated, _validate.integer(n_neighbors, "n_neighbors"), n_jobs=n_jobs
    )
    return Manifold.of(found)
