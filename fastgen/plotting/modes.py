"""Picture of the modes that samples cover, without pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GOOD, _POOR, _WEIGHT = style.BLUE, style.VERMILION, "0.35"
# More samples than this are drawn in part, more modes than this as a curve of sorted shares.
_DRAWN, _BARS = 5000, 40


def mode_figure(
    *,
    samples: np.ndarray,
    good: np.ndarray,
    centers: np.ndarray,
    radius: np.ndarray,
    shares: np.ndarray,
    weights: np.ndarray,
    fair_share: float,
    width: float = 7.0,
) -> Figure:
    """Draw samples among the modes, and the share of each mode beside its weight.

    Parameters
    ----------
    samples : ndarray (n, d)
        At most 5000 rows, evenly chosen, are drawn; two principal directions of the centers where
        there are more than two columns.
    good : ndarray of bool (n,)
    centers : ndarray (n_modes, d)
    radius : ndarray (n_modes,)
        Within which a sample is good, in units of the data; drawn in one and two dimensions.
    shares, weights : ndarray (n_modes,)
        Shares of the good samples, and those that the modes should have.
    fair_share : float
        Part of its weight that fills a mode.
    width : float, default 7.0
        In inches.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from fastgen.modes import mode_report, ring
    >>> data = ring(random_state=0)
    >>> figure = mode_report(data.X, data.centers, data.scale).plot()
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['first coordinate', 'mode']
    """
    width = style.checked_width(width)
    figure = style.figure(width, 0.46 * width)
    plane, bars = figure.subplots(1, 2)
    _draw_plane(plane, samples, good, centers, radius)
    _draw_shares(bars, shares, weights, fair_share)
    for axes in (plane, bars):
        style.frame(axes)
        style.draw_legend(axes, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def _draw_plane(
    axes: Axes, samples: np.ndarray, good: np.ndarray, centers: np.ndarray, radius: np.ndarray
) -> None:
    from matplotlib.collections import EllipseCollection

    names = ("first coordinate", "second coordinate")
    plain = centers.shape[1] <= 2
    if not plain:
        middle = centers.mean(axis=0)
        basis = np.linalg.svd(centers - middle, full_matrices=False)[2][:2].T
        samples, centers = (samples - middle) @ basis, (centers - middle) @ basis
        names = ("first principal direction", "second principal direction")
    # one center, or one column: the missing coordinate is drawn as 0
    samples, centers = (
        np.pad(rows, [(0, 0), (0, 2 - rows.shape[1])]) for rows in (samples, centers)
    )
    kept = np.linspace(0, len(samples) - 1, min(len(samples), _DRAWN)).astype(int)
    for mask, color, label in ((good, _GOOD, "good"), (~good, _POOR, "low quality")):
        rows = samples[kept][mask[kept]]
        axes.scatter(rows[:, 0], rows[:, 1], s=2, color=color, linewidths=0, alpha=0.6, label=label)
    if plain and len(centers) <= _DRAWN:
        axes.add_collection(
            EllipseCollection(
                2 * radius, 2 * radius, np.zeros(len(radius)), units="x", offsets=centers,
                offset_transform=axes.transData, facecolors="none", edgecolors=_WEIGHT,
                linewidths=0.6,
            )
        )  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    style.name_axes(axes, *names)


def _draw_shares(axes: Axes, shares: np.ndarray, weights: np.ndarray, fair_share: float) -> None:
    n_modes = len(shares)
    position = np.arange(n_modes)
    if n_modes <= _BARS:
        axes.bar(position, shares, color=_GOOD, width=0.8, label="share of good samples")
        style.name_axes(axes, "mode")
    else:
        order = np.argsort(-shares, kind="stable")
        shares, weights = shares[order], weights[order]
        axes.plot(position, shares, color=_GOOD, linewidth=1.2, label="share of good samples")
        style.name_axes(axes, "mode, by its share")
    for level, line, label in ((1.0, "-", "weight"), (fair_share, ":", "filled")):
        axes.step(
            np.append(position - 0.5, n_modes - 0.5), level * np.append(weights, weights[-1]),
            where="post", color=_WEIGHT, linewidth=0.8, linestyle=line, label=label,
        )  # fmt: skip
    style.name_axes(axes, y="share (dimensionless)")
    axes.set_ylim(bottom=0)
