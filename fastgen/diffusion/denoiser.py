"""One face for diffusion models: the clean image that is expected behind a noisy one.

Inside this package every model is a `Denoiser`: ``D(y, sigma)`` with ``y = x + sigma * noise``, the
form of Karras et al. (arXiv 2206.00364). Predictors of noise, of velocity and of the clean image
with the steps of a schedule, k-diffusion's denoisers, flow matching and the models of diffusers
become one by the functions here; nothing here imports diffusers.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import _arrays, _validate
from .schedules import noise_levels

__all__ = ["Denoiser", "from_denoiser", "from_flow", "from_predictor"]

_PREDICTIONS = ("epsilon", "v", "sample")
# What diffusers call them.
_ALIASES = {"v_prediction": "v"}
_FLOW_END = 0.999
# Images this far outside the range of the model, relative to it, are rounding.
_SLACK = 1e-3


class Denoiser:
    """A diffusion model in the convention of this package.

    Parameters
    ----------
    call : callable
        Maps noisy images ``y`` (B, ...), noise levels (B,), which are float64 on the CPU, and
        keyword arguments of the model to the expected clean images (B, ...).
    levels : array (T,), optional
        Noise levels of the steps the model was trained for, rising; None for a model of all levels.
    sigma_max : float, optional
        Largest level that the model knows; the last of ``levels`` if not given, else 80.
    span : (float, float), optional
        Range of the clean images that the model was trained on. None for any.
    network : nn.Module, optional
        The network inside, whose parameters say where and in which precision it runs.
    variance_preserving : bool, default True
        Whether noisy images were scaled to keep their variance, so that sampling begins with
        ``sqrt(1 + sigma_max^2)`` times standard noise rather than ``sigma_max`` times.
    independent : bool, default True
        Whether the noise of its training was independent of the images. False for models trained
        with noise that was assigned to them (`Pairing.independent`): they know no score, and
        stochastic samplers refuse them.

    Attributes
    ----------
    levels : float64 array (T,) or None
    sigma_max : float
    span : tuple or None

    Examples
    --------
    >>> import torch
    >>> from fastgen.diffusion import Denoiser
    >>> gaussian = Denoiser(lambda y, sigma: y / (1 + sigma.to(y).reshape(-1, 1) ** 2))
    >>> gaussian(torch.ones(1, 2), 1.0)
    tensor([[0.5000, 0.5000]])
    """

    def __init__(
        self,
        call: Callable[..., Tensor],
        *,
        levels: Any = None,
        sigma_max: float | None = None,
        span: tuple[float, float] | None = None,
        network: nn.Module | None = None,
        variance_preserving: bool = True,
        independent: bool = True,
    ) -> None:
        self._call = call
        self.levels = None if levels is None else np.asarray(levels, dtype=np.float64)
        largest = 80.0 if self.levels is None else float(self.levels[-1])
        self.sigma_max = largest if sigma_max is None else _validate.number(sigma_max, "sigma_max")
        self.span = _checked_span(span)
        self.network = network
        self.variance_preserving = variance_preserving
        self.independent = independent

    def __call__(self, y: Tensor, sigma: Any, **kwargs: Any) -> Tensor:
        """Return the expected clean images.

        Parameters
        ----------
        y : tensor (B, ...)
        sigma : float or tensor (B,)
            Noise levels.
        **kwargs : Any
            Keyword arguments of the model, such as labels.

        Returns
        -------
        tensor (B, ...)

        Raises
        ------
        ValueError
            If the model returns another shape.
        """
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device="cpu").expand(len(y))
        found = self._call(y, sigma, **kwargs)
        found = output_of(found)
        if found.shape != y.shape:
            raise ValueError(
                f"the model returned shape {tuple(found.shape)} for images of shape "
                f"{tuple(y.shape)}; models that also predict a variance must be cut to the mean"
            )
        return found

    @property
    def device(self) -> torch.device:
        """Where the network runs; the CPU for models without parameters."""
        parameter = self._parameter()
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network; float32 for models without parameters."""
        parameter = self._parameter()
        return torch.float32 if parameter is None else parameter.dtype

    @property
    def channels(self) -> int | None:
        """Channels of the images that the network takes, where it says so or begins with them."""
        if self.network is None:
            return None
        config = getattr(self.network, "config", self.network)
        told = getattr(config, "in_channels", None)
        if isinstance(told, int):
            return told
        layers = (m for m in self.network.modules() if isinstance(m, nn.Conv2d))
        first = next(layers, None)
        return None if first is None else first.in_channels

    def modules(self, *others: Any) -> list[nn.Module]:
        """Return the networks among this model and ``others``, to be held in evaluation mode.

        Parameters
        ----------
        *others : Any

        Returns
        -------
        list of nn.Module
        """
        return [part for part in (self.network, *others) if isinstance(part, nn.Module)]

    def _parameter(self) -> Tensor | None:
        return None if self.network is None else next(self.network.parameters(), None)


