"""The manners of the command line as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import typer
from typer.testing import CliRunner

from fastgen.cli.app import app
from fastgen.cli.errors import reported

COMMANDS = "info sweep cluster evaluate fid wam goof compile train local-sample".split()


def test_short_option_for_help():
    for arguments in ([], *([command] for command in COMMANDS)):
        whole = CliRunner().invoke(app, [*arguments, "--help"], prog_name="fastgen")
        short = CliRunner().invoke(app, [*arguments, "-h"], prog_name="fastgen")
        assert short.exit_code == 0
        assert short.stdout == whole.stdout


def test_lines_of_the_list_of_commands_are_whole():
    lines = CliRunner().invoke(app, ["--help"]).stdout.partition("Commands:")[2].splitlines()
    lines = [line for line in lines if line.strip()]
    assert [line.split()[0] for line in lines] == COMMANDS
    assert not any(line.endswith("...") for line in lines)


def test_python_runs_the_package():
    for module in ("fastgen", "fastgen.cli"):
        run = [sys.executable, "-m", module, "--version"]
        assert subprocess.run(run, check=True, capture_output=True).stdout.startswith(b"fastgen ")


def test_completion_of_the_shell():
    script = CliRunner().invoke(
        app, ["--show-completion"], env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert "--show-completion" not in script.stderr
    asked = dict(
        os.environ, _FASTGEN_COMPLETE="complete_bash", COMP_WORDS="fastgen sw", COMP_CWORD="1"
    )
    run = [sys.executable, "-m", "fastgen"]
    assert subprocess.run(run, env=asked, capture_output=True).stdout.split() == [b"sweep"]


def test_warnings_are_lines(capsys):
    with reported():
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "fastgen: warning: two lines\n"


@pytest.mark.parametrize(
    ("library", "extra"),
    [("torch", "fastgen[torch]"), ("torchmetrics", "fastgen[torchmetrics]"), ("zarr", "zarr")],
)
def test_missing_libraries_say_how_to_install_them(library, extra, capsys):
    with pytest.raises(typer.Exit) as stop, reported():
        raise ModuleNotFoundError(f"No module named {library!r}", name=library)
    assert stop.value.exit_code == 2
    assert f'needs {library}: pip install "{extra}"' in capsys.readouterr().err
