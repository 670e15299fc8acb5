"""Extra losses: small callables that take a batch and return a scalar.

A term is called with the `fastgen.gan.steps.Batch` of a step of the generator. It may have a method
``discriminator(batch)``, added to the loss of the discriminator, and attributes ``state`` (a dict
of tensors) that a checkpoint keeps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .. import _validate
from .objectives import mean

if TYPE_CHECKING:
    from .steps import Batch

Schedule = Callable[[int], float] | float | None


def factor(schedule: Schedule, images: int) -> float:
    """Return what a weight is multiplied by after so many images.

    Parameters
    ----------
    schedule : None, number or callable
        None is one; a number falls linearly from one to zero, which it reaches after so many
        images; a callable is called.
    images : int

    Examples
    --------
    >>> from fastgen.gan.terms import factor
    >>> [factor(schedule, 250) for schedule in (None, 1000, lambda images: images / 500)]
    [1.0, 0.75, 0.5]
    """
    if schedule is None:
        return 1.0
    if callable(schedule):
        return float(schedule(images))
    return max(0.0, 1.0 - images / schedule)


@dataclasses.dataclass(frozen=True)
class PairwiseDistance:
    r"""Distances between generated samples follow those between their latents.

    Adds weight mean (log \|G(z) - G(z')\| - log(scale \|z - z'\|))^2 over two batches of latents,
    flattened, without coincident pairs: the generator penalty of BourGAN, with the constants of its
    authors' code. Xiao, Zhong and Zheng, "BourGAN", NeurIPS 2018, arXiv:1805.07674. Its latents are
    those of a mixture on embedded data.

    Parameters
    ----------
    scale : float
        The factor between latent and data distances.
    weight : float, default 0.1
    norm : {2, 1}, default 2
    schedule : number or callable, optional
        See `factor`.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range.
    """

    scale: float
    weight: float = 0.1
    norm: int = 2
    schedule: Schedule = None

    def __post_init__(self) -> None:
        _validate.number(self.weight, "weight")
        if _validate.number(self.scale, "scale") == 0 or self.norm not in (1, 2):
            raise ValueError(
                f"scale must be positive and norm 1 or 2, got {self.scale} and {self.norm}"
            )

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        z = batch.latents("second")
        fake = batch.generate(z)
        gap = self._squared(batch.fake - fake)
        latent = self._squared(batch.z - z)
        kept = (gap > 0) & (latent > 0)
        log = 0.5 * (gap[kept].log() - latent[kept].log()) - math.log(self.scale)
        # divided by all pairs, so that the parts of several processes add up
        loss = log.square().sum() / len(kept)
        return self.weight * factor(self.schedule, batch.images) * loss

    def _squared(self, difference: Tensor) -> Tensor:
        flat = difference.flatten(1)
        return flat.square().sum(1) if self.norm == 2 else flat.abs().sum(1).square()


@dataclasses.dataclass(frozen=True)
class GeneratorClassifier:
    r"""A classifier tells members apart, and members make its work easy: MGAN.

    Adds weight times the cross-entropy of the classifier, outputs 1 to K of the discriminator, to
    the loss of the generators, and the cross-entropy itself to that of the discriminator. With
    non-saturating replaced by the minimax loss, the optimum of the discriminator gives
    -log 4 + 2 JSD(data, mixture) - weight JSD(members) + weight H(weights): the mixture is pulled
    to the data, the members apart. Hoang, Nguyen, Le and Phung, "MGAN", ICLR 2018, section 3; that
    the classifier's own loss is not multiplied by the weight is as in their code.

    Parameters
    ----------
    weight : float, default 0.01
    schedule : number or callable, optional
        See `factor`.
    """

    weight: float = 0.01
    schedule: Schedule = None

    def __post_init__(self) -> None:
        _validate.number(self.weight, "weight")

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of the generators."""
        return self.weight * factor(self.schedule, batch.images) * classification(batch)

    def discriminator(self, batch: Batch) -> Tensor:
        """Return the loss of the classifier."""
        return classification(batch)


