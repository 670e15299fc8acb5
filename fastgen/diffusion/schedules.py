"""Noise schedules: how much of the signal is left after t steps, by the names that papers use."""

from __future__ import annotations

import numpy as np

from .. import _validate

__all__ = ["alphas_cumprod", "noise_levels"]

_KINDS = ("linear", "scaled_linear", "cosine")
_LARGEST_BETA = 0.999


def alphas_cumprod(
    kind: str = "linear",
    n_steps: int = 1000,
    *,
    beta_start: float | None = None,
    beta_end: float | None = None,
) -> np.ndarray:
    """Return the products of ``1 - beta`` over the steps of a schedule.

    Parameters
    ----------
    kind : {"linear", "scaled_linear", "cosine"}
        "linear": Ho et al. (2020), section 4, betas from 1e-4 to 0.02; "scaled_linear": their roots
        rise evenly, 8.5e-4 to 0.012 as in Stable Diffusion; "cosine": Nichol and Dhariwal (2021),
        section 3.2.
    n_steps : int, default 1000
        Number of steps T.
    beta_start, beta_end : float, optional
        First and last beta of the two kinds that are made of betas.

    Returns
    -------
    float64 array (T,)
        Entry t - 1 belongs to step t of 1..T.

    Raises
    ------
    ValueError
        For another kind, betas outside (0, 1), or betas given to "cosine".

    Examples
    --------
    >>> from fastgen.diffusion import alphas_cumprod
    >>> alphas_cumprod("linear")[[100, 500]].round(3)
    array([0.895, 0.078])
    """
    kind = _validate.one_of(kind, "kind", _KINDS)
    n_steps = _validate.integer(n_steps, "n_steps")
    if kind == "cosine":
        if beta_start is not None or beta_end is not None:
            raise ValueError("beta_start and beta_end have no meaning for kind='cosine'; drop them")
        times = np.arange(n_steps + 1) / n_steps
        kept = np.cos((times + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - kept[1:] / kept[:-1], _LARGEST_BETA)
        return np.cumprod(1 - betas)
    usual = (1e-4, 0.02) if kind == "linear" else (8.5e-4, 0.012)
    first = usual[0] if beta_start is None else beta_start
    last = usual[1] if beta_end is None else beta_end
    for value, name in ((first, "beta_start"), (last, "beta_end")):
        if not 0 < _validate.number(value, name) < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {value}")
    if kind == "scaled_linear":
        return np.cumprod(1 - np.linspace(first**0.5, last**0.5, n_steps) ** 2)
    return np.cumprod(1 - np.linspace(first, last, n_steps))


def noise_levels(alphas_cumprod: np.ndarray) -> np.ndarray:
    """Return the noise levels ``sigma = sqrt((1 - a) / a)`` of a schedule.

    The level is the standard deviation of the noise relative to the signal. It means the same for
    every model, while the share t / T of the steps does not.

    Parameters
    ----------
    alphas_cumprod : array (T,)
        Values in (0, 1) that fall.

    Returns
    -------
    float64 array (T,)

    Raises
    ------
    ValueError
        If the values do not fall from below 1 to above 0: betas, alphas or noise levels given in
        their place are found so.

    Examples
    --------
    >>> from fastgen.diffusion import alphas_cumprod, noise_levels
    >>> noise_levels(alphas_cumprod("cosine"))[[100, 500]].round(2)
    array([0.17, 1.02])
    """
    kept = np.asarray(alphas_cumprod, dtype=np.float64)
    if kept.ndim != 1 or not len(kept):
        raise ValueError(f"alphas_cumprod must have shape (T,), got {kept.shape}")
    if not (np.isfinite(kept).all() and 0 < kept[-1] and kept[0] < 1 and (np.diff(kept) < 0).all()):
        raise ValueError(
            "alphas_cumprod must fall from below 1 to above 0, got values from "
            f"{kept[0]:.6g} to {kept[-1]:.6g}; pass numpy.cumprod(1 - betas)"
        )
    return np.sqrt((1 - kept) / kept)
