"""The mixtures that WaM compares: number of components, separate and shared fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _validate, _warnings
from .covariances import Covariance
from .mixture import Parsed

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
        """Fit a mixture to rows that are checked already."""
        from ..mixture import GaussianMixture

        return GaussianMixture(
            n_components, **dataclasses.asdict(self), random_state=int(rng.integers(2**31))
        ).fit(_validate.Rows(X))


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
        with _warnings.silenced():  # the chosen one is fitted again, and warns
            model = options.fit(train, k, rng)
        rows = _validate.Rows(test)
        score = -model.score(rows) if criterion == "heldout" else getattr(model, criterion)(rows)
        values[k] = float(score)
    return min(values, key=lambda k: values[k]), values


@dataclasses.dataclass(frozen=True)
class Pair:
    """Mixtures of two sets, and the ones that say which sample belongs to which component."""

    gmm_x: Any
    gmm_y: Any
    labels_x: Any
    labels_y: Any

    def parsed(self) -> tuple[Parsed, Parsed]:
        """Both mixtures as distances take them."""
        return parsed(self.gmm_x), parsed(self.gmm_y)


def parsed(gmm: Any) -> Parsed:
    """Copy the parameters of a mixture that this package has fitted: they need no check."""
    weights, means = gmm.weights_ / gmm.weights_.sum(), gmm.means_.copy()
    k, d = means.shape
    values, kind = gmm.covariances_.copy(), gmm.covariance_type
    if kind == "tied":
        return Parsed(weights, means, [Covariance("full", values, "the tied covariance")] * k)
    if kind == "spherical":
        values = np.repeat(values[:, None], d, axis=1)
    shape = "full" if kind == "full" else "diagonal"
    components = [Covariance(shape, one, f"covariance {i}") for i, one in enumerate(values)]
    return Parsed(weights, means, components)


def fitted_to(gmm: Any, rows: np.ndarray) -> Parsed:
    """Parameters of one E- and M-step from a mixture on rows that are checked already."""
    return parsed(gmm.fitted_to(_validate.Rows(rows)))


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
        gmm_x, gmm_y = (common.fitted_to(_validate.Rows(rows)) for rows in (X, Y))
        return Pair(gmm_x, gmm_y, common, common)
    gmm_x, gmm_y = options.fit(X, n_components, rng), options.fit(Y, n_components, rng)
    return Pair(gmm_x, gmm_y, gmm_x, gmm_y)
