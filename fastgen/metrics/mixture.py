"""Optimal transport between Gaussian mixtures: MW2, its plan, maps, interpolation, barycenter.

Delon and Desolneux, "A Wasserstein-type distance in the space of Gaussian mixture models", SIAM J.
Imaging Sci. 13(2), 2020. ``MW2^2`` is the least cost of moving the components of one mixture to
those of the other, where a pair of components costs the squared 2-Wasserstein distance of the two
Gaussians. It is at least the squared distance of the mixtures' moments (the FID) and at least W2^2.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random, _results, _validate
from . import _maps, _transport, engines
from .covariances import check_means, of_mixture, same_dimension
from .engines import host

if TYPE_CHECKING:
    import xarray


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
    """A mixture as an engine computes with it: checked, each covariance factored once."""

    weights_: Any
    means_: Any
    components: list[Any]


@dataclasses.dataclass(frozen=True, repr=False)
class MW2Result(_results.Result):
    """What `mw2` found; it keeps copies of both mixtures.

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
            f"MW2Result(squared_distance={float(_arrays.to_host(self.squared_distance)):.6g}, "
            f"plan={tuple(self.plan.shape)}, n_evaluated={self.n_evaluated})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain Python, for JSON."""
        names = ("squared_distance", "plan", "costs", "mean_costs", "contributions")
        arrays = {name: _arrays.to_numpy(getattr(self, name)) for name in names}
        rest = ("exact", "bracket", "n_evaluated", "clamped")
        return _results.plain({**arrays, **{name: getattr(self, name) for name in rest}})

    def to_xarray(self) -> xarray.Dataset:
        """Return plan, costs and contributions by the components ``source`` and ``target``."""
        import xarray

        names = ("plan", "costs", "mean_costs", "contributions", "exact")
        return xarray.Dataset(
            {name: (("source", "target"), _arrays.to_numpy(getattr(self, name))) for name in names},
            coords={"source": range(self.plan.shape[0]), "target": range(self.plan.shape[1])},
            attrs={
                "squared_distance": float(_arrays.to_host(self.squared_distance)),
                "n_evaluated": self.n_evaluated,
                "clamped": self.clamped,
            },
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
        random_state : int, numpy.random.Generator, RandomState or None
            Seed of the drawn pairs, for "random".

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
        rng = _random.generator(random_state)
        uniform = rng.random(len(X)) if method == "random" else None
        plan = _arrays.to_numpy(self.plan)
        return _maps.apply(X, plan, first, second, uniform=uniform)

    def interpolate(self, t: float) -> MixtureParameters:
        """Mixture at time ``t`` of the geodesic from the first (0) to the second (1).

        Singular covariances are no exception.

        Parameters
        ----------
        t : float
            Time, 0 to 1.

        Returns
        -------
        MixtureParameters
            One component for each cell of the plan with mass (equation 6.1 of the paper).

        Raises
        ------
        TypeError, ValueError
            If ``t`` is no number from 0 to 1.
        """
        t = _validate.number(t, "t")
        if t > 1:
            raise ValueError(f"t must be between 0 and 1, got {t}")
        first, second = self._mixtures()
        plan = _arrays.to_numpy(self.plan)
        cells = list(zip(*np.nonzero(plan), strict=True))
        return MixtureParameters(
            np.array([plan[i, j] for i, j in cells]),
            np.array([(1 - t) * first.means_[i] + t * second.means_[j] for i, j in cells]),
            np.array(
                [_maps.coupled(first.components[i], second.components[j], t) for i, j in cells]
            ),
        )

    def _mixtures(self) -> tuple[Parsed, Parsed]:
        """Both mixtures on the host."""
        source, target = (
            one if isinstance(one, Parsed) else parse_fields(one, _names(name), host)
            for one, name in ((self._source, "gmm1"), (self._target, "gmm2"))
        )
        return source, target


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
    given = fields(gmm1, "gmm1"), fields(gmm2, "gmm2")
    engine = engines.of(*given[0][:3], *given[1][:3])
    # the result keeps what the caller may change
    copies = [(*map(_arrays.copied, one[:3]), one[3]) for one in given]
    first, second = (
        parse_fields(one, _names(name), engine)
        for one, name in zip(copies if engine is host else given, ("gmm1", "gmm2"), strict=True)
    )
    same_dimension(first.means_, second.means_, "means of gmm1", "means of gmm2")
    if engine is host:
        return between(first, second, method=method, dtype=dtype, n_jobs=n_jobs)
    return _dense(engine, first, second, given, copies)


def between(
    first: Parsed,
    second: Parsed,
    *,
    method: str = "auto",
    dtype: Any = np.float64,
    n_jobs: int | None = None,
) -> MW2Result:
    """As `mw2`, between mixtures on the host that are parsed already and nobody changes."""
    parts = host.PairParts(first.components, second.components, dtype, n_jobs)
    means = host.mean_costs(first.means_, second.means_)
    if method == "auto":
        method = "lazy" if host.bounds_pay(first.components, second.components) else "dense"
    if method == "lazy":
        low, high = (means + part for part in host.bounds(first.components, second.components))
        found, costs, exact = _transport.solve_lazily(
            first.weights_,
            second.weights_,
            low,
            lambda i, j: means[i, j] + parts.evaluate(i, j),
        )
        least, most = (
            _transport.solve(first.weights_, second.weights_, cost).value for cost in (low, high)
        )
        bracket = least, most
    else:
        costs = means + _all_parts(parts, means.shape)
        found = _transport.solve(first.weights_, second.weights_, costs)
        exact, bracket = np.ones(means.shape, dtype=bool), (found.value, found.value)
    return MW2Result(
        found.value,
        found.plan,
        costs,
        means,
        exact,
        bracket,
        parts.n_evaluated,
        parts.clamped,
        first,
        second,
    )


def _dense(engine: Any, first: Parsed, second: Parsed, given: Any, copies: Any) -> MW2Result:
    """Costs of all pairs where the arrays live."""
    means = engine.mean_costs(first.means_, second.means_)
    parts = engine.PairParts(first.components, second.components)
    costs = means + _all_parts(parts, means.shape)
    value, plan, _ = engine.transport(first.weights_, second.weights_, costs)
    arrays = [value for one in given for value in one[:3]]
    found = [engine.result(array, *arrays) for array in (value, plan, costs, means)]
    number = float(_arrays.to_host(value))
    exact, bracket = np.ones(tuple(means.shape), dtype=bool), (number, number)
    value, plan, costs, means = found
    counts = parts.n_evaluated, parts.clamped
    return MW2Result(value, plan, costs, means, exact, bracket, *counts, *copies)


def _all_parts(parts: Any, shape: tuple[int, int]) -> Any:
    """Covariance parts of all pairs, (K0, K1)."""
    rows, columns = np.indices(tuple(shape)).reshape(2, -1)
    return parts.evaluate(rows, columns).reshape(shape)


def fields(gmm: Any, name: str) -> tuple[Any, Any, Any, str | None]:
    """Weights, means, covariances and covariance type of what users pass as a mixture."""
    if isinstance(gmm, tuple | list):
        if len(gmm) == 3:
            return *gmm, None
        raise ValueError(f"{name} must be (weights, means, covariances), got {len(gmm)} items")
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
    return parse_fields(fields(gmm, name), _names(name), host)


def parse_fields(
    found: tuple[Any, Any, Any, str | None], names: tuple[str, str, str], engine: Any
) -> Parsed:
    """Check weights, means and covariances, called by ``names``, in the arrays of an engine."""
    weights, means, covariances, kind = found
    means = check_means(engine.read(means, names[1]), names[1])
    k, d = means.shape
    checked = engine.weights(weights, names[0], k)
    entries = of_mixture(
        covariances,
        names[2],
        n_components=k,
        dim=d,
        covariance_type=kind,
        read=engine.read,
    )
    return Parsed(checked, means, engine.covariances(entries, d))


def _names(name: str) -> tuple[str, str, str]:
    return f"weights of {name}", f"means of {name}", f"covariances of {name}"
