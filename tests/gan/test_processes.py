"""Two processes equal one to rounding."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

if not torch.distributed.is_available():
    pytest.skip("torch was built without torch.distributed", allow_module_level=True)

from fastgen.networks import read_weights

pytestmark = pytest.mark.usefixtures("one_torch_thread")

# A file of its own: the processes import what they run.
SCRIPT = """
import sys
import numpy as np, torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from fastgen import networks
from fastgen.gan import (
    Balanced, Ensemble, NotFiniteError, PairwiseDistance, PseudoSupervision, Relativistic,
    WassersteinGP, fit,
)

CASES = ("single", "ensemble", "conditional")


def train(case, rank, **options):
    # only the weights of the first process count
    torch.manual_seed(rank)
    data = torch.randn(50, 2, generator=torch.Generator().manual_seed(9)).double()
    options = {"steps": 12, "batch_size": 12, "lr": 1e-2, "progress": False, "log_every": 4,
               "ema": 50.0, **options}
    if case == "single":
        generator = networks.MLPGenerator(3, 2, widths=(8,))
        discriminator = networks.MLPDiscriminator(2, widths=(8,))
        options.update(objective=WassersteinGP(), discriminator_steps=2,
                       terms=[PairwiseDistance(1.0)], pairs=PseudoSupervision(0.5),
                       weights=np.linspace(1, 2, 50))
    elif case == "ensemble":
        generator = Ensemble(lambda: networks.MLPGenerator(3, 2, widths=(8,)), 3, 1,
                             weights="learned", random_state=rank)
        discriminator = networks.MLPDiscriminator(2, widths=(8,), n_outputs=4)
        options.update(objective=Relativistic(every=3), terms=[Balanced()],
                       pairs=PseudoSupervision(0.5))
    else:
        generator = networks.MLPGenerator(3, 2, widths=(8,), n_classes=4)
        discriminator = networks.MLPDiscriminator(2, widths=(8,), n_classes=4)
        options.update(labels=np.arange(50) % 4)
    return fit(generator.double(), discriminator.double(), data, **options)


class Bad:
    def __call__(self, batch):
        broken = torch.distributed.get_rank() == 1 and batch.step == 5
        return batch.fake.mean() * (float("nan") if broken else 0.0)

    def __repr__(self):
        return "Bad()"


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    for case in CASES:
        train(case, rank, out=f"{folder}/two-{case}")
    dist.barrier()
    # a longer run goes on, in both
    train("ensemble", rank, out=f"{folder}/two-ensemble", resume=True, steps=20)
    for terms, batch_size, word in (([Bad()], 12, "step 5"), ([], 13, "multiple of 2")):
        try:
            train("conditional", rank, terms=terms, batch_size=batch_size)
        except (NotFiniteError, ValueError) as error:
            assert word in str(error), error
        else:
            raise AssertionError("no error")
    dist.destroy_process_group()


if __name__ == "__main__":
    multiprocessing.spawn(work, args=(sys.argv[1],), nprocs=2)
"""


@pytest.fixture(scope="module")
def script():
    names = {"__name__": "script"}
    exec(compile(SCRIPT, "script", "exec"), names)
    return names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes wrote."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.py").write_text(SCRIPT)
    command = [sys.executable, str(folder / "two.py"), str(folder)]
    ran = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.parametrize("case", ["single", "ensemble", "conditional"])
def test_two_processes_equal_one(script, folder, case):
    found = script["train"](case, 0, steps=20 if case == "ensemble" else 12)
    last = sorted((folder / f"two-{case}" / "checkpoints").iterdir())[-1]
    for name in ("generator", "discriminator", "ema"):
        state = read_weights(last / f"{name}.safetensors")
        torch.testing.assert_close(
            state, dict(getattr(found, name).state_dict()), rtol=1e-9, atol=1e-11
        )
