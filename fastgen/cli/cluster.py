"""The command ``fastgen cluster``: clusters of the rows of a table."""

from __future__ import annotations

import csv
import os
import warnings
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from . import grammar, outputs, tables
from .errors import reported, say

if TYPE_CHECKING:
    import pandas

    from ..mixture import NonparametricMixture

Source = Annotated[
    str, typer.Argument(metavar="TABLE", help="Text file of numbers: header and row names may be.")
]
Components = Annotated[int, typer.Option("--n-components", help="Number of clusters.")]
Blocks = Annotated[
    str | None,
    typer.Option(
        "--blocks",
        help="A label for each column, such as 1,1,2,2; columns of one block are identically "
        "distributed.  [default: every column its own]",
    ),
]
Method = Annotated[str, typer.Option("--method", help="npmsl or npem.")]
Bandwidth = Annotated[
    str | None,
    typer.Option(
        "--bandwidth",
        help="A number, one for each block, adaptive or cv.  [default: Silverman's rule]",
    ),
]
Out = Annotated[
    str | None, typer.Option("--out", help="Write row, cluster and probabilities to this .csv.")
]
Plot = Annotated[
    str | None, typer.Option("--plot", help="Draw the densities to this file, .png, .pdf or .svg.")
]
Log2 = Annotated[bool, typer.Option("--log2", help="Take log2(x + 1) first, for counts.")]
DropMissing = Annotated[
    bool, typer.Option("--drop-missing", help="Leave out rows with missing values.")
]
Starts = Annotated[int, typer.Option("--starts", help="Number of k-means++ starts.")]
MaxIter = Annotated[int, typer.Option("--max-iter", help="Most iterations.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Repeat a fit.  [default: a new one]")]
Jobs = Annotated[int, typer.Option("--jobs", help="Starts in parallel; -1 is all cores.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress on standard error.")
]


def cluster(
    table: Source,
    n_components: Components,
    blocks: Blocks = None,
    method: Method = "npmsl",
    bandwidth: Bandwidth = None,
    out: Out = None,
    plot: Plot = None,
    log2: Log2 = False,
    drop_missing: DropMissing = False,
    starts: Starts = 1,
    max_iter: MaxIter = 500,
    seed: Seed = None,
    jobs: Jobs = -1,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Cluster the rows of a table by a nonparametric mixture.

    Columns are independent within a cluster, with densities of any shape, for example

    fastgen cluster counts.csv --blocks 1,1,2,2 --n-components 5 --log2 --out clusters.csv
    --plot clusters.png
    """
    with reported():
        if jobs == 0:
            raise ValueError("--jobs must be a number of workers or -1 for all cores, got 0")
        _check_outputs(table, out, plot)
        data = _complete(tables.read(table), drop_missing)
        rows = _logarithms(data.rows) if log2 else data.rows
        from ..mixture import NonparametricMixture

        fit = NonparametricMixture(
            n_components,
            method=method,
            blocks=_blocks(blocks, data.columns),
            bandwidth=_bandwidth(bandwidth),
            n_init=starts,
            max_iter=max_iter,
            n_jobs=jobs,
            progress=progress,
            random_state=seed,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit.fit(_named(rows, data.columns))
        notes = [str(warning.message) for warning in caught]
        for note in notes:
            say(f"warning: {note}")
        _report(fit, data, notes, out, plot, as_json)


def _check_outputs(table: str, out: str | None, plot: str | None) -> None:
    if out is not None:
        outputs.check(out, "--out", (".csv",))
        if os.path.realpath(out) == os.path.realpath(table):
            raise ValueError(f"--out must differ from the table that is read, got {out!r} for both")
    if plot is not None:
        from .. import plotting

        outputs.check(plot, "--plot", plotting.SUFFIXES)
        import matplotlib.figure  # noqa: F401  (a missing library shows before the work)


def _complete(data: tables.Table, drop_missing: bool) -> tables.Table:
    """Return the rows without missing values, if others may be left out."""
    whole = np.isfinite(data.rows).all(axis=1)
    if whole.all():
        return data
    row = int(np.flatnonzero(~whole)[0])
    column = int(np.flatnonzero(~np.isfinite(data.rows[row]))[0])
    if not drop_missing:
        raise ValueError(
            f"the table has {int((~whole).sum())} rows with missing or infinite values, the first "
            f"{data.names[row]!r} in column {data.columns[column]!r}; pass --drop-missing to leave "
            "them out"
        )
    names = [name for name, keep in zip(data.names, whole, strict=True) if keep]
    if not names:
        raise ValueError("the table has no row without missing values")
    return tables.Table(data.rows[whole], names, data.columns)


def _logarithms(rows: np.ndarray) -> np.ndarray:
    if rows.min() < 0:
        raise ValueError(f"--log2 needs values of at least 0, got {rows.min():g}")
    return np.log2(rows + 1)


def _blocks(text: str | None, columns: list[str]) -> list[str] | None:
    if text is None:
        return None
    labels = grammar.names(text)
    if len(labels) != len(columns):
        raise ValueError(
            f"--blocks must have a label for each of the {len(columns)} columns "
            f"{', '.join(columns[:8])}{', ...' if len(columns) > 8 else ''}, got {len(labels)}"
        )
    return labels


def _bandwidth(text: str | None) -> str | float | list[float] | None:
    if text is None:
        return None
    try:
        widths = [float(piece) for piece in text.split(",")]
    except ValueError:
        return text.strip()
    return widths[0] if len(widths) == 1 else widths


def _named(rows: np.ndarray, columns: list[str]) -> np.ndarray | pandas.DataFrame:
    """Return the rows with the names of their columns, which the figure shows."""
    if len(set(columns)) < len(columns):
        return rows
    import pandas

    return pandas.DataFrame(rows, columns=columns)


def _report(
    fit: NonparametricMixture,
    data: tables.Table,
    notes: list[str],
    out: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    told = fit.to_dict()
    if out is not None:
        _write(fit, data, out)
    if plot is not None:
        from .. import plotting

        plotting.save_figure(fit.plot(), plot)
    files = [path for path in (out, plot) if path is not None]
    lines = ["cluster   rows   weight"]
    for number, (size, weight) in enumerate(zip(told["sizes"], told["weights"], strict=True)):
        lines.append(f"{number:7d} {size:6d} {weight:8.4f}")
    ended = "converged" if told["converged"] else "stopped"
    lines.append(f"objective {told['objective']:.6f}, {ended} after {told['n_iter']} iterations")
    outputs.tell({**told, "warnings": notes, "files": files}, "\n".join(lines), as_json)


def _write(fit: NonparametricMixture, data: tables.Table, path: str) -> None:
    """Write row, cluster and the probability of each cluster."""
    from .._files import replacing

    with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        count = len(fit.weights_)
        writer.writerow(["row", "cluster", *(f"probability_{number}" for number in range(count))])
        for name, label, row in zip(data.names, fit.labels_, fit.posteriors_, strict=True):
            writer.writerow([name, label, *(f"{value:.9g}" for value in row)])
