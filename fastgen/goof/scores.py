"""GOoF scores, with the floor that planted targets show beside them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from . import domains, starts
from .generators import Adapter, adapt, evaluation_mode, modules_of
from .results import NearestResult
from .search import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TOLERANCES = (1e-4, 1e-6, 1e-8)
VERBATIM = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedResult:
    """What a search makes of targets that the generator produced itself: the true distance is 0.

    Attributes
    ----------
    nearest : NearestResult
    targets : ndarray (n, ...)
        G(z0) of latents z0 drawn from the prior.
    tolerances : ndarray (n_tolerances,)
        Of the squared distance per pixel.
    rate : ndarray (n_tolerances,)
        Share of targets found to within each.
    interval : ndarray (n_tolerances, 2)
        95 % Clopper-Pearson interval of the rate.
    """

    nearest: NearestResult
    targets: np.ndarray
    tolerances: np.ndarray
    rate: np.ndarray
    interval: np.ndarray

    @property
    def mse(self) -> np.ndarray:
        """Squared distance per pixel (n,): nothing but error of the search."""
        return self.nearest.mse

    @property
    def recovered(self) -> float:
        """Share of targets found to a squared distance per pixel below 1e-6."""
        return float((self.mse < VERBATIM).mean())

    def __repr__(self) -> str:
        low, high = _interval(int((self.mse < VERBATIM).sum()), len(self.mse))
        return (
            f"PlantedResult({len(self.mse)} targets: {self.recovered:.0%} recovered "
            f"({low:.0%}..{high:.0%}), mean MSE {self.mse.mean():.3g}, median "
            f"{np.median(self.mse):.3g})"
        )

    def plot(self, *, n_images: int = 8, width: float = 7.0) -> Figure:
        """Draw planted targets, what was found, and all errors.

        Parameters
        ----------
        n_images : int, default 8
        width : float, default 7.0
            In inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return self.nearest.plot(self.targets, n_images=n_images, width=width)


@dataclasses.dataclass(frozen=True, eq=False)
class GoofScore:
    """Distances from data to a generator's range, aggregated, and the floor of the search.

    Every figure is an upper bound. What ``planted`` shows is error of the search alone: where its
    mean is not far below that of the data, the score is error of the search too.

    Attributes
    ----------
    nearest : NearestResult
        Per sample.
    targets : ndarray (n, ...)
    planted : PlantedResult
        Of the same search on targets that the generator made.
    mean : float
        Mean distance (GOoF with p = 1), in units of X.
    rms : float
        Root of the mean squared distance (GOoF with p = 2), in units of X.
    mse : float
        Mean squared distance per pixel, in squared units of X.
    median : float
        Median squared distance per pixel: the median recovery error (MRE) of Webster et al.
    relative : float
        Sum of squared distances over that to the mean of X; 1 is no better than the mean.
    quantiles : dict
        Of the squared distance per pixel, at 0.05, 0.25, 0.5, 0.75 and 0.95.
    """

    nearest: NearestResult
    targets: np.ndarray
    planted: PlantedResult
    mean: float
    rms: float
    mse: float
    median: float
    relative: float
    quantiles: dict[float, float]

    @property
    def squared_distance(self) -> np.ndarray:
        """Per sample (n,), in squared units of X."""
        return self.nearest.squared_distance

    @property
    def search_error_share(self) -> float:
        """Mean planted over mean real MSE: near 1, the score measures the search."""
        floor = float(self.planted.mse.mean())
        return floor / self.mse if self.mse else float(floor > 0)

    def __repr__(self) -> str:
        low, high = float(self.targets.min()), float(self.targets.max())
        return (
            f"GoofScore(mse {self.mse:.4g}, median {self.median:.4g}, rms {self.rms:.4g}, relative "
            f"{self.relative:.3g} on {len(self.nearest)} targets in [{low:.3g}, {high:.3g}]; "
            f"planted floor: mse {self.planted.mse.mean():.3g}, {self.planted.recovered:.0%} "
            f"recovered)"
        )

    def plot(self, *, n_images: int = 8, width: float = 7.0) -> Figure:
        """Draw targets beside what was found, errors of data and planted, error against effort.

        Parameters
        ----------
        n_images : int, default 8
        width : float, default 7.0
            In inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.nearest import score_figure

        return score_figure(
            self.targets,
            self.nearest.reconstruction,
            self.nearest.mse,
            self.planted.mse,
            history=self.nearest.history,
            planted_history=self.planted.nearest.history,
            finished=self.nearest.finished,
            n_images=n_images,
            width=width,
        )


def planted(
    generator: Any,
    n: int = 256,
    *,
    prior: Any = "normal",
    domain: Any = None,
    cond: Any = None,
    random_state: Any = None,
    **options: Any,
) -> PlantedResult:
    """Search for targets that the generator made: the true distance is 0, the rest is search error.

    Parameters
    ----------
    generator : nn.Module, callable, LinearGAN, or a list of them
        Of a list, each member makes an equal share of the targets.
    n : int, default 256
        Number of targets.
    prior, domain, cond, random_state
        As for :func:`nearest`. Targets have latents of the prior, projected into the domain, which
        are not those of the pool. Conditions are used in turn.
    **options
        Further arguments of :func:`nearest`; give those of the search that is to be judged. An
        array as ``init`` is refused: it belongs to other targets.

    Returns
    -------
    PlantedResult

    Examples
    --------
    >>> import torch
    >>> from fastgen.goof import planted
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 9))
    >>> planted(net, 32, pool_size=500, random_state=0).recovered
    1.0
    """
    n = _validate.integer(n, "n")
    if options.get("init") is not None and not callable(options["init"]):
        raise ValueError("init must be an encoder or None: an array belongs to other targets")
    if options.get("resume") is not None:
        raise ValueError("resume is for nearest, got a result for other targets")
    draw, search = np.random.default_rng(random_state).spawn(2)
    members = list(generator) if isinstance(generator, list | tuple) else [generator]
    conditions = None if cond is None else np.resize(np.arange(len(cond)), n)
    chosen = cond if cond is None else _take(cond, conditions)
    shares = np.array_split(np.arange(n), len(members))
    names = ("latent_dim", "forward", "device")
    targets = []
    for member, share in zip(members, shares, strict=True):
        with evaluation_mode(modules_of(member, options.get("forward"))):
            adapter = adapt(
                member,
                cond=None if chosen is None else _take(chosen, share),
                **{name: options.get(name) for name in names},
            )
            targets.append(_generate(adapter, len(share), prior, domains.check(domain), draw))
    X = np.concatenate(targets)
    found = nearest(
        generator, X, prior=prior, domain=domain, cond=chosen, random_state=search, **options
    )
    tolerances = np.array(_TOLERANCES)
    counts = (found.mse[:, None] < tolerances).sum(axis=0)
    return PlantedResult(
        nearest=found,
        targets=X,
        tolerances=tolerances,
        rate=counts / n,
        interval=np.array([_interval(int(count), n) for count in counts]),
    )


def _generate(
    adapter: Adapter, count: int, prior: Any, domain: domains.Free, rng: np.random.Generator
) -> np.ndarray:
    """Return outputs (count, ...) at latents of the prior, finite ones."""
    import torch

    if not callable(prior):
        _validate.one_of(prior, "prior", ("normal", "uniform"))
    z = torch.from_numpy(starts.draw(prior, count, adapter.latent_dim, rng))
    z = domain.project(z.to(adapter.device, adapter.dtype))
    outputs = adapter.raw(z, torch.arange(count, device=adapter.device)).cpu().numpy()
    bad = ~np.isfinite(outputs.reshape(count, -1)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"generator returned values that are not finite for {bad.sum()} of {count} latents of "
            "the prior; give a prior= on which it is defined"
        )
    return outputs


def _take(rows: Any, index: np.ndarray) -> Any:
    return rows[index] if hasattr(rows, "shape") else np.asarray(rows)[index]


def _interval(count: int, n: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a rate."""
    from scipy.stats import beta

    low = beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return float(low), float(high)


