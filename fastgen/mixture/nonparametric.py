"""Mixtures whose components have densities of any shape, one for each block of coordinates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import _progress, _random, _validate
from .._results import plain
from .._warnings import warn
from . import _evaluation, _nonparametric, _smoothing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Fewer rows than this are no component.
_EMPTY = 1e-6


class NonparametricMixture(ClusterMixin, DensityMixin, BaseEstimator):
    r"""Mixture with conditionally independent coordinates and densities of any shape.

    The density of a row is :math:`g(x) = \sum_j \lambda_j \prod_c f_{j b_c}(x_c)`: given the
    component j, coordinates are independent, and those of one block b are identically distributed.
    The f are weighted Gaussian kernel estimates with bandwidth h.

    - "npmsl" maximizes :math:`\sum_i \log \sum_j \lambda_j \prod_c N_h f_{j b_c}(x_{ic})` with
      :math:`N_h f(x) = \exp \int K_h(x - u) \log f(u)\,du`. With fixed bandwidths it never falls.
    - "npem" uses f itself at the data. It is no ascent method: its objective may fall.

    Parameters
    ----------
    n_components : int, default 2
        Number of components.
    method : {"npmsl", "npem"}, default "npmsl"
        The algorithm, see above.
    blocks : array-like (n_features,), optional
        Label of each coordinate's block. By default every coordinate is its own. Blocks are
        numbered in the order of their sorted labels.
    bandwidth : float, array-like (n_blocks,), "adaptive", "S" or "cv", optional
        Standard deviation of the kernel, in units of X. By default Silverman's rule
        ``0.9 min(sd, IQR / 1.34) N**(-1/5)`` on all entries pooled. "adaptive", or "S", is that
        rule with the posteriors as weights, for each component and block, renewed in every
        iteration; "cv" minimises a weighted five-fold least-squares criterion instead.
    init : "k-means++" or array-like, default "k-means++"
        Start: k-means from its own seeds; k-means from these centers (n_components, n_features); or
        posteriors (n_samples, n_components), with rows that sum to one. Where both shapes are the
        same, centers are meant.
    max_iter : int, default 500
        Most iterations.
    tol : float, default 1e-8
        Stop when no mixing weight moved by as much since the iteration before; for "npem" with
        bandwidths that are renewed, none of those either.
    n_init : int, default 1
        Number of k-means++ starts; the highest objective wins.
    small_em_iter : int, optional
        Give each start this many iterations only, and finish the best.
    stochastic : bool, default False
        Stochastic npEM: densities from one draw of a component for each row; mixing weights and
        posteriors are averages over ``max_iter`` iterations.
    n_grid : int, default 200
        Number of grid points of the densities.
    grid_margin : float, default 0.1
        Room of the grid left and right of the data, as a share of their range. Where that is less
        than two fixed bandwidths the room is four; bandwidths that are renewed get a warning.
    shared_grid : bool, default True
        One grid for all blocks, from all of X. False gives each block its own, which resolves
        blocks of different units.
    memory_budget : int, default 2097152
        Bytes that kernel values of fixed bandwidths of "npmsl" may take to be kept between
        iterations; where they need more they are computed again, eight values of X at a time. To
        read kept ones takes 0.8 of the time while they fit into a cache that no other process
        uses, and up to 1.6 times the time where they do not.
    device : {"cpu", "cuda"}, default "cpu"
        Where the sums run; "cuda" needs CuPy and a device.
    n_jobs : int, optional
        Starts in parallel threads, as in scikit-learn.
    progress : bool or callable, optional
        True shows a bar on standard error; a callable is called with the number of iterations done.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of k-means++ and of the draws of ``stochastic``. Results do not depend on ``n_jobs``.

    Attributes
    ----------
    weights_, lambda_ : ndarray (n_components,)
        Mixing weights.
    means_ : ndarray (n_components, n_features)
        Means of the rows, weighted by posteriors: the profiles of the components. NaN for one that
        lost all its rows.
    labels_ : ndarray (n_samples,)
        Component of the largest posterior.
    posteriors_ : ndarray (n_samples, n_components)
    objective_ : ndarray (``n_iter_``,)
        Log-likelihood after each iteration, smoothed for "npmsl"; nats.
    converged_ : bool
        Whether ``tol`` was reached. False for ``stochastic``.
    n_iter_ : int
    bandwidth_ : ndarray (n_components, n_blocks)
        Those of the last iteration.
    blocks_ : ndarray (n_features,)
        Number of each coordinate's block, from 0.
    grid_ : ndarray (n_blocks, n_grid)
    densities_ : ndarray (n_components, n_blocks, n_grid)
        f on the grid, at least exp(-500).
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,)
        If X has names of strings.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range; for X with NaN or infinity, with fewer rows or distinct
        rows than components, with all entries equal, or with entries spread over more than 1e140
        or less than 1e-140; for a bandwidth below half the grid step.

    Warns
    -----
    ConvergenceWarning
        When ``max_iter`` came first.
    UserWarning
        When a component lost all its rows, when the grid is too narrow or too coarse for
        bandwidths that were renewed.

    See Also
    --------
    select_components : choose ``n_components``.

    Notes
    -----
    npMSL is that of Levine, Hunter and Chauveau, "Maximum smoothed likelihood for multivariate
    mixtures", Biometrika 98 (2011), npEM that of Benaglia, Chauveau and Hunter, "An EM-like
    algorithm for semi- and nonparametric estimation in multivariate mixtures", JCGS 18 (2009). The
    model is identifiable for at least three coordinates under mild conditions.

    ``n_iter_`` counts iterations whose first step, the mixing weights, was compared with that of
    the iteration before. Equal values of a block are computed once.

    A component whose entries in a block have no spread would get bandwidth 0 by a rule; renewed
    bandwidths are kept at half the grid step or more. ``bandwidth="cv"`` weighs both terms of its
    criterion.

    ``score_samples`` is the quantity that is maximized; for "npmsl" it is a little below a log
    density, by Jensen's inequality. ``check_estimator`` of scikit-learn passes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.mixture import NonparametricMixture
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((300, 3))
    >>> X[:120] += 5
    >>> fit = NonparametricMixture(2, init=[[5, 5, 5], [0, 0, 0]]).fit(X)
    >>> np.round(fit.weights_, 2)
    array([0.4, 0.6])
    >>> bool((np.diff(fit.objective_) > -1e-6).all())
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        method: str = "npmsl",
        blocks: Any = None,
        bandwidth: Any = None,
        init: Any = "k-means++",
        max_iter: int = 500,
        tol: float = 1e-8,
        n_init: int = 1,
        small_em_iter: int | None = None,
        stochastic: bool = False,
        n_grid: int = 200,
        grid_margin: float = 0.1,
        shared_grid: bool = True,
        memory_budget: int = 2**21,
        device: str = "cpu",
        n_jobs: int | None = None,
        progress: bool | Callable[[int], None] = False,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.method = method
        self.blocks = blocks
        self.bandwidth = bandwidth
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.small_em_iter = small_em_iter
        self.stochastic = stochastic
        self.n_grid = n_grid
        self.grid_margin = grid_margin
        self.shared_grid = shared_grid
        self.memory_budget = memory_budget
        self.device = device
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    @property
    def lambda_(self) -> np.ndarray:
        """Mixing weights, under the papers' name."""
        return self.weights_

    def fit(self, X: Any, y: Any = None) -> NonparametricMixture:
        """Fit weights and densities.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            At least ``n_components`` rows.
        y : None
            Ignored.

        Returns
        -------
        NonparametricMixture
            This object.
        """
        rows = self._rows(X, reset=True)
        plan = self._plan(rows)
        outcome = self._run(plan, rows)
        self._keep(plan, outcome)
        shares = outcome.posteriors.sum(axis=0)[:, None]
        self.means_ = np.divide(
            outcome.posteriors.T @ rows, shares, np.full((len(shares), rows.shape[1]), np.nan),
            where=shares > 0,
        )  # fmt: skip
        self._warn(plan, outcome)
        return self

    def _rows(self, X: Any, *, reset: bool) -> np.ndarray:
        rows = validate_data(
            self,
            _validate.samples(X, "X"),
            reset=reset,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        return _nonparametric.finite(rows)

    def _plan(self, rows: np.ndarray) -> _smoothing.Plan:
        """Check everything but the start."""
        n_components = _validate.integer(self.n_components, "n_components")
        method = _validate.one_of(self.method, "method", ("npmsl", "npem"))
        device = _validate.one_of(self.device, "device", ("cpu", "cuda"))
        size = _validate.integer(self.n_grid, "n_grid", minimum=10)
        margin = _validate.number(self.grid_margin, "grid_margin")
        if self.stochastic and method != "npem":
            raise ValueError('stochastic=True belongs to method="npem", got method="npmsl"')
        if len(rows) < n_components:
            raise ValueError(
                f"X must have at least n_components={n_components} rows, got {len(rows)}; "
                "lower n_components"
            )
        if np.ptp(rows) == 0:
            raise ValueError(
                f"X must have entries that differ, got {rows[0, 0]:g} everywhere; "
                "a density of one point has no bandwidth"
            )
        blocks = _nonparametric.block_numbers(self.blocks, rows.shape[1])
        _nonparametric.check_scale(rows, blocks, bool(self.shared_grid))
        points = _smoothing.sort_points(rows, blocks)
        fixed, rule = _nonparametric.bandwidth(self.bandwidth, rows, points.n_blocks)
        widths = 0.0 if rule else fixed
        grid = _smoothing.make_grid(points, size, margin, bool(self.shared_grid), widths)
        if rule is None:
            _nonparametric.check_step(fixed, grid)
        self.blocks_ = blocks
        return _smoothing.Plan(
            points=points,
            grid=grid,
            smooth=method == "npmsl",
            bandwidths=np.repeat(fixed[:, None], n_components, axis=1),
            rule=rule,
            max_iter=_validate.integer(self.max_iter, "max_iter"),
            tol=_validate.number(self.tol, "tol"),
            stochastic=bool(self.stochastic),
            memory_budget=_validate.integer(self.memory_budget, "memory_budget", minimum=0),
            device=device,
        )

    def _start(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the posteriors that ``init`` gives, None for k-means++."""
        if not isinstance(self.init, str):
            if self.n_init != 1:
                raise ValueError(f'n_init must be 1 unless init is "k-means++", got {self.n_init}')
            return _nonparametric.given(self.init, rows, self.n_components)
        _validate.one_of(self.init, "init", ("k-means++",))
        _nonparametric.check_distinct(rows, self.n_components)
        return None

    def _run(self, plan: _smoothing.Plan, rows: np.ndarray) -> _smoothing.Outcome:
        """Run from all starts and return the best outcome."""
        from joblib import Parallel, delayed

        n_init = _validate.integer(self.n_init, "n_init")
        start = self._start(rows)
        seeds = _random.seed_sequence(self.random_state).spawn(n_init)
        short = plan
        if self.small_em_iter is not None:
            most = _validate.integer(self.small_em_iter, "small_em_iter")
            short = dataclasses.replace(plan, max_iter=min(most, plan.max_iter))
        with _progress.reporter(self.progress, unit="iteration", silent=True) as report:

            def run(which: _smoothing.Plan, seed: np.random.SeedSequence) -> _smoothing.Outcome:
                first = start
                if first is None:
                    first = _nonparametric.from_seed(rows, self.n_components, seed)
                return _smoothing.iterate(which, first, np.random.default_rng(seed), report)

            outcomes = Parallel(n_jobs=self.n_jobs, require="sharedmem")(
                delayed(run)(short, seed) for seed in seeds
            )
            best = max(range(n_init), key=lambda which: outcomes[which].objective[-1])
            return outcomes[best] if short is plan else run(plan, seeds[best])

    def _keep(self, plan: _smoothing.Plan, outcome: _smoothing.Outcome) -> None:
        self.weights_ = outcome.weights
        self.posteriors_ = outcome.posteriors
        self.labels_ = outcome.posteriors.argmax(axis=1)
        self.objective_ = np.array(outcome.objective)
        self.n_iter_ = len(outcome.objective)
        self.converged_ = outcome.converged
        self.bandwidth_ = outcome.bandwidths.T.copy()
        self.grid_ = plan.grid.positions
        self.densities_ = np.exp(outcome.grid_logs).transpose(2, 0, 1)
        self._fitted = _evaluation.Fitted(
            points=plan.points,
            grid=plan.grid,
            smooth=plan.smooth,
            totals=outcome.totals,
            point_weights=outcome.point_weights,
            grid_logs=outcome.grid_logs,
            bandwidths=outcome.bandwidths,
            weights=outcome.weights,
            blocks=self.blocks_,
            device=plan.device,
        )

    def _warn(self, plan: _smoothing.Plan, outcome: _smoothing.Outcome) -> None:
        if not (outcome.converged or plan.stochastic):
            warn(
                f"NonparametricMixture stopped after max_iter={plan.max_iter} iterations before "
                f"its mixing weights settled to tol={plan.tol:g}; raise max_iter or tol",
                ConvergenceWarning,
            )
        empty = np.flatnonzero(outcome.weights * len(outcome.posteriors) < _EMPTY)
        if len(empty):
            warn(
                f"components {empty.tolist()} lost all their rows; lower n_components, widen the "
                "bandwidth or give another init",
            )
        if plan.rule is None or not plan.smooth:
            return
        if outcome.widest > 0.5:
            warn(
                "the grid is narrow for the bandwidths: its margin is only "
                f"{1 / outcome.widest:.2g} of them, so that kernels near the ends lose mass; raise "
                f"grid_margin to {4 * outcome.widest * self.grid_margin:.2g}",
            )
        if outcome.floored:
            warn(
                "bandwidths were raised to half the grid step; raise n_grid, or pass "
                "shared_grid=False if blocks have different units",
            )

    def _evaluate(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        return _evaluation.evaluate(self._fitted, self._rows(X, reset=False))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the posterior probabilities of the components.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
            For the data fitted to they are ``posteriors_``, unless ``stochastic``.
        """
        return self._evaluate(X)[0]

    def predict(self, X: Any) -> np.ndarray:
        """Return the component of the largest posterior of each row.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,) of int
        """
        return self.predict_proba(X).argmax(axis=1)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return log densities of the mixture, smoothed for "npmsl".

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,)
            In nats. For the data fitted to their sum is the last of ``objective_``.
        """
        return self._evaluate(X)[1]

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples`.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    def to_dict(self) -> dict[str, Any]:
        """Return the fit in figures, as plain Python: what ``fastgen cluster --json`` prints.

        Returns
        -------
        dict
            "n_rows"; "weights" and "sizes" (rows by largest posterior) of the components;
            "objective", the last one, in nats; "n_iter" and "converged".
        """
        check_is_fitted(self)
        sizes = np.bincount(self.labels_, minlength=len(self.weights_))
        return plain(
            {
                "n_rows": len(self.labels_),
                "weights": self.weights_,
                "sizes": sizes,
                "objective": self.objective_[-1],
                "n_iter": self.n_iter_,
                "converged": self.converged_,
            }
        )

    def plot(self, *, title: str | None = None, width: float = 7.0) -> Figure:
        """Draw the densities of the components, one panel for each block.

        Panels name the columns of X where they had names.

        Parameters
        ----------
        title : str, optional
            Title of the figure.
        width : float, default 7.0
            Width in inches, at least 1.

        Returns
        -------
        matplotlib.figure.Figure
            Save it with `fastgen.plotting.save_figure`.
        """
        from ..plotting.densities import density_figure

        check_is_fitted(self)
        return density_figure(
            self.grid_,
            self.densities_,
            self.weights_,
            self.blocks_,
            labels=getattr(self, "feature_names_in_", None),
            title=title,
            width=width,
        )
