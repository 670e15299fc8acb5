"""What a denoiser is trained on: noisy samples, and what it shall return for them."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import _arrays, _validate
from . import schedules
from .denoiser import Denoiser, from_flow, from_predictor, output_of, shaped

__all__ = ["DDPM", "EDM", "Flow", "Objective", "objective"]

_HELD_LEVELS = 8


class Example(NamedTuple):
    """What the network sees and what it shall return."""

    noisy: Tensor
    time: Tensor
    target: Tensor


class Objective(abc.ABC):
    """A law of noise levels, the input and the target of the network there.

    Examples
    --------
    >>> from fastgen.diffusion import EDM, Objective
    >>> isinstance(EDM(), Objective)
    True
    """

    @abc.abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return noise levels of a batch.

        Parameters
        ----------
        count : int
        generator : torch.Generator

        Returns
        -------
        float64 tensor (B,)
            Standard deviations of the noise relative to the signal, on the CPU.
        """

    @abc.abstractmethod
    def example(self, x: Tensor, noise: Tensor, sigma: Tensor) -> Example:
        """Return input and target of the network.

        Parameters
        ----------
        x : tensor (B, ...)
            Clean samples.
        noise : tensor (B, ...)
            Standard noise: the same goes into the input and into the target.
        sigma : float64 tensor (B,)
            What `draw` returned.

        Returns
        -------
        Example
        """

    @abc.abstractmethod
    def denoiser(
        self, network: nn.Module, *, span: Any = (-1.0, 1.0), independent: bool = True
    ) -> Denoiser:
        """Return a network that was trained so as a model for `local_sample`.

        Parameters
        ----------
        network : nn.Module
        span, independent
            As for `Denoiser`.

        Returns
        -------
        Denoiser
        """

    @abc.abstractmethod
    def levels(self) -> np.ndarray:
        """Return the noise levels at which denoising is measured.

        Returns
        -------
        float64 array (n,)
            Levels that rise, spread as those of the training.
        """


