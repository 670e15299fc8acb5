"""Whether a generator comes closer to its training data than to data it never saw."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _random, _validate
from .._results import Result, plain
from .results import NearestResult
from .scores import PlantedResult, planted, transferable
from .search import nearest, without_advice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KS_LEVEL, _GAP_LEVEL = 0.01, 0.10
_KS_CRITICAL = 1.6276  # critical value of Kolmogorov's distribution at 1 %
_FIGURES = (
    "mre_train", "mre_validation", "gap", "absolute_gap", "ks_statistic", "ks_pvalue",
    "ks_detectable", "permutation_pvalue",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class OverfitTest(Result):
    """Recovery errors of training and held-out data compared.

    Attributes
    ----------
    train, validation : NearestResult
        What was found for each set.
    planted : PlantedResult
        The floor of the same search.
    mre_train, mre_validation : float
        Median squared distances per pixel.
    gap : float
        Signed ``(mre_validation - mre_train) / mre_validation``, Webster et al.'s equation;
        positive where training data are nearer. NaN where ``mre_validation`` is 0.
    absolute_gap : float
        Its absolute value, which is what their table holds.
    ks_statistic, ks_pvalue : float
        Two-sample Kolmogorov-Smirnov test of the errors.
    ks_detectable : float
        The least statistic that is significant at 1 % with so many samples.
    permutation_pvalue : float
        One-sided: how often a random split has a difference of medians at least as large.
    """

    train: NearestResult
    validation: NearestResult
    planted: PlantedResult
    mre_train: float
    mre_validation: float
    gap: float
    absolute_gap: float
    ks_statistic: float
    ks_pvalue: float
    ks_detectable: float
    permutation_pvalue: float

    @property
    def overfitted(self) -> bool:
        """Webster et al.'s rule on the signed gap: KS p below 1 %, or a gap above 10 %.

        For few samples the gap alone exceeds 10 % by chance: read the permutation p-value too.
        """
        return self.ks_pvalue < _KS_LEVEL or self.gap > _GAP_LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of the test and of its parts as plain Python, ready for JSON."""
        return plain(
            {
                **{name: getattr(self, name) for name in _FIGURES},
                "overfitted": self.overfitted,
                "train": self.train.to_dict(),
                "validation": self.validation.to_dict(),
                "planted": self.planted.to_dict(),
            }
        )

    def __repr__(self) -> str:
        return (
            f"OverfitTest(MRE train {self.mre_train:.4g} (n {len(self.train)}), validation "
            f"{self.mre_validation:.4g} (n {len(self.validation)}); gap {self.gap:+.3g}, KS "
            f"{self.ks_statistic:.3g} (p {self.ks_pvalue:.2g}, detectable from "
            f"{self.ks_detectable:.2g}), permutation p {self.permutation_pvalue:.2g}; planted "
            f"median {np.median(self.planted.mse):.3g}, {self.planted.recovered:.0%} recovered)"
        )

    def plot(self, *, width: float = 7.0) -> Figure:
        """Draw the errors of training, validation and planted targets.

        Parameters
        ----------
        width : float, default 7.0
            Width of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.nearest import overfit_figure

        title = (
            f"gap {self.gap:+.3g}, KS p {self.ks_pvalue:.2g}, permutation p "
            f"{self.permutation_pvalue:.2g}"
        )
        errors = (self.train.mse, self.validation.mse, self.planted.mse)
        return overfit_figure(*errors, title=title, width=width)


def mre_gap(train: Any, validation: Any) -> float:
    """Signed gap of the medians, ``(median(validation) - median(train)) / median(validation)``.

    Parameters
    ----------
    train, validation : array (n,)
        Errors.

    Returns
    -------
    float
        NaN where the median of ``validation`` is 0.

    Examples
    --------
    >>> mre_gap([1.0, 2.0, 3.0], [4.0])
    0.5
    """
    low, high = float(np.median(train)), float(np.median(validation))
    return (high - low) / high if high else float("nan")


def overfit_test(
    generator: Any,
    X_train: Any,
    X_val: Any,
    *,
    cond_train: Any = None,
    cond_val: Any = None,
    n_planted: int = 64,
    n_permutations: int = 9999,
    random_state: Any = None,
    **options: Any,
) -> OverfitTest:
    """Test whether a generator's range is nearer to its training data than to held-out data.

    Parameters
    ----------
    generator : nn.Module, callable, LinearGAN, or a list of them
    X_train, X_val : array or tensor (n, ...)
        At least two rows each.
    cond_train, cond_val : array, optional
        Conditions, row by row.
    n_planted : int, default 64
        Targets made by the generator, for the floor.
    n_permutations : int, default 9999
        Number of random splits of the pooled errors.
    random_state : int, Generator or None
        Seed of the pool, the same for both sets, of the planted targets and of the permutations.
    **options
        Further arguments of `nearest`, the same for both sets.

    Returns
    -------
    OverfitTest

    Raises
    ------
    TypeError, ValueError
        If a set has fewer than two rows, an array is given as ``init`` or a result as ``resume``,
        or ``cond`` in place of ``cond_train`` and ``cond_val``; and as `nearest`.
    KeyboardInterrupt
        If a search was interrupted: a part of one set is not comparable with the other.

    Notes
    -----
    Webster, Rabin, Simon and Jurie, "Detecting overfitting of deep generative networks via latent
    recovery", CVPR 2019. Both sets are searched with the same pool and effort. Errors of a
    search that has not converged are weak evidence either way: see ``planted``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof import overfit_test
    >>> from fastgen.linear import LinearGAN
    >>> X = np.random.default_rng(0).standard_normal((120, 40))
    >>> gan = LinearGAN(20, "unsupervised").fit(X[:60])
    >>> found = overfit_test(gan, X[:60], X[60:], random_state=0)
    >>> found.gap > 0.3, found.permutation_pvalue < 0.001
    (True, True)
    """
    from scipy.stats import ks_2samp

    n_permutations = _validate.integer(n_permutations, "n_permutations")
    n_planted = _validate.integer(n_planted, "n_planted")
    for name in ("init", "resume"):
        if options.get(name) is not None and not callable(options[name]):
            raise ValueError(
                f"{name} belongs to one set of targets; pass an encoder as init or none"
            )
    if "cond" in options:
        raise TypeError("pass cond_train and cond_val in place of cond")
    sets = (X_train, X_val)
    for name, X in zip(("X_train", "X_val"), sets, strict=True):
        if len(X) < 2:
            raise ValueError(f"{name} must have at least 2 rows, got {len(X)}")
    search, floor, shuffle = _random.generator(random_state).spawn(3)
    seed = int(search.integers(2**63))
    conditions = (cond_train, cond_val)
    with without_advice():
        train, validation = (
            _whole(nearest(generator, X, cond=cond, random_state=seed, **options))
            for X, cond in zip(sets, conditions, strict=True)
        )
        beside = planted(
            generator, n_planted, cond=cond_val, random_state=floor, **transferable(options)
        )
    _whole(beside.nearest)
    n, m = len(train), len(validation)
    test = ks_2samp(train.mse, validation.mse)
    gap = mre_gap(train.mse, validation.mse)
    return OverfitTest(
        train=train,
        validation=validation,
        planted=beside,
        mre_train=float(np.median(train.mse)),
        mre_validation=float(np.median(validation.mse)),
        gap=gap,
        absolute_gap=abs(gap),
        ks_statistic=float(test.statistic),
        ks_pvalue=float(test.pvalue),
        ks_detectable=float(_KS_CRITICAL * np.sqrt((n + m) / (n * m))),
        permutation_pvalue=permutation_pvalue(train.mse, validation.mse, n_permutations, shuffle),
    )


def _whole(found: NearestResult) -> NearestResult:
    if found.interrupted.any():
        raise KeyboardInterrupt("the search was interrupted; use nearest(..., resume=...)")
    return found


def permutation_pvalue(
    train: np.ndarray, validation: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> float:
    """Share of splits whose medians differ at least as much, the one observed among them."""
    observed = np.median(validation) - np.median(train)
    pooled, n = np.concatenate([train, validation]), len(train)
    beyond = 1
    for _ in range(n_permutations):
        rng.shuffle(pooled)
        beyond += np.median(pooled[n:]) - np.median(pooled[:n]) >= observed
    return float(beyond / (n_permutations + 1))
