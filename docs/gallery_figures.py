"""Figures of the gallery: those that an example has drawn, without pyplot."""

from __future__ import annotations

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_shown: set[int] = set()


def scrape(block, block_vars, gallery_conf) -> str:
    """Save the figures that the example holds under a name and that are new in this block."""
    names = block_vars["example_globals"]
    paths = []
    for value in list(names.values()):
        if isinstance(value, Figure) and id(value) not in _shown:
            _shown.add(id(value))
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=150)
            paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])
