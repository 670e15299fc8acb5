"""Calls on a machine whose cores are taken by other processes, with the threads of BLAS left alone.

As many processes as there are cores multiply matrices meanwhile. Every call is made by a process
where BLAS was left alone, and by one that was held at a single thread, in turn: threads that wait
for each other show as a time that is many times the second. faiss and `sqrtm` are left alone.

    python bench/peers/busy.py [--quick] [--out FILE]

Some five minutes. faiss takes part if installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from report import cores, environment_lines, median, publish, results_file, span

RESULTS = results_file("busy.md")
MOST = 2.0  # times its own time on one thread
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
HOG = """
import numpy as np
x = np.random.default_rng(0).standard_normal((400, 400))
while True:
    x @ x
"""
_ROWS = """
import numpy as np
rng = np.random.default_rng(0)
steps = rng.standard_normal((64, {d})) * np.linspace(1, 0.05, 64)[:, None]
x, y = (
    (rng.standard_normal((n, 64)) @ steps + 0.1 * rng.standard_normal((n, {d}))).astype(np.float32)
    for n in ({n}, {m})
)
"""
_MOMENTS = """
import numpy as np
rng = np.random.default_rng(0)
x, y = rng.standard_normal((2, {n}, {d}))
a, b, c, e = x.mean(0), np.cov(x.T), y.mean(0) + 0.1, np.cov(y.T)
"""
_CLUSTERS = """
import numpy as np
rng = np.random.default_rng(0)
x, y = (rng.standard_normal(({n}, {d})) + 2 * rng.integers(0, 3, ({n}, 1)) for _ in range(2))
"""
# name: preparation that defines ``call``, sizes, sizes for --quick, peer
CALLS = {
    "nearest_rows": (
        _ROWS + "from fastgen.neighbors import nearest_rows\ncall = lambda: nearest_rows(x, y)",
        dict(n=600, m=15_000, d=3072), dict(n=100, m=1000, d=200), "faiss IndexFlatL2",
    ),
    "faiss IndexFlatL2": (
        _ROWS + "import faiss\n"
        "def call():\n    index = faiss.IndexFlatL2(y.shape[1]); index.add(y); index.search(x, 1)",
        dict(n=600, m=15_000, d=3072), dict(n=100, m=1000, d=200), None,
    ),
    "frechet_distance": (
        _MOMENTS + "from fastgen.metrics import frechet_distance\n"
        "call = lambda: frechet_distance(a, b, c, e)",
        dict(n=3000, d=1024), dict(n=300, d=100), "scipy.linalg.sqrtm",
    ),
    "scipy.linalg.sqrtm": (
        _MOMENTS + "import scipy.linalg\ncall = lambda: np.trace(scipy.linalg.sqrtm(b @ e)).real",
        dict(n=3000, d=1024), dict(n=300, d=100), None,
    ),
    "fid": (
        _ROWS + "from fastgen.metrics import fid\ncall = lambda: fid(x, y)",
        dict(n=3000, m=3000, d=512), dict(n=300, m=300, d=50), None,
    ),
    "wam": (
        _CLUSTERS + "from fastgen.metrics import wam\n"
        "call = lambda: wam(x, y, n_components=3, random_state=0)",
        dict(n=2000, d=128), dict(n=200, d=10), None,
    ),
    "GaussianMixture.fit": (
        _CLUSTERS + "from fastgen.mixture import GaussianMixture\n"
        "call = lambda: GaussianMixture(3, random_state=0).fit(x)",
        dict(n=5000, d=128), dict(n=300, d=10), None,
    ),
    "linear.sweep": (
        "from fastgen.linear import SpikedGaussian, sweep\n"
        "model = SpikedGaussian({d}, 10, random_state=0)\n"
        "call = lambda: sweep(model, latent_dims=range(1, {k}, {by}), n_samples={n}, n_trials=2,"
        " random_state=0, progress=False)",
        dict(d=512, n=200, k=600, by=6), dict(d=40, n=20, k=60, by=6), None,
    ),
    "manifold": (
        _ROWS + "from fastgen.metrics import manifold\ncall = lambda: manifold(x, y)",
        dict(n=3000, m=3000, d=512), dict(n=300, m=300, d=50), None,
    ),
    "kid": (
        _ROWS + "from fastgen.metrics import kid\ncall = lambda: kid(x, y)",
        dict(n=3000, m=3000, d=512), dict(n=300, m=300, d=50), None,
    ),
    "vendi": (
        _ROWS + "from fastgen.metrics import vendi\ncall = lambda: vendi(x)",
        dict(n=4000, m=10, d=512), dict(n=300, m=10, d=50), None,
    ),
    "nearest": (
        "import numpy as np, torch\nfrom fastgen.goof import nearest\n"
        "torch.manual_seed(0)\n"
        "net = torch.nn.Sequential(torch.nn.Linear(16, {h}), torch.nn.ReLU(),"
        " torch.nn.Linear({h}, {d}), torch.nn.Tanh())\n"
        "y = np.random.default_rng(0).uniform(-1, 1, ({n}, {d})).astype(np.float32)\n"
        "call = lambda: nearest(net, y, latent_dim=16, n_starts=4, random_state=0, progress=False)",
        dict(n=16, h=128, d=784), dict(n=4, h=16, d=50), None,
    ),
}  # fmt: skip
_WORKER = """
import sys, time
call()
for line in sys.stdin:
    start = time.perf_counter(), time.process_time()
    call()
    print("TIME", time.perf_counter() - start[0], time.process_time() - start[1], flush=True)
