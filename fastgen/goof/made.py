"""Targets that a generator makes itself, at latents of its prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _validate
from .._evaluation import evaluation_mode
from .._results import Result
from . import domains
from .generators import adapt, is_linear_model, linear_map, members_of, modules_of
from .results import NearestResult
from .solvers import precision
from .solvers.objective import Objective

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .generators import Adapter


@dataclasses.dataclass(frozen=True, eq=False)
class MadeTargets(Result):
    """What a search makes of targets that the generator made.

    Attributes
    ----------
    nearest : NearestResult
        What the search found for each target.
    targets : ndarray (n, ...)
    """

    nearest: NearestResult
    targets: np.ndarray

    def plot(self, *, n_images: int = 8, width: float = 7.0) -> Figure:
        """Draw targets, what was found, and all distances.

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


def conditions(cond: Any, n: int, options: dict[str, Any]) -> Any:
    """Return the conditions of ``n`` targets, used in turn; refuse what is for other targets.

    Parameters
    ----------
    cond : array (m, ...) or None
    n : int
    options : dict
        Arguments of `nearest`.

    Raises
    ------
    ValueError
        If an array is given as ``init``, or a result as ``resume``.
    """
    if options.get("init") is not None and not callable(options["init"]):
        raise ValueError("init must be an encoder or None: an array belongs to other targets")
    if options.get("resume") is not None:
        raise ValueError("resume is for nearest, got a result for other targets")
    if cond is None:
        return None
    cond = cond if hasattr(cond, "shape") else np.asarray(cond)
    return cond[np.resize(np.arange(len(cond)), n)]


def shares(generator: Any, n: int, cond: Any) -> Iterator[tuple[Any, np.ndarray, Any]]:
    """Yield the members that make targets, which ones (an equal share), and their conditions."""
    members = members_of(generator)
    for member, rows in zip(members, np.array_split(np.arange(n), len(members)), strict=True):
        if len(rows):
            yield member, rows, None if cond is None else cond[rows]


def points(
    member: Any,
    count: int,
    cond: Any,
    options: dict[str, Any],
    prior: Any,
    domain: domains.Free,
    rng: np.random.Generator,
    *,
    tangents: bool = False,
) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """Return outputs of one generator at latents of the prior.

    Parameters
    ----------
    member : nn.Module, callable or LinearGAN
    count : int
    cond : array (count, ...) or None
    options : dict
        Arguments of `nearest`.
    prior : str or callable
    domain : Free
        Into which latents are projected.
    rng : numpy.random.Generator
    tangents : bool, default False

    Returns
    -------
    outputs : ndarray (count, ...)
    tangents : list of ndarray (k, d) or None
        Transposed Jacobians, where asked for and there are fewer latent coordinates than values.

    Raises
    ------
    ValueError
        If outputs are not finite.
    """
    if not callable(prior):
        _validate.one_of(prior, "prior", ("normal", "uniform"))
    slopes: list[np.ndarray | None] = [None] * count
    made: dict[str, Any] = {name: options.get(name) for name in ("latent_dim", "forward", "device")}
    if is_linear_model(member) and cond is None and made["forward"] is None:
        weight, bias = linear_map(member, made["latent_dim"])
        z = domains.draw(prior, count, weight.shape[1], rng)
        outputs = domain.project(z) @ weight.T + bias
        if tangents:
            slopes = [weight.T] * count
    else:
        _arrays.require_torch("targets made by a generator that is no linear model")
        with precision.alone(), evaluation_mode(modules_of(member, made["forward"])):
            outputs, slopes = _of_network(
                adapt(member, cond=cond, **made), count, prior, domain, rng, tangents
            )
    bad = ~np.isfinite(outputs.reshape(count, -1)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"generator returned values that are not finite for {bad.sum()} of {count} latents of "
            "the prior; give a prior= on which it is defined"
        )
    return outputs, slopes


def _of_network(
    generator: Adapter,
    count: int,
    prior: Any,
    domain: domains.Free,
    rng: np.random.Generator,
    tangents: bool,
) -> tuple[np.ndarray, list[np.ndarray | None]]:
    import torch

    z = torch.from_numpy(domains.draw(prior, count, generator.latent_dim, rng))
    z = domain.project(z.to(generator.device, generator.dtype))
    rows = torch.arange(count, device=generator.device)
    outputs = generator.raw(z, rows)
    slopes: list[np.ndarray | None] = [None] * count
    if tangents and generator.latent_dim < generator.output_dim:
        objective = Objective(generator, torch.zeros_like(outputs.reshape(count, -1)), domain)
        for i in range(count):  # one at a time, since Jacobians may be large
            slope = objective.jacobian(z[i : i + 1], rows[i : i + 1])[0]
            slopes[i] = slope.double().cpu().numpy()
    return outputs.cpu().numpy(), slopes
