"""One step of the discriminator and one of the generator, for any loop.

The loop of `fastgen.gan.fit` is made of them; those who train with Fabric, accelerate or a loop of
their own call them there.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from . import sharing
from .objectives import Objective

__all__ = ["Batch", "NotFiniteError", "discriminator_step", "generator_step"]


class NotFiniteError(FloatingPointError):
    """A loss is NaN or infinite. No parameter has been changed by it.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan import Batch, NonSaturating, NotFiniteError, discriminator_step
    >>> generator, discriminator = torch.nn.Linear(1, 2), torch.nn.Linear(2, 1)
    >>> batch = Batch(generator, torch.full((4, 2), torch.nan), torch.zeros(4, 1))
    >>> optimizer = torch.optim.Adam(discriminator.parameters())
    >>> try:
    ...     discriminator_step(discriminator, optimizer, batch, NonSaturating())
    ... except NotFiniteError as error:
    ...     print(str(error).partition(";")[0])
    the loss of the discriminator is nan at step 0 (0 images)
    """


@dataclasses.dataclass
class Batch:
    """What a step works on.

    Parameters
    ----------
    generator : nn.Module
    real : Tensor (B, ...)
        Real samples.
    z : Tensor (B, k)
        Latents; for an ensemble in K blocks of equal length.
    labels : Tensor (B,), optional
        Labels of the real samples.
    fake_labels : Tensor (B,), optional
        Labels that the generated samples are to have.
    n_members : int, default 1
        Number K of members.
    step, images : int, default 0
        Steps and real images before this one.
    mix : Tensor (B,), optional
        Uniform numbers, for penalties between samples; drawn if not given.
    draw : callable, optional
        Returns further latents (B, k) by a name; normal ones if not given.
    pairs : callable, optional
        Returns images, latents and labels of the pairs of this step.
    precision : {"float32", "bf16"}, default "float32"
        "bf16" runs the networks under autocast.

    Attributes
    ----------
    member : Tensor of int (B,) or None
        Which member makes each generated sample.
    weight : Tensor (B,) or None
        K times the weight of that member, where weights are not equal.
    fake, out : Tensor
        Generated samples, and the outputs of the discriminator for them, once they are known.
    adversarial : Tensor ()
        Loss of the objective, once it is known.
    """

    generator: nn.Module
    real: Tensor
    z: Tensor
    labels: Tensor | None = None
    fake_labels: Tensor | None = None
    n_members: int = 1
    step: int = 0
    images: int = 0
    mix: Tensor | None = None
    draw: Callable[[str], Tensor] | None = None
    pairs: Callable[[], tuple[Tensor, Tensor, Tensor | None]] | None = None
    precision: str = "float32"
    fake: Tensor = dataclasses.field(init=False)
    out: Tensor = dataclasses.field(init=False)
    adversarial: Tensor = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.member: Tensor | None = None
        if self.n_members > 1:
            each = len(self.z) // self.n_members
            members = torch.arange(self.n_members, device=self.z.device)
            self.member = members.repeat_interleave(each)

    @property
    def weight(self) -> Tensor | None:
        """Weights of the generated samples, None where they are equal."""
        weights = self.member_weights
        if self.member is None or weights is None:
            return None
        return (self.n_members * weights).to(self.real.dtype)[self.member]

    @property
    def member_weights(self) -> Tensor | None:
        """Weights (K,) of the members, None where they are equal."""
        generator: Any = self.generator
        return generator.weights if getattr(generator, "weighted", False) else None

    def latents(self, name: str) -> Tensor:
        """Return further latents (B, k), the same for the same name."""
        return torch.randn_like(self.z) if self.draw is None else self.draw(name)

    def average(self, value: Tensor) -> Tensor:
        """Return the mean of a value over all processes."""
        return sharing.average(value)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return samples of latents, with the labels of this batch if the generator takes any."""
        if labels is None:
            labels = self.fake_labels
        with self.autocast():
            made = self.generator(z) if labels is None else self.generator(z, labels)
        return made.to(self.real.dtype)

    def judge(self, discriminator: nn.Module | None, x: Tensor, labels: Tensor | None) -> Tensor:
        """Return outputs (B, 1 + K) of the discriminator; flat samples where there is none."""
        if discriminator is None:
            return x.flatten(1)
        with self.autocast():
            out = discriminator(x) if labels is None else discriminator(x, labels)
        return out.reshape(len(x), -1).to(self.real.dtype)

    def autocast(self) -> Any:
        """Return the context in which networks run."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.real.device.type, dtype=torch.bfloat16)


def discriminator_step(
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    objective: Objective,
    terms: Sequence[Any] = (),
) -> Tensor:
    """Move the discriminator by one step.

    Parameters
    ----------
    discriminator : nn.Module
    optimizer : torch.optim.Optimizer
        An optimizer of its parameters.
    batch : Batch
    objective : Objective
    terms : sequence of callable, optional
        Those that have a method ``discriminator`` add to the loss.

    Returns
    -------
    Tensor ()
        The loss.

    Raises
    ------
    NotFiniteError
        Before anything is changed.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan.objectives import NonSaturating
    >>> from fastgen.gan.steps import Batch, discriminator_step, generator_step
    >>> _ = torch.manual_seed(0)
    >>> generator, discriminator = torch.nn.Linear(1, 2), torch.nn.Linear(2, 1)
    >>> optimizers = [torch.optim.Adam(net.parameters()) for net in (generator, discriminator)]
    >>> for step in range(3):
    ...     batch = Batch(generator, torch.randn(8, 2), torch.randn(8, 1), step=step)
    ...     first = discriminator_step(discriminator, optimizers[1], batch, NonSaturating())
    ...     second = generator_step(discriminator, optimizers[0], batch, NonSaturating())
    """
    with torch.no_grad():
        batch.fake = batch.generate(batch.z)
    real, fake = batch.real, batch.fake
    penalized = objective.penalizes(batch.step)
    if penalized:
        real, fake = real.detach().requires_grad_(), fake.requires_grad_()
    at_real = batch.judge(discriminator, real, batch.labels)
    batch.out = batch.judge(discriminator, fake, batch.fake_labels)
    weight = batch.weight
    loss = objective.discriminator(
        at_real,
        batch.out,
        member=batch.member,
        fake_weight=None if weight is None else weight.detach(),
    )
    if penalized:

        def critic(x: Tensor) -> Tensor:
            return batch.judge(discriminator, x, batch.labels)

        mix = torch.rand_like(at_real[:, 0]) if batch.mix is None else batch.mix
        loss = loss + objective.penalty(critic, real, fake, at_real, batch.out, mix)
    for term in terms:
        if hasattr(term, "discriminator"):
            loss = loss + term.discriminator(batch)
    return _descend(loss, optimizer, "discriminator", batch)


def generator_step(
    discriminator: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    objective: Objective,
    terms: Sequence[Any] = (),
) -> Tensor:
    """Move the generator by one step.

    Parameters
    ----------
    discriminator : nn.Module or None
        None for an objective without one; its parameters are left as they are.
    optimizer : torch.optim.Optimizer
        An optimizer of the generator's parameters.
    batch : Batch
    objective : Objective
    terms : sequence of callable, optional
        Their values are added to the loss.

    Returns
    -------
    Tensor ()
        The loss.

    Raises
    ------
    NotFiniteError
        Before anything is changed.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan import Batch, Quadratic, generator_step
    >>> _ = torch.manual_seed(0)
    >>> generator = torch.nn.Linear(2, 2)
    >>> optimizer = torch.optim.Adam(generator.parameters(), lr=0.1)
    >>> x, z = torch.randn(50, 2), torch.randn(50, 2)
    >>> losses = [
    ...     generator_step(None, optimizer, Batch(generator, x, z), Quadratic()).item()
    ...     for _ in range(20)
    ... ]
    >>> losses[-1] < losses[0]
    True
    """
    with _frozen(discriminator):
        batch.fake = batch.generate(batch.z)
        batch.out = batch.judge(discriminator, batch.fake, batch.fake_labels)
        at_real = None
        if objective.compares:
            at_real = batch.judge(discriminator, batch.real, batch.labels)
        batch.adversarial = objective.generator(batch.out, at_real, weight=batch.weight)
        loss = batch.adversarial
        for term in terms:
            loss = loss + term(batch)
        return _descend(loss, optimizer, "generator", batch)


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer, whose: str, batch: Batch) -> Tensor:
    """Check a loss, average its gradient over the processes, and step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    value = sharing.average_gradients(parameters, loss)
    if not torch.isfinite(value):
        raise NotFiniteError(
            f"the loss of the {whose} is {value.item()} at step {batch.step} ({batch.images} "
            "images); lower the learning rate, add a gradient penalty, or use precision='float32'"
        )
    optimizer.step()
    return value


@contextlib.contextmanager
def _frozen(module: nn.Module | None) -> Iterator[None]:
    """Ask for no gradients of the parameters of a module."""
    wanted = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
