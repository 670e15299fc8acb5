"""Pictures of local sampling: how far it goes, and what it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import style
from .training import image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

__all__ = ["calibration_figure", "local_figure", "training_figure"]


def calibration_figure(
    sigma: ArrayLike, rms: ArrayLike, *, measured: ArrayLike | None = None
) -> Figure:
    """Draw distances of local sampling over noise levels.

    Parameters
    ----------
    sigma : array (n,)
        Noise levels.
    rms : array (n,)
        Predicted root-mean-square distances per entry.
    measured : array (n,), optional
        Distances of samples at the same levels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes differ or there is nothing to draw.

    Examples
    --------
    >>> from fastgen.plotting.diffusion import calibration_figure
    >>> len(calibration_figure([0.1, 1.0], [0.1, 0.7]).axes[0].lines)
    1
    """
    x, y = np.asarray(sigma, dtype=np.float64), np.asarray(rms, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ValueError(f"sigma and rms must have one shape (n,), got {x.shape} and {y.shape}")
    figure, axes = style.single_panel(None, 3.4, 2.5)
    style.draw_curve(axes, x, y, color=style.BLUE, label="predicted")
    if measured is not None:
        axes.plot(
            x, np.asarray(measured), "o", color=style.VERMILION, markersize=3, label="samples"
        )
        style.draw_legend(axes)
    axes.set_xscale("log")
    style.name_axes(axes, "noise level", "RMS distance per entry")
    style.frame(axes)
    return figure


def training_figure(steps: ArrayLike, errors: ArrayLike, levels: ArrayLike) -> Figure:
    """Draw held-out errors of denoising over the steps of a training, a curve for each level.

    Parameters
    ----------
    steps : array (r,)
    errors : array (r, m)
        Mean squared errors per entry.
    levels : array (m,)
        Noise levels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes do not fit or there is nothing to draw.

    Examples
    --------
    >>> from fastgen.plotting.diffusion import training_figure
    >>> len(training_figure([1, 2], [[0.5, 0.9], [0.2, 0.7]], [0.1, 1.0]).axes[0].lines)
    2
    """
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    sigma = np.asarray(levels, dtype=np.float64)
    if not x.size or y.shape != (x.size, sigma.size):
        raise ValueError(
            f"errors must have shape (steps, levels), got {y.shape} for {x.size} steps and "
            f"{sigma.size} levels"
        )
    from matplotlib import colormaps

    figure, axes = style.single_panel(None, 3.4, 2.5)
    colors = colormaps["viridis"](np.linspace(0, 0.9, sigma.size))
    for level, error, color in zip(sigma, y.T, colors, strict=True):
        style.draw_curve(axes, x, error, color=color, label=f"{level:.3g}")
    axes.set_yscale("log")
    style.name_axes(axes, "steps", "held-out error")
    style.draw_legend(axes)
    style.frame(axes)
    return figure


def local_figure(images: ArrayLike, samples: ArrayLike) -> Figure:
    """Draw images, one to a row, and the samples near them.

    Parameters
    ----------
    images : array (n, channels, height, width)
        One or three channels, values in [-1, 1]; others are clipped.
    samples : array (n, n_samples, channels, height, width)

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting.diffusion import local_figure
    >>> len(local_figure(np.zeros((2, 1, 8, 8)), np.zeros((2, 3, 1, 8, 8))).axes)
    1
    """
    first, others = np.asarray(images, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    fits = first.ndim == 4 and others.ndim == 5 and first.shape == others[:, 0].shape
    if not fits or first.shape[1] not in (1, 3) or not len(first):
        raise ValueError(
            "images must have shape (n, 1 or 3, height, width) and samples (n, n_samples, ...) of "
            f"the same images, got {first.shape} and {others.shape}"
        )
    rows = [
        image_grid_row(np.concatenate([a[None], b])) for a, b in zip(first, others, strict=True)
    ]
    picture = np.concatenate(rows)
    height = 4.0 * picture.shape[0] / picture.shape[1]
    figure, axes = style.single_panel(None, 4.0, max(1.0, height))
    gray = picture.shape[2] == 1
    axes.imshow(picture[..., 0] if gray else picture, cmap="gray" if gray else None, vmin=0, vmax=1)
    axes.set_axis_off()
    return figure


def image_grid_row(images: np.ndarray) -> np.ndarray:
    """Return images (n, channels, h, w) in [-1, 1] side by side, as `image_grid` draws them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting.diffusion import image_grid_row
    >>> image_grid_row(np.zeros((3, 1, 8, 8))).shape
    (10, 30, 1)
    """
    tiles = [np.pad(image_grid(image[None]), ((0, 2), (0, 2), (0, 0)), constant_values=1.0)
             for image in images]  # fmt: skip
    return np.concatenate(tiles, axis=1)
