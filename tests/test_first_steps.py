"""The page of first steps, run as it is written."""

from __future__ import annotations

import pathlib
import re
import shlex
import sys

import pytest
from typer.testing import CliRunner

from fastgen.cli.app import app

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "first_steps.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {
    "1": ["mine.nc", "mine.npy", "mine.png", "mine.zarr"],
    "2": ["generated", "real", "real.npz", "wam.png"],
    "3": ["goof.nc", "model.py", "targets.npy"],
    "4": ["clusters.csv", "counts.csv", "profiles.png", "selection.png"],
    "5": [],
}


def test_there_are_five_sections():
    assert [section[:2] for section in SECTIONS] == ["1.", "2.", "3.", "4.", "5."]


@pytest.mark.filterwarnings(
    "ignore:. has n=:UserWarning", "ignore:.*torch.jit:DeprecationWarning",
    "ignore:.*Trace.*", "ignore:Lazy modules:UserWarning",
)  # fmt: skip
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.split("\n")[0])
def test_sections_run_as_they_are_written(section, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names: dict[str, object] = {}
    blocks = BLOCK.findall(section)
    assert blocks
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), names)
            continue
        assert kind == "sh"
        for line in text.splitlines():
            command, *arguments = shlex.split(line)
            assert command == "fastgen"
            result = CliRunner().invoke(app, [*arguments, "--no-progress"])
            assert result.exit_code == 0, result.output
    monkeypatch.delitem(sys.modules, "model", raising=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES[section[0]]
