"""What a first call costs with an empty kernel cache, in compile times of one small kernel.

Every row runs in a process of its own with a fresh NUMBA_CACHE_DIR. Imports of fastgen and the data
are made before the clock starts; what the call itself imports and compiles counts, in CPU seconds
of the process. The unit is the compile time of three nested loops with ``sqrt`` and ``exp``.

    python bench/peers/first_call.py [name ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import report

RESULT = report.results_file("first_call.md")

_HEAD = "import time, numpy as np; rng = np.random.default_rng(0)\n"
_REFERENCE = """
from numba import njit
@njit
def reference(a, b, out):
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = 0.0
            for k in range(a.shape[1]):
                total += np.sqrt(abs(a[i, k] - b[j, k]))
            out[i, j] = np.exp(-total)
a, out = np.ones((3, 4)), np.empty((3, 3))
call = lambda: reference(a, a, out)
"""
# name: (target, preparation that defines ``call``)
ROWS = {
    "linear.sweep, digits": (
        12.0,
        """
from sklearn.datasets import load_digits
from fastgen.linear import sweep
x = load_digits().data
call = lambda: sweep(x, n_samples=100, latent_dims=range(1, 301), n_trials=1,
                     random_state=0, progress=False)
""",
    ),
    "linear.sweep, semi-supervised": (
        20.0,
        """
from fastgen.linear import sweep
names = "free_latents", "lexicographic", "penalized", "constrained"
call = lambda: sweep(latent_dims=[1, 4, 9, 20], n_samples=16, n_supervised=[6], problems=names,
                     n_trials=1, random_state=0, progress=False)
""",
    ),
    "fid 600 x 300": (
        3.0,
        """
from fastgen.metrics import fid
x, y = rng.normal(size=(600, 300)), rng.normal(size=(600, 300)) + 0.1
call = lambda: fid(x, y)
""",
    ),
    "dist_bures_squared": (
        3.0,
        """
from fastgen.metrics import dist_bures_squared
c = np.stack([np.cov(rng.normal(size=(20, 60))) for _ in range(4)])
m = rng.normal(size=(4, 20))
call = lambda: dist_bures_squared(m, m, c, c)
""",
    ),
    "GaussianMixture.fit": (
        3.0,
        """
from fastgen.mixture import GaussianMixture
x = rng.normal(size=(500, 5))
call = lambda: GaussianMixture(3, random_state=0).fit(x)
""",
    ),
    "wam": (
        6.0,
        """
from fastgen.metrics import wam
x, y = rng.normal(size=(600, 30)), rng.normal(size=(600, 30)) + 0.1
call = lambda: wam(x, y)
""",
    ),
    "NonparametricMixture.fit": (
        6.0,
        """
from fastgen.mixture import NonparametricMixture
x = np.concatenate([rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) + 4])
call = lambda: NonparametricMixture(2, random_state=0).fit(x)
""",
    ),
    "MixtureNorm2d": (
        6.0,
        """
import torch
from fastgen.networks import MixtureNorm2d
layer = MixtureNorm2d(8)
x = torch.randn(16, 8, 6, 6, requires_grad=True)
call = lambda: layer(x).square().sum().backward()
""",
    ),
    "nearest_rows": (
        2.5,
        """
from fastgen.neighbors import nearest_rows
x, y = (rng.normal(size=(n, 100)).astype(np.float32) for n in (50, 500))
call = lambda: nearest_rows(x, y)
""",
    ),
    "nearest": (
        5.0,
        """
import torch
from fastgen.goof import nearest
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 20), torch.nn.Tanh(), torch.nn.Linear(20, 30))
y = rng.normal(size=(20, 30)).astype(np.float32)
call = lambda: nearest(net, y, latent_dim=4)
""",
    ),
}
_TAIL = """
start = time.process_time(); call(); print("SECONDS", time.process_time() - start)
"""


def seconds(preparation: str) -> float:
    """CPU seconds of the first ``call()`` in a new process with an empty kernel cache."""
    with tempfile.TemporaryDirectory() as cache:
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _HEAD + preparation + _TAIL],
            env={**os.environ, "NUMBA_CACHE_DIR": cache},
            capture_output=True,
            text=True,
        )
    if run.returncode:
        raise RuntimeError(run.stderr)
    return float(run.stdout.rsplit("SECONDS", 1)[1])


def main() -> None:
    wanted = sys.argv[1:]
    unit = report.median([seconds(_REFERENCE) for _ in range(3)])
    lines = [
        "# First calls with an empty kernel cache",
        "",
        *report.environment_lines(),
        f"- Unit: {unit:.2f} CPU seconds, the compile time of three nested loops.",
        "",
        "| first call | CPU s | units | target | |",
        "|---|---|---|---|---|",
    ]
    for name, (target, preparation) in ROWS.items():
        if wanted and not any(name.startswith(part) for part in wanted):
            continue
        spent = seconds(preparation)
        verdict = "met" if spent <= target * unit else "MISSED"
        lines.append(f"| {name} | {spent:.1f} | {spent / unit:.1f} x | {target:g} x | {verdict} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if not wanted:
        report.write(RESULT, text)


if __name__ == "__main__":
    main()
