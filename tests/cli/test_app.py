"""The manners of the command line as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fastgen.cli.app import app
from fastgen.cli.errors import reported

COMMANDS = (
    "info sweep cluster evaluate fid wam stats goof compile report train local-sample"
).split()


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
    [
        ("torch", "fastgen-core[torch]"),
        ("torchmetrics", "fastgen-core[torchmetrics]"),
        ("zarr", "zarr"),
    ],
)
def test_missing_libraries_say_how_to_install_them(library, extra, capsys):
    with pytest.raises(typer.Exit) as stop, reported():
        raise ModuleNotFoundError(f"No module named {library!r}", name=library)
    assert stop.value.exit_code == 2
    assert f'needs {library}: pip install "{extra}"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["info"], ["info", "--json"], ["--version"], ["--help"], ["sweep", "-h"]]
)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "fastgen", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.startswith("fastgen: error: standard output cannot be written: No space")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "a\u202eb", "x\x9b2J", "\udcff"])
def test_names_from_files_cannot_steer_the_terminal(name, capsys):
    with reported():
        warnings.warn(f"row {name}", UserWarning, stacklevel=1)
    with pytest.raises(typer.Exit), reported():
        raise ValueError(f"no tensor {name} here")
    told = capsys.readouterr().err
    assert name not in told
    assert told.isascii()
    assert len(told.splitlines()) == 2


def test_memory_that_torch_does_not_get_is_bad_input(capsys):
    import torch

    with pytest.raises(typer.Exit) as stop, reported():
        torch.empty(2**60, dtype=torch.uint8)
    assert stop.value.exit_code == 2
    assert "not enough memory" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="a bug"), reported():
        raise RuntimeError("a bug")


STOPPED = """
import os, signal, sys, threading, time
from fastgen import cli, _files
from fastgen.cli import app
# ignored signals are inherited, as from a shell that ran the tests in the background
signal.signal(signal.SIGINT, signal.default_int_handler)
def work(**options):
    with _files.replacing("out.nc") as beside:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(30)
app.app = work
cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_signals_leave_no_part_of_a_file(tmp_path, number, code):
    run = subprocess.run(
        [sys.executable, "-c", STOPPED, number], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == code
    assert "Traceback" not in run.stderr
    assert os.listdir(tmp_path) == []


def test_names_of_arrays_cannot_steer_the_terminal(tmp_path):
    rows = np.random.default_rng(0).standard_normal((9, 2))
    np.savez(tmp_path / "odd.npz", **{"\x1b]0;owned\x07": rows, "\x9b2J": rows})
    for command in ("fid", "wam"):
        result = CliRunner().invoke(app, [command, *[str(tmp_path / "odd.npz")] * 2])
        assert result.exit_code == 2
        assert "owned" in result.stderr
        assert result.output.rstrip("\n").isprintable()


IMPORTING = """
import sys
from fastgen import cli
wanted = sys.argv.pop()
class Interrupted:
    def find_spec(self, name, *_):
        if name == wanted:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
sys.argv[1:] = ["sweep", "--latent-dims", "1", "--n-samples", "5"]
cli.main()
"""


@pytest.mark.parametrize("module", ["fastgen.cli.app", "fastgen.linear.sweep"])
def test_ctrl_c_during_imports_is_one_line(tmp_path, module):
    run = subprocess.run(
        [sys.executable, "-c", IMPORTING, module], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 130, run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("fastgen: interrupted")
