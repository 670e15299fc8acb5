"""What all figures share: how they are written to files."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from .._files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path
        Its suffix, one of .png (300 dots per inch), .pdf and .svg, is the format. A file of that
        name is replaced.

    Raises
    ------
    ValueError
        If the suffix is another one.
    OSError
        If the folder does not exist or cannot be written. Nothing is left behind.

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
    import matplotlib

    path = pathlib.Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"path must end in {', '.join(SUFFIXES)}, which is the format, got {os.fspath(path)!r}"
        )
    with matplotlib.rc_context({"pdf.fonttype": 42}), replacing(path) as beside:
        figure.savefig(beside, dpi=300, format=path.suffix[1:].lower())
