"""Figures of nonparametric mixtures, without pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _validate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEXT, _SMALL = 8, 7
# Okabe and Ito's colours; line styles tell further components apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444")
_STYLES = ("-", (0, (4, 1.2)), (0, (1, 1)), (0, (6, 1.2, 1, 1.2)))
_COLUMNS = 4


def component_look(number: int) -> dict:
    """Colour and line style of a component."""
    turn, colour = divmod(number, len(_COLOURS))
    return {"color": _COLOURS[colour], "linestyle": _STYLES[turn % len(_STYLES)]}


def density_figure(
    grid: np.ndarray,
    densities: np.ndarray,
    weights: np.ndarray,
    blocks: np.ndarray,
    *,
    width: float = 7.0,
) -> Figure:
    """Draw ``weights[j] * densities[j, l]`` over ``grid[l]``, a panel for each block l.

    Parameters
    ----------
    grid : ndarray (n_blocks, n_grid)
    densities : ndarray (n_components, n_blocks, n_grid)
    weights : ndarray (n_components,)
    blocks : ndarray (n_features,)
        Number of each coordinate's block, for the titles.
    width : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    width = _validate.number(width, "width", minimum=1.0)
    n_blocks = len(grid)
    columns = min(n_blocks, _COLUMNS)
    n_rows = -(-n_blocks // columns)
    figure = Figure(figsize=(width, 1.9 * n_rows + 0.5), layout="constrained")
    panels = figure.subplots(n_rows, columns, squeeze=False)
    for block, axes in enumerate(panels.ravel()):
        if block >= n_blocks:
            axes.set_visible(False)
            continue
        for number, (weight, density) in enumerate(zip(weights, densities[:, block], strict=True)):
            axes.plot(
                grid[block],
                weight * density,
                linewidth=1.1,
                label=f"{number} ({weight:.1%})",
                **component_look(number),
            )
        axes.set_xlim(grid[block, 0], grid[block, -1])
        axes.set_ylim(bottom=0)
        axes.set_title(_title(block, blocks), fontsize=_SMALL)
        axes.tick_params(labelsize=_SMALL, width=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("value (units of X)", fontsize=_SMALL)
    panels[0, 0].set_ylabel("weight x density", fontsize=_TEXT)
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        title="component (weight)",
        title_fontsize=_SMALL,
        loc="outside lower center",
        ncols=6,
        fontsize=_SMALL,
        frameon=False,
    )
    return figure


def _title(block: int, blocks: np.ndarray) -> str:
    members = np.flatnonzero(blocks == block)
    listed = ", ".join(str(column) for column in members[:6]) + (
        ", ..." if len(members) > 6 else ""
    )
    return f"block {block}: column{'s' if len(members) > 1 else ''} {listed}"
