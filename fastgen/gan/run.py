"""What a run is made of, checked once, and the batches of its steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import sharing
from .draws import PAIRS, Order, StepDraws, latent_prior, share, source
from .ensemble import Ensemble
from .objectives import Objective
from .rows import Rows
from .steps import Batch
from .terms import PseudoSupervision, describe


class Run:
    """Networks, data and options of a run, checked, and the batches of its steps."""

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module | None, rows: Rows, *,
        objective: Objective, terms: tuple[Any, ...], pairs: PseudoSupervision | None,
        batch_size: int, discriminator_steps: int, prior: Any, precision: str, seed: int,
    ) -> None:  # fmt: skip
        self.generator, self.discriminator, self.rows = generator, discriminator, rows
        self.objective, self.terms, self.pairs = objective, terms, pairs
        self.batch_size, self.discriminator_steps = batch_size, discriminator_steps
        self.precision, self.seed, self.prior_name = precision, seed, describe(prior)
        self.place = sharing.place()
        self.n_members = generator.n_members if isinstance(generator, Ensemble) else 1
        first = next(generator.parameters())
        self.dtype, self.device = first.dtype, first.device
        self.latent_dim = _latent_dim(generator)
        self._check()
        self.prior = latent_prior(prior, self.latent_dim, self.dtype)
        self.order = Order(rows.n_rows, seed, rows.weights)
        if pairs is not None:
            self._make_pairs(pairs)

    def _check(self) -> None:
        rows, where = self.rows, self.place
        if self.n_members > rows.n_rows:
            raise ValueError(
                f"generator has {self.n_members} members, more than the {rows.n_rows} rows of "
                "data; take fewer members"
            )
        whole = self.n_members * where.size
        if self.batch_size % whole:
            raise ValueError(
                f"batch_size must be a multiple of {whole}, members times processes, got "
                f"{self.batch_size}; pass {max(1, round(self.batch_size / whole)) * whole}"
            )
        if (self.discriminator is not None) != self.objective.uses_discriminator:
            name = type(self.objective).__name__
            wanted = "a network" if self.objective.uses_discriminator else "None"
            raise ValueError(f"discriminator must be {wanted} for {name}")
        for name, net in (("generator", self.generator), ("discriminator", self.discriminator)):
            shape = getattr(net, "image_shape", None)
            if shape is not None and tuple(shape) != rows.shape:
                raise ValueError(
                    f"data must have samples of shape {tuple(shape)}, as the {name}, got "
                    f"{rows.shape}; resize the data, or build the network with "
                    f"image_shape={rows.shape}"
                )
        declared = [getattr(net, "n_classes", None) for net in self.nets()]
        counts = [count for count in declared if count is not None]
        self.conditional = getattr(self.generator, "n_classes", None) is not None
        if counts and rows.labels is None:
            raise ValueError(
                f"labels must be given, one of {max(counts)} classes for each row, for networks "
                "with n_classes"
            )
        if counts and rows.labels is not None and int(rows.labels.max()) >= min(counts):
            raise ValueError(
                f"labels must be below {min(counts)}, the number of classes, got "
                f"{int(rows.labels.max())}"
            )
        if not counts and rows.labels is not None:
            raise ValueError("labels were given, but no network has n_classes; leave them out")
        self.judged = getattr(self.discriminator, "n_classes", None) is not None
        if not self.conditional and self.judged:
            raise ValueError(
                "generator must be conditional, as the discriminator is; give it n_classes"
            )

    def nets(self) -> list[nn.Module]:
        """Return the generator, and the discriminator if there is one."""
        return [n for n in (self.generator, self.discriminator) if n is not None]

    def _make_pairs(self, pairs: PseudoSupervision) -> None:
        """Choose the images with latents, and draw the latents, keyed by the index of the image."""
        count = max(1, round(pairs.fraction * self.rows.n_rows))
        if count < self.n_members:
            raise ValueError(
                f"pairs must be at least {self.n_members}, one for each member, got {count} of "
                f"{self.rows.n_rows} rows; raise the fraction"
            )
        draws = source(self.seed, PAIRS)
        chosen = torch.randperm(self.rows.n_rows, generator=draws)[:count]
        latents = torch.randn(self.rows.n_rows, self.latent_dim, dtype=self.dtype, generator=draws)
        # pair j belongs to member j mod K, and every member sees its own in an order of its own
        self.paired = [chosen[k :: self.n_members] for k in range(self.n_members)]
        self.pair_latents = latents
        self.pair_orders = [
            Order(len(rows), self.seed, path=PAIRS + 10 + k) for k, rows in enumerate(self.paired)
        ]

    def identity(self) -> dict[str, Any]:
        """Return what makes this run what it is."""
        return {
            "data": self.rows.fingerprint(),
            "networks": {
                name: {key: list(t.shape) for key, t in net.state_dict().items()}
                for name, net in zip(("generator", "discriminator"), self.nets(), strict=False)
            },
            "objective": repr(self.objective),
            "terms": [describe(term) for term in self.terms],
            "pairs": describe(self.pairs),
            "batch_size": self.batch_size,
            "discriminator_steps": self.discriminator_steps,
            "prior": self.prior_name,
            "precision": self.precision,
            "random_state": self.seed,
        }

    def batch(self, step: int, repeat: int) -> Batch:
        """Return the part of this process of a batch; ``repeat`` counts those of one step."""
        draws = StepDraws(self.seed, step, repeat)
        size, where, members = self.batch_size, self.place, self.n_members
        if where.size > 1 or repeat == 0:
            torch.manual_seed(draws.seed("global") + where.rank)
        seen = (step * self.discriminator_steps + min(repeat, self.discriminator_steps - 1)) * size
        # dealt out as generated samples are, so that row i meets sample i whatever the processes
        rows = share(self.order.rows(seen, size, draws["rows"]), where, members)
        labels = fake_labels = None
        if self.conditional:
            known = self.rows.labels
            assert known is not None
            chosen = torch.randint(self.rows.n_rows, (size,), generator=draws["labels"])
            fake_labels = share(known[chosen], where, members).to(self.device)
            labels = known[rows].to(self.device)

        def latents(name: str) -> Tensor:
            z = self.prior(size, draws[name])
            return share(z, where, members).to(self.device)

        mix = None
        if self.objective.penalizes(step):
            mix = torch.rand(size, dtype=self.dtype, generator=draws["mix"])
            mix = share(mix, where, members).to(self.device)
        return Batch(
            self.generator,
            self.rows.take(rows, self.dtype, self.device),
            latents("latents"),
            labels=labels,
            fake_labels=fake_labels,
            n_members=members,
            step=step,
            images=step * size,
            mix=mix,
            draw=latents,
            pairs=None if self.pairs is None else lambda: self._pairs_of(step),
            precision=self.precision,
        )

    def _pairs_of(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images, latents and labels of the pairs of a step, in blocks of members."""
        each = self.batch_size // self.n_members
        rows = torch.cat(
            [
                paired[order.rows(step * each, each)]
                for paired, order in zip(self.paired, self.pair_orders, strict=True)
            ]
        )
        rows = share(rows, self.place, self.n_members)
        x = self.rows.take(rows, self.dtype, self.device)
        y = None
        if self.conditional and self.rows.labels is not None:
            y = self.rows.labels[rows].to(self.device)
        return x, self.pair_latents[rows].to(self.device), y


def _latent_dim(generator: nn.Module) -> int:
    found = getattr(generator, "latent_dim", None)
    if not isinstance(found, int):
        raise ValueError(
            f"generator must have an attribute latent_dim, the number of its latents, got {found}; "
            "set it in its constructor"
        )
    return found
