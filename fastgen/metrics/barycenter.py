"""Barycenters of Gaussian mixtures: a multimarginal plan over barycenters of Gaussians."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _results, _validate, _warnings
from . import _maps, _transport
from .covariances import same_dimension, weight_vector
from .mixture import parse

_MAX_TUPLES = 20_000


@dataclasses.dataclass(frozen=True, repr=False)
class MixtureBarycenter(_results.Result):
    """What `mixture_barycenter` found: a mixture, with scikit-learn's names.

    Attributes
    ----------
    weights_ : array (K,)
    means_ : array (K, d)
    covariances_ : array (K, d, d)
    members_ : int array (K, J)
        Which component of each mixture an averaged component comes from.
    objective_ : float
        Sum over the mixtures of weight times squared MW2 distance to the barycenter.
    converged_ : bool
        Whether the fixed point was reached for every component that was averaged.
    """

    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
    members_: np.ndarray
    objective_: float
    converged_: bool

    def __repr__(self) -> str:
        return (
            f"MixtureBarycenter(n_components={len(self.weights_)}, "
            f"objective_={self.objective_:.6g}, converged_={self.converged_})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain Python, for JSON."""
        return _results.plain(
            {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        )


def mixture_barycenter(
    mixtures: Sequence[Any], weights: Any = None, *, tol: float = 1e-10, max_iter: int = 500
) -> MixtureBarycenter:
    """Barycenter of Gaussian mixtures for the MW2 distance (section 5 of Delon and Desolneux).

    Every choice of one component per mixture has a Gaussian barycenter; a multimarginal transport
    plan, a linear program over all choices, says which of them have mass.

    Parameters
    ----------
    mixtures : sequence of J mixtures
        As for `mw2`; on the host.
    weights : array (J,), optional
        Equal by default.
    tol : float, default 1e-10
        The fixed point iteration of a covariance stops when a step changes it by less than this
        share of its first trace.
    max_iter : int, default 500

    Returns
    -------
    MixtureBarycenter

    Raises
    ------
    TypeError, ValueError
        As for `mw2`; or for more than 20000 choices of components.

    Warns
    -----
    UserWarning
        If an iteration stopped short of the tolerance, as it may for singular covariances.

    Examples
    --------
    >>> from fastgen.metrics import mixture_barycenter
    >>> found = mixture_barycenter([([1.0], [[0.0]], [1.0]), ([1.0], [[4.0]], [9.0])])
    >>> found.means_, found.covariances_.round(12)
    (array([[2.]]), array([[[4.]]]))
    """
    parsed = [parse(mixture, f"mixtures[{j}]") for j, mixture in enumerate(mixtures)]
    if not parsed:
        raise ValueError("mixtures must hold at least one mixture, got an empty sequence")
    weights = np.ones(len(parsed)) if weights is None else weights
    weights = weight_vector(weights, "weights", len(parsed), total=None)
    tol, max_iter = _validate.number(tol, "tol"), _validate.integer(max_iter, "max_iter")
    for j, one in enumerate(parsed[1:], 1):
        same_dimension(parsed[0].means_, one.means_, "mixtures[0]", f"mixtures[{j}]")
    shape = tuple(len(one.weights_) for one in parsed)
    if np.prod(shape, dtype=float) > _MAX_TUPLES:
        raise ValueError(
            f"mixtures must have at most {_MAX_TUPLES} choices of one component each, got "
            f"{' x '.join(map(str, shape))}; merge components, or average fewer mixtures"
        )
    cost, centers, converged = _choices(parsed, shape, weights, tol, max_iter)
    if not converged:
        _warnings.warn(
            f"a barycenter of covariances did not converge in {max_iter} steps to {tol:g}; raise "
            "max_iter, or add a multiple of the identity to singular covariances"
        )
    plan, objective = _transport.solve_multimarginal([one.weights_ for one in parsed], cost)
    members = np.argwhere(plan > 0)
    found = [tuple(cell) for cell in members.tolist()]
    means = [
        weights @ np.array([one.means_[i] for one, i in zip(parsed, cell, strict=True)])
        for cell in found
    ]
    return MixtureBarycenter(
        np.array([plan[cell] for cell in found]),
        np.array(means),
        np.array([centers[cell] for cell in found]),
        members,
        objective,
        converged,
    )


def _choices(parsed, shape, weights, tol, max_iter):
    """Costs of all choices of one component each, their barycenters, and whether all converged."""
    cost = np.empty(shape)
    centers: dict[tuple[int, ...], np.ndarray] = {}
    converged = True
    for cell in itertools.product(*map(range, shape)):
        roots = [one.components[i].root for one, i in zip(parsed, cell, strict=True)]
        means = np.array([one.means_[i] for one, i in zip(parsed, cell, strict=True)])
        center = _maps.barycenter(roots, weights, tol, max_iter)
        centers[cell] = center.covariance
        converged &= center.converged
        spread = weights @ ((means - weights @ means) ** 2).sum(axis=1)
        cost[cell] = spread + center.cost
    return cost, centers, converged
