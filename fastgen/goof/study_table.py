"""What the studies share: training, searches, and a table of results that may be interrupted."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random, _validate
from .._progress import reporter
from .._warnings import warn
from .generators import members_of
from .scores import figures, planted
from .search import nearest, without_advice

if TYPE_CHECKING:
    import xarray

FIGURES = ("mse", "median", "rms", "relative")
_FLOOR = ("planted_mse", "recovered")
_OPTIONS = (
    "latent_dim", "prior", "domain", "effort", "pool_size", "n_starts", "method", "max_iter",
    "penalty", "polish", "device",
)  # fmt: skip


class Search:
    """Searches of equal effort.

    Parameters
    ----------
    n_planted : int
        Number of targets that each generator makes itself.
    options : dict
        Arguments of `nearest`.
    """

    def __init__(self, n_planted: Any, options: dict[str, Any]) -> None:
        for name in options:
            if name not in _OPTIONS:
                raise TypeError(
                    f"{name} is no option of a study; those of nearest() that make sense here are "
                    f"{', '.join(_OPTIONS)}"
                )
        self.n_planted = _validate.integer(n_planted, "n_planted")
        self.options = options

    def members(
        self,
        generator: Any,
        X: np.ndarray,
        seed: int,
        starts: Sequence[np.ndarray] | None = None,
        latents: list[np.ndarray] | None = None,
    ) -> np.ndarray:
        """Return squared distances (n_members, n) of rows to the range of every member.

        Parameters
        ----------
        generator : generator or list of them
        X : ndarray (n, ...)
        seed : int
            Seed of the pools.
        starts : sequence of ndarray (n, k), optional
            Latents to start at, by member.
        latents : list, optional
            Those found are appended, by member.
        """
        found = []
        for j, member in enumerate(members_of(generator)):
            init = None if starts is None else starts[j]
            with without_advice():
                result = nearest(
                    member, X, init=init, random_state=seed, progress=False, **self.options
                )
            if result.interrupted.any():
                raise KeyboardInterrupt
            found.append(result.squared_distance)
            if latents is not None:
                latents.append(result.z)
        return np.array(found)

    def floor(self, generator: Any, seed: int) -> tuple[float, float]:
        """Return mean squared distance per pixel of planted targets and the share recovered."""
        members = members_of(generator)
        with without_advice():
            found = planted(
                members if len(members) > 1 else members[0],
                max(self.n_planted, len(members)),
                random_state=seed,
                progress=False,
                **self.options,
            )
        if found.nearest.interrupted.any():
            raise KeyboardInterrupt
        return float(found.mse.mean()), found.recovered


@dataclasses.dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes
    ----------
    position : tuple of int
    values : dict
        Coordinates by dimension.
    rng : Generator
        Random numbers of this cell alone, whatever else is computed.
    trial_seed : int
        Shared by all cells of the trial.
    """

    position: tuple[int, ...]
    values: dict[str, Any]
    rng: np.random.Generator
    trial_seed: int


class Table:
    """Results by cell, NaN until they are computed.

    Parameters
    ----------
    study : str
        Its name, kept in the result.
    coords : mapping of str to sequence
        Dimensions before ``trial``.
    n_trials : int
    sets : sequence of str
        What is scored in each cell.
    notes : sequence of str
        Names of single values per cell.
    random_state : int, Generator or None
    resume : Dataset or None
    """

    def __init__(
        self,
        study: str,
        coords: Mapping[str, Any],
        n_trials: Any,
        sets: Sequence[str],
        notes: Sequence[str],
        random_state: Any,
        resume: xarray.Dataset | None,
    ) -> None:
        n_trials = _validate.integer(n_trials, "n_trials")
        self.coords = {**coords, "trial": np.arange(n_trials)}
        self.sets, self.study, self.random_state = list(sets), study, random_state
        shape = tuple(len(values) for values in self.coords.values())
        self.figures = {name: np.full((*shape, len(sets)), np.nan) for name in FIGURES}
        self.notes = {name: np.full(shape, np.nan) for name in (*_FLOOR, *notes)}
        self.cells = _cells(self.coords, shape, _random.generator(random_state))
        if resume is not None:
            self._take_up(resume)

    def _take_up(self, earlier: xarray.Dataset) -> None:
        """Copy what an earlier result holds."""
        if not isinstance(self.random_state, int | np.integer):
            raise ValueError("resume needs the integer random_state of the call that is resumed")
        attrs = getattr(earlier, "attrs", {})
        same = attrs.get("study") == self.study and attrs.get("random_state") == self.random_state
        same = same and {"set", *self.coords} == set(earlier.dims) and all(
            np.array_equal(earlier[name].values, values) for name, values in self.coords.items()
        )  # fmt: skip
        if not same or list(earlier["set"].values) != self.sets:
            raise ValueError("resume must be the result of an earlier call with the same arguments")
        for values in (self.figures, self.notes):
            for name in values:
                values[name][...] = earlier[name].values

    def put(self, cell: Cell, name: str, squared: np.ndarray, X: np.ndarray) -> None:
        """Enter figures of squared distances (n,) from targets X."""
        found = figures(squared, X)
        for figure in FIGURES:
            self.figures[figure][(*cell.position, self.sets.index(name))] = found[figure]

    def note(self, cell: Cell, **values: float) -> None:
        """Enter single values."""
        for name, value in values.items():
            self.notes[name][cell.position] = value

    def floor(self, cell: Cell, search: Search, generator: Any) -> None:
        """Search planted targets and enter their figures: the cell is finished."""
        mse, recovered = search.floor(generator, seed(cell.rng))
        self.note(cell, recovered=recovered, planted_mse=mse)

    def run(
        self,
        work: Callable[[Cell], None],
        X: np.ndarray,
        options: dict[str, Any],
        progress: bool | None,
    ) -> xarray.Dataset:
        """Do ``work`` for the cells that lack results; Ctrl-C ends it with those that are done."""
        todo = [c for c in self.cells if np.isnan(self.notes["planted_mse"][c.position])]
        with reporter(progress, unit="generator", total=len(todo)) as report:
            try:
                for cell in todo:
                    work(cell)
                    report()
            except KeyboardInterrupt:
                for name in FIGURES:
                    self.figures[name][cell.position] = np.nan
                done = int((~np.isnan(self.notes["planted_mse"])).sum())
                warn(
                    f"interrupted after {done} of {len(self.cells)} generators; pass the result as "
                    "resume= with the same random_state to go on",
                    RuntimeWarning,
                )
        return self._dataset(X, options)

    def _dataset(self, X: np.ndarray, options: dict[str, Any]) -> xarray.Dataset:
        import xarray

        dims = tuple(self.coords)
        variables = {name: ((*dims, "set"), values) for name, values in self.figures.items()}
        variables |= {name: (dims, values) for name, values in self.notes.items()}
        attrs = {
            "study": self.study,
            "n_rows": len(X),
            "n_pixels": X[0].size,
            "least_value": float(X.min()),
            "greatest_value": float(X.max()),
            "options": json.dumps(options, default=repr, sort_keys=True),
        }
        if isinstance(self.random_state, int | np.integer):
            attrs["random_state"] = int(self.random_state)
        return xarray.Dataset(variables, coords={**self.coords, "set": self.sets}, attrs=attrs)


