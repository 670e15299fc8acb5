"""The picture of a WaM result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..metrics.fid_wam import WaMResult

_TEXT, _SMALL = 8, 7
_COLOURS = {"means": "#0072B2", "covariances": "#D55E00"}
# Cells beyond are too small for a number.
_MOST_NUMBERS = 12


def transport_figure(result: WaMResult, width: float) -> Figure:
    """Draw the plan as a matrix, beside what each component of X adds to the distance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.45 * width), layout="constrained")
    plan_axes, bar_axes = figure.subplots(1, 2)
    _draw_plan(figure, plan_axes, result.plan)
    _draw_contributions(bar_axes, result)
    for axes in (plan_axes, bar_axes):
        axes.tick_params(labelsize=_SMALL, width=0.6)
    return figure


def _draw_plan(figure: Figure, axes, plan: np.ndarray) -> None:
    image = axes.imshow(100 * plan, cmap="Greys", vmin=0, aspect="equal")
    axes.set_xlabel("component of Y", fontsize=_TEXT)
    axes.set_ylabel("component of X", fontsize=_TEXT)
    axes.set_title("mass moved (%)", fontsize=_TEXT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if max(plan.shape) > _MOST_NUMBERS:
        figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=_SMALL)
        return
    for i, j in zip(*np.nonzero(plan), strict=True):
        colour = "white" if plan[i, j] > plan.max() / 2 else "black"
        axes.text(
            j, i, f"{100 * plan[i, j]:.2g}", ha="center", va="center", color=colour, size=_SMALL
        )


def _draw_contributions(axes, result: WaMResult) -> None:
    parts = result.component_contributions
    order = np.argsort(-parts.sum(axis=1), kind="stable")
    base = np.zeros(len(parts))
    for (name, colour), values in zip(_COLOURS.items(), parts[order].T, strict=True):
        axes.bar(range(len(parts)), values, bottom=base, color=colour, label=name)
        base += values
    if len(parts) <= 2 * _MOST_NUMBERS:
        axes.set_xticks(range(len(parts)), [str(i) for i in order])
    else:
        axes.set_xticks([])
    axes.set_xlabel("component of X, largest first", fontsize=_TEXT)
    axes.set_ylabel("contribution (squared units of the features)", fontsize=_TEXT)
    floor = "" if result.floor is None else f", floor {result.floor:.4g}"
    axes.set_title(f"WaM$^2$ {result.wam2:.4g}{floor}, FID {result.fid:.4g}", fontsize=_TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=_SMALL, frameon=False)