class Balanced:
    r"""Separation of the members that fades once they are disjoint.

    The loss of the generators becomes (1 - w) L_adversarial + w L_classifier, with
    w = weight decay^step clip(H / log K, 0, 1), H the running cross-entropy of the classifier. It
    separates strongly while members overlap, and fades when the classifier tells them apart; decay
    is the shrinkage that Xiao and Rajasekaran, "Novel and Effective Parallel Mix-Generator
    Generative Adversarial Networks" (ICLR 2018 submission), announce. The rule itself is ours, not
    theirs.

    Parameters
    ----------
    weight : float, default 0.5
        Share of the classifier at the start, at most 1.
    decay : float, default 1
        Factor per step, above 0 and at most 1.
    memory : float, default 0.9
        Share that the running cross-entropy keeps in every step.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> from fastgen.gan import Balanced
    >>> term = Balanced(0.3, decay=0.999)
    >>> term.share(step=0, n_members=2)  # the classifier has not been seen yet
    0.0
    """

    def __init__(self, weight: float = 0.5, decay: float = 1.0, memory: float = 0.9) -> None:
        for name, value in (("weight", weight), ("decay", decay), ("memory", memory)):
            if not 0 <= _validate.number(value, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")
        self.weight, self.decay, self.memory = weight, decay, memory
        # NaN until the first cross-entropy is known
        self.state: dict[str, Tensor] = {"entropy": torch.tensor(math.nan, dtype=torch.float64)}

    def __call__(self, batch: Batch) -> Tensor:
        """Return what replaces a share of the adversarial loss by that of the classifier."""
        share = self.share(batch.step, batch.n_members)
        return share * (classification(batch) - batch.adversarial)

    def discriminator(self, batch: Batch) -> Tensor:
        """Return the loss of the classifier, and remember it."""
        loss = classification(batch)
        now = batch.average(loss.detach()).double().cpu()
        before = self.state["entropy"]
        self.state["entropy"] = now if before.isnan() else torch.lerp(now, before, self.memory)
        return loss

    def share(self, step: int, n_members: int) -> float:
        """Return the share w of the classifier."""
        entropy = self.state["entropy"].item()
        if math.isnan(entropy) or n_members == 1:
            return 0.0
        return self.weight * self.decay**step * min(max(entropy / math.log(n_members), 0.0), 1.0)

    def __repr__(self) -> str:
        return f"Balanced(weight={self.weight}, decay={self.decay}, memory={self.memory})"


@dataclasses.dataclass(frozen=True)
class EvenWeights:
    """Keeps the learned weights of an ensemble from vanishing.

    Adds -weight mean log(w_k + 1e-6). Arora, Ge, Liang, Ma and Zhang, "Generalization and
    Equilibrium in Generative Adversarial Nets", arXiv:1703.00573, with the constants of their code.

    Parameters
    ----------
    weight : float, default 0.1
    """

    weight: float = 0.1

    def __post_init__(self) -> None:
        _validate.number(self.weight, "weight")

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        Tensor ()

        Raises
        ------
        ValueError
            If the generator is no ensemble with learned weights.
        """
        weights = batch.member_weights
        if weights is None:
            raise ValueError(
                "EvenWeights needs an Ensemble with weights='learned'; leave the term out"
            )
        return -self.weight * (weights + 1e-6).log().mean()


class PseudoSupervision:
    r"""Latents fixed once are paired with images, and the generator should map one to the other.

    Adds weight mean \|x_i - G(z_i)\|^2 / D over a batch of pairs, D the number of values of x. The
    subset and its latents are drawn once from the seed of the run, keyed by the index of the image,
    and nested: a larger fraction keeps the pairs of a smaller one. In every step as many pairs are
    drawn as the batch has samples, each pair as often as any other; the discriminator never sees
    them. With an ensemble, pair number j belongs to member j mod K. The batch of pairs is our
    reading of Luzi, Dar and Baraniuk, "Double Descent and Other Interpolation Phenomena in GANs",
    arXiv:2106.04003, whose text leaves the mini-batch form open.

    Parameters
    ----------
    fraction : float
        Share of the images that have a latent, above 0 and at most 1.
    weight : float, default 10
    schedule : number or callable, optional
        See `factor`; a number such as a tenth of the images of the run lets the end be the GAN's
        own.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> from fastgen.gan import PseudoSupervision
    >>> PseudoSupervision(0.5)
    PseudoSupervision(0.5, weight=10.0, schedule=None)
    """

    def __init__(self, fraction: float, weight: float = 10.0, schedule: Schedule = None) -> None:
        if not 0 < _validate.number(fraction, "fraction") <= 1:
            raise ValueError(
                f"fraction must be above 0 and at most 1, got {fraction}; leave pairs out for none"
            )
        self.fraction = fraction
        self.weight = _validate.number(weight, "weight")
        self.schedule = schedule

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of a batch of pairs.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        Tensor ()

        Raises
        ------
        ValueError
            If the batch has no ``pairs``, as where this is one of the terms.
        """
        weight = self.weight * factor(self.schedule, batch.images)
        if weight == 0:
            return batch.fake.new_zeros(())
        if batch.pairs is None:
            raise ValueError(
                "PseudoSupervision needs pairs; pass it to fit as pairs=, not among terms"
            )
        x, z, y = batch.pairs()
        return weight * (batch.generate(z, y) - x).square().mean()

    def __repr__(self) -> str:
        schedule = describe(self.schedule)
        return f"PseudoSupervision({self.fraction}, weight={self.weight}, schedule={schedule})"


def classification(batch: Batch) -> Tensor:
    """Return the cross-entropy of the classifier of members on the generated samples.

    Raises
    ------
    ValueError
        If the discriminator has no output for every member.
    """
    logits = batch.out[:, 1:]
    if batch.member is None or logits.shape[1] != batch.n_members:
        raise ValueError(
            f"discriminator must have {1 + batch.n_members} outputs, the score and one for each "
            f"member, got {batch.out.shape[1]}; pass n_outputs={1 + batch.n_members}"
        )
    return mean(cross_entropy(logits, batch.member, reduction="none"), batch.weight)


TERMS: dict[str, type] = {
    "pairwise_distance": PairwiseDistance,
    "generator_classifier": GeneratorClassifier,
    "balanced": Balanced,
    "even_weights": EvenWeights,
}


def describe(value: Any) -> str:
    """Return a text of an option that is the same in another process."""
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)