class DDPM(Objective):
    """Steps of a schedule, all equally often, with unit weight.

    Ho et al. (arXiv 2006.11239), eq. 14. The network sees ``sqrt(a) x + sqrt(1 - a) e`` and the
    step in 0..T-1, as those of diffusers.

    Parameters
    ----------
    alphas_cumprod : array (T,), optional
        Schedule; the cosine one of 1000 steps if not given.
    prediction : {"epsilon", "v", "sample"}, default "epsilon"
        What the network shall return, see `from_predictor`.

    Raises
    ------
    ValueError
        For another prediction, or a schedule that does not fall.

    Examples
    --------
    >>> from fastgen.diffusion import DDPM, alphas_cumprod
    >>> DDPM(alphas_cumprod("cosine", 200), prediction="v")
    DDPM(200 steps to sigma 4.06e+03, prediction='v')
    """

    def __init__(self, alphas_cumprod: Any = None, *, prediction: str = "epsilon") -> None:
        if alphas_cumprod is None:
            alphas_cumprod = schedules.alphas_cumprod("cosine")
        self.alphas_cumprod = np.asarray(_arrays.to_numpy(alphas_cumprod), dtype=np.float64)
        self._sigmas = torch.from_numpy(schedules.noise_levels(self.alphas_cumprod))
        self.prediction = _validate.one_of(prediction, "prediction", ("epsilon", "v", "sample"))

    def __repr__(self) -> str:
        last = float(self._sigmas[-1])
        return (
            f"DDPM({len(self._sigmas)} steps to sigma {last:.3g}, prediction={self.prediction!r})"
        )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the levels of steps drawn evenly (B,)."""
        return self._sigmas[torch.randint(len(self._sigmas), (count,), generator=generator)]

    def example(self, x: Tensor, noise: Tensor, sigma: Tensor) -> Example:
        """Return the scaled noisy samples, their steps and the prediction wanted."""
        steps = torch.searchsorted(self._sigmas, sigma).clamp_(max=len(self._sigmas) - 1)
        kept = shaped(1 / torch.sqrt(1 + sigma**2), x)
        share = shaped(sigma / torch.sqrt(1 + sigma**2), x)
        target = {"epsilon": noise, "sample": x, "v": kept * noise - share * x}[self.prediction]
        return Example(kept * x + share * noise, steps.to(x.device), target)

    def denoiser(
        self, network: nn.Module, *, span: Any = (-1.0, 1.0), independent: bool = True
    ) -> Denoiser:
        """Return the network as `from_predictor` makes it."""
        return from_predictor(
            network, self.alphas_cumprod, prediction=self.prediction, span=span,
            independent=independent,
        )  # fmt: skip

    def levels(self) -> np.ndarray:
        """Return the levels in the middle of eighths of the schedule."""
        count = len(self._sigmas)
        return self._sigmas.numpy()[np.unique((_middles() * count).astype(int))]


class EDM(Objective):
    """Log-normal levels of a preconditioned network (Karras et al., arXiv 2206.00364, table 1).

    The network sees ``c_in (x + sigma e)`` and ``ln(sigma) / 4``; what it returns is scaled so that
    its target has unit variance at every level, and weighed alike.

    Parameters
    ----------
    sigma_data : float, default 0.5
        Standard deviation of the entries of the data.
    mean : float, default -1.2
        Mean of ``ln(sigma)`` in training.
    std : float, default 1.2
        Standard deviation of ``ln(sigma)`` in training.

    Raises
    ------
    ValueError, TypeError
        If a deviation is not positive.

    Examples
    --------
    >>> from fastgen.diffusion import EDM
    >>> EDM(0.7)
    EDM(sigma_data=0.7, mean=-1.2, std=1.2)
    """

    def __init__(self, sigma_data: float = 0.5, *, mean: float = -1.2, std: float = 1.2) -> None:
        self.sigma_data = _validate.number(sigma_data, "sigma_data")
        self.mean = _validate.number(mean, "mean", minimum=-np.inf)
        self.std = _validate.number(std, "std")
        if not self.sigma_data or not self.std:
            raise ValueError(f"sigma_data and std must be positive, got {sigma_data} and {std}")

    def __repr__(self) -> str:
        return f"EDM(sigma_data={self.sigma_data:g}, mean={self.mean:g}, std={self.std:g})"

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return log-normal levels (B,)."""
        normal = torch.randn(count, dtype=torch.float64, generator=generator)
        return torch.exp(self.mean + self.std * normal)

    def _scales(self, sigma: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return c_in, c_skip and c_out, one for each sample."""
        total = sigma**2 + self.sigma_data**2
        root = torch.sqrt(total)
        scales = (1 / root, self.sigma_data**2 / total, sigma * self.sigma_data / root)
        c_in, c_skip, c_out = (shaped(scale, like) for scale in scales)
        return c_in, c_skip, c_out

    def example(self, x: Tensor, noise: Tensor, sigma: Tensor) -> Example:
        """Return the scaled noisy samples, ``ln(sigma) / 4`` and the scaled rest."""
        c_in, c_skip, c_out = self._scales(sigma, x)
        y = x + shaped(sigma, x) * noise
        return Example(c_in * y, (sigma.log() / 4).to(x), (x - c_skip * y) / c_out)

    def denoiser(
        self, network: nn.Module, *, span: Any = (-1.0, 1.0), independent: bool = True
    ) -> Denoiser:
        """Return the network with its preconditioning."""

        def call(y: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
            sigma = sigma.clamp(min=1e-12)
            c_in, c_skip, c_out = self._scales(sigma, y)
            told = network(c_in * y, (sigma.log() / 4).to(y), **kwargs)
            return c_skip * y + c_out * output_of(told)

        return Denoiser(
            call, span=span, network=network, variance_preserving=False, independent=independent
        )

    def levels(self) -> np.ndarray:
        """Return the middle quantiles of eighths of the levels in training."""
        from scipy.special import ndtri

        return np.exp(self.mean + self.std * ndtri(_middles()))


class Flow(Objective):
    """Velocities on straight paths at even times (Lipman et al., arXiv 2210.02747).

    The network sees ``(1 - s) x + s e`` and s, and shall return ``e - x``.

    Examples
    --------
    >>> from fastgen.diffusion import Flow
    >>> Flow().levels().round(2)[:3]
    array([0.07, 0.23, 0.45])
    """

    def __repr__(self) -> str:
        return "Flow()"

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the levels ``s / (1 - s)`` of times drawn evenly (B,)."""
        s = torch.rand(count, dtype=torch.float64, generator=generator).clamp_(1e-5, 1 - 1e-5)
        return s / (1 - s)

    def example(self, x: Tensor, noise: Tensor, sigma: Tensor) -> Example:
        """Return points on the paths, times and velocities."""
        time = sigma / (1 + sigma)
        share = shaped(time, x)
        return Example((1 - share) * x + share * noise, time.to(x), noise - x)

    def denoiser(
        self, network: nn.Module, *, span: Any = (-1.0, 1.0), independent: bool = True
    ) -> Denoiser:
        """Return the network as `from_flow` makes it."""
        made = from_flow(network, span=span)
        made.independent = independent
        return made

    def levels(self) -> np.ndarray:
        """Return the levels at the middle of eighths of the time."""
        return _middles() / (1 - _middles())


class LogVariance(nn.Module):
    """Logarithm of the expected loss of a noise level (Karras et al., arXiv 2312.02696, eq. 21).

    Weighed by it, every level counts alike while the network learns. It is not used afterwards.

    Parameters
    ----------
    width : int, default 32
        Fourier features of ``ln(sigma)``.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        rates = torch.linspace(0.05, 3.0, width // 2)
        self.register_buffer("rates", rates, persistent=False)
        self.linear = nn.Linear(width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, sigma: Tensor) -> Tensor:
        """Return log variances (B,) of noise levels (B,)."""
        assert isinstance(self.rates, Tensor)
        angles = sigma.log().to(self.rates).reshape(-1, 1) * self.rates
        return self.linear(torch.cat([angles.sin(), angles.cos()], 1)).squeeze(1)


def objective(value: Any) -> Objective:
    """Return an objective by its name, or as it is.

    Parameters
    ----------
    value : {"ddpm", "edm", "flow"} or Objective

    Returns
    -------
    Objective

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> from fastgen.diffusion.objectives import objective
    >>> objective("flow")
    Flow()
    """
    if isinstance(value, Objective):
        return value
    kinds = {"ddpm": DDPM, "edm": EDM, "flow": Flow}
    return kinds[_validate.one_of(value, "objective", tuple(kinds))]()


def _middles() -> np.ndarray:
    return (np.arange(_HELD_LEVELS) + 0.5) / _HELD_LEVELS
