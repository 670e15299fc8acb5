"""Figures of searches for the nearest point a generator can make: pairs of images, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _validate
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_ERROR = "squared distance per pixel"
_COLORS = {
    "data": style.BLUE,
    "train": style.BLUE,
    "validation": style.VERMILION,
    "planted": style.GREEN,
    "displaced": style.VERMILION,
}
_SETS = ("train", "validation", "planted")
_BINS = 40
# A floor below this share of the other errors is told in the legend, not drawn.
_FAR = 1e-3
# A logarithmic axis ends here: relative to the largest error, and for errors that are zero.
_ROUNDING, _ZERO = 1e-16, 1e-18


def nearest_figure(
    targets: Any,
    reconstruction: np.ndarray,
    mse: np.ndarray,
    *,
    finished: np.ndarray | None = None,
    n_images: int = 8,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw targets above what was found for them, and the distribution of the errors.

    Parameters
    ----------
    targets : array (n, ...)
        What was searched for. Images are (n, height, width), (n, 3, height, width) or
        (n, height, width, 3), or flat with a square number of pixels; other rows become lines.
    reconstruction : ndarray (n, ...)
        What was found, of the shape of ``targets``.
    mse : ndarray (n,)
        Squared distance per pixel.
    finished : ndarray (n,) of bool, optional
        Which targets were searched; all by default.
    n_images : int, default 8
        Number of pairs, spread evenly over the ordered errors; the worst is the last.
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
        If the shapes differ, nothing was searched, or an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import nearest_figure
    >>> targets = np.random.default_rng(0).random((5, 4, 4))
    >>> found = targets + 0.1
    >>> figure = nearest_figure(targets, found, ((found - targets)**2).mean(axis=(1, 2)))
    >>> len(figure.axes)
    11
    """
    pairs = _Pairs(targets, reconstruction, mse, finished)
    figure, top, (errors,) = _page(width, 1)
    _draw_pairs(top, pairs, n_images)
    _draw_distributions(errors, {"data": pairs.errors}, {})
    style.put_title(figure, title)
    return figure


def score_figure(
    targets: Any,
    reconstruction: np.ndarray,
    mse: np.ndarray,
    planted: np.ndarray,
    *,
    history: np.ndarray,
    planted_history: np.ndarray,
    finished: np.ndarray | None = None,
    displaced: np.ndarray | None = None,
    n_images: int = 8,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw images, errors of the data and of planted targets, and error against effort.

    Planted targets are made by the generator: their errors are the floor of the search.

    Parameters
    ----------
    targets, reconstruction, mse
        As for `nearest_figure`.
    planted : ndarray (m,)
        Squared distances per pixel of the planted targets.
    history, planted_history : ndarray (steps, 2)
        Passes through the generator per target, and the mean squared distance (of all pixels
        together) after them, of the data and of the planted targets.
    finished : ndarray (n,) of bool, optional
        Which targets were searched; all by default.
    displaced : ndarray (m,), optional
        Squared distances per pixel by which displaced planted targets were found too far.
    n_images : int, default 8
        Number of pairs of images.
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
        As `nearest_figure`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import score_figure
    >>> targets = np.random.default_rng(0).random((5, 4, 4))
    >>> history = np.array([[1.0, 2.0], [10.0, 0.16]])
    >>> figure = score_figure(targets, targets + 0.1, np.full(5, 0.01), np.full(3, 1e-9),
    ...                       history=history, planted_history=history, n_images=3)
    >>> [axes.get_xlabel() for axes in figure.axes[:2]]
    ['squared distance per pixel', 'passes through the generator per target']
    """
    pairs = _Pairs(targets, reconstruction, mse, finished)
    figure, top, (errors, effort) = _page(width, 2)
    _draw_pairs(top, pairs, n_images)
    parts = {"data": pairs.errors, "planted": np.asarray(planted)}
    texts = {}
    if displaced is not None:
        parts["displaced"], texts["displaced"] = np.asarray(displaced), "displaced, excess"
    _draw_distributions(errors, parts, texts)
    n_pixels = max(pairs.reconstruction[0].size, 1)
    for name, path in (("data", history), ("planted", planted_history)):
        passes, error = np.asarray(path, dtype=float).reshape(-1, 2).T
        look = {"color": _COLORS[name], "marker": "o", "markersize": 2.5, "label": name}
        style.draw_curve(effort, passes, np.maximum(error / n_pixels, _ZERO), **look)
    effort.set_yscale("log")
    effort.set_xscale("log")
    style.frame(effort)
    style.name_axes(effort, "passes through the generator per target", f"mean {_ERROR}")
    style.draw_legend(effort)
    style.put_title(figure, title)
    return figure


def overfit_figure(
    train: np.ndarray,
    validation: np.ndarray,
    planted: np.ndarray,
    *,
    ax: Axes | None = None,
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw the errors of training and validation targets, and of planted ones.

    The axis shows training and validation, which are to be compared. Planted targets, the floor of
    the search, are drawn where they come near; where they lie a thousand times lower, the legend
    names their median.

    Parameters
    ----------
    train, validation, planted : ndarray (n,)
        Squared distances per pixel; NaN, a target that was not searched, is left out.
    ax : matplotlib.axes.Axes, optional
        Panel to draw in. By default a new figure.
    labels : mapping of str to str, optional
        Texts for "train", "validation" and "planted".
    title : str, optional
        Title of the panel.
    width : float, default 7.0
        Width of a new figure in inches, at least 1.

    Returns
    -------
    matplotlib.figure.Figure
        The one of ``ax`` if that is given.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.plotting import overfit_figure
    >>> errors = np.random.default_rng(0).chisquare(5, (2, 100))
    >>> figure = overfit_figure(errors[0], 1.2 * errors[1], np.full(20, 1e-15))
    >>> figure.axes[0].get_legend().get_texts()[2].get_text()
    'planted floor: median 1e-15, n = 20'
    """
    texts = style.checked_labels(labels, _SETS, "sets")
    figure, axes = style.single_panel(ax, style.checked_width(width), 2.6)
    values = (np.asarray(part, dtype=float) for part in (train, validation, planted))
    errors = {name: part[~np.isnan(part)] for name, part in zip(_SETS, values, strict=True)}
    floor = errors["planted"]
    compared = np.concatenate([errors["train"], errors["validation"]])
    compared = compared[compared > 0]
    told = None
    if len(compared) and len(floor) and np.median(floor) < _FAR * compared.min():
        text = texts.get("planted", "planted floor")
        told = f"{text}: median {np.median(floor):.2g}, n = {len(floor)}"
        del errors["planted"]
    _draw_distributions(axes, errors, texts, told)
    style.put_title(axes, title)
    return figure


class _Pairs:
    """Targets and what was found for them, in NumPy arrays of one shape."""

    def __init__(self, targets: Any, reconstruction: Any, mse: Any, finished: Any) -> None:
        self.reconstruction, self.mse = np.asarray(reconstruction), np.asarray(mse)
        self.targets = _arrays.to_numpy(targets)
        shape = self.reconstruction.shape
        if len(self.targets) == shape[0] and self.targets.size == self.reconstruction.size:
            self.targets = self.targets.reshape(shape)
        if self.targets.shape != shape:
            raise ValueError(
                f"X must be the targets, of shape {shape}, got {self.targets.shape}; pass the "
                "array that was searched for"
            )
        known = np.ones(len(self.mse), bool) if finished is None else np.asarray(finished)
        if not known.any():
            raise ValueError("no target was searched: there is nothing to draw")
        self.searched = np.flatnonzero(known)

    @property
    def errors(self) -> np.ndarray:
        """Errors of the targets that were searched."""
        return self.mse[self.searched]

    def spread(self, count: int) -> np.ndarray:
        """Return at most ``count`` targets, spread evenly over the ordered errors."""
        order = self.searched[self.errors.argsort(kind="stable")]
        return order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]


