"""Embeddings of metric spaces that bound how much any distance is stretched."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import _random, _validate
from .._dispatch import bourgain
from .._progress import reporter
from .._warnings import warn
from . import pairwise

VARIANTS = ("classical", "official")
_LEAST_SETS, _OFFICIAL_SETS = 8, 5
# Dimensions of the Gaussian projection, in units of log n.
_PROJECTED = 8
# A callable metric is evaluated on a subsample whose law of distances is as near as this.
_DEVIATION, _CONFIDENCE = 0.05, 0.99
_LAW_POINTS = 256
# Coordinates are 1-Lipschitz but for rounding if the triangle inequality holds.
_LIPSCHITZ = 1 + 1e-9


class BourgainEmbedding(BaseEstimator):
    r"""Embedding of any finite metric space into Euclidean space, with its distortion.

    Coordinate (i, j) of a point is its distance to the nearest member of a random set
    :math:`S_{ij}`, which holds each point with probability :math:`2^{-i}`, for
    :math:`i = 1, \ldots, \lceil \log_2 n \rceil`; 0 where the set is empty.

    - "classical": the coordinates are multiplied by a Gaussian matrix and divided by the smallest
      ratio of a distance in the embedding to the distance of the pair, so that exactly
      ``dist <= ||f(x) - f(y)|| <= distortion_ dist``.
    - "official": the embedding of the authors' code. Columns are centered and scaled to a mean
      squared row norm equal to the dimension; there is no matrix.

    Parameters
    ----------
    variant : {"classical", "official"}, default "classical"
    n_sets : int, optional
        Sets of each scale i. By default the larger of 8 and log2 n, for "official" 5.
    n_components : int, optional
        Rows of the Gaussian matrix, by default 8 log n. For "classical" only.
    metric : {"euclidean", "precomputed"} or callable, default "euclidean"
        With "precomputed" X is a matrix of distances. A callable ``metric(x, y)`` returns the
        distance of two elements of X, which need not be arrays; it is called once for each pair.
    max_points : int or "auto", optional
        Where X has more elements, as many are drawn without replacement and embedded. None takes
        all; "auto", the default, takes 2120 with a callable metric and all otherwise. See
        `subsampling_bound`.
    device : {"cpu", "cuda"}, default "cpu"
        Where the distances to the sets are computed.
    n_jobs : int, optional
        Threads over the points, as in joblib. The result does not depend on it.
    progress : bool or callable, optional
        True shows a bar while a callable metric is evaluated.
    random_state : int, numpy.random.Generator, RandomState or None
        Seed of the subsample, the sets and the Gaussian matrix.

    Attributes
    ----------
    embedding_ : ndarray (n_embedded, dimension)
        Embedded points, in the order of ``indices_``.
    indices_ : ndarray (n_embedded,)
        Elements of X that were embedded, in increasing order.
    sets_ : ndarray of bool (n_scales * n_sets, n_embedded)
        Members of each random set, scale by scale.
    distortion_ : float
        Largest over smallest ratio of a distance in the embedding to the distance of the pair.
    scale_ : float
        Largest ``sqrt(dist / ||e(x) - e(y)||)``, the factor of latent distances in the loss of
        BourGAN. It is 1 for "classical".
    lipschitz_ : float
        Largest ``||g(x) - g(y)|| / (sqrt(k) dist)`` of the k coordinates before anything else is
        done to them: at most 1 in a metric space.
    lpdd_distance_ : float
        W1 of the laws of log pairwise distances of ``scale_ * embedding_`` and of the data, on at
        most 256 points; at most ``log(distortion_)`` for "classical". Nats.
    subsampling_bound_ : float
        0 if all elements were embedded, else `subsampling_bound` of their number.
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,)
        Columns of X, unless the metric is callable, and their names if they have any.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range; for X that is not finite, has no two elements that differ
        or, with "precomputed", is no matrix of distances; if two elements that differ have the same
        coordinates, so that the distortion is infinite.
    ImportError, RuntimeError
        For ``device="cuda"`` without CuPy, or without a device.

    Warns
    -----
    UserWarning
        If ``lipschitz_`` is above 1: the distances violate the triangle inequality.

    See Also
    --------
    LatentMixture : draws latents about the embedded points.

    Notes
    -----
    J. Bourgain, "On Lipschitz embedding of finite metric spaces in Hilbert space", Israel J. Math.
    52 (1985), for the coordinates and distortion O(log n); C. Xiao, P. Zhong and C. Zheng,
    "BourGAN: generative networks with metric embeddings", NeurIPS 2018, for their use. Composing
    the coordinates with a Gaussian matrix and dividing by the smallest ratio is our reading of the
    paper; the constants of "official" are those of its code. The path ``device="cuda"`` has not
    yet been run on a device.

    With points and the Euclidean metric no matrix of distances is held in memory.

    Examples
    --------
    >>> from fastgen.modes import BourgainEmbedding, grid
    >>> fit = BourgainEmbedding(random_state=0).fit(grid(n_per_mode=8, random_state=0).X)
    >>> fit.embedding_.shape, fit.distortion_ < 10, fit.lipschitz_ <= 1
    ((200, 43), True, True)
    """

    def __init__(
        self,
        variant: str = "classical",
        *,
        n_sets: int | None = None,
        n_components: int | None = None,
        metric: str | Callable[[Any, Any], float] = "euclidean",
        max_points: int | str | None = "auto",
        device: str = "cpu",
        n_jobs: int | None = None,
        progress: bool | Callable[..., Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.variant = variant
        self.n_sets = n_sets
        self.n_components = n_components
        self.metric = metric
        self.max_points = max_points
        self.device = device
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> BourgainEmbedding:
        """Embed the elements of X.

        Parameters
        ----------
        X : array (n, d), matrix of distances (n, n), or sequence of n objects
            Which of them is said by ``metric``.
        y : None
            Ignored.

        Returns
        -------
        BourgainEmbedding
            This object.
        """
        settings = self._settings()
        if not callable(self.metric):
            _validate.one_of(self.metric, "metric", pairwise.METRICS)
            X = validate_data(
                self,
                _validate.samples(X, "X"),
                dtype=np.float64,
                order="C",
                ensure_min_samples=2,
                ensure_all_finite=self.metric != "precomputed",
            )
        rng = _random.generator(self.random_state)
        total = None if settings.most is None else min(settings.most, len(X)) - 1
        with reporter(
            self.progress if callable(self.metric) else False,
            unit="row", total=total, title="distances", silent=True,
        ) as report:  # fmt: skip
            rows, matrix, self.indices_ = pairwise.sample_of(
                X, self.metric, settings.most, rng, report
            )
        self.subsampling_bound_ = (
            pairwise.subsampling_bound(len(rows), confidence=_CONFIDENCE)
            if len(rows) < len(X)
            else 0.0
        )
        n_scales = (len(rows) - 1).bit_length()
        n_sets = settings.n_sets or max(_LEAST_SETS, n_scales)
        self.sets_ = _draw_sets(len(rows), n_scales, n_sets, rng)
        g = bourgain.set_distances(
            rows, self.sets_, matrix=matrix, device=settings.device, n_jobs=self.n_jobs
        )
        least, most = self._ratios(g, rows, matrix)
        self.lipschitz_ = most / math.sqrt(g.shape[1])
        if self.lipschitz_ > _LIPSCHITZ:
            warn(
                "the distances violate the triangle inequality: coordinates that are 1-Lipschitz "
                f"in a metric space have the constant {self.lipschitz_:.3g}; the embedding bounds "
                "nothing. Squared distances, for one, are no metric: take their roots"
            )
        if settings.variant == "classical":
            n_components = settings.n_components or math.ceil(_PROJECTED * math.log(len(rows)))
            h = g @ rng.standard_normal((n_components, g.shape[1])).T
            least, most = self._ratios(h, rows, matrix)
            self.embedding_, self.scale_ = h / least, 1.0
        else:
            centered = g - g.mean(axis=0)
            factor = math.sqrt(g.size) / float(np.linalg.norm(centered))
            self.embedding_, self.scale_ = factor * centered, 1 / math.sqrt(factor * least)
        self.distortion_ = most / least
        kept = np.sort(rng.permutation(len(rows))[:_LAW_POINTS])
        given = rows[np.ix_(kept, kept)] if matrix else rows[kept]
        self._law_sample = kept, given, matrix
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Embed the elements of X and return ``embedding_``.

        Parameters
        ----------
        X : as for `fit`
        y : None
            Ignored.

        Returns
        -------
        ndarray (n_embedded, dimension)
            A row for each of ``indices_``: fewer than X has where ``max_points`` says so.
        """
        return self.fit(X).embedding_

    @property
    def lpdd_distance_(self) -> float:
        """W1 of the laws of log distances in the embedding and in the data, in nats."""
        check_is_fitted(self, "embedding_")
        kept, rows, matrix = self._law_sample
        given = pairwise.condensed(rows, matrix)
        found = self.scale_ * pdist(self.embedding_[kept])
        apart = given > 0
        return pairwise.lpdd_distance(np.log(found[apart]), np.log(given[apart]))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.metric == "precomputed"
        return tags

    def _settings(self) -> _Settings:
        variant = _validate.one_of(self.variant, "variant", VARIANTS)
        if variant == "official" and self.n_components is not None:
            raise ValueError(
                'n_components belongs to variant="classical", got '
                f'n_components={self.n_components} with variant="official"'
            )
        most = self.max_points
        if most == "auto":
            auto = pairwise.subsample_size(_DEVIATION, _CONFIDENCE)
            most = auto if callable(self.metric) else None
        n_sets, n_components = self.n_sets, self.n_components
        if n_sets is None and variant == "official":
            n_sets = _OFFICIAL_SETS
        return _Settings(
            variant,
            None if n_sets is None else _validate.integer(n_sets, "n_sets"),
            None if n_components is None else _validate.integer(n_components, "n_components"),
            None if most is None else _validate.integer(most, "max_points", minimum=2),
            _validate.one_of(self.device, "device", ("cpu", "cuda")),
        )

    def _ratios(self, embedding: np.ndarray, rows: np.ndarray, matrix: bool) -> tuple[float, float]:
        """Return the extremes of the ratios of distances; both are positive."""
        least, most = bourgain.pair_ratios(embedding, rows, matrix=matrix, n_jobs=self.n_jobs)
        if most == 0 and least == np.inf:
            raise ValueError("X must hold points that differ, got only pairs of distance 0")
        if least == 0:
            raise ValueError(
                "two elements of X that differ have the same coordinates, so the distortion is "
                f"infinite; raise n_sets (here {len(self.sets_)} sets in all) or change "
                "random_state"
            )
        return least, most


class _Settings(NamedTuple):
    """Arguments that have been checked; None leaves a number to the size of the data."""

    variant: str
    n_sets: int | None
    n_components: int | None
    most: int | None
    device: str


def _draw_sets(n: int, n_scales: int, n_sets: int, rng: np.random.Generator) -> np.ndarray:
    """Return members (n_scales * n_sets, n) of the sets, scale by scale, sparser each time."""
    share = np.repeat(0.5 ** np.arange(1, n_scales + 1), n_sets)
    return rng.random((len(share), n)) < share[:, None]
