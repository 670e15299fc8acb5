"""What generator and discriminator minimize.

Outputs of a discriminator are (B, 1) or (B, 1 + K): the score, then logits that tell the K members
of an ensemble apart. An objective turns them into losses; all means can be weighted.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu, softplus

from .. import _validate

Critic = Callable[[Tensor], Tensor]


def mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of values (B,), weighted if there are weights (B,).

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan.objectives import mean
    >>> mean(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0]))
    tensor(2.)
    """
    return values.mean() if weight is None else (weight * values).sum() / weight.sum()


@dataclasses.dataclass(frozen=True)
class Objective(abc.ABC):
    """Base of the objectives: zero-centered gradient penalties, lazy or not.

    Parameters
    ----------
    r1, r2 : float, default 0
        Weights of half the mean squared norm of the gradient of the score at real samples (R1) and
        at generated ones (R2). Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do
        actually Converge?", ICML 2018, arXiv:1801.04406, section 4.
    every : int, default 1
        The penalties are computed in every so manieth step, and weigh so many times as much there.

    Raises
    ------
    ValueError, TypeError
        If a weight is negative or ``every`` below 1.
    """

    r1: float = 0.0
    r2: float = 0.0
    every: int = 1

    uses_discriminator: ClassVar[bool] = True
    # whether the loss of the generator compares with real samples
    compares: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("r1", "r2"):
            _validate.number(getattr(self, name), name)
        _validate.integer(self.every, "every")

    @abc.abstractmethod
    def discriminator(
        self,
        real: Tensor,
        fake: Tensor,
        *,
        member: Tensor | None = None,
        real_weight: Tensor | None = None,
        fake_weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of the discriminator.

        Parameters
        ----------
        real, fake : Tensor (B, 1 + K)
            Outputs on real and on generated samples.
        member : Tensor of int (B,), optional
            Which member made each generated sample.
        real_weight, fake_weight : Tensor (B,), optional
        """

    @abc.abstractmethod
    def generator(
        self,
        fake: Tensor,
        real: Tensor | None = None,
        *,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of the generator from outputs on generated (and real) samples."""

    def penalizes(self, step: int) -> bool:
        """Whether gradients at samples are wanted in a step."""
        return (self.r1 > 0 or self.r2 > 0) and step % self.every == 0

    def penalty(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor,
        real_out: Tensor,
        fake_out: Tensor,
        mix: Tensor,
    ) -> Tensor:
        """Return the gradient penalty.

        Parameters
        ----------
        critic : callable
            Outputs of samples.
        real, fake : Tensor (B, ...)
            Samples, of which the outputs are differentiable functions.
        real_out, fake_out : Tensor (B, 1 + K)
        mix : Tensor (B,)
            Uniform numbers, for penalties between samples.
        """
        total = real_out.new_zeros(())
        for weight, x, out in ((self.r1, real, real_out), (self.r2, fake, fake_out)):
            if weight > 0:
                total = (
                    total + self.every * 0.5 * weight * _squared_slope(self.score(out), x).mean()
                )
        return total

    def score(self, out: Tensor) -> Tensor:
        """Return the scores (B,) in outputs: high for what looks real."""
        return out[:, 0]


class NonSaturating(Objective):
    """Binary cross-entropy; the generator maximizes log D, not minimizes log(1 - D).

    Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, section 3. Parameters as
    `Objective`.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan.objectives import NonSaturating
    >>> undecided = torch.zeros(5, 1)
    >>> round(NonSaturating().discriminator(undecided, undecided).item(), 4)
    1.3863
    """

    def discriminator(self, real, fake, *, member=None, real_weight=None, fake_weight=None):
        """Return -mean log D(real) - mean log(1 - D(fake))."""
        at_real = mean(softplus(-self.score(real)), real_weight)
        return at_real + mean(softplus(self.score(fake)), fake_weight)

    def generator(self, fake, real=None, *, weight=None):
        """Return -mean log D(fake)."""
        return mean(softplus(-self.score(fake)), weight)


class Hinge(Objective):
    """Hinge loss of the discriminator, linear loss of the generator. Parameters as `Objective`.

    Lim and Ye, "Geometric GAN", arXiv:1705.02894; Miyato et al., arXiv:1802.05957, equation 16.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan import Hinge
    >>> certain = torch.full((5, 1), 2.0)
    >>> Hinge().discriminator(certain, -certain), Hinge().generator(-certain)
    (tensor(0.), tensor(2.))
    """

    def discriminator(self, real, fake, *, member=None, real_weight=None, fake_weight=None):
        """Return mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake))."""
        at_real = mean(relu(1 - self.score(real)), real_weight)
        return at_real + mean(relu(1 + self.score(fake)), fake_weight)

    def generator(self, fake, real=None, *, weight=None):
        """Return -mean D(fake)."""
        return -mean(self.score(fake), weight)


@dataclasses.dataclass(frozen=True)
class Relativistic(Objective):
    """Relativistic pairing: every generated sample is compared with one real sample.

    Jolicoeur-Martineau, "The relativistic discriminator", arXiv:1807.00734; with R1 and R2 as here
    by default it is the objective of Huang et al., "The GAN is dead; long live the GAN!",
    arXiv:2501.05441, section 3.

    Parameters
    ----------
    r1, r2 : float, default 1
        Weights of the gradient penalties, as for `Objective`.
    every : int, default 1
        As for `Objective`.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan import Relativistic
    >>> undecided = torch.zeros(5, 1)
    >>> round(Relativistic().generator(undecided, undecided).item(), 4)
    0.6931
    """

    r1: float = 1.0
    r2: float = 1.0
    compares: ClassVar[bool] = True

    def discriminator(self, real, fake, *, member=None, real_weight=None, fake_weight=None):
        """Return mean log(1 + exp(D(fake) - D(real)))."""
        weight = fake_weight if real_weight is None else real_weight
        return mean(softplus(self.score(fake) - self.score(real)), weight)

    def generator(self, fake, real=None, *, weight=None):
        """Return mean log(1 + exp(D(real) - D(fake)))."""
        return mean(softplus(self.score(real) - self.score(fake)), weight)


@dataclasses.dataclass(frozen=True)
class WassersteinGP(Objective):
    """Wasserstein critic with the two-sided gradient penalty between samples.

    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, arXiv:1704.00028,
    algorithm 1 (there with five steps of the critic for one of the generator).

    Parameters
    ----------
    penalty_weight : float, default 10
        Weight of mean (norm of the gradient - 1)^2 on segments between real and generated samples.
    r1, r2, every
        As `Objective`; ``every`` holds for this penalty too.
    """

    penalty_weight: float = 10.0

    def discriminator(self, real, fake, *, member=None, real_weight=None, fake_weight=None):
        """Return mean D(fake) - mean D(real)."""
        return mean(self.score(fake), fake_weight) - mean(self.score(real), real_weight)

    def generator(self, fake, real=None, *, weight=None):
        """Return -mean D(fake)."""
        return -mean(self.score(fake), weight)

    def penalizes(self, step: int) -> bool:
        """Whether gradients at samples are wanted in a step."""
        return step % self.every == 0

    def penalty(self, critic, real, fake, real_out, fake_out, mix):
        """Return the penalty on the segments, and R1 and R2 if they have weights."""
        between = torch.lerp(fake.detach(), real.detach(), mix.reshape(-1, *[1] * (real.ndim - 1)))
        between.requires_grad_()
        slope = _squared_slope(self.score(critic(between)), between).add(1e-12).sqrt()
        found = self.every * self.penalty_weight * (slope - 1).square().mean()
        return found + super().penalty(critic, real, fake, real_out, fake_out, mix)


class MADSoftmax(Objective):
    """One softmax over "real" and the K members; members minimize -log of "real".

    Ghosh et al., "Multi-Agent Diverse Generative Adversarial Networks", CVPR 2018, section 3.
    Needs a discriminator with 1 + K outputs. The loss of the discriminator is the cross-entropy,
    summed over the K + 1 classes. Parameters as `Objective`.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan import MADSoftmax
    >>> undecided, member = torch.zeros(4, 3), torch.tensor([0, 0, 1, 1])
    >>> round(MADSoftmax().discriminator(undecided, undecided, member=member).item(), 4)
    3.2958
    """

    def discriminator(self, real, fake, *, member=None, real_weight=None, fake_weight=None):
        """Return the cross-entropy of real samples as class 0, of those of member k as k + 1.

        Parameters
        ----------
        real, fake, member, real_weight, fake_weight
            As for `Objective.discriminator`.

        Returns
        -------
        Tensor ()

        Raises
        ------
        ValueError
            If the outputs are the score alone, or ``member`` is not given.
        """
        count = fake.shape[1] - 1
        if count < 1 or member is None:
            raise ValueError(
                f"mad needs a discriminator with 1 + K outputs for K members, got {1 + count}; "
                "pass n_outputs=1 + K to its constructor and an Ensemble as the generator"
            )
        zeros = torch.zeros(len(real), dtype=torch.long, device=real.device)
        at_real = mean(cross_entropy(real, zeros, reduction="none"), real_weight)
        return at_real + count * mean(
            cross_entropy(fake, member + 1, reduction="none"), fake_weight
        )

    def generator(self, fake, real=None, *, weight=None):
        """Return -mean log of the probability of "real"."""
        return mean(softplus(-self.score(fake)), weight)

    def score(self, out: Tensor) -> Tensor:
        """Return the log odds of "real" against all members."""
        return out[:, 0] - out[:, 1:].logsumexp(1)


class Quadratic(Objective):
    r"""Squared Wasserstein distance between the Gaussians of the batch moments: no discriminator.

    It is the value of the game in which the discriminator is the best quadratic function, for
    centered data: tr S + tr F - 2 \|S^(1/2) F^(1/2)\|_* with the second moments S of the real and F
    of the generated samples. With whole-batch data, whitened latents and a linear generator it is
    the distance of the linear problems (Feizi et al., "Understanding GANs in the LQG setting",
    arXiv:1710.10793).

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan.objectives import Quadratic
    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(Quadratic().generator(3 * x, x).item(), 4)
    4.0
    """

    uses_discriminator: ClassVar[bool] = False
    compares: ClassVar[bool] = True

    def discriminator(self, real, fake, **options):
        """Raise TypeError: there is none to train."""
        raise TypeError('objective "quadratic" trains no discriminator: see uses_discriminator')

    def generator(self, fake, real=None, *, weight=None):
        """Return the squared distance of samples, which stand for outputs here.

        Parameters
        ----------
        fake : Tensor (B, d)
            Generated samples.
        real : Tensor (B, d), optional
            Real samples; needed here, unlike for other objectives.
        weight : None
            Weights of members are not supported.

        Returns
        -------
        Tensor ()

        Raises
        ------
        ValueError
            If ``weight`` is given.
        """
        if weight is not None:
            raise ValueError("quadratic takes no weights of members; leave weights out")
        root = _root(real.T @ real / len(real))
        product = root @ fake.T / len(fake) ** 0.5
        norm = torch.linalg.svdvals(product).sum()
        return real.square().sum(1).mean() + fake.square().sum(1).mean() - 2 * norm


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "non_saturating": NonSaturating,
    "wgan_gp": WassersteinGP,
    "hinge": Hinge,
    "relativistic": Relativistic,
    "mad": MADSoftmax,
    "quadratic": Quadratic,
}


def objective(value: Any, **options: Any) -> Objective:
    """Return an objective by name, or as it is.

    Parameters
    ----------
    value : str or Objective
        "non_saturating", "wgan_gp", "hinge", "relativistic", "mad" or "quadratic".
    **options
        Its parameters.

    Raises
    ------
    ValueError
        For another name.

    Examples
    --------
    >>> from fastgen.gan.objectives import objective
    >>> objective("relativistic", r1=10.0)
    Relativistic(r1=10.0, r2=1.0, every=1)
    """
    if isinstance(value, Objective):
        return value
    return OBJECTIVES[_validate.one_of(value, "objective", tuple(OBJECTIVES))](**options)


def _squared_slope(score: Tensor, x: Tensor) -> Tensor:
    """Return squared norms (B,) of the gradients of scores at samples, differentiable."""
    (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return slope.flatten(1).square().sum(1)


def _root(moment: Tensor) -> Tensor:
    """Return the symmetric root of a second moment."""
    values, vectors = torch.linalg.eigh(moment.detach())
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
