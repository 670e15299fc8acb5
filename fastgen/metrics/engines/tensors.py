"""Distances of Gaussians for torch tensors, differentiable.

Values come from the same code as for NumPy (CPU) or from torch's linear algebra on the tensors'
device (CUDA). The derivative is in closed form, from the singular value decomposition
``L^T M = U s V^T`` of the factors' cross-product: ``I - T`` for a covariance, T the linear part of
the optimal map (``M V U^T L^+``), and ``2 (L - M V U^T)`` for a factor. Where a covariance is
singular the distance has no gradient in directions outside its range, with a slope of minus
infinity where the other covariance has mass there; what is returned is the part that is finite.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .. import _transport, gaussian
from ..covariances import CovarianceFactor, covariance_list, mean_matrix, weight_vector
from . import device
from .host import PairParts


class Component:
    """One covariance (d, d), or one factor (d, n), as a tensor."""

    def __init__(self, tensor: torch.Tensor, is_factor: bool):
        self.tensor, self.is_factor = tensor, is_factor

    @functools.cached_property
    def factor(self) -> torch.Tensor:
        """Factor in float64, without a graph."""
        tensor = self.tensor.detach().double()
        return tensor if self.is_factor else device.root(torch, tensor, "the covariance")

    @functools.cached_property
    def inverse(self) -> torch.Tensor:
        """Pseudo-inverse of the factor, whose columns `_device.root` made orthogonal."""
        squares = (self.factor**2).sum(dim=0)
        return (self.factor / squares).T

    def slope(self, other: Component, polar: torch.Tensor) -> torch.Tensor:
        """Differentiate the covariance part; ``polar`` is U V^T of both factors, this one first."""
        image = other.factor @ polar.T
        if self.is_factor:
            return 2 * (self.factor - image)
        if not self.factor.any():
            return torch.eye(len(self.tensor), dtype=torch.float64, device=self.tensor.device)
        linear = image @ self.inverse
        return (
            torch.eye(len(linear), dtype=linear.dtype, device=linear.device)
            - (linear + linear.T) / 2
        )


class _Part(torch.autograd.Function):
    """A covariance part that is already known, with its derivative."""

    @staticmethod
    def forward(ctx, left, right, first, second, value):
        ctx.first, ctx.second = first, second
        return left.new_tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        first, second = ctx.first, ctx.second
        cross = first.factor.T @ second.factor
        polar = cross
        if cross.any():
            u, s, vh = torch.linalg.svd(cross, full_matrices=False)
            kept = s > max(cross.shape) * torch.finfo(s.dtype).eps * s[0]
            polar = u[:, kept] @ vh[kept]
        slopes = [
            grad * one.slope(other, way).to(grad.dtype) if needed else None
            for one, other, way, needed in (
                (first, second, polar, ctx.needs_input_grad[0]),
                (second, first, polar.T, ctx.needs_input_grad[1]),
            )
        ]
        return *slopes, None, None, None


def bures(cov1: Any, cov2: Any) -> torch.Tensor:
    """As `fastgen.metrics.bures`."""
    (left, shape1), (right, shape2) = gaussian.operand(cov1, "cov1"), gaussian.operand(cov2, "cov2")
    gaussian.same_size(left[0], right[0])
    first, second = _leaves(cov1, len(left)), _leaves(cov2, len(right))
    rows, columns = gaussian.broadcast_pairs(shape1, shape2)
    found = _parts(left, right, first, second, rows.ravel(), columns.ravel())
    return found.reshape(rows.shape)


def frechet_distance(mean1: Any, cov1: Any, mean2: Any, cov2: Any) -> torch.Tensor:
    """As `fastgen.metrics.frechet_distance`."""
    for mean, cov, name in ((mean1, cov1, "mean1"), (mean2, cov2, "mean2")):
        gaussian.check_mean(mean, gaussian.operand(cov, "cov")[0][0].dim, name)
    part = bures(cov1, cov2)
    gap = torch.as_tensor(mean1, device=part.device) - torch.as_tensor(mean2, device=part.device)
    return gap.square().sum(dim=-1) + part


def dist_bures_squared(m_s: Any, m_t: Any, C_s: Any, C_t: Any) -> torch.Tensor:
    """As `fastgen.metrics.dist_bures_squared`."""
    sides = []
    for means, covariances, end in ((m_s, C_s, "s"), (m_t, C_t, "t")):
        k, d = mean_matrix(means, f"m_{end}").shape
        host = covariance_list(covariances, f"C_{end}", n_components=k, dim=d)
        sides.append((host, _components(covariances, k, d)))
    gaussian.same_dimension(m_s, m_t, "m_s", "m_t")
    (left, first), (right, second) = sides
    rows, columns = np.indices((len(left), len(right)))
    part = _parts(left, right, first, second, rows.ravel(), columns.ravel())
    return mean_costs(m_s, m_t) + part.reshape(rows.shape)


def mean_costs(m_s: torch.Tensor, m_t: torch.Tensor) -> torch.Tensor:
    """Squared distances (K0, K1) of the rows."""
    return torch.stack([(row - m_t).square().sum(dim=1) for row in m_s])


def transport(w_s: Any, w_t: Any, costs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and plan; the value's derivative in the weights is given by the dual potentials."""
    p = weight_vector(w_s, "w_s", costs.shape[0])
    q = weight_vector(w_t, "w_t", costs.shape[1])
    found = _transport.solve(p, q, costs.detach().double().cpu().numpy())
    plan = costs.new_tensor(found.plan)
    value = (plan * costs).sum()
    for weights, price in zip((w_s, w_t), found.potentials, strict=True):
        if getattr(weights, "requires_grad", False):
            # the constant that the prices are free in does not move weights that sum to 1
            price = costs.new_tensor(price - price.mean())
            value = value + (price * (weights - weights.detach())).sum()
    return value, plan


def _leaves(value: Any, count: int) -> list[Component]:
    """Tensors of an array (..., d, d) or of one factor."""
    if isinstance(value, CovarianceFactor):
        return [Component(torch.as_tensor(value.array), True)]
    tensor = torch.as_tensor(value)
    return [Component(matrix, False) for matrix in tensor.reshape(count, *tensor.shape[-2:])]


def _components(value: Any, k: int, d: int) -> list[Component]:
    """Tensors of a mixture's covariances, diagonal ones made full; shapes are already checked."""
    if isinstance(value, list | tuple):
        return [_leaves(v, 1)[0] for v in value]
    tensor = torch.as_tensor(value)
    if tensor.shape == (k, d, d):
        return [Component(matrix, False) for matrix in tensor]
    if tensor.shape == (d, d) and (k != d or d == 1):
        return [Component(tensor, False)] * k
    return [Component(torch.diag_embed(row.expand(d)), False) for row in tensor.reshape(k, -1)]


def _parts(left, right, first, second, rows, columns) -> torch.Tensor:
    """Covariance parts (P,) with their graph."""
    pairs = np.stack((rows, columns), axis=1)
    if first[0].tensor.is_cuda:
        factors = [c.factor for c in first], [c.factor for c in second]
        values = device.parts(torch, *factors, pairs).tolist()
    else:
        parts = PairParts(left, right, np.dtype(np.float64), None)
        values = parts.evaluate(rows, columns).tolist()
    return torch.stack(
        [
            _Part.apply(first[a].tensor, second[b].tensor, first[a], second[b], value)
            for (a, b), value in zip(pairs.tolist(), values, strict=True)
        ]
    )
