"""What all figures share: sizes of text, colors, lines, frames, legends, and how they are saved."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from .._files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

SUFFIXES = (".png", ".pdf", ".svg")
_TRUE_TYPE = 42
_SETTINGS = threading.Lock()

# Points: of labels of axes, and of everything else.
TEXT, SMALL = 8, 7
# Inches, below which panels stand one above the other.
NARROW = 5.0

# Okabe and Ito's colors, told apart with every kind of color vision.
BLUE, VERMILION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, GRAY = "#56B4E9", "#E69F00", "#444444"
COLORS = (BLUE, VERMILION, GREEN, PINK, SKY, ORANGE, GRAY)

# Styles of lines tell apart what shares a color, and gray prints.
SOLID = "-"
DASHED = (0, (4, 1.2))
DOTTED = (0, (1, 1))
DASHDOT = (0, (6, 1.2, 1, 1.2))
DASHDOTDOT = (0, (6, 1, 1, 1, 1, 1))
LINES: tuple[Any, ...] = (SOLID, DASHED, DOTTED, DASHDOT, DASHDOTDOT)

LINE_WIDTH = 1.2
THEORY: dict[str, Any] = {"color": "black", "linestyle": (0, (3, 2)), "linewidth": 0.9}
POLE: dict[str, Any] = {"color": "0.5", "linewidth": 0.6, "linestyle": (0, (1, 1.5))}
_EDGE = 0.6


def figure(width: float, height: float) -> Figure:
    """Make an empty figure that a notebook shows; pyplot does not know of it.

    Parameters
    ----------
    width, height : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from ._figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def single_panel(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """Return the figure and the panel to draw in: those of ``ax``, or new ones.

    Parameters
    ----------
    ax : Axes or None
    width, height : float
        Inches of a new figure.
    """
    if ax is None:
        made = figure(width, height)
        return made, made.subplots()
    return figure_of(ax), ax


def figure_of(ax: Any) -> Figure:
    """Return the figure that a panel given by the user belongs to; TypeError if it is no panel."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax must be one matplotlib.axes.Axes, got {type(ax).__name__}; make it with "
            "figure.subplots()"
        )
    inner: Any = ax.figure
    return inner.figure  # where the panel is of a figure inside a figure, the outer one


def checked_width(width: Any) -> float:
    """Return the width of a figure in inches, at least 1."""
    return _validate.number(width, "width", minimum=1.0)


def checked_labels(labels: Any, known: Sequence[str], what: str) -> dict[str, str]:
    """Return the user's texts by name; ValueError for a name that the figure does not show.

    Parameters
    ----------
    labels : mapping of str to str, or None
    known : sequence of str
        Names that the figure shows.
    what : str
        What they are names of, for the message.
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise TypeError(
            f"labels must map names of {what} to texts, got {type(labels).__name__}; pass for "
            f"example {{{known[0]!r}: 'text'}}"
        )
    for name in labels:
        _validate.one_of(name, "labels", known)
    return {name: str(text) for name, text in labels.items()}


def put_title(where: Figure | Axes, title: str | None, above: float = 0.0) -> None:
    """Write a title over a figure or a panel; nothing for None.

    Parameters
    ----------
    where : Figure or Axes
    title : str or None
    above : float
        Points that are taken above a panel.
    """
    if title is None:
        return
    if hasattr(where, "suptitle"):
        where.suptitle(title, fontsize=TEXT)
    else:
        where.set_title(title, fontsize=TEXT, pad=6 + above)


def frame(axes: Axes, *, left: bool = True) -> None:
    """Give a panel its frame: small ticks, and no edges on the right and above.

    Parameters
    ----------
    axes : Axes
    left : bool, default True
        Whether there is an edge on the left.
    """
    axes.spines["left"].set_visible(left)
    axes.tick_params(which="both", labelsize=SMALL, width=_EDGE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_linewidth(_EDGE)


def name_axes(axes: Axes, x: str | None = None, y: str | None = None) -> None:
    """Write what a panel's axes show."""
    if x is not None:
        axes.set_xlabel(x, fontsize=TEXT)
    if y is not None:
        axes.set_ylabel(y, fontsize=TEXT)


def draw_curve(axes: Axes, x: Any, y: Any, **look: Any) -> None:
    """Draw a line; one point, which makes no line, gets a marker."""
    marker = "o" if len(x) == 1 else None
    axes.plot(x, y, **{"linewidth": LINE_WIDTH, "marker": marker, "markersize": 3, **look})


def draw_band(axes: Axes, x: Any, low: Any, high: Any, color: Any, opacity: float = 0.2) -> None:
    """Shade what lies between two curves, behind all lines."""
    axes.fill_between(x, low, high, color=color, alpha=opacity, linewidth=0, zorder=2)


def draw_level(axes: Axes, y: float) -> None:
    """Draw a horizontal line for comparison."""
    axes.axhline(y, color="0.55", linewidth=_EDGE, zorder=1)


def draw_pole(axes: Axes, x: float) -> None:
    """Draw a vertical line at a value of note."""
    axes.axvline(x, **POLE, zorder=1)


def draw_legend(where: Figure | Axes, *entries: Any, **options: Any) -> None:
    """Draw a legend without a frame; that of a figure goes below its panels."""
    if hasattr(where, "savefig"):
        options = {"loc": "outside lower center", "columnspacing": 1.4, **options}
    where.legend(*entries, fontsize=SMALL, title_fontsize=SMALL, frameon=False, **options)


def finite_or_gap(values: ArrayLike) -> np.ndarray:
    """Return the values with gaps where they are infinite."""
    return np.where(np.isfinite(values), values, np.nan)


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure whole or not at all.

    Threads may save at the same time: the one setting of matplotlib that a .pdf changes, its kind
    of fonts, is changed by one thread at a time and is afterwards what it was.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path
        Its suffix, one of .png (300 dots per inch), .pdf (with TrueType fonts) and .svg, is the
        format. A file of that name is replaced.

    Raises
    ------
    ValueError
        If the suffix is another one; nothing is drawn then.
    OSError
        If the folder does not exist, cannot be written or is full. Nothing is left behind.

    Examples
    --------
    >>> import os, tempfile
    >>> from matplotlib.figure import Figure
    >>> from fastgen.plotting import save_figure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_figure(Figure(), os.path.join(folder, "empty.svg"))
    ...     os.listdir(folder)
    ['empty.svg']
    """
    kind = pathlib.Path(path).suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(
            f"path must end in {', '.join(SUFFIXES)}, which is the format, got {os.fspath(path)!r}"
        )
    with replacing(path) as beside:
        drawn = _drawn(figure, kind[1:])
        try:
            beside.write_bytes(drawn)
        except OSError as error:
            told = error.strerror or str(error)
            number = error.errno or errno.EIO
            raise OSError(number, f"{os.fspath(path)!r} cannot be written: {told}") from error


def _drawn(figure: Figure, kind: str) -> bytes:
    """Return the contents of the file."""
    import matplotlib

    buffer = io.BytesIO()
    if kind != "pdf":
        figure.savefig(buffer, dpi=300, format=kind)
        return buffer.getvalue()
    # The kind of font is a setting of the whole process: one thread at a time changes it.
    with _SETTINGS, matplotlib.rc_context({"pdf.fonttype": _TRUE_TYPE}):
        figure.savefig(buffer, dpi=300, format=kind)
    return buffer.getvalue()
