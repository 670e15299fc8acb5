"""The figure of the profiles of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_LARGEST = 3.0  # standard deviations, beyond which colors do not change
_WRITTEN = 40  # names along an axis


def profile_figure(
    means: ArrayLike,
    weights: ArrayLike,
    *,
    center: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    width: float = 7.0,
    ax: Axes | None = None,
) -> Figure:
    """Draw the means of clusters as a heat map, a row for each cluster and a column for each.

    Clusters that are alike stand beside each other.

    Parameters
    ----------
    means : array (n_components, n_features)
        Mean of each cluster in each column; rows that are not finite are left blank.
    weights : array (n_components,)
        Shares of the rows.
    center, scale : array (n_features,), optional
        Mean and standard deviation of each column over all rows: colors show how many standard
        deviations a cluster lies above or below. By default those of the clusters, weighted.
    labels : sequence of str (n_features,), optional
        Names of the columns. By default their numbers.
    title : str, optional
        Title of the figure.
    width : float, default 7.0
        Width in inches, at least 1.
    ax : matplotlib.axes.Axes, optional
        Panel to draw in. By default one of a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If the shapes do not belong together, or an argument is out of its range.

    Examples
    --------
    >>> from fastgen.plotting import profile_figure
    >>> figure = profile_figure([[0.0, 1.0], [2.0, -1.0]], [0.75, 0.25], labels=["a", "b"])
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['0 (75.0%)', '1 (25.0%)']
    """
    means, weights = np.asarray(means, dtype=float), np.asarray(weights, dtype=float)
    if means.ndim != 2 or weights.shape != means.shape[:1]:
        raise ValueError(
            "means must have shape (n_components, n_features), with a weight for each component, "
            f"got {means.shape} and {weights.shape}"
        )
    if labels is not None and (isinstance(labels, str) or len(labels) != means.shape[1]):
        raise ValueError(f"labels must name each of the {means.shape[1]} columns, got {labels!r}")
    names = [str(label) for label in (range(means.shape[1]) if labels is None else labels)]
    scores = _standardized(means, weights, center, scale)
    order = _ordered(scores)
    height = 0.9 + 0.2 * min(len(means), _WRITTEN)
    figure, axes = style.single_panel(ax, style.checked_width(width), height)
    limit = min(_LARGEST, max(float(np.nanmax(np.abs(scores), initial=0.0)), 1e-12))
    picture = axes.imshow(scores[order], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    style.frame(axes)
    if len(order) <= _WRITTEN:
        axes.set_yticks(range(len(order)), [f"{k} ({weights[k]:.1%})" for k in order])
    if len(names) <= _WRITTEN:
        longest = max(map(len, names))
        axes.set_xticks(range(len(names)), names, rotation=90 if longest * len(names) > 60 else 0)
    style.name_axes(axes, x="column", y="cluster (share of rows)")
    bar = figure.colorbar(picture, ax=axes, extend="both")
    bar.set_label("standard deviations from the mean", fontsize=style.SMALL)
    bar.ax.tick_params(labelsize=style.SMALL)
    style.put_title(axes if ax is not None else figure, title)
    return figure


def _standardized(
    means: np.ndarray, weights: np.ndarray, center: ArrayLike | None, scale: ArrayLike | None
) -> np.ndarray:
    known = np.isfinite(means).all(axis=1)
    shares = np.where(known, weights, 0)
    shares = shares / max(shares.sum(), np.finfo(float).tiny)
    filled = np.where(known[:, None], means, 0)
    middle = shares @ filled if center is None else np.asarray(center, dtype=float)
    spread = np.sqrt(shares @ (filled - middle) ** 2) if scale is None else np.asarray(scale, float)
    for value, name in ((middle, "center"), (spread, "scale")):
        if value.shape != means.shape[1:]:
            raise ValueError(
                f"{name} must have shape {means.shape[1:]}, a value for each column, got "
                f"{value.shape}"
            )
    return (means - middle) / np.where(spread > 0, spread, 1)


def _ordered(scores: np.ndarray) -> np.ndarray:
    """Return the clusters with those that are alike beside each other, the blank ones last."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    known = np.flatnonzero(np.isfinite(scores).all(axis=1))
    blank = np.setdiff1d(np.arange(len(scores)), known)
    if len(known) > 2:
        known = known[leaves_list(linkage(scores[known], "average", optimal_ordering=True))]
    return np.concatenate([known, blank])