def from_predictor(
    model: Any,
    alphas_cumprod: Any,
    *,
    prediction: str = "epsilon",
    span: tuple[float, float] | None = (-1.0, 1.0),
    independent: bool = True,
) -> Denoiser:
    """Return the denoiser of a network trained on the steps of a schedule.

    Parameters
    ----------
    model : callable
        Maps scaled noisy images ``sqrt(a) x + sqrt(1 - a) e`` (B, ...) and steps (B,), integers in
        0..T-1, to a prediction: a tensor, or an object with one in ``sample``, as diffusers' have.
    alphas_cumprod : array (T,)
        The shares a of the schedule it was trained with. Levels between those of two steps are
        given to the network as the nearest step.
    prediction : {"epsilon", "v", "sample"}
        What the network predicts: the noise e, the velocity ``sqrt(a) e - sqrt(1 - a) x`` or x.
    span : (float, float), default (-1.0, 1.0)
        Range of the images that the network was trained on; None for any.
    independent : bool, default True
        As for `Denoiser`: False for a network trained with assigned noise.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        For another prediction, or a schedule that does not fall.

    Examples
    --------
    >>> import torch
    >>> from fastgen.diffusion import alphas_cumprod, from_predictor
    >>> model = from_predictor(lambda x, t: torch.zeros_like(x), alphas_cumprod("linear", 10))
    >>> model(torch.ones(1, 2), model.levels[3])
    tensor([[1., 1.]])
    """
    prediction = _ALIASES.get(prediction, prediction)
    prediction = _validate.one_of(prediction, "prediction", _PREDICTIONS)
    levels = noise_levels(np.asarray(_host(alphas_cumprod)))
    middles = (np.log(levels[:-1] * levels[1:]) / 2).tolist()

    def call(y: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        noise: Any
        kept: Any
        at_once = not sigma.stride(0)
        if not at_once:
            at = np.searchsorted(middles, np.log(np.maximum(sigma.numpy(), 1e-12)))
            steps = torch.as_tensor(at, device=y.device)
            noise = shaped(sigma, y)
            kept = 1 / torch.sqrt(1 + noise**2)
        else:  # one level for all, as samplers have it: numbers are faster than small tensors
            noise = sigma[0].item()
            at = bisect.bisect_left(middles, math.log(max(noise, 1e-12)))
            steps = torch.full((len(y),), at, device=y.device)
            kept = 1 / math.sqrt(1 + noise**2)
        told = output_of(model(y * kept, steps, **kwargs))
        if prediction == "sample":
            return told
        if prediction == "epsilon":
            return torch.sub(y, told, alpha=noise) if at_once else y - noise * told
        return kept**2 * y - noise * kept * told

    return Denoiser(
        call, levels=levels, span=span, network=_network(model), independent=independent
    )


def from_denoiser(
    model: Any,
    *,
    sigma_max: float = 80.0,
    span: tuple[float, float] | None = (-1.0, 1.0),
) -> Denoiser:
    """Return the denoiser of a model of continuous noise levels, as those of k-diffusion.

    Parameters
    ----------
    model : callable
        Maps noisy images ``x + sigma * e`` (B, ...) and levels (B,) to the clean images.
    sigma_max : float, default 80.0
        Largest level that the model knows.
    span : (float, float), default (-1.0, 1.0)
        Range of the images that the network was trained on; None for any.

    Returns
    -------
    Denoiser

    Examples
    --------
    >>> import torch
    >>> from fastgen.diffusion import from_denoiser
    >>> model = from_denoiser(lambda y, sigma: y / (1 + sigma.reshape(-1, 1) ** 2), span=None)
    >>> model(torch.ones(1, 1), 1.0)
    tensor([[0.5000]])
    """

    def call(y: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        return output_of(model(y, sigma.to(y), **kwargs))

    return Denoiser(
        call, sigma_max=sigma_max, span=span, network=_network(model), variance_preserving=False
    )


def from_flow(model: Any, *, span: tuple[float, float] | None = (-1.0, 1.0)) -> Denoiser:
    """Return the denoiser of a flow-matching model on straight paths.

    Parameters
    ----------
    model : callable
        Maps points ``z = (1 - s) x + s e`` (B, ...) and times s (B,) in [0, 1], 1 being noise, to
        the velocity ``e - x``. Its noise level is ``s / (1 - s)``.
    span : (float, float), default (-1.0, 1.0)
        Range of the images that the network was trained on; None for any.

    Returns
    -------
    Denoiser

    Examples
    --------
    >>> import torch
    >>> from fastgen.diffusion import from_flow
    >>> model = from_flow(lambda z, s: torch.zeros_like(z), span=None)
    >>> model(torch.ones(1, 1), 1.0)
    tensor([[0.5000]])
    """

    def call(y: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        time = sigma / (1 + sigma)
        share = shaped(time, y)
        z = (1 - share) * y
        return z - share * output_of(model(z, time.to(y), **kwargs))

    largest = _FLOW_END / (1 - _FLOW_END)
    return Denoiser(
        call, sigma_max=largest, span=span, network=_network(model), variance_preserving=False
    )


def as_denoiser(
    model: Any,
    *,
    scheduler: Any = None,
    alphas_cumprod: Any = None,
    prediction: str | None = None,
) -> Denoiser:
    """Return the denoiser of whatever a user hands over.

    Parameters
    ----------
    model : Denoiser or callable
    scheduler : object, optional
        A scheduler of diffusers; its ``alphas_cumprod`` and ``config.prediction_type`` are read.
    alphas_cumprod : array (T,), optional
        The schedule that the network was trained with.
    prediction : str, optional
        As for `from_predictor`; what the scheduler says, or "epsilon", if not given.

    Raises
    ------
    TypeError
        If the model is no Denoiser and there is no schedule.
    ValueError
        If scheduler and ``alphas_cumprod`` do not agree, or a scheduler has no betas.
    """
    if isinstance(model, Denoiser):
        if (scheduler, alphas_cumprod, prediction) != (None, None, None):
            raise TypeError(
                "scheduler, alphas_cumprod and prediction belong to a plain network; a Denoiser "
                "has its own"
            )
        return model
    if not callable(model):
        raise TypeError(f"model must be a Denoiser or callable, got {type(model).__name__}")
    if scheduler is not None:
        own = getattr(scheduler, "alphas_cumprod", None)
        if own is None:
            raise ValueError(
                f"scheduler {type(scheduler).__name__} has no alphas_cumprod; wrap the model with "
                "from_flow or from_denoiser"
            )
        own = np.asarray(_host(own), dtype=np.float64)
        if alphas_cumprod is not None:
            _same_schedule(own, np.asarray(_host(alphas_cumprod), dtype=np.float64))
        alphas_cumprod = own
        told = getattr(getattr(scheduler, "config", None), "prediction_type", None)
        prediction = prediction or told
    if alphas_cumprod is None:
        raise TypeError(
            "a plain network needs alphas_cumprod or scheduler, the schedule it was trained with; "
            "or wrap it with from_denoiser or from_flow"
        )
    return from_predictor(model, alphas_cumprod, prediction=prediction or "epsilon")


def checked_images(x0: Any, denoiser: Denoiser, name: str, *, channels: bool = True) -> Tensor:
    """Return images as a tensor where the model is.

    Parameters
    ----------
    x0 : array or tensor (n, ...)
    denoiser : Denoiser
    name : str
        What the images are called in messages.
    channels : bool, default True
        Whether the images go into the network as they are, so that their channels must fit.

    Raises
    ------
    TypeError, ValueError
        If they are no finite floats in the range of the model.
    """
    given = _arrays.to_tensor(x0, name)
    if given.ndim < 2 or not len(given):
        raise ValueError(
            f"{name} must have shape (n, ...) with n at least 1, got {tuple(given.shape)}"
        )
    if not given.is_floating_point():
        raise TypeError(
            f"{name} must be floats in the range of the model, got {given.dtype}; 8-bit images are "
            "scaled by x / 127.5 - 1"
        )
    if not bool(torch.isfinite(given).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    if denoiser.span is not None:
        low, high = denoiser.span
        least, most = float(given.min()), float(given.max())
        slack = _SLACK * (high - low)
        if least < low - slack or most > high + slack:
            raise ValueError(
                f"{name} must lie in [{low:g}, {high:g}], the range of the model, got values from "
                f"{least:.4g} to {most:.4g}; scale the images, or give the denoiser another span"
            )
    wanted = denoiser.channels if channels else None
    if wanted is not None and given.ndim == 4 and given.shape[1] != wanted:
        raise ValueError(
            f"{name} must have {wanted} channels, as the network takes, got shape "
            f"{tuple(given.shape)}; the order is (n, channels, height, width)"
        )
    has_weights = denoiser.network is not None and any(True for _ in denoiser.network.parameters())
    return given.to(denoiser.device, denoiser.dtype if has_weights else given.dtype)


def _same_schedule(own: np.ndarray, trained: np.ndarray) -> None:
    """Refuse a scheduler with other betas, as ``from_config`` of another class may make it."""
    if own.shape != trained.shape or not np.allclose(own, trained, rtol=1e-4):
        raise ValueError(
            "scheduler and alphas_cumprod disagree: the last shares are "
            f"{own[-1]:.3g} of {len(own)} steps and {trained[-1]:.3g} of {len(trained)}; "
            "from_config of another class may have replaced the betas: pass beta_start, beta_end "
            "and beta_schedule to it"
        )


def _checked_span(span: Any) -> tuple[float, float] | None:
    if span is None:
        return None
    low, high = (float(value) for value in span)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"span must be two finite numbers that rise, got {span}")
    return low, high


def shaped(values: Tensor, like: Tensor) -> Tensor:
    """Return one number for each sample, to be multiplied with samples.

    Parameters
    ----------
    values : tensor (B,)
    like : tensor (B, ...)

    Returns
    -------
    tensor (B, 1, ...)
    """
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))


def output_of(value: Any) -> Tensor:
    """Return the tensor in what a network returned.

    Parameters
    ----------
    value : tensor, tuple that begins with one, or object that holds one in ``sample``

    Returns
    -------
    tensor

    Raises
    ------
    TypeError
        If there is none.
    """
    if isinstance(value, Tensor):
        return value
    found = getattr(value, "sample", value)
    if isinstance(found, tuple) and found:
        found = found[0]
    if not isinstance(found, Tensor):
        raise TypeError(
            f"the model must return a tensor, or an object that holds one in .sample, got "
            f"{type(value).__name__}"
        )
    return found


def _network(model: Any) -> nn.Module | None:
    return model if isinstance(model, nn.Module) else getattr(model, "network", None)


def _host(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
