"""The figure of the supervision-orthonormality plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from . import style

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {
    "supervised_error": r"$\mathrm{E}\,\|z - W^T x_S\|^2$",
    "unsupervised_error": r"$\mathrm{E}\,\|(I - W W^T)\,x_S\|^2$",
    "objective": "objective at the solution",
}
_NEEDED = ("n_observed", "supervision", "orthonormality_slack", "trial")
# The last slack, the loosest, is solid.
_LINES = (style.DOTTED, style.DASHED, style.DASHDOT, style.DASHDOTDOT, style.SOLID)


def plane_figure(
    dataset: xarray.Dataset,
    *,
    metric: str = "supervised_error",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw errors over the number of observed coordinates: a panel per supervision level.

    Lines are medians over trials, one for each orthonormality slack, the darker the stricter; bands
    reach from the lower to the upper quartile and may leave the frame. A vertical line marks the
    number of samples.

    Parameters
    ----------
    dataset : xarray.Dataset
        Result of `fastgen.linear.subspace_sweep`.
    metric : {"supervised_error", "unsupervised_error", "objective"}
        On a logarithmic axis shared by all panels. Levels at which it is not defined are left out:
        the supervised error at supervision 0.
    title : str, optional
        Title of the figure.
    width : float, default 7.0
        Width in inches, at least 1. Below 5, for one column of a paper, the panels are one above
        the other.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If ``dataset`` is not an xarray.Dataset.
    ValueError
        If ``dataset`` is not a plane, or ``metric`` is unknown or nowhere defined.

    Examples
    --------
    >>> from fastgen.linear import subspace_sweep
    >>> from fastgen.plotting.plane import plane_figure
    >>> plane = subspace_sweep(n_observed=[5, 10, 16], supervision=[0.5, 1.0], dim=16, n_samples=10,
    ...                        n_components=2, n_trials=3, max_iter=50, random_state=0)
    >>> [axes.get_title("left") for axes in plane_figure(plane).axes]
    ['supervision 0.5', 'supervision 1']
    """
    _validate.one_of(metric, "metric", tuple(_LABELS))
    width = style.checked_width(width)
    values = _array(dataset, metric)
    levels = values.supervision.values
    n_columns = 1 if width < style.NARROW else min(len(levels), 4 if len(levels) != 4 else 2)
    n_rows = -(-len(levels) // n_columns)
    if n_columns == 1 and width >= style.NARROW:
        width *= 0.6
    figure = style.figure(width, 2.1 * n_rows + 0.5)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    n_samples = dataset.attrs.get("n_samples")
    for axes, level in zip(panels.ravel(), levels, strict=False):
        _draw(axes, values.sel(supervision=level), n_samples)
        axes.set_title(f"supervision {level:g}", fontsize=style.TEXT, loc="left")
    for axes in panels.ravel()[len(levels) :]:
        axes.remove()
    for axes in panels.ravel()[: len(levels)][-n_columns:]:
        style.name_axes(axes, "observed coordinates $p$")
        axes.tick_params(labelbottom=True)
    for axes in panels[:, 0]:
        style.name_axes(axes, y=_LABELS[metric])
    _limits(panels[0, 0], values)
    _legend(figure, values.orthonormality_slack.values, n_columns)
    style.put_title(figure, title)
    return figure


def _array(dataset: xarray.Dataset, metric: str) -> xarray.DataArray:
    """Return the metric, (n_observed, supervision, orthonormality_slack, trial), where defined."""
    import xarray

    if not isinstance(dataset, xarray.Dataset):
        raise TypeError(
            "dataset must be the xarray.Dataset that fastgen.linear.subspace_sweep returns, got "
            f"{type(dataset).__name__}"
        )
    missing = [name for name in (metric, *_NEEDED) if name not in dataset.variables]
    if missing:
        raise ValueError(
            "dataset must be the result of fastgen.linear.subspace_sweep, but it lacks "
            + ", ".join(missing)
        )
    array = dataset[metric]
    array = array.expand_dims([name for name in _NEEDED if name not in array.dims])
    array = array.transpose(*_NEEDED).sortby(list(_NEEDED[:3]))
    array = array.where(array > 1e-12 * array.max())  # what a logarithmic axis can show
    array = array.isel(supervision=array.notnull().any(["n_observed", *_NEEDED[2:]]).values)
    if array.size == 0:
        raise ValueError(
            f"dataset has no level of supervision at which {metric!r} is defined; "
            "draw 'unsupervised_error' instead"
        )
    return array


def _draw(axes: Axes, values: xarray.DataArray, n_samples: int | None) -> None:
    slacks = values.orthonormality_slack.values
    ps = values.n_observed.values
    for rank, slack in enumerate(slacks):
        trials = values.sel(orthonormality_slack=slack).values
        seen = ~np.isnan(trials).all(axis=1)
        if not seen.any():
            continue
        lower, median, upper = np.nanquantile(trials[seen], (0.25, 0.5, 0.75), axis=1)
        look = _look(rank, len(slacks))
        style.draw_band(axes, ps[seen], lower, upper, look["color"], opacity=0.13)
        style.draw_curve(axes, ps[seen], median, **look, zorder=3 + 0.01 * rank, label=_name(slack))
    axes.set_yscale("log")
    style.frame(axes)
    left, right = axes.get_xlim()
    if n_samples is not None and left <= n_samples <= right:
        style.draw_pole(axes, n_samples)
        axes.annotate(
            f"$n = {n_samples}$",
            (n_samples, 1),
            (2, -style.SMALL),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=style.SMALL,
            color="0.2",
        )


def _limits(axes: Axes, values: xarray.DataArray) -> None:
    """Lowest quartile to highest median, with room above for the label of the line."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    cells = values.stack(cell=_NEEDED[:3]).dropna("cell", how="all")
    low = cells.quantile(0.25, "trial").min().item()
    high = cells.median("trial").max().item()
    axes.set_ylim(low / 1.2, high * 1.5 * (high / low) ** 0.06)
    if high < 100 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _look(rank: int, count: int) -> dict[str, Any]:
    """Return an ordered, color-blind safe shade and a style that also tells gray prints apart."""
    from matplotlib import colormaps

    place = 0.88 * rank / max(count - 1, 1)
    return {
        "color": colormaps["viridis"](place),
        "linestyle": _LINES[(rank - count) % len(_LINES)],
        "linewidth": 1.3,
    }


def _name(slack: float) -> str:
    return r"$\infty$" if np.isinf(slack) else f"{slack:g}"


def _legend(figure: Figure, slacks: np.ndarray, n_columns: int) -> None:
    from matplotlib.lines import Line2D

    looks = [
        Line2D([], [], label=_name(slack), **_look(rank, len(slacks)))
        for rank, slack in enumerate(slacks)
    ]
    style.draw_legend(
        figure,
        handles=looks,
        title=r"orthonormality slack $\alpha$"
        + ("\n" if n_columns == 1 else ": ")
        + r"singular values of $W$ in $[\max(0, 1 - \alpha),\,1 + \alpha]$",
        ncols=min(len(slacks), 3 if n_columns == 1 else 8),
        handlelength=3,
    )
