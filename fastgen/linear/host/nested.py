"""The problems whose solutions are nested over k as they stand: PCA and minimum-norm regression."""

from __future__ import annotations

import numpy as np

from ..._dispatch import linear as kernels
from ..options import RANK_TOLERANCE
from . import paths
from .trial import Range, Trial


def unsupervised(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """PCA of all samples; the number of pairs plays no part."""
    del n_pairs
    s, beyond, truth, energy, rest = kernels.principal_frame(trial.x, trial.factor, RANK_TOLERANCE)
    space = Range(np.empty((0, 0)), np.empty((0, 0)), truth, energy, rest)
    capped = np.minimum(ks, beyond.size - 1)
    variance = np.append(0.0, np.cumsum(s**2))[np.minimum(ks, s.size)]
    distinct, where = np.unique(np.minimum(ks, s.size), return_inverse=True)
    target = truth * s
    nuclear = paths.leading(target, target, None, distinct, trial.options.dtype)[0][where]
    return trial.table(nuclear, variance, space.projection_error(ks), beyond[capped])


def pseudo_supervised(trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
    """Minimum-norm least squares on the first pairs, ``X pinv(Z)``."""
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
    return trial.table(
        nuclear,
        squares,
        frame.range.projection_error(ks),
        frame.residual[np.minimum(ks, frame.p)] / n_pairs,
    )
