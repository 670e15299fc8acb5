"""Draw the supervision-orthonormality plane of subspace fitting.

python bench/studies/plane.py [--trials 40] [--out plane.nc] [--plot plane.png]
"""

from __future__ import annotations

import argparse

from fastgen.linear import subspace_sweep
from fastgen.plotting.plane import plane_figure
from fastgen.plotting.style import save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--out", help="netCDF file")
    parser.add_argument("--plot", default="plane.png", help="picture (default: plane.png)")
    options = parser.parse_args()
    result = subspace_sweep(
        n_observed=range(5, 33), n_trials=options.trials, random_state=0, n_jobs=-1, progress=True
    )
    if options.out:
        result.to_netcdf(options.out, engine="scipy")
    save_figure(plane_figure(result), options.plot)


if __name__ == "__main__":
    main()