def _page(width: float, n_below: int) -> tuple[Figure, SubFigure, list[Axes]]:
    """Return a figure, a place for images in it, and ``n_below`` panels below."""
    width = style.checked_width(width)
    figure = style.figure(width, 0.3 * width + 2.4)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.3 * width, 2.4))[:, 0]
    return figure, top, list(bottom.subplots(1, n_below, squeeze=False)[0])


def _draw_pairs(place: SubFigure, pairs: _Pairs, n_images: int) -> None:
    chosen = pairs.spread(_validate.integer(n_images, "n_images"))
    axes = place.subplots(2, len(chosen), squeeze=False)
    rows = (("target", pairs.targets), ("found", pairs.reconstruction))
    for row, (name, values) in enumerate(rows):
        for column, index in enumerate(chosen):
            _draw_image(axes[row, column], values[index], pairs.targets[index])
        axes[row, 0].set_ylabel(name, fontsize=style.SMALL)
    for column, index in enumerate(chosen):
        axes[1, column].set_xlabel(f"{pairs.mse[index]:.2g}", fontsize=style.SMALL)


def _draw_image(axes: Axes, values: np.ndarray, target: np.ndarray) -> None:
    """Draw an image, or a line where the values are not one; the scale is the target's."""
    axes.set_xticks([])
    axes.set_yticks([])
    image = _as_image(values)
    low, high = float(target.min()), float(target.max())
    if image is None:
        axes.plot(np.asarray(values).ravel(), color="black", linewidth=0.8)
        return
    if image.ndim == 3:
        image = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))


def _as_image(values: np.ndarray) -> np.ndarray | None:
    """Return (h, w) or (h, w, 3): of a flat vector where its length is a square of 4 or more."""
    values = np.squeeze(values)
    if values.ndim == 3 and values.shape[0] == 3:
        return values.transpose(1, 2, 0)
    if values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3):
        return values
    side = round(values.size**0.5)
    if values.ndim == 1 and side >= 4 and side**2 == values.size:
        return values.reshape(side, side)
    return None


def _draw_distributions(
    axes: Axes, errors: Mapping[str, np.ndarray], texts: Mapping[str, str], told: str | None = None
) -> None:
    """Draw histograms over one logarithmic axis, whose lower end also holds what lies below.

    ``told`` is an entry of the legend for a floor that is not drawn.
    """
    parts = [part for part in errors.values() if len(part)]
    seen = np.concatenate(parts) if parts else np.ones(1)
    positive = seen[seen > 0]
    high = float(positive.max()) if len(positive) else 1.0
    low = max(float(positive.min()) if len(positive) else 1e-3, high * _ROUNDING) / 1.5
    bins = np.geomspace(low, high * 1.5, _BINS + 1).tolist()
    for name, values in errors.items():
        axes.hist(
            np.maximum(values, low * 1.01),
            bins=bins,
            histtype="step",
            color=_COLORS[name],
            linewidth=style.LINE_WIDTH,
            label=f"{texts.get(name, name)}, n = {len(values)}",
        )
    if told is not None:
        axes.plot([], [], color=_COLORS["planted"], linestyle=style.DOTTED, label=told)
    axes.set_xscale("log")
    style.frame(axes)
    style.name_axes(axes, _ERROR, "targets")
    style.draw_legend(axes)