def _cells(
    coords: Mapping[str, Any], shape: tuple[int, ...], rng: np.random.Generator
) -> list[Cell]:
    """Return all cells, trial by trial; their seeds do not depend on what is computed."""
    found = []
    for trial, of_trial in enumerate(rng.spawn(shape[-1])):
        trial_seed = seed(of_trial)
        positions = list(np.ndindex(shape[:-1]))
        for position, own in zip(positions, of_trial.spawn(len(positions)), strict=True):
            place = (*position, trial)
            values = {
                name: values[i] for (name, values), i in zip(coords.items(), place, strict=True)
            }
            found.append(Cell(place, values, own, trial_seed))
    return found


def n_parameters(generator: Any) -> float:
    """Return the number of parameters, NaN where they cannot be counted."""
    if hasattr(generator, "components_"):
        return float(generator.components_.size + generator.mean_.size)
    if hasattr(generator, "parameters"):
        return float(sum(parameter.numel() for parameter in generator.parameters()))
    return float("nan")


def data(X: Any, name: str) -> np.ndarray:
    """Return finite numeric rows in their shape."""
    X = _arrays.to_numpy(X)
    if X.ndim < 2 or not X.size:
        raise ValueError(f"{name} must have shape (n, ...) with at least one row, got {X.shape}")
    _validate.data_matrix(flat(X), name, minimum_rows=1)
    return X


def flat(X: np.ndarray) -> np.ndarray:
    """Return rows without further axes."""
    return X.reshape(len(X), -1)


def held_out(X_val: Any, X: np.ndarray) -> np.ndarray | None:
    """Return checked rows of the shape of X."""
    if X_val is None:
        return None
    X_val = data(X_val, "X_val")
    if X_val.shape[1:] != X.shape[1:]:
        raise ValueError(
            f"X_val must have rows of the shape of X, {X.shape[1:]}, got {X_val.shape[1:]}"
        )
    return X_val


def training_sizes(sizes: Sequence[int], X: np.ndarray) -> np.ndarray:
    """Return sorted numbers of rows."""
    found = _validate.positive_integers(sizes, "sizes")
    if found[-1] > len(X):
        raise ValueError(f"sizes must be at most the {len(X)} rows of X, got {found[-1]}")
    return found


def seed(rng: np.random.Generator) -> int:
    """Return a seed that every library takes."""
    return int(rng.integers(2**31))


def trained(model: Any, X: np.ndarray, rng: np.random.Generator) -> Any:
    """Return a generator trained on rows X, by an estimator or by the user's function."""
    chosen = seed(rng)
    if hasattr(model, "fit") and hasattr(model, "get_params"):
        from sklearn.base import clone

        model = clone(model)
        if "random_state" in model.get_params():
            model.set_params(random_state=chosen)
        return model.fit(flat(X))
    if not callable(model):
        raise TypeError(
            "a model must be an estimator such as LinearGAN or a function (X_train, random_state) "
            f"-> generator, got {type(model).__name__}"
        )
    return model(X, chosen)
