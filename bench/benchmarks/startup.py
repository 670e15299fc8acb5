"""What a user waits for before anything is computed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile

_HELP = "import sys; sys.argv = ['fastgen', '--help']; from fastgen.cli import main; main()"
# What defines ``call``: small, as a first try would be.
FIRST_CALLS = {
    "sweep": """
from fastgen.linear import sweep
call = lambda: sweep(latent_dims=[1, 4, 9], n_samples=6, n_trials=1, random_state=0, progress=False)
""",
    "fid": """
from fastgen.metrics import fid
x, y = rng.normal(size=(600, 300)), rng.normal(size=(600, 300)) + 0.1
call = lambda: fid(x, y)
""",
    "GaussianMixture": """
from fastgen.mixture import GaussianMixture
x = rng.normal(size=(500, 5))
call = lambda: GaussianMixture(3, random_state=0).fit(x)
""",
    "nearest_rows": """
from fastgen.neighbors import nearest_rows
x, y = rng.normal(size=(50, 100)), rng.normal(size=(500, 100))
call = lambda: nearest_rows(x, y)
""",
    "nearest": """
import torch
from fastgen.goof import nearest
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 20), torch.nn.Tanh(), torch.nn.Linear(20, 30))
y = rng.normal(size=(20, 30)).astype(np.float32)
call = lambda: nearest(net, y, latent_dim=4)
""",
}


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


class Import:
    def time_import(self) -> None:
        """Include the start of Python."""
        _run("import fastgen")

    def timeraw_import(self) -> str:
        """Leave out the start of Python."""
        return "import fastgen"

    def timeraw_import_linear(self) -> str:
        return "import fastgen.linear"


class FirstSweep:
    """A tiny first sweep in a new process; the kernels come from the cache on disk."""

    def setup(self) -> None:
        _run(self.timeraw_first_sweep())

    def timeraw_first_sweep(self) -> str:
        return (
            "from fastgen.linear import sweep\n"
            "sweep(latent_dims=[1, 4, 9], n_samples=4, n_trials=1, random_state=0, progress=False)"
        )


class CommandLine:
    def setup(self) -> None:
        spec = importlib.util.find_spec("fastgen.cli")
        if spec is None or spec.origin is None:
            raise NotImplementedError("this version has no command line")

    def time_help(self) -> None:
        _run(_HELP)


class ColdCalls:
    """Processor seconds of first calls with an empty kernel cache, compiling included."""

    params = tuple(FIRST_CALLS)
    param_names = ("call",)
    unit = "s"
    timeout = 300

    def track_first_call(self, name: str) -> float:
        code = (
            f"import time, numpy as np; rng = np.random.default_rng(0)\n{FIRST_CALLS[name]}"
            "start = time.process_time(); call(); print(time.process_time() - start)"
        )
        with tempfile.TemporaryDirectory() as cache:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", code],
                check=True, capture_output=True, text=True,
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
            )  # fmt: skip
        return float(done.stdout.split()[-1])
