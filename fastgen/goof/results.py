"""What a search for nearest points returns."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import read_npz, write_npz
from .._results import Result, plain
from .status import Status

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


_LABELLED = (
    "squared_distance", "mse", "lower_bound", "status", "n_iter", "n_forward", "component",
)  # fmt: skip
# What belongs to all targets together.
_OVERALL = ("history", "n_dropped")


@dataclasses.dataclass(frozen=True, eq=False)
class NearestResult(Result):
    """Nearest points found in a generator's range, one per target.

    ``squared_distance`` is an upper bound of the squared distance to the range: a longer search can
    only lower it. Compare scores of equal effort only, and read them beside a planted floor.

    Attributes
    ----------
    z : ndarray (n, latent_dim)
        Latents. Where the members of a mixture have latents of different size, the shorter are
        padded with NaN.
    reconstruction : ndarray of X's shape
        What the generator makes of them.
    squared_distance : ndarray (n,), float64
        Sum over pixels of squared differences between ``reconstruction`` and X, in squared units of
        X.
    status : ndarray (n,) of str
        "exact": at the rounding floor of the arithmetic, or solved in closed form; "agreed": two
        searches that knew nothing of each other came to this point, which is evidence, not proof;
        "local": no more gain nearby, but no second search came here: there may be nearer points;
        "max_iter": stopped while still gaining; "flat": the best of the starts, where the generator
        has no slope, as behind rounding; "failed": no start gave a finite output; "interrupted":
        not searched, or not by every member of a mixture.
    n_iter : ndarray (n,)
        Gradients of the race and steps of the solver, from the start that won.
    n_forward : ndarray (n,)
        Passes through the generator spent on the target: a forward or tangent pass counts 1, a
        reverse pass 2. What all targets share, the pool and the metric, is not counted.
    component : ndarray (n,)
        Index of the mixture member, 0 for a single generator.
    lower_bound : ndarray (n,)
        Certified lower bound of the squared distance: no latent is nearer. 0 where nothing is
        known.
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
        return ~self.interrupted & (self.status != Status.FAILED.label)

    @property
    def interrupted(self) -> np.ndarray:
        """Whether the search of each target is still to be done, (n,) of bool."""
        return self.status == Status.INTERRUPTED.label

    @property
    def status_counts(self) -> dict[str, int]:
        """How many targets have each status."""
        names, counts = np.unique(self.status, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the figures over the targets that were searched as plain Python, ready for JSON.

        Returns
        -------
        dict
            ``goof`` is the root mean squared distance, ``mse`` and ``median`` are per pixel; the
            three are None if no target was searched.
        """
        squared, mse = self.squared_distance[self.finished], self.mse[self.finished]
        some = bool(len(mse))
        return plain(
            {
                "n": len(self),
                "n_searched": len(mse),
                "n_pixels": self.reconstruction[0].size,
                "goof": np.sqrt(squared.mean()) if some else None,
                "mse": mse.mean() if some else None,
                "median": np.median(mse) if some else None,
                "n_forward": self.n_forward.mean(),
                "n_dropped": self.n_dropped,
                "status": self.status_counts,
            }
        )

    def to_xarray(self) -> xarray.Dataset:
        """Return what was found for each target, labelled.

        Returns
        -------
        xarray.Dataset
            Dimensions ``target``, ``latent``: ``squared_distance``, ``mse``, ``lower_bound``,
            ``status``, ``n_iter``, ``n_forward``, ``component`` (target), ``z`` (target, latent).
        """
        import xarray

        variables = {name: ("target", getattr(self, name)) for name in _LABELLED}
        return xarray.Dataset({**variables, "z": (("target", "latent"), self.z)})

    def __len__(self) -> int:
        return len(self.squared_distance)

    def __repr__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in self.status_counts.items())
        mse = self.mse[self.finished]
        middle = f"{np.median(mse):.3g}" if len(mse) else "none"
        return f"NearestResult({len(self)} targets: {found}; median MSE {middle})"

    def save(self, path: str | os.PathLike) -> None:
        """Write to an .npz file, whole or not at all.

        Parameters
        ----------
        path : path
            Ends in .npz; a file of that name is replaced.

        Raises
        ------
        ValueError
            If ``path`` does not end in .npz.
        OSError
            If the file cannot be written; nothing is left behind.
        """
        if not os.fspath(path).lower().endswith(".npz"):
            raise ValueError(f"path must end in .npz, got {os.fspath(path)!r}")
        self.write(path)

    def write(self, path: str | os.PathLike, **beside: Any) -> None:
        """Write as `save` does, with further arrays that `load` does not read.

        Parameters
        ----------
        path : path
            Ends in .npz.
        **beside : array
            What else the file is to hold, by name.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        write_npz(path, {**fields, **beside}, compressed=True)

    @classmethod
    def load(cls, path: str | os.PathLike) -> NearestResult:
        """Read what `save` wrote; nothing in the file can run.

        Parameters
        ----------
        path : path

        Returns
        -------
        NearestResult

        Raises
        ------
        ValueError
            If the file is damaged or no saved result; the message names it.
        OSError
            If it cannot be opened.
        """
        return cls.of(read_npz(path), path)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], path: str | os.PathLike) -> NearestResult:
        """Return the result that the arrays of a file hold.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            The arrays of the file by name.
        path : path
            Where they are from, for messages.

        Returns
        -------
        NearestResult

        Raises
        ------
        ValueError
            If an array is missing, or their lengths differ.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        name = os.fspath(path)
        if missing := set(names) - set(arrays):
            raise ValueError(
                f"{name!r} is not a saved NearestResult: it lacks {', '.join(sorted(missing))}"
            )
        n = arrays["squared_distance"].shape
        lengths = {key: arrays[key].shape[:1] for key in names if key not in _OVERALL}
        if len(n) != 1 or any(shape != n for shape in lengths.values()):
            raise ValueError(f"{name!r} is not a saved NearestResult: its arrays differ in length")
        fields: dict[str, Any] = {key: arrays[key] for key in names}
        return cls(**{**fields, "n_dropped": int(arrays["n_dropped"])})

    def plot(self, X: Any, *, n_images: int = 8, width: float = 7.0) -> Figure:
        """Draw targets, what was found and the error of each, worst last; and all errors.

        Parameters
        ----------
        X : array
            The targets.
        n_images : int, default 8
            Number of targets drawn, spread evenly over the ordered errors.
        width : float, default 7.0
            Width of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.nearest import nearest_figure

        found = (self.reconstruction, self.mse)
        return nearest_figure(X, *found, finished=self.finished, n_images=n_images, width=width)


def join(first: NearestResult, second: NearestResult, rows: np.ndarray) -> NearestResult:
    """Return ``first`` with its ``rows`` replaced by ``second``."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(NearestResult):
        if field.name not in _OVERALL:
            merged = getattr(first, field.name).copy()
            merged[rows] = getattr(second, field.name)
            fields[field.name] = merged
    return NearestResult(
        **fields,
        history=mean_history([(int(r.finished.sum()), r.history) for r in (first, second)]),
        n_dropped=max(first.n_dropped, second.n_dropped),
    )


def mean_history(parts: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """Average the histories of disjoint sets of targets; a short one stays at its last stage.

    Parameters
    ----------
    parts : sequence of (int, ndarray (n_stages, 2))
        Number of targets and their mean history.
    """
    parts = [(count, history) for count, history in parts if count and len(history)]
    longest = max((len(history) for _, history in parts), default=0)
    total = np.zeros((longest, 2))
    for count, history in parts:
        total += count * history[np.minimum(np.arange(longest), len(history) - 1)]
    return total / max(sum(count for count, _ in parts), 1)
