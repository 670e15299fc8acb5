"""Mode coverage of small GANs: BourGAN on a grid and a ring, a rare mode by multiplicative weights.

Plain MLP GANs with the constants of the authors' codes; every run is one process and one thread.

    python bench/studies/modes.py [--seeds 3] [--quick] [--store FILE] [--out FILE]

Every finished run is kept in the store (JSON lines); an interrupted study goes on from there. On a
core of its own a run takes about half a minute, the study a quarter of an hour.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
from report import environment_lines, write

from fastgen.modes import (
    BourgainEmbedding,
    LatentMixture,
    ModeData,
    MultiplicativeWeights,
    grid,
    mode_report,
    ring,
)
from fastgen.plotting import save_figure

RESULTS = Path(__file__).resolve().parents[1] / "results" / "modes.md"
MODELS = ("GAN", "Bourgain latents, no penalty", "BourGAN")
BATCH, PENALTY, PLAIN_DIM = 128, 0.1, 25
SAMPLES = 10_240
# The data of the rare mode: a square, and few points about (4, 4).
BOX, RARE, CENTER, WITHIN = 10_000, 50, 4.0, 0.5


class Size(NamedTuple):
    """How much of everything."""

    iterations: int
    rounds: int
    round_iterations: int


FULL, QUICK = Size(5000, 12, 4000), Size(200, 2, 200)


def mlp(widths: list[int], activation: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), activation]
    return nn.Sequential(*layers[:-1])


def log_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x - y).square().sum(1).clamp_min(1e-24).log() / 2


def train(generator, discriminator, rows, latents, n_iterations, *, penalty=0.0, scale=1.0):
    """One step of each network by turns, non-saturating losses on logits."""
    options = {"lr": 1e-3, "betas": (0.5, 0.999)}
    ascend = torch.optim.Adam(discriminator.parameters(), **options)
    descend = torch.optim.Adam(generator.parameters(), **options)
    softplus = nn.functional.softplus
    for _ in range(n_iterations):
        with torch.no_grad():
            made = generator(latents())
        loss = softplus(-discriminator(rows())).mean() + softplus(discriminator(made)).mean()
        ascend.zero_grad(set_to_none=True)
        loss.backward()
        ascend.step()
        z = latents()
        made = generator(z)
        loss = softplus(-discriminator(made)).mean()
        if penalty:
            other = latents()
            gap = log_distances(made, generator(other)) - log_distances(z, other) - np.log(scale)
            loss = loss + penalty * gap.square().mean()
        descend.zero_grad(set_to_none=True)
        loss.backward()
        descend.step()


def drawn(rows: torch.Tensor, count: int = BATCH):
    return rows[torch.randint(len(rows), (count,))]


def bourgan(data: ModeData, model: str, seed: int, size: Size) -> dict:
    """Train one model on one data set and report on its samples."""
    torch.manual_seed(seed)
    rows = torch.from_numpy(data.X).float()
    scale, dim = 1.0, PLAIN_DIM
    if model != "GAN":
        fit = BourgainEmbedding("official", random_state=seed).fit(data.X)
        prior, rng = LatentMixture(fit), np.random.default_rng(seed)
        scale, dim = fit.scale_, prior.latent_dim

    def latents(count: int = BATCH) -> torch.Tensor:
        if model == "GAN":
            return torch.randn(count, dim)
        return torch.from_numpy(prior(count, rng)).float()

    leaky = nn.LeakyReLU(0.1)
    generator = mlp([dim, 128, 128, 2], leaky)
    discriminator = mlp([2, 128, 128, 1], leaky)
    started = time.process_time()
    train(
        generator,
        discriminator,
        lambda: drawn(rows),
        latents,
        size.iterations,
        penalty=PENALTY if model == "BourGAN" else 0.0,
        scale=scale,
    )
    seconds = time.process_time() - started
    with torch.no_grad():
        samples = generator(latents(SAMPLES)).numpy()
    report = mode_report(
        samples, data.centers, data.scale, reference=data.X, max_compared=1250, random_state=seed
    )
    kept = ("touched", "filled", "low_quality", "total_variation", "wasserstein", "energy_distance")
    figures = report.to_dict()
    return {
        **{name: figures[name] for name in kept},
        "scale": scale,
        "seconds": seconds,
        "samples": samples[:1000].round(3).tolist(),
    }


def rare_mode(rule: str, seed: int, size: Size) -> dict:
    """Rounds of GANs on a square and a rare mode; the naive rule never changes the weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    box = rng.uniform(-1, 1, (BOX, 2))
    X = np.concatenate([box, CENTER + 0.05 * rng.standard_normal((RARE, 2))])
    rows = torch.from_numpy(X).float()
    weights = MultiplicativeWeights(len(X))
    shares, hits = [], []
    started = time.process_time()
    for _ in range(size.rounds):
        p = weights.probabilities_ if rule == "MWU" else np.full(len(X), 1 / len(X))
        shares.append(float(p[BOX:].sum()))
        chances = torch.from_numpy(p.cumsum())
        generator = mlp([10, 32, 32, 2], nn.ReLU())
        discriminator = mlp([2, 64, 64, 1], nn.ReLU())

        def some(chances: torch.Tensor = chances) -> torch.Tensor:
            at = torch.searchsorted(chances, torch.rand(BATCH, dtype=torch.float64))
            return rows[at.clamp_max(len(rows) - 1)]

        train(generator, discriminator, some, lambda: torch.randn(BATCH, 10), size.round_iterations)
        with torch.no_grad():
            made = generator(torch.randn(SAMPLES, 10)).numpy()
            outputs = torch.sigmoid(discriminator(rows)).double().numpy().ravel()
        hits.append(float((np.linalg.norm(made - CENTER, axis=1) < WITHIN).mean()))
        weights.update(outputs)
    return {
        "shares": shares,
        "hits": hits,
        "guarantee": weights.guarantee_,
        "seconds": time.process_time() - started,
    }


