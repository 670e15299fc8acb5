"""Diagonal Gaussian mixtures of the positions of a minibatch, for mixture normalization.

Activations are (B, C, P): vectors of C channels at B * P positions. On the CPU the sums come from
compiled kernels, in float64; elsewhere from torch operations in the dtype of the input.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from .._dispatch import mixture_norm as dispatch
from . import _mixture_plain

# A component with fewer positions than this holds one or none: it has no variance.
_FEWEST = 1.5
_LLOYD_STEPS = 10
_SEEDINGS = 8


class Components(NamedTuple):
    """Weights (K,), means (K, C) and variances (K, C) of a mixture."""

    weights: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor


class Fit(NamedTuple):
    """A mixture with the posteriors (B, K, P) it was estimated with.

    ``nu`` may have rows of zeros beyond K; ``counts`` and ``squares`` (K,) are the sums of nu and
    nu^2.
    """

    components: Components
    nu: torch.Tensor
    counts: torch.Tensor
    squares: torch.Tensor


def compiled(x: torch.Tensor) -> bool:
    """Whether the kernels take ``x``."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not _mixture_plain.has_tangent(x)
    )


def posteriors(x: torch.Tensor, components: Components, eps: float) -> torch.Tensor:
    """Posteriors (B, K, P), with ``eps`` added to the variances."""
    weights, means, variances = components
    if compiled(x):
        arrays = (means.numpy(), (variances + eps).numpy(), weights.log().numpy())
        nu = torch.from_numpy(dispatch.posteriors(x.numpy(), *arrays, torch.get_num_threads()))
    else:
        nu = torch_posteriors(x, components, eps)
    if len(weights) == 1:  # also where a channel is NaN
        nu.zero_()
        nu[:, 0] = 1
    return nu


def torch_posteriors(x: torch.Tensor, components: Components, eps: float) -> torch.Tensor:
    weights, means, variances = components
    precisions = 1 / (variances + eps)
    constants = weights.log() + 0.5 * precisions.log().sum(1)
    squares = [
        ((x - mean[:, None]).square() * precision[:, None]).sum(1)
        for mean, precision in zip(means, precisions, strict=True)
    ]
    return (constants[:, None] - 0.5 * torch.stack(squares, 1)).softmax(1)


def em_step(x: torch.Tensor, components: Components, eps: float) -> Fit:
    """One step of expectation maximisation; a component without positions keeps its place."""
    weights, means, variances = components
    means = means.to(x.dtype).to(means.dtype)
    if compiled(x):
        arrays = (means.numpy(), (variances + eps).numpy(), weights.log().numpy())
        nu, counts, sums = (
            torch.from_numpy(array)
            for array in dispatch.em_sums(x.numpy(), *arrays, torch.get_num_threads())
        )
    else:
        nu = torch_posteriors(x, components, eps)
        counts = torch.stack([nu.sum((0, 2)), nu.square().sum((0, 2))])
        sums = torch.stack([_torch_moments(x, nu[:, k], means[k]) for k in range(len(means))], 1)
    total, squares = counts
    first, second = sums / torch.where(total == 0, 1, total)[:, None]
    spread = torch.where((total == 0)[:, None], variances, second - first.square())
    updated = Components(total / (x.shape[0] * x.shape[2]), means + first, spread.clamp_min(0))
    return Fit(updated, nu, total, squares)


