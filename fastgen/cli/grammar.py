"""Lists on the command line."""

from __future__ import annotations

import re

_PIECE = re.compile(r"(\d{1,9})(?::(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)
_MOST = 1_000_000


def integers(text: str, option: str) -> list[int]:
    """Read comma-separated positive integers and inclusive ranges ``a:b`` or ``a:b:step``.

    Parameters
    ----------
    text : str
    option : str
        The option that they belong to, for messages.

    Returns
    -------
    list of int
        The numbers in the order given.

    Raises
    ------
    ValueError
        If a piece is no such thing; the message names it.

    Examples
    --------
    >>> from fastgen.cli.grammar import integers
    >>> integers("1:9:3,40,41", "--latent-dims")
    [1, 4, 7, 40, 41]
    """
    found: list[int] = []
    for piece in text.split(","):
        match = _PIECE.fullmatch(piece.strip())
        if match is None:
            raise ValueError(
                f"{option} must be integers and ranges such as 1:120 or 1:120:5,200; "
                f"got {piece.strip()!r} in {text!r}"
            )
        begin, end, by = match.groups()
        first, step = int(begin), 1 if by is None else int(by)
        last = first if end is None else int(end)
        if first < 1 or step == 0:
            raise ValueError(f"{option} must be positive, got {piece.strip()!r} in {text!r}")
        if last < first:
            raise ValueError(
                f"{option} must have ranges that rise, got {piece.strip()!r}; write {last}:{first}"
            )
        steps = range(first, last + 1, step)
        if len(found) + len(steps) > _MOST:
            raise ValueError(f"{option} must be at most {_MOST} integers, got more in {text!r}")
        found.extend(steps)
    return found


def names(text: str) -> list[str]:
    """Read comma-separated names."""
    return [piece.strip() for piece in text.split(",")]
