"""Nearest points of a generator's range beside what is run today, in one process.

    python bench/peers/goof.py IMAGES WEIGHTS VAE [--cases mlp_gan vae dcgan] [--quick]

IMAGES is an .npz with ``images`` (n, 28, 28) uint8, WEIGHTS a folder with what
``bench/studies/train_generators.py`` wrote, VAE an .npz of a trained VAE. Writes
bench/results/goof.md and goof.png (not with --quick). pytorch-minimize takes part if installed.

Contestants (``goof_peers.py``) return latents; their distances are computed here, in float64, by
the same code. Times are CPU seconds of one thread, so that other work on the machine counts
little; what takes less than two seconds is repeated. Each seed draws new planted targets, real
digits, pools and starts; medians over the seeds are printed. The warm start counts for both sides:
the peers' best versions get a pool too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import statistics
import time
from pathlib import Path

import numpy as np
import report
import threadpoolctl
import torch
from goof_peers import POOL, SMALL_POOL, Case, Contestant, contestants, fastgen, make_case

VERBATIM, RECOVERED = 1e-6, 0.9
# Everything is run up to seven times, until two seconds are spent, and takes the median time.
REPEATS, LONG = 7, 2.0


def measure(case: Case, run: Contestant) -> dict[str, float]:
    """CPU seconds, passes and errors on planted and real targets."""
    found = {}
    for kind, X in (("planted", case.planted), ("real", case.real)):
        seconds: list[float] = []
        while len(seconds) < REPEATS and sum(seconds) < LONG:  # short runs are noisy
            start = time.process_time()
            z, passes = run(case, X)
            seconds.append(time.process_time() - start)
        found[f"{kind} seconds"] = statistics.median(seconds) * len(X) / len(z)
        found[f"{kind} passes"] = passes
        mse = case.mse(z, X[: len(z)])
        if not np.isfinite(mse).all():
            mse = np.nan_to_num(mse, nan=np.inf)
        found[f"{kind} mean"] = float(mse.mean())
        found[f"{kind} median"] = float(np.median(mse))
        found[f"{kind} recovered"] = float((mse < VERBATIM).mean())
    return found


def sizes(name: str, options: argparse.Namespace) -> tuple[int, int]:
    """Targets of each kind, and seeds."""
    if options.quick:
        return 8, 1
    return (16, 1) if name == "dcgan" else (64, options.seeds)


def run_case(name: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    n, seeds = sizes(name, options)
    given = options.images, options.weights, options.vae
    runs: dict[str, list[dict[str, float]]] = {}
    small = make_case(name, *given, 99, 4)
    for method in ("auto", "lbfgs"):  # kernels are compiled before the clock starts
        fastgen(1, 100, method=method, max_iter=2)(small, small.real)
    for seed in range(seeds):
        case = make_case(name, *given, seed, n)
        for label, run in contestants(name, options.quick).items():
            runs.setdefault(label, []).append(measure(case, run))
            last = runs[label][-1]
            print(
                f"{name} seed {seed} {label}: "
                + ", ".join(f"{k} {v:.3g}" for k, v in last.items()),
                flush=True,
            )
    return {
        label: {key: statistics.median(one[key] for one in found) for key in found[0]}
        for label, found in runs.items()
    }


def table(name: str, found: dict[str, dict[str, float]], n: int, seeds: int) -> list[str]:
    lines = [
        f"## {name}, {n} targets of each kind, {seeds} seed{'s' * (seeds > 1)}",
        "",
        "| contestant | planted: CPU s | passes | recovered | mean MSE | median MSE | real: CPU s "
        "| passes | mean MSE | median MSE |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for label, row in found.items():
        lines.append(
            f"| {label} | {row['planted seconds']:.3g} | {row['planted passes']:.0f} "
            f"| {row['planted recovered']:.0%} "
            f"| {row['planted mean']:.2g} | {row['planted median']:.2g} "
            f"| {row['real seconds']:.3g} | {row['real passes']:.0f} "
            f"| {row['real mean']:.4g} | {row['real median']:.4g} |"
        )
    return [*lines, ""]


def verdicts(name: str, found: dict[str, dict[str, float]]) -> list[str]:
    """What the figures say about the targets; a peer is anything that is not fastgen."""
    ours = {label: row for label, row in found.items() if label.startswith("fastgen")}
    peers = {label: row for label, row in found.items() if label not in ours}
    lines = []
    if name == "vae":
        label = "Adam 0.01, 1000 x 10 (csgm, MNIST)"
        if label in peers:
            lines.append(_faster(ours, label, peers[label], 5.0, slack=1.01))
        return [*lines, ""]
    lines.append(_recovered(ours, peers))
    warm = [label for label in peers if _warm_adam(label)]
    lines += [
        _faster(ours, label, peers[label], 10.0 if " 500 x 2," in label else None) for label in warm
    ]
    return [*lines, ""]


def _recovered(ours: dict, peers: dict) -> str:
    """The first of ours that recovers 90 %, else the best, beside the best peer."""
    enough = [row for row in ours.values() if row["planted recovered"] >= RECOVERED]
    best = max(ours.values(), key=lambda row: row["planted recovered"])
    first = min(enough, key=lambda row: row["planted seconds"]) if enough else best
    top = max(peers, key=lambda label: peers[label]["planted recovered"])
    seconds = peers[top]["planted seconds"]
    return (
        f"- Planted targets recovered to MSE < 1e-6: {first['planted recovered']:.0%} in "
        f"{first['planted seconds']:.3g} s, {best['planted recovered']:.0%} in "
        f"{best['planted seconds']:.3g} s (target {RECOVERED:.0%}); best peer {top}, "
        f"{peers[top]['planted recovered']:.0%} in {seconds:.3g} s, "
        f"{seconds / first['planted seconds']:.2g} times the first time."
    )


def _warm_adam(label: str) -> bool:
    return label.startswith("Adam") and "warm" in label


def _faster(
    ours: dict,
    label: str,
    peer: dict[str, float],
    target: float | None,
    slack: float = 1.0,
) -> str:
    """Ratio of times to the peer's mean real error, and errors at equal time."""
    reached = {k: r for k, r in ours.items() if r["real mean"] <= slack * peer["real mean"]}
    equal = [r for r in ours.values() if r["real seconds"] <= 1.05 * peer["real seconds"]]
    line = (
        f"- Real digits against {label} ({peer['real mean']:.4g} in {peer['real seconds']:.3g} s): "
    )
    missed = f" (target {target:g}x: MISSED)" if target else ""
    if reached:
        name = min(reached, key=lambda label: reached[label]["real seconds"])
        first = reached[name]
        ratio = peer["real seconds"] / first["real seconds"]
        verdict = f" (target {target:g}x: met)" if target and ratio >= target else missed
        line += (
            f"{name} reaches {first['real mean']:.4g} in {first['real seconds']:.3g} s, "
            f"{ratio:.2g}x{verdict}"
        )
    else:
        line += f"fastgen does not reach it{missed}"
    if equal:
        lowest = min(row["real mean"] for row in equal)
        line += f"; in no more time the least mean of ours is {lowest:.4g}"
    return line + "."


