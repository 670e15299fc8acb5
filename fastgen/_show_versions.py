"""What is installed and where, for a bug report."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys

from ._version import __version__

_PACKAGES = (
    "numpy scipy numba llvmlite scikit-learn POT xarray zarr joblib threadpoolctl matplotlib typer "
    "torch torchmetrics safetensors cupy-cuda13x cupy-cuda12x distributed"
).split()


def versions() -> dict[str, str]:
    """Return versions, paths and the machine's size as text by name."""
    here = os.path.dirname(os.path.abspath(__file__))
    found = {
        "fastgen": f"{__version__} ({here})",
        "kernels": os.path.realpath(os.path.join(here, "kernels")),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "cores": str(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
    }
    for name in _PACKAGES:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
        else:
            found[name] = f"{distribution.version} ({distribution.locate_file('')})"
    found["CUDA device"] = _device()
    return found


def _device() -> str:
    if importlib.util.find_spec("cupy") is None:
        return "unknown: CuPy is not installed"
    import cupy

    if not cupy.cuda.is_available():
        return "none"
    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


def show_versions() -> None:
    """Print versions and paths of fastgen and of everything it uses.

    Examples
    --------
    >>> import fastgen
    >>> fastgen.show_versions()  # doctest: +ELLIPSIS
    fastgen: ...
    """
    for name, text in versions().items():
        print(f"{name}: {text}")
