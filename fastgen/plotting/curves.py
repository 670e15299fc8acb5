"""The curves of a sweep: one metric of one problem over the latent dimension."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray

_DIMS = ("problem", "n_supervised", "latent_dim", "trial")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One metric of one problem over the latent dimension.

    Attributes
    ----------
    problem : str
    n_supervised : int or None
        Number of pairs; None where pairs play no part.
    latent_dims : ndarray (n_latent_dims,) of int64
        Those with at least one finished trial.
    values : ndarray (n_latent_dims, n_trials)
        NaN for trials that have not finished.
    """

    problem: str
    n_supervised: int | None
    latent_dims: np.ndarray
    values: np.ndarray

    def quantile(self, q: float) -> np.ndarray:
        """Return a quantile over the finished trials, one per latent dimension."""
        return np.nanquantile(self.values, q, axis=1)


def curves(dataset: xarray.Dataset, metric: str) -> list[Curve]:
    """Return the curves of a sweep in its order, the unsupervised one once.

    Parameters
    ----------
    dataset : xarray.Dataset
        Result of `fastgen.linear.sweep`.
    metric : str
        Name of a variable with dimensions among problem, n_supervised, latent_dim and trial.

    Returns
    -------
    list of Curve

    Raises
    ------
    TypeError
        If ``dataset`` is no Dataset.
    ValueError
        If it is not a sweep, has further dimensions, or holds no finished trial of a problem.
    """
    import xarray

    if not isinstance(dataset, xarray.Dataset):
        raise TypeError(
            "dataset must be the xarray.Dataset that fastgen.linear.sweep returns, got "
            f"{type(dataset).__name__}"
        )
    missing = [name for name in (metric, *_DIMS) if name not in dataset.variables]
    if missing:
        raise ValueError(
            "dataset must be the result of fastgen.linear.sweep, but it lacks " + ", ".join(missing)
        )
    array = dataset[metric]
    more = [str(name) for name in array.dims if name not in _DIMS]
    if more:
        raise ValueError(
            f"dataset must have the dimensions {', '.join(_DIMS)} only, got {', '.join(more)} too; "
            f"select one value, as in dataset.isel({more[0]}=0)"
        )
    array = array.expand_dims([name for name in _DIMS if name not in array.dims])
    array = array.transpose(*_DIMS).sortby("latent_dim")
    # sweeps of earlier versions have no such attribute
    unpaired = json.loads(dataset.attrs.get("unpaired", '["unsupervised"]'))
    found = []
    for i, problem in enumerate(array.problem.values.tolist()):
        for j, n_pairs in enumerate(array.n_supervised.values.tolist()):
            paired = problem not in unpaired
            if j and not paired:
                continue
            values = np.asarray(array[i, j], dtype=np.float64)
            kept = ~np.isnan(values).all(axis=1)
            if not kept.any():
                raise ValueError(f"dataset holds no finished trial of {problem!r} to summarize")
            found.append(
                Curve(
                    problem=str(problem),
                    n_supervised=int(n_pairs) if paired else None,
                    latent_dims=array.latent_dim.values[kept].astype(np.int64),
                    values=values[kept],
                )
            )
    return found


def laws(dataset: xarray.Dataset) -> dict[str, str]:
    """Return the law in `fastgen.gains.LAWS` of each problem of a sweep whose mean gain is known.

    Parameters
    ----------
    dataset : xarray.Dataset
        Result of `fastgen.linear.sweep`; those of earlier versions name no laws, and problems have
        the law of their own name.
    """
    named = dataset.attrs.get("laws")
    if named is not None:
        return json.loads(named)
    return {str(name): str(name) for name in np.atleast_1d(dataset["problem"].values)}
