"""Figures of nearest-point searches, without pyplot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..goof.overfitting import OverfitTest
    from ..goof.results import NearestResult
    from ..goof.scores import GoofScore

_TEXT, _SMALL = 8, 7
_ERROR = "squared distance per pixel"
_COLOURS = {
    "data": "#0072B2",
    "train": "#0072B2",
    "validation": "#D55E00",
    "planted": "#009E73",
}


def nearest_figure(result: NearestResult, X: Any, n_images: int, width: float) -> Figure:
    """Targets above what was found, and the distribution of the errors."""
    figure, panels = _page(width, 1)
    _images(figure, panels[0], result, X, n_images)
    _distributions(panels[1], {"data": result.mse[result.finished]})
    return figure


def score_figure(score: GoofScore, n_images: int, width: float) -> Figure:
    """Images, errors of the data and of planted targets, and error against effort."""
    figure, panels = _page(width, 2)
    _images(figure, panels[0], score.nearest, score.targets, n_images)
    _distributions(panels[1], {"data": score.nearest.mse, "planted": score.planted.mse})
    pixels = max(score.nearest.reconstruction[0].size, 1)
    for name, found in (("data", score.nearest), ("planted", score.planted.nearest)):
        effort, error = found.history.T
        panels[2].plot(
            effort, np.maximum(error / pixels, 1e-18), color=_COLOURS[name], marker="o",
            markersize=2.5, linewidth=1.2, label=name,
        )  # fmt: skip
    panels[2].set_yscale("log")
    panels[2].set_xscale("log")
    _label(panels[2], "passes through the generator per target", f"mean {_ERROR}")
    return figure


def overfit_figure(test: OverfitTest, width: float) -> Figure:
    """Errors of training, validation and planted targets."""
    from matplotlib.figure import Figure

    width = _validate.number(width, "width", minimum=1.0)
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    axes = figure.subplots()
    errors = {
        "train": test.train.mse,
        "validation": test.validation.mse,
        "planted": test.planted.mse,
    }
    _distributions(axes, errors)
    axes.set_title(
        f"gap {test.gap:+.3g}, KS p {test.ks_pvalue:.2g}, permutation p "
        f"{test.permutation_pvalue:.2g}",
        fontsize=_TEXT,
    )
    return figure


def _page(width: float, n_below: int) -> tuple[Figure, list]:
    """Return a figure with a place for images above ``n_below`` panels."""
    from matplotlib.figure import Figure

    width = _validate.number(width, "width", minimum=1.0)
    figure = Figure(figsize=(width, 0.3 * width + 2.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(0.3 * width, 2.4))
    return figure, [top, *np.atleast_1d(bottom.subplots(1, n_below))]


def _images(figure: Figure, place: Any, result: NearestResult, X: Any, n_images: int) -> None:
    """Draw targets above reconstructions, spread evenly over the ordered errors."""
    n_images = _validate.integer(n_images, "n_images")
    X = X.detach().cpu().numpy() if hasattr(X, "detach") else np.asarray(X)
    if X.shape != result.reconstruction.shape:
        raise ValueError(
            f"X must be the targets, of shape {result.reconstruction.shape}, got {X.shape}"
        )
    order = np.flatnonzero(result.finished)
    if not len(order):
        raise ValueError("no target was searched: there is nothing to draw")
    order = order[result.mse[order].argsort(kind="stable")]
    chosen = order[np.unique(np.linspace(0, len(order) - 1, n_images).round().astype(int))]
    axes = place.subplots(2, len(chosen), squeeze=False)
    for row, (name, values) in enumerate((("target", X), ("found", result.reconstruction))):
        for column, index in enumerate(chosen):
            _draw(axes[row, column], values[index], X[index])
        axes[row, 0].set_ylabel(name, fontsize=_SMALL)
    for column, index in enumerate(chosen):
        axes[1, column].set_xlabel(f"{result.mse[index]:.2g}", fontsize=_SMALL)


def _draw(axes: Axes, values: np.ndarray, target: np.ndarray) -> None:
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
    return (
        values.reshape(side, side)
        if values.ndim == 1 and side >= 4 and side**2 == values.size
        else None
    )


def _distributions(axes: Axes, errors: dict[str, np.ndarray]) -> None:
    """Histograms over one logarithmic axis; zeros are drawn at its lower end."""
    seen = np.concatenate([e for e in errors.values() if len(e)] or [np.ones(1)])
    positive = seen[seen > 0]
    high = positive.max() if len(positive) else 1.0
    low = max(positive.min() if len(positive) else 1e-3, high * 1e-16) / 1.5
    bins = np.geomspace(low, high * 1.5, 41)
    for name, values in errors.items():
        axes.hist(
            np.maximum(values, low * 1.01),
            bins=bins,
            histtype="step",
            color=_COLOURS[name],
            linewidth=1.2,
            label=f"{name}, n = {len(values)}",
        )
    axes.set_xscale("log")
    _label(axes, _ERROR, "targets")


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=_TEXT)
    axes.set_ylabel(y, fontsize=_TEXT)
    axes.tick_params(which="both", labelsize=_SMALL, width=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if _handles(axes):
        axes.legend(fontsize=_SMALL, frameon=False)


def _handles(axes: Axes) -> Sequence:
    return axes.get_legend_handles_labels()[0]
