"""Two processes that train a denoiser equal one to rounding."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

if not torch.distributed.is_available():
    pytest.skip("torch was built without torch.distributed", allow_module_level=True)

from fastgen.networks import read_weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_torch_thread")]

# A file of its own: the processes import what they run.
SCRIPT = """
import sys
import numpy as np, torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from fastgen.diffusion import EDM, fit, pairing
from fastgen.networks import MLPDenoiser


def train(rank, steps=12, **options):
    torch.manual_seed(rank)  # only the weights of the first process count
    data = torch.randn(60, 2, generator=torch.Generator().manual_seed(9)).double()
    network = MLPDenoiser(2, width=16, depth=1, n_classes=3).double()
    return fit(network, data, labels=np.arange(60) % 3, steps=steps, batch_size=12, log_every=4,
               objective=EDM(0.8), log_variance=True, pairing=pairing("assignment"), span=None,
               ema=50.0, progress=False, **options)


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    train(rank, steps=7, out=f"{folder}/two")
    dist.barrier()
    train(rank, out=f"{folder}/two", resume=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    multiprocessing.spawn(work, args=(sys.argv[1],), nprocs=2)
"""


def test_two_processes_equal_one(tmp_path):
    (tmp_path / "two.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "two.py"), str(tmp_path)]
    ran = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    names = {"__name__": "script"}
    exec(compile(SCRIPT, "script", "exec"), names)
    found = names["train"](0)
    last = sorted((tmp_path / "two" / "checkpoints").iterdir())[-1]
    assert last.name == "0000000012"
    for name, module in (("network", found.network), ("ema", found.ema)):
        state = read_weights(last / f"{name}.safetensors")
        torch.testing.assert_close(state, dict(module.state_dict()), rtol=1e-9, atol=1e-11)
