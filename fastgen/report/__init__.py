"""Pages about a generator: one HTML file that opens from disk, with figures, images and a table.

`report` computes and writes such a page; `Page` is the page itself, to which sections of one's own
can be added. Names load when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .compose import report
    from .page import Page, Section

_HOMES = {"Page": "page", "Section": "page", "report": "compose"}

__all__ = ["Page", "Section", "report"]

__getattr__, __dir__ = attach(__name__, _HOMES)
