"""Metrics of one given generator, and problems that users give as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..options import METRICS, RANK_TOLERANCE
from .trial import Trial

Solver = Callable[[np.ndarray, np.ndarray], Any]


def measure(factor: np.ndarray, g: np.ndarray) -> tuple[float, float, float]:
    """Return ``w2``, ``projection_error`` and ``gain`` of a generator.

    Parameters
    ----------
    factor : ndarray (q, d)
        A factor C of the true covariance, ``C.T @ C``.
    g : ndarray (d, k)
        The generator.
    """
    trace, square = float((factor**2).sum()), float((g**2).sum())
    nuclear = float(np.linalg.svd(factor @ g, compute_uv=False).sum())
    u, s, _ = np.linalg.svd(g, full_matrices=False)
    basis = u[:, s > RANK_TOLERANCE * s[0]]
    outside = float(((factor - (factor @ basis) @ basis.T) ** 2).sum())
    return trace + square - 2 * nuclear, outside, square / trace


def pair_error(g: np.ndarray, x: np.ndarray, z: np.ndarray) -> float:
    """Return the mean squared error ``||x - g z||^2 / n`` of pairs (d, n), (k, n)."""
    return float(((x - g @ z) ** 2).sum() / x.shape[1])


class GivenProblem:
    """A function ``(X, Z) -> G`` as the host's solver of a problem; it can be pickled.

    Parameters
    ----------
    name : str
        Its name, for messages.
    solver : callable
        Takes data (d, n_pairs) and latents (k, n_pairs), which it must not change, and returns a
        generator (d, k).
    """

    def __init__(self, name: str, solver: Solver) -> None:
        self.name = name
        self.solver = solver

    def __call__(self, trial: Trial, ks: np.ndarray, n_pairs: int) -> np.ndarray:
        """Return the metrics (4, n_k) of one trial."""
        out = np.empty((len(METRICS), len(ks)))
        x = _frozen(trial.x[:, :n_pairs])
        for v, k in enumerate(ks.tolist()):
            z = _frozen(trial.z[:k, :n_pairs])
            g = np.asarray(self.solver(x, z))
            if g.dtype.kind not in "fiub" or g.shape != (len(x), k) or not np.isfinite(g).all():
                raise ValueError(
                    f"problem {self.name!r} must return a finite generator of shape (d, k) = "
                    f"({len(x)}, {k}) for X {x.shape} and Z {z.shape}, got dtype {g.dtype} and "
                    f"shape {g.shape}"
                )
            w2, outside, gain = measure(trial.factor, g)
            out[:, v] = w2, outside, pair_error(g, x, z), gain
        return out


def _frozen(a: np.ndarray) -> np.ndarray:
    view = a.view()
    view.flags.writeable = False
    return view
