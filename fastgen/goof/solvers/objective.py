"""Squared distances of (latent, target) pairs and their derivatives, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..domains import Free, Tangent
from ..generators import Adapter
from .precision import coarse_products

if TYPE_CHECKING:
    from torch import Tensor

# Latent coordinates up to which normal matrices (k, k) are formed: beyond, k tangents cost more
# than what they save.
LARGEST_NORMAL_MATRIX = 256

# Output values per piece of a forward or reverse pass: on the host a piece stays in the cache.
_GRADIENT_PIECE = {"cpu": 2**18, "cuda": 2**25}
_JACOBIAN_PIECE = 2**22  # tangent values per piece of a Jacobian


class Metric:
    """A symmetric positive semidefinite matrix (k, k), and its inverses for several dampings."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self._inverses: dict[float, Tensor | None] = {}

    def inverse(self, damping: float) -> Tensor | None:
        """Return the inverse with ``damping`` times its mean diagonal added, None if singular."""
        if damping not in self._inverses:
            self._inverses[damping] = _inverse(self._matrix, damping)
        return self._inverses[damping]


def _inverse(matrix: Tensor, damping: float) -> Tensor | None:
    import torch

    damped = matrix.clone()
    damped.diagonal().add_(damping * matrix.diagonal().mean())
    factor, info = torch.linalg.cholesky_ex(damped)
    return None if info else torch.cholesky_inverse(factor)