def draw(cases: dict[str, dict], path: str) -> None:
    """Mean errors over CPU seconds and over passes, two rows of panels per case."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    from fastgen.plotting.style import save_figure

    figure = Figure(figsize=(7, 4.8 * len(cases)), layout="constrained")
    panels = figure.subplots(2 * len(cases), 2, squeeze=False)
    groups = {
        "fastgen, lbfgs": lambda label: label.startswith("fastgen lbfgs"),
        "fastgen": lambda label: label.startswith("fastgen,"),
        "Adam 0.1, warm": _warm_adam,
        "csgm": lambda label: "csgm" in label,
        "Webster": lambda label: label.startswith("Webster"),
        "SciPy": lambda label: label.startswith("scipy"),
        "pytorch-minimize": lambda label: label.startswith("pytorch-minimize"),
    }
    for row, (name, found) in enumerate(cases.items()):
        for column, kind in enumerate(("planted", "real")):
            for below, key in enumerate(("seconds", "passes")):
                axes = panels[2 * row + below, column]
                for (group, holds), marker in zip(groups.items(), "osvd^xP", strict=True):
                    chosen = [r for label, r in found.items() if holds(label)]
                    chosen = [r for r in chosen if np.isfinite(r[f"{kind} {key}"])]
                    chosen.sort(key=lambda r: r[f"{kind} {key}"])
                    xs, ys = ([r[f"{kind} {k}"] for r in chosen] for k in (key, "mean"))
                    # separate methods under one name are no curve
                    style = "-" if group.startswith(("fastgen", "Adam")) else ""
                    axes.plot(xs, ys, style, marker=marker, markersize=4, lw=1, label=group)
                axes.set_xscale("log")
                axes.set_yscale("log")
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.set_title(f"{name}, {kind} targets", fontsize=8)
                what = "CPU seconds, one thread" if key == "seconds" else "passes per target"
                axes.set_xlabel(what, fontsize=8)
                axes.set_ylabel("mean squared distance per pixel", fontsize=8)
                axes.tick_params(which="both", labelsize=7)
    panels[0, 0].legend(fontsize=6, frameon=False)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("weights", type=Path)
    parser.add_argument("vae")
    parser.add_argument("--cases", nargs="+", default=["mlp_gan", "vae", "dcgan"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny, not for quoting")
    parser.add_argument("--plot", default=str(report.results_file("goof.png")))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        cases = {name: run_case(name, options) for name in options.cases}
    torchmin = "without pytorch-minimize"
    if importlib.util.find_spec("torchmin"):
        torchmin = f"pytorch-minimize {importlib.metadata.version('pytorch-minimize')}"
    lines = [
        "# Nearest points in a generator's range",
        "",
        "- Command: `python bench/peers/goof.py IMAGES WEIGHTS VAE`.",
        *(line for line in report.environment_lines() if "BLAS" not in line),
        f"- torch {torch.__version__}, {torchmin}, one thread. CPU seconds for all targets, pools "
        "included.",
        f"- Medians over the seeds, of up to {REPEATS} repetitions of what takes less than "
        f"{LONG:g} s. MSE per pixel; pixels in [-1, 1], in [0, 1] for the VAE. "
        "Passes: through the generator, per target and without the pool, a reverse pass counts 2.",
        f'- *fastgen lbfgs, s x n*: `method="lbfgs", n_starts=s, max_iter=n`, pool {SMALL_POOL}; '
        f"*fastgen, s starts*: the defaults with `n_starts=s`. Pools of {POOL} unless said.",
        "",
    ]
    for name, found in cases.items():
        lines += table(name, found, *sizes(name, options))
        lines += [] if options.quick else verdicts(name, found)
    text = "\n".join(lines)
    print(text)
    if not options.quick:
        draw(cases, options.plot)
        report.write(report.results_file("goof.md"), text + "\n![curves](goof.png)\n")


if __name__ == "__main__":
    main()
