"""``fastgen compile``: every kernel ahead, kept in the folder that it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# What is compiled after the command, and which kernels it leaves uncompiled.
LEFT = """
import importlib, json, pkgutil, sys
from fastgen.cli import compile as command
wanted = sys.argv[1:]
workloads = command._workloads
command._workloads = lambda: (w for w in workloads() if not wanted or w[0] in wanted)
command.compile_kernels()
from fastgen.kernels import cpu
from fastgen.kernels.cpu import compilation
for module in pkgutil.iter_modules(cpu.__path__):
    importlib.import_module(f"fastgen.kernels.cpu.{module.name}")
print(json.dumps([n for n, k in compilation.DISPATCHERS.items() if not k.overloads]))
"""
LATER = """
import numpy as np
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, ev):
        compiled.append(ev.data["dispatcher"].py_func.__qualname__)
    def on_end(self, ev):
        pass
event.register("numba:compile", Listener())
from fastgen._dispatch import compiling
with compiling.always():
    {work}
print(compiled)
"""
SWEEP = """
    from fastgen.linear import sweep
    for dtype in ("float64", "float32"):
        sweep(latent_dims=range(1, 90), n_samples=30, n_trials=2, n_supervised=[5, 10],
              problems=("unsupervised", "pseudo_supervised", "free_latents", "constrained"),
              dtype=dtype, random_state=1, progress=False)
"""
ROWS = """
    from fastgen.neighbors import nearest_rows
    nearest_rows(np.ones((4, 9)), np.eye(9))
    nearest_rows(np.ones((4, 9), np.float32), np.eye(9, dtype=np.float32))
"""


def run(folder, code, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )


def prepare_and_use(folder, work, *names):
    """Prepare the groups ``names``, or all, in an empty folder; return what they leave uncompiled.

    And what ``work`` compiles in a process after it.
    """
    out = run(folder, LEFT, *names).stdout.splitlines()
    place = out[-2].removeprefix("kernels: ")
    assert place.startswith(str(folder))
    assert any(name.endswith(".nbc") for name in os.listdir(place))
    later = run(folder, LATER.format(work=work.strip()))
    assert later.stderr == ""
    return json.loads(out[-1]), later.stdout.strip()


def test_a_group_is_prepared_and_found_again(tmp_path):
    left, compiled = prepare_and_use(tmp_path, ROWS, "nearest_rows")
    assert not any(name.startswith("fastgen.kernels.cpu.nearest_rows") for name in left)
    assert compiled == "[]"


@pytest.mark.slow
def test_every_kernel_is_prepared_and_a_sweep_compiles_nothing(tmp_path):
    pytest.importorskip("torch")
    left, compiled = prepare_and_use(tmp_path, SWEEP)
    assert left == []
    assert compiled == "[]"
