"""The cache of compiled kernels: damage, upgrades, folders that cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastgen

CODE = (
    "import numpy as np; from fastgen.kernels.cpu import linear_path as p\n"
    "r = np.triu(np.ones((3, 3))); p.add_rows(r, np.ones((1, 3))); print(float(abs(r[0, 0])))"
)


def run(cache, code=CODE, top=None, **environment):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment}
    if top is not None:
        env["PYTHONPATH"] = str(top)
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd="/", capture_output=True, text=True
    )


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [b"", b"not machine code", None])
def test_damaged_files_are_compiled_again(tmp_path, ending, damage):
    first = run(tmp_path)
    files = list(tmp_path.rglob(f"*.{ending}"))
    assert files
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2] if damage is None else damage)
    again = run(tmp_path)
    assert again.stdout == first.stdout, again.stderr
    for file in files:  # healed
        assert len(file.read_bytes()) > 20


def test_a_change_of_any_source_renews_the_kernels_wherever_they_are_kept(tmp_path):
    package = Path(fastgen.__file__).parent
    shutil.copytree(package, tmp_path / "fastgen", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import numpy as np; from fastgen.kernels.cpu import band\n"
        "out = np.empty(8); b = np.array([[2.0, 0, 0, 0, 0]] * 6)\n"
        "band.log_determinants(b, np.ones(8), np.ones(8), out); print(out[0])"
    )
    before = run(tmp_path / "cache", code, tmp_path).stdout
    callee = tmp_path / "fastgen" / "kernels" / "cpu" / "simd.py"
    text = callee.read_text()
    changed = text.replace('(operator.add, "fadd")', '(operator.add, "fsub")')
    assert changed != text
    callee.write_text(changed)
    after = run(tmp_path / "cache", code, tmp_path).stdout
    assert after == run(tmp_path / "fresh", code, tmp_path).stdout != before


@pytest.mark.skipif(os.name == "nt", reason="needs a file that cannot be a folder")
def test_without_a_folder_kernels_serve_this_process_and_one_warning_says_so(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    top = tmp_path / "top"
    package = Path(fastgen.__file__).parent
    shutil.copytree(package, top / "fastgen", ignore=shutil.ignore_patterns("__pycache__"))
    (top / "fastgen" / "kernels" / "cpu" / "__pycache__").write_text("")
    done = run("", CODE, top, HOME=str(blocked), XDG_CACHE_HOME=str(blocked))
    assert float(done.stdout) == pytest.approx(2**0.5), done.stderr
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1
