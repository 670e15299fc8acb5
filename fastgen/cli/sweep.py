"""``fastgen sweep``: the errors of linear generators over the latent dimension."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from . import data as data_
from . import grammar, outputs
from .dask import cluster
from .errors import printable, reported

if TYPE_CHECKING:
    import xarray

_PROBLEMS = "Problems to solve, separated by commas; unsupervised is PCA."


class SweepCommand(TyperCommand):
    """The command, whose help lists the problems that are registered.

    They are looked up when the help is asked for: reading them loads `fastgen.linear`, which no
    other command should wait for.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from ..linear.problems import PROBLEMS

        for parameter in self.params:
            if isinstance(parameter, TyperOption) and parameter.name == "problems":
                parameter.help = f"{_PROBLEMS} There are {', '.join(PROBLEMS)}."
        super().format_help(ctx, formatter)


Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="digits, spiked, FILE.npy, FILE.npz, FILE.npz:KEY, a table (.csv, .tsv, .txt) or a "
        "folder of images.",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", help="Columns of a table that are data, separated by commas."),
]
Ignore = Annotated[
    str | None,
    typer.Option("--ignore", help="Columns of a table that are not data, separated by commas."),
]
Resize = Annotated[
    int | None,
    typer.Option("--resize", help="Resize all images to squares of this many pixels a side."),
]
Rgb = Annotated[bool, typer.Option("--rgb", help="Read gray images as three channels.")]
LatentDims = Annotated[
    str,
    typer.Option(
        "--latent-dims",
        help="Latent dimensions: integers and inclusive ranges, such as 1:300 or 1:120:5,40,41.",
    ),
]
Samples = Annotated[int, typer.Option("--n-samples", help="Number of training samples.")]
Supervised = Annotated[
    str | None,
    typer.Option(
        "--n-supervised", help="Numbers of pairs, such as 50,100.  [default: --n-samples]"
    ),
]
Problems = Annotated[
    str,
    typer.Option(
        "--problems",
        help=_PROBLEMS,
    ),
]
Trials = Annotated[int, typer.Option("--trials", help="Number of trials.")]
Out = Annotated[str | None, typer.Option("--out", help="Write all values to this file, .nc.")]
Plot = Annotated[str | None, typer.Option("--plot", help="Draw to this file, .png, .pdf or .svg.")]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed, which repeats a sweep.  [default: a new one]")
]
Jobs = Annotated[int, typer.Option("--jobs", help="Trials in parallel; -1 is all cores.")]
Store = Annotated[
    str | None,
    typer.Option("--store", help="Keep finished trials in this folder, and resume from it."),
]
Dask = Annotated[
    str | None,
    typer.Option(
        "--dask", help="Run on the Dask cluster at this address, such as tcp://host:8786."
    ),
]
Device = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
Ridge = Annotated[float, typer.Option("--ridge", help="Penalty of ridge.")]
Weight = Annotated[float, typer.Option("--weight", help="Weight of the pairs in penalized.")]
Rank = Annotated[int | None, typer.Option("--rank", help="Largest rank of reduced_rank.")]
Tol = Annotated[
    float,
    typer.Option(
        "--tol", help="Iterative problems stop when a step gains at most this share of the rest."
    ),
]
MaxIter = Annotated[
    int, typer.Option("--max-iter", help="Largest number of steps of iterative problems.")
]
Precision = Annotated[str, typer.Option("--dtype", help="float64 or float32.")]
Population = Annotated[
    float | None,
    typer.Option(
        "--population-fraction", help="Share of the rows that is the truth.  [default: 0.5]"
    ),
]
Dim = Annotated[int | None, typer.Option("--dim", help="Dimension of spiked data.  [default: 64]")]
TrueDim = Annotated[
    int | None,
    typer.Option("--true-dim", help="Signal dimension of spiked data.  [default: 20]"),
]
Noise = Annotated[
    float | None,
    typer.Option("--noise-variance", help="Noise of spiked data.  [default: 0.1]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress on standard error.")
]


