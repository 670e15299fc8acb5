"""A step of MixtureNorm beside one of BatchNorm, on the CPU: forward and backward.

Agreement first: one component with BatchNorm, three with the NumPy oracle. Run from anywhere:

    python bench/peers/mixture_norm.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from report import environment_lines, median, results_file, span, write

from fastgen.networks import MixtureNorm2d

ROOT = Path(__file__).resolve().parents[2]
RESULTS = results_file("mixture_norm_speed.md")
SHAPE = (256, 128, 8, 8)
COMPONENTS = (1, 3, 5)
TARGET = 3.0  # times BatchNorm's step, for three components


def clusters(shape, n_clusters: int, dtype=torch.float32) -> torch.Tensor:
    """Activations whose positions belong to clusters."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(n_clusters, (shape[0], *shape[2:]), generator=draws)
    centers = torch.randn(n_clusters, shape[1], generator=draws)
    x = centers[labels].movedim(-1, 1) + torch.randn(shape, generator=draws)
    return x.to(dtype).contiguous()


def step(layer, x, gradient):
    x.grad = None
    y = layer(x)
    y.backward(gradient)
    return y


def check_agreement() -> tuple[float, float]:
    """Largest differences to BatchNorm (K = 1, float32) and to the oracle (K = 3, float64)."""
    sys.path.insert(0, str(ROOT / "tests"))
    from oracles import mixture_norm as naive

    x, gradient = clusters((32, 16, 8, 8), 3), torch.randn(32, 16, 8, 8)
    found = []
    for layer in (torch.nn.BatchNorm2d(16), MixtureNorm2d(16, 1)):
        a = x.clone().requires_grad_()
        found.append((step(layer, a, gradient), a.grad))
    one = max((u - v).abs().max().item() for u, v in zip(*found, strict=True))
    layer = MixtureNorm2d(16, 3, dtype=torch.float64)
    a = x.double()
    layer(a)
    start = [getattr(layer, f"running_{n}").numpy().copy() for n in ("weights", "means", "vars")]
    y = layer(a).detach()
    flat = [t.movedim(1, -1).reshape(-1, 16).numpy() for t in (a, y)]
    nu = naive.em(flat[0], *start, layer.em_steps, layer.eps)[0]
    three = float(np.abs(flat[1] - naive.mixture_norm(flat[0], nu)).max())
    if one > 1e-6 or three > 1e-9:
        sys.exit(f"disagreement: {one:.1e} with BatchNorm, {three:.1e} with the oracle")
    return one, three


def measure(n_threads: int, rounds: int) -> list[str]:
    """Time all layers in turn; lines of the table."""
    torch.set_num_threads(n_threads)
    x, gradient = clusters(SHAPE, 3).requires_grad_(), torch.randn(SHAPE)
    layers = {"BatchNorm2d": torch.nn.BatchNorm2d(SHAPE[1])}
    layers |= {f"MixtureNorm2d, K = {k}": MixtureNorm2d(SHAPE[1], k) for k in COMPONENTS}
    first = {}
    for name, layer in layers.items():
        started = time.perf_counter()
        step(layer, x, gradient)
        first[name] = time.perf_counter() - started
        for _ in range(3):
            step(layer, x, gradient)
    seconds: dict[str, list[float]] = {name: [] for name in layers}
    work: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(rounds):
        for name, layer in layers.items():
            started, used = time.perf_counter(), time.process_time()
            step(layer, x, gradient)
            seconds[name].append(time.perf_counter() - started)
            work[name].append(time.process_time() - used)
    base = seconds["BatchNorm2d"]
    lines = []
    for name, values in seconds.items():
        ratio, least = median(values) / median(base), min(values) / min(base)
        effort = median(work[name]) / median(work["BatchNorm2d"])
        target = ""
        if name.endswith("K = 3"):
            target = f"at most {TARGET:g}x: {'met' if ratio <= TARGET else 'MISSED'}"
        lines.append(
            f"| {n_threads} | {name} | {span(values)} | {ratio:.2f}x | {least:.2f}x | "
            f"{effort:.2f}x | {first[name] * 1e3:.0f} | {target} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    out = options.out or (None if options.quick else RESULTS)
    default = torch.get_num_threads()
    one, three = check_agreement()
    step(MixtureNorm2d(8), torch.randn(4, 8, 4, 4, requires_grad=True), torch.randn(4, 8, 4, 4))
    lines = [
        "# A step of MixtureNorm beside BatchNorm on the CPU",
        "",
        "- Command: `python bench/peers/mixture_norm.py`.",
        *environment_lines(),
        f"- torch {torch.__version__}, its default {default} threads.",
        f"- Load average of the machine at the start: {os.getloadavg()[0]:.1f}.",
        "",
        f"Forward and backward for float32 input {SHAPE} of three clusters, training mode, layers "
        "in turn. The ratios are those of medians and of minima of the time on the clock and of "
        "medians of the processor time of all threads. The first step, which starts from seeds (20 "
        "EM steps on 8192 positions), is not among the others; its kernels were compiled before.",
        "",
        "| threads | layer | ms, median (min..max) | medians | minima | processor | first, ms | |",
        "|---" * 8 + "|",
    ]
    for n_threads in sorted({1, default}):
        lines += measure(n_threads, 5 if options.quick else 60)
    lines += [
        "",
        f"Agreement: K = 1 with BatchNorm to {one:.1e} in output and gradient (float32), K = 3 with"
        f" the NumPy oracle to {three:.1e} (float64).",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if out is not None:
        write(out, text)


if __name__ == "__main__":
    main()
