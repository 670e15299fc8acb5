"""The figure of the densities of a nonparametric mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
# Names of columns in the title of a panel; more are counted.
_NAMED = 6


def density_figure(
    grid: np.ndarray,
    densities: np.ndarray,
    weights: np.ndarray,
    blocks: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw the densities of the components of a mixture, a panel for each block of columns.

    A curve is ``weights[j] * densities[j, l]`` over ``grid[l]``, so that areas are shares of rows.

    Parameters
    ----------
    grid : ndarray (n_blocks, n_grid)
        Values, in units of the data.
    densities : ndarray (n_components, n_blocks, n_grid)
        Per unit of the data, at least 0.
    weights : ndarray (n_components,)
        Mixing weights, from 0 to 1.
    blocks : ndarray (n_features,) of int
        Number of each column's block, from 0.
    labels : sequence of str (n_features,), optional
        Names of the columns. By default their numbers.
    title : str, optional
        Title of the figure.
    width : float, default 7.0
        Width in inches, at least 1.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If the shapes do not belong together, or an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import density_figure
    >>> x = np.linspace(-3.0, 3.0, 50)
    >>> bell = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    >>> figure = density_figure(x[None], bell[None, None], np.ones(1), np.zeros(2, int),
    ...                         labels=["height", "width"])
    >>> figure.axes[0].get_title()
    'block 0: columns height, width'
    """
    grid, densities, weights, blocks = map(np.asarray, (grid, densities, weights, blocks))
    n_blocks = len(grid)
    if densities.shape != (len(weights), *grid.shape):
        raise ValueError(
            f"densities must have shape {(len(weights), *grid.shape)}, as weights and grid say, "
            f"got {densities.shape}"
        )
    names = _column_names(labels, len(blocks))
    columns = min(n_blocks, _COLUMNS)
    n_rows = -(-n_blocks // columns)
    figure = style.figure(style.checked_width(width), 1.9 * n_rows + 0.5)
    panels = figure.subplots(n_rows, columns, squeeze=False)
    for axes in panels.ravel()[n_blocks:]:
        axes.set_visible(False)
    for block, axes in enumerate(panels.ravel()[:n_blocks]):
        for number, (weight, density) in enumerate(zip(weights, densities[:, block], strict=True)):
            label = f"{number} ({weight:.1%})"
            look = {**_component_look(number), "label": label}
            style.draw_curve(axes, grid[block], weight * density, **look)
        axes.set_xlim(grid[block, 0], grid[block, -1])
        axes.set_ylim(bottom=0)
        axes.set_title(_block_title(block, blocks, names), fontsize=style.SMALL)
        style.frame(axes)
        style.name_axes(axes, x="value (units of X)")
    style.name_axes(panels[0, 0], y="weight x density")
    handles = panels[0, 0].get_legend_handles_labels()
    style.draw_legend(figure, *handles, title="component (weight)", ncols=6)
    style.put_title(figure, title)
    return figure


def _component_look(number: int) -> dict[str, Any]:
    """Return color and line style of a component: colors first, then styles."""
    turn, color = divmod(number, len(style.COLORS))
    return {"color": style.COLORS[color], "linestyle": style.LINES[turn % len(style.LINES)]}


def _column_names(labels: Sequence[str] | None, n_features: int) -> list[str]:
    if labels is None:
        return [str(column) for column in range(n_features)]
    if isinstance(labels, str) or len(labels) != n_features:
        raise ValueError(f"labels must name each of the {n_features} columns, got {labels!r}")
    return [str(label) for label in labels]


def _block_title(block: int, blocks: np.ndarray, names: Sequence[str]) -> str:
    members = np.flatnonzero(blocks == block)
    listed = ", ".join(names[column] for column in members[:_NAMED])
    more = ", ..." if len(members) > _NAMED else ""
    return f"block {block}: column{'s' if len(members) > 1 else ''} {listed}{more}"
