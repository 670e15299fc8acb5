"""Figures of what lies in whose ball, and of rows that are near copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 50


def manifold_figure(
    values: Mapping[str, float],
    realism: np.ndarray,
    *,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw a bar for each figure, and the distribution of the realism of generated rows.

    Parameters
    ----------
    values : mapping of str to float
        Figures by name; 1 is drawn as a line.
    realism : ndarray (m,)
        Infinite values are drawn in the last bin, at twice the largest finite one.
    intervals : mapping of str to (float, float), optional
        Intervals of some of the figures.
    width : float, default 7.0
        In inches.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import manifold_figure
    >>> figure = manifold_figure({"precision": 0.9, "recall": 0.4}, np.array([0.5, 1.2, np.inf]))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['value (dimensionless)', 'generated rows']
    """
    width = style.checked_width(width)
    figure = style.figure(width, 0.4 * width)
    bars, right = figure.subplots(1, 2)
    heights = list(values.values())
    bars.bar(range(len(heights)), heights, color=style.BLUE, width=0.7)
    for place, name in enumerate(values):
        low, high = (intervals or {}).get(name, (values[name], values[name]))
        bars.plot([place, place], [low, high], color="black", linewidth=style.LINE_WIDTH)
    bars.axhline(1.0, **style.POLE)
    bars.set_xticks(range(len(heights)), values)
    style.name_axes(bars, y="value (dimensionless)")
    shown = _finite(realism)
    positive = shown[shown > 0]
    if positive.size:
        low, high = positive.min() / 1.1, positive.max() * 1.1
        right.hist(shown, np.geomspace(low, high, _BINS), color=style.BLUE)
        right.set_xscale("log")
    right.axvline(1.0, **style.POLE)
    style.name_axes(right, "realism (dimensionless)", "generated rows")
    for axes in (bars, right):
        style.frame(axes)
    return figure


def _finite(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    top = 2 * finite.max(initial=1.0)
    return np.where(np.isfinite(values), values, top)


def ratio_figure(
    generated: np.ndarray,
    holdout: np.ndarray | None = None,
    *,
    copy_ratio: float,
    width: float = 7.0,
) -> Figure:
    """Draw what share of the rows has at most which ratio of nearest to second-nearest distance.

    Parameters
    ----------
    generated : ndarray (m,)
    holdout : ndarray (h,), optional
        The same of rows that the generator never saw.
    copy_ratio : float
        Ratio of near copies, drawn as a line.
    width : float, default 7.0
        In inches.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import ratio_figure
    >>> figure = ratio_figure(np.array([0.1, 0.9]), np.array([0.8, 0.9]), copy_ratio=1 / 3)
    >>> [line.get_label() for line in figure.axes[0].lines[:2]]
    ['generated', 'holdout']
    """
    width = style.checked_width(width)
    figure = style.figure(width, 0.5 * width)
    axes = figure.subplots()
    curves = (("generated", generated, style.VERMILION), ("holdout", holdout, style.BLUE))
    for label, values, color in curves:
        if values is not None:
            known = np.sort(values[~np.isnan(values)])
            height = np.arange(1, len(known) + 1) / max(len(known), 1)
            axes.step(known, height, where="post", color=color, label=label,
                      linewidth=style.LINE_WIDTH)  # fmt: skip
    axes.axvline(copy_ratio, **style.POLE)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    style.name_axes(axes, "nearest over second-nearest distance", "share of rows (dimensionless)")
    style.frame(axes)
    style.draw_legend(axes, loc="upper left")
    return figure