"""


class Worker:
    """A process that makes one call each time it is asked, and says what it took."""

    def __init__(self, preparation: str, one_thread: bool) -> None:
        env = {name: value for name, value in os.environ.items() if name not in THREADS}
        if one_thread:
            env |= dict.fromkeys(THREADS, "1")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", preparation + "\n" + _WORKER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=env,
        )  # fmt: skip

    def __call__(self) -> tuple[float, float]:
        """Wall and processor seconds of one call."""
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._process.stderr.read()) from None
        while line := self._process.stdout.readline():
            if line.startswith("TIME"):
                wall, spent = map(float, line.split()[1:])
                return wall, spent
        raise RuntimeError(self._process.stderr.read())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def hogs() -> list[subprocess.Popen]:
    """Start a process of matrix products for every core."""
    env = {**os.environ, **dict.fromkeys(THREADS, "1")}
    return [subprocess.Popen([sys.executable, "-c", HOG], env=env) for _ in range(cores())]


def measured(preparation: str, rounds: int) -> dict[str, list[float]]:
    """Wall seconds, left alone and held at one thread, in turn; the first call is not counted."""
    workers = {"alone": Worker(preparation, False), "one": Worker(preparation, True)}
    found: dict[str, list[float]] = {name: [] for name in workers}
    try:
        for turn in range(rounds + 1):
            for name, worker in workers.items():
                wall, _ = worker()
                if turn:
                    found[name].append(wall)
    finally:
        for worker in workers.values():
            worker.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, not for quoting")
    parser.add_argument("--calls", nargs="+", choices=CALLS, default=list(CALLS))
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    wanted = [
        name for name in options.calls
        if not name.startswith("faiss") or importlib.util.find_spec("faiss")
    ]  # fmt: skip
    others = hogs()
    try:
        time.sleep(2)
        found = {}
        for name in wanted:
            preparation, sizes, small, _ = CALLS[name]
            chosen = small if options.quick else sizes
            text = preparation
            for key, value in chosen.items():
                text = text.replace("{" + key + "}", str(value))
            found[name] = measured(text, 1 if options.quick else 5)
            print(name, {key: median(value) for key, value in found[name].items()}, file=sys.stderr)
    finally:
        for process in others:
            process.kill()
            process.wait()
    lines = [
        "# Calls on a busy machine",
        "",
        "- Command: `python bench/peers/busy.py`.",
        *environment_lines(),
        f"- {cores()} processes that multiply matrices run beside every call. *Left alone*: BLAS "
        "at as many threads as there are cores; *one thread*: BLAS held at one by the environment. "
        f"No call of fastgen may take more than {MOST:g} times the latter.",
        "",
        "| call | left alone, ms, median (min..max) | one thread, ms | ratio | at most | "
        "over the peer left alone |",
        "|---|---|---|---|---|---|",
    ]
    for name, times in found.items():
        _, sizes, small, peer = CALLS[name]
        described = ", ".join(
            f"{key} {value}" for key, value in (small if options.quick else sizes).items()
        )
        ratio = median(times["alone"]) / median(times["one"])
        ours = not name.startswith(("faiss", "scipy"))
        limit = f"{MOST:g}x: {'met' if ratio <= MOST else 'MISSED'}" if ours else ""
        over = ""
        if peer in found:
            over = f"{peer}: {median(found[peer]['alone']) / median(times['alone']):.2g}x"
        lines.append(
            f"| {name} ({described}) | {span(times['alone'])} | {span(times['one'])} | "
            f"{ratio:.2f}x | {limit} | {over} |"
        )
    text = "\n".join(lines) + "\n"
    publish(text, options, RESULTS)


if __name__ == "__main__":
    main()
