"""The class of the figures that this package makes: a notebook shows them without pyplot."""

from __future__ import annotations

import io

from matplotlib import figure


class Figure(figure.Figure):
    """A figure of matplotlib that is shown where it is the last expression of a notebook's cell."""

    def _repr_png_(self) -> bytes:
        """Return the picture for the notebook."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
