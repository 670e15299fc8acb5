"""Figures of evaluations: the FID against the number of samples, and scores beside their floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def extrapolation_figure(
    shares: np.ndarray,
    means: np.ndarray,
    value: float,
    slope: float,
    interval: tuple[float, float],
    *,
    width: float = 3.5,
) -> Figure:
    """Draw the FID against the inverse of the share of the samples, with the line to zero.

    Parameters
    ----------
    shares : ndarray (L,)
        Shares of the samples, such as 1, 1/2, 1/4.
    means : ndarray (L,)
        FID at each share, in squared units of the features.
    value, slope : float
        The line.
    interval : (float, float)
        95 % interval of ``value``.
    width : float, default 3.5
        Width in inches, at least 1.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If shares and means differ in number, or the width is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import extrapolation_figure
    >>> figure = extrapolation_figure([1, 0.5], [3.0, 4.0], 2.0, 1.0, (1.8, 2.2))
    >>> figure.axes[0].get_ylabel()
    'FID'
    """
    shares, means = np.asarray(shares, float), np.asarray(means, float)
    if shares.shape != means.shape or shares.ndim != 1:
        raise ValueError(
            f"shares and means must have one shape (L,), got {shares.shape} and {means.shape}"
        )
    width = style.checked_width(width)
    figure = style.figure(width, 0.75 * width)
    axes = figure.subplots()
    inverse = 1 / shares
    ends = np.array([0.0, inverse.max()])
    style.draw_curve(axes, ends, value + slope * ends, color=style.GRAY, linestyle=style.DASHED)
    axes.plot(inverse, means, "o", color=style.BLUE, markersize=4, label="measured")
    low, high = interval
    axes.errorbar(
        [0.0], [value], [[value - low], [high - value]], fmt="s", color=style.VERMILION,
        markersize=4, capsize=2, linewidth=style.LINE_WIDTH, label="infinitely many samples",
    )  # fmt: skip
    axes.set_xticks([0.0, *inverse], ["0", *(f"{x:g}" for x in inverse)])
    style.frame(axes)
    style.name_axes(axes, "all samples over samples taken", "FID")
    style.draw_legend(axes, loc="upper left")
    return figure


def evaluation_figure(metrics: Mapping[str, Mapping[str, Any]], *, width: float = 7.0) -> Figure:
    """Draw each score with its interval beside its floor, every one on a scale of its own.

    Parameters
    ----------
    metrics : mapping of str to mapping
        By name: ``value``, ``floor``, ``interval`` and ``better`` ("lower", "higher" or None);
        those without a value are left out.
    width : float, default 7.0
        Width in inches, at least 1.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If no metric has a value, or the width is out of its range.

    Examples
    --------
    >>> from fastgen.plotting import evaluation_figure
    >>> score = {"value": 3.0, "floor": 1.0, "interval": (2.5, 3.5), "better": "lower"}
    >>> len(evaluation_figure({"fid": score, "kid": score}).axes)
    2
    """
    shown = {name: score for name, score in metrics.items() if score["value"] is not None}
    if not shown:
        raise ValueError("metrics must hold at least one value, got none")
    width = style.checked_width(width)
    columns = 2 if width >= style.NARROW and len(shown) > 1 else 1
    rows = -(-len(shown) // columns)
    figure = style.figure(width, 0.54 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False).ravel(order="F")
    for axes, (name, score) in zip(panels, shown.items(), strict=False):
        _draw_score(axes, name, score)
    for axes in panels[len(shown) :]:
        axes.remove()
    handles, names = panels[0].get_legend_handles_labels()
    for axes in panels[1 : len(shown)]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in names:
                handles.append(handle)
                names.append(label)
    style.draw_legend(figure, handles, names, ncols=2)
    return figure


def _draw_score(axes: Axes, name: str, score: Mapping[str, Any]) -> None:
    value, floor, interval = score["value"], score["floor"], score["interval"]
    if interval is not None:
        errors: Sequence[Any] = [[max(value - interval[0], 0)], [max(interval[1] - value, 0)]]
        axes.errorbar(
            [value], [0], xerr=errors, fmt="none", color=style.BLUE, capsize=2,
            linewidth=style.LINE_WIDTH,
        )  # fmt: skip
    axes.plot([value], [0], "o", color=style.BLUE, markersize=4, label="generated")
    if floor is not None:
        axes.plot(
            [floor], [0], "|", color=style.VERMILION, markersize=10, markeredgewidth=1.5,
            label="a perfect generator",
        )  # fmt: skip
    arrow = {"lower": " (lower is better)", "higher": " (higher is better)"}
    axes.set_yticks([])
    axes.margins(x=0.3)
    style.frame(axes, left=False)
    axes.set_title(
        name + arrow.get(score["better"] or "", ""), fontsize=style.SMALL, loc="left", pad=1
    )
