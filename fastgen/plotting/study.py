"""The figure of studies of memorization: distances to the range, the floor, and the gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from . import style

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = (style.BLUE, style.VERMILION, style.PINK, style.SKY)
_FLOOR = style.GREEN
# A floor below this share of all else is told in the legend; what is smaller is rounding.
_FAR, _ROUNDING = 1e-3, 1e-12
_LINES = {
    "train": style.SOLID,
    "subset": style.SOLID,
    "validation": style.DASHED,
    "all": style.DASHDOT,
}
_FEW = 9
_AXES = {"size": "training rows", "n_members": "members of the union"}
_LABELS = {
    "mse": "mean squared distance per pixel\n(squared units of the data)",
    "median": "median squared distance per pixel\n(squared units of the data)",
    "rms": "root mean squared distance\n(units of the data)",
    "relative": "squared distance relative to the mean\n(dimensionless)",
}


def study_figure(
    dataset: xarray.Dataset,
    *,
    metric: str = "mse",
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    width: float | None = None,
) -> Figure:
    """Draw a study: distances to the range with the planted floor, and the gap where there is one.

    Lines are medians over trials, bands reach from the least to the greatest. Left out are zeros,
    values that are zero up to rounding, and what has not been computed.

    Parameters
    ----------
    dataset : xarray.Dataset
        Result of a function of `fastgen.goof.study`.
    metric : {"mse", "median", "rms", "relative"}, default "mse"
        The planted floor and the bound are shown beside "mse" only, whose units they have. Where
        the floor lies a thousand times below all else, the legend tells its greatest value.
    labels : mapping of str to str, optional
        Texts for the names of sets ("train", "validation", ...) and of methods of selection.
    title : str, optional
        Title of the figure.
    width : float, optional
        Width in inches, at least 1; by default 7 with two panels and 4 with one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If ``dataset`` is no such result or ``metric`` unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof.study import goof_against_size, study_figure
    >>> from fastgen.linear import LinearGAN
    >>> X = np.random.default_rng(0).standard_normal((30, 8))
    >>> found = goof_against_size(LinearGAN(2, "unsupervised"), X, [10, 30], random_state=0)
    >>> len(study_figure(found).axes)
    1
    """
    _validate.one_of(metric, "metric", tuple(_LABELS))
    if "study" not in getattr(dataset, "attrs", {}):
        raise TypeError(
            "dataset must be the result of a function of fastgen.goof.study, got "
            f"{type(dataset).__name__} without the attribute 'study'"
        )
    dim = next(name for name in _AXES if name in dataset.dims)
    methods = dataset["selection"].values.tolist() if "selection" in dataset.dims else []
    texts = style.checked_labels(labels, [*dataset["set"].values.tolist(), *methods], "sets")
    gap = "gap" in dataset
    figure = style.figure(style.checked_width((7.0 if gap else 4.0) if width is None else width), 1)
    panels = figure.subplots(1, 1 + gap, squeeze=False)[0]
    _draw_distances(panels[0], dataset, dim, metric, texts)
    if gap:
        _draw_range(panels[1], dataset["gap"], dim, color=_COLORS[0], label="gap")
        style.draw_level(panels[1], 0)
        style.name_axes(panels[1], y="gap of the medians (dimensionless)")
    for axes in panels:
        axes.set_xscale("log")
        style.frame(axes)
        style.name_axes(axes, _AXES[dim])
        _tick_values(axes, dataset[dim].values)
    columns = 1 + gap + bool(methods)
    handles, names = panels[0].get_legend_handles_labels()
    style.draw_legend(figure, handles, names, ncols=columns)
    figure.set_figheight(2.7 + 0.16 * -(-len(names) // columns))
    style.put_title(figure, title)
    return figure


def _draw_distances(
    axes: Axes, dataset: xarray.Dataset, dim: str, metric: str, texts: Mapping[str, str]
) -> None:
    """Draw the metric by method and set, and in its units the bound and the floor."""
    methods = dataset["selection"].values.tolist() if "selection" in dataset.dims else [None]
    for i, method in enumerate(methods):
        part = dataset if method is None else dataset.sel(selection=method)
        prefix = "" if method is None else f"{texts.get(method, method)}: "
        for j, name in enumerate(part["set"].values.tolist()):
            look = {
                "color": _COLORS[j if method is None else i],
                "linestyle": _LINES[name],
                "label": prefix + texts.get(name, name),
            }
            _draw_range(axes, part[metric].sel(set=name), dim, **look)
        if metric == "mse" and "bound" in part:
            color = "0.4" if method is None else _COLORS[i]
            look = {"color": color, "linestyle": style.DOTTED, "label": prefix + "bound"}
            _draw_range(axes, part["bound"], dim, **look)
    if metric == "mse":
        _draw_floor(axes, dataset, dim, methods)
    axes.set_yscale("log")
    style.name_axes(axes, y=_LABELS[metric])


def _draw_floor(axes: Axes, dataset: xarray.Dataset, dim: str, methods: list) -> None:
    """Draw the planted floor, or name it in the legend where it lies far below."""
    floors = dataset["planted_mse"]
    look: dict[str, Any] = {"color": _FLOOR, "linestyle": style.POLE["linestyle"]}
    drawn = [float(np.min(line.get_ydata())) for line in axes.lines]
    greatest = float(floors.max())
    if drawn and greatest < _FAR * min(drawn):
        axes.plot([], [], **look, label=f"planted floor: {greatest:.1g}")
        return
    for i, method in enumerate(methods):
        part = floors if method is None else floors.sel(selection=method)
        _draw_range(axes, part, dim, **look, label="_nolegend_" if i else "planted floor")


def _draw_range(axes: Axes, values: xarray.DataArray, dim: str, **look: Any) -> None:
    """Draw the median over trials and the range of all."""
    rows = values.transpose(dim, "trial").values
    if values.name != "gap":
        greatest = np.nanmax(rows, initial=0.0)
        rows = np.where(rows > _ROUNDING * greatest, rows, np.nan)
    kept = np.isfinite(rows).any(axis=1)
    if not kept.any():
        return
    x, rows = values[dim].values[kept], rows[kept]
    style.draw_curve(axes, x, np.nanmedian(rows, axis=1), marker="o", markersize=2.5, **look)
    if rows.shape[1] > 1:
        low, high = np.nanmin(rows, axis=1), np.nanmax(rows, axis=1)
        style.draw_band(axes, x, low, high, look["color"])


def _tick_values(axes: Axes, values: np.ndarray) -> None:
    """Label the sizes themselves where they are few."""
    if len(values) <= _FEW:
        axes.set_xticks(values, [str(value) for value in values])
        axes.set_xticks([], minor=True)