def sweep(
    latent_dims: LatentDims,
    n_samples: Samples,
    data: Data = "spiked",
    n_supervised: Supervised = None,
    problems: Problems = "unsupervised,pseudo_supervised",
    trials: Trials = 100,
    out: Out = None,
    plot: Plot = None,
    seed: Seed = None,
    jobs: Jobs = -1,
    store: Store = None,
    dask: Dask = None,
    device: Device = "cpu",
    ridge: Ridge = 0.1,
    rank: Rank = None,
    weight: Weight = 10.0,
    tol: Tol = 1e-9,
    max_iter: MaxIter = 400,
    dtype: Precision = "float64",
    population_fraction: Population = None,
    dim: Dim = None,
    true_dim: TrueDim = None,
    noise_variance: Noise = None,
    columns: Columns = None,
    ignore: Ignore = None,
    resize: Resize = None,
    rgb: Rgb = False,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Sweep the latent dimension of linear generators.

    Tells where the error peaks, how high, and where it is lowest, for example

    fastgen sweep --data digits --n-samples 100 --latent-dims 1:300 --trials 50 --out sweep.nc
    --plot sweep.png
    """
    kept = "nothing was written; with --store finished trials are kept"
    if store is not None:
        kept = f"the same command with --store {store} resumes"
    with reported(interrupted=kept):
        ks = grammar.integers(latent_dims, "--latent-dims")
        pairs = None if n_supervised is None else grammar.integers(n_supervised, "--n-supervised")
        if jobs == 0:
            raise ValueError("--jobs must be a number of workers or -1 for all cores, got 0")
        _check_outputs(out, plot, store)
        split: dict[str, Any] = {}
        if population_fraction is not None:
            split["population_fraction"] = population_fraction
        if split and data == "spiked":
            raise ValueError("--population-fraction belongs to data of rows, got --data spiked")
        rows = data_.load(
            data,
            resize=resize,
            rgb=rgb,
            columns=None if columns is None else grammar.names(columns),
            ignore=None if ignore is None else grammar.names(ignore),
            dim=dim,
            true_dim=true_dim,
            noise_variance=noise_variance,
        )
        from .. import linear

        with cluster(dask):
            result = linear.sweep(
                rows,
                latent_dims=ks,
                n_samples=n_samples,
                n_supervised=pairs,
                problems=grammar.names(problems),
                n_trials=trials,
                random_state=seed,
                ridge=ridge,
                rank=rank,
                weight=weight,
                tol=tol,
                max_iter=max_iter,
                n_jobs=jobs if dask is None else None,
                device=device,
                store=store,
                progress=progress,
                dtype=_dtype(dtype),
                **split,
            )
        if seed is None:
            _tell_seed(result)
        _report(result, out, plot, as_json)


def _tell_seed(result: xarray.Dataset) -> None:
    """Print the seed that was drawn, unless the sweep of a store has none that is one number."""
    entropy, spawn_key = result.attrs["seed_entropy"], result.attrs["seed_spawn_key"]
    if entropy.isdigit() and not json.loads(spawn_key):
        typer.echo(f"fastgen: seed {entropy}; --seed {entropy} repeats this sweep", err=True)


def _dtype(name: str) -> str:
    from .. import _validate

    return _validate.one_of(name, "--dtype", ("float64", "float32"))


def _check_outputs(out: str | None, plot: str | None, store: str | None) -> None:
    if out is not None:
        outputs.check(out, "--out", (".nc",))
    if plot is not None:
        from .. import plotting

        outputs.check(plot, "--plot", plotting.SUFFIXES)
        import matplotlib.figure  # noqa: F401  (a missing library shows before the work)
    if store is None:
        return
    for path, option in ((out, "--out"), (plot, "--plot")):
        if path is not None and os.path.realpath(path) == os.path.realpath(store):
            raise ValueError(f"--store and {option} must differ, got {store!r} for both")


def _report(result: xarray.Dataset, out: str | None, plot: str | None, as_json: bool) -> None:
    from ..linear import summary

    rows = summary.summarize(result)
    if not as_json:
        typer.echo(summary.format_table(rows))
    if out is not None:
        outputs.write_netcdf(result, out)
    if plot is not None:
        from .. import plotting

        plotting.save_figure(plotting.sweep_figure(result), plot)
    written = [path for path in (out, plot) if path is not None]
    if as_json:
        about = {**result.attrs, "arguments": json.loads(result.attrs["arguments"])}
        text = json.dumps({"summary": rows, "attrs": about, "files": written}, allow_nan=False)
        typer.echo(text)
    else:
        for path in written:
            typer.echo(printable(f"wrote {path}"))
