"""Local sampling on the manifold of the data: noise a point, and sample back (Boomerang)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _random, _validate
from .._evaluation import evaluation_mode
from .._progress import reporter
from .._results import Result, plain
from .denoiser import Denoiser, as_denoiser, checked_images
from .noise import RowNoise
from .schedulers import Scheduled
from .steps import SAMPLERS, Strength, chain, strength_of

__all__ = ["LocalSamples", "SamplingInterrupted", "local_sample"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LocalSamples(Result):
    """What `local_sample` made, and with what.

    Attributes
    ----------
    samples : array (n, n_samples, ...)
        As the images were given: an array of NumPy, or a tensor on their device.
    distances : float64 array (n, n_samples)
        Root-mean-square distance of each sample to its image, per entry.
    sigma : float
        Noise level that the images were noised to, relative to the signal.
    alpha_bar : float
        Share of the signal there, ``1 / (1 + sigma^2)``.
    t : int or None
        Step of the schedule in 1..T, where the model has one; 0 is the image itself.
    ratio : float or None
        ``t / T``.
    steps : int
        Calls of the sampler's step for one sample.
    sampler : str
    eta : float
    stochastic : bool
        Whether noise was added on the way back. A deterministic way back stays closer, and its
        distances follow another law.
    seed : str
        What ``random_state`` was.
    """

    samples: Any
    distances: np.ndarray
    sigma: float
    alpha_bar: float
    t: int | None
    ratio: float | None
    steps: int
    sampler: str
    eta: float
    stochastic: bool
    seed: str

    @property
    def rms(self) -> float:
        """Root-mean-square distance of all samples, per entry."""
        return float(np.sqrt(np.mean(self.distances**2)))

    def to_dict(self) -> dict[str, Any]:
        """Return the strength used, the distance that it led to, and how it was sampled."""
        names = ("sigma", "alpha_bar", "t", "ratio", "steps", "sampler", "eta", "stochastic")
        told = {name: getattr(self, name) for name in (*names, "seed")}
        n, n_samples = self.distances.shape
        return plain({"images": n, "n_samples": n_samples, "rms": self.rms, **told})


class SamplingInterrupted(KeyboardInterrupt):
    """Ctrl-C; ``found`` is the result of the images that were finished, None if there are none.

    Parameters
    ----------
    found : LocalSamples or None

    Examples
    --------
    >>> from fastgen.diffusion import SamplingInterrupted
    >>> SamplingInterrupted(None).found is None
    True
    """

    def __init__(self, found: LocalSamples | None) -> None:
        count = 0 if found is None else len(found.distances)
        super().__init__(f"interrupted; {count} images were finished, see .found")
        self.found = found


def local_sample(
    model: Any,
    x0: Any,
    *,
    t: int | None = None,
    ratio: float | None = None,
    sigma: float | None = None,
    rms: float | None = None,
    calibration: Any = None,
    eta: float = 1.0,
    sampler: str = "ddim",
    steps: int | None = None,
    scheduler: Any = None,
    alphas_cumprod: Any = None,
    prediction: str | None = None,
    n_samples: int = 1,
    clip: tuple[float, float] | None = None,
    encode: Callable[[Tensor], Tensor] | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    random_state: Any = None,
    progress: bool | Callable[[int, int], None] | None = None,
) -> LocalSamples:
    """Sample images near given ones, on the manifold that a diffusion model has learned.

    Boomerang (Luzi et al., arXiv 2210.12100): noise the image to a level on the way to pure noise,
    then run the model's reverse chain from there. That this chain is the stochastic, ancestral one
    is our reading of the paper; ``eta=0`` is the deterministic chain of the authors' notebook,
    which stays closer. For an exact model the samples leave the distribution of the data as it is,
    and their squared distance is twice the denoising error, see `fastgen.diffusion.laws`.

    Similarity to the image is all that the strength controls: samples carry no guarantee of
    privacy. Training the model on its own samples again and again makes it worse.

    Parameters
    ----------
    model : Denoiser or callable
        A `Denoiser`, or a network called with noisy images and steps (B,) that comes with
        ``alphas_cumprod`` or ``scheduler``.
    x0 : array or tensor (n, ...)
        Images in the model's range, [-1, 1] as a rule.
    t : int, optional
        Strength as a step of the schedule: 1..T, or 0 for the image itself.
    ratio : float, optional
        Strength as a share of the steps in (0, 1]; for models without a schedule the time
        ``sigma / (1 + sigma)`` of flow matching, below 1. It does not mean the same for any two
        schedules.
    sigma : float, optional
        Strength as a noise level. Models with a schedule take its nearest step.
    rms : float, optional
        Strength as the root-mean-square distance wanted, per entry; needs ``calibration``.
        Exactly one of these four is given.
    calibration : Calibration, optional
        What `calibrate` found for this model.
    eta : float, default 1.0
        Share of fresh noise on the way back, from 1, ancestral sampling, to 0.
    sampler : {"ddim", "heun", "scheduler"}
        "ddim": DDPM at ``eta=1``, DDIM or Euler's method at ``eta=0``. "heun": second order and
        deterministic, for ``eta=0``. "scheduler": the steps of ``scheduler`` itself, for a plain
        network; whether noise is drawn is up to it, ``eta`` is handed to those that take it, and
        the start is the nearest of its steps below the strength.
    steps : int, optional
        Steps of the way back. If not given all steps of the schedule are taken, or 100 for models
        without one.
    scheduler : object, optional
        A scheduler of diffusers, of which the schedule and the prediction type are read, and whose
        steps are taken if ``sampler`` says so. It is not changed.
    alphas_cumprod : array (T,), optional
        The schedule that a network was trained with. Checked against ``scheduler`` if both are
        given.
    prediction : {"epsilon", "v", "sample"}, optional
        What a network predicts; "epsilon" unless the scheduler says otherwise.
    n_samples : int, default 1
        Samples of each image.
    clip : (float, float), optional
        Clip what the model expects behind the noise to this range at every step.
    encode, decode : callable, optional
        Maps from images to the latents of a latent model and back.
    model_kwargs : mapping, optional
        Keyword arguments of the model. Arrays and tensors of length n are given row by row.
    batch_size : int, default 64
        Samples that go through the network together; the result does not depend on it, beyond
        rounding.
    random_state : int, Generator, SeedSequence or None, default None
        Every image has a seed of its own, so that it gets the same noise in any batch.
    progress : bool, callable or None, default None
        See `fastgen.linear.sweep`.

    Returns
    -------
    LocalSamples

    Raises
    ------
    ValueError, TypeError
        If the images leave the model's range or have another number of channels, a strength is
        outside its range, or the network returns NaN.
    SamplingInterrupted
        On Ctrl-C; ``found`` has the images that were finished.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.diffusion import ExactSet, alphas_cumprod, local_sample
    >>> points = np.array([[-1.0, 0.0], [1.0, 0.0]])
    >>> model = ExactSet(points).denoiser(alphas_cumprod=alphas_cumprod("linear", 50))
    >>> found = local_sample(model, points, t=50, n_samples=3, random_state=0)
    >>> found.samples.shape, bool((abs(abs(found.samples[..., 0]) - 1) < 1e-6).all())
    ((2, 3, 2), True)
    """
    denoiser = as_denoiser(
        model, scheduler=scheduler, alphas_cumprod=alphas_cumprod, prediction=prediction
    )
    n_samples = _validate.integer(n_samples, "n_samples")
    batch_size = _validate.integer(batch_size, "batch_size")
    sampler = _validate.one_of(sampler, "sampler", (*SAMPLERS, "scheduler"))
    if sampler == "scheduler":
        _check_scheduler(scheduler, clip)
    eta = _validate.number(eta, "eta")
    if eta > 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    if sampler == "heun" and eta:
        raise ValueError("sampler='heun' is deterministic: pass eta=0, or sampler='ddim'")
    if eta and not denoiser.independent:
        raise ValueError(
            "a model trained with noise that was assigned to the images knows no score, which "
            "stochastic sampling needs; pass eta=0"
        )
    images = checked_images(x0, denoiser, "x0", channels=decode is None)
    if (encode is None) != (decode is None):
        raise TypeError("encode and decode must be given together")
    strength = strength_of(denoiser, t, ratio, sigma, rms, calibration)
    levels = chain(denoiser, strength, steps)
    own = None
    if sampler == "scheduler" and strength.t:
        assert denoiser.levels is not None
        own = Scheduled(model, scheduler, denoiser.levels, strength, steps, eta)
        strength, levels = own.strength, own.levels
    seed = _random.seed_sequence(random_state)
    children = [child.spawn(n_samples) for child in seed.spawn(len(images))]
    work = _Work(
        denoiser, images, levels, eta, sampler, own, clip, encode, decode, model_kwargs or {}
    )  # fmt: skip
    used = _Used(strength, levels, eta, sampler, own, seed)
    finished: list[Tensor] = []
    pairs = [(i, j) for i in range(len(images)) for j in range(n_samples)]
    try:
        with (
            evaluation_mode(denoiser.modules(encode, decode)),
            torch.no_grad(),
            reporter(progress, unit="sample", total=len(pairs)) as report,
        ):
            for first in range(0, len(pairs), batch_size):
                part = pairs[first : first + batch_size]
                finished.append(work.run([i for i, _ in part], [children[i][j] for i, j in part]))
                report(len(part))
    except KeyboardInterrupt:
        whole = sum(map(len, finished)) // n_samples
        found = None
        if whole:
            made = torch.cat(finished)[: whole * n_samples]
            found = _result(x0, images[:whole], made, used)
        raise SamplingInterrupted(found) from None
    return _result(x0, images, torch.cat(finished), used)


def _check_scheduler(scheduler: Any, clip: Any) -> None:
    if scheduler is None or not hasattr(scheduler, "step"):
        raise TypeError("sampler='scheduler' needs scheduler, and its steps: pass one of diffusers")
    if clip is not None:
        raise ValueError("sampler='scheduler' clips as it is configured; leave clip out")


@dataclasses.dataclass
class _Work:
    """What is the same for all batches."""

    denoiser: Denoiser
    images: Tensor
    levels: np.ndarray
    eta: float
    sampler: str
    own: Scheduled | None
    clip: tuple[float, float] | None
    encode: Callable[[Tensor], Tensor] | None
    decode: Callable[[Tensor], Tensor] | None
    kwargs: Mapping[str, Any]

    def run(self, rows: list[int], seeds: list[np.random.SeedSequence]) -> Tensor:
        """Return samples of some images, one for each seed."""
        x = self.images[rows]
        if self.levels[0] == 0:
            return x.clone()
        if self.encode is not None:
            x = self.encode(x)
        kwargs = {
            name: value[rows] if _by_row(value, len(self.images)) else value
            for name, value in self.kwargs.items()
        }
        noise = RowNoise(seeds, x)
        if self.own is not None:
            y = self.own.run(x, noise.draw(), [seed.spawn(1)[0] for seed in seeds], kwargs)
        else:
            y = x + self.levels[0] * noise.draw()
            y = SAMPLERS[self.sampler](self._expected(kwargs), y, self.levels, self.eta, noise)
        return y if self.decode is None else self.decode(y)

    def _expected(self, kwargs: Mapping[str, Any]) -> Callable[[Tensor, float], Tensor]:
        def expected(y: Tensor, level: float) -> Tensor:
            found = self.denoiser(y, level, **kwargs)
            if not math.isfinite(found.sum(dtype=torch.float64).item()):
                raise ValueError(
                    f"the model returned NaN or infinity at noise level {level:.4g}; it may have "
                    "diverged in training, or need float32 instead of half precision"
                )
            return found if self.clip is None else found.clamp(*self.clip)

        return expected


def _by_row(value: Any, n: int) -> bool:
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 0 and len(value) == n


@dataclasses.dataclass
class _Used:
    """What was used to sample."""

    strength: Strength
    levels: np.ndarray
    eta: float
    sampler: str
    own: Scheduled | None
    seed: np.random.SeedSequence


def _result(x0: Any, images: Tensor, made: Tensor, used: _Used) -> LocalSamples:
    samples = made.reshape(len(images), -1, *made.shape[1:])
    gaps = (samples - images[:, None]).flatten(2).double()
    distances = gaps.square().mean(2).sqrt().cpu().numpy()
    level = float(used.levels[0])
    return LocalSamples(
        samples=samples.to(x0.device) if isinstance(x0, Tensor) else samples.cpu().numpy(),
        distances=distances,
        sigma=level,
        alpha_bar=1 / (1 + level**2),
        t=used.strength.t,
        ratio=used.strength.ratio,
        steps=len(used.levels) - 1,
        sampler=used.sampler,
        eta=used.eta,
        stochastic=used.own.drew if used.own is not None else used.eta > 0 and level > 0,
        seed=_random.to_text(used.seed.entropy),
    )