def _torch_moments(x: torch.Tensor, nu: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Return the sums (2, C) of nu (x - m) and nu (x - m)^2 of one component."""
    difference = x - mean[:, None]
    weighted = nu[:, None] * difference
    return torch.stack([weighted.sum((0, 2)), (weighted * difference).sum((0, 2))])


def fit(
    x: torch.Tensor,
    start: Components | None,
    n_components: int,
    *,
    eps: float,
    em_steps: int,
    start_steps: int,
    fit_size: int | None,
) -> Fit:
    """Fit a mixture to a batch, from ``start`` or from seeds.

    Seeds replace ``start`` when a component loses its positions. One that still has none then, for
    want of distinct positions, gets weight 0.
    """
    if n_components == 1 and not x.isfinite().all():
        return _single(x)
    result = None
    if start is not None:
        result = _steps(x, start, eps, em_steps)
    if result is None or (result.counts < _FEWEST).any():
        seeds = _seed(x, n_components, eps, start_steps, fit_size)
        result = _steps(x, seeds, eps, em_steps)
    while ((result.counts < _FEWEST) & (result.counts > 0)).any():
        weights, means, variances = result.components
        alive = weights.where(result.counts >= _FEWEST, 0)
        result = em_step(x, Components(alive, means, variances), eps)
    return result


def _single(x: torch.Tensor) -> Fit:
    """Fit one component to a batch that is not finite: a channel without NaN keeps its moments."""
    wide = x.to(torch.float64 if compiled(x) else x.dtype)
    count = wide.new_full((1,), x.shape[0] * x.shape[2])
    means, variances = wide.mean((0, 2))[None], wide.var((0, 2), correction=0)[None]
    components = Components(torch.ones_like(count), means, variances)
    return Fit(components, posteriors(x, components, 0.0), count, count)


def _steps(x: torch.Tensor, components: Components, eps: float, count: int) -> Fit:
    for _ in range(count):
        result = em_step(x, components, eps)
        components = result.components
    return result


def _seed(
    x: torch.Tensor, n_components: int, eps: float, start_steps: int, fit_size: int | None
) -> Components:
    """Fit a mixture to at most ``fit_size`` random positions, on the CPU in float64."""
    device, dtype = (x.device, torch.float64 if compiled(x) else x.dtype)
    if n_components == 1:
        channels = torch.ones(1, x.shape[1], device=device, dtype=dtype)
        return Components(channels[:, 0], 0 * channels, channels)
    total = x.shape[0] * x.shape[2]
    chosen = torch.randperm(total)[: fit_size or total].to(device)
    points = x[chosen // x.shape[2], :, chosen % x.shape[2]].double().cpu()
    if not points.isfinite().all():
        nothing = torch.full((n_components, x.shape[1]), torch.nan, device=device, dtype=dtype)
        return Components(nothing[:, 0], nothing, nothing)
    centered = points - points.mean(0)
    labels = min(
        (_lloyd(centered, _plus_plus(centered, n_components)) for _ in range(_SEEDINGS)),
        key=lambda result: result[0],
    )[1]
    components = _moments_of_labels(points, labels, n_components)
    if start_steps:
        components = _steps(points.T[None].contiguous(), components, eps, start_steps).components
    return Components(*(value.to(device, dtype) for value in components))


def _squared_distances(points: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    return torch.stack([(points - center).square().sum(1) for center in centers], 1)


def _plus_plus(points: torch.Tensor, n_components: int) -> torch.Tensor:
    """k-means++ seeds (K, C), from torch's random numbers."""
    centers = points[torch.randint(len(points), (1,))]
    nearest = _squared_distances(points, centers)[:, 0]
    for _ in range(1, n_components):
        chances = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        draw = torch.rand((), dtype=points.dtype) * chances.sum()
        index = torch.searchsorted(chances.cumsum(0), draw, right=True).clamp_max(len(points) - 1)
        centers = torch.cat([centers, points[index][None]])
        nearest = torch.minimum(nearest, _squared_distances(points, centers[-1:])[:, 0])
    return centers


def _nearest(points: torch.Tensor, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances to the nearest center, but for the points' own squares, and labels."""
    return torch.addmm(centers.square().sum(1), points, centers.T, alpha=-2).min(1)


def _lloyd(points: torch.Tensor, centers: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Sum of squares, up to a constant, and labels; an empty cluster keeps its center."""
    for _ in range(_LLOYD_STEPS):
        members = nn.functional.one_hot(_nearest(points, centers)[1], len(centers)).to(points)
        counts = members.sum(0)[:, None]
        centers = torch.where(counts > 0, members.T @ points / counts.clamp_min(1), centers)
    distances, labels = _nearest(points, centers)
    return distances.sum().item(), labels


def _moments_of_labels(points: torch.Tensor, labels: torch.Tensor, n_components: int) -> Components:
    """Mixture of the labelled points; clusters below two points get the variance of all."""
    counts = torch.bincount(labels, minlength=n_components).to(points.dtype)
    share = counts.clamp_min(1)[:, None]
    empty = torch.zeros(n_components, points.shape[1], dtype=points.dtype)
    means = empty.index_add(0, labels, points) / share
    variances = empty.index_add(0, labels, (points - means[labels]).square()) / share
    variances = torch.where(counts[:, None] > 1, variances, points.var(0, correction=0))
    return Components(counts / len(points), means, variances)


def match(reference: Components, other: Components) -> torch.Tensor:
    """Which component of ``other`` belongs to each of ``reference``.

    Minimises the sum of squared 2-Wasserstein distances of the pairs.
    """
    from scipy.optimize import linear_sum_assignment

    costs = _squared_distances(reference.means, other.means) + _squared_distances(
        reference.variances.sqrt(), other.variances.sqrt()
    )
    return torch.from_numpy(linear_sum_assignment(costs.cpu().numpy())[1]).to(costs.device)


def distinct(components: Components) -> bool:
    """Whether no two components coincide: EM cannot separate those that do."""
    table = torch.cat([components.means, components.variances], 1)
    same = (table[:, None] == table).all(2)
    return int(same.sum()) <= len(table)
