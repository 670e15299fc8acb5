"""The mixtures that WaM compares: number of components, separate and shared fits."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _validate

CRITERIA = ("heldout", "aic", "bic")
_CANDIDATES = (1, 2, 3, 5, 8, 12, 20, 30, 50)
_HELD_OUT = 0.2


@dataclasses.dataclass(frozen=True)
class Options:
    """How mixtures are fitted, with the names of `fastgen.mixture.GaussianMixture`."""

    covariance_type: str
    reg_covar: float
    tol: float
    max_iter: int
    n_init: int

    def fit(self, X: np.ndarray, n_components: int, rng: np.random.Generator) -> Any:
        """Fit a mixture to the rows."""
        from ..mixture import GaussianMixture

        return GaussianMixture(
            n_components, **dataclasses.asdict(self), random_state=int(rng.integers(2**31))
        ).fit(X)


def candidates(given: Sequence[int] | None, n: int, d: int, covariance_type: str) -> list[int]:
    """Numbers of components to choose from; full ones need d samples per component."""
    ks = _validate.positive_integers(_CANDIDATES if given is None else given, "candidates").tolist()
    most = n // d if covariance_type == "full" else n
    kept = [k for k in ks if k <= max(most, 1)]
    if not kept:
        raise ValueError(
            f"candidates must leave at least {d} samples (n_features) to a component of full "
            f"covariance: at most {max(most, 1)} components for {n} samples, got {ks}; reduce the "
            'features by PCA, use covariance_type="diag", or give n_components as an integer'
        )
    return kept


def choose(
    criterion: str,
    X: np.ndarray,
    options: Options,
    given: Sequence[int] | None,
    rng: np.random.Generator,
) -> tuple[int, dict[int, float]]:
    """Choose the number of components by a criterion; return also its values, least is best.

    "heldout" is minus the mean log likelihood of a fifth of the rows under a fit to the others.
    """
    train, test = X, X
    if criterion == "heldout":
        order = rng.permutation(len(X))
        n_test = max(int(_HELD_OUT * len(X)), 1)
        test, train = X[order[:n_test]], X[order[n_test:]]
    values = {}
    for k in candidates(given, len(train), X.shape[1], options.covariance_type):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the chosen one is fitted again, and warns
            model = options.fit(train, k, rng)
        score = -model.score(test) if criterion == "heldout" else getattr(model, criterion)(X)
        values[k] = float(score)
    return min(values, key=values.get), values


@dataclasses.dataclass(frozen=True)
class Pair:
    """Mixtures of two sets, and the ones that say which sample belongs to which component."""

    gmm_x: Any
    gmm_y: Any
    labels_x: Any
    labels_y: Any


def fit_pair(
    X: np.ndarray,
    Y: np.ndarray,
    n_components: int,
    options: Options,
    *,
    shared: bool,
    rng: np.random.Generator,
) -> Pair:
    """Two fits, or one E- and M-step for each set from a fit to their union."""
    if shared:
        common = options.fit(np.concatenate((X, Y)), n_components, rng)
        return Pair(common.fitted_to(X), common.fitted_to(Y), common, common)
    gmm_x, gmm_y = options.fit(X, n_components, rng), options.fit(Y, n_components, rng)
    return Pair(gmm_x, gmm_y, gmm_x, gmm_y)
