"""How many components a nonparametric mixture should have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _random, _validate, _warnings
from ._evaluation import effective_parameters

if TYPE_CHECKING:
    import xarray

    from .nonparametric import NonparametricMixture

_PENALTIES: dict[str, Callable[[int], float]] = {"aic": lambda n: 2.0, "bic": np.log}


def select_components(
    X: Any,
    candidates: Any,
    *,
    criterion: str = "heldout",
    n_splits: int = 5,
    random_state: Any = None,
    n_jobs: int | None = None,
    **parameters: Any,
) -> xarray.Dataset:
    """Compare numbers of components of a `NonparametricMixture`.

    Parameters
    ----------
    X : array-like (n_samples, n_features)
        The data.
    candidates : int or iterable of int
        Numbers of components to compare.
    criterion : {"heldout", "bic", "aic"}, default "heldout"
        "heldout": mean log density of rows that were left out, over folds. "bic" and "aic" charge
        the objective with an effective number of parameters: of each component and block the sum,
        over its entries, of the share of the entry's own kernel in the density there, less one;
        and one less than the number of components for the weights.
    n_splits : int, default 5
        Folds of "heldout", of shuffled rows.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of the folds and of the starts, which are the same for all candidates.
    n_jobs : int, optional
        Fits in parallel threads.
    **parameters
        Other parameters of `NonparametricMixture`, but no centers or posteriors as ``init``.

    Returns
    -------
    xarray.Dataset
        Dimension ``n_components``, sorted, and for "heldout" ``fold``; variables

        - ``score``: larger is better; the mean log density per row left out, or minus BIC or AIC;
        - ``converged``: whether the fit converged;
        - ``n_parameters``: effective number, only for "bic" and "aic".

        The attribute ``best`` is the number of components of the largest mean score. For "heldout"
        a smaller number within one standard error may serve as well.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.mixture import select_components
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 3)) + 6 * rng.integers(0, 2, (200, 1))
    >>> found = select_components(X, [1, 2], random_state=0)
    >>> found.attrs["best"]
    2
    """
    import joblib
    import xarray

    counts = _validate.positive_integers(candidates, "candidates")
    _validate.one_of(criterion, "criterion", ("heldout", "bic", "aic"))
    rows = _validate.data_matrix(X, "X")
    folds = [np.zeros(len(rows), dtype=bool)]
    entropy = _random.seed_sequence(random_state).generate_state(2)
    if criterion == "heldout":
        n_splits = _validate.integer(n_splits, "n_splits", minimum=2)
        if n_splits > len(rows):
            raise ValueError(f"n_splits must be at most the {len(rows)} rows of X, got {n_splits}")
        order = np.random.default_rng(entropy[0]).permutation(len(rows))
        folds = [np.isin(np.arange(len(rows)), part) for part in np.array_split(order, n_splits)]
    seed = int(entropy[1])
    jobs = [(int(count), fold) for count in counts for fold in folds]
    found = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
        joblib.delayed(_score)(rows, fold, count, criterion, seed, parameters)
        for count, fold in jobs
    )
    dims = ("n_components", "fold") if criterion == "heldout" else ("n_components",)
    shape = (len(counts), len(folds))[: len(dims)]
    scores, converged, sizes = (np.reshape(column, shape) for column in zip(*found, strict=True))
    variables = {"score": (dims, scores), "converged": (dims, converged)}
    if criterion != "heldout":
        variables["n_parameters"] = (dims, sizes)
    means = scores.reshape(len(counts), -1).mean(axis=1)
    attributes = {"criterion": criterion, "best": int(counts[means.argmax()])}
    return xarray.Dataset(variables, {"n_components": counts}, attributes)


def stability(
    mixture: NonparametricMixture,
    X: Any,
    *,
    n_resamples: int = 20,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> np.ndarray:
    """Fit again to resampled rows, and compare the clusters of all rows with those of a fit.

    Parameters
    ----------
    mixture : NonparametricMixture
        Fitted to X; it stays as it is. Its ``init`` must be "k-means++".
    X : array-like (n_samples, n_features)
        The rows that it was fitted to.
    n_resamples : int, default 20
        Bootstrap samples: as many rows as X has, drawn with replacement.
    random_state : int, numpy.random.Generator, SeedSequence, RandomState or None
        Seed of the resamples and of the starts.
    n_jobs : int, optional
        Fits in parallel threads.

    Returns
    -------
    ndarray (n_resamples,)
        Adjusted Rand indices, of the labels that each fit gives to the rows of X and ``labels_``: 1
        where the clusters are the same, about 0 where they agree by chance.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, or X of another number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.mixture import NonparametricMixture, stability
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 3)) + 6 * rng.integers(0, 2, (200, 1))
    >>> fit = NonparametricMixture(2, random_state=0).fit(X)
    >>> bool(stability(fit, X, n_resamples=3, random_state=0).min() > 0.95)
    True
    """
    import joblib
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(mixture)
    rows = _validate.data_matrix(X, "X")
    if len(rows) != len(mixture.labels_):
        raise ValueError(
            f"X must be the {len(mixture.labels_)} rows that the mixture was fitted to, got "
            f"{len(rows)}"
        )
    if not isinstance(mixture.init, str):
        raise ValueError('init must be "k-means++": centers or posteriors belong to other rows')
    n_resamples = _validate.integer(n_resamples, "n_resamples")
    seeds = _random.seed_sequence(random_state).spawn(n_resamples)
    found = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
        joblib.delayed(_agreement)(mixture, rows, seed) for seed in seeds
    )
    return np.array(found)


def _agreement(
    mixture: NonparametricMixture, rows: np.ndarray, seed: np.random.SeedSequence
) -> float:
    """Return the adjusted Rand index of a fit to resampled rows and the fit that is given."""
    from sklearn.base import clone
    from sklearn.metrics import adjusted_rand_score

    draw, start = seed.spawn(2)
    chosen = np.random.default_rng(draw).integers(len(rows), size=len(rows))
    again = clone(mixture).set_params(random_state=start, progress=False)
    with _warnings.silenced():  # the fit that is given has warned of what concerns it
        again.fit(rows[chosen])
    return float(adjusted_rand_score(mixture.labels_, again.predict(rows)))


def _score(
    rows: np.ndarray,
    left_out: np.ndarray,
    n_components: int,
    criterion: str,
    seed: int,
    parameters: dict[str, Any],
) -> tuple[float, bool, float]:
    """Score of one fit, whether it converged, and its effective number of parameters."""
    from sklearn.exceptions import ConvergenceWarning

    from .nonparametric import NonparametricMixture

    with _warnings.silenced(ConvergenceWarning):  # the result tells which did not converge
        fit = NonparametricMixture(n_components, random_state=seed, **parameters)
        fit.fit(rows[~left_out])
    if criterion == "heldout":
        return fit.score(rows[left_out]), fit.converged_, np.nan
    size = effective_parameters(fit._fitted)
    penalty = _PENALTIES[criterion](len(rows))
    return 2 * fit.objective_[-1] - penalty * size, fit.converged_, size
