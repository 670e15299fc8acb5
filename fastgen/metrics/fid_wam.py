"""FID and WaM: how far two sets of features are apart, as Gaussians and as Gaussian mixtures.

Luzi, Ortiz Marrero, Wynar, Baraniuk and Henry, "Evaluating generative networks using Gaussian
mixtures of image features", WACV 2023: WaM is the MW2 distance of Delon and Desolneux between
mixtures fitted to features. One component gives the FID.

Both numbers are large for two finite samples of one and the same law, and WaM the larger the more
components there are. `wam` therefore reports that floor beside the number, and by default fits one
mixture to both sets, so that no accident of two separate fits enters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _random, _results, _validate, _warnings
from . import _fits, _transport
from . import floor as _floor
from .covariances import Covariance, same_dimension, sample_moments
from .engines import host
from .floor import FloorLaw, floor_law
from .mixture import MW2Result, between
from .statistics import FeatureStatistics

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["FloorLaw", "WaMResult", "fid", "floor_law", "wam"]

_SETTINGS = ("paper",)
# Samples per dimension of a component: below the first it is warned of, as its floor is large;
# below the second its covariance is singular.
_FEW, _TOO_FEW = 5.0, 1.0
# Components with a smaller share of a set are not warned of: they contribute little.
_MINOR = 0.01


def fid(X: Any, Y: Any) -> float:
    """Squared Frechet distance between the moments of two sets of features.

    The FID (Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium", 2017, equation 6) if the features are Inception's; covariances are divided by n -
    1, as FID tools do. Sets with fewer samples than features are not squared: the result is right
    to rounding, where a matrix square root loses half of the digits.

    Parameters
    ----------
    X, Y : array (n, d) or FeatureStatistics
        At least two samples each; n may differ. NumPy, torch or CuPy.

    Returns
    -------
    float
        In squared units of the features. 0 for equal sets.

    Raises
    ------
    TypeError, ValueError
        If a set is not a finite numeric matrix of at least two rows, or they differ in dimension.

    Warns
    -----
    UserWarning
        If a set has fewer samples than features.

    See Also
    --------
    floor_law : what to expect of two samples of one law.
    wam : the FID with its floor, and the distance of Gaussian mixtures.

    Examples
    --------
    >>> from fastgen.metrics import fid
    >>> round(fid([[0.0], [2.0]], [[3.0], [7.0]]), 9)    # means 1 and 5, variances 2 and 8
    18.0
    """
    if isinstance(X, FeatureStatistics) and isinstance(Y, FeatureStatistics):
        X.check_kind(Y, "X", "Y")
    first, second = _moments(X, "X"), _moments(Y, "Y")
    same_dimension(first[0], second[0], "X", "Y")
    for value, name in ((X, "X"), (Y, "Y")):
        n = value.n_samples if isinstance(value, FeatureStatistics) else len(value)
        _warn_of_few(n, len(first[0]), name)
    return host.distance(*first, *second)


def _warn_of_few(n: int | None, d: int, name: str) -> None:
    """Say that a FID is mostly its floor where a set has fewer samples than features."""
    if n is not None and n < d:
        _warnings.warn(
            f"{name} has n={n} samples of d={d} features: the FID of two such samples of one and "
            "the same law, its floor, is large; compare with the FID of two halves of X or "
            "wam(...).fid_floor, add samples, or reduce the features by PCA"
        )


def _moments(value: Any, name: str) -> tuple[np.ndarray, Covariance]:
    """Mean and covariance as FID tools have them."""
    if isinstance(value, FeatureStatistics):
        return value.mean, Covariance("full", value.covariance, f"covariance of {name}")
    return sample_moments(_validate.data_matrix(value, name), ddof=1, name=name)


@dataclasses.dataclass(frozen=True, repr=False)
class WaMResult(_results.Result):
    """What `wam` found.

    Attributes
    ----------
    wam2 : float
        ``WaM**2``, in squared units of the features like the FID.
    fid : float
        The FID: what ``fid(X, Y)`` returns.
    moment_distance : float
        Squared Frechet distance of the moments as mixtures have them, with covariances divided by
        n, plus ``reg_covar`` on the diagonal: what one component gives. At most ``wam2`` for full
        and tied covariances.
    floor, fid_floor : float or None
        What two sets of X's law and of these sizes would give instead of ``wam2`` and ``fid``,
        from halves of X. None without ``debias``.
    interval : (float, float) or None
        95 % interval of the squared distance of the two laws, by the basic bootstrap with the
        components held fixed. It is centered on ``debiased``, and is biased low where the distance
        is no larger than ``floor``. None without ``n_bootstrap``.
    n_components : int
    criterion : dict of int to float
        What ``n_components`` was chosen by, least is best; empty if it was given.
    samples_x, samples_y : array (K,)
        Samples in each component of both mixtures.
    gmm_x, gmm_y : fastgen.mixture.GaussianMixture
    mw2 : MW2Result
        Plan, costs and maps between ``gmm_x`` and ``gmm_y``.
    settings : dict
        ``shared_fit``, ``covariance_type``, ``reg_covar`` and the sizes ``n_x``, ``n_y`` and
        ``n_features``.
    """

    wam2: float
    fid: float
    moment_distance: float
    floor: float | None
    fid_floor: float | None
    interval: tuple[float, float] | None
    n_components: int
    criterion: dict[int, float]
    samples_x: np.ndarray
    samples_y: np.ndarray
    gmm_x: Any
    gmm_y: Any
    mw2: MW2Result
    settings: dict[str, Any]

    def __repr__(self) -> str:
        floor = "" if self.floor is None else f", floor={self.floor:.6g}"
        return (
            f"WaMResult(wam2={self.wam2:.6g}{floor}, fid={self.fid:.6g}, "
            f"n_components={self.n_components}, reg_covar={self.settings['reg_covar']:g})"
        )

    @property
    def debiased(self) -> float | None:
        """``wam2 - floor``, which chance may make negative; None without floor."""
        return None if self.floor is None else self.wam2 - self.floor

    @property
    def fid_debiased(self) -> float | None:
        """``fid - fid_floor``; None without floor."""
        return None if self.fid_floor is None else self.fid - self.fid_floor

    @property
    def plan(self) -> np.ndarray:
        """Mass moved from each component of X to each of Y, (K, K)."""
        return self.mw2.plan

    @property
    def contributions(self) -> np.ndarray:
        """What each pair of components adds to ``wam2``, (K, K)."""
        return self.mw2.contributions

    @property
    def component_contributions(self) -> np.ndarray:
        """What each component of X adds to ``wam2``, by its means and its covariances, (K, 2)."""
        means = (self.mw2.plan * self.mw2.mean_costs).sum(axis=1)
        return np.stack((means, self.contributions.sum(axis=1) - means), axis=1)

    @property
    def samples_per_dimension(self) -> np.ndarray:
        """Samples in each component over the dimension, of X and of Y, (2, K)."""
        return np.stack((self.samples_x, self.samples_y)) / self.settings["n_features"]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain Python, for JSON."""
        names = (
            "wam2 floor debiased interval fid moment_distance fid_floor fid_debiased n_components "
            "criterion samples_per_dimension plan contributions"
        ).split()
        found = {name: getattr(self, name) for name in names}
        return _results.plain({**found, **self.settings})

    def to_xarray(self) -> xarray.Dataset:
        """Return plan and contributions by the components ``x`` and ``y`` of both mixtures."""
        return (
            self.mw2.to_xarray()
            .rename(source="x", target="y")
            .assign(samples_x=("x", self.samples_x), samples_y=("y", self.samples_y))
        )

    def plot(self, *, width: float = 7.0) -> Figure:
        """Draw which component goes where, and what each one adds to ``wam2``.

        Parameters
        ----------
        width : float, default 7.0
            In inches.

        Returns
        -------
        matplotlib.figure.Figure
            Save it with `fastgen.plotting.save_figure`.
        """
        from ..plotting.transport import transport_figure

        floor = "" if self.floor is None else f", floor {self.floor:.4g}"
        title = f"WaM$^2$ {self.wam2:.4g}{floor}, FID {self.fid:.4g}"
        return transport_figure(self.plan, self.component_contributions, title=title, width=width)


def wam(
    X: Any,
    Y: Any,
    *,
    n_components: int | str = "heldout",
    covariance_type: str = "full",
    shared_fit: bool | None = None,
    debias: bool | None = None,
    n_bootstrap: int = 0,
    setting: str | None = None,
    candidates: Sequence[int] | None = None,
    n_splits: int = 1,
    reg_covar: float = 1e-6,
    tol: float = 1e-3,
    max_iter: int = 100,
    n_init: int = 1,
    random_state: Any = None,
) -> WaMResult:
    """Squared Wasserstein-type distance between Gaussian mixtures of two sets of features.

    Parameters
    ----------
    X, Y : array (n, d)
        Features of the reference and of what is compared with it; n may differ. NumPy, torch or
        CuPy.
    n_components : int, "heldout", "aic" or "bic", default "heldout"
        Components of each mixture; a criterion is evaluated on X. "heldout" takes the likelihood
        of a fifth of X. The paper uses AIC, which fails where components have fewer samples than
        features.
    covariance_type : "full", "tied", "diag" or "spherical", default "full"
    shared_fit : bool, optional
        True, the default: one mixture is fitted to both sets, and each set has the parameters of
        one E- and M-step from it. This is not the paper's WaM, but free of the differences between
        local optima of two fits. False: each set is fitted on its own.
    debias : bool, optional
        True, the default: estimate ``floor`` and ``fid_floor``, what two samples of one law would
        give, from random halves of X. The floor is ``(1/n_x + 1/n_y) / (2/n_half) * noise + fits``,
        where ``noise`` is the distance of the halves under common labels, and ``fits`` what
        separate fits of the halves add to it (zero with ``shared_fit``). It needs more samples per
        component than features, and is up to a third too low where modes far apart have random
        shares in both sets.
    n_bootstrap : int, default 0
        Bootstrap samples for ``interval``; some 200 are needed for 95 %. The components that
        samples are assigned to stay fixed.
    setting : "paper", optional
        Separate fits and no floor, as in the paper, whose other settings (number of components, EM
        options) are yours to give.
    candidates : sequence of int, optional
        Numbers of components to choose from. By default 1, 2, 3, 5, 8, 12, 20, 30, 50; with full
        covariances those that leave d samples to a component.
    n_splits : int, default 1
        Random splits that the floors are averaged over.
    reg_covar, tol, max_iter, n_init
        As for `fastgen.mixture.GaussianMixture`; the distance depends on ``reg_covar`` where
        components have fewer samples than features.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of the fits, the splits and the bootstrap samples.

    Returns
    -------
    WaMResult

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, X or Y no finite numeric matrix, or too small for the
        components; if ``setting`` contradicts another argument.
    ImportError
        If POT is not installed and there may be more than one component.

    Warns
    -----
    UserWarning
        If components of full covariance have fewer than 5 samples per dimension; and as
        `fastgen.mixture.GaussianMixture`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import wam
    >>> rng = np.random.default_rng(0)
    >>> modes = np.repeat([[-9.0], [9.0]], 1000, axis=0)
    >>> X, Y = (modes + width * rng.standard_normal((2000, 1)) for width in (1.0, 2.0))
    >>> found = wam(X, Y, n_components=2, random_state=0)
    >>> round(found.wam2), round(found.fid)    # (2 - 1)^2; of the overall deviations only
    (1, 0)
    """
    shared, debias = _resolved(setting, shared_fit, debias)
    X, Y = (_rows(value, name) for value, name in ((X, "X"), (Y, "Y")))
    same_dimension(X, Y, "X", "Y")
    n_bootstrap = _validate.integer(n_bootstrap, "n_bootstrap", minimum=0)
    n_splits = _validate.integer(n_splits, "n_splits")
    options = _fits.Options(
        _validate.one_of(covariance_type, "covariance_type", ("full", "tied", "diag", "spherical")),
        _validate.number(reg_covar, "reg_covar"),
        _validate.number(tol, "tol"),
        _validate.integer(max_iter, "max_iter"),
        _validate.integer(n_init, "n_init"),
    )
    # One stream for each purpose: what one argument asks for does not change the others' numbers.
    streams = _random.generator(random_state).spawn(4)
    if n_components != 1:  # said before the fits, not after them
        _transport.solver()
    k, criterion = _n_components(n_components, X, options, candidates, streams[0])
    _check_sizes(k, (len(X), len(Y)), debias)
    pair = _fits.fit_pair(X, Y, k, options, shared=shared, rng=streams[1])
    found = between(*pair.parsed())
    floors = None
    if debias:
        sizes = len(X), len(Y)
        args = {"shared": shared, "sizes": sizes, "n_splits": n_splits, "rng": streams[2]}
        floors = _floor.from_halves(X, pair, options, **args)
    result = WaMResult(
        wam2=found.squared_distance,
        fid=_floor.gaussian_distance(X, Y, ddof=1, reg_covar=0.0),
        moment_distance=_floor.gaussian_distance(X, Y, ddof=0, reg_covar=options.reg_covar),
        floor=None if floors is None else floors.wam2,
        fid_floor=None if floors is None else floors.fid,
        interval=_interval(X, Y, pair, n_bootstrap, streams[3]) if n_bootstrap else None,
        n_components=k,
        criterion=criterion,
        samples_x=pair.gmm_x.weights_ * len(X),
        samples_y=pair.gmm_y.weights_ * len(Y),
        gmm_x=pair.gmm_x,
        gmm_y=pair.gmm_y,
        mw2=found,
        settings={
            "shared_fit": shared,
            "covariance_type": options.covariance_type,
            "reg_covar": options.reg_covar,
            "n_x": len(X),
            "n_y": len(Y),
            "n_features": X.shape[1],
        },
    )
    _warn(result)
    return result


def _resolved(setting: str | None, shared_fit: bool | None, debias: bool | None):
    """Whether the fit is shared and floors are measured."""
    if setting is None:
        return shared_fit is not False, debias is not False
    _validate.one_of(setting, "setting", _SETTINGS)
    if shared_fit or debias:
        name = "shared_fit" if shared_fit else "debias"
        raise ValueError(
            f'setting="paper" means separate fits and no floor, got {name}=True; leave setting out '
            "and give shared_fit and debias"
        )
    return False, False


def _rows(value: Any, name: str) -> np.ndarray:
    if isinstance(value, FeatureStatistics):
        raise TypeError(
            f"{name} must be the features (n, d) themselves, got their mean and covariance: "
            "mixtures cannot be fitted to moments; fid takes them"
        )
    return _validate.data_matrix(value, name)


def _n_components(value, X, options, candidates, rng) -> tuple[int, dict[int, float]]:
    if isinstance(value, str):
        criterion = _validate.one_of(value, "n_components", _fits.CRITERIA)
        return _fits.choose(criterion, X, options, candidates, rng)
    if candidates is not None:
        raise ValueError(
            f"candidates are for a criterion, got n_components={value!r}; pass n_components="
            '"heldout", or leave candidates out'
        )
    return _validate.integer(value, "n_components"), {}


def _check_sizes(k: int, sizes: tuple[int, int], debias: bool) -> None:
    for n, name in zip(sizes, ("X", "Y"), strict=True):
        if n < k:
            raise ValueError(
                f"{name} must have at least n_components={k} rows, got {n}; lower n_components or "
                "add samples"
            )
    least = 2 * max(k, 2)
    if debias and sizes[0] < least:
        raise ValueError(
            f"X must have at least {least} rows to measure the floor on its halves, got {sizes[0]};"
            " add samples, or pass debias=False"
        )


def _interval(X, Y, pair: _fits.Pair, n_bootstrap: int, rng) -> tuple[float, float]:
    """Reflect the bootstrap: resampling adds the bias that the estimate has already."""

    def measure(rows, columns):
        first = _fits.fitted_to(pair.labels_x, rows)
        return between(first, _fits.fitted_to(pair.labels_y, columns)).squared_distance

    middle = measure(X, Y)
    values = [
        measure(X[rng.integers(len(X), size=len(X))], Y[rng.integers(len(Y), size=len(Y))])
        for _ in range(n_bootstrap)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(2 * middle - high), float(2 * middle - low)


def _warn(result: WaMResult) -> None:
    """Say where components have too few samples, at the line that called `wam`."""
    if result.settings["covariance_type"] != "full":
        return
    share = np.stack((result.gmm_x.weights_, result.gmm_y.weights_))
    ratio = np.where(share >= _MINOR, result.samples_per_dimension, np.inf)
    if ratio.min() >= _FEW:
        return
    d, reg = result.settings["n_features"], result.settings["reg_covar"]
    what = f"the floor is large (components of X and Y below: {(ratio < _FEW).sum(axis=1)})"
    if ratio.min() < _TOO_FEW:
        what = f"covariances are singular but for reg_covar={reg:g}, on which wam2 depends"
    _warnings.warn(
        f"a component has {ratio.min():.2g} samples per dimension (n_features={d}), less than "
        f"{_FEW:g}: {what}; compare wam2 with floor, lower n_components={result.n_components}, "
        'reduce the features by PCA, or use covariance_type="diag"'
    )
