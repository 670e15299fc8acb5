"""Pictures of memorisation studies, without pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _validate
from ..goof.study_table import FIGURES

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TEXT, _SMALL = 8, 7
_COLOURS = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9")
_FLOOR = "#009E73"
_FAR, _ROUNDING = 1e-3, 1e-12
_STYLES = {"train": "-", "subset": "-", "validation": (0, (4, 1.2)), "all": (0, (6, 1.2, 1, 1.2))}
_AXES = {"size": "training rows", "n_members": "members of the union"}
_LABELS = {
    "mse": "mean squared distance per pixel\n(squared units of the data)",
    "median": "median squared distance per pixel\n(squared units of the data)",
    "rms": "root mean squared distance\n(units of the data)",
    "relative": "squared distance relative to the mean\n(dimensionless)",
}


def study_figure(
    dataset: xarray.Dataset, *, metric: str = "mse", width: float | None = None
) -> Figure:
    """Draw a study: distances to the range with the planted floor, and the gap where there is one.

    Lines are medians over trials, bands reach from the least to the greatest. Zeros, also
    but for rounding, and what has not been computed are left out.

    Parameters
    ----------
    dataset : xarray.Dataset
        Result of a function of :mod:`fastgen.goof.study`.
    metric : {"mse", "median", "rms", "relative"}, default "mse"
        The floor and the bound are shown beside "mse" only, whose units they have; a floor a
        thousand times below all else only in the legend, its greatest value.
    width : float, optional
        In inches: 7 with two panels, 4 with one, by default.

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
    from matplotlib.figure import Figure

    _validate.one_of(metric, "metric", FIGURES)
    if "study" not in getattr(dataset, "attrs", {}):
        raise TypeError("dataset must be the result of a function of fastgen.goof.study")
    dim = next(name for name in _AXES if name in dataset.dims)
    gap = "gap" in dataset
    width = (7.0 if gap else 4.0) if width is None else width
    width = _validate.number(width, "width", minimum=1.0)
    figure = Figure(figsize=(width, 2.7), layout="constrained")
    panels = figure.subplots(1, 1 + gap, squeeze=False)[0]
    _draw_distances(panels[0], dataset, dim, metric)
    if gap:
        _band(panels[1], dataset["gap"], dim, _COLOURS[0], "-", "gap")
        panels[1].axhline(0, color="0.55", linewidth=0.6, zorder=1)
        panels[1].set_ylabel("gap of the medians (dimensionless)", fontsize=_TEXT)
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xlabel(_AXES[dim], fontsize=_TEXT)
        axes.tick_params(which="both", labelsize=_SMALL, width=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        _tick_values(axes, dataset[dim].values)
    columns = 1 + gap + ("selection" in dataset.dims)
    entries = panels[0].get_legend_handles_labels()
    figure.legend(
        *entries, loc="outside lower center", ncols=columns, fontsize=_SMALL, frameon=False
    )
    figure.set_figheight(2.7 + 0.16 * -(-len(entries[0]) // columns))
    return figure


def _draw_distances(axes: Axes, dataset: xarray.Dataset, dim: str, metric: str) -> None:
    """Draw the metric by method and set, and in its units the bound and the floor."""
    methods = dataset["selection"].values.tolist() if "selection" in dataset.dims else [None]
    for i, method in enumerate(methods):
        part = dataset if method is None else dataset.sel(selection=method)
        prefix = "" if method is None else f"{method}: "
        for j, name in enumerate(part["set"].values.tolist()):
            colour = _COLOURS[j if method is None else i]
            _band(axes, part[metric].sel(set=name), dim, colour, _STYLES[name], prefix + name)
        if metric == "mse" and "bound" in part:
            style = (0, (1, 1))
            colour = "0.4" if method is None else _COLOURS[i]
            _band(axes, part["bound"], dim, colour, style, prefix + "bound")
    if metric == "mse":
        _draw_floor(axes, dataset, dim, methods)
    axes.set_yscale("log")
    axes.set_ylabel(_LABELS[metric], fontsize=_TEXT)


def _draw_floor(axes: Axes, dataset: xarray.Dataset, dim: str, methods: list) -> None:
    """Draw the planted floor, or name it in the legend where it lies far below."""
    floors = dataset["planted_mse"]
    style = (0, (1, 1.5))
    drawn = [line.get_ydata().min() for line in axes.lines]
    greatest = float(floors.max())
    if drawn and greatest < _FAR * min(drawn):
        axes.plot([], [], color=_FLOOR, linestyle=style, label=f"planted floor: {greatest:.1g}")
        return
    for i, method in enumerate(methods):
        part = floors if method is None else floors.sel(selection=method)
        _band(axes, part, dim, _FLOOR, style, "_nolegend_" if i else "planted floor")


def _band(axes: Axes, values: xarray.DataArray, dim: str, colour: str, style, label: str) -> None:
    """Draw the median over trials and the range of all."""
    rows = values.transpose(dim, "trial").values
    if values.name != "gap":
        greatest = np.nanmax(rows, initial=0.0)
        rows = np.where(rows > _ROUNDING * greatest, rows, np.nan)
    kept = np.isfinite(rows).any(axis=1)
    if not kept.any():
        return
    x, rows = values[dim].values[kept], rows[kept]
    middle = np.nanmedian(rows, axis=1)
    axes.plot(
        x, middle, color=colour, linestyle=style, linewidth=1.2, marker="o", markersize=2.5,
        label=label,
    )  # fmt: skip
    if rows.shape[1] > 1:
        low, high = np.nanmin(rows, axis=1), np.nanmax(rows, axis=1)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _tick_values(axes: Axes, values: np.ndarray) -> None:
    """Label the sizes themselves where they are few."""
    if len(values) <= 9:
        axes.set_xticks(values, [str(value) for value in values])
        axes.set_xticks([], minor=True)
