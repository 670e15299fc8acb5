"""Coverage of every data point by a mixture of generators, trained one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _arrays, _validate
from .._progress import reporter

VALUES = ("discriminator", "ratio")
# Added to outputs of a discriminator before they are divided by, as in the authors' code.
_FLOOR = 1e-8


class MultiplicativeWeights:
    """Weights of data points that double wherever the generator of a round does not reach.

    In each round a generator is trained on data drawn with `probabilities_`; then `update` is told
    how much of its mass it puts at every data point. The equal mixture of the generators of all
    rounds covers every point, with the bound `guarantee_`.

    Parameters
    ----------
    n_points : int
        Number of data points, each with share 1 / n_points of the data law p.
    threshold : float, default 0.25
        A point is covered in a round if the generator's density there is at least so many times
        that of the data.
    values : {"discriminator", "ratio"}, default "discriminator"
        What `update` is given: outputs D(x) in [0, 1] of a discriminator between data drawn with
        `probabilities_` and samples of the round's generator, at the end of its training; or the
        ratio g(x) / p(x) of the generator's density to that of the data.

    Attributes
    ----------
    n_rounds_ : int
    uncovered_rounds_ : ndarray (n_points,) of int64
        Rounds in which each point was not covered.
    weights_ : ndarray (n_points,)
        ``2 ** uncovered_rounds_``.
    probabilities_ : ndarray (n_points,)
        Weights divided by their sum: what data are drawn with in the next round.
    uncovered_mass_ : ndarray (``n_rounds_``,)
        Share of each round's own law that its generator did not cover, rho_t.
    ratio_ : ndarray (n_points,)
        Density of the mixture over that of the data: the mean over rounds.
    guarantee_ : float
        No point has a smaller ``ratio_``, whatever the generators were; 0 at first.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    See Also
    --------
    coverage_guarantee : the bound, from rho_t alone.
    rounds_needed : how many rounds it takes.

    Notes
    -----
    P. Zhong, Y. Mo, C. Xiao, P. Chen and C. Zheng, "Rethinking generative mode coverage: a
    pointwise guaranteed approach", NeurIPS 2019; the rule and the threshold are those of the
    authors' code. A discriminator that is optimal has ``D = p_t / (p_t + g_t)``, so the ratio is
    ``(1 / D - 1) p_t n``. Constants of the guarantee are derived here and may differ from those
    that the paper prints.

    With outputs of a trained discriminator ratios are estimates: the guarantee is then one about
    the estimates. Coverage of every point is bought with closeness: in the worst case the total
    variation between the mixture and the data grows with the rounds.

    Examples
    --------
    Generators that miss the first tenth of whatever they are given:

    >>> import numpy as np
    >>> from fastgen.modes import MultiplicativeWeights
    >>> rule = MultiplicativeWeights(1000, values="ratio")
    >>> for _ in range(50):
    ...     p = rule.probabilities_
    ...     made = np.where(p.cumsum() <= 0.1 + 1e-12, 0, p)
    ...     rule = rule.update(made / made.sum() * 1000)
    >>> round(float(rule.ratio_.min()), 4), round(rule.guarantee_, 3)
    (0.5463, 0.195)
    """

    def __init__(
        self, n_points: int, *, threshold: float = 0.25, values: str = "discriminator"
    ) -> None:
        count = _validate.integer(n_points, "n_points")
        self.threshold = _validate.number(threshold, "threshold")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        self.values = _validate.one_of(values, "values", VALUES)
        self.uncovered_rounds_ = np.zeros(count, np.int64)
        self._uncovered_mass: list[float] = []
        self._ratio_sum = np.zeros(count)

    @property
    def n_points(self) -> int:
        """Number of data points."""
        return len(self.uncovered_rounds_)

    @property
    def n_rounds_(self) -> int:
        """Number of rounds so far."""
        return len(self._uncovered_mass)

    @property
    def weights_(self) -> np.ndarray:
        """Weights of the points, powers of two."""
        return np.exp2(self.uncovered_rounds_)

    @property
    def probabilities_(self) -> np.ndarray:
        """Weights divided by their sum."""
        weights = np.exp2(self.uncovered_rounds_ - self.uncovered_rounds_.max())
        return weights / weights.sum()

    @property
    def uncovered_mass_(self) -> np.ndarray:
        """Share of each round's own law that was not covered."""
        return np.array(self._uncovered_mass)

    @property
    def ratio_(self) -> np.ndarray:
        """Density of the mixture over that of the data, at every point."""
        return self._ratio_sum / max(self.n_rounds_, 1)

    @property
    def guarantee_(self) -> float:
        """Lower bound of ``ratio_`` over all points."""
        if not self.n_rounds_:
            return 0.0
        return coverage_guarantee(self.n_points, self._uncovered_mass, threshold=self.threshold)

    def coverage(self, level: float | None = None) -> float:
        """Return the share of the data points where the mixture is dense enough.

        Parameters
        ----------
        level : float, optional
            Least ``ratio_`` that is dense enough, by default the threshold.

        Returns
        -------
        float
            In [0, 1].
        """
        least = self.threshold if level is None else _validate.number(level, "level")
        return float((self.ratio_ >= least).mean())

    def update(self, values: Any) -> MultiplicativeWeights:
        """Close a round: double the weight of the points that its generator does not cover.

        Parameters
        ----------
        values : array (n_points,)
            In the order of the data; what they are is said by the argument ``values`` of the class.

        Returns
        -------
        MultiplicativeWeights
            This object.

        Raises
        ------
        ValueError
            If there is not one value for each point, or one is not finite or out of its range.
            Nothing has changed then.
        """
        given = np.asarray(_arrays.to_host(values, "values"), dtype=np.float64)
        if given.size != self.n_points:
            raise ValueError(
                f"values must have one number for each of the {self.n_points} data points, got "
                f"shape {given.shape}"
            )
        given = given.ravel()
        top = 1.0 if self.values == "discriminator" else np.inf
        wrong = ~(np.isfinite(given) & (given >= 0) & (given <= top))
        if wrong.any():
            where = int(wrong.argmax())
            hint = (
                'between 0 and 1 with values="discriminator"; apply the sigmoid to logits'
                if top == 1
                else 'finite and at least 0 with values="ratio"'
            )
            raise ValueError(f"values must be {hint}, got {given[where]} at position {where}")
        shares = self.probabilities_
        if self.values == "discriminator":
            given = np.maximum(1 / (given + _FLOOR) - 1, 0) * shares * self.n_points
        uncovered = given < self.threshold
        self._uncovered_mass.append(float(shares[uncovered].sum()))
        self._ratio_sum += given
        self.uncovered_rounds_ += uncovered
        return self

    def fit(
        self,
        train_round: Callable[[np.ndarray], Any],
        X: Any,
        n_rounds: int,
        *,
        target: float | None = None,
        progress: bool | Callable[..., Any] | None = None,
    ) -> MultiplicativeWeights:
        """Run rounds of training, going on from the rounds already closed.

        Parameters
        ----------
        train_round : callable
            ``train_round(probabilities)`` trains a fresh generator on rows of X drawn with these
            probabilities and returns the values of `update` at the rows of X. It keeps the
            generator itself; samples of the mixture come from all of them equally.
        X : array (n_points, ...)
            The data; only its length is read.
        n_rounds : int
            Rounds to run at most.
        target : float, optional
            Stop as soon as ``guarantee_`` is at least this, below the threshold.
        progress : bool or callable, optional
            True shows a bar of rounds.

        Returns
        -------
        MultiplicativeWeights
            This object. Every round that was finished counts, also after an exception.

        Raises
        ------
        ValueError, TypeError
            If X has not ``n_points`` rows, or ``target`` can never be reached.
        """
        if len(X) != self.n_points:
            raise ValueError(
                f"X must have the n_points={self.n_points} rows that the weights are for, got "
                f"{len(X)}"
            )
        count = _validate.integer(n_rounds, "n_rounds")
        if target is not None and not 0 < _validate.number(target, "target") < self.threshold:
            raise ValueError(
                f"target must be between 0 and the threshold {self.threshold:g}, got {target}"
            )
        with reporter(progress, unit="round", total=count) as report:
            for _ in range(count):
                self.update(train_round(self.probabilities_))
                report()
                if target is not None and self.guarantee_ >= target:
                    break
        return self

    def __repr__(self) -> str:
        return (
            f"MultiplicativeWeights({self.n_points} points, {self.n_rounds_} rounds: guarantee "
            f"{self.guarantee_:.3g}, coverage {self.coverage():.1%})"
        )


