"""The engine for torch tensors: distances of Gaussians, differentiable once.

Values come from the same code as for NumPy (CPU), from the CUDA kernels in CuPy's arrays, which
share the tensors' memory (CUDA, where CuPy is installed), or from torch's singular values on the
device. The two paths for CUDA have been run with stand-ins only, not yet on a device.

The derivative is in closed form, from the singular value decomposition ``L^T M = U s V^T`` of the
factors' cross-product: ``I - T`` for a covariance, T the linear part of the optimal map
(``M V U^T L^+``), and ``2 (L - M V U^T)`` for a factor. Where a covariance is singular the distance
has no gradient in directions outside its range, with a slope of minus infinity where the other
covariance has mass there; what is returned is the part that is finite. Second derivatives are
refused.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ... import _arrays
from .. import _transport
from ..covariances import CovarianceFactor, Entry, check_real, weight_vector
from . import device, host


class Component:
    """One covariance (d, d), or one factor (d, n), as a tensor, and as it is computed with."""

    def __init__(self, tensor: torch.Tensor, is_factor: bool, parsed: Any) -> None:
        self.tensor, self.is_factor, self.parsed = tensor, is_factor, parsed

    @property
    def dim(self) -> int:
        """Dimension d of the space."""
        return self.parsed.dim

    @property
    def name(self) -> str:
        """What the covariance is called in messages."""
        return self.parsed.name

    @functools.cached_property
    def factor(self) -> torch.Tensor:
        """Factor without a graph, the columns of a covariance's orthogonal."""
        tensor = self.tensor.detach()
        if self.is_factor:
            return tensor
        if isinstance(self.parsed, device.Covariance):
            return _tensor(self.parsed.factor)
        return device.root(torch, tensor, self.name)

    @functools.cached_property
    def inverse(self) -> torch.Tensor:
        """Pseudo-inverse of the factor of a covariance."""
        return (self.factor / (self.factor**2).sum(dim=0)).T

    def slope(self, other: Component, polar: torch.Tensor) -> torch.Tensor:
        """Differentiate the covariance part; ``polar`` is U V^T of both factors, this one first."""
        image = other.factor @ polar.T
        if self.is_factor:
            return 2 * (self.factor - image)
        eye = torch.eye(self.dim, dtype=self.tensor.dtype, device=self.tensor.device)
        if not self.factor.any():
            return eye
        linear = image @ self.inverse
        return eye - (linear + linear.T) / 2


class _Part(torch.autograd.Function):
    """A covariance part that is already known, with its derivative."""

    @staticmethod
    def forward(ctx, left, right, first, second, value):
        ctx.save_for_backward(left, right)
        ctx.first, ctx.second = first, second
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        first, second = ctx.first, ctx.second
        with torch.no_grad():
            cross = first.factor.T @ second.factor
            polar = cross
            if cross.any():
                u, s, vh = torch.linalg.svd(cross, full_matrices=False)
                kept = s > max(cross.shape) * torch.finfo(s.dtype).eps * s[0]
                polar = u[:, kept] @ vh[kept]
            slopes = [
                one.slope(other, way) if needed else None
                for one, other, way, needed in (
                    (first, second, polar, ctx.needs_input_grad[0]),
                    (second, first, polar.T, ctx.needs_input_grad[1]),
                )
            ]
        return *_once(slopes, grad, ctx.saved_tensors), None, None, None


class _Value(torch.autograd.Function):
    """The value of a transport problem, with its derivatives: the plan and the dual potentials."""

    @staticmethod
    def forward(ctx, costs, w_s, w_t, plan, prices):
        ctx.save_for_backward(costs, w_s, w_t)
        ctx.slopes = plan, *prices
        return (plan * costs).sum()

    @staticmethod
    def backward(ctx, grad):
        return *_once(ctx.slopes, grad, ctx.saved_tensors), None, None


class _Once(torch.autograd.Function):
    """A derivative in closed form: a number times a slope that is not differentiated further.

    ``inputs`` are what the slope depends on. Without them in the graph a second derivative would be
    taken as if the slope were constant, and be wrong in silence.
    """

    @staticmethod
    def forward(ctx, grad, slope, *inputs):
        return grad * slope

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError(
            "distances of Gaussians and Gaussian mixtures have first derivatives only, got a "
            "second one; use a method that takes gradients alone, or finite differences of them"
        )


