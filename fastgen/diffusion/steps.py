"""How strong local sampling is, which noise levels it passes, and the steps between them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .. import _validate
from .denoiser import Denoiser

# Without a schedule: steps, least level and exponent of the levels between (Karras et al., eq. 5).
_STEPS, _LEAST, _RHO = 100, 2e-3, 7.0


class Noise(Protocol):
    """Where a sampler draws from."""

    def draw(self) -> Tensor:
        """Return standard noise of the shape of the batch."""
        ...


@dataclasses.dataclass(frozen=True)
class Strength:
    """A strength, in all of its units: step, share of the steps, noise level."""

    t: int | None
    ratio: float | None
    sigma: float


def strength_of(
    denoiser: Denoiser,
    t: Any = None,
    ratio: Any = None,
    sigma: Any = None,
    rms: Any = None,
    calibration: Any = None,
) -> Strength:
    """Return the strength that one of four arguments gives.

    Parameters
    ----------
    denoiser : Denoiser
    t, ratio, sigma, rms, calibration
        As for `fastgen.diffusion.local_sample`.

    Raises
    ------
    TypeError, ValueError
        If not exactly one is given, or it is out of its range.
    """
    given = {"t": t, "ratio": ratio, "sigma": sigma, "rms": rms}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise TypeError(
            "exactly one of t, ratio, sigma and rms must be given, got "
            + (", ".join(names) or "none")
        )
    levels = denoiser.levels
    if rms is not None:
        if calibration is None:
            raise TypeError("rms needs calibration: pass what calibrate(model, images) returned")
        sigma = calibration.sigma_of(rms)
    if t is not None:
        if levels is None:
            raise ValueError("t needs a model with a schedule; pass sigma or ratio for this one")
        t = _validate.integer(t, "t", minimum=0)
        if t > len(levels):
            raise ValueError(f"t must be at most the {len(levels)} steps of the model, got {t}")
    elif ratio is not None:
        ratio = _validate.number(ratio, "ratio")
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
        if levels is None:
            if ratio == 1:
                raise ValueError("ratio must be below 1 for a model without a schedule")
            sigma = ratio / (1 - ratio)
        else:
            t = round(ratio * len(levels))
            if t == 0:
                raise ValueError(
                    f"ratio {ratio} is less than half a step of the {len(levels)} of the model"
                )
    if sigma is not None and t is None:
        sigma = _validate.number(sigma, "sigma")
        if sigma > denoiser.sigma_max * (1 + 1e-6):
            raise ValueError(
                f"sigma must be at most {denoiser.sigma_max:.4g}, the largest level of the model, "
                f"got {sigma:.4g}"
            )
        if levels is None:
            return Strength(None, None, sigma)
        t = 0 if sigma < levels[0] / 2 else int(np.abs(np.log(levels / sigma)).argmin()) + 1
    assert levels is not None
    return Strength(t, t / len(levels), float(levels[t - 1]) if t else 0.0)


def chain(denoiser: Denoiser, strength: Strength, steps: Any = None) -> np.ndarray:
    """Return the noise levels from a strength down to 0.

    Parameters
    ----------
    denoiser : Denoiser
    strength : Strength
        Its level comes first: what is noised to is what the first step starts from.
    steps : int, optional
        Number of steps; all of the schedule, or 100, if not given.

    Returns
    -------
    float64 array
        Levels that fall to 0; only 0 for the strength 0.
    """
    if steps is not None:
        steps = _validate.integer(steps, "steps")
    if strength.sigma == 0:
        return np.zeros(1)
    if denoiser.levels is not None and strength.t is not None:
        return np.append(denoiser.levels[evenly(strength.t, steps)], 0.0)
    count = _STEPS if steps is None else steps
    least = min(_LEAST, strength.sigma / 10)
    if count == 1:
        return np.array([strength.sigma, 0.0])
    ends = strength.sigma ** (1 / _RHO), least ** (1 / _RHO)
    return np.append(np.linspace(*ends, count) ** _RHO, 0.0)


def evenly(t: int, steps: int | None) -> np.ndarray:
    """Return indices into a schedule, spread evenly from step ``t`` down to the first.

    Parameters
    ----------
    t : int
        1..T.
    steps : int or None
        How many; all of them if None.

    Returns
    -------
    int array
        Indices that fall from ``t - 1`` to 0.
    """
    count = t if steps is None else min(steps, t)
    return np.unique(np.linspace(t - 1, 0, count).round().astype(int))[::-1]


def ddim(
    expected: Callable[[Tensor, float], Tensor],
    y: Tensor,
    levels: np.ndarray,
    eta: float,
    noise: Noise | None,
) -> Tensor:
    """Take the steps of DDIM, which are those of DDPM at ``eta`` 1 (Song et al., 2010.02502).

    Parameters
    ----------
    expected : callable
        Clean samples expected behind ``y`` at a level.
    y : tensor (B, ...)
        Samples with noise of the first level.
    levels : array
        Noise levels that fall to 0.
    eta : float
        Share of the noise of the ancestral chain.
    noise : Noise or None
        None where ``eta`` is 0.

    Returns
    -------
    tensor (B, ...)
    """
    for level, below in itertools.pairwise(map(float, levels)):
        clean = expected(y, level)
        fresh = eta**2 * below**2 * (level**2 - below**2) / level**2
        kept = (below**2 - fresh) ** 0.5 / level
        y = torch.lerp(clean, y, kept)
        if fresh and noise is not None:
            y.add_(noise.draw(), alpha=fresh**0.5)
    return y


def heun(
    expected: Callable[[Tensor, float], Tensor],
    y: Tensor,
    levels: np.ndarray,
    eta: float,
    noise: Noise | None,
) -> Tensor:
    """Take the steps of Heun's method (Karras et al., 2206.00364, algorithm 1).

    Parameters
    ----------
    expected, y, levels, eta, noise
        As for `ddim`; ``eta`` is 0.

    Returns
    -------
    tensor (B, ...)
    """
    for level, below in itertools.pairwise(map(float, levels)):
        slope = (y - expected(y, level)) / level
        moved = y + (below - level) * slope
        if below > 0:
            end = (moved - expected(moved, below)) / below
            moved = y + (below - level) * (slope + end) / 2
        y = moved
    return y


SAMPLERS = {"ddim": ddim, "heun": heun}
