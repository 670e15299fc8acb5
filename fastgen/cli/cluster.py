"""The command ``fastgen cluster``: clusters of the rows of a table."""

from __future__ import annotations

import csv
import functools
import os
import secrets
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from .._results import plain
from . import grammar, outputs, tables
from .errors import reported, say

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure

    from ..mixture import NonparametricMixture

Source = Annotated[
    str, typer.Argument(metavar="TABLE", help="Text file of numbers: header and row names may be.")
]
Components = Annotated[
    str,
    typer.Option(
        "--n-components",
        help="Number of clusters; of several, such as 2:12, the one that --criterion likes best.",
    ),
]
Criterion = Annotated[
    str,
    typer.Option(
        "--criterion", help="What chooses among several --n-components: heldout, bic or aic."
    ),
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", help="Columns that are data, separated by commas.  [default: all]"),
]
Ignore = Annotated[
    str | None,
    typer.Option("--ignore", help="Columns that are not data, separated by commas."),
]
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
Profiles = Annotated[
    str | None,
    typer.Option(
        "--plot-profiles", help="Draw the means of the clusters to this file, .png, .pdf or .svg."
    ),
]
Selection = Annotated[
    str | None,
    typer.Option(
        "--plot-selection",
        help="Draw the scores of several --n-components to this file, .png, .pdf or .svg.",
    ),
]
Stability = Annotated[
    int,
    typer.Option(
        "--stability",
        help="Fit so many times again to resampled rows, and tell how well clusters agree.",
    ),
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
    plot_profiles: Profiles = None,
    plot_selection: Selection = None,
    criterion: Criterion = "heldout",
    stability: Stability = 0,
    columns: Columns = None,
    ignore: Ignore = None,
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

    fastgen cluster counts.csv --blocks 1,1,2,2 --n-components 2:12 --log2 --out clusters.csv
    --plot clusters.png --plot-profiles profiles.png
    """
    with reported():
        if jobs == 0:
            raise ValueError("--jobs must be a number of workers or -1 for all cores, got 0")
        counts = _counts(n_components)
        plots = {
            "--plot": plot, "--plot-profiles": plot_profiles, "--plot-selection": plot_selection,
        }  # fmt: skip
        _check_outputs(table, out, plots)
        if plot_selection is not None and len(counts) == 1:
            raise ValueError(
                f"--plot-selection needs several --n-components, such as 2:12, got {n_components}"
            )
        drawn = seed is None
        seed = secrets.randbits(31) if seed is None else seed
        if stability < 0:
            raise ValueError(f"--stability must be at least 0, got {stability}")
        read = tables.read(table, columns=_names(columns), ignore=_names(ignore))
        data = _complete(read, drop_missing)
        rows = _logarithms(data.rows) if log2 else data.rows
        options = {
            "method": method,
            "blocks": _blocks(blocks, data.columns),
            "bandwidth": _bandwidth(bandwidth),
            "n_init": starts,
            "max_iter": max_iter,
        }
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores = None
            if len(counts) > 1:
                scores = _compared(rows, counts, criterion, options, jobs, seed)
                counts = [scores.attrs["best"]]
            fit = _fitted(_named(rows, data.columns), counts[0], options, jobs, seed, progress)
            agreement = _agreement(fit, rows, stability, jobs, seed)
        notes = [str(warning.message) for warning in caught]
        if scores is not None:
            notes += _advice(scores)
        for note in notes:
            say(f"warning: {note}")
        files = [] if out is None else [out]
        if out is not None:
            _write(fit, data, out)
        files += _drawn(fit, rows, data.columns, scores, plots)
        told = {
            **fit.to_dict(), "seed": seed, "means": plain(fit.means_), "columns": data.columns,
            "selection": _told(scores), "stability": agreement, "warnings": notes, "files": files,
        }  # fmt: skip
        if drawn:
            say(f"seed {seed}; --seed {seed} repeats this fit")
        outputs.tell(told, _table(told), as_json)


def _counts(text: str) -> list[int]:
    """Read one number of clusters, which the estimator checks, or several."""
    try:
        return [int(text)]
    except ValueError:
        return grammar.integers(text, "--n-components")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else grammar.names(text)


def _compared(
    rows: np.ndarray,
    counts: list[int],
    criterion: str,
    options: dict[str, Any],
    jobs: int,
    seed: int,
) -> xarray.Dataset:
    from .. import _validate
    from ..mixture import select_components

    _validate.one_of(criterion, "--criterion", ("heldout", "bic", "aic"))
    return select_components(
        rows, counts, criterion=criterion, random_state=seed, n_jobs=jobs, **options
    )


def _fitted(
    rows: np.ndarray | pandas.DataFrame,
    count: int,
    options: dict[str, Any],
    jobs: int,
    seed: int,
    progress: bool,
) -> NonparametricMixture:
    from ..mixture import NonparametricMixture

    fit = NonparametricMixture(count, n_jobs=jobs, progress=progress, random_state=seed, **options)
    try:
        return fit.fit(rows)
    except ValueError as error:
        told, _, remedy = str(error).partition("; ")
        if "n_grid" not in remedy:
            raise
        raise ValueError(
            f"{told}; take logarithms of counts with --log2, or pass a larger --bandwidth"
        ) from error


def _agreement(
    fit: NonparametricMixture, rows: np.ndarray, n_resamples: int, jobs: int, seed: int
) -> list[float] | None:
    """Return adjusted Rand indices with fits to resampled rows, if they are wanted."""
    if not n_resamples:
        return None
    from ..mixture import stability

    found = stability(fit, rows, n_resamples=n_resamples, random_state=seed, n_jobs=jobs)
    return found.tolist()


def _advice(scores: xarray.Dataset) -> list[str]:
    """Say where the choice of a number of clusters is not to be trusted."""
    counts, best = scores.n_components.values, scores.attrs["best"]
    found = []
    if best in (counts[0], counts[-1]):
        end = "smallest" if best == counts[0] else "largest"
        found.append(
            f"the best number of clusters, {best}, is the {end} of those compared; "
            + ("compare larger ones" if best == counts[-1] else "there may be no clusters")
        )
    unsettled = int((~scores.converged.values).sum())
    if unsettled:
        found.append(
            f"{unsettled} of the {scores.converged.size} fits that were compared did not converge; "
            "raise --max-iter"
        )
    return found


def _check_outputs(table: str, out: str | None, plots: dict[str, str | None]) -> None:
    if out is not None:
        outputs.check(out, "--out", (".csv",))
        if os.path.realpath(out) == os.path.realpath(table):
            raise ValueError(f"--out must differ from the table that is read, got {out!r} for both")
    wanted = {option: path for option, path in plots.items() if path is not None}
    if not wanted:
        return
    from .. import plotting

    for option, path in wanted.items():
        outputs.check(path, option, plotting.SUFFIXES)
    if len(set(map(os.path.realpath, wanted.values()))) < len(wanted):
        raise ValueError(f"{', '.join(wanted)} must name different files")
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


def _drawn(
    fit: NonparametricMixture,
    rows: np.ndarray,
    columns: list[str],
    scores: xarray.Dataset | None,
    plots: dict[str, str | None],
) -> list[str]:
    """Draw what is wanted, and return the files written."""
    from .. import plotting

    def profiles() -> Figure:
        return plotting.profile_figure(
            fit.means_, fit.weights_,
            center=rows.mean(axis=0), scale=rows.std(axis=0), labels=columns,
        )  # fmt: skip

    draw: dict[str, Callable[[], Figure]] = {"--plot": fit.plot, "--plot-profiles": profiles}
    if scores is not None:
        draw["--plot-selection"] = functools.partial(plotting.selection_figure, scores)
    wanted = {option: path for option, path in plots.items() if path is not None}
    for option, path in wanted.items():
        plotting.save_figure(draw[option](), path)
    return list(wanted.values())


def _told(scores: xarray.Dataset | None) -> dict[str, Any] | None:
    """Return the comparison of numbers of clusters as plain Python."""
    if scores is None:
        return None
    values = scores.score.values.reshape(scores.sizes["n_components"], -1)
    return {
        "criterion": scores.attrs["criterion"],
        "best": scores.attrs["best"],
        "scores": dict(
            zip(
                map(str, scores.n_components.values.tolist()),
                plain(values.mean(axis=1)),
                strict=True,
            )
        ),
    }


def _table(told: dict[str, Any]) -> str:
    lines = []
    if told["selection"] is not None:
        chosen = told["selection"]
        lines.append(f"clusters  score ({chosen['criterion']})")
        for count, value in chosen["scores"].items():
            best = "  best" if int(count) == chosen["best"] else ""
            lines.append(f"{count:>8}  {value:.6g}{best}")
        lines.append("")
    lines.append("cluster   rows   weight")
    for number, (size, weight) in enumerate(zip(told["sizes"], told["weights"], strict=True)):
        lines.append(f"{number:7d} {size:6d} {weight:8.4f}")
    ended = "converged" if told["converged"] else "stopped"
    lines.append(f"objective {told['objective']:.6f}, {ended} after {told['n_iter']} iterations")
    if told["stability"] is not None:
        found = np.array(told["stability"])
        lines.append(
            f"stability: adjusted Rand index {np.median(found):.2f} (median), {found.min():.2f} "
            f"(least) over {len(found)} resamples"
        )
    return "\n".join(lines)


def _write(fit: NonparametricMixture, data: tables.Table, path: str) -> None:
    """Write row, cluster and the probability of each cluster."""
    from .._files import replacing

    with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        count = len(fit.weights_)
        writer.writerow(["row", "cluster", *(f"probability_{number}" for number in range(count))])
        for name, label, row in zip(data.names, fit.labels_, fit.posteriors_, strict=True):
            writer.writerow([name, label, *(f"{value:.9g}" for value in row)])