def run_all(n_seeds: int, size: Size, store: Path) -> dict[str, dict]:
    """Run what the store lacks; the least runs of all come first for every seed."""
    found = {}
    if store.is_file():
        found = {line["key"]: line for line in map(json.loads, store.read_text().splitlines())}
    datasets = {
        "grid": lambda seed: grid(random_state=seed),
        "ring": lambda seed: ring(n_per_mode=150, random_state=seed),
    }
    jobs = {}
    for seed in range(n_seeds):
        for name, make in datasets.items():
            for model in MODELS:
                jobs[f"{name}/{model}/{seed}"] = (bourgan, (make(seed), model, seed, size))
        if seed < 2:
            for rule in ("MWU", "naive"):
                jobs[f"rare/{rule}/{seed}"] = (rare_mode, (rule, seed, size))
    for key, (work, arguments) in jobs.items():
        if key not in found:
            line = {"key": key, "iterations": size.iterations, **work(*arguments)}
            with store.open("a") as file:
                file.write(json.dumps(line) + "\n")
            found[key] = line
            print(key, f"{line['seconds']:.0f} s", flush=True)
    return {key: found[key] for key in jobs}


def spread(values: list[float], form: str) -> str:
    each = ", ".join(format(value, form) for value in values)
    return f"{format(float(np.mean(values)), form)} ({each})"


