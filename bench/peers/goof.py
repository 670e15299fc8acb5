"""Nearest points of a generator's range beside what is run today, in one process.

    python bench/peers/goof.py IMAGES WEIGHTS VAE [--cases mlp_gan vae dcgan] [--quick]

IMAGES is an .npz with ``images`` (n, 28, 28) uint8, WEIGHTS a folder with what
``bench/studies/train_generators.py`` wrote, VAE an .npz of a trained VAE. Writes
bench/results/goof.md (not with --quick).

Every contestant returns latents; their distances are computed here, in float64, by the same code.
Times are CPU seconds of one thread, so that other work on the machine counts little. Each seed
draws new planted targets, real digits, pools and starts; medians over the seeds are printed. The
warm start counts for both sides: the peers' best version gets a pool of the same size.

The peers are written here from the settings of the published scripts: Webster et al. (CVPR 2019,
L-BFGS of torch.optim, one image at a time, no line search, last iterate), csgm (Bora et al., ICML
2017: Adam 0.1 for 500 steps with 2 restarts; on MNIST Adam 0.01 for 1000 steps with 10), and
the same Adam with the nearest pool samples as starts and the best iterate kept. SciPy's
least_squares in a loop, on 16 targets and scaled to all, stands for trust-region solvers that take
one problem at a time.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import report
import threadpoolctl
import torch
from scipy.optimize import least_squares

from fastgen.goof import nearest

ROOT = Path(__file__).resolve().parents[2]
POOL = 20_000
VERBATIM = 1e-6
SHARE = 16  # targets that SciPy is timed on; its cost is linear


def studies() -> ModuleType:
    path = ROOT / "bench" / "studies" / "train_generators.py"
    spec = importlib.util.spec_from_file_location("train_generators", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclasses.dataclass(frozen=True)
class Case:
    """A generator with targets of one seed."""

    net: torch.nn.Module
    latent_shape: tuple[int, ...]
    seed: int
    planted: torch.Tensor
    real: torch.Tensor

    def latents(self, count: int, salt: int) -> torch.Tensor:
        source = torch.Generator().manual_seed(1000 * self.seed + salt)
        return torch.randn((count, *self.latent_shape), generator=source)

    def outputs(self, z: torch.Tensor) -> torch.Tensor:
        return self.net(z).reshape(len(z), -1)

    def mse(self, z: torch.Tensor, X: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            outputs = torch.cat([self.outputs(piece) for piece in z.split(256)])
        return ((outputs.double() - X.double()) ** 2).mean(dim=1).numpy()

    def warm(self, X: torch.Tensor, count: int) -> torch.Tensor:
        """Nearest ``count`` samples of a pool to each target: (count, n, *latent_shape)."""
        pool = self.latents(POOL, 1)
        with torch.no_grad():
            outputs = torch.cat([self.outputs(piece) for piece in pool.split(1000)])
        order = torch.cdist(X, outputs).topk(count, largest=False).indices
        return pool[order].transpose(0, 1)


# --- contestants: (case, targets) -> latents (n, *latent_shape) ----------------------------------


def fastgen(n_starts: int, **options) -> Callable:
    def run(case: Case, X: torch.Tensor) -> torch.Tensor:
        found = nearest(
            case.net, X, latent_dim=case.latent_shape, pool_size=POOL, n_starts=n_starts,
            random_state=case.seed, progress=False, **options,
        )  # fmt: skip
        return torch.from_numpy(found.z).reshape(-1, *case.latent_shape)

    return run


def adam(steps: int, restarts: int, rate: float, *, warm: bool) -> Callable:
    """All targets in one batch, restarts in turn, the best iterate of all kept."""

    def run(case: Case, X: torch.Tensor) -> torch.Tensor:
        n = len(X)
        starts = case.warm(X, restarts) if warm else case.latents(restarts * n, 2)
        starts = starts.reshape(restarts, n, *case.latent_shape)
        best, kept = torch.full((n,), float("inf")), starts[0].clone()
        for start in starts:
            z = start.clone().requires_grad_()
            optimiser = torch.optim.Adam([z], lr=rate)
            for _ in range(steps):
                optimiser.zero_grad()
                losses = ((case.outputs(z) - X) ** 2).mean(dim=1)
                losses.sum().backward()
                better = losses.detach() < best
                kept[better], best[better] = z.detach()[better], losses.detach()[better]
                optimiser.step()
        return kept

    return run


def webster(steps: int) -> Callable:
    """The script as shipped: one image, one random start, no line search, the last iterate."""

    def run(case: Case, X: torch.Tensor) -> torch.Tensor:
        starts, found = case.latents(len(X), 3), []
        for x, start in zip(X, starts, strict=True):
            z = start[None].clone().requires_grad_()
            optimiser = torch.optim.LBFGS([z], max_iter=1)

            def closure(z=z, optimiser=optimiser, x=x):
                optimiser.zero_grad()
                loss = ((case.outputs(z) - x) ** 2).mean()
                loss.backward()
                return loss

            for _ in range(steps):
                optimiser.step(closure)
            found.append(z.detach()[0])
        return torch.stack(found).nan_to_num()

    return run


def one_at_a_time(restarts: int) -> Callable:
    """SciPy's trust-region least squares from the nearest pool samples, target after target."""

    def run(case: Case, X: torch.Tensor) -> torch.Tensor:
        X = X[:SHARE]
        starts, found = case.warm(X, restarts), []

        def residual(z, x):
            with torch.no_grad():
                z = torch.from_numpy(z).float().reshape(1, *case.latent_shape)
                return (case.outputs(z)[0] - x).double().numpy()

        def jacobian(z, x):
            z = torch.from_numpy(z).float()
            forward = torch.func.jacfwd(lambda v: case.outputs(v.reshape(1, *case.latent_shape))[0])
            return forward(z).double().numpy()

        for row, x in enumerate(X):
            best = min(
                (
                    least_squares(
                        residual, start[row].flatten().double().numpy(), jacobian, args=(x,),
                        max_nfev=50,
                    )
                    for start in starts
                ),
                key=lambda result: result.cost,
            )  # fmt: skip
            found.append(torch.from_numpy(best.x).float().reshape(case.latent_shape))
        return torch.stack(found)

    return run


