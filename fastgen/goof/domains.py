"""Where latents may lie: everywhere, in a ball, in a box, on a sphere.

A solver needs two things of a domain: the nearest point in it, and, at a point, which directions
are open to a descent. The latter is a `Tangent`: a projector and, on a curved boundary, the
curvature that the Lagrangian of the constraint adds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import _validate

if TYPE_CHECKING:
    from torch import Tensor

# Latents (n, k), of NumPy or of torch.
Rows = TypeVar("Rows", np.ndarray, "Tensor")


@dataclasses.dataclass(frozen=True)
class Tangent:
    """Open directions at a batch of latents, each row its own.

    ``mask`` (P, k) is 1 on open coordinates; ``normal`` (P, k) is a closed unit direction, or zero;
    ``curvature`` (P,) is the multiplier of the constraint, in units of the half-gradient over z.
    """

    mask: Tensor | None = None
    normal: Tensor | None = None
    curvature: Tensor | None = None

    def apply(self, v: Tensor) -> Tensor:
        """Return the open part of row vectors (P, k)."""
        if self.mask is not None:
            return v * self.mask
        if self.normal is not None:
            return v - (v * self.normal).sum(1, keepdim=True) * self.normal
        return v

    def restrict(self, matrices: Tensor) -> Tensor:
        """Return symmetric (P, k, k) on open directions, the mean diagonal on closed ones."""
        import torch

        scale = matrices.diagonal(dim1=1, dim2=2).mean(1)
        if self.mask is not None:
            closed = torch.diag_embed((1 - self.mask) * scale[:, None])
            return matrices * self.mask[:, :, None] * self.mask[:, None, :] + closed
        if self.normal is None:
            return matrices
        identity = torch.eye(matrices.shape[1], dtype=matrices.dtype, device=matrices.device)
        outer = self.normal[:, :, None] * self.normal[:, None, :]
        projector = identity - outer
        if self.curvature is not None:
            matrices = matrices + self.curvature[:, None, None] * identity
        return projector @ matrices @ projector + scale[:, None, None] * outer

    def curve(self, v: Tensor) -> Tensor:
        """Return what the constraint's curvature adds to a Hessian product, (P, k)."""
        return 0 * v if self.curvature is None else self.curvature[:, None] * self.apply(v)


class Free:
    """All of R^k."""

    def project(self, z: Rows) -> Rows:
        """Return the nearest latents in the domain."""
        return z

    def tangent(self, z: Tensor, half_gradient: Tensor) -> Tangent:
        """Return the directions open at ``z`` to a descent along ``-half_gradient``."""
        return Tangent()

    def __repr__(self) -> str:
        return "Free()"


class Ball(Free):
    """Latents of Euclidean norm at most ``radius``.

    Parameters
    ----------
    radius : float
        Positive.

    Examples
    --------
    >>> from fastgen.goof import Ball
    >>> Ball(2)
    Ball(radius=2.0)
    """

    def __init__(self, radius: float) -> None:
        self.radius = _positive(radius, "radius")

    def project(self, z: Rows) -> Rows:
        """Return the nearest latents in the ball."""
        return z * (self.radius / _lengths(z).clip(min=self.radius))

    def tangent(self, z: Tensor, half_gradient: Tensor) -> Tangent:
        """Return the tangent space on the sphere where the descent points outwards."""
        edge = z.norm(dim=1) >= self.radius * (1 - 1e-6)
        multiplier = -(half_gradient * z).sum(1) / self.radius**2
        held = (edge & (multiplier > 0)).to(z.dtype)
        return Tangent(normal=held[:, None] * z / self.radius, curvature=held * multiplier)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(radius={self.radius})"


class Sphere(Ball):
    """Latents of Euclidean norm ``radius``.

    Parameters
    ----------
    radius : float
        Positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof import Sphere
    >>> Sphere(10).project(np.array([[3.0, 4.0]]))
    array([[6., 8.]])
    """

    def project(self, z: Rows) -> Rows:
        """Return the nearest latents on the sphere; of the origin, the first axis."""
        norm = _lengths(z)
        found = z * (self.radius / norm.clip(min=1e-30))
        origin = norm[:, 0] <= 1e-30
        found[origin] = 0
        found[origin, 0] = self.radius
        return found

    def tangent(self, z: Tensor, half_gradient: Tensor) -> Tangent:
        """Return the tangent space of the sphere."""
        multiplier = -(half_gradient * z).sum(1) / self.radius**2
        return Tangent(normal=z / self.radius, curvature=multiplier)


class Box(Free):
    """Latents with every coordinate from ``low`` to ``high``.

    Parameters
    ----------
    low : float, default -1.0
        Least value of a coordinate, below ``high``.
    high : float, default 1.0
        Greatest value of a coordinate.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof import Box
    >>> Box(-1, 2).project(np.array([[-3.0, 0.5, 4.0]]))
    array([[-1. ,  0.5,  2. ]])
    """

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        self.low = _validate.number(low, "low", minimum=float("-inf"))
        self.high = _validate.number(high, "high", minimum=float("-inf"))
        if self.low >= self.high:
            raise ValueError(f"low must be less than high, got {self.low} and {self.high}")

    def project(self, z: Rows) -> Rows:
        """Return the nearest latents in the box."""
        return z.clip(self.low, self.high)

    def tangent(self, z: Tensor, half_gradient: Tensor) -> Tangent:
        """Return the coordinates that are not at a bound with the descent pointing outwards."""
        closed = (z <= self.low) & (half_gradient > 0) | (z >= self.high) & (half_gradient < 0)
        return Tangent(mask=(~closed).to(z.dtype))

    def __repr__(self) -> str:
        return f"Box(low={self.low}, high={self.high})"


def check(domain: Any) -> Free:
    """Return ``domain``, everything if it is None, or raise naming the choices."""
    if domain is None:
        return Free()
    if not isinstance(domain, Free):
        raise TypeError(
            f"domain must be None, Ball(r), Box(low, high) or Sphere(r), got {domain!r}"
        )
    return domain


def _lengths(z: Rows) -> Rows:
    """Return the lengths (n, 1) of rows."""
    if isinstance(z, np.ndarray):
        return np.linalg.norm(z, axis=1, keepdims=True)
    return z.norm(dim=1, keepdim=True)


def _positive(value: Any, name: str) -> float:
    value = _validate.number(value, name)
    if value == 0:
        raise ValueError(f"{name} must be positive, got 0")
    return value


def draw(
    prior: str | Callable, count: int, latent_dim: int, rng: np.random.Generator
) -> np.ndarray:
    """Return latents (count, latent_dim) of the prior, float64."""
    if prior == "normal":
        return rng.standard_normal((count, latent_dim))
    if prior == "uniform":
        return rng.uniform(-1, 1, (count, latent_dim))
    if not callable(prior):
        raise ValueError(f"prior must be 'normal', 'uniform' or a function, got {prior!r}")
    found = np.asarray(prior(count, rng), dtype=np.float64)
    if found.shape != (count, latent_dim) or not np.isfinite(found).all():
        raise ValueError(
            f"prior(count, rng) must return finite latents of shape {(count, latent_dim)}, got "
            f"shape {found.shape}"
        )
    return found
