"""One trial on the CPU, and the factorizations that its problems share.

Every solver of ``fastgen.linear.host`` takes a `Trial`, an ascending array ``ks`` of latent
dimensions and the number of pairs. It returns an array (4, len(ks)) with the rows of
``options.METRICS``, or (6, len(ks)) with those of ``options.ROWS``.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from ..._dispatch import linear as kernels
from ..options import RANK_TOLERANCE, Options


@dataclasses.dataclass
class Trial:
    """Data, truth and pseudo-latents of one trial.

    Attributes
    ----------
    factor : ndarray (q, d)
        A factor of the true covariance, ``factor.T @ factor``.
    x : ndarray (d, n)
        Centered training samples, the paired ones first.
    z : ndarray (K, n)
        Pseudo-latents; latent dimension k uses the first k rows.
    options : Options
    starts : ndarray (K, d) or None
        Standard normal numbers of which iterative problems make their first generator.
    kept : dict
        Factorizations that several problems share, computed when first asked for.
    """

    factor: np.ndarray
    x: np.ndarray
    z: np.ndarray
    options: Options
    starts: np.ndarray | None = None
    kept: dict[Any, Any] = dataclasses.field(default_factory=dict, repr=False)

    @functools.cached_property
    def trace(self) -> float:
        """Total variance of the truth."""
        return float((self.factor**2).sum())

    @functools.cached_property
    def unit(self) -> float:
        """Root mean square of the data, in whose units an iterative problem starts; 1 for zeros."""
        return float(np.sqrt((self.x**2).mean())) or 1.0

    def frame(self, n_pairs: int) -> Frame:
        """Return the factorizations shared by all supervised problems on the first pairs."""
        key = "frame", n_pairs
        if key not in self.kept:
            self.kept[key] = Frame.of(self, n_pairs)
        return self.kept[key]

    def table(
        self,
        nuclear: np.ndarray,
        squares: np.ndarray,
        projection_error: np.ndarray | float,
        train_error: np.ndarray,
    ) -> np.ndarray:
        """Return the metrics (4, n_k) of generators G with factor C of the truth.

        ``nuclear`` are the nuclear norms of ``C G`` and ``squares`` the squared norms of ``G``: the
        squared Wasserstein distance is ``tr(C^T C) + ||G||^2 - 2 ||C G||_*``.
        """
        return np.stack(
            [
                self.trace + squares - 2 * nuclear,
                np.broadcast_to(projection_error, squares.shape),
                train_error,
                squares / self.trace,
            ]
        )


@dataclasses.dataclass(frozen=True)
class Range:
    """A nested orthonormal basis, and what the truth has on it.

    Attributes
    ----------
    basis : ndarray (d, r)
        Its first k directions span the first k columns that were orthonormalized.
    coordinates : ndarray (r, p)
        These columns in the basis, upper trapezoidal.
    truth : ndarray
        Triangular factor of the truth on the basis: ``truth.T @ truth`` is
        ``basis.T @ Sigma @ basis``.
    energy : ndarray (r,)
        Variance of the truth along each direction.
    rest : float
        Variance of the truth outside of all directions.
    """

    basis: np.ndarray
    coordinates: np.ndarray
    truth: np.ndarray
    energy: np.ndarray
    rest: float

    def projection_error(self, ks: np.ndarray) -> np.ndarray:
        """Return ``tr((I - P_k) Sigma)``, P_k on the first k directions: positive terms only."""
        tail = np.append(np.cumsum(self.energy[::-1])[::-1], 0.0)
        return self.rest + tail[np.minimum(ks, len(self.energy))]


def nested_range(columns: np.ndarray, trial: Trial) -> Range:
    """Orthonormalize columns in their order, up to the first that depends on those before it."""
    columns = np.ascontiguousarray(columns)
    return Range(*kernels.nested_range(columns, trial.factor, RANK_TOLERANCE))


@dataclasses.dataclass(frozen=True)
class Frame:
    """The first n pairs in coordinates in which all latent dimensions are nested.

    The latents are factored as ``z[:p] = L Q^T`` with L (p, p) lower triangular, Q (n, p)
    orthonormal and p the smaller of K and n. For k <= p the minimum-norm generator is then
    ``G_k = (x Q)[:, :k] inv(L)[:k, :k]``, so that leading blocks serve every k. For k > p = n it
    is ``x Q`` times the pseudo-inverse of ``z[:k] Q``, whose triangular factor grows by the rows.

    Attributes
    ----------
    n, p : int
        Number of pairs, and the smaller of it and the largest latent dimension.
    x : ndarray (d, n)
        Data of the pairs.
    z : ndarray (K, n)
        Latents of the pairs.
    inverse : ndarray (p, p)
        ``inv(L)``.
    square : ndarray (p, p)
        Triangular QR factor of ``z[:p] Q``, the start of the path beyond p.
    rows : ndarray (K - p, p)
        ``z[p:] Q``, which join that factor one after the other.
    residual : ndarray (p + 1,)
        ``||x - G_k z[:k]||^2`` for k = 0 .. p.
    range : Range
        The range of the generators: that of ``x Q``.
    """

    n: int
    p: int
    x: np.ndarray
    z: np.ndarray
    inverse: np.ndarray
    square: np.ndarray
    rows: np.ndarray
    residual: np.ndarray
    range: Range

    @classmethod
    def of(cls, trial: Trial, n_pairs: int) -> Frame:
        """Factorize the first pairs of a trial."""
        x = np.ascontiguousarray(trial.x[:, :n_pairs])
        z = np.ascontiguousarray(trial.z[:, :n_pairs])
        inverse, square, rows, residual, *of_range = kernels.pairs_frame(
            x, z, trial.factor, RANK_TOLERANCE
        )
        return cls(n_pairs, min(z.shape), x, z, inverse, square, rows, residual, Range(*of_range))

    @functools.cached_property
    def target(self) -> np.ndarray:
        """Triangular factor of the truth times ``x Q``: its nuclear norms enter the distance."""
        return self.range.truth @ self.range.coordinates