def contestants(name: str, quick: bool) -> dict[str, Callable]:
    if quick:
        return {
            "fastgen, 2 starts": fastgen(2),
            "Adam 0.1, 50 x 2, warm": adam(50, 2, 0.1, warm=True),
            "Webster L-BFGS, 5": webster(5),
        }
    # a pass of the DCGAN costs 30 times that of the others
    slow = name == "dcgan"
    found = {f"fastgen, {s} starts": fastgen(s) for s in ((1, 2, 4) if slow else (1, 2, 4, 8, 32))}
    for restarts in (2,) if slow else (2, 8) if name == "vae" else (2, 8, 20, 40):
        found[f"Adam 0.1, 500 x {restarts}, warm"] = adam(500, restarts, 0.1, warm=True)
    found["Adam 0.1, 500 x 2 (csgm)"] = adam(500, 2, 0.1, warm=False)
    if name == "vae":
        found["Adam 0.01, 1000 x 10 (csgm, MNIST)"] = adam(1000, 10, 0.01, warm=False)
    if not slow:
        found["Webster L-BFGS, 50"] = webster(50)
        found[f"scipy least_squares, 1 start, warm, on {SHARE}"] = one_at_a_time(1)
    return found


# --- measuring -----------------------------------------------------------------------------------


def make_case(name: str, options: argparse.Namespace, seed: int, n: int) -> Case:
    study = studies()
    if name == "vae":
        net, shape = study.vae_decoder(options.vae), (20,)
    else:
        net = study.load(name, options.weights / f"{name}_0.safetensors")
        shape = (64,) if name == "mlp_gan" else (100, 1, 1)
    net.requires_grad_(False)
    with np.load(options.images, allow_pickle=False) as arrays:
        images = arrays["images"].reshape(len(arrays["images"]), -1)
    rows = np.random.default_rng(seed).choice(len(images), n, replace=False)
    real = torch.from_numpy(images[rows]).float().div(255)
    if name != "vae":
        real = 2 * real - 1
    source = torch.Generator().manual_seed(10_000 + seed)
    planted = net(torch.randn((n, *shape), generator=source)).reshape(n, -1)
    return Case(net, shape, seed, planted, real)


def measure(case: Case, run: Callable) -> dict[str, float]:
    """CPU seconds and errors on planted and real targets."""
    found = {}
    for kind, X in (("planted", case.planted), ("real", case.real)):
        start = time.process_time()
        z = run(case, X)
        found[f"{kind} seconds"] = time.process_time() - start
        found[f"{kind} seconds"] *= len(X) / len(z)
        mse = case.mse(z, X[: len(z)])
        if not np.isfinite(mse).all():
            mse = np.nan_to_num(mse, nan=np.inf)
        found[f"{kind} mean"] = float(mse.mean())
        found[f"{kind} median"] = float(np.median(mse))
        found[f"{kind} recovered"] = float((mse < VERBATIM).mean())
    return found


