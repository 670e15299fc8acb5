"""The figure of how many components a mixture should have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import style

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {
    "heldout": "log density of rows left out (nats a row)",
    "bic": "minus BIC (nats)",
    "aic": "minus AIC (nats)",
}


def selection_figure(
    dataset: xarray.Dataset,
    *,
    title: str | None = None,
    width: float = 4.0,
    ax: Axes | None = None,
) -> Figure:
    """Draw the score of each number of components, its spread over folds, and the best.

    Parameters
    ----------
    dataset : Dataset
        What `fastgen.mixture.select_components` returns.
    title : str, optional
        Title of the figure.
    width : float, default 4.0
        Width in inches, at least 1.
    ax : matplotlib.axes.Axes, optional
        Panel to draw in. By default one of a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        Bands reach one standard error of the mean over folds up and down. Open marks are numbers
        with fits that did not converge.

    Raises
    ------
    TypeError, ValueError
        If the dataset has no scores, or an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.mixture import select_components
    >>> from fastgen.plotting import selection_figure
    >>> X = np.random.default_rng(0).standard_normal((60, 2))
    >>> figure = selection_figure(select_components(X, [1, 2], random_state=0))
    >>> figure.axes[0].get_xlabel()
    'components'
    """
    from matplotlib.ticker import MaxNLocator

    if "score" not in dataset or "n_components" not in dataset.dims:
        raise ValueError("dataset must be what select_components returns, got no scores")
    scores = dataset.score.transpose("n_components", ...).values
    scores = scores.reshape(len(scores), -1)
    counts, means = dataset.n_components.values, scores.mean(axis=1)
    width = style.checked_width(width)
    figure, axes = style.single_panel(ax, width, 0.7 * width)
    if scores.shape[1] > 1:
        error = scores.std(axis=1, ddof=1) / np.sqrt(scores.shape[1])
        style.draw_band(axes, counts, means - error, means + error, style.BLUE)
    style.draw_curve(axes, counts, means, color=style.BLUE)
    settled = dataset.converged.transpose("n_components", ...).values.reshape(len(counts), -1)
    for whole, face, text in ((True, style.BLUE, "converged"), (False, "white", "not all did")):
        some = settled.all(axis=1) == whole
        if some.any():
            axes.plot(
                counts[some], means[some], "o", markersize=4, color=style.BLUE,
                markerfacecolor=face, label=text,
            )  # fmt: skip
    best = dataset.attrs.get("best", counts[np.argmax(means)])
    style.draw_pole(axes, best)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.frame(axes)
    style.name_axes(axes, "components", _NAMES.get(dataset.attrs.get("criterion", ""), "score"))
    style.draw_legend(axes, title=f"best {best}")
    style.put_title(axes if ax is not None else figure, title)
    return figure