def coverage_table(found: dict[str, dict], data: str, n_seeds: int) -> list[str]:
    lines = [
        "| model | touched | filled | low quality % | TV | W1 | energy distance | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        runs = [found[f"{data}/{model}/{seed}"] for seed in range(n_seeds)]
        cells = [
            spread([run["touched"] for run in runs], ".3g"),
            spread([run["filled"] for run in runs], ".3g"),
            spread([100 * run["low_quality"] for run in runs], ".1f"),
            spread([run["total_variation"] for run in runs], ".2f"),
            spread([run["wasserstein"] for run in runs], ".2f"),
            spread([run["energy_distance"] for run in runs], ".3f"),
            format(np.mean([run["seconds"] for run in runs]), ".0f"),
        ]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def accepted(found: dict[str, dict], n_seeds: int) -> list[str]:
    """What the study was to show, and whether it does."""

    def all_of(data: str, model: str, holds) -> bool:
        return all(holds(found[f"{data}/{model}/{seed}"]) for seed in range(n_seeds))

    claims = {
        "grid, BourGAN: TV at most 0.25 and at least 20 modes filled, each seed": all_of(
            "grid", "BourGAN", lambda run: run["total_variation"] <= 0.25 and run["filled"] >= 20
        ),
        "grid, GAN: TV at least 0.45, each seed": all_of(
            "grid", "GAN", lambda run: run["total_variation"] >= 0.45
        ),
        "ring, BourGAN: 8 of 8 filled and TV at most 0.06, each seed": all_of(
            "ring", "BourGAN", lambda run: run["total_variation"] <= 0.06 and run["filled"] == 8
        ),
    }
    return [
        f"- {claim}: {'holds' if holds else 'DOES NOT HOLD'}." for claim, holds in claims.items()
    ]


def rare_lines(found: dict[str, dict]) -> list[str]:
    target = RARE / (RARE + BOX)
    lines = [
        "| rule, seed | share in the mixture / share in the data | round of the first hit | "
        "share of the rare mode in the law of each round | CPU s |",
        "|---|---|---|---|---|",
    ]
    for key, run in found.items():
        if key.startswith("rare/"):
            first = next((t + 1 for t, hit in enumerate(run["hits"]) if hit > 0.001), None)
            shares = ", ".join(f"{share:.4f}" for share in run["shares"])
            ratio = np.mean(run["hits"]) / target
            lines.append(
                f"| {key[5:].replace('/', ', ')} | {ratio:.3g} | {first or 'none'} | {shares} | "
                f"{run['seconds']:.0f} |"
            )
    return lines


def picture(found: dict[str, dict]):
    """Samples of the three models on the grid, seed 0, and the weight of the rare mode."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    panels = figure.subplots(1, 4)
    centers = grid().centers
    for axes, model in zip(panels, MODELS, strict=False):
        samples = np.array(found[f"grid/{model}/0"]["samples"])
        axes.scatter(*samples.T, s=2, color="#0072B2", linewidths=0)
        axes.scatter(*centers.T, s=12, color="#D55E00", marker="x", linewidths=0.8)
        axes.set(xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
        axes.set_title(model, fontsize=8)
    for key, run in found.items():
        if key.startswith("rare/MWU"):
            rounds = np.arange(1, len(run["shares"]) + 1)
            panels[3].plot(rounds, run["shares"], marker="o", markersize=3, label=f"seed {key[-1]}")
    panels[3].set(xlabel="round", yscale="log")
    panels[3].set_title("share of the rare mode in training", fontsize=8)
    panels[3].legend(fontsize=7, frameon=False)
    for axes in panels:
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def document(found: dict[str, dict], n_seeds: int, size: Size) -> str:
    return "\n".join(
        [
            "# Mode coverage of small GANs",
            "",
            "- Command: `python bench/studies/modes.py`.",
            *environment_lines(),
            f"- torch {torch.__version__}, one thread. Seeds 0 to {n_seeds - 1}, of the data, the "
            "embedding and the networks. Means, and in brackets every seed.",
            "- Generator k-128-128-2 and discriminator 2-128-128-1 with LeakyReLU(0.1), Adam 1e-3 "
            f"(0.5, 0.999), batches of 128, {size.iterations} steps of each; {SAMPLES} samples. "
            "GAN: latents N(0, I_25). Bourgain latents: the embedding of the authors' code, noise "
            "0.01. BourGAN: the same and the penalty of pairwise log distances, weight 0.1.",
            "- A mode is filled if it has at least a fifth of its fair share of the samples within "
            "three standard deviations of a center; TV is that of their shares to equal ones. W1 "
            "and energy distance on 1250 rows (the ring: 1200) of samples and training data.",
            "",
            "![samples on the grid, and the weight of the rare mode](modes.png)",
            "",
            "## Grid, 25 modes, standard deviation 0.1",
            "",
            *coverage_table(found, "grid", n_seeds),
            "",
            "## Ring, 8 modes of 150 rows, standard deviation 0.05",
            "",
            *coverage_table(found, "ring", n_seeds),
            "",
            "## What was to hold",
            "",
            *accepted(found, n_seeds),
            "",
            f"## A rare mode: {BOX} points uniform in a square, {RARE} about (4, 4)",
            "",
            f"{size.rounds} rounds of {size.round_iterations} steps; generator 10-32-32-2, "
            "discriminator 2-64-64-1, ReLU. Hit: more than 1 in 1000 samples of a round within 0.5 "
            "of (4, 4). Naive: the same number of GANs on equal weights.",
            "",
            *rare_lines(found),
            "",
            "## What this shows and what it does not",
            "",
            "That shares of modes tell the methods apart where the number of touched modes does "
            "not, and that the weight of a mode that is missed doubles until a generator reaches it, "
            "while independent GANs never do. It does not show that BourGAN makes sharper samples "
            "(its share of low quality is its weak side), nor anything about images: data are in "
            "the plane, seeds are few, and multiplicative weights end with far more of the rare "
            "mode than the data have.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few steps, not for quoting")
    parser.add_argument("--store", type=Path, default=Path("modes_study.jsonl"))
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = QUICK if options.quick else FULL
    found = run_all(options.seeds, size, options.store)
    text = document(found, options.seeds, size)
    print(text)
    out = options.out or (None if options.quick else RESULTS)
    if out is not None:
        write(out, text)
        save_figure(picture(found), out.with_suffix(".png"))


if __name__ == "__main__":
    main()