def run_case(name: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    n, seeds = (8, 1) if options.quick else (16, 1) if name == "dcgan" else (64, options.seeds)
    runs: dict[str, list[dict[str, float]]] = {}
    fastgen(1, max_iter=2)(make_case(name, options, 99, 4), make_case(name, options, 99, 4).real)
    for seed in range(seeds):
        case = make_case(name, options, seed, n)
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


def table(name: str, found: dict[str, dict[str, float]], n: int) -> list[str]:
    lines = [
        f"## {name}, {n} targets of each kind",
        "",
        "| contestant | planted: CPU s | recovered | mean MSE | median MSE | real: CPU s "
        "| mean MSE | median MSE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, row in found.items():
        lines.append(
            f"| {label} | {row['planted seconds']:.3g} | {row['planted recovered']:.0%} "
            f"| {row['planted mean']:.2g} | {row['planted median']:.2g} "
            f"| {row['real seconds']:.3g} | {row['real mean']:.4g} | {row['real median']:.4g} |"
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
    best = max(ours.values(), key=lambda row: row["planted recovered"])
    top = max(peers, key=lambda label: peers[label]["planted recovered"])
    lines.append(
        f"- Planted targets recovered to MSE < 1e-6: {best['planted recovered']:.0%} in "
        f"{best['planted seconds']:.3g} s (target 90 %); best peer {top}, "
        f"{peers[top]['planted recovered']:.0%} in {peers[top]['planted seconds']:.3g} s, "
        f"{peers[top]['planted seconds'] / best['planted seconds']:.2g} times the time."
    )
    warm = [label for label in peers if _warm_adam(label)]
    lines += [_faster(ours, label, peers[label], 10.0) for label in warm]
    return [*lines, ""]


def _warm_adam(label: str) -> bool:
    return label.startswith("Adam") and label.endswith("warm")


def _faster(
    ours: dict, label: str, peer: dict[str, float], target: float, slack: float = 1.0
) -> str:
    """Ratio of times to the peer's mean real error, and errors at equal time."""
    reached = [r for r in ours.values() if r["real mean"] <= slack * peer["real mean"]]
    equal = [r for r in ours.values() if r["real seconds"] <= 1.05 * peer["real seconds"]]
    line = (
        f"- Real digits against {label} ({peer['real mean']:.4g} in {peer['real seconds']:.3g} s): "
    )
    if reached:
        first = min(reached, key=lambda row: row["real seconds"])
        ratio = peer["real seconds"] / first["real seconds"]
        met = "met" if ratio >= target else "MISSED"
        line += (
            f"fastgen reaches {first['real mean']:.4g} in {first['real seconds']:.3g} s, "
            f"{ratio:.2g}x (target {target:g}x: {met})"
        )
    else:
        line += f"fastgen does not reach it (target {target:g}x: MISSED)"
    if equal:
        lowest = min(row["real mean"] for row in equal)
        line += f"; in no more time its mean is {lowest:.4g}"
    return line + "."


def draw(cases: dict[str, dict], path: str) -> None:
    """Mean errors over CPU seconds, a panel per case and kind of target."""
    from matplotlib.figure import Figure

    from fastgen.plotting import save_figure

    figure = Figure(figsize=(7, 2.6 * len(cases)), layout="constrained")
    panels = figure.subplots(len(cases), 2, squeeze=False)
    groups = ("fastgen", "Adam 0.1", "Adam 0.01", "Webster", "scipy")
    for row, (name, found) in enumerate(cases.items()):
        for column, kind in enumerate(("planted", "real")):
            axes = panels[row, column]
            for group, marker in zip(groups, "osv^x", strict=True):
                chosen = [r for label, r in found.items() if label.startswith(group)]
                if group == "Adam 0.1":
                    chosen = [r for label, r in found.items() if _warm_adam(label)]
                chosen.sort(key=lambda r: r[f"{kind} seconds"])
                xs, ys = ([r[f"{kind} {key}"] for r in chosen] for key in ("seconds", "mean"))
                axes.plot(xs, ys, marker=marker, markersize=4, linewidth=1, label=group)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_title(f"{name}, {kind} targets", fontsize=8)
            axes.set_xlabel("CPU seconds, one thread", fontsize=8)
            axes.set_ylabel("mean squared distance per pixel", fontsize=8)
            axes.tick_params(which="both", labelsize=7)
    panels[0, 0].legend(fontsize=7, frameon=False)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("weights", type=Path)
    parser.add_argument("vae")
    parser.add_argument("--cases", nargs="+", default=["mlp_gan", "vae", "dcgan"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny, not for quoting")
    parser.add_argument("--plot", default=str(ROOT / "bench" / "results" / "goof.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        cases = {name: run_case(name, options) for name in options.cases}
    lines = [
        "# Nearest points in a generator's range",
        "",
        "- Command: `python bench/peers/goof.py IMAGES WEIGHTS VAE`.",
        *(line for line in report.environment_lines() if "BLAS" not in line),
        f"- torch {torch.__version__}, one thread. CPU seconds for all targets, pool of {POOL} "
        "included for fastgen and the warm peers.",
        f"- Medians over {options.seeds} seed{'s' * (options.seeds > 1)} (dcgan: one). MSE "
        "per pixel; pixels in [-1, 1], in [0, 1] for the VAE.",
        "- pytorch-minimize is not timed; SciPy's least_squares with forward-mode Jacobians stands "
        "for solvers that take one problem at a time.",
        "",
    ]
    for name, found in cases.items():
        n = 8 if options.quick else 16 if name == "dcgan" else 64
        lines += table(name, found, n)
        lines += [] if options.quick else verdicts(name, found)
    text = "\n".join(lines)
    print(text)
    if not options.quick:
        draw(cases, options.plot)
        report.write(ROOT / "bench" / "results" / "goof.md", text + "\n![curves](goof.png)\n")


if __name__ == "__main__":
    main()