def coverage_guarantee(n_points: int, uncovered_mass: Any, *, threshold: float = 0.25) -> float:
    r"""Bound from below the density of the mixture over that of the data, at every data point.

    Parameters
    ----------
    n_points : int
        Number of data points n.
    uncovered_mass : array (T,)
        rho_t in [0, 1]: the share of its own law p_t that the generator of round t did not cover.
    threshold : float, default 0.25
        delta, below which a point counts as not covered.

    Returns
    -------
    float
        :math:`\delta (1 - \log_2 n / T - \frac{1}{T} \sum_t \log_2 (1 + \rho_t))`, at least 0.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    Notes
    -----
    The sum of the weights grows by 1 + rho_t in round t, and a point that was not covered k times
    has weight 2^k, at most that sum: k <= log2 n + sum log2 (1 + rho_t). In all other rounds its
    ratio is at least the threshold.

    Examples
    --------
    >>> from fastgen.modes import coverage_guarantee
    >>> round(coverage_guarantee(1000, [0.1] * 50), 4)
    0.1658
    """
    count = _validate.integer(n_points, "n_points")
    level = _validate.number(threshold, "threshold")
    rho = np.atleast_1d(np.asarray(uncovered_mass, dtype=np.float64))
    if not rho.size or not (np.isfinite(rho) & (rho >= 0) & (rho <= 1 + 1e-9)).all():
        raise ValueError("uncovered_mass must hold shares between 0 and 1, one for each round")
    spent = math.log2(count) / rho.size + float(np.log2(1 + rho).mean())
    return max(level * (1 - spent), 0.0)


def rounds_needed(n_points: int, *, slack: float = 0.25) -> int:
    """Return the rounds after which the size of the data costs no more than ``slack``.

    Parameters
    ----------
    n_points : int
        Number of data points n; or, to cover a mode rather than a point, one over its share of
        the data, rounded up.
    slack : float, default 0.25
        eta in (0, 1).

    Returns
    -------
    int
        T = ceil(log2(n) / eta). If every generator covers all but a share gamma of its own law with
        ratio at least psi, and the threshold is psi gamma, the mixture of T rounds covers every
        point with ratio at least ``psi gamma (1 - 3 gamma - eta)``. Fewer than log2 n rounds may
        leave points with none.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    Examples
    --------
    >>> from fastgen.modes import rounds_needed
    >>> rounds_needed(1000)
    40
    """
    count = _validate.integer(n_points, "n_points")
    if not 0 < _validate.number(slack, "slack") < 1:
        raise ValueError(f"slack must be between 0 and 1, got {slack}")
    return max(math.ceil(math.log2(count) / slack), 1)
