"""Studies of memorisation: GOoF against training-set size, subsampling, and unions of generators.

A generator that memorises has its training data in its range. What the studies vary follows Luzi,
"Memorization in Generative Networks and Mixtures of GANs" (MSc thesis, Rice University, 2020);
definition, protocol and bounds here are ours, and no figure of the thesis is reproduced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _random, _validate
from .._results import Result, plain
from ..neighbors import nearest_rows
from ..plotting.study import study_figure
from . import study_table as runs
from .overfitting import mre_gap

if TYPE_CHECKING:
    import xarray

__all__ = [
    "Subsample",
    "goof_against_size",
    "goof_against_subsampling",
    "goof_of_unions",
    "study_figure",
    "subsample",
]

METHODS = ("random", "kmeans")


@dataclasses.dataclass(frozen=True, eq=False)
class Subsample(Result):
    """Rows that stand for a data set.

    Attributes
    ----------
    index : ndarray (m,) of int64
        The rows chosen, in increasing order.
    assignment : ndarray (n,) of int64
        For each row the position in ``index`` of the nearest row chosen.
    squared_distance : ndarray (n,)
        Squared distance of each row to that one, in squared units of X.
    """

    index: np.ndarray
    assignment: np.ndarray
    squared_distance: np.ndarray

    @property
    def inertia(self) -> float:
        """Sum of squared distances to the nearest row chosen: what k-means makes small."""
        return float(self.squared_distance.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers of rows, and how far the others are from those chosen."""
        return plain(
            {
                "n": len(self.squared_distance),
                "n_chosen": len(self.index),
                "inertia": self.inertia,
                "greatest_squared_distance": self.squared_distance.max(),
            }
        )

    def bound(self, error: float) -> float:
        """Bound of the mean squared distance from all rows to the range of a generator.

        By ``dist(x) <= ||x - c|| + dist(c)`` and ``(a + b)^2 <= 2 a^2 + 2 b^2``.

        Parameters
        ----------
        error : float
            Largest distance, not squared, of a row chosen to the range.

        Returns
        -------
        float
            ``2 inertia / n + 2 error^2``.
        """
        error = _validate.number(error, "error")
        return 2 * self.inertia / len(self.squared_distance) + 2 * error**2


def subsample(X: Any, m: int, method: str = "random", random_state: Any = None) -> Subsample:
    """Choose m rows to train on.

    Parameters
    ----------
    X : array (n, ...)
        Trailing axes are flattened.
    m : int
        Number of rows chosen, from 1 to n.
    method : {"random", "kmeans"}, default "random"
        Rows at random without replacement; or the row nearest to the center of each of m clusters
        of k-means, filled up at random where X has fewer than m distinct rows.
    random_state : int, Generator or None
        Seed of the choice.

    Returns
    -------
    Subsample

    Raises
    ------
    TypeError, ValueError
        If X is not finite and numeric, m not in its range, or the method unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof.study import subsample
    >>> X = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    >>> found = subsample(X, 2, "kmeans", random_state=0)
    >>> found.index, found.inertia, found.bound(error=1.0)
    (array([1, 4]), 4.0, 3.333333333333333)
    """
    _validate.one_of(method, "method", METHODS)
    rows = runs.flat(runs.data(X, "X"))
    m = _validate.integer(m, "m")
    if m > len(rows):
        raise ValueError(f"m must be at most the {len(rows)} rows of X, got {m}")
    rng = _random.generator(random_state)
    if method == "random":
        index = np.sort(rng.choice(len(rows), m, replace=False))
    else:
        index = _central_rows(rows, m, rng)
    squared, assignment = nearest_rows(rows, rows[index])
    return Subsample(index, assignment[:, 0], squared[:, 0])