def _once(
    slopes: Iterable[torch.Tensor | None], grad: torch.Tensor, inputs: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    return [None if slope is None else _Once.apply(grad, slope, *inputs) for slope in slopes]


class Tensors:
    """The engine for tensors on one device.

    Parameters
    ----------
    values : arrays, lists of arrays and factors
        At least one is a tensor: the others are brought to where it is. Everything is computed in
        float64, on the CPU unless a tensor is on a CUDA device.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        found = list(_tensors(values))
        on_device = [tensor.device for tensor in found if _arrays.on_device(tensor)]
        self.home = on_device[0] if on_device else found[0].device
        self.device = on_device[0] if on_device else torch.device("cpu")
        self.on_device = bool(on_device)

    def read(self, value: Any, name: str) -> torch.Tensor:
        """Return a finite float64 tensor with its graph, or raise naming the argument."""
        if isinstance(value, list | tuple) and any(map(_arrays.is_tensor, value)):
            value = torch.stack([self.read(part, f"{name}[{k}]") for k, part in enumerate(value)])
        if not _arrays.is_tensor(value):
            return _arrays.to_tensor(host.read(value, name)).to(self.device)
        check_real(value.dtype, name)
        return device.finite(torch, value.to(self.device).double(), name)

    def weights(self, value: Any, name: str, n_components: int) -> Any:
        """Check weights (K,); those with a graph keep it, others are brought to sum 1."""
        checked = weight_vector(value, name, n_components)
        if _arrays.wants_gradient(value):
            return value.to(self.device).double()
        return checked

    def covariances(self, entries: Sequence[Entry], dim: int | None = None) -> list[Component]:
        """Covariances of entries that `read` has read; ``dim`` is for spherical ones."""
        found: dict[int, Component] = {}
        for entry in entries:
            if id(entry) not in found:
                found[id(entry)] = self._component(entry, dim)
        return [found[id(entry)] for entry in entries]

    def _component(self, entry: Entry, dim: int | None) -> Component:
        kind, values, name = entry
        if kind == "spherical":
            kind, values = "diagonal", values.expand(dim)
        tensor = torch.diag_embed(values) if kind == "diagonal" else values
        parsed: Any
        if self.on_device:
            if kind == "diagonal":
                kind, values = "factor", torch.diag_embed(values.detach().sqrt())
            there = Entry(kind, _shared(values.detach()), name)
            parsed = device.factored(_library(), [there], dim)[0]
        else:
            parsed = host.covariances([Entry(kind, values.detach().numpy(), name)])[0]
        return Component(tensor, entry.kind == "factor", parsed)

    def PairParts(
        self,
        left: Sequence[Component],
        right: Sequence[Component],
        dtype: Any = None,
        n_jobs: int | None = None,
    ) -> PairParts:
        """Covariance parts of pairs; ``dtype`` has no part in them."""
        return PairParts(left, right, self.on_device, n_jobs)

    def squared_gap(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Squared norms of ``first - second`` over the last axis."""
        return device.finite(torch, (first - second).square().sum(dim=-1), "the means")

    def mean_costs(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Squared distances (K0, K1) of the rows."""
        return self.squared_gap(left[:, None], right)

    def transport(
        self, w_s: Any, w_t: Any, costs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[np.ndarray, np.ndarray]]:
        """Value, plan and dual potentials, which are the value's derivative in the weights."""
        p, q = (
            weight_vector(w, "weights", n) for w, n in zip((w_s, w_t), costs.shape, strict=True)
        )
        found = _transport.solve(p, q, _arrays.to_host(costs))
        plan = costs.new_tensor(found.plan)
        if not any(map(_arrays.is_tensor, (w_s, w_t))):  # the plan stays where the costs change
            return (plan * costs).sum(), plan, found.potentials
        # the constant that the prices are free in does not move weights that sum to 1
        prices = [costs.new_tensor(price - price.mean()) for price in found.potentials]
        weights = [torch.as_tensor(w, device=costs.device) for w in (w_s, w_t)]
        return _Value.apply(costs, *weights, plan, prices), plan, found.potentials

    def result(self, array: torch.Tensor, *values: Any) -> torch.Tensor:
        """Return what the user gets: on the tensors' device, in the widest of the floating types.

        Integers count as float64.
        """
        dtypes = [
            value.dtype if value.is_floating_point() else torch.float64
            for value in _tensors(values, arrays=True)
        ]
        return array.to(self.home, functools.reduce(torch.promote_types, dtypes))


class PairParts:
    """Covariance parts of squared distances, with their graph."""

    def __init__(
        self,
        left: Sequence[Component],
        right: Sequence[Component],
        on_device: bool,
        n_jobs: int | None,
    ) -> None:
        self.left, self.right = left, right
        parsed = [component.parsed for component in left], [other.parsed for other in right]
        self._parts: host.PairParts | device.PairParts
        if on_device:
            self._parts = device.PairParts(*parsed, xp=_library())
        else:
            self._parts = host.PairParts(*parsed, np.dtype(np.float64), n_jobs)

    @property
    def n_evaluated(self) -> int:
        """Pairs computed so far."""
        return self._parts.n_evaluated

    @property
    def clamped(self) -> float:
        """The largest negative part, by rounding, that was set to zero, where it is known."""
        return self._parts.clamped

    def evaluate(self, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:
        """Parts of the pairs (left[rows[p]], right[columns[p]])."""
        values = _tensor(self._parts.evaluate(rows, columns))
        sides = [self.left[a] for a in rows.tolist()], [self.right[b] for b in columns.tolist()]
        return torch.stack(
            [
                _Part.apply(first.tensor, second.tensor, first, second, value)
                for first, second, value in zip(*sides, values, strict=True)
            ]
        )


def _tensors(values: Iterable[Any], *, arrays: bool = False) -> Iterable[torch.Tensor]:
    """Yield the tensors among arrays, lists of arrays and factors; with ``arrays`` NumPy's too."""
    for value in values:
        value = value.array if isinstance(value, CovarianceFactor) else value
        if isinstance(value, list | tuple):
            yield from _tensors(value, arrays=arrays)
        elif _arrays.is_tensor(value):
            yield value
        elif arrays and isinstance(value, np.ndarray):
            yield torch.empty(0, dtype=torch.float32 if value.dtype == "f4" else torch.float64)


def _library() -> types.ModuleType:
    """CuPy, whose kernels take the memory of CUDA tensors as it is; torch without it."""
    try:
        import cupy
    except ImportError:
        return torch
    return cupy


def _shared(tensor: torch.Tensor) -> Any:
    """Return the memory of a CUDA tensor as an array of `_library`."""
    xp = _library()
    return tensor if xp is torch else xp.from_dlpack(tensor)


def _tensor(array: Any) -> torch.Tensor:
    """Return the memory of an array as a tensor."""
    return array if _arrays.is_tensor(array) else torch.from_dlpack(array)
