"""What a user waits for before anything is computed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

_HELP = "import sys; sys.argv = ['fastgen', '--help']; from fastgen.cli import main; main()"


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
