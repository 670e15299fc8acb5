"""The figure of a Wasserstein distance between mixtures: what goes where, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = {"means": style.BLUE, "covariances": style.VERMILION}
# Cells beyond are too small for a number.
_MOST_NUMBERS = 12


def transport_figure(
    plan: np.ndarray,
    contributions: np.ndarray,
    *,
    labels: Sequence[str] = ("X", "Y"),
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw a transport plan as a matrix, beside what each component of X adds to the distance.

    Parameters
    ----------
    plan : ndarray (K_X, K_Y)
        Share of the mass that goes from each component of X to each of Y; sums to one.
    contributions : ndarray (K_X, 2)
        What each component of X adds to the squared distance by its mean and by its covariance, in
        squared units of the features.
    labels : (str, str), default ("X", "Y")
        Names of the two sets.
    title : str, optional
        Title of the right panel, such as the distance in numbers.
    width : float, default 7.0
        Width in inches, at least 1.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes do not belong together, or an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import transport_figure
    >>> figure = transport_figure(np.diag([0.7, 0.3]), np.array([[1.0, 0.5], [4.0, 0.1]]),
    ...                           labels=("real", "generated"))
    >>> figure.axes[0].get_xlabel()
    'component of generated'
    """
    plan, contributions = np.asarray(plan), np.asarray(contributions)
    if plan.ndim != 2 or contributions.shape != (len(plan), len(_COLORS)):
        raise ValueError(
            "plan must have shape (K_X, K_Y) and contributions (K_X, 2), got "
            f"{plan.shape} and {contributions.shape}"
        )
    if isinstance(labels, str) or len(labels) != 2:
        raise ValueError(f"labels must name the two sets, got {labels!r}")
    width = style.checked_width(width)
    figure = style.figure(width, 0.45 * width)
    plan_axes, bar_axes = figure.subplots(1, 2)
    _draw_plan(figure, plan_axes, plan, labels)
    _draw_contributions(bar_axes, contributions, labels[0])
    style.put_title(bar_axes, title)
    return figure


def _draw_plan(figure: Figure, axes: Axes, plan: np.ndarray, labels: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    image = axes.imshow(100 * plan, cmap="Greys", vmin=0, aspect="equal")
    axes.tick_params(labelsize=style.SMALL, width=0.6)
    style.name_axes(axes, f"component of {labels[1]}", f"component of {labels[0]}")
    style.put_title(axes, "mass moved (%)")
    if max(plan.shape) > _MOST_NUMBERS:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=style.SMALL)
        return
    axes.set_xticks(range(plan.shape[1]))
    axes.set_yticks(range(plan.shape[0]))
    for i, j in zip(*np.nonzero(plan), strict=True):
        color = "white" if plan[i, j] > plan.max() / 2 else "black"
        text = f"{100 * plan[i, j]:.2g}" if plan[i, j] < 0.995 else "100"
        axes.text(j, i, text, ha="center", va="center", color=color, size=style.SMALL)


def _draw_contributions(axes: Axes, contributions: np.ndarray, whose: str) -> None:
    order = np.argsort(-contributions.sum(axis=1), kind="stable")
    count = len(order)
    base = np.zeros(count)
    for (name, color), values in zip(_COLORS.items(), contributions[order].T, strict=True):
        axes.bar(range(count), values, bottom=base, color=color, label=name)
        base += values
    if count <= 2 * _MOST_NUMBERS:
        axes.set_xticks(range(count), [str(i) for i in order])
    else:
        axes.set_xticks([])
    if count == 1:
        axes.set_xlim(-1.5, 1.5)  # a bar, not a wall
    axes.margins(y=0.25)  # room for the legend
    style.frame(axes)
    style.name_axes(
        axes,
        f"component of {whose}, largest first",
        "contribution (squared units of the features)",
    )
    style.draw_legend(axes, loc="upper right")
