"""Peak memory of one sweep in a process of its own; prints JSON for ``sweep.py``.

The peak is the resident set's (``VmHWM``, Linux): allocations inside kernels and LAPACK count,
which tracemalloc does not see. What the interpreter and a first small sweep took is subtracted.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from fastgen.linear import SpikedGaussian, sweep


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("dim", "n-samples", "k-max", "trials", "jobs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()

    def run(n_trials: int):
        return sweep(
            SpikedGaussian(dim=options.dim),
            latent_dims=range(1, options.k_max + 1),
            n_samples=options.n_samples,
            n_trials=n_trials,
            random_state=0,
            n_jobs=options.jobs,
            progress=False,
        )

    run(2)
    before = peak_bytes()
    result = run(options.trials)
    print(json.dumps({"growth": peak_bytes() - before, "result": int(result.nbytes)}))


if __name__ == "__main__":
    main()