def _central_rows(rows: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
    """Return the row nearest to the center of each cluster, m distinct rows."""
    labels, centers = _clusters(rows, m, rng)
    gaps = ((rows - centers[labels]) ** 2).sum(axis=1)
    order = np.lexsort((gaps, labels))
    index = order[np.unique(labels[order], return_index=True)[1]]
    spare = np.setdiff1d(np.arange(len(rows)), index)
    filled = rng.choice(spare, m - len(index), replace=False)
    return np.sort(np.concatenate([index, filled]))


def _clusters(rows: np.ndarray, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and centers of k-means, fewer where there are fewer distinct rows."""
    from sklearn.cluster import KMeans

    k = min(k, len(np.unique(rows, axis=0)))
    found = KMeans(k, n_init=1, random_state=int(rng.integers(2**31))).fit(rows)
    return found.labels_, found.cluster_centers_


def goof_against_size(
    model: Any,
    X: Any,
    sizes: Sequence[int],
    *,
    X_val: Any = None,
    n_trials: int = 1,
    n_planted: int = 64,
    random_state: Any = None,
    resume: xarray.Dataset | None = None,
    progress: bool | None = None,
    **options: Any,
) -> xarray.Dataset:
    """Train on more and more rows of X and score how far the training rows are from the range.

    Parameters
    ----------
    model : LinearGAN, or callable (X_train, random_state) -> generator
        What is trained: an estimator is cloned and fitted; a function is given rows of X in their
        shape and an integer, and returns whatever `nearest` takes.
    X : array (n, ...)
    sizes : sequence of int
        Numbers of rows, at most n. Within a trial the smaller training set is part of the larger.
    X_val : array (n_val, ...), optional
        Rows never trained on.
    n_trials : int, default 1
        Repetitions with other rows and other seeds.
    n_planted : int, default 64
        Targets that each generator makes itself, for the floor.
    random_state : int, Generator or None
    resume : Dataset, optional
        An earlier result of the same call, with the same integer as ``random_state``: only what it
        lacks is computed.
    progress : bool, optional
        A bar on standard error if it is a terminal; True always, False never.
    **options
        Arguments of `nearest` but those that belong to one set of targets.

    Returns
    -------
    xarray.Dataset
        Dimensions ``size``, ``trial``, ``set`` ("train", and "validation" with ``X_val``). By set
        ``mse`` (mean squared distance per pixel), ``median``, ``rms`` (units of X) and
        ``relative``, as in `GoofScore`; by size and trial ``planted_mse``, ``recovered``
        and, with ``X_val``, ``gap`` of the medians. On Ctrl-C with what is done, the rest NaN, and
        a warning.

    Raises
    ------
    TypeError, ValueError
        For an argument out of its range, or what `nearest` refuses.

    Notes
    -----
    Distances are upper bounds: where ``planted_mse`` is not far below ``mse``, they measure the
    search.

    Examples
    --------
    Five points are fitted exactly by an affine generator of rank four, more are not:

    >>> import numpy as np
    >>> from fastgen.goof.study import goof_against_size
    >>> from fastgen.linear import LinearGAN
    >>> X = np.random.default_rng(0).standard_normal((40, 16))
    >>> found = goof_against_size(LinearGAN(4, "unsupervised"), X, [5, 10, 40], random_state=0)
    >>> found.mse.sel(set="train", trial=0).values.round(9) > 0
    array([False,  True,  True])
    """
    X, X_val = runs.data(X, "X"), runs.held_out(X_val, X)
    counts = runs.training_sizes(sizes, X)
    search = runs.Search(n_planted, options)
    sets = ("train",) if X_val is None else ("train", "validation")
    table = runs.Table("size", {"size": counts}, n_trials, sets, (), random_state, resume)

    def work(cell: runs.Cell) -> None:
        # the order belongs to the trial: training sets are nested
        order = np.random.default_rng(cell.trial_seed).permutation(len(X))
        rows = np.sort(order[: cell.values["size"]])
        generator = runs.trained(model, X[rows], cell.rng)
        seed = runs.seed(cell.rng)
        for name, targets in zip(sets, (X[rows], X_val), strict=False):
            table.put(cell, name, search.members(generator, targets, seed).min(axis=0), targets)
        table.floor(cell, search, generator)

    found = table.run(work, X, options, progress)
    if X_val is not None:
        medians = (found["median"].sel(set=name).values for name in sets)
        gaps = [mre_gap(*pair) for pair in zip(*(m.ravel() for m in medians), strict=True)]
        found["gap"] = (("size", "trial"), np.reshape(gaps, found["planted_mse"].shape))
    return found


def goof_against_subsampling(
    model: Any,
    X: Any,
    sizes: Sequence[int],
    *,
    methods: Sequence[str] = METHODS,
    X_val: Any = None,
    n_trials: int = 1,
    n_planted: int = 64,
    random_state: Any = None,
    resume: xarray.Dataset | None = None,
    progress: bool | None = None,
    **options: Any,
) -> xarray.Dataset:
    """Train on rows chosen at random and by k-means, and score the rows chosen and all rows.

    All rows are searched from the latents found for the row that stands for them, too, so that the
    bound of `Subsample.bound` holds for what is reported.

    Parameters
    ----------
    model, X
        As for `goof_against_size`.
    sizes : sequence of int
        Numbers of rows chosen, at most n.
    methods : sequence of {"random", "kmeans"}
        See `subsample`.
    X_val, n_trials, n_planted, random_state, resume, progress, **options
        As for `goof_against_size`.

    Returns
    -------
    xarray.Dataset
        Dimensions ``selection``, ``size``, ``trial``, ``set`` ("subset", "all", and "validation"
        with ``X_val``). Besides the variables of `goof_against_size` but ``gap``:
        ``mean_inertia`` (mean squared distance per pixel to the nearest row chosen), ``error``
        (largest distance of a row chosen to the range, in units of X), and ``bound`` of ``mse`` on
        all rows.

    Raises
    ------
    TypeError, ValueError
        As for `goof_against_size`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof.study import goof_against_subsampling
    >>> from fastgen.linear import LinearGAN
    >>> X = np.random.default_rng(0).standard_normal((60, 8))
    >>> found = goof_against_subsampling(LinearGAN(2, "unsupervised"), X, [10, 30], random_state=0)
    >>> bool((found.mse.sel(set="all") <= found.bound).all())
    True
    """
    X, X_val = runs.data(X, "X"), runs.held_out(X_val, X)
    counts = runs.training_sizes(sizes, X)
    methods = [_validate.one_of(method, "methods", METHODS) for method in methods]
    search = runs.Search(n_planted, options)
    sets = ("subset", "all") if X_val is None else ("subset", "all", "validation")
    # not "method", which is an argument of xarray's sel
    coords = {"selection": methods, "size": counts}
    notes = ("mean_inertia", "error", "bound")
    table = runs.Table("subsampling", coords, n_trials, sets, notes, random_state, resume)
    pixels = X[0].size

    def work(cell: runs.Cell) -> None:
        chosen = subsample(X, cell.values["size"], cell.values["selection"], cell.rng)
        generator = runs.trained(model, X[chosen.index], cell.rng)
        seed = runs.seed(cell.rng)
        latents: list[np.ndarray] = []
        subset = search.members(generator, X[chosen.index], seed, latents=latents).min(axis=0)
        starts = [z[chosen.assignment] for z in latents]
        table.put(cell, "subset", subset, X[chosen.index])
        table.put(cell, "all", search.members(generator, X, seed, starts).min(axis=0), X)
        if X_val is not None:
            table.put(cell, "validation", search.members(generator, X_val, seed).min(axis=0), X_val)
        error = float(np.sqrt(subset.max()))
        table.note(
            cell,
            mean_inertia=chosen.inertia / (len(X) * pixels),
            error=error,
            bound=chosen.bound(error) / pixels,
        )
        table.floor(cell, search, generator)

    return table.run(work, X, options, progress)


def goof_of_unions(
    models: Mapping[int, Any],
    X: Any,
    *,
    groups: Any = "kmeans",
    X_val: Any = None,
    n_trials: int = 1,
    n_planted: int = 64,
    random_state: Any = None,
    resume: xarray.Dataset | None = None,
    progress: bool | None = None,
    **options: Any,
) -> xarray.Dataset:
    """Train one generator on each of K groups of X and score the union of their ranges.

    Parameters
    ----------
    models : mapping of int to model
        Number of members K to what each of them is, as for `goof_against_size`: narrower
        models for larger K compare unions of equal total parameters, such as
        ``{1: LinearGAN(8), 4: LinearGAN(2)}``.
    X : array (n, ...)
    groups : {"kmeans", "random"} or array (n,), default "kmeans"
        How rows are dealt to members; labels, such as classes, allow 1 and the number of distinct
        labels as K.
    X_val, n_trials, n_planted, random_state, resume, progress, **options
        As for `goof_against_size`.

    Returns
    -------
    xarray.Dataset
        Dimensions ``n_members``, ``trial``, ``set``. Besides the variables of
        `goof_against_size` but ``gap``: ``bound``, the mean over rows of the squared distance
        per pixel to the range of their own member, which bounds ``mse`` of the union on "train";
        and ``n_parameters`` of all members together, NaN where they cannot be counted.

    Raises
    ------
    TypeError, ValueError
        As for `goof_against_size`, or if a group has fewer than two rows.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof.study import goof_of_unions
    >>> from fastgen.linear import LinearGAN
    >>> rng = np.random.default_rng(0)
    >>> X = np.repeat(10 * rng.standard_normal((3, 9)), 20, axis=0)
    >>> X = X + rng.standard_normal((60, 9))
    >>> models = {1: LinearGAN(3, "unsupervised"), 3: LinearGAN(1, "unsupervised")}
    >>> found = goof_of_unions(models, X, random_state=0)
    >>> bool((found.mse.sel(set="train") <= found.bound + 1e-12).all())
    True
    >>> found.n_parameters.values[:, 0]
    array([36., 54.])
    """
    X, X_val = runs.data(X, "X"), runs.held_out(X_val, X)
    if not isinstance(models, Mapping) or not models:
        raise TypeError("models must map numbers of members to models, such as {1: a, 4: b}")
    counts = _validate.positive_integers(models, "models")
    _check_groups(groups, counts, len(X))
    search = runs.Search(n_planted, options)
    sets = ("train",) if X_val is None else ("train", "validation")
    coords, notes = {"n_members": counts}, ("bound", "n_parameters")
    table = runs.Table("unions", coords, n_trials, sets, notes, random_state, resume)

    def work(cell: runs.Cell) -> None:
        count = int(cell.values["n_members"])
        labels = _dealt(groups, X, count, cell.rng)
        members = [
            runs.trained(models[count], X[labels == member], cell.rng) for member in range(count)
        ]
        seed = runs.seed(cell.rng)
        distances = search.members(members, X, seed)
        table.put(cell, "train", distances.min(axis=0), X)
        if X_val is not None:
            table.put(cell, "validation", search.members(members, X_val, seed).min(axis=0), X_val)
        own = distances[labels, np.arange(len(X))]
        table.note(
            cell,
            bound=own.mean() / X[0].size,
            n_parameters=sum(runs.n_parameters(member) for member in members),
        )
        table.floor(cell, search, members)

    return table.run(work, X, options, progress)


def _check_groups(groups: Any, counts: np.ndarray, n: int) -> None:
    if isinstance(groups, str):
        _validate.one_of(groups, "groups", METHODS)
        return
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(f"groups must have a label per row of X, {(n,)}, got {groups.shape}")
    n_labels = len(np.unique(groups))
    if not set(counts.tolist()) <= {1, n_labels}:
        raise ValueError(
            f"models must have 1 or {n_labels} members, as groups has {n_labels} labels, got "
            f"{counts.tolist()}"
        )


def _dealt(groups: Any, X: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the member of each row; groups have at least two rows."""
    if count == 1:
        labels = np.zeros(len(X), dtype=np.int64)
    elif not isinstance(groups, str):
        labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    elif groups == "random":
        labels = rng.permutation(np.arange(len(X)) % count)
    elif count > len(X):
        labels = np.arange(len(X))
    else:
        labels = _clusters(runs.flat(X), count, rng)[0]
    least = np.bincount(labels, minlength=count).min()
    if least < 2:
        raise ValueError(
            f"each of {count} members needs at least 2 rows, but one has {least}; take fewer "
            "members, or groups='random'"
        )
    return labels
