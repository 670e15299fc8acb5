"""The figure of a sweep over the latent dimension."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from ..gains import law_curve
from . import style
from .curves import Curve, curves, laws

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, then three of Tol's.
_COLORS = {
    "unsupervised": style.BLUE,
    "pseudo_supervised": style.VERMILION,
    "ridge": style.GREEN,
    "procrustes": style.PINK,
    "reduced_rank": style.SKY,
    "free_latents": style.ORANGE,
    "penalized": "#882255",
    "constrained": "#999933",
    "lexicographic": "#117733",
}
_LABELS = {
    "w2": "squared 2-Wasserstein distance\n(squared units of the data)",
    "projection_error": "projection error\n(squared units of the data)",
    "train_error": "training error\n(squared units of the data)",
    "gain": r"gain $\|G\|^2 / \mathrm{tr}\,\Sigma$ (dimensionless)",
}
_LATENT_LABEL = "latent dimension $k$"
# Weight of the ridge where a data set does not say.
_RIDGE = 0.1
# Least share of the largest value that a logarithmic axis shows: less is rounding of zero.
_ROUNDING = 1e-12


def sweep_figure(
    dataset: xarray.Dataset,
    *,
    metric: str = "w2",
    theory: bool = True,
    ax: Axes | None = None,
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw a sweep: the error over the latent dimension beside the gain.

    Lines are medians over trials, bands reach from the lower to the upper quartile. Vertical lines
    mark the number of pairs n_s, of samples n and the data dimension d where they lie in range.

    Parameters
    ----------
    dataset : xarray.Dataset
        Result of `fastgen.linear.sweep`.
    metric : {"w2", "projection_error", "train_error", "gain"}
        The error of the first panel, on a logarithmic axis, in squared units of the data. "gain"
        draws the panel of the gain alone.
    theory : bool, default True
        Draw the mean gains that are known, `fastgen.linear.theory.gain_curve`, over the
        simulated ones. They are broken where the mean is infinite, and above the median where the
        gain has a heavy tail.
    ax : matplotlib.axes.Axes, optional
        Panel to draw ``metric`` in, alone, with a legend inside. By default a new figure with the
        panel of the gain beside it.
    labels : mapping of str to str, optional
        Texts for the names of problems in the legend.
    title : str, optional
        Title of the figure, or of the panel ``ax``.
    width : float, default 7.0
        Width of a new figure in inches, at least 1. Below 5, for one column of a paper, the panels
        are one above the other.

    Returns
    -------
    matplotlib.figure.Figure
        The one of ``ax`` if that is given. The panel of the gain is left out if no problem is
        supervised.

    Raises
    ------
    TypeError
        If ``dataset`` is not an xarray.Dataset, or ``ax`` no panel.
    ValueError
        If ``dataset`` is not a sweep, or ``metric`` or a name in ``labels`` unknown.

    See Also
    --------
    save_figure : writes it to a file.

    Examples
    --------
    >>> from fastgen.linear import SpikedGaussian, sweep
    >>> from fastgen.plotting import sweep_figure
    >>> result = sweep(SpikedGaussian(dim=16, true_dim=5), latent_dims=range(1, 31), n_samples=10,
    ...                n_trials=20, random_state=0)
    >>> figure = sweep_figure(result)
    >>> [axes.get_ylabel().split()[0] for axes in figure.axes]
    ['squared', 'gain']

    In a panel of one's own figure, with one's own names:

    >>> from matplotlib.figure import Figure
    >>> left, right = Figure().subplots(1, 2)
    >>> figure = sweep_figure(result, ax=left, labels={"unsupervised": "PCA"}, title="spiked")
    >>> left.get_legend().get_texts()[0].get_text()
    'PCA'
    """
    _validate.one_of(metric, "metric", tuple(_LABELS))
    width = style.checked_width(width)
    gains = _supervised(curves(dataset, "gain"))
    if metric == "gain" and not gains:
        raise ValueError("dataset has no supervised problem, whose gain could be drawn")
    drawn = gains if metric == "gain" else curves(dataset, metric)
    names = list(dict.fromkeys(curve.problem for curve in drawn))
    texts = style.checked_labels(labels, names, "problems")
    texts = {name: texts.get(name, name.replace("_", "-")) for name in names}
    sheet = _Sheet(dataset, texts, has_pairs=bool(_supervised(drawn)))
    if ax is not None:
        figure = style.figure_of(ax)
        levels = sheet.draw(ax, metric, drawn, theory)
        handles = sheet.handles(1)[0]
        style.draw_legend(ax, handles=[handle for handle in handles if handle.get_label()])
        style.name_axes(ax, _LATENT_LABEL)
        style.put_title(ax, title, above=levels * 1.3 * style.SMALL)
        return figure
    panels = [(metric, drawn)] if metric != "gain" else []
    panels += [("gain", gains)] if gains else []
    narrow = width < style.NARROW
    if len(panels) == 1 and not narrow:
        width *= 0.6
    height = 2.1 * len(panels) + 0.3 if narrow else 2.7
    figure = style.figure(width, height)
    shape = (len(panels), 1) if narrow else (1, len(panels))
    axes = figure.subplots(*shape, squeeze=False, sharex=narrow).ravel()
    for i, (name, shown) in enumerate(panels):
        sheet.draw(axes[i], name, shown, theory, labeled=i == 0 or not narrow)
        style.name_axes(axes[i], _LATENT_LABEL if not narrow or i == len(panels) - 1 else "")
    handles, n_rows, n_columns = sheet.handles(2 if narrow else 2 * len(panels))
    style.draw_legend(figure, handles=handles, ncols=n_columns, handlelength=2.4)
    figure.set_figheight(height + 0.16 * n_rows)
    style.put_title(figure, title)
    return figure


