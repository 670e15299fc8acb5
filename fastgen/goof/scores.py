"""GOoF scores, with the floor that planted targets show beside them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random, _validate
from .._results import Result, plain
from .._warnings import silenced
from . import checks, domains, made
from .checks import SearchCheck
from .made import MadeTargets
from .results import NearestResult
from .search import nearest, without_advice

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_TOLERANCES = (1e-4, 1e-6, 1e-8)
VERBATIM = 1e-6  # squared distance per pixel below which a target counts as recovered
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
# Share of the figure from which the floor is worth a word.
_SHARE_OF_SEARCH = 0.1


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C during a score.

    Attributes
    ----------
    found : NearestResult
        What is finished of the data: give it as ``resume=`` to go on.
    """

    def __init__(self, found: NearestResult) -> None:
        super().__init__("the search was interrupted; pass what is finished as resume= to go on")
        self.found = found


def figures(squared: np.ndarray, X: np.ndarray) -> dict[str, float]:
    """Return the figures of squared distances (n,) of targets X (n, ...) to a range.

    Returns
    -------
    dict
        ``mse`` and ``median`` per pixel, in squared units of X; ``rms`` and ``mean`` distance, in
        units of X; ``relative`` to the squared distances to the mean of X, NaN where those are 0.
    """
    flat = X.reshape(len(X), -1).astype(np.float64)
    spread = ((flat - flat.mean(axis=0)) ** 2).sum()
    mse = squared / max(flat.shape[1], 1)
    return {
        "mse": float(mse.mean()),
        "median": float(np.median(mse)),
        "rms": float(np.sqrt(squared.mean())),
        "mean": float(np.sqrt(squared).mean()),
        "relative": float(squared.sum() / spread) if spread else float("nan"),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedResult(MadeTargets):
    """What a search makes of targets that the generator produced itself: the true distance is 0.

    Attributes
    ----------
    nearest : NearestResult
        What the search found for each target.
    targets : ndarray (n, ...)
        G(z0) of latents z0 drawn from the prior.
    tolerances : ndarray (n_tolerances,)
        Squared distances per pixel below which a target counts as found.
    rate : ndarray (n_tolerances,)
        Share of targets found to within each.
    interval : ndarray (n_tolerances, 2)
        95 % Clopper-Pearson interval of each rate.
    """

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

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of the floor as plain Python: what the search alone gets wrong."""
        found = figures(self.nearest.squared_distance, self.targets)
        return plain(
            {
                "n": len(self.mse),
                "goof": found["rms"],
                **{name: found[name] for name in ("mse", "median", "rms", "mean")},
                "recovered": self.recovered,
                "recovered_interval": _interval(int((self.mse < VERBATIM).sum()), len(self.mse)),
                "status": self.nearest.status_counts,
            }
        )

    def __repr__(self) -> str:
        low, high = _interval(int((self.mse < VERBATIM).sum()), len(self.mse))
        return (
            f"PlantedResult({len(self.mse)} targets: {self.recovered:.0%} recovered "
            f"({low:.0%}..{high:.0%}), mean MSE {self.mse.mean():.3g}, median "
            f"{np.median(self.mse):.3g})"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class GoofScore(Result):
    """GOoF: the distance from data to what a generator can produce, beside the floor of the search.

    The number to quote is ``goof``, with ``search_error`` beside it. It is the distance to the
    whole range; ``check`` has that to the part which the prior reaches, another question. Every
    figure is an upper bound. What ``planted`` shows is error of the search alone: where its mean is
    not far below that of the data, the score measures the search too.

    Attributes
    ----------
    nearest : NearestResult
        What was found for each target.
    targets : ndarray (n, ...)
        The data.
    planted : PlantedResult
        The same search on targets that the generator made, whose true distance is 0.
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
        Quantiles of the squared distance per pixel at 0.05, 0.25, 0.5, 0.75 and 0.95.
    check : SearchCheck or None
        What the search may have missed, and how far the data are from what the prior reaches, on a
        sample of the targets.
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
    check: SearchCheck | None = None

    @property
    def goof(self) -> float:
        """The number to quote: root mean squared distance to the range, in units of X (``rms``)."""
        return self.rms

    @property
    def squared_distance(self) -> np.ndarray:
        """Squared distance of each target (n,), in squared units of X."""
        return self.nearest.squared_distance

    @property
    def search_error_share(self) -> float:
        """Mean planted over mean real MSE: near 1, the score measures the search."""
        floor = float(self.planted.mse.mean())
        return floor / self.mse if self.mse else float(floor > 0)

    @property
    def search_error(self) -> float | None:
        """About how much of the squared distance is error of the search, None if not checked.

        What two searches differ by, which is luck, and beside it what both may miss: the excess at
        displaced targets or `search_error_share`, whichever is greater. An estimate, not a bound.
        """
        if self.check is None:
            return None
        missed = max(self.check.displaced.share, self.search_error_share)
        return min(self.check.disagreement + missed, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain Python, ready for JSON; what is not finite is None."""
        size = self.targets[0].size
        return plain(
            {
                "n": len(self.nearest),
                "n_pixels": size,
                "least_value": self.targets.min(),
                "greatest_value": self.targets.max(),
                "goof": self.goof,
                **{name: getattr(self, name) for name in _FIGURES},
                "quantiles": {f"{level:g}": value for level, value in self.quantiles.items()},
                "lower_bound_mse": self.nearest.lower_bound.mean() / size,
                "planted": self.planted.to_dict(),
                "search_error_share": self.search_error_share,
                "search_error": self.search_error,
                "check": None if self.check is None else self.check.to_dict(),
                "status": self.nearest.status_counts,
            }
        )

    def to_xarray(self) -> xarray.Dataset:
        """Return what was found for each target and each planted one, labelled.

        Returns
        -------
        xarray.Dataset
            As `NearestResult.to_xarray`, with ``planted_mse`` (planted); the figures of `to_dict`
            are in the attribute "figures", as JSON.
        """
        dataset = self.nearest.to_xarray().assign(planted_mse=("planted", self.planted.mse))
        return dataset.assign_attrs(figures=json.dumps(self.to_dict(), allow_nan=False))

    def summary(self) -> str:
        """Return the table that ``fastgen goof`` prints: figures beside their planted floor."""
        told, floor = self.to_dict(), self.planted.to_dict()
        lines = [f"{'':36}{'data':>12}{'planted floor':>16}"]
        for label, name in _ROWS:
            lines.append(f"{label:36}{_cell(told[name]):>12}{_cell(floor.get(name)):>16}")
        status = ", ".join(f"{count} {name}" for name, count in told["status"].items())
        low, high = floor["recovered_interval"]
        lines += [
            f"{told['n']} targets of {told['n_pixels']} values in [{told['least_value']:.3g}, "
            f"{told['greatest_value']:.3g}]: {status}",
            f"{floor['recovered']:.0%} ({low:.0%} to {high:.0%}) of {floor['n']} planted targets "
            f"found to {VERBATIM:g} per pixel",
        ]
        lines += self._told_of_check()
        share = told["search_error_share"]
        if share is not None and share > _SHARE_OF_SEARCH:
            lines.append(
                f"the floor is {share:.0%} of the squared distance, which measures the search too: "
                "search longer (effort), from more starts (n_starts, pool_size)"
            )
        return "\n".join(lines)

    def _told_of_check(self) -> list[str]:
        if self.check is None:
            return []
        told = self.check.to_dict()
        lines = [
            f"GOoF {self.goof:.4g}; search error about {self.search_error:.1%} of the squared "
            "distance",
            f"  two searches of {told['n']} targets differ by {self.check.disagreement:.2%}, the "
            f"better of both is {self.check.gain:.2%} nearer; displaced targets are found "
            f"{self.check.displaced.share:.2%} too far",
        ]
        if self.check.reach is not None:
            lines.append(
                f"squared distance per pixel of these {told['n']}: "
                f"{told['whole_range_mse']:.4g} to the whole range, "
                f"{told['prior_reach_mse']:.4g} to what the prior reaches "
                f"({self.check.reach_domain})"
            )
        return lines

    def __repr__(self) -> str:
        low, high = float(self.targets.min()), float(self.targets.max())
        return (
            f"GoofScore(GOoF: rms distance {self.goof:.4g}; mse {self.mse:.4g}, median "
            f"{self.median:.4g}, relative {self.relative:.3g} on {len(self.nearest)} targets in "
            f"[{low:.3g}, {high:.3g}]; planted floor: rms "
            f"{np.sqrt(self.planted.nearest.squared_distance.mean()):.3g}, mse "
            f"{self.planted.mse.mean():.3g}, {self.planted.recovered:.0%} recovered)"
        )

    def plot(self, *, n_images: int = 8, width: float = 7.0) -> Figure:
        """Draw targets beside what was found, errors of data and planted, error against effort.

        Parameters
        ----------
        n_images : int, default 8
            Number of targets drawn.
        width : float, default 7.0
            Width of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.nearest import score_figure

        check, title = self.check, None
        if check is not None:
            title = f"GOoF {self.goof:.4g}; search error about {self.search_error:.1%}"
        return score_figure(
            self.targets,
            self.nearest.reconstruction,
            self.nearest.mse,
            self.planted.mse,
            history=self.nearest.history,
            planted_history=self.planted.nearest.history,
            finished=self.nearest.finished,
            displaced=None if check is None else check.displaced.excess / self.targets[0].size,
            n_images=n_images,
            title=title,
            width=width,
        )


_FIGURES = ("mse", "median", "rms", "mean", "relative")
_ROWS = (
    ("GOoF (root mean square distance)", "goof"),
    ("mean distance", "mean"),
    ("squared distance per pixel", "mse"),
    ("  median", "median"),
    ("  relative to the mean image", "relative"),
)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


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
        Each member of a list makes an equal share of the targets, the first ones alone where there
        are more members than targets.
    n : int, default 256
        Number of targets.
    prior, domain, cond, random_state
        As for `nearest`. Targets have latents of the prior, projected into the domain, which
        are not those of the pool. Conditions are used in turn.
    **options
        Further arguments of `nearest`; give those of the search that is to be judged. An
        array as ``init`` is refused: it belongs to other targets.

    Returns
    -------
    PlantedResult

    Raises
    ------
    TypeError, ValueError
        If ``n`` is no positive integer, an array is given as ``init`` or a result as ``resume``;
        and as `nearest`.

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
    draw, search = _random.generator(random_state).spawn(2)
    cond = made.conditions(cond, n, options)
    inside = (prior, domains.check(domain), draw)
    parts = [
        made.points(member, len(rows), own, options, *inside)[0]
        for member, rows, own in made.shares(generator, n, cond)
    ]
    X = np.concatenate(parts)
    found = nearest(
        generator, X, prior=prior, domain=domain, cond=cond, random_state=search, **options
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


def _interval(count: int, n: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a rate."""
    from scipy.stats import beta

    low = beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return float(low), float(high)


def score(
    generator: Any,
    X: Any,
    *,
    n_planted: int = 64,
    n_checked: int = 32,
    resume: NearestResult | None = None,
    keep: Callable[[NearestResult], Any] | None = None,
    random_state: Any = None,
    **options: Any,
) -> GoofScore:
    """Score how far data are from a generator's range, with the planted floor of the same search.

    Parameters
    ----------
    generator : nn.Module, callable, LinearGAN, or a list of them
        As for `nearest`.
    X : array or tensor (n, ...)
        The data, in the units that the generator returns.
    n_planted : int, default 64
        Targets made by the generator, searched in the same way.
    n_checked : int, default 32
        Targets, all of X if those are fewer, that are searched twice more, once again freely and
        once within what the prior reaches, and as many displaced ones (see `displaced`): for the
        error of the search and for both distances. 0 leaves that out.
    resume : NearestResult, optional
        What an earlier search of the same X found: only what it lacks is searched. That of an
        interrupted score is in the exception's ``found``.
    keep : callable, optional
        Called with what was found of X before the planted targets are searched, to save it.
    random_state : int, Generator or None
        Seed of the pool of starting samples and of the planted targets.
    **options
        Further arguments of `nearest`.

    Returns
    -------
    GoofScore

    Raises
    ------
    SearchInterrupted
        On Ctrl-C: a score of part of the data would be another score. It is a KeyboardInterrupt
        with what is finished in ``found``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof import pca_floor, score
    >>> from fastgen.linear import LinearGAN
    >>> X = np.random.default_rng(0).standard_normal((40, 5))
    >>> found = score(LinearGAN(2, "unsupervised").fit(X), X, random_state=0)
    >>> bool(np.isclose(found.goof**2, pca_floor(X, 2)))
    True
    """
    n_planted = _validate.integer(n_planted, "n_planted")
    n_checked = _validate.integer(n_checked, "n_checked", minimum=0)
    search, floor, looks = _random.generator(random_state).spawn(3)
    with without_advice():
        found = nearest(generator, X, resume=resume, random_state=search, **options)
        if found.interrupted.any():
            raise SearchInterrupted(found)
        if keep is not None:
            keep(found)
        beside = planted(generator, n_planted, random_state=floor, **transferable(options))
        if beside.nearest.interrupted.any():
            raise SearchInterrupted(found)
        X, looked = _arrays.to_numpy(X), None
        if n_checked:
            quietly = {**options, "progress": False}
            with silenced(UserWarning):  # the search itself has warned
                looked = checks.check(generator, X, found, n_checked, random_state=looks, **quietly)
            if looked.interrupted:
                raise SearchInterrupted(found)
    return dataclasses.replace(aggregate(found, X, beside), check=looked)


def transferable(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a search that make sense for planted targets."""
    return {
        name: value
        for name, value in options.items()
        if name != "resume" and (name != "init" or callable(value))
    }


def aggregate(found: NearestResult, X: np.ndarray, floor: PlantedResult) -> GoofScore:
    """Score targets X (n, ...) that were searched already."""
    told: dict[str, Any] = {**figures(found.squared_distance, X)}
    return GoofScore(
        nearest=found,
        targets=X,
        planted=floor,
        **told,
        quantiles=dict(zip(_LEVELS, np.quantile(found.mse, _LEVELS).tolist(), strict=True)),
    )
