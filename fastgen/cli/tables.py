"""Tables of numbers as text, as spreadsheets, pandas and R write them.

What a table holds is recognized where there is one reading, and asked for where there are several:
numbers that only name rows or columns are never taken for data in silence.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import gzip
import pathlib
import re
import zlib
from collections.abc import Sequence

import numpy as np

from .. import _warnings

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".dat")
MISSING = ("", "na", "nan", "n/a", "null", "none", "-", "?")
_DELIMITERS = ("\t", ";", ",", " ")
# float() of Python also reads identifiers such as 1_1
_POINT = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)", re.ASCII | re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+(\.0*)?", re.ASCII)
# Headers of columns that name rows.
_NAMING = re.compile(
    r"(.*[ _.-])?(id|ids|index|idx|key|name|names|label|row|rows|rownames?|no|nr|number|symbol|"
    r"gene|genes|probe|sample|samples|feature|features|accession|barcode|cell|subject|patient|"
    r"unnamed: 0)",
    re.IGNORECASE,
)
# Fewer rows may be counted by chance: 0, 1 is data as often as not.
_COUNTED = 3
# Lines from which the delimiter is told.
_SAMPLE = 50


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers, and what they are called.

    Attributes
    ----------
    rows : ndarray (n_rows, n_columns)
        NaN where a value is missing.
    names : list of str
        What the rows are called: the first column where it names them, else numbers from 0.
    columns : list of str
        What the columns are called: the header's entries, else numbers from 0.
    """

    rows: np.ndarray
    names: list[str]
    columns: list[str]


def is_table(path: str) -> bool:
    """Whether the name of a file is that of a table: .csv, .tsv, .txt and the like, also .gz.

    Parameters
    ----------
    path : str

    Returns
    -------
    bool

    Examples
    --------
    >>> from fastgen.cli.tables import is_table
    >>> is_table("counts.csv.gz"), is_table("counts.npy")
    (True, False)
    """
    return pathlib.Path(path.lower().removesuffix(".gz")).suffix in SUFFIXES


def read(
    path: str,
    *,
    columns: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
) -> Table:
    r"""Read a table whose entries are separated by tabs, semicolons, commas or spaces.

    Parameters
    ----------
    path : str
        UTF-8 or UTF-16 text, may be gzipped. Lines without any entry, and those that begin with
        ``#``, are skipped; the last of the latter is the header if it has the entries of one. The
        first line is a header if an entry but the first is no number, if only its first entry is
        empty or is what columns of names are called, or if it counts the columns. A comma is the
        decimal sign where entries are separated by something else.
    columns : sequence of str, optional
        Names of the columns that are data, in the order wanted. Unless given, all but
        a first one that names the rows; a column that holds anything else than numbers is refused.
    ignore : sequence of str, optional
        Names of columns that are not data.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If lines differ in length, a column holds text, nothing is there, or there is more than one
        reading: the message says how to decide.
    OSError
        If the file cannot be opened.

    Warns
    -----
    UserWarning
        If a first column of integers is taken for the names of the rows, or may be meant so.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastgen.cli.tables import read
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "counts.csv")
    ...     _ = file.write_text("gene,2001,2002\na,1,2.5\nb,3,NA\n")
    ...     table = read(str(file))
    >>> table.names, table.columns
    (['a', 'b'], ['2001', '2002'])
    >>> table.rows
    array([[1. , 2.5],
           [3. , nan]])
    """
    lines, remark, delimiter = _lines(_text(path), path)
    point = _decimal(lines, delimiter, path)
    lines, has_header = _header(lines, remark, point, path)
    body = lines[1:] if has_header else lines
    if not body:
        raise ValueError(f"table {path!r} has a header but no rows")
    titles = [entry.strip() for entry in lines[0][1]] if has_header else None
    body, titles = _without_empty_end(body, titles)
    wanted, given = (None if part is None else list(part) for part in (columns, ignore))
    named = _names_rows(body, titles, [*(wanted or []), *(given or [])], point, path)
    first = int(named)
    names = [entries[0].strip() for _, entries in body] if named else None
    if titles is None:
        titles = [""] * first + [str(number) for number in range(len(body[0][1]) - first)]
    chosen = _chosen(titles, first, wanted, given, path)
    if not chosen:
        raise ValueError(f"table {path!r} has no column of numbers")
    return Table(
        np.array([[_number(body, row, at, titles, point, path) for at in chosen]
                  for row in range(len(body))]),
        names or [str(number) for number in range(len(body))],
        [titles[at] for at in chosen],
    )  # fmt: skip


