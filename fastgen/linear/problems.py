"""The closed-form problems and their metrics along the latent dimension, for one trial.

Every function takes a :class:`Trial`, an ascending array ``ks`` and the number of pairs and returns
an array (4, len(ks)) with the rows of :data:`METRICS`. Notation: X (d, n) data, Z (K, n) nested
pseudo-latents, C (q, d) a factor of the true covariance, ``C.T @ C``.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from .._dispatch import linear as kernels
from .._dispatch import nuclear as norms
from .host import paths

METRICS = ("w2", "projection_error", "train_error", "gain")
# A direction whose size falls below this share of the largest does not count to a range.
RANK_TOLERANCE = 1e-9


@dataclasses.dataclass
class Options:
    """What the problems need beyond the data."""

    ridge: float = 0.1
    rank: int | None = None
    dtype: np.dtype = np.dtype(np.float64)  # noqa: RUF009  (immutable)
    weight: float = 10.0
    tol: float = 1e-9
    max_iter: int = 400


@dataclasses.dataclass
class Trial:
    """Data, truth and pseudo-latents of one trial."""

    factor: np.ndarray
    x: np.ndarray
    z: np.ndarray
    options: Options
    starts: np.ndarray | None = None

    @functools.cached_property
    def trace(self) -> float:
        """Total variance of the truth."""
        return float((self.factor**2).sum())

    def frame(self, n_pairs: int) -> Frame:
        """Return the factorizations shared by all supervised problems on the first pairs."""
        if not hasattr(self, "_frames"):
            self._frames: dict[int, Frame] = {}
        if n_pairs not in self._frames:
            self._frames[n_pairs] = Frame(self, n_pairs)
        return self._frames[n_pairs]


@dataclasses.dataclass
class Range:
    """A nested orthonormal basis (d, r) and what the truth has on it.

    ``coordinates`` (r, p), upper trapezoidal, are the columns in that basis, ``truth`` the
    triangular factor of the truth on the basis, ``energy`` the variance along each direction and
    ``rest`` that outside of all of them.
    """

    basis: np.ndarray
    coordinates: np.ndarray
    truth: np.ndarray
    energy: np.ndarray
    rest: float

    def projection_error(self, ks: np.ndarray) -> np.ndarray:
        """Return tr((I - P_k) Sigma), a sum of positive terms."""
        tail = np.append(np.cumsum(self.energy[::-1])[::-1], 0.0)
        return self.rest + tail[np.minimum(ks, len(self.energy))]


def nested_range(columns: np.ndarray, trial: Trial) -> Range:
    """Orthonormalise columns in their order, up to the first that depends on those before it."""
    columns = np.ascontiguousarray(columns)
    return Range(*kernels.linear_frame().nested_range(columns, trial.factor, RANK_TOLERANCE))


class Frame:
    """LQ factor of the pseudo-latents of the first pairs and the data rotated by it."""

    def __init__(self, trial: Trial, n_pairs: int) -> None:
        self.n = n_pairs
        self.x = np.ascontiguousarray(trial.x[:, :n_pairs])
        self.z = np.ascontiguousarray(trial.z[:, :n_pairs])
        self.p = min(self.z.shape)
        parts = kernels.linear_frame().pairs_frame(self.x, self.z, trial.factor, RANK_TOLERANCE)
        self.inverse, self.square, self.rows, self.residual = parts[:4]
        self.range = Range(*parts[4:])
        self.target = self.range.truth @ self.range.coordinates


def unsupervised(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """P0: PCA of all samples (``n_pairs`` plays no part)."""
    del n_pairs
    s, beyond, truth, energy, rest = kernels.linear_frame().principal_frame(
        trial.x, trial.factor, RANK_TOLERANCE
    )
    space = Range(np.empty((0, 0)), np.empty((0, 0)), truth, energy, rest)
    capped = np.minimum(ks, beyond.size - 1)
    variance = np.append(0.0, np.cumsum(s**2))[np.minimum(ks, s.size)]
    distinct, where = np.unique(np.minimum(ks, s.size), return_inverse=True)
    target = truth * s
    nuclear = paths.leading(target, target, None, distinct, trial.options.dtype)[0][where]
    return np.stack(
        [
            trial.trace + variance - 2 * nuclear,
            space.projection_error(ks),
            beyond[capped],
            variance / trial.trace,
        ]
    )


def pseudo_supervised(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """P1: the minimum-norm least-squares generator of the first pairs."""
    frame = trial.frame(n_pairs)
    dtype = trial.options.dtype
    wide, beyond = ks[ks <= frame.p], ks[ks > frame.p]
    nuclear, squares = paths.leading(
        frame.target, frame.range.coordinates, frame.inverse, wide, dtype
    )
    if beyond.size:
        more = paths.tall(
            frame.square,
            frame.rows,
            beyond - frame.n,
            frame.target,
            frame.range.coordinates,
            dtype,
        )
        nuclear, squares = np.append(nuclear, more[0]), np.append(squares, more[1])
    return np.stack(
        [
            trial.trace + squares - 2 * nuclear,
            frame.range.projection_error(ks),
            frame.residual[np.minimum(ks, frame.p)] / n_pairs,
            squares / trial.trace,
        ]
    )


def ridge(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Minimum of ``||X - G Z||^2 / n_pairs + ridge ||G||^2``.

    With ``C^T C = Z_k^T Z_k + rho I``: ``G = X C^-1 (Z_k C^-1)^T`` and ``X - G Z = rho X (C^T
    C)^-1``.
    """
    if trial.options.ridge == 0:
        return pseudo_supervised(trial, ks, n_pairs)
    frame = trial.frame(n_pairs)
    n = frame.n
    rho = trial.options.ridge * n_pairs
    # the range for k < n is spanned by the leading columns of [X, 0] Q, [Z, sqrt(rho) I] = L Q^T
    lifted = np.vstack([frame.z[: frame.p].T, np.sqrt(rho) * np.eye(frame.p)])
    space = nested_range(frame.x @ np.linalg.qr(lifted)[0][:n], trial)
    truth = np.linalg.qr(trial.factor @ frame.x, mode="r")
    left = np.vstack([truth, np.linalg.qr(frame.x, mode="r")])
    z = frame.z
    damped = np.sqrt(rho) * np.eye(n)
    plain = np.zeros((0, n))
    done = 0
    factors, squares, train = [], np.empty(ks.size), np.empty(ks.size)
    nuclear = np.empty(ks.size)
    for v, k in enumerate(ks):
        damped = paths.add_rows(damped, z[done:k].copy())
        plain = z[:k] if k <= n else np.linalg.qr(np.vstack([plain, z[done:k]]), mode="r")
        done = k
        half = paths.solve_right(left, damped)
        generator = half @ paths.solve_right(plain, damped).T
        misfit = paths.solve_right(half[len(truth) :], damped, transpose=True)
        squares[v] = (generator[len(truth) :] ** 2).sum()
        train[v] = rho**2 * (misfit**2).sum() / n_pairs
        factors.append(generator[: len(truth)])
        if len(factors) == paths.LANES or v == ks.size - 1:
            start = v + 1 - len(factors)
            nuclear[start : v + 1] = norms.nuclear_norms(factors, trial.options.dtype)
            factors = []
    return np.stack(
        [
            trial.trace + squares - 2 * nuclear,
            space.projection_error(ks),
            train,
            squares / trial.trace,
        ]
    )
