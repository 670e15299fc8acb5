"""The figure of what is known exactly of pseudo-supervised linear GANs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .. import _validate, gains
from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EXACT = {"color": style.VERMILION, "label": "exact"}
_LIMIT = {**style.THEORY, "label": "limit"}


def theory_figure(
    n: int,
    latent_dims: Iterable[int],
    *,
    effective_rank: float = 10.0,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw the gain, its spread and the training steps over the latent dimension, from theory.

    Three panels: the exact mean gain (`fastgen.linear.theory.expected_gain`) with its limit
    in k / n; the relative standard deviation of the gain over latents
    (`fastgen.linear.theory.gain_variance`), infinite around k = n; the steps gradient descent
    needs for a thousandth of its first distance (`fastgen.linear.theory.training_steps`).

    Parameters
    ----------
    n : int
        Number of pairs, at least 1.
    latent_dims : iterable of int
        Drawn from the smallest to the largest.
    effective_rank : float, default 10
        Effective rank of the covariance of the pairs, at least 1; see
        `fastgen.linear.theory.gain_variance`.
    title : str, optional
        Title of the figure.
    width : float, default 7.0
        Width in inches, at least 1.

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
    n = _validate.integer(n, "n")
    dims = _validate.positive_integers(latent_dims, "latent_dims")
    width = style.checked_width(width)
    ks = np.arange(dims[0], dims[-1] + 1)
    figure = style.figure(width, 0.33 * width)
    gain, spread, steps = figure.subplots(1, 3)
    style.draw_curve(gain, ks, style.finite_or_gap(gains.expected_gain(n, ks)), **_EXACT)
    style.draw_curve(gain, ks, style.finite_or_gap(gains.asymptotic_gain(ks / n)), **_LIMIT)
    style.draw_level(gain, 1)
    style.draw_legend(gain)
    deviation = np.sqrt(gains.gain_variance(n, ks, effective_rank))
    style.draw_curve(spread, ks, style.finite_or_gap(deviation), **_EXACT)
    style.draw_curve(steps, ks, style.finite_or_gap(gains.training_steps(n, ks)), **_LIMIT)
    names = ("mean gain", "relative sd of the gain", "steps of gradient descent")
    for axes, name in zip((gain, spread, steps), names, strict=True):
        axes.set_yscale("log")
        style.frame(axes)
        style.name_axes(axes, "latent dimension $k$", name)
        if ks[0] <= n <= ks[-1]:
            style.draw_pole(axes, n)
            axes.set_title(f"$n = {n}$", fontsize=style.SMALL, loc="left")
    style.put_title(figure, title)
    return figure
