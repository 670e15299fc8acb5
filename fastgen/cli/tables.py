"""Tables of numbers as text: with or without a header, with or without names of rows."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence

import numpy as np

MISSING = ("", "na", "nan", "n/a", "null", "none", "-", "?")
_DELIMITERS = ",;\t"


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers, and what they are called.

    Attributes
    ----------
    rows : ndarray (n_rows, n_columns)
        NaN where a value is missing.
    names : list of str
        Of the rows: their first column if it is no number, else their numbers from 0.
    columns : list of str
        Of the columns: the header's, else their numbers from 0.
    """

    rows: np.ndarray
    names: list[str]
    columns: list[str]


def read(path: str) -> Table:
    """Read a table separated by commas, semicolons or tabs.

    Parameters
    ----------
    path : str
        UTF-8 text. A first line with an entry that is no number is the header; a first column with
        an entry that is no number holds names. Lines without any entry are skipped.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If lines differ in length, an entry is no number, or nothing is there.
    OSError
        If the file cannot be opened.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise type(error)(f"table {path!r} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"table {path!r} is not UTF-8 text at byte {error.start}; save it as CSV"
        ) from error
    if "\0" in text:
        raise ValueError(f"table {path!r} is not text; save it as CSV")
    lines = _lines(text, path)
    header = not all(_is_number(entry) for entry in lines[0][1][1:] or lines[0][1])
    body = lines[1:] if header else lines
    if not body:
        raise ValueError(f"table {path!r} has a header but no rows")
    named = not all(_is_number(entries[0]) for _, entries in body)
    first = int(named)
    if len(body[0][1]) <= first:
        raise ValueError(f"table {path!r} has no column of numbers")
    rows = np.array([_numbers(entries[first:], line, first, path) for line, entries in body])
    names = [entries[0].strip() for _, entries in body] if named else None
    columns = [entry.strip() for entry in lines[0][1][first:]] if header else None
    return Table(
        rows,
        names or [str(number) for number in range(len(rows))],
        columns or [str(number) for number in range(rows.shape[1])],
    )


def _lines(text: str, path: str) -> list[tuple[int, list[str]]]:
    """Entries of each line that has any, with its number."""
    top = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=top.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    try:
        lines = [
            (reader.line_num, entries) for entries in reader if any(e.strip() for e in entries)
        ]
    except csv.Error as error:
        raise ValueError(f"table {path!r}, line {reader.line_num}: {error}") from error
    if not lines:
        raise ValueError(f"table {path!r} is empty")
    width = len(lines[-1][1])
    # R writes headers without an entry for the names of the rows
    if len(lines) > 1 and len(lines[0][1]) == width - 1:
        lines[0] = (lines[0][0], ["", *lines[0][1]])
    for line, entries in lines:
        if len(entries) != width:
            raise ValueError(
                f"table {path!r} must have lines of one length, got {len(entries)} entries in line "
                f"{line} and {width} in the last; the file may be cut off"
            )
    return lines


def _is_number(entry: str) -> bool:
    if entry.strip().lower() in MISSING:
        return True
    try:
        float(entry)
    except ValueError:
        return False
    return True


def _numbers(entries: Sequence[str], line: int, first: int, path: str) -> list[float]:
    found = []
    for position, entry in enumerate(entries):
        if not _is_number(entry):
            raise ValueError(
                f"table {path!r} must hold numbers after its header and names, got {entry!r} in "
                f"line {line}, column {position + first + 1}"
            )
        missing = entry.strip().lower() in MISSING
        found.append(np.nan if missing else float(entry))
    return found
