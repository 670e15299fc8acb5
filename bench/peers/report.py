"""What every peer script prints and writes."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

import numba
import threadpoolctl
from llvmlite import binding

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


def register_bits() -> int:
    """Width of the vector registers that kernels are compiled for, as ``NUMBA_CPU_NAME`` says."""
    name = numba.config.CPU_NAME
    if name and name != "host":
        wide = any(part in name for part in ("avx512", "icelake", "sapphire", "znver4", "znver5"))
        return 512 if wide else 256
    return 512 if binding.get_host_cpu_features().get("avx512f") else 256


def results_file(name: str) -> Path:
    """``bench/results/NAME``, or ``bench/results/avx2/NAME`` where registers have 256 bits."""
    folder = Path(__file__).resolve().parents[1] / "results"
    return (folder if register_bits() == 512 else folder / "avx2") / name


def instruction_line() -> str:
    """Which vector instructions fastgen and the libraries loaded beside it use."""
    target = numba.config.CPU_NAME or binding.get_host_cpu_name()
    used = [f"kernels for {target}, {register_bits()}-bit registers"]
    if torch := sys.modules.get("torch"):
        used.append(f"torch {torch.backends.cpu.get_cpu_capability()}")
    if faiss := sys.modules.get("faiss"):
        used.append(f"faiss {faiss.get_compile_options().strip()}")
    return f"- Instructions: {'; '.join(used)}."


def environment_lines() -> list[str]:
    versions = [f"python {platform.python_version()}", f"fastgen {fastgen.__version__}"]
    versions += [
        f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy", "numba")
    ]
    return [
        f"- Versions: {', '.join(versions)}.",
        f"- Machine: {cpu_model()}, {cores()} {'core' if cores() == 1 else 'cores'}.",
        instruction_line(),
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


def publish(text: str, options: argparse.Namespace, path: Path) -> None:
    """Print, and write to ``--out``, by default to ``path``, nowhere with ``--quick`` alone."""
    print(text)
    out = options.out or (None if options.quick else path)
    if out is not None:
        write(out, text)
