"""The figure of what is known exactly of pseudo-supervised linear GANs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .. import _validate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["theory_figure"]

_TEXT, _SMALL = 8, 7
_EXACT = {"color": "#D55E00", "linewidth": 1.2}
_LIMIT = {"color": "black", "linewidth": 0.9, "linestyle": (0, (3, 2))}
_POLE = {"color": "0.5", "linewidth": 0.6, "linestyle": (0, (1, 1.5))}


def theory_figure(
    n: int, latent_dims: Iterable[int], *, effective_rank: float = 10.0, width: float = 7.0
) -> Figure:
    """Draw the gain, its spread and the training steps over the latent dimension, from theory.

    Three panels: the exact mean gain (:func:`fastgen.linear.theory.expected_gain`) with its limit
    in k / n; the relative standard deviation of the gain over latents
    (:func:`fastgen.linear.theory.gain_variance`), infinite around k = n; the steps gradient descent
    needs for a thousandth of its first distance (:func:`fastgen.linear.theory.training_steps`).

    Parameters
    ----------
    n : int
        Number of pairs, at least 1.
    latent_dims : iterable of int
        Drawn from the smallest to the largest.
    effective_rank : float, default 10
        Of the covariance of the pairs, at least 1; see :func:`fastgen.linear.theory.gain_variance`.
    width : float, default 7.0
        Width in inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If ``n`` is not an integer.
    ValueError
        If an argument is out of its range.

    See Also
    --------
    sweep_figure : draws the mean gain over a simulated one.

    Examples
    --------
    >>> from fastgen.plotting import theory_figure
    >>> [axes.get_ylabel() for axes in theory_figure(20, range(1, 101)).axes]
    ['mean gain', 'relative sd of the gain', 'steps of gradient descent']
    """
    from matplotlib.figure import Figure

    from ..linear import theory

    n = _validate.integer(n, "n")
    dims = _validate.positive_integers(latent_dims, "latent_dims")
    width = _validate.number(width, "width", minimum=1.0)
    ks = np.arange(dims[0], dims[-1] + 1)
    figure = Figure(figsize=(width, 0.33 * width), layout="constrained")
    gain, spread, steps = figure.subplots(1, 3)
    gain.plot(ks, _broken(theory.expected_gain(n, ks)), **_EXACT, label="exact")
    gain.plot(ks, _broken(theory.asymptotic_gain(ks / n)), **_LIMIT, label="limit")
    gain.axhline(1, color="0.55", linewidth=0.6, zorder=1)
    gain.legend(fontsize=_SMALL, frameon=False)
    gain.set_ylabel("mean gain", fontsize=_TEXT)
    spread.plot(ks, _broken(np.sqrt(theory.gain_variance(n, ks, effective_rank))), **_EXACT)
    spread.set_ylabel("relative sd of the gain", fontsize=_TEXT)
    steps.plot(ks, _broken(theory.training_steps(n, ks)), **_LIMIT)
    steps.set_ylabel("steps of gradient descent", fontsize=_TEXT)
    for axes in (gain, spread, steps):
        axes.set_yscale("log")
        axes.set_xlabel("latent dimension $k$", fontsize=_TEXT)
        axes.tick_params(which="both", labelsize=_SMALL, width=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if ks[0] <= n <= ks[-1]:
            axes.axvline(n, **_POLE, zorder=1)
            axes.set_title(f"$n = {n}$", fontsize=_SMALL, loc="left")
    return figure


def _broken(values: np.ndarray) -> np.ndarray:
    """Gaps where values are infinite."""
    return np.where(np.isfinite(values), values, np.nan)
