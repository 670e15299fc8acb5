"""Several processes that train together: gradients are averaged, data are dealt out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Place(NamedTuple):
    """Which process of how many this is."""

    rank: int
    size: int


def place() -> Place:
    """Return the place in the default process group; (0, 1) where there is none."""
    dist = torch.distributed
    if not (dist.is_available() and dist.is_initialized()):
        return Place(0, 1)
    return Place(dist.get_rank(), dist.get_world_size())


def average_gradients(parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
    """Average gradients, and a loss, over all processes by one reduction of a flat tensor.

    Every process needs gradients of the same parameters. Wrapping the networks in
    ``DistributedDataParallel`` instead breaks where a network has batch norm and two forward passes
    before a backward.

    Parameters
    ----------
    parameters : iterable of Tensor
        Their gradients are replaced.
    loss : Tensor ()

    Returns
    -------
    Tensor ()
        The mean loss, not finite if any is not.
    """
    if place().size == 1:
        return loss.detach()
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([loss.detach().reshape(1).to(grads[0]), *(g.reshape(-1) for g in grads)])
    torch.distributed.all_reduce(flat)
    flat /= place().size
    parts = flat[1:].split([g.numel() for g in grads])
    for grad, part in zip(grads, parts, strict=True):
        grad.copy_(part.view_as(grad))
    return flat[0]


def average(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes."""
    if place().size == 1:
        return value
    value = value.clone()
    torch.distributed.all_reduce(value)
    return value / place().size


def from_first(modules: Iterable[nn.Module]) -> None:
    """Give the parameters and buffers of the first process to all."""
    if place().size == 1:
        return
    for module in modules:
        for tensor in module.state_dict().values():
            torch.distributed.broadcast(tensor, 0)
