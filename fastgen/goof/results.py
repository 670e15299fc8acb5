"""What a search for nearest points returns."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATUS = ("max_iter", "converged", "exact", "failed", "interrupted")


@dataclasses.dataclass(frozen=True, eq=False)
class NearestResult:
    """Nearest points found in a generator's range, one per target.

    ``squared_distance`` is an upper bound of the squared distance to the range: a longer search can
    only lower it. Compare scores of equal effort only, and read them beside a planted floor.

    Attributes
    ----------
    z : ndarray (n, latent_dim)
        Latents. Of a mixture whose members have latents of different size, padded with NaN.
    reconstruction : ndarray of X's shape
        What the generator makes of them.
    squared_distance : ndarray (n,), float64
        Sum over pixels of squared differences between ``reconstruction`` and X, in squared units of
        X.
    status : ndarray (n,) of str
        "exact": at the rounding floor of the arithmetic, or solved in closed form; "converged":
        no more gain; "max_iter": stopped while still gaining; "failed": no start gave
        a finite output; "interrupted": not searched, or not by every member of a mixture.
    n_iter : ndarray (n,)
        Gradients of the race and steps of the solver, from the start that won.
    n_forward : ndarray (n,)
        Passes through the generator spent on the target: a forward or tangent pass counts 1, a
        reverse pass 2. What all targets share, the pool and the metric, is not counted.
    component : ndarray (n,)
        Index of the mixture member, 0 for a single generator.
    lower_bound : ndarray (n,)
        Certified: no latent is nearer. 0 where nothing is known.
    history : ndarray (n_stages, 2)
        Means over targets of ``n_forward`` and of the best squared distance so far, per stage.
    n_dropped : int
        Pool samples that were not finite.
    """

    z: np.ndarray
    reconstruction: np.ndarray
    squared_distance: np.ndarray
    status: np.ndarray
    n_iter: np.ndarray
    n_forward: np.ndarray
    component: np.ndarray
    lower_bound: np.ndarray
    history: np.ndarray
    n_dropped: int = 0

    @property
    def mse(self) -> np.ndarray:
        """Squared distance per pixel (n,), in squared units of X."""
        return self.squared_distance / max(self.reconstruction[0].size, 1)

    @property
    def finished(self) -> np.ndarray:
        """Whether each target was searched, (n,) of bool."""
        return (self.status != "interrupted") & (self.status != "failed")

    def __len__(self) -> int:
        return len(self.squared_distance)

    def __repr__(self) -> str:
        names, counts = np.unique(self.status, return_counts=True)
        found = ", ".join(f"{c} {n}" for n, c in zip(names, counts, strict=True))
        mse = self.mse[self.finished]
        middle = f"{np.median(mse):.3g}" if len(mse) else "none"
        return f"NearestResult({len(self)} targets: {found}; median MSE {middle})"

    def save(self, path: str | os.PathLike) -> None:
        """Write to an .npz file, whole or not at all.

        Parameters
        ----------
        path : path
            Ends in .npz; a file of that name is replaced.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if not os.fspath(path).endswith(".npz"):
            raise ValueError(f"path must end in .npz, got {os.fspath(path)!r}")
        with replacing(path) as beside:
            np.savez_compressed(beside, **fields)

    @classmethod
    def load(cls, path: str | os.PathLike) -> NearestResult:
        """Read what :meth:`save` wrote; nothing in the file can run.

        Parameters
        ----------
        path : path

        Returns
        -------
        NearestResult
        """
        names = {f.name for f in dataclasses.fields(cls)}
        with np.load(path, allow_pickle=False) as arrays:
            if missing := names - set(arrays.files):
                raise ValueError(
                    f"{os.fspath(path)!r} is not a saved NearestResult: it lacks "
                    f"{', '.join(sorted(missing))}"
                )
            fields = {name: arrays[name] for name in names}
        return cls(**{**fields, "n_dropped": int(fields["n_dropped"])})

    def plot(self, X: Any, *, n_images: int = 8, width: float = 7.0) -> Figure:
        """Draw targets, what was found and the error of each, worst last; and all errors.

        Parameters
        ----------
        X : array
            The targets.
        n_images : int, default 8
            Spread evenly over the ordered errors.
        width : float, default 7.0
            In inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.nearest import nearest_figure

        found = (self.reconstruction, self.mse)
        return nearest_figure(X, *found, finished=self.finished, n_images=n_images, width=width)


def join(first: NearestResult, second: NearestResult, rows: np.ndarray) -> NearestResult:
    """Return ``first`` with its ``rows`` replaced by ``second``."""
    fields = {}
    for field in dataclasses.fields(NearestResult):
        if field.name not in ("history", "n_dropped"):
            merged = getattr(first, field.name).copy()
            merged[rows] = getattr(second, field.name)
            fields[field.name] = merged
    return NearestResult(
        **fields,
        history=_mean_history(first, second),
        n_dropped=max(first.n_dropped, second.n_dropped),
    )


def _mean_history(first: NearestResult, second: NearestResult) -> np.ndarray:
    """Average two histories over the targets searched; the shorter one stays at its end."""
    parts = [(r.history, r.finished.sum()) for r in (first, second) if len(r.history)]
    longest = max((len(history) for history, _ in parts), default=0)
    total = np.zeros((longest, 2))
    for history, count in parts:
        total += count * history[np.minimum(np.arange(longest), len(history) - 1)]
    return total / max(sum(count for _, count in parts), 1)
