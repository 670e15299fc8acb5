"""What the search may have missed: a second search, displaced targets, and the prior's reach."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _random
from .._evaluation import evaluation_mode
from .._results import Result, plain
from . import domains
from .displaced import DisplacedResult, displaced
from .generators import adapt, is_linear_model, linear_map, members_of, modules_of
from .results import NearestResult
from .search import nearest
from .solvers import precision

_TYPICAL = 0.999  # share of the prior that its reach holds
_DRAWS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class SearchCheck(Result):
    """Three looks at a search, on a sample of its targets.

    Attributes
    ----------
    rows : ndarray (m,)
        The targets of the sample.
    first : ndarray (m,)
        Squared distances that the search found for them.
    again : NearestResult
        The same search of the same targets from a pool, and with restarts, of its own.
    displaced : DisplacedResult
        The same search of targets that the generator made and that were moved off its range by
        residuals of the data.
    reach : ndarray (m,) or None
        Squared distances to the part of the range that the prior reaches; None where the search was
        confined to a ``domain``.
    reach_domain : str or None
        What is taken for that part: the ball or box that holds 99.9 % of the prior.
    """

    rows: np.ndarray
    first: np.ndarray
    again: NearestResult
    displaced: DisplacedResult
    reach: np.ndarray | None
    reach_domain: str | None

    @property
    def disagreement(self) -> float:
        """Mean difference of the two searches, as a share of the mean squared distance.

        Were the errors of both exponentially distributed, it would be their mean.
        """
        second = self.again.squared_distance
        total = float((self.first + second).sum()) / 2
        return float(np.abs(self.first - second).sum()) / total if total else 0.0

    @property
    def gain(self) -> float:
        """Share of the squared distance that twice the effort, the better of both, takes away."""
        total = float(self.first.sum())
        better = np.minimum(self.first, self.again.squared_distance)
        return 1 - float(better.sum()) / total if total else 0.0

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended one of the searches."""
        parts = (self.again, self.displaced.nearest)
        return any(bool(part.interrupted.any()) for part in parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain Python, ready for JSON; distances are squares per pixel."""
        size = self.again.reconstruction[0].size
        return plain(
            {
                "n": len(self.rows),
                "disagreement": self.disagreement,
                "gain_of_doubled_effort": self.gain,
                "displaced": self.displaced.to_dict(),
                "whole_range_mse": self.first.mean() / size,
                "prior_reach_mse": None if self.reach is None else self.reach.mean() / size,
                "prior_reach_domain": self.reach_domain,
            }
        )


def check(
    generator: Any,
    X: np.ndarray,
    found: NearestResult,
    n: int,
    *,
    random_state: Any,
    **options: Any,
) -> SearchCheck:
    """Check a search on at most ``n`` of its targets X, spread over them evenly.

    ``options`` are those of the search.
    """
    again, beside, reach = _random.generator(random_state).spawn(3)
    rows = np.unique(np.linspace(0, len(X) - 1, n).round().astype(int))
    own = dict(options)
    for key in ("cond", "init"):
        if own.get(key) is not None and not callable(own[key]):
            part = own[key] if hasattr(own[key], "shape") else np.asarray(own[key])
            own[key] = part[rows]
    second = nearest(generator, X[rows], random_state=again, **own)
    residuals = (X - found.reconstruction.reshape(X.shape))[found.finished]
    alike = {k: v for k, v in options.items() if k != "init" or callable(v)}
    if not alike.get("n_starts", True):
        del alike["n_starts"]  # those of init alone, which are not for these targets
    moved = displaced(generator, residuals, len(rows), random_state=beside, **alike)
    near: np.ndarray | None = None
    inside: str | None = None
    if type(domains.check(options.get("domain"))) is domains.Free:
        near, inside = _reach(generator, X[rows], reach, own)
    first = found.squared_distance[rows]
    return SearchCheck(rows, first, second, moved, near, inside)


def _reach(
    generator: Any, X: np.ndarray, rng: np.random.Generator, options: dict[str, Any]
) -> tuple[np.ndarray, str]:
    """Return the least squared distances over the members, each within what its prior reaches."""
    found, names = [], []
    members = members_of(generator)
    for member, own in zip(members, rng.spawn(len(members)), strict=True):
        draws, search = own.spawn(2)
        part = _typical(options.get("prior", "normal"), _latent_dim(member, options), draws)
        inside = {**options, "domain": part}
        found.append(nearest(member, X, random_state=search, **inside).squared_distance)
        names.append(repr(part))
    return np.min(found, axis=0), ", ".join(dict.fromkeys(names))


def _latent_dim(member: Any, options: dict[str, Any]) -> int:
    names = ("latent_dim", "forward", "cond", "device")
    asked: dict[str, Any] = {name: options.get(name) for name in names}
    if is_linear_model(member) and asked["forward"] is None and asked["cond"] is None:
        return linear_map(member, asked["latent_dim"])[0].shape[1]
    with precision.alone(), evaluation_mode(modules_of(member, asked["forward"])):
        return adapt(member, **asked).latent_dim


def _typical(prior: Any, latent_dim: int, rng: np.random.Generator) -> domains.Free:
    """Return the box of a uniform prior, or the ball about 0 that holds 99.9 % of another."""
    if prior == "uniform":
        return domains.Box(-1, 1)
    lengths = np.linalg.norm(domains.draw(prior, _DRAWS, latent_dim, rng), axis=1)
    return domains.Ball(round(float(np.quantile(lengths, _TYPICAL)), 4))
