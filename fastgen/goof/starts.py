"""Where searches start: the nearest of a pool of samples, from different parts of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .domains import Free, draw
from .generators import Adapter
from .solvers.precision import coarse_products
from .targets import Targets

if TYPE_CHECKING:
    from torch import Tensor

_SHARDS = 8
_SMALLEST_SHARE = 64  # samples of a condition, at least
_BLOCK = 2**25  # output or distance values held at once
_CACHED = 2**19  # output values of a batch on the host


def nearest_in_block(X: Tensor, pool: Tensor, n_neighbors: int = 1) -> tuple[Tensor, Tensor]:
    """Return squared distances (n, s) to the nearest pool rows and their indices, nearest first.

    Screened by a matrix product, which may pick another of two rows that are almost as near; the
    distances of those picked are exact.
    """
    import torch

    distances, indices = [], []
    half = pool.square().sum(1) / 2
    step = max(1, _BLOCK // max(len(pool), 1))
    for start in range(0, len(X), step):
        rows = X[start : start + step]
        with coarse_products(X.dtype == torch.float32):
            screen = half - rows @ pool.T
        index = screen.topk(n_neighbors, dim=1, largest=False).indices
        exact = torch.stack(
            [(rows - pool[index[:, j]]).square().sum(1) for j in range(n_neighbors)], 1
        )
        order = exact.argsort(dim=1, stable=True)
        distances.append(exact.gather(1, order))
        indices.append(index.gather(1, order))
    return torch.cat(distances), torch.cat(indices)


def from_pool(
    generator: Adapter,
    targets: Tensor,
    *,
    prior: str | Callable,
    domain: Free,
    pool_size: int,
    n_starts: int,
    rng: np.random.Generator,
) -> tuple[Tensor, int]:
    """Return starts (n, n_starts, k), and how many samples were dropped for not being finite.

    The pool is cut into eight shards. The starts are the nearest sample of each shard, nearest
    first, then the second nearest of each, and so on: the first starts do not depend on how many
    are asked for. A conditional generator has a pool for each distinct condition.
    """
    import torch

    starts = targets.new_full((len(targets), n_starts, generator.latent_dim), float("nan"))
    if generator.cond is None:
        groups = [(None, torch.arange(len(targets), device=targets.device))]
    else:
        _, inverse = torch.unique(generator.cond, dim=0, return_inverse=True)
        members = [(inverse == g).nonzero().squeeze(1) for g in range(int(inverse.max()) + 1)]
        groups = [(rows[0], rows) for rows in members]
        pool_size = max(pool_size // len(groups), _SMALLEST_SHARE, n_starts)
    dropped = 0
    for condition, rows in groups:
        found, lost = _group_starts(
            generator, targets[rows], condition, prior, domain, pool_size, n_starts, rng
        )
        starts[rows] = found
        dropped += lost
        if not found[:, 0].isfinite().all():
            raise ValueError(
                f"generator returned nothing finite for {pool_size} latents of the prior; check "
                "its weights, and prior="
            )
    return starts, dropped


def _group_starts(
    generator: Adapter,
    targets: Tensor,
    condition: Tensor | None,
    prior: str | Callable,
    domain: Free,
    pool_size: int,
    n_starts: int,
    rng: np.random.Generator,
) -> tuple[Tensor, int]:
    """Return the starts of targets that share a condition."""
    import torch

    shards = np.array_split(np.arange(pool_size), min(_SHARDS, pool_size))
    depth = -(-n_starts // len(shards))
    latents, distances, ranks, dropped = [], [], [], 0
    for shard in shards:
        z = torch.from_numpy(draw(prior, len(shard), generator.latent_dim, rng))
        z = domain.project(z.to(generator.device, generator.dtype))
        outputs = _generate(generator, z, condition)
        good = _finite_rows(outputs)
        if not good.all():
            dropped += int((~good).sum())
            z, outputs = z[good], outputs[good]
        near = min(depth, len(z))
        if near:
            distance, index = nearest_in_block(targets, outputs, near)
            latents.append(z[index])
            distances.append(distance)
            ranks.append(torch.arange(near, device=z.device).expand_as(distance))
    starts = targets.new_full((len(targets), n_starts, generator.latent_dim), float("nan"))
    if not latents:
        return starts, dropped
    # by rank within the shard, then by distance: two stable sorts
    distance, rank = torch.cat(distances, 1), torch.cat(ranks, 1)
    order = distance.argsort(dim=1, stable=True)
    order = order.gather(1, rank.gather(1, order).argsort(dim=1, stable=True))
    order = order[:, :n_starts]
    picked = torch.cat(latents, 1).gather(1, order[:, :, None].expand(-1, -1, z.shape[1]))
    starts[:, : picked.shape[1]] = picked
    return starts, dropped


def _finite_rows(outputs: Tensor) -> Tensor:
    """Say which rows (n, d) hold finite numbers only: their sums do, unless they are huge."""
    good = outputs.sum(1).isfinite()
    doubtful = (~good).nonzero().squeeze(1)
    good[doubtful] = outputs[doubtful].isfinite().all(1)
    return good


def _generate(generator: Adapter, z: Tensor, condition: Tensor | None) -> Tensor:
    """Return outputs for starts to be chosen by, in reduced precision where that is faster."""
    import torch

    values = _CACHED if z.device.type == "cpu" else _BLOCK
    step = max(1, values // max(generator.output_dim, 1))
    parts = []
    for piece in z.split(step):
        rows = None if condition is None else condition.expand(len(piece))
        with coarse_products(z.dtype == torch.float32):
            parts.append(generator(piece, rows))
    return torch.cat(parts)


def from_user(targets: Targets, generator: Adapter) -> Tensor:
    """Return starts (n, s, k) given as an array (n, k) or (n, s, k), or by an encoder of X."""
    import torch

    n, k = len(targets), generator.latent_dim
    init = targets.init
    if callable(init):
        rows = targets.as_tensor(generator.dtype, generator.device)
        init = init(rows.reshape(targets.shape))
        if isinstance(init, tuple):
            raise TypeError(
                "init(X) must return latents (n, k), got a tuple; for a VAE pass a function that "
                "returns the mean only"
            )
    starts = torch.as_tensor(
        np.array(init) if not isinstance(init, torch.Tensor) else init.detach()
    )
    if starts.ndim >= 2 and starts.shape[0] == n and starts[0].numel() == k:
        starts = starts.reshape(n, 1, k)
    if starts.ndim != 3 or starts.shape[0] != n or starts.shape[2] != k or not starts.shape[1]:
        raise ValueError(
            f"init must have shape {(n, k)}, {(n, 'n_starts', k)} or be an encoder that returns "
            f"it, got shape {tuple(starts.shape)}"
        )
    starts = starts.to(generator.device, generator.dtype)
    if not starts.isfinite().all():
        row = int((~starts.isfinite().all(2).all(1)).nonzero()[0])
        raise ValueError(f"init must be finite, got a start that is not at row {row}")
    return starts
