"""The page: sections in a frame, one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import os
import pathlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _show_versions
from .._files import replacing
from .._version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pixels of the longer side of an image on the page, and up to which it is kept to the last bit.
_LARGEST, _EXACT = 96, 64
_QUALITY = 85
# Pixels of an inch on a page.
_DOTS = 96
_TEMPLATE = "page.html"


@dataclasses.dataclass
class Picture:
    """What the page shows as an image.

    Attributes
    ----------
    source : str
        A ``data:`` address.
    text : str
        What stands for it where it is not seen, and below it.
    width, height : int
        Pixels at which it is shown.
    """

    source: str
    text: str
    width: int
    height: int


@dataclasses.dataclass
class Strip:
    """Small images side by side: single ones, or groups that belong together.

    Attributes
    ----------
    title : str
    groups : list of (list of Picture, str)
        Each with its caption, which may be empty.
    """

    title: str
    groups: list[tuple[list[Picture], str]]


@dataclasses.dataclass
class Table:
    """Cells as text, under the names of the columns."""

    columns: list[str]
    rows: list[list[str]]


@dataclasses.dataclass
class Section:
    """A part of a page.

    Parameters
    ----------
    title : str
    reading : str, default ""
        One or two sentences on how to read what is shown.
    limits : str, default ""
        A sentence on what it does not show.

    Attributes
    ----------
    lines : list of str
        Sentences with numbers, below ``reading``.
    tables : list of Table
    figures : list of Picture
        See `add_figure`.
    strips : list of Strip
        See `add_strip`.
    """

    title: str
    reading: str = ""
    limits: str = ""
    tables: list[Table] = dataclasses.field(default_factory=list, init=False)
    figures: list[Picture] = dataclasses.field(default_factory=list, init=False)
    strips: list[Strip] = dataclasses.field(default_factory=list, init=False)
    lines: list[str] = dataclasses.field(default_factory=list, init=False)

    @property
    def anchor(self) -> str:
        """The name that links on the page use."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def add_figure(self, figure: Figure, text: str) -> None:
        """Show a matplotlib figure.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
            Drawn as SVG; figures about 4 inches wide are read on a phone as well.
        text : str
            What it shows, for readers who do not see it.
        """
        self.figures.append(drawing(figure, text))

    def add_strip(
        self,
        title: str,
        images: Sequence[np.ndarray] | np.ndarray,
        captions: Sequence[str] = (),
        *,
        beside: Sequence[np.ndarray] | np.ndarray | None = None,
    ) -> None:
        """Show images, each alone or beside another.

        Parameters
        ----------
        title : str
        images : array (n, channels, height, width)
            Values in [0, 1]; 1 or 3 channels.
        captions : sequence of str, default ()
            A short text below each.
        beside : array (n, channels, height, width), optional
            What is shown to the right of each image.
        """
        groups = []
        for i, image in enumerate(images):
            caption = captions[i] if len(captions) else ""
            group = [picture(image, f"{title}, image {i + 1}")]
            if beside is not None:
                group.append(picture(beside[i], f"{title}, beside image {i + 1}"))
            groups.append((group, caption))
        self.strips.append(Strip(title, groups))


class Page:
    """An HTML page of sections that opens from disk: no network, no script, prints to paper.

    Parameters
    ----------
    title : str
    facts : sequence of (str, str), default ()
        What was compared, as names and values, shown under the title.

    Examples
    --------
    >>> from fastgen.report import Page, Section
    >>> page = Page("Digits", [("generated", "<b>samples</b>")])
    >>> page.add(Section("Table", reading="Lower is better."))
    >>> text = page.html()
    >>> "&lt;b&gt;samples&lt;/b&gt;" in text, "Lower is better." in text
    (True, True)
    """

    def __init__(self, title: str, facts: Sequence[tuple[str, str]] = ()) -> None:
        self.title, self.facts = title, list(facts)
        self.sections: list[Section] = []

    def add(self, section: Section) -> None:
        """Append a section."""
        self.sections.append(section)

    def html(self) -> str:
        """Return the page as text; everything given is escaped."""
        import jinja2

        loader = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
        made = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
        # without the folders, which are nobody's business
        versions = [
            (name, told.split(" (")[0])
            for name, told in _show_versions.versions().items()
            if name in ("python", "numpy", "numba", "torch", "scikit-learn")
        ]
        return made.get_template(_TEMPLATE).render(
            page=self, version=__version__, versions=versions
        )

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own."""
        return (
            f'<iframe srcdoc="{html.escape(self.html())}" width="100%" height="700" '
            'style="border:1px solid #ccc"></iframe>'
        )

    @staticmethod
    def check(path: str | os.PathLike) -> None:
        """Raise, before the work begins, ValueError for a path that does not end in .html."""
        if pathlib.Path(path).suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"path must end in .html, got {os.fspath(path)!r}")

    def save(self, path: str | os.PathLike) -> None:
        """Write the page, whole or not at all.

        Parameters
        ----------
        path : path
            Ends in .html or .htm; a file of that name is replaced.

        Raises
        ------
        ValueError
            If it ends otherwise.
        OSError
            If it cannot be written.
        """
        self.check(path)
        text = self.html()
        with replacing(path) as beside:
            beside.write_text(text, encoding="utf-8")


def drawing(figure: Figure, text: str) -> Picture:
    """Return a figure as a `Picture`, drawn as SVG."""
    width, height = (round(_DOTS * side) for side in figure.get_size_inches())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Picture(_address("svg+xml", buffer.getvalue()), text, width, height)


def picture(image: np.ndarray, text: str) -> Picture:
    """Return an image (channels, height, width) in [0, 1] as a `Picture`.

    Small ones are kept to the last bit of 8; larger ones shrink to 96 pixels.
    """
    from PIL import Image

    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    pixels = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels[:3], 0, -1)
    made = Image.fromarray(pixels)
    longer = max(made.size)
    if longer > _LARGEST:
        made.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if longer <= _EXACT:
        made.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        made.save(buffer, "JPEG", quality=_QUALITY)
        kind = "jpeg"
    # small images are shown larger, by whole pixels
    times = max(1, round(_EXACT / max(made.size)))
    width, height = (times * side for side in made.size)
    return Picture(_address(kind, buffer.getvalue()), text, width, height)


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def text(value: Any) -> str:
    """Return a number as a reader wants it: three digits, or a dash for none."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " to ".join(map(text, value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)
