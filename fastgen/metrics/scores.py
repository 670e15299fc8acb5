"""The rows of an evaluation: each metric with its floor, its interval, and a verdict in words."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _results
from . import floor as _floor
from .diversity import VendiScore, vendi
from .extrapolation import ExtrapolatedFID, fd_infinity
from .fid_wam import wam
from .kernel_distances import KernelDistance, cmmd, kid
from .likelihood import fld
from .manifold import Manifold, _wilson
from .memorization import Memorization, memorization_of
from .neighbor_pass import NeighborPass, neighbor_pass
from .sliced import sliced_wasserstein

__all__ = ["FAMILIES", "LEAST", "NAMES", "Context", "Family", "Score"]

# Fewest samples of a set.
LEAST = 4
# Samples per dimension below which a mixture's distance is mostly its floor.
_MIXTURE_SAMPLES = 10
_NORMAL = 1.959963984540054
# A score without interval counts as above its floor from this multiple on.
_CLEARLY = 1.5
_MIN_HALVES = 20


@dataclasses.dataclass(frozen=True)
class Score(_results.Result):
    """One metric of an evaluation.

    Attributes
    ----------
    value : float
    floor : float or None
        What new samples of the real law would score; it is their ceiling where higher is better.
    interval : (float, float) or None
        95 % interval of the value.
    better : {"lower", "higher"} or None
    verdict : str
        What follows, in words.
    n : int
        Generated samples that the value was computed from.
    """

    value: float
    floor: float | None
    interval: tuple[float, float] | None
    better: str | None
    verdict: str
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return the score as plain Python, for JSON."""
        return _results.plain(dataclasses.asdict(self))


class Family(NamedTuple):
    """Metrics that are computed together."""

    names: tuple[str, ...]
    scores: Callable[[Context], dict[str, Score]]


class TooSmallError(ValueError):
    """A metric cannot be computed from sets this small, or without a holdout."""


