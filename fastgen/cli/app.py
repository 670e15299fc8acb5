"""The commands."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import _show_versions
from .._version import __version__
from .cluster import cluster
from .errors import reported
from .goof import goof
from .metrics import fid, wam
from .sweep import sweep
from .train import train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
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


@app.command()
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


app.command()(sweep)
app.command()(cluster)
app.command()(fid)
app.command()(wam)
app.command()(goof)
app.command()(train)
