"""What every peer script prints and writes."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import tempfile
from pathlib import Path

import threadpoolctl

import fastgen


def median(values: list[float]) -> float:
    return statistics.median(values)


def span(values: list[float], unit: float = 1.0) -> str:
    """Median and, in brackets, the extremes, in milliseconds."""
    low, middle, high = (f(values) * unit * 1e3 for f in (min, median, max))
    return f"{middle:.4g} ({low:.4g}..{high:.4g})"


def verdict(ratio: float, target: float | None) -> str:
    if target is None:
        return f"{ratio:.3g}x | |"
    return f"{ratio:.3g}x | {target:g}x: {'met' if ratio >= target else 'MISSED'} |"


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def blas_lines() -> list[str]:
    """One line per BLAS of this process, with its threads as they are now."""
    return [
        f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', 'unknown')} kernels)"
        f", {pool['num_threads']} thread{'s' if pool['num_threads'] > 1 else ''}"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]


def environment_lines() -> list[str]:
    versions = [f"python {platform.python_version()}", f"fastgen {fastgen.__version__}"]
    versions += [
        f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy", "numba")
    ]
    return [
        f"- Versions: {', '.join(versions)}.",
        f"- Machine: {cpu_model()}, {cores()} cores.",
        *(f"- BLAS, in all contestants: {line}." for line in blas_lines()),
    ]


def write(path: Path, text: str) -> None:
    """Write beside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
