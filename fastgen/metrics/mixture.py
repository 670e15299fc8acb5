"""Optimal transport between Gaussian mixtures: MW2, its plan, maps, interpolation, barycenter.

Delon and Desolneux, "A Wasserstein-type distance in the space of Gaussian mixture models", SIAM J.
Imaging Sci. 13(2), 2020. ``MW2^2`` is the least cost of moving the components of one mixture to
those of the other, where a pair of components costs the squared 2-Wasserstein distance of the two
Gaussians. It is at least the squared distance of the mixtures' moments (the FID) and at least W2^2.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _validate
from .._arrays import library
from .._dispatch.nuclear import LANE_COLUMNS
from . import _maps, _transport
from .covariances import Covariance, covariance_list, mean_matrix, real_array, weight_vector
from .engines.host import PairParts, bounds, mean_costs
from .gaussian import check_dtype, dist_bures_squared, same_dimension

# Bounds take an eigenproblem per component, and spare about half of the pairs: they pay where the
# pairs, by the cube of their rank, are this many times the components, by that of the dimension.
# Small factors share vector registers, so that a pair costs less (bench/peers/bures.py).
_LAZY_GAIN = 4
_LAZY_GAIN_SMALL = 20


@dataclasses.dataclass(frozen=True)
class MixtureParameters:
    """A Gaussian mixture as numbers, with scikit-learn's names.

    Attributes
    ----------
    weights_ : array (K,)
    means_ : array (K, d)
    covariances_ : array (K, d, d)
    """

    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray


@dataclasses.dataclass(frozen=True)
class Parsed:
    """A mixture as it is computed with."""

    weights_: np.ndarray
    means_: np.ndarray
    components: list[Covariance]


@dataclasses.dataclass(frozen=True, repr=False)
class MW2Result:
    """What `mw2` found.

    Attributes
    ----------
    squared_distance : float or torch.Tensor
        ``MW2**2``, in the units of the FID.
    plan : array (K0, K1)
        Mass moved from each component to each; at most ``K0 + K1 - 1`` cells are not zero.
    costs : array (K0, K1)
        Squared distances of the components; lower bounds of them where ``exact`` is False.
    mean_costs : array (K0, K1)
        The part of the means, ``|m_i - m_j|**2``.
    exact : bool array (K0, K1)
    bracket : (float, float)
        Lower and upper bound of ``squared_distance`` from eigenvalues and symmetric roots alone;
        both are ``squared_distance`` itself where all costs were computed.
    n_evaluated : int
        Distinct pairs of different covariances whose distance was computed.
    clamped : float
        The largest negative covariance part, an effect of rounding, that was set to zero.
    """

    squared_distance: Any
    plan: Any
    costs: Any
    mean_costs: Any
    exact: np.ndarray
    bracket: tuple[float, float]
    n_evaluated: int
    clamped: float
    _source: Any
    _target: Any

    def __repr__(self) -> str:
        return (
            f"MW2Result(squared_distance={float(_host(self.squared_distance)):.6g}, "
            f"plan={tuple(self.plan.shape)}, n_evaluated={self.n_evaluated})"
        )

    @property
    def contributions(self) -> Any:
        """``plan * costs``: what each pair of components adds to the squared distance."""
        return self.plan * self.costs

    def transport(self, X: Any, *, method: str = "mean", random_state: Any = None) -> np.ndarray:
        """Move samples of the first mixture to the second (section 6.3 of the paper).

        Parameters
        ----------
        X : array (n, d)
        method : "mean" or "random", default "mean"
            The mean of the optimal coupling given x: keeps the mean but shrinks the spread. Or one
            pair of components drawn for each sample: the image follows the second mixture.
        random_state : int, numpy.random.Generator or None

        Returns
        -------
        array (n, d)

        Raises
        ------
        ValueError
            If ``X`` does not fit, or a component of the first mixture is singular, so that it has
            no density (one component alone needs none).

        Warns
        -----
        UserWarning
            If the second of a pair has the higher rank: then no map reaches it.
        """
        _validate.one_of(method, "method", ("mean", "random"))
        X = _validate.data_matrix(X, "X", minimum_rows=1)
        first, second = self._mixtures()
        same_dimension(X, first.means_, "X", "the mixtures")
        uniform = np.random.default_rng(random_state).random(len(X)) if method == "random" else None
        plan = np.asarray(_host(self.plan))
        return _maps.apply(X, plan, first, second, method=method, uniform=uniform)

    def interpolate(self, t: float) -> MixtureParameters:
        """Mixture at time ``t`` of the geodesic from the first (0) to the second (1).

        One component for each cell of the plan with mass (equation 6.1 of the paper); singular
        covariances are no exception.
        """
        t = _validate.number(t, "t")
        if t > 1:
            raise ValueError(f"t must be between 0 and 1, got {t}")
        first, second = self._mixtures()
        plan = np.asarray(_host(self.plan))
        cells = list(zip(*np.nonzero(plan), strict=True))
        return MixtureParameters(
            np.array([plan[i, j] for i, j in cells]),
            np.array([(1 - t) * first.means_[i] + t * second.means_[j] for i, j in cells]),
            np.array(
                [_maps.coupled(first.components[i], second.components[j], t) for i, j in cells]
            ),
        )

    def _mixtures(self) -> tuple[Parsed, Parsed]:
        return parse(self._source, "gmm1"), parse(self._target, "gmm2")


def mw2(
    gmm1: Any,
    gmm2: Any,
    *,
    method: str = "auto",
    dtype: Any = np.float64,
    n_jobs: int | None = None,
) -> MW2Result:
    """Squared MW2 distance between Gaussian mixtures, with its transport plan.

    Parameters
    ----------
    gmm1, gmm2 : mixture, or tuple (weights, means, covariances)
        Any object with ``weights_`` (K,), ``means_`` (K, d) and ``covariances_`` in one of
        scikit-learn's four shapes, named by ``covariance_type`` where the object has it; or lists
        of `CovarianceFactor`. Tuples of torch tensors give a differentiable result.
    method : "auto", "dense" or "lazy", default "auto"
        "dense" computes the distance of every pair. "lazy" starts from bounds and computes the
        pairs that can matter, with the same result; "auto" chooses it for many components. Torch
        tensors and CuPy arrays are always dense.
    dtype, n_jobs
        As for `bures`.

    Returns
    -------
    MW2Result
        ``squared_distance``, ``plan``, ``costs`` and more; ``transport`` and ``interpolate`` move
        along the plan.

    Raises
    ------
    TypeError, ValueError
        As for `dist_bures_squared`; or if weights are negative or do not sum to 1 within 1e-3
        (they are brought to 1 exactly).
    ImportError
        If POT is not installed and both mixtures have several components.

    Examples
    --------
    Two laws of mean 0 and variance 100, whose FID is therefore 0:

    >>> import numpy as np
    >>> from fastgen.metrics import mw2
    >>> normal = [1.0], [[0.0]], [100.0]
    >>> twin = [0.5, 0.5], [[-80**0.5], [80**0.5]], [20.0, 20.0]
    >>> round(mw2(normal, twin).squared_distance, 10)    # 80 + (10 - 2 sqrt(5))^2
    110.5572809
    """
    _validate.one_of(method, "method", ("auto", "dense", "lazy"))
    if library(*fields(gmm1, "gmm1")[:3], *fields(gmm2, "gmm2")[:3]) != "numpy":
        return _mw2_device(gmm1, gmm2)
    first, second = parse(gmm1, "gmm1"), parse(gmm2, "gmm2")
    same_dimension(first.means_, second.means_, "means of gmm1", "means of gmm2")
    parts = PairParts(first.components, second.components, check_dtype(dtype), n_jobs)
    between = mean_costs(first.means_, second.means_)
    if method == "auto":
        method = "lazy" if _bounds_pay(first, second) else "dense"
    solved = (_lazy if method == "lazy" else _dense)(first, second, between, parts)
    found, costs, exact, bracket = solved
    return MW2Result(
        found.value,
        found.plan,
        costs,
        between,
        exact,
        bracket,
        parts.n_evaluated,
        parts.clamped,
        gmm1,
        gmm2,
    )


def _dense(first: Parsed, second: Parsed, between: np.ndarray, parts: PairParts):
    """Plan, costs, which costs are exact, bracket."""
    rows, columns = np.indices(between.shape).reshape(2, -1)
    costs = between + parts.evaluate(rows, columns).reshape(between.shape)
    found = _transport.solve(first.weights_, second.weights_, costs)
    return found, costs, np.ones(between.shape, dtype=bool), (found.value, found.value)


def _lazy(first: Parsed, second: Parsed, between: np.ndarray, parts: PairParts):
    """As `_dense`, from bounds and the pairs that the plan uses."""
    p, q = first.weights_, second.weights_
    low, high = (between + part for part in bounds(first.components, second.components))
    found, costs, exact = _transport.solve_lazily(
        p, q, low, lambda i, j: between[i, j] + parts.evaluate(i, j)
    )
    bracket = _transport.solve(p, q, low).value, _transport.solve(p, q, high).value
    return found, costs, exact, bracket


def _bounds_pay(first: Parsed, second: Parsed) -> bool:
    """Whether bounds cost less than the pairs they are expected to spare."""
    sides = first.components, second.components
    if any(c.kind == "diagonal" for side in sides for c in side):
        return False
    pairs = len(sides[0]) * len(sides[1])
    rank = np.mean([c.root.rank for side in sides for c in side])
    gain = _LAZY_GAIN if rank > LANE_COLUMNS else _LAZY_GAIN_SMALL
    return pairs * rank**3 > gain * sum(map(len, sides)) * sides[0][0].dim ** 3


def _mw2_device(gmm1: Any, gmm2: Any) -> MW2Result:
    """Dense costs where the arrays live, the plan on the host."""
    (w1, m1, c1, _), (w2, m2, c2, _) = fields(gmm1, "gmm1"), fields(gmm2, "gmm2")
    if library(w1, m1, c1, w2, m2, c2) == "torch":
        from .engines import tensors as module
    else:
        from .engines import device as module
    costs = module.dist_bures_squared(m1, m2, c1, c2)
    value, plan = module.transport(w1, w2, costs)
    between = module.mean_costs(m1, m2)
    bracket = (float(_host(value)),) * 2
    exact = np.ones(tuple(costs.shape), dtype=bool)
    return MW2Result(value, plan, costs, between, exact, bracket, int(exact.sum()), 0.0, gmm1, gmm2)


def fields(gmm: Any, name: str) -> tuple[Any, Any, Any, str | None]:
    """Weights, means, covariances and covariance type of what users pass as a mixture."""
    if isinstance(gmm, tuple | list):
        if len(gmm) != 3:
            raise ValueError(f"{name} must be (weights, means, covariances), got {len(gmm)} items")
        return *gmm, None
    missing = [a for a in ("weights_", "means_", "covariances_") if not hasattr(gmm, a)]
    if missing:
        raise TypeError(
            f"{name} must have the attributes weights_, means_ and covariances_, got "
            f"{type(gmm).__name__} without {', '.join(missing)}; fit it first, or pass a tuple "
            "(weights, means, covariances)"
        )
    return gmm.weights_, gmm.means_, gmm.covariances_, getattr(gmm, "covariance_type", None)


def parse(gmm: Any, name: str) -> Parsed:
    """Check a mixture and bring it to the host."""
    weights, means, covariances, kind = fields(gmm, name)
    means = mean_matrix(means, f"means of {name}")
    k, d = means.shape
    return Parsed(
        weight_vector(weights, f"weights of {name}", k),
        means,
        covariance_list(
            covariances, f"covariances of {name}", n_components=k, dim=d, covariance_type=kind
        ),
    )


def _host(array: Any) -> np.ndarray:
    from .._arrays import to_host

    return to_host(array)


# --- with POT's names and argument order ----------------------------------------------------------


def gmm_ot_loss(
    m_s: Any, m_t: Any, C_s: Any, C_t: Any, w_s: Any, w_t: Any, log: bool = False
) -> Any:
    """Squared MW2 distance, in place of ``ot.gmm.gmm_ot_loss``.

    Parameters
    ----------
    m_s, m_t, C_s, C_t
        As for `dist_bures_squared`.
    w_s, w_t : array (k_s,), array (k_t,)
        Weights, summing to 1 within 1e-3; they are brought to 1 exactly.
    log : bool, default False
        Also return a dictionary with "cost", dual potentials "u" and "v", "warning" and
        "result_code".

    Returns
    -------
    loss : float, or a scalar of the arrays' library
        **Squared** distance. For torch differentiable in means, covariances and weights.
    log : dict
        Only if asked for.

    Examples
    --------
    >>> from fastgen.metrics import gmm_ot_loss
    >>> round(gmm_ot_loss([[0.0]], [[3.0]], [[[1.0]]], [[[4.0]]], [1.0], [1.0]), 12)
    10.0
    """
    loss, _, potentials = _gmm_ot(m_s, m_t, C_s, C_t, w_s, w_t)
    return (loss, _log(loss, potentials)) if log else loss


def gmm_ot_plan(
    m_s: Any, m_t: Any, C_s: Any, C_t: Any, w_s: Any, w_t: Any, log: bool = False
) -> Any:
    """Optimal plan between mixtures, in place of ``ot.gmm.gmm_ot_plan``.

    Parameters
    ----------
    m_s, m_t, C_s, C_t, w_s, w_t, log
        As for `gmm_ot_loss`.

    Returns
    -------
    plan : array (k_s, k_t)
        Nonnegative; its rows sum to ``w_s``, its columns to ``w_t``.
    log : dict
        Only if asked for.

    Raises
    ------
    TypeError, ValueError
        As for `dist_bures_squared`, or if weights are negative or do not sum to 1.

    Examples
    --------
    >>> from fastgen.metrics import gmm_ot_plan
    >>> C, w = [[[1.0]], [[1.0]]], [0.5, 0.5]
    >>> gmm_ot_plan([[0.0], [5.0]], [[5.0], [0.0]], C, C, w, w)
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    loss, plan, potentials = _gmm_ot(m_s, m_t, C_s, C_t, w_s, w_t)
    return (plan, _log(loss, potentials)) if log else plan


