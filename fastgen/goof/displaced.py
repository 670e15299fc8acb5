"""Displaced planted targets: how far a search misses at the distance of real data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _arrays, _random, _validate
from .._results import plain
from .._warnings import silenced
from . import domains, made
from .made import MadeTargets
from .search import nearest

_RANK = 1e-6  # singular values of a Jacobian below this share of the largest are none
_LEAST = 1e-3  # share of a residual that must be left off the tangent for its direction to be known


@dataclasses.dataclass(frozen=True, eq=False)
class DisplacedResult(MadeTargets):
    """What a search makes of targets beside the range, at a distance that is known not to be less.

    Attributes
    ----------
    nearest : NearestResult
        What the search found for each target.
    targets : ndarray (n, ...)
        G(z0) + e.
    bound : ndarray (n,)
        ``||e||^2``: the squared distance to the range is at most this.
    """

    bound: np.ndarray

    @property
    def excess(self) -> np.ndarray:
        """Squared distance found above the bound (n,): nothing but error of the search."""
        return np.maximum(self.nearest.squared_distance - self.bound, 0)

    @property
    def share(self) -> float:
        """Sum of the excess over that of the bounds; 0 where all targets lie in the range."""
        total = float(self.bound.sum())
        return float(self.excess.sum()) / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain Python, ready for JSON; excess and bound are per pixel."""
        size = self.targets[0].size
        return plain(
            {
                "n": len(self.bound),
                "share": self.share,
                "excess_mse": self.excess.mean() / size,
                "bound_mse": self.bound.mean() / size,
                "status": self.nearest.status_counts,
            }
        )

    def __repr__(self) -> str:
        return (
            f"DisplacedResult({len(self.bound)} targets: {self.share:.1%} of their squared "
            "distance is error of the search)"
        )


def displaced(
    generator: Any,
    residuals: Any,
    n: int = 32,
    *,
    prior: Any = "normal",
    domain: Any = None,
    cond: Any = None,
    random_state: Any = None,
    **options: Any,
) -> DisplacedResult:
    """Search for targets beside the range, as far from it as data are.

    A target is ``x = G(z0) + e``: z0 drawn from the prior, e a residual of the data without its
    part along the tangent of the range at G(z0), at the residual's own length. Its squared distance
    is at most ``||e||^2``. What a search returns above that is its failure where real data lie;
    planted targets, which lie in the range, are easier.

    Parameters
    ----------
    generator : nn.Module, callable, LinearGAN, or a list of them
        Each member of a list makes an equal share of the targets.
    residuals : array (m, ...)
        Data minus the nearest points found for them.
    n : int, default 32
        Number of targets; residuals are drawn with replacement where there are fewer.
    prior, domain, cond, random_state
        As for `planted`.
    **options
        Further arguments of `nearest`; give those of the search that is to be judged.

    Returns
    -------
    DisplacedResult

    Raises
    ------
    TypeError, ValueError
        If ``n`` is no positive integer, residuals do not have the shape of what the generator
        returns; and as `planted`.

    Notes
    -----
    A latent may be nearer than z0: then the excess is too small, and it says less than it could.
    With as many latent coordinates as pixels nothing is left of a residual: the targets are planted
    ones.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof import displaced, nearest
    >>> from fastgen.linear import LinearGAN
    >>> X = np.random.default_rng(0).standard_normal((40, 5))
    >>> gan = LinearGAN(2, "unsupervised").fit(X)
    >>> found = displaced(gan, X - nearest(gan, X).reconstruction, random_state=0)
    >>> found.share < 1e-12
    True
    """
    n = _validate.integer(n, "n")
    residuals = _arrays.to_numpy(residuals).astype(np.float64)
    if residuals.ndim < 2 or not len(residuals) or not np.isfinite(residuals).all():
        raise ValueError("residuals must be finite, of shape (m, ...) with at least one row")
    draw, search = _random.generator(random_state).spawn(2)
    domain = domains.check(domain)
    cond = made.conditions(cond, n, options)
    order = np.resize(draw.permutation(len(residuals)), n)
    moved = []
    for member, rows, own in made.shares(generator, n, cond):
        centers, tangents = made.points(
            member, len(rows), own, options, prior, domain, draw, tangents=True
        )
        beside = residuals[order[rows]].reshape(len(rows), -1)
        moved += _moved(centers.reshape(len(rows), -1), tangents, beside)
    X, points = zip(*moved, strict=True)
    targets = np.stack(X)
    bound = ((targets.astype(np.float64) - np.stack(points)) ** 2).sum(axis=1)
    targets = targets.reshape(n, *residuals.shape[1:])
    # beside the range is where they are meant to be
    options = {**options, "prior": prior, "domain": domain, "cond": cond, "random_state": search}
    with silenced(UserWarning):
        found = nearest(generator, targets, **options)
    return DisplacedResult(nearest=found, targets=targets, bound=bound)


def _moved(
    centers: np.ndarray, tangents: list[np.ndarray | None], residuals: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each center moved by its residual off the tangent (k, d), and the center."""
    if residuals.shape[1] != centers.shape[1]:
        raise ValueError(
            f"residuals must have the {centers.shape[1]} values of what the generator returns, got "
            f"{residuals.shape[1]}"
        )
    found = []
    for center, tangent, residual in zip(centers, tangents, residuals, strict=True):
        move = np.zeros_like(residual) if tangent is None else _off(tangent, residual)
        length, left = np.linalg.norm(residual), np.linalg.norm(move)
        move = move * (length / left) if left > _LEAST * length else 0 * move
        found.append(((center + move).astype(center.dtype), center.astype(np.float64)))
    return found


def _off(tangent: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return the part of a residual (d,) that is orthogonal to the rows of ``tangent`` (k, d)."""
    _, s, basis = np.linalg.svd(tangent, full_matrices=False)
    basis = basis[s > _RANK * s.max(initial=0.0)]
    for _ in range(2):  # once more for what rounding left
        residual = residual - (basis @ residual) @ basis
    return residual
