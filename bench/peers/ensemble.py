"""Eight generators in one step beside a loop of eight, and the training loop beside a bare one.

One thread, contestants in turn, agreement first: losses and weights after the first step must be
those of the loop. Run from anywhere:

    python bench/peers/ensemble.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from report import environment_lines, median, results_file, span, verdict, write
from torch import nn
from torch.nn.functional import softplus

from fastgen.gan import Ensemble, fit
from fastgen.gan.ensemble import seeded
from fastgen.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
)

RESULTS = results_file("ensemble.md")
K = 8
MOST_OVERHEAD = 0.05


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    generator: Callable[[], nn.Module]
    discriminator: Callable[[], nn.Module]
    latent_dim: int
    batch: int
    target: float
    rounds: int


CASES = (
    Case(
        "MLP 8-64-64-2, 16 samples a member", lambda: MLPGenerator(8, 2, widths=(64, 64)),
        lambda: MLPDiscriminator(2, widths=(64, 64)), 8, 16, 3.0, 100,
    ),
    Case(
        "MLP 8-64-64-2, 128 samples a member", lambda: MLPGenerator(8, 2, widths=(64, 64)),
        lambda: MLPDiscriminator(2, widths=(64, 64)), 8, 128, 3.0, 100,
    ),
    Case(
        "DCGAN 1 x 32 x 32, width 16, 8 samples a member",
        lambda: DCGANGenerator(64, (1, 32, 32), width=16),
        lambda: DCGANDiscriminator((1, 32, 32), width=16, normalize=False), 64, 8, 1.5, 25,
    ),
)  # fmt: skip


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.5, 0.999), foreach=True)


def step(net, optimizer, discriminator, z) -> torch.Tensor:
    optimizer.zero_grad()
    loss = softplus(-discriminator(net(z))).mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


def compare(case: Case, rounds: int, count: int = K) -> tuple[list[float], list[float]]:
    """Check agreement and time one step of the generators against a shared discriminator."""
    seeds = list(range(count))
    discriminator = seeded(case.discriminator, 99).requires_grad_(False)
    ensemble = Ensemble(case.generator, count, seeds=seeds)
    lone = [seeded(case.generator, seed) for seed in seeds]
    mine, theirs = adam(ensemble), [adam(net) for net in lone]
    z = torch.randn(count, case.batch, case.latent_dim)

    def batched() -> torch.Tensor:
        return step(ensemble, mine, discriminator, z.flatten(0, 1))

    def loop() -> torch.Tensor:
        losses = [step(lone[k], theirs[k], discriminator, z[k]) for k in range(count)]
        return torch.stack(losses).mean()

    for _ in range(3):
        gap = abs(batched().item() - loop().item())
        if gap > 1e-4:
            sys.exit(f"{case.name}: losses differ by {gap}: nothing is timed")
    fast, slow = [], []
    for _ in range(rounds):
        for call, seconds in ((batched, fast), (loop, slow)):
            started = time.process_time()
            call()
            seconds.append(time.process_time() - started)
    return fast, slow


def bare(steps: int, batch: int) -> tuple[float, nn.Module]:
    """Train a small DCGAN with the fewest lines; return seconds a step and the generator."""
    generator, discriminator, data = networks()
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for net in (generator, discriminator)
    ]
    order = torch.randperm(len(data))
    started = time.process_time()
    for i in range(steps):
        rows = order[torch.arange(i * batch, (i + 1) * batch) % len(data)]
        real = data[rows]
        with torch.no_grad():
            fake = generator(torch.randn(batch, 32))
        loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        loss.item()
        discriminator.requires_grad_(False)
        loss = softplus(-discriminator(generator(torch.randn(batch, 32)))).mean()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        discriminator.requires_grad_(True)
        loss.item()
    return (time.process_time() - started) / steps, generator


def networks() -> tuple[nn.Module, nn.Module, torch.Tensor]:
    generator = seeded(lambda: DCGANGenerator(32, (1, 28, 28), width=16), 0)
    discriminator = seeded(lambda: DCGANDiscriminator((1, 28, 28), width=16, normalize=False), 1)
    data = torch.rand(1024, 1, 28, 28, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return generator, discriminator, data


def ours(steps: int, batch: int) -> tuple[float, nn.Module]:
    generator, discriminator, data = networks()
    started = time.process_time()
    fit(
        generator, discriminator, data, steps=steps, batch_size=batch, progress=False,
        log_every=steps,
    )  # fmt: skip
    return (time.process_time() - started) / steps, generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, not for quoting")
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"One step of {K} generators against one discriminator, Adam, one thread; milliseconds of "
        "processor time, median (min..max).", "",
        "| case | batched | loop of eight | ratio | target |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for case in CASES:
        fast, slow = compare(case, 5 if options.quick else case.rounds)
        ratio = median(slow) / median(fast)
        lines.append(f"| {case.name} | {span(fast)} | {span(slow)} | {verdict(ratio, case.target)}")
        print(lines[-1], flush=True)
    lines += [
        "", f"Cost of a step against the number of members: {CASES[0].name}.", "",
        "| members | batched | loop | ratio |", "|---|---|---|---|",
    ]  # fmt: skip
    for count in (1, 2, 4, 8, 16):
        fast, slow = compare(CASES[0], 5 if options.quick else 40, count)
        ratio = median(slow) / median(fast)
        lines.append(f"| {count} | {span(fast)} | {span(slow)} | {ratio:.3g}x |")
        print(lines[-1], flush=True)
    steps, rounds = (5, 2) if options.quick else (30, 9)
    shares, loop, bares = [], [], []
    for _ in range(rounds):
        first, second = bare(steps, 64)[0], ours(steps, 64)[0]
        bares.append(first)
        loop.append(second)
        shares.append(second / first - 1)
    more = median(loop) / median(bares) - 1
    lines += [
        "",
        f"Training loop, DCGAN 1 x 28 x 28 of width 16, batch 64: {span(loop)} ms a step, the same "
        f"operations in a bare loop {span(bares)} ms: {more:+.1%}, target at most "
        f"{MOST_OVERHEAD:.0%}: {'met' if more <= MOST_OVERHEAD else 'MISSED'}. Single rounds "
        f"differ from {min(shares):+.1%} to {max(shares):+.1%}.",
        "",
        f"torch {torch.__version__}, one thread, {os.cpu_count()} cores.",
    ]
    print("\n".join(lines[-3:]))
    out = options.out or (None if options.quick else RESULTS)
    head = [
        "# Ensembles of generators beside a loop",
        "",
        "- Command: `python bench/peers/ensemble.py`.",
        *environment_lines(),
        "",
    ]
    if out is not None:
        write(out, "\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()