def gmm_ot_apply_map(
    x: Any,
    m_s: Any,
    m_t: Any,
    C_s: Any,
    C_t: Any,
    w_s: Any,
    w_t: Any,
    plan: Any = None,
    method: str = "bary",
    seed: int | None = None,
) -> np.ndarray:
    """Image of samples of the source mixture, in place of ``ot.gmm.gmm_ot_apply_map``.

    Parameters
    ----------
    x : array (n, d)
    m_s, m_t, C_s, C_t, w_s, w_t
        As for `gmm_ot_loss`. On the host.
    plan : array (k_s, k_t), optional
        Computed if not given.
    method : "bary" or "rand", default "bary"
        "mean" and "random" of `MW2Result.transport`.
    seed : int, optional
        Of a ``numpy.random.RandomState``, as in POT: the same seed draws the same pairs.

    Returns
    -------
    array (n, d)
    """
    _validate.one_of(method, "method", ("bary", "rand"))
    x = _validate.data_matrix(_host(x), "x", minimum_rows=1)
    first, second = parse((w_s, m_s, C_s), "source"), parse((w_t, m_t, C_t), "target")
    if plan is None:
        plan = _host(gmm_ot_plan(m_s, m_t, C_s, C_t, w_s, w_t))
    plan = real_array(plan, "plan")
    shape = len(first.means_), len(second.means_)
    if plan.shape != shape or plan.min() < 0 or not plan.sum():
        raise ValueError(f"plan must be nonnegative of shape {shape}, got shape {plan.shape}")
    same_dimension(x, first.means_, "x", "m_s")
    uniform = np.random.RandomState(seed).random_sample(len(x)) if method == "rand" else None
    names = {"bary": "mean", "rand": "random"}
    return _maps.apply(x, plan, first, second, method=names[method], uniform=uniform)


def _gmm_ot(m_s, m_t, C_s, C_t, w_s, w_t):
    if library(m_s, m_t, C_s, C_t, w_s, w_t) != "numpy":
        found = _mw2_device((w_s, m_s, C_s), (w_t, m_t, C_t))
        p, q = parse_weights(w_s, w_t, found.costs.shape)
        solved = _transport.solve(p, q, np.asarray(_host(found.costs), dtype=np.float64))
        return found.squared_distance, found.plan, solved.potentials
    costs = dist_bures_squared(m_s, m_t, C_s, C_t)
    p, q = parse_weights(w_s, w_t, costs.shape)
    solved = _transport.solve(p, q, costs)
    return solved.value, solved.plan, solved.potentials


def parse_weights(w_s: Any, w_t: Any, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Check both weight vectors and bring them to sum 1."""
    return weight_vector(w_s, "w_s", shape[0]), weight_vector(w_t, "w_t", shape[1])


def _log(loss, potentials) -> dict[str, Any]:
    u, v = potentials
    return {"cost": loss, "u": u, "v": v, "warning": None, "result_code": 1}