def score(
    generator: Any, X: Any, *, n_planted: int = 64, random_state: Any = None, **options: Any
) -> GoofScore:
    """Score how far data are from a generator's range, with the planted floor of the same search.

    Parameters
    ----------
    generator : nn.Module, callable, LinearGAN, or a list of them
    X : array or tensor (n, ...)
    n_planted : int, default 64
        Targets made by the generator, searched in the same way.
    random_state : int, Generator or None
    **options
        Further arguments of :func:`nearest`.

    Returns
    -------
    GoofScore

    Raises
    ------
    KeyboardInterrupt
        If the search was interrupted: a score of part of the data would be another score. Call
        :func:`nearest` for long runs that are to be resumed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof import pca_floor, score
    >>> from fastgen.linear import LinearGAN
    >>> X = np.random.default_rng(0).standard_normal((40, 5))
    >>> found = score(LinearGAN(2, "unsupervised").fit(X), X, random_state=0)
    >>> bool(np.isclose(found.rms**2, pca_floor(X, 2)))
    True
    """
    n_planted = _validate.integer(n_planted, "n_planted")
    search, floor = np.random.default_rng(random_state).spawn(2)
    found = _whole(nearest(generator, X, random_state=search, **options))
    return aggregate(
        found, _numpy(X), planted(generator, n_planted, random_state=floor, **_judged(options))
    )


def _judged(options: dict) -> dict:
    """Return the options of a search that make sense for planted targets."""
    return {
        name: value
        for name, value in options.items()
        if name != "resume" and (name != "init" or callable(value))
    }


def _whole(found: NearestResult) -> NearestResult:
    if (found.status == "interrupted").any():
        raise KeyboardInterrupt("the search was interrupted; use nearest(..., resume=...)")
    return found


def _numpy(X: Any) -> np.ndarray:
    return X.detach().cpu().numpy() if hasattr(X, "detach") else np.asarray(X)


def aggregate(found: NearestResult, X: np.ndarray, floor: PlantedResult) -> GoofScore:
    """Score of targets X (n, ...) that were searched already."""
    flat = X.reshape(len(X), -1).astype(np.float64)
    spread = ((flat - flat.mean(axis=0)) ** 2).sum()
    squares = found.squared_distance
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    return GoofScore(
        nearest=found,
        targets=X,
        planted=floor,
        mean=float(np.sqrt(squares).mean()),
        rms=float(np.sqrt(squares.mean())),
        mse=float(found.mse.mean()),
        median=float(np.median(found.mse)),
        relative=float(squares.sum() / spread) if spread else float("nan"),
        quantiles=dict(zip(levels, np.quantile(found.mse, levels).tolist(), strict=True)),
    )