class Context:
    """The sets of an evaluation, and what several metrics share.

    Parameters
    ----------
    real, generated : ndarray (n, d), (m, d)
    holdout : ndarray (h, d) or None
    n_neighbors : int
    n_jobs : int or None
    seed : numpy.random.SeedSequence
    """

    def __init__(
        self,
        real: np.ndarray,
        generated: np.ndarray,
        holdout: np.ndarray | None,
        *,
        n_neighbors: int,
        n_jobs: int | None,
        seed: np.random.SeedSequence,
    ) -> None:
        self.real, self.generated, self.holdout = real, generated, holdout
        self.n_neighbors, self.n_jobs = n_neighbors, n_jobs
        # a seed for each purpose: what is asked for besides does not change a number
        self._seeds = seed.spawn(len(FAMILIES) + 1)
        self.parts: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}

    @property
    def n(self) -> int:
        """Number of generated samples."""
        return len(self.generated)

    def scored(self, family: Family) -> dict[str, Score]:
        """Return the scores of a family; what cannot be computed is noted in ``skipped``."""
        try:
            found = family.scores(self)
        except (TooSmallError, ImportError) as error:
            self.skipped.update(dict.fromkeys(family.names, str(error)))
            return {}
        for name in family.names:
            if name in found and not np.isfinite(found[name].value):
                del found[name]
                self.skipped[name] = "it is not finite for these sets"
        return found

    def rng(self, purpose: int) -> np.random.Generator:
        """Return a new generator for one of the purposes that draw."""
        return np.random.default_rng(self._seeds[purpose])

    @functools.cached_property
    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Random halves of the real set: what metrics say of samples of one law."""
        n_half = len(self.real) // 2
        order = self.rng(0).permutation(len(self.real))
        return self.real[order[:n_half]], self.real[order[n_half : 2 * n_half]]

    def scaled_floor(self, distance: float) -> float:
        """Floor of a distance in proportion to 1 / n from that of the halves."""
        return distance * (1 / len(self.real) + 1 / self.n) * len(self.halves[0]) / 2

    @functools.cached_property
    def fid(self) -> tuple[float, float, ExtrapolatedFID | None]:
        """FID, its floor, and its extrapolation where there are samples enough."""
        options: dict[str, Any] = {"ddof": 1, "reg_covar": 0.0}
        value = _floor.gaussian_distance(self.real, self.generated, **options)
        floor = self.scaled_floor(_floor.gaussian_distance(*self.halves, **options))
        needed = 2 * max(self.real.shape[1] + 1, 4)
        if min(len(self.real), self.n) < needed:
            return value, floor, None
        return value, floor, fd_infinity(self.real, self.generated, random_state=self.rng(1))

    @functools.cached_property
    def neighbors(self) -> NeighborPass:
        """The pass over all pairs."""
        if min(len(self.real), self.n) <= self.n_neighbors:
            raise TooSmallError(
                f"needs more than n_neighbors={self.n_neighbors} samples in each set, got "
                f"{len(self.real)} and {self.n}"
            )
        found = neighbor_pass(self.real, self.generated, self.n_neighbors, n_jobs=self.n_jobs)
        self.parts["neighbors"] = found
        return found

    @functools.cached_property
    def neighbors_of_halves(self) -> NeighborPass | None:
        """The pass over the halves of the real set; None where they are too small."""
        if len(self.halves[0]) < max(_MIN_HALVES, 2 * self.n_neighbors):
            return None
        return neighbor_pass(*self.halves, self.n_neighbors, n_jobs=self.n_jobs)


def _distance(
    value: float,
    floor: float,
    interval: tuple[float, float] | None,
    n: int,
    *,
    error: float | None = None,
    spread: float | None = None,
    sees_copies: bool = True,
) -> Score:
    """Score a distance: whether it is above what samples of one law are apart.

    ``error`` is the standard error of the value, ``spread`` the standard deviation at the floor,
    where they are known.
    """
    if error is None:
        apart, closer = value > _CLEARLY * floor, value < floor / _CLEARLY**2
    else:
        least = error if spread is None else spread
        apart, closer = value > floor + 2 * least, value < floor - 3 * max(error, least)
    if apart:
        size = f", {value / floor:.3g} times the floor" if floor > 0 else ""
        verdict = f"the laws differ{size}"
    elif closer and sees_copies:
        verdict = "closer than new samples would be: look for copies"
    else:
        verdict = "no difference seen"
    return Score(value, floor, interval, "lower", verdict, n)


def _positive(interval: tuple[float, float]) -> tuple[float, float]:
    return max(interval[0], 0.0), interval[1]


def _fid(context: Context) -> dict[str, Score]:
    value, floor, extrapolated = context.fid
    if extrapolated is None:
        d = context.real.shape[1]
        context.skipped["fid_infinity"] = (
            f"needs {2 * max(d + 1, 4)} samples in each set, twice more than the d={d} features"
        )
        return {"fid": _distance(value, floor, None, context.n)}
    context.parts["fid_infinity"] = extrapolated
    error = extrapolated.standard_error
    return {
        "fid": _distance(
            value, floor, _positive(extrapolated.fid_interval), context.n, error=error
        ),
        "fid_infinity": _distance(
            extrapolated.value, 0.0, extrapolated.interval, context.n, error=error
        ),
    }


def _wam(context: Context) -> dict[str, Score]:
    d, least = context.real.shape[1], min(len(context.real), context.n)
    if least < max(_MIXTURE_SAMPLES * d, 2 * LEAST):
        raise TooSmallError(
            f"needs {_MIXTURE_SAMPLES} samples per feature to tell mixtures from their floor, got "
            f"{least / d:.2g}; reduce the features by PCA"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn's k-means about equal samples
        try:
            found = wam(context.real, context.generated, random_state=context.rng(2))
        except ValueError as error:  # too few distinct rows, or covariances without rank
            raise TooSmallError(str(error)) from error
    context.parts["wam"] = found
    assert found.floor is not None
    return {"wam": _distance(found.wam2, found.floor, None, context.n)}


def _kernel(found: KernelDistance, n: int) -> Score:
    return _distance(
        found.value,
        found.floor,
        found.interval,
        n,
        error=found.standard_error,
        spread=found.noise,
    )


def _kid(context: Context) -> dict[str, Score]:
    found = context.parts["kid"] = kid(context.real, context.generated)
    return {"kid": _kernel(found, context.n)}


def _cmmd(context: Context) -> dict[str, Score]:
    try:
        found = cmmd(context.real, context.generated, sigma="median")
    except ValueError as error:
        if "pairs are equal" not in str(error):
            raise
        raise TooSmallError("more than half of the real samples are equal") from error
    context.parts["cmmd"] = found
    return {"cmmd": _kernel(found, context.n)}


def _sliced(context: Context) -> dict[str, Score]:
    found = sliced_wasserstein(context.real, context.generated, random_state=context.rng(3))
    context.parts["sliced"] = found
    interval = None if found.interval is None else _positive(found.interval)
    score = _distance(found.value, found.floor, interval, context.n, error=found.standard_error)
    return {"sliced_w2": score}


_LOW = {
    "precision": "samples are unlike the data",
    "recall": "parts of the data are not generated",
    "density": "samples lie where data are sparse",
    "coverage": "parts of the data are not covered",
}


def _manifold(context: Context) -> dict[str, Score]:
    found = context.parts["manifold"] = Manifold.of(context.neighbors)
    halves = context.neighbors_of_halves
    other = None if halves is None else Manifold.of(halves)
    counts = found.real_balls / found.n_neighbors
    half = _NORMAL * float(counts.std() / np.sqrt(len(counts)))
    intervals = {**found.intervals, "density": (found.density - half, found.density + half)}
    floors = {
        "precision": None if other is None else other.precision,
        "recall": None if other is None else other.recall,
        "density": 1.0,
        "coverage": _expected_coverage(len(context.real), context.n, found.n_neighbors),
    }
    scores = {}
    for name, floor in floors.items():
        value, interval = float(getattr(found, name)), intervals[name]
        if floor is None:
            verdict = "the real set is too small for a floor"
        elif interval[1] < floor - _slack(floor, len(context.halves[0])):
            verdict = _LOW[name]
        elif name == "density" and interval[0] > 1.2:
            verdict = "samples crowd where data are dense"
        else:
            verdict = "as new samples"
        scores[name] = Score(value, floor, interval, "higher", verdict, context.n)
    return scores


def _slack(share: float, n: int) -> float:
    """Two standard errors of a share among n."""
    return 2 * float(np.sqrt(max(share * (1 - share), 0.0) / n))


def _expected_coverage(n: int, m: int, k: int) -> float:
    """Coverage of two samples of one law: Naeem et al. 2020, equation 9."""
    steps = np.arange(1, k + 1)
    return float(1 - np.prod((n - steps) / (n + m - steps)))


def _memorization(context: Context) -> dict[str, Score]:
    found = memorization_of(
        context.neighbors, context.holdout, n_jobs=context.n_jobs, random_state=context.rng(4)
    )
    context.parts["memorization"] = found
    halves = context.neighbors_of_halves
    other = None if halves is None else memorization_of(halves, n_jobs=context.n_jobs)
    scores = {"authenticity": _authenticity(found, other)}
    if found.copying_z is None:
        context.skipped["copying_z"] = "needs a holdout"
    else:
        scores["copying_z"] = _copying(found.copying_z, context.n)
    scores["near_copies"] = _near_copies(found, other)
    value, floor, _ = context.fid
    penalized = value * found.mifid_penalty
    if np.isfinite(penalized):
        usual = 1.0 if other is None else other.mifid_penalty
        usual = usual if np.isfinite(usual) else 1.0
        scores["mifid"] = _distance(penalized, floor * usual, None, context.n)
    else:
        context.skipped["mifid"] = "its penalty is infinite: every sample is a copy"
    return scores


def _authenticity(found: Memorization, other: Memorization | None) -> Score:
    value, interval = found.authenticity, _wilson(found.authenticity, found.n_generated)
    floor = None if other is None else other.authenticity
    if floor is None:
        verdict = "the real set is too small for a floor"
    elif interval[1] < floor - _slack(floor, other.n_generated if other else 1):
        verdict = "copies: closer to the training data than new samples are"
    elif interval[0] > floor + _slack(floor, other.n_generated if other else 1):
        verdict = "farther from the training data than new samples are"
    else:
        verdict = "as new samples"
    return Score(value, floor, interval, "higher", verdict, found.n_generated)


def _copying(z: float, n: int) -> Score:
    if z < -2:
        verdict = "copies: closer to the training data than the holdout is"
    elif z > 2:
        verdict = "farther from the training data than the holdout is"
    else:
        verdict = "as the holdout"
    return Score(z, 0.0, (z - _NORMAL, z + _NORMAL), None, verdict, n)


def _near_copies(found: Memorization, other: Memorization | None) -> Score:
    value, interval = found.near_copies, _wilson(found.near_copies, found.n_generated)
    floor, size = found.near_copies_holdout, found.n_holdout
    if floor is None and other is not None:
        floor, size = other.near_copies, other.n_generated
    if floor is None:
        verdict = "the real set is too small for a floor"
    elif interval[0] > floor + _slack(floor, size):
        verdict = f"copies: {100 * value:.3g} % of the samples"
    else:
        verdict = "no more than new samples"
    return Score(value, floor, interval, "lower", verdict, found.n_generated)


def _vendi(context: Context) -> dict[str, Score]:
    try:
        found, real = vendi(context.generated), vendi(context.real)
    except ValueError as error:
        raise TooSmallError(str(error)) from error
    context.parts.update(vendi=found, vendi_real=real)
    return {"vendi": _diversity(found, real)}


def _diversity(found: VendiScore, real: VendiScore) -> Score:
    error = 2 * float(np.hypot(found.standard_error, real.standard_error))
    if found.value < real.value - error:
        verdict = "less varied than the data"
    elif found.value > real.value + error:
        verdict = "more varied than the data: noise?"
    else:
        verdict = "as varied as the data"
    return Score(found.value, real.value, found.interval, "higher", verdict, found.n)


def _likelihood(context: Context) -> dict[str, Score]:
    if context.holdout is None:
        raise TooSmallError("needs a holdout")
    found = fld(context.real, context.generated, context.holdout, random_state=context.rng(5))
    context.parts["fld"] = found
    error = 2 * found.gap_standard_error
    if found.gap < found.gap_floor - error:
        verdict = "overfit: the training data are likelier than the holdout"
    else:
        verdict = "no overfitting seen"
    gap = Score(
        found.gap, found.gap_floor, found.gap_interval, "higher", verdict, found.n_generated
    )
    value = _distance(
        found.value,
        0.0,
        found.interval,
        found.n_generated,
        error=found.standard_error,
        sees_copies=False,
    )
    return {"fld": value, "fld_gap": gap}


FAMILIES = (
    Family(("fid", "fid_infinity"), _fid),
    Family(("wam",), _wam),
    Family(("kid",), _kid),
    Family(("cmmd",), _cmmd),
    Family(("sliced_w2",), _sliced),
    Family(("precision", "recall", "density", "coverage"), _manifold),
    Family(("authenticity", "copying_z", "near_copies", "mifid"), _memorization),
    Family(("vendi",), _vendi),
    Family(("fld", "fld_gap"), _likelihood),
)
NAMES = tuple(name for family in FAMILIES for name in family.names)
