"""Likelihood of held-out data under a mixture of Gaussians at the generated samples: FLD."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _random, _results, _validate, _warnings
from .._dispatch import likelihood as dispatch
from .covariances import same_dimension

__all__ = ["FeatureLikelihood", "fld"]

_NORMAL = 1.959963984540054
# Least variance of a Gaussian, of features of unit variance: closer samples are copies.
_COPY = 1e-6
# EM has converged when a step gains less than this of the FLD.
_GAIN = 1e-3
_STEPS = 200


@dataclasses.dataclass(frozen=True, repr=False)
class FeatureLikelihood(_results.Result):
    """What `fld` found: 100 times nats per feature.

    Attributes
    ----------
    value : float
        FLD: how much less likely the held-out samples are under the mixture at the generated
        samples than under one at real samples. Lower is better; about 0 for new samples of the real
        law.
    standard_error : float
        Standard error of ``value`` over the held-out samples, with the other sets as they are.
    gap : float
        Generalization gap: what the training samples are less likely than the held-out ones. Far
        below ``gap_floor`` the generator has learned its training set by heart.
    gap_standard_error : float
    gap_floor : float
        The gap of the mixture at real samples.
    train, heldout, baseline : float
        Negative log likelihoods over d of the training set and of the held-out set under the
        mixture at the generated samples, and of the held-out set under that at real samples, in
        nats and without ``log(2 pi) / 2``.
    copies : float
        Share of the generated samples whose Gaussian has the least variance allowed: those within
        a thousandth of a standard deviation, in each feature, of a training sample.
    n_train, n_generated, n_holdout : int
        Samples used.
    """

    value: float
    standard_error: float
    gap: float
    gap_standard_error: float
    gap_floor: float
    train: float
    heldout: float
    baseline: float
    copies: float
    n_train: int
    n_generated: int
    n_holdout: int

    def __repr__(self) -> str:
        return (
            f"FeatureLikelihood(value={self.value:.6g}, standard_error={self.standard_error:.2g}, "
            f"gap={self.gap:.6g}, gap_floor={self.gap_floor:.6g})"
        )

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval: ``value`` and 1.96 standard errors on either side."""
        half = _NORMAL * self.standard_error
        return self.value - half, self.value + half

    @property
    def gap_interval(self) -> tuple[float, float]:
        """95 % interval of ``gap``."""
        half = _NORMAL * self.gap_standard_error
        return self.gap - half, self.gap + half

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain Python, for JSON."""
        return _results.plain(
            {
                **dataclasses.asdict(self),
                "interval": self.interval,
                "gap_interval": self.gap_interval,
            }
        )


def fld(
    train: Any,
    generated: Any,
    holdout: Any,
    *,
    max_samples: int = 10_000,
    random_state: Any = None,
) -> FeatureLikelihood:
    """Feature likelihood divergence and its generalization gap.

    Jiralerspong, Bose, Gemp, Qin, Bachrach and Gidel, "Feature likelihood divergence: evaluating
    the generalization of generative models using samples", NeurIPS 2023, section 3: features are
    standardized, an isotropic Gaussian is put on every generated sample, each with a variance of
    its own, the variances are fitted to the training set, and the held-out set is scored. Where a
    sample copies the training set its variance collapses, and it explains nothing else: fidelity,
    diversity and novelty show in one number. Lower is better.

    Parameters
    ----------
    train : array (n, d)
        Features that the generator was trained on.
    generated : array (m, d)
        Features of generated samples.
    holdout : array (h, d)
        Real features that the generator has not seen.
    max_samples : int, default 10000
        Larger sets are represented by so many of their samples, drawn at random: distances of
        training and generated samples are kept, 4 bytes for each pair.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of what is drawn, and of the halves of the training set.

    Returns
    -------
    FeatureLikelihood

    Raises
    ------
    TypeError, ValueError
        If a set is not a finite numeric matrix of at least four rows (two for ``generated``), or
        they differ in dimension.

    Warns
    -----
    UserWarning
        If the variances have not converged.

    Notes
    -----
    Variances are found by EM, whose every step raises the likelihood, from the distance of each
    generated sample to the nearest training sample; the authors' code takes fifty steps of Adam.
    As there, a training sample may also be explained by one wide Gaussian, here the standard normal
    law of the standardized features, so that samples far from all generated ones do not widen the
    rest. The baseline is a mixture at half of the training set, at most as many as are generated,
    fitted to the rest; of the generated samples no more than half as many as there are training
    samples are used, so that both mixtures have as many Gaussians and 0 is what new samples score.
    Features are standardized by the training set.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import fld
    >>> rng = np.random.default_rng(0)
    >>> train, fresh, holdout = rng.standard_normal((3, 400, 3))
    >>> good, copied = (fld(train, rows, holdout, random_state=0) for rows in (fresh, train))
    >>> good.value < 10, copied.value > 1000, copied.gap < -1000
    (True, True, True)
    """
    sets = [
        _validate.data_matrix(value, name, minimum_rows=least)
        for value, name, least in (
            (train, "train", 4), (generated, "generated", 2), (holdout, "holdout", 4)
        )
    ]  # fmt: skip
    for rows, name in zip(sets[1:], ("generated", "holdout"), strict=True):
        same_dimension(sets[0], rows, "train", name)
    most = _validate.integer(max_samples, "max_samples", minimum=4)
    rng = _random.generator(random_state)
    real, fake, held = sets
    real, held = (_drawn(rows, most, rng) for rows in (real, held))
    fake = _drawn(fake, min(most, len(real) // 2), rng)
    real, fake, held = _standardized(real, fake, held)
    variances, converged = _fitted(fake, real)
    train_nll, held_nll = (_nll(rows, fake, variances) for rows in (real, held))
    order = rng.permutation(len(real))
    count = min(len(fake), len(real) // 2)
    centers, rest = real[order[:count]], real[order[count:]]
    base_variances, base_converged = _fitted(centers, rest)
    base_rest, base_held = (_nll(rows, centers, base_variances) for rows in (rest, held))
    if not (converged and base_converged):
        _warnings.warn(
            f"variances of the mixture have not converged in {_STEPS} steps: value and gap may "
            "move by some hundredths; compare sets of equal sizes"
        )
    difference = 100 * (held_nll - base_held)
    error = 100 * np.hypot(_error(train_nll), _error(held_nll))
    return FeatureLikelihood(
        value=float(difference.mean()),
        standard_error=_error(difference),
        gap=float(100 * (train_nll.mean() - held_nll.mean())),
        gap_standard_error=float(error),
        gap_floor=float(100 * (base_rest.mean() - base_held.mean())),
        train=float(train_nll.mean()),
        heldout=float(held_nll.mean()),
        baseline=float(base_held.mean()),
        copies=float((variances <= _COPY).mean()),
        n_train=len(real),
        n_generated=len(fake),
        n_holdout=len(held),
    )


def _drawn(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows, or so many of them drawn at random."""
    if len(rows) <= count:
        return rows
    return rows[np.sort(rng.choice(len(rows), count, replace=False))]


def _standardized(real: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    mean, scale = real.mean(0), real.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    return [(rows - mean) / scale for rows in (real, *others)]


def _fitted(centers: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """Variances of the Gaussians at ``centers`` that explain ``rows``, and whether they stand."""
    dim = rows.shape[1]
    distances = dispatch.squared_distances(rows, centers)
    base = -0.5 * np.einsum("ij,ij->i", rows, rows)
    variances = np.maximum(distances.min(0).astype(np.float64) / dim, _COPY)
    before = -np.inf
    for _ in range(_STEPS):
        variances, now = dispatch.renewed(distances, variances, dim, base, _COPY)
        if 100 * (now - before) / dim < _GAIN:
            return variances, True
        before = now
    return variances, False


def _nll(rows: np.ndarray, centers: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Negative log likelihoods (n,) over the number of features."""
    return -dispatch.log_densities(rows, centers, variances) / rows.shape[1]


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
