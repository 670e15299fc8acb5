"""The commands."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import _show_versions
from .._version import __version__
from .cluster import cluster
from .compile import compile_kernels
from .errors import reported
from .evaluate import evaluate
from .fid import fid
from .goof import goof
from .local_sample import local_sample
from .report import report
from .stats import stats
from .sweep import SweepCommand, sweep
from .train import train
from .wam import wam

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastgen {__version__}")
        raise typer.Exit


@app.callback()
def fastgen(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Theory and evaluation of generative models at compiled speed."""


@app.command(short_help="Print versions, for a bug report.")
def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print versions of fastgen and of everything it uses, for a bug report."""
    with reported():
        found = _show_versions.versions()
    if as_json:
        import json

        typer.echo(json.dumps(found, indent=2))
    else:
        for name, text in found.items():
            typer.echo(f"{name}: {text}")


# One line each in the list of commands: longer ones are cut there.
app.command(cls=SweepCommand, short_help="Sweep the latent dimension of linear generators.")(sweep)
app.command(short_help="Cluster the rows of a table.")(cluster)
app.command(short_help="Compare generated with real samples by every metric.")(evaluate)
app.command(short_help="Frechet distance (FID) between two sets of features.")(fid)
app.command(short_help="Distance between Gaussian mixtures of two sets (WaM).")(wam)
app.command(short_help="Mean and covariance of features, for later distances.")(stats)
app.command(short_help="Distance from images to what a generator can produce.")(goof)
app.command("compile", short_help="Prepare the kernels ahead of the first computation.")(
    compile_kernels
)
app.command(short_help="Make a page of generated samples beside real ones.")(report)
app.command(short_help="Train a GAN as a configuration file says.")(train)
app.command("local-sample", short_help="Sample images near given ones (diffusion).")(local_sample)
