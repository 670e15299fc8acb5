"""Sweeps on a real Dask cluster of two worker processes, one of them killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("distributed")

# In a process of its own: a cluster needs a main module and has its own warnings and loops.
SCRIPT = """
import json, os, signal, subprocess, sys
import joblib, numpy as np
from distributed import Client, LocalCluster
from fastgen.linear import sweep

def main(folder):
    rows = np.random.default_rng(0).standard_normal((300, 20)) * np.arange(1, 21)
    arguments = dict(latent_dims=range(1, 121), n_samples=60, n_trials=120, random_state=5)
    told = {}
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster, Client(cluster) as client:
        before = sorted(client.run(os.getpid).values())

        def kill_one(done, total):
            if done == 20:
                os.kill(before[0], signal.SIGKILL)

        with joblib.parallel_config("dask"):
            killed = sweep(**arguments, progress=kill_one, store=folder + "/killed.zarr")
            split = sweep(rows, **arguments)
        told["survived"] = killed.equals(sweep(**arguments, n_jobs=2))
        told["array"] = split.equals(sweep(rows, **arguments, n_jobs=2))
        told["stored"] = killed.equals(sweep(**arguments, store=folder + "/killed.zarr"))
        told["replaced"] = before[0] not in client.run(os.getpid).values()
        command = [sys.executable, "-m", "fastgen.cli", "sweep", "--dask",
                   cluster.scheduler_address, "--n-samples", "60", "--latent-dims", "1:120",
                   "--trials", "40", "--seed", "5", "--no-progress", "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        told["command"] = done.returncode
        told["summary"] = json.loads(done.stdout)["summary"]
    alone = sweep(**{**arguments, "n_trials": 40})
    from fastgen.linear import summarize
    told["same_summary"] = json.loads(json.dumps(summarize(alone))) == told.pop("summary")
    print("TOLD", json.dumps(told))

if __name__ == "__main__":
    main(sys.argv[1])
"""


def test_a_killed_worker_loses_nothing(tmp_path):
    script = tmp_path / "on_dask.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("TOLD"))
    assert json.loads(line[5:]) == {
        "survived": True,
        "array": True,
        "stored": True,
        "replaced": True,
        "command": 0,
        "same_summary": True,
    }


def test_no_scheduler_is_one_line():
    command = [sys.executable, "-m", "fastgen.cli", "sweep", "--dask", "tcp://127.0.0.1:1"]
    command += ["--n-samples", "5", "--latent-dims", "1:3", "--no-progress"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("fastgen: error")]
    assert len(lines) == 1
    assert "no scheduler answers at 'tcp://127.0.0.1:1'" in lines[0]
