"""Pictures of generators in training, without pyplot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = style.COLORS[:4]


def sample_figure(samples: Any, real: Any = None, *, member: Any = None) -> Figure:
    """Draw samples: images as a grid, points of the plane as points.

    Parameters
    ----------
    samples : array (n, channels, height, width) or (n, 2)
        Images with one or three channels, each in [-1, 1]; other values are clipped.
    real : array (m, 2), optional
        Points drawn behind the samples.
    member : array of int (n,), optional
        Which member of an ensemble made each: the color of points.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For samples of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting.training import sample_figure
    >>> len(sample_figure(np.zeros((16, 1, 8, 8))).axes)
    1
    """
    samples = np.asarray(samples, dtype=np.float64)
    if not drawable(samples.shape[1:]) or not len(samples):
        raise ValueError(
            "samples must be images (n, 1 or 3, height, width) or points (n, 2), at least one, got "
            f"shape {samples.shape}"
        )
    figure, axes = style.single_panel(None, 4.0, 4.0)
    if samples.ndim == 2:
        if real is not None:
            axes.plot(*np.asarray(real).T, ".", color="0.75", markersize=2, zorder=1)
        colors: Any = _COLORS[0]
        if member is not None:
            colors = [_COLORS[k % len(_COLORS)] for k in np.asarray(member)]
        axes.scatter(samples[:, 0], samples[:, 1], c=colors, s=3, linewidths=0, zorder=2)
        axes.set_aspect("equal", adjustable="datalim")
        style.frame(axes)
        return figure
    grid = image_grid(samples)
    gray = grid.shape[2] == 1
    axes.imshow(grid[..., 0] if gray else grid, cmap="gray" if gray else None, vmin=0, vmax=1)
    axes.set_axis_off()
    return figure


def drawable(shape: Sequence[int]) -> bool:
    """Whether samples of a shape have a picture.

    Examples
    --------
    >>> from fastgen.plotting.training import drawable
    >>> drawable((3, 32, 32)), drawable((2,)), drawable((64,))
    (True, True, False)
    """
    return tuple(shape) == (2,) or (len(shape) == 3 and shape[0] in (1, 3))


def image_grid(images: np.ndarray) -> np.ndarray:
    """Return one picture (H, W, channels) in [0, 1] of images (n, channels, h, w) in [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting.training import image_grid
    >>> image_grid(np.zeros((5, 1, 8, 8))).shape
    (18, 28, 1)
    """
    count, channels, height, width = images.shape
    columns = math.ceil(count**0.5)
    rows = math.ceil(count / columns)
    gap = 2
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, channels)
    grid = np.ones(shape)
    for i, image in enumerate(np.clip((images + 1) / 2, 0, 1)):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        grid[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return grid


def history_figure(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw losses against images.

    Parameters
    ----------
    history : sequence of mapping
        Rows with "images" and losses, as a run logs them.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are no rows.

    Examples
    --------
    >>> from fastgen.plotting.training import history_figure
    >>> rows = [{"images": 64 * i, "generator": 1.0, "discriminator": 1.4} for i in range(3)]
    >>> len(history_figure(rows).axes[0].lines)
    2
    """
    if not history:
        raise ValueError("history must have at least one row; train longer, or set log_every")
    figure, axes = style.single_panel(None, 4.0, 2.7)
    images = [row["images"] for row in history]
    names = [name for name in ("generator", "discriminator") if name in history[-1]]
    for name, color in zip(names, _COLORS, strict=False):
        values = [row.get(name, math.nan) for row in history]
        axes.plot(images, values, color=color, linewidth=1.0, label=name)
    style.name_axes(axes, "images", "loss")
    style.frame(axes)
    style.draw_legend(axes)
    return figure