def _supervised(drawn: Sequence[Curve]) -> list[Curve]:
    return [curve for curve in drawn if curve.n_supervised is not None]


class _Sheet:
    """What the panels of one sweep share: numbers of pairs, marks, looks and texts of problems."""

    def __init__(self, dataset: xarray.Dataset, texts: dict[str, str], has_pairs: bool) -> None:
        self.texts = texts
        self.pairs: list[int] = np.atleast_1d(dataset["n_supervised"].values).tolist()
        self.has_pairs = has_pairs
        self.marks = _marks(self.pairs if has_pairs else [], dataset.attrs)
        self.laws = laws(dataset)
        arguments = json.loads(dataset.attrs.get("arguments", "{}"))
        self.ridge = float(arguments.get("ridge", _RIDGE))
        self.has_theory = False

    def draw(
        self,
        axes: Axes,
        metric: str,
        drawn: Sequence[Curve],
        theory: bool,
        *,
        labeled: bool = True,
    ) -> int:
        """Draw one panel; return how many rows of labels stand above it."""
        first = min(curve.latent_dims[0] for curve in drawn)
        last = max(curve.latent_dims[-1] for curve in drawn)
        margin = 0.01 * (last - first) if last > first else 1
        axes.set_xlim(first - margin, last + margin)
        axes.set_yscale("log")
        style.frame(axes)
        self._draw_curves(axes, drawn)
        style.name_axes(axes, y=_LABELS[metric])
        levels = _draw_marks(axes, self.marks, labeled=labeled)
        if metric == "gain":
            style.draw_level(axes, 1)
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, 0.8), max(high, 1.25))
            if theory:
                self._draw_theory(axes, drawn)
        return levels

    def _draw_curves(self, axes: Axes, drawn: Sequence[Curve]) -> None:
        from matplotlib.ticker import LogFormatter

        low, high = np.inf, 0.0
        for order, curve in enumerate(drawn):
            lower, median, upper = (_positive(curve.quantile(q)) for q in (0.25, 0.5, 0.75))
            color, line = self._look(curve)
            style.draw_band(axes, curve.latent_dims, lower, upper, color)
            style.draw_curve(
                axes,
                curve.latent_dims,
                median,
                color=color,
                linestyle=line,
                zorder=3 + (len(drawn) - order) * 0.01,
                label=_name(curve),
            )
            seen = np.concatenate([lower, upper])
            if np.isfinite(seen).any():
                low, high = min(low, np.nanmin(seen)), max(high, np.nanmax(seen))
        if low <= high:
            axes.set_ylim(low / 1.4, high * 1.4)
            if high < 10 * low:
                axes.yaxis.set_major_formatter(LogFormatter())
                axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))

    def _look(self, curve: Curve) -> tuple[tuple[float, ...], Any]:
        """Color by problem, line and shade by number of pairs: the most pairs are solid."""
        rank = 0
        if curve.n_supervised is not None:
            rank = len(self.pairs) - 1 - self.pairs.index(curve.n_supervised)
        return self._shade(_color(curve.problem), rank), style.LINES[rank % len(style.LINES)]

    def _shade(self, color: str, rank: int) -> tuple[float, ...]:
        from matplotlib.colors import to_rgb

        lift = 0.45 * rank / max(len(self.pairs) - 1, 1)
        return tuple(c + (1 - c) * lift for c in to_rgb(color))

    def _draw_theory(self, axes: Axes, gains: Sequence[Curve]) -> None:
        """Draw the mean gains that are known within the limits that the simulation set."""
        limits = axes.get_ylim()
        drawn = set()
        for curve in gains:
            if curve.n_supervised is None:
                continue
            ks = np.arange(curve.latent_dims[0], curve.latent_dims[-1] + 1)
            gain, exact = law_curve(
                self.laws.get(curve.problem), curve.n_supervised, ks, self.ridge
            )
            gain = style.finite_or_gap(gain)
            # several problems are the same one up to n_s pairs
            if np.isnan(gain).all() or (exact, curve.n_supervised) in drawn:
                continue
            drawn.add((exact, curve.n_supervised))
            kind = "exact mean" if exact else "limit of the mean"
            label = f"{kind}, n_s = {curve.n_supervised}"
            axes.plot(ks, gain, **style.THEORY, zorder=4, label=label)
        axes.set_ylim(limits)
        self.has_theory = bool(drawn)

    def handles(self, columns: int) -> tuple[list[Any], int, int]:
        """Return the legend's lines, problems in columns of their own, its rows and columns.

        ``columns`` is the most columns there is room for.
        """
        from matplotlib.lines import Line2D

        looks: list[dict[str, Any]] = [
            {"color": _color(name), "label": text} for name, text in self.texts.items()
        ]
        more: list[dict[str, Any]] = []
        if len(self.pairs) > 1 and self.has_pairs:
            for rank, count in enumerate(reversed(self.pairs)):
                line = style.LINES[rank % len(style.LINES)]
                color = self._shade("#404040", rank)
                more.append({"color": color, "linestyle": line, "label": f"$n_s = {count}$"})
        n_rows = min(max(len(more), 1), len(style.LINES))
        if self.has_theory:
            more.append({**style.THEORY, "label": "mean gain in theory"})
        while columns > 1 and -(-len(looks) // n_rows) + -(-len(more) // n_rows) > columns:
            n_rows += 1
        blank: list[dict[str, Any]] = [{"color": "none", "label": ""}]
        if more:
            looks += blank * (-len(looks) % n_rows)
            more += blank * (-len(more) % n_rows)
        lines = [Line2D([], [], **{"linewidth": 1.4, **look}) for look in looks + more]
        return lines, n_rows, -(-len(lines) // n_rows)


def _positive(values: np.ndarray) -> np.ndarray:
    """Return what a logarithmic axis can show: rounding errors of zero become gaps."""
    return np.where(values > _ROUNDING * max(np.nanmax(values), 0.0), values, np.nan)


def _name(curve: Curve) -> str:
    if curve.n_supervised is None:
        return curve.problem
    return f"{curve.problem}, n_s = {curve.n_supervised}"


def _color(problem: str) -> str:
    """Return the color of a problem, one of the others' for a name that has none of its own."""
    spare = list(_COLORS.values())
    return _COLORS.get(problem) or spare[sum(map(ord, problem)) % len(spare)]


def _marks(pairs: Sequence[int], attrs: Mapping[Any, Any]) -> dict[int, str]:
    """Labels by position, those that coincide merged."""
    names: dict[int, list[str]] = {}
    for value, name in ((attrs.get("n_samples"), "n"), *((p, "n_s") for p in pairs)):
        if value is not None:
            names.setdefault(int(value), []).append(name)
    if attrs.get("dim") is not None:
        names.setdefault(int(attrs["dim"]), []).append("d")
    return {value: f"${' = '.join(names[value])} = {value}$" for value in sorted(names)}


def _draw_marks(axes: Axes, marks: dict[int, str], *, labeled: bool) -> int:
    """Draw vertical lines that end in a label like flags, raised where it would cover the next.

    Returns the number of rows that the labels take above the panel.
    """
    left, right = axes.get_xlim()
    inches = style.figure_of(axes).get_figwidth() * axes.get_position().width
    levels: dict[int, int] = {}
    small = style.SMALL
    for value in sorted((v for v in marks if left <= v <= right), reverse=True):
        style.draw_pole(axes, value)
        if not labeled:
            continue
        letters = marks[value].replace("$", "").replace("_", "")
        length = (0.62 * small * len(letters) + 3) / 72
        end = value + length / inches * (right - left)
        level = max((level + 1 for x, level in levels.items() if x < end), default=0)
        levels[value] = level
        place: dict[str, Any] = {
            "xycoords": axes.get_xaxis_transform(),
            "textcoords": "offset points",
        }
        low = 2 + level * 1.3 * small
        pole = {"arrowstyle": "-", "shrinkA": 0, "shrinkB": 0, **style.POLE}
        axes.annotate("", (value, 1), (0, low + 0.9 * small), arrowprops=pole, **place)
        axes.annotate(marks[value], (value, 1), (2, low), fontsize=small, color="0.2", **place)
    return max(levels.values(), default=-1) + 1