class Objective:
    r"""``f(z) = ||G(z) - x||^2 + penalty ||z||^2`` for pairs of a latent and a row of ``targets``.

    Parameters
    ----------
    generator : Adapter
    targets : Tensor (n, d)
    domain : Free
    penalty : float
    metric : Metric, optional
        Curvature that is typical of the generator, for first-order searches.

    Attributes
    ----------
    work : Tensor (n,)
        Passes through the generator spent per target: a forward or tangent pass counts 1, a
        reverse pass 2.
    floor : Tensor (n,)
        The squared distance that rounding leaves: nothing is gained below it.
    """

    def __init__(
        self,
        generator: Adapter,
        targets: Tensor,
        domain: Free,
        penalty: float = 0.0,
        metric: Metric | None = None,
    ) -> None:
        import torch

        self.generator, self.targets = generator, targets
        self.domain, self.penalty = domain, penalty
        self.work = torch.zeros(len(targets), dtype=torch.float64, device=targets.device)
        eps = torch.finfo(targets.dtype).eps
        tiny = torch.finfo(targets.dtype).tiny ** 0.5
        self.floor = (eps * targets).square().sum(1) + tiny
        self._forward_mode = True
        self.metric = metric
        self._piece = _GRADIENT_PIECE.get(targets.device.type, 2**22)

    @property
    def coarse(self) -> bool:
        """Whether Jacobians may start in reduced precision: float32 work only."""
        import torch

        return self.targets.dtype == torch.float32

    def _count(self, rows: Tensor, passes: float) -> None:
        self.work.index_add_(0, rows, self.work.new_full((len(rows),), passes))

    def _pieces(self, count: int, values_per_pair: int, budget: int) -> Iterator[slice]:
        size = max(1, budget // max(values_per_pair, 1))
        for start in range(0, max(count, 1), size):
            yield slice(start, min(start + size, count))

    def _penalized(self, squares: Tensor, z: Tensor) -> Tensor:
        """Add the penalty; what is not finite is infinitely far."""
        if self.penalty:
            squares = squares + self.penalty * z.square().sum(1)
        return squares.nan_to_num(nan=float("inf"), posinf=float("inf"))

    def value(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return f (P,) at latents (P, k) for the targets ``rows`` (P,)."""
        found = z.new_empty(len(z))
        for piece in self._pieces(len(z), self.generator.output_dim, self._piece):
            residual = self.generator(z[piece], rows[piece]) - self.targets[rows[piece]]
            found[piece] = self._penalized(residual.square().sum(1), z[piece])
        self._count(rows, 1)
        return found

    def squared_distance(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return the squared distances (P,) without the penalty."""
        penalty, self.penalty = self.penalty, 0.0
        try:
            return self.value(z, rows)
        finally:
            self.penalty = penalty

    def gradient(self, z: Tensor, rows: Tensor, *, coarse: bool = False) -> tuple[Tensor, Tensor]:
        """Return f (P,) and half its gradient (P, k), one reverse pass.

        ``coarse`` as for `normal_matrix`; f is then wrong by about a thousandth.
        """
        import torch

        parts = []
        for piece in self._pieces(len(z), self.generator.output_dim, self._piece):
            with torch.enable_grad(), coarse_products(coarse):
                latents = z[piece].detach().requires_grad_()
                residual = self.generator(latents, rows[piece]) - self.targets[rows[piece]]
                squares = residual.square().sum(1)
                parts.append((squares.detach(), *torch.autograd.grad(squares.sum() / 2, latents)))
        squares, slopes = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        found = self._penalized(squares, z)
        if self.penalty:
            slopes = slopes + self.penalty * z
        self._count(rows, 3)
        return found, slopes.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def normal_matrix(self, z: Tensor, rows: Tensor, *, coarse: bool) -> Tensor:
        """Return J^T J + penalty I of shape (P, k, k), by k forward-mode tangents per pair.

        ``coarse`` lets matrix products round their factors to bfloat16 where the processor has it;
        sums stay in float32, so the matrix stays positive semi-definite to float32 rounding.
        """
        k, d = self.generator.latent_dim, self.generator.output_dim
        matrices = z.new_empty(len(z), k, k)
        with coarse_products(coarse):
            for piece in self._pieces(len(z), k * d, _JACOBIAN_PIECE):
                jacobian = self.jacobian(z[piece], rows[piece])
                matrices[piece] = jacobian @ jacobian.transpose(1, 2)
        if self.penalty:
            matrices.diagonal(dim1=1, dim2=2).add_(self.penalty)
        self._count(rows, k)
        return matrices.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def jacobian(self, z: Tensor, rows: Tensor) -> Tensor:
        """Return transposed Jacobians (P, k, d): explicit, forward mode, or reverse."""
        import torch

        if self.generator.chain is not None:
            return self.generator.chain.jacobian(z.reshape(len(z), *self.generator.latent_shape))[1]
        if self._forward_mode:
            eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)

            def column(direction: Tensor) -> Tensor:
                return self._tangent(z, rows, direction.expand_as(z))

            try:
                return torch.func.vmap(column)(eye).transpose(0, 1)
            except (NotImplementedError, RuntimeError):
                self._forward_mode = False  # an operation without a forward derivative or batching
        return _reverse_jacobian(lambda latents: self.generator(latents, rows), z)

    def _tangent(self, z: Tensor, rows: Tensor, direction: Tensor) -> Tensor:
        import torch

        return torch.func.jvp(lambda latents: self.generator(latents, rows), (z,), (direction,))[1]

    def stretch(self, z: Tensor, rows: Tensor, v: Tensor) -> Tensor:
        """Return ||J v||^2 + penalty ||v||^2 (P,) by a difference of outputs: for step lengths."""
        import torch

        step = (
            torch.finfo(z.dtype).eps ** 0.5 * (1 + z.norm(dim=1)) / v.norm(dim=1).clamp(min=1e-30)
        )
        found = z.new_empty(len(z))
        for piece in self._pieces(len(z), self.generator.output_dim, self._piece):
            moved = z[piece] + step[piece, None] * v[piece]
            with torch.no_grad():
                change = self.generator(moved, rows[piece]) - self.generator(z[piece], rows[piece])
            found[piece] = (change / step[piece, None]).square().sum(1)
        self._count(rows, 2)
        return found + self.penalty * v.square().sum(1)

    def curvature_product(self, z: Tensor, rows: Tensor, v: Tensor) -> Tensor:
        """Return J^T J v + penalty v of shape (P, k), one tangent and one reverse pass."""
        import torch

        found = torch.empty_like(z)
        for piece in self._pieces(len(z), self.generator.output_dim, self._piece):
            with torch.enable_grad():
                latents = z[piece].detach().requires_grad_()
                outputs = self.generator(latents, rows[piece])
                pushed = self._push(latents, rows[piece], v[piece], outputs)
                (found[piece],) = torch.autograd.grad(outputs, latents, pushed)
        self._count(rows, 4)
        return found + self.penalty * v

    def _push(self, z: Tensor, rows: Tensor, v: Tensor, outputs: Tensor) -> Tensor:
        """Return J v (P, d), in forward mode or, where that is missing, by two reverse passes."""
        import torch

        if self._forward_mode:
            try:
                with torch.no_grad():
                    return self._tangent(z.detach(), rows, v)
            except (NotImplementedError, RuntimeError):
                self._forward_mode = False
        dummy = torch.zeros_like(outputs, requires_grad=True)
        (pulled,) = torch.autograd.grad(outputs, z, dummy, create_graph=True)
        return torch.autograd.grad(pulled, dummy, v)[0].detach()

    def tangent(self, z: Tensor, half_gradient: Tensor) -> Tangent:
        """Return the open directions of the domain at ``z``."""
        return self.domain.tangent(z, half_gradient)


def _reverse_jacobian(function, z: Tensor) -> Tensor:
    """Return transposed Jacobians (P, k, d) by reverse passes over a reverse pass, one per column.

    A reverse pass is linear in what it carries, so a second one through it is a tangent. Where an
    operation cannot be differentiated twice, one reverse pass per output value.
    """
    import torch

    with torch.enable_grad():
        latents = z.detach().requires_grad_()
        outputs = function(latents)
        dummy = torch.zeros_like(outputs, requires_grad=True)
        columns = []
        try:
            (pulled,) = torch.autograd.grad(outputs, latents, dummy, create_graph=True)
            for j in range(z.shape[1]):
                columns.append(torch.autograd.grad(pulled[:, j].sum(), dummy, retain_graph=True)[0])
            return torch.stack(columns, 1).detach()
        except RuntimeError:  # an operation that is differentiable once
            latents = z.detach().requires_grad_()
            outputs = function(latents)
            columns = [
                torch.autograd.grad(outputs[:, i].sum(), latents, retain_graph=True)[0]
                for i in range(outputs.shape[1])
            ]
            return torch.stack(columns, 2).detach()