Lines = list[tuple[int, list[str]]]


def _text(path: str) -> str:
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise type(error)(f"table {path!r} cannot be read: {error.strerror or error}") from error
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"table {path!r} is damaged: {error}; write it again") from error
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"table {path!r} is not UTF-8 text at byte {error.start}; save it as CSV"
        ) from error
    if "\0" in text:
        raise ValueError(f"table {path!r} is not text; save it as CSV")
    return text


def _lines(text: str, path: str) -> tuple[Lines, list[str] | None, str]:
    """Entries of each line that has any, with its number; those of the last remark; delimiter."""
    # only what ends lines of files; splitlines() also splits at form feeds and the like
    kept = list(enumerate(re.split(r"\r\n|\r|\n", text), 1))
    remarks = [line.lstrip()[1:] for _, line in kept if line.lstrip().startswith("#")]
    kept = [(n, line) for n, line in kept if line.strip() and not line.lstrip().startswith("#")]
    if not kept:
        raise ValueError(f"table {path!r} is empty")
    delimiter = _delimiter([line for _, line in kept])
    space = delimiter == " "
    rows = [line.strip() if space else line for _, line in kept]
    reader = csv.reader(
        (line + "\n" for line in rows), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    lines: Lines = []
    try:
        for entries in reader:
            if any(entry.strip() for entry in entries):
                lines.append((kept[reader.line_num - 1][0], entries))
    except csv.Error as error:
        line = kept[min(reader.line_num, len(kept)) - 1][0]
        raise ValueError(f"table {path!r}, line {line}: {error}") from error
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
    remark = next(csv.reader(remarks[-1:], delimiter=delimiter, skipinitialspace=True), None)
    return lines, remark if remark and len(remark) == width > 1 else None, delimiter


def _delimiter(lines: list[str]) -> str:
    """Return the sign that leaves the largest part of the entries numbers."""
    sample = lines[1:_SAMPLE] or lines
    best, most = ",", -1.0
    for sign in _DELIMITERS:
        rows = [line.strip().split(sign) for line in sample]
        entries = [entry.strip().strip("\"'") for row in rows for entry in row if entry]
        if min(map(len, rows)) > 1 and entries:
            share = sum(_is_number(entry, ",") for entry in entries) / len(entries)
            if share > most:
                best, most = sign, share
    return best


def _decimal(lines: Lines, delimiter: str, path: str) -> str:
    """Return the decimal sign."""
    if delimiter == ",":
        return "."
    entries = [entry.strip() for _, line in lines for entry in line]
    commas = [entry for entry in entries if _COMMA.fullmatch(entry)]
    if not commas:
        return "."
    points = [entry for entry in entries if "." in entry and _POINT.fullmatch(entry)]
    if points or all(_THOUSANDS.fullmatch(entry) for entry in commas):
        beside = f" beside {points[0]!r}" if points else ""
        raise ValueError(
            f"table {path!r} holds {commas[0]!r}{beside}: the comma may be a decimal sign or "
            "separate thousands; write the numbers with points and without separators"
        )
    return ","


def _header(lines: Lines, remark: list[str] | None, decimal: str, path: str) -> tuple[Lines, bool]:
    """Return the lines, and whether the first is a header."""
    number, top = lines[0]
    numeric = [_is_number(entry, decimal) for entry in top]
    if not all(numeric[1:] or numeric):
        return lines, True
    if remark is not None:
        return [(0, remark), *lines], True
    cells, rest = [entry.strip() for entry in top], lines[1:]
    if not rest or len(cells) == 1:
        return lines, False
    if cells[0] == "" and all(cells[1:]) and all(entries[0].strip() for _, entries in rest):
        return lines, True
    if not numeric[0] and _NAMING.fullmatch(cells[0]):
        return lines, True
    values = [_value(cell, decimal) for cell in cells[0 if numeric[0] else 1 :]]
    steps = np.diff(values)
    if values in (list(range(len(values))), list(range(1, len(values) + 1))):
        if len(values) >= _COUNTED or not numeric[0]:
            return lines, True
    elif len(steps) and (steps > 0).all() and _unlike(cells, rest, numeric[0], decimal):
        raise ValueError(
            f"table {path!r}, line {number}: {', '.join(cells[:5])} may be a header of numbers or "
            "a row; put a name such as 'id' before a header, or a header of names before the row"
        )
    return lines, False


def _unlike(cells: list[str], rest: Lines, numeric: bool, decimal: str) -> bool:
    """Whether rising integers stand over columns that hold others, as in a header of years."""
    first = 0 if numeric else 1
    if not all(_INTEGER.fullmatch(cell) for cell in cells[first:]):
        return False
    if not numeric and len(cells) - first >= 2:
        return True
    below = [[e.strip() for e in entries[first:]] for _, entries in rest]
    return all(
        any(_is_number(row[at], decimal) and not _INTEGER.fullmatch(row[at]) for row in below)
        for at in range(len(cells) - first)
    )


def _without_empty_end(body: Lines, titles: list[str] | None) -> tuple[Lines, list[str] | None]:
    """Leave out a last column without any entry, as of lines that end in a delimiter."""
    if len(body[0][1]) < 2 or (titles is not None and titles[-1]):
        return body, titles
    if any(entries[-1].strip() for _, entries in body):
        return body, titles
    return [(n, entries[:-1]) for n, entries in body], None if titles is None else titles[:-1]


def _names_rows(
    body: Lines, titles: list[str] | None, told: list[str], decimal: str, path: str
) -> bool:
    """Whether the first column names the rows; a warning where that is no matter of course."""
    entries = [entries[0].strip() for _, entries in body]
    if titles is not None and titles[0] and titles[0] in told:
        return False
    if not all(_is_number(entry, decimal) for entry in entries):
        return True
    if len(body[0][1]) == 1:
        return False
    if titles is not None and titles[0] == "" and all(entries):
        return True
    if not all(_INTEGER.fullmatch(entry) for entry in entries) or len(set(entries)) < len(entries):
        return False
    called = "the first column" if titles is None or not titles[0] else f"column {titles[0]!r}"
    keep = titles[0] if titles is not None and titles[0] else None
    values = {int(float(entry)) for entry in entries}
    counts = len(entries) >= _COUNTED and (
        values in (set(range(len(entries))), set(range(1, len(entries) + 1)))
    )
    if counts or (titles is not None and _NAMING.fullmatch(titles[0])):
        remedy = f"name it in --columns ({keep}) if it is data" if keep else "give it a header and "
        remedy += "" if keep else "name that in --columns if it is data"
        _warnings.warn(
            f"table {path!r}: {called} holds a number of its own for every row, and is taken for "
            f"their names; {remedy}"
        )
        return True
    others = range(1, len(body[0][1]))
    if len(entries) >= _COUNTED and not any(
        all(_INTEGER.fullmatch(line[at].strip()) for _, line in body) for at in others
    ):
        _warnings.warn(
            f"table {path!r}: {called} holds a different integer in every row, unlike the other "
            f"columns, and is taken for data; pass --ignore {keep or 0} if it names the rows"
        )
    return False


def _chosen(
    titles: list[str],
    first: int,
    columns: list[str] | None,
    ignore: list[str] | None,
    path: str,
) -> list[int]:
    """Return the positions of the columns that are data."""
    for option, names in (("columns", columns), ("ignore", ignore)):
        for name in names or []:
            if titles.count(name) != 1:
                near = difflib.get_close_matches(name, titles, n=1)
                several = f"has {titles.count(name)} columns" if name in titles else "has no column"
                hint = f"; did you mean {near[0]!r}?" if near and name not in titles else ""
                listed = ", ".join(filter(None, titles[:10]))
                raise ValueError(
                    f"{option}: table {path!r} {several} {name!r}, its columns are {listed}{hint}"
                )
    kept = range(first, len(titles)) if columns is None else [titles.index(n) for n in columns]
    return [at for at in kept if titles[at] not in (ignore or [])]


def _is_number(entry: str, decimal: str) -> bool:
    entry = entry.strip()
    if entry.lower() in MISSING or _POINT.fullmatch(entry):
        return True
    return decimal == "," and _COMMA.fullmatch(entry) is not None


def _value(entry: str, decimal: str) -> float:
    entry = entry.strip()
    if entry.lower() in MISSING:
        return np.nan
    return float(entry.replace(",", ".") if decimal == "," else entry)


def _number(body: Lines, row: int, at: int, titles: list[str], decimal: str, path: str) -> float:
    line, entries = body[row]
    if _is_number(entries[at], decimal):
        return _value(entries[at], decimal)
    raise ValueError(
        f"table {path!r} must hold numbers after its header and names, got {entries[at]!r} in line "
        f"{line}, column {at + 1} ({titles[at]}); leave that column out (--ignore {titles[at]}), "
        "or name those that are data (--columns)"
    )
