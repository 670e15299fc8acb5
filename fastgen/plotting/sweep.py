"""The figure of a sweep over the latent dimension."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import _validate

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..linear.summary import Curve

# Okabe and Ito's colours, then two of Tol's: told apart with every kind of colour vision.
_COLOURS = {
    "unsupervised": "#0072B2",
    "pseudo_supervised": "#D55E00",
    "ridge": "#009E73",
    "procrustes": "#CC79A7",
    "reduced_rank": "#56B4E9",
    "free_latents": "#E69F00",
    "penalized": "#882255",
    "constrained": "#999933",
    "lexicographic": "#117733",
}
_STYLES = ("-", (0, (4, 1.2)), (0, (1, 1)), (0, (6, 1.2, 1, 1.2)), (0, (6, 1, 1, 1, 1, 1)))
_LABELS = {
    "w2": "squared 2-Wasserstein distance\n(squared units of the data)",
    "projection_error": "projection error\n(squared units of the data)",
    "train_error": "training error\n(squared units of the data)",
}
_EXACT = {"color": "black", "linestyle": (0, (3, 2)), "linewidth": 0.9}
_POLE = {"color": "0.5", "linewidth": 0.6, "linestyle": (0, (1, 1.5))}
_GAIN_LABEL = r"gain $\|G\|^2 / \mathrm{tr}\,\Sigma$ (dimensionless)"
_LATENT_LABEL = "latent dimension $k$"
_TEXT, _SMALL = 8, 7
_NARROW = 5.0


def sweep_figure(
    dataset: xarray.Dataset, *, metric: str = "w2", theory: bool = True, width: float = 7.0
) -> Figure:
    """Draw a sweep: the error over the latent dimension beside the gain.

    Lines are medians over trials, bands reach from the lower to the upper quartile. Vertical lines
    mark the number of pairs n_s, of samples n and the data dimension d where they lie in range.

    Parameters
    ----------
    dataset : xarray.Dataset
        Result of :func:`fastgen.linear.sweep`.
    metric : {"w2", "projection_error", "train_error"}
        The error of the first panel, on a logarithmic axis, in squared units of the data.
    theory : bool, default True
        Draw the mean gains that are known, :func:`fastgen.linear.theory.gain_curve`, over the
        simulated ones. They are broken where the mean is infinite, and above the median where the
        gain has a heavy tail.
    width : float, default 7.0
        Width in inches. Below 5, for one column of a paper, the panels are one above the other.

    Returns
    -------
    matplotlib.figure.Figure
        The panel of the gain is left out if no problem is supervised.

    Raises
    ------
    TypeError
        If ``dataset`` is not an xarray.Dataset.
    ValueError
        If ``dataset`` is not a sweep or ``metric`` unknown.

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
    """
    from matplotlib.figure import Figure

    from ..linear import summary

    _validate.one_of(metric, "metric", tuple(_LABELS))
    width = _validate.number(width, "width", minimum=1.0)
    errors = summary.curves(dataset, metric)
    gains = [c for c in summary.curves(dataset, "gain") if c.n_supervised is not None]
    narrow, n_panels = width < _NARROW, 2 if gains else 1
    if not gains and not narrow:
        width *= 0.6
    height = 2.1 * n_panels + 0.3 if narrow else 2.7
    figure = Figure(figsize=(width, height), layout="constrained")
    shape = (n_panels, 1) if narrow else (1, n_panels)
    panels = figure.subplots(*shape, squeeze=False, sharex=narrow).ravel()
    pairs = np.atleast_1d(dataset["n_supervised"].values).tolist()
    marks = _marks(pairs if gains else [], dataset.attrs)
    for axes, drawn in zip(panels, (errors, gains), strict=False):
        _frame(axes, drawn)
        _draw(axes, drawn, pairs)
        _draw_marks(axes, marks, labelled=axes is panels[0] or not narrow)
    panels[0].set_ylabel(_LABELS[metric], fontsize=_TEXT)
    panels[-1].set_xlabel(_LATENT_LABEL, fontsize=_TEXT)
    exact = False
    if gains:
        panels[0].set_xlabel("" if narrow else _LATENT_LABEL, fontsize=_TEXT)
        panels[1].set_ylabel(_GAIN_LABEL, fontsize=_TEXT)
        panels[1].axhline(1, color="0.55", linewidth=0.6, zorder=1)
        low, high = panels[1].get_ylim()
        panels[1].set_ylim(min(low, 0.8), max(high, 1.25))
        exact = theory and _draw_theory(panels[1], gains, _ridge(dataset))
    n_rows = _draw_legend(figure, errors, pairs, exact, columns=2 if narrow else 2 * n_panels)
    figure.set_figheight(height + 0.16 * n_rows)
    return figure


def _ridge(dataset: xarray.Dataset) -> float:
    """Weight of the ridge in a sweep; its default where the data set does not say."""
    return float(json.loads(dataset.attrs.get("arguments", "{}")).get("ridge", 0.1))


def _frame(axes: Axes, drawn: Sequence[Curve]) -> None:
    first = min(curve.latent_dims[0] for curve in drawn)
    last = max(curve.latent_dims[-1] for curve in drawn)
    margin = 0.01 * (last - first) if last > first else 1
    axes.set_xlim(first - margin, last + margin)
    axes.set_yscale("log")
    axes.tick_params(which="both", labelsize=_SMALL, width=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_linewidth(0.6)


def _draw(axes: Axes, drawn: Sequence[Curve], pairs: Sequence[int]) -> None:
    from matplotlib.ticker import LogFormatter

    low, high = np.inf, 0.0
    for order, curve in enumerate(drawn):
        lower, median, upper = (_positive(curve.quantile(q)) for q in (0.25, 0.5, 0.75))
        colour, style = _look(curve, pairs)
        top = 3 + (len(drawn) - order) * 0.01
        axes.fill_between(
            curve.latent_dims, lower, upper, color=colour, alpha=0.2, linewidth=0, zorder=2
        )
        axes.plot(
            curve.latent_dims,
            median,
            color=colour,
            linestyle=style,
            linewidth=1.2,
            marker="o" if len(median) == 1 else None,
            markersize=3,
            zorder=top,
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


def _positive(values: np.ndarray) -> np.ndarray:
    """Return what a logarithmic axis can show: rounding errors of zero become gaps."""
    return np.where(values > 1e-12 * max(np.nanmax(values), 0.0), values, np.nan)


def _name(curve: Curve) -> str:
    if curve.n_supervised is None:
        return curve.problem
    return f"{curve.problem}, n_s = {curve.n_supervised}"


def _look(curve: Curve, pairs: Sequence[int]) -> tuple:
    """Colour by problem, line style and shade by number of pairs: the most pairs are solid."""
    spare = list(_COLOURS.values())
    colour = _COLOURS.get(curve.problem) or spare[sum(map(ord, curve.problem)) % len(spare)]
    rank = 0 if curve.n_supervised is None else len(pairs) - 1 - pairs.index(curve.n_supervised)
    return _shade(colour, rank, len(pairs)), _STYLES[rank % len(_STYLES)]


def _shade(colour: str, rank: int, count: int) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    lift = 0.45 * rank / max(count - 1, 1)
    return tuple(c + (1 - c) * lift for c in to_rgb(colour))


def _marks(pairs: Sequence[int], attrs) -> dict[int, str]:
    """Labels by position, those that coincide merged."""
    names: dict[int, list[str]] = {}
    for value, name in ((attrs.get("n_samples"), "n"), *((p, "n_s") for p in pairs)):
        if value is not None:
            names.setdefault(int(value), []).append(name)
    if attrs.get("dim") is not None:
        names.setdefault(int(attrs["dim"]), []).append("d")
    return {value: f"${' = '.join(names[value])} = {value}$" for value in sorted(names)}


def _draw_marks(axes: Axes, marks: dict[int, str], *, labelled: bool) -> None:
    """Draw vertical lines that end in a label like flags, raised where it would cover the next."""
    left, right = axes.get_xlim()
    inches = 0.78 * axes.figure.get_figwidth() / axes.get_gridspec().ncols
    levels: dict[int, int] = {}
    for value in sorted((v for v in marks if left <= v <= right), reverse=True):
        axes.axvline(value, **_POLE, zorder=1)
        if not labelled:
            continue
        letters = marks[value].replace("$", "").replace("_", "")
        length = (0.62 * _SMALL * len(letters) + 3) / 72
        end = value + length / inches * (right - left)
        level = max((level + 1 for x, level in levels.items() if x < end), default=0)
        levels[value] = level
        place = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
        low = 2 + level * 1.3 * _SMALL
        pole = {"arrowstyle": "-", "shrinkA": 0, "shrinkB": 0, **_POLE}
        axes.annotate("", (value, 1), (0, low + 0.9 * _SMALL), arrowprops=pole, **place)
        axes.annotate(marks[value], (value, 1), (2, low), fontsize=_SMALL, color="0.2", **place)


def _draw_theory(axes: Axes, gains: Sequence[Curve], ridge: float) -> bool:
    """Draw the mean gains that are known within the limits that the simulation set."""
    from ..linear.theory import gain_curve

    limits = axes.get_ylim()
    drawn = set()
    for curve in gains:
        ks = np.arange(curve.latent_dims[0], curve.latent_dims[-1] + 1)
        gain, exact = gain_curve(curve.problem, curve.n_supervised, ks, ridge=ridge)
        gain[np.isinf(gain)] = np.nan
        # several problems are the same one up to n_s pairs
        if np.isnan(gain).all() or (exact, curve.n_supervised) in drawn:
            continue
        drawn.add((exact, curve.n_supervised))
        kind = "exact mean" if exact else "limit of the mean"
        axes.plot(ks, gain, **_EXACT, zorder=4, label=f"{kind}, n_s = {curve.n_supervised}")
    axes.set_ylim(limits)
    return bool(drawn)


def _draw_legend(
    figure: Figure, drawn: Sequence[Curve], pairs: Sequence[int], exact: bool, columns: int
) -> int:
    """Draw the legend, problems in columns of their own, and return its number of rows."""
    from matplotlib.lines import Line2D

    seen = dict.fromkeys(curve.problem for curve in drawn)
    solid = {c.problem: _look(c, pairs)[0] for c in drawn if c.n_supervised in (None, pairs[-1])}
    looks = [{"color": solid[name], "label": name.replace("_", "-")} for name in seen]
    more = []
    if len(pairs) > 1 and any(curve.n_supervised is not None for curve in drawn):
        for rank, count in enumerate(reversed(pairs)):
            colour, style = _shade("#404040", rank, len(pairs)), _STYLES[rank % len(_STYLES)]
            more.append({"color": colour, "linestyle": style, "label": f"$n_s = {count}$"})
    n_rows = min(max(len(more), 1), len(_STYLES))
    if exact:
        more.append({**_EXACT, "label": "mean gain in theory"})
    while -(-len(looks) // n_rows) + -(-len(more) // n_rows) > columns:
        n_rows += 1
    blank = [{"color": "none", "label": ""}]
    if more:
        looks += blank * (-len(looks) % n_rows)
        more += blank * (-len(more) % n_rows)
    figure.legend(
        handles=[Line2D([], [], **{"linewidth": 1.4, **look}) for look in looks + more],
        loc="outside lower center",
        ncols=-(-len(looks) // n_rows) + -(-len(more) // n_rows),
        fontsize=_SMALL,
        frameon=False,
        handlelength=2.4,
        columnspacing=1.4,
    )
    return n_rows
