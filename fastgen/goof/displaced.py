"""Displaced planted targets: how far a search misses at the distance of real data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random, _validate
from .._evaluation import evaluation_mode
from .._results import Result, plain
from .._warnings import silenced
from . import domains
from .generators import adapt, is_linear_model, linear_map, members_of, modules_of
from .results import NearestResult
from .search import nearest
from .solvers import precision
from .solvers.objective import Objective

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .generators import Adapter

_RANK = 1e-6  # singular values of a Jacobian below this share of the largest are none
_LEAST = 1e-3  # share of a residual that must be left off the tangent for its direction to be known


@dataclasses.dataclass(frozen=True, eq=False)
class DisplacedResult(Result):
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

    nearest: NearestResult
    targets: np.ndarray
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

    def plot(self, *, n_images: int = 8, width: float = 7.0) -> Figure:
        """Draw displaced targets, what was found, and all distances.

        Parameters
        ----------
        n_images : int, default 8
            Number of targets drawn.
        width : float, default 7.0
            Width of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return self.nearest.plot(self.targets, n_images=n_images, width=width)


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
    if options.get("init") is not None and not callable(options["init"]):
        raise ValueError("init must be an encoder or None: an array belongs to other targets")
    residuals = _arrays.to_numpy(residuals).astype(np.float64)
    if residuals.ndim < 2 or not len(residuals) or not np.isfinite(residuals).all():
        raise ValueError("residuals must be finite, of shape (m, ...) with at least one row")
    draw, search = _random.generator(random_state).spawn(2)
    domain = domains.check(domain)
    members = members_of(generator)
    if cond is not None:
        cond = cond if hasattr(cond, "shape") else np.asarray(cond)
        cond = cond[np.resize(np.arange(len(cond)), n)]
    order = np.resize(draw.permutation(len(residuals)), n)
    made = {name: options.get(name) for name in ("latent_dim", "forward", "device")}
    X, centers = [], []
    for member, share in zip(members, np.array_split(np.arange(n), len(members)), strict=True):
        if len(share):
            own = None if cond is None else cond[share]
            rows = residuals[order[share]].reshape(len(share), -1)
            for target, center in _places(member, rows, own, made, prior, domain, draw):
                X.append(target)
                centers.append(center)
    targets = np.stack(X)
    bound = ((targets.astype(np.float64) - np.stack(centers)) ** 2).sum(axis=1)
    targets = targets.reshape(n, *residuals.shape[1:])
    # beside the range is where they are meant to be
    options = {**options, "prior": prior, "domain": domain, "cond": cond, "random_state": search}
    with silenced(UserWarning):
        found = nearest(generator, targets, **options)
    return DisplacedResult(nearest=found, targets=targets, bound=bound)


def _places(
    member: Any,
    residuals: np.ndarray,
    cond: Any,
    options: dict[str, Any],
    prior: Any,
    domain: domains.Free,
    rng: np.random.Generator,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return targets (d,) and the points of the range (d,) beside which they lie."""
    if not callable(prior):
        _validate.one_of(prior, "prior", ("normal", "uniform"))
    count = len(residuals)
    if is_linear_model(member) and cond is None and options["forward"] is None:
        weight, bias = linear_map(member, options["latent_dim"])
        z = domain.project(domains.draw(prior, count, weight.shape[1], rng))
        return _moved(z @ weight.T + bias, [weight.T] * count, residuals)
    _arrays.require_torch("displaced targets of a generator that is no linear model")
    with precision.alone(), evaluation_mode(modules_of(member, options["forward"])):
        generator = adapt(member, cond=cond, **options)
        return _places_of_network(generator, residuals, prior, domain, rng)


def _places_of_network(
    generator: Adapter,
    residuals: np.ndarray,
    prior: Any,
    domain: domains.Free,
    rng: np.random.Generator,
) -> list[tuple[np.ndarray, np.ndarray]]:
    import torch

    count = len(residuals)
    z = torch.from_numpy(domains.draw(prior, count, generator.latent_dim, rng))
    z = domain.project(z.to(generator.device, generator.dtype))
    rows = torch.arange(count, device=generator.device)
    outputs = generator(z, rows)
    objective = Objective(generator, torch.zeros_like(outputs), domain)
    tangents: list[np.ndarray | None] = [None] * count
    if generator.latent_dim < generator.output_dim:
        tangents = [
            objective.jacobian(z[i : i + 1], rows[i : i + 1])[0].double().cpu().numpy()
            for i in range(count)
        ]
    return _moved(outputs.cpu().numpy(), tangents, residuals)


def _moved(
    centers: np.ndarray, tangents: list[np.ndarray | None], residuals: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each center moved by its residual off the tangent (k, d), and the center."""
    if residuals.shape[1] != centers.shape[1]:
        raise ValueError(
            f"residuals must have the {centers.shape[1]} values of what the generator returns, got "
            f"{residuals.shape[1]}"
        )
    if not np.isfinite(centers).all():
        raise ValueError(
            "generator returned values that are not finite for latents of the prior; give a prior= "
            "on which it is defined"
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
