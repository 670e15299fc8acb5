"""The map of two mixtures in a plane: points, components as ellipses, and the mass that moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = (style.BLUE, style.VERMILION)
# Components with a smaller share are not drawn, lines of less mass neither.
_LEAST = 1e-3
_THICKEST = 4.0

# Means (K, 2), covariances (K, 2, 2) and weights (K,).
Seen = tuple[np.ndarray, np.ndarray, np.ndarray]


def component_figure(
    points: Sequence[np.ndarray],
    mixtures: Sequence[Seen],
    plan: np.ndarray,
    *,
    labels: Sequence[str] = ("real", "generated"),
    width: float = 4.0,
) -> Figure:
    """Draw two sets of points in a plane, the components of their mixtures and the mass between.

    Parameters
    ----------
    points : two arrays (n, 2), (m, 2)
    mixtures : two tuples of means (K, 2), covariances (K, 2, 2) and weights (K,)
        Components are drawn as ellipses of one standard deviation, the heavier the darker.
    plan : ndarray (K_X, K_Y)
        Share of the mass that goes from each component of the first to each of the second; sums to
        one.
    labels : (str, str), default ("real", "generated")
        Names of the two sets.
    width : float, default 4.0
        Width in inches, at least 1.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes do not belong together.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import component_figure
    >>> seen = np.zeros((1, 2)), np.eye(2)[None], np.ones(1)
    >>> figure = component_figure((np.zeros((5, 2)), np.ones((5, 2))), (seen, seen), np.eye(1))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['real', 'generated']
    """
    sizes = tuple(len(weights) for _, _, weights in mixtures)
    if np.shape(plan) != sizes:
        raise ValueError(f"plan must have shape {sizes}, got {np.shape(plan)}")
    width = style.checked_width(width)
    figure = style.figure(width, 0.9 * width)
    axes = figure.subplots()
    for where, color, label in zip(points, _COLORS, labels, strict=True):
        # many points: as pixels, which keeps the file small
        axes.scatter(
            where[:, 0], where[:, 1], s=2, color=color, alpha=0.35, linewidths=0, label=label,
            rasterized=True,
        )  # fmt: skip
    for seen, color in zip(mixtures, _COLORS, strict=True):
        _draw_ellipses(axes, seen, color)
    _draw_mass(axes, mixtures, np.asarray(plan))
    style.frame(axes)
    style.name_axes(axes, "first principal direction", "second principal direction")
    style.draw_legend(figure, ncols=2, markerscale=3)
    return figure


def _draw_ellipses(axes: Axes, seen: Seen, color: str) -> None:
    from matplotlib.patches import Ellipse

    for mean, covariance, weight in zip(*seen, strict=True):
        if weight < _LEAST:
            continue
        values, vectors = np.linalg.eigh(covariance)
        width, height = 2 * np.sqrt(np.maximum(values, 0.0))
        angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
        strength = 0.4 + 0.6 * min(1.0, weight * len(seen[2]))
        shape = Ellipse(mean, width, height, angle=angle, fill=False)
        shape.set(edgecolor=color, alpha=strength, linewidth=style.LINE_WIDTH)
        axes.add_patch(shape)


def _draw_mass(axes: Axes, mixtures: Sequence[Seen], plan: np.ndarray) -> None:
    starts, ends = mixtures[0][0], mixtures[1][0]
    for i, j in zip(*np.nonzero(plan > _LEAST), strict=True):
        axes.annotate(
            "",
            ends[j],
            starts[i],
            arrowprops={
                "arrowstyle": "->",
                "color": style.GRAY,
                "linewidth": max(0.4, _THICKEST * float(plan[i, j])),
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
