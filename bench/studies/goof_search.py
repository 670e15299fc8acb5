"""How near the search for nearest points comes on generators that it was not tuned on.

    python bench/studies/goof_search.py measure WEIGHTS DATA ROWS --label standard --effort standard
    python bench/studies/goof_search.py table ROWS RESULT.md

``measure`` adds lines to the file ROWS, one for each generator of ``HELD_OUT`` (or ``--on``) in
train_generators.py and each seed. WEIGHTS is the folder that train_generators.py filled; a
generator whose file is not there is passed over, aloud. DATA holds the MNIST images and the weights
that were not trained here. Another version of the package is measured by putting it first on
PYTHONPATH; without --effort the search has its own defaults. ``table`` compares all that was
measured: the best known distance of a target is the least one over all lines.

Time is that of the process, on one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import train_generators

from fastgen.goof import nearest

FIRST_IMAGE, RECOVERED = 8000, 1e-6
NOISE = 0.5  # standard deviation of what random networks' targets lie beside their range


def targets(name: str, options: argparse.Namespace) -> tuple[torch.nn.Module, dict]:
    """Return a generator, and its planted and real targets."""
    generator, low, high = train_generators.member(name, options.weights, options.data)
    rng = torch.Generator().manual_seed(5)
    z = torch.randn(options.n, generator[0].in_features, generator=rng)
    with torch.no_grad():
        planted = generator(z).numpy()
    if name.startswith("random"):
        noise = np.random.default_rng(1).standard_normal(planted.shape)
        return generator, {"planted": planted, "real": planted + np.float32(NOISE) * noise}
    with np.load(options.data / "mnist_test_10000.npz", allow_pickle=False) as arrays:
        images = arrays["images"][FIRST_IMAGE : FIRST_IMAGE + options.n].reshape(options.n, -1)
    real = (low + (high - low) * (images / 255)).astype(np.float32)
    return generator, {"planted": planted, "real": real}


def measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    effort = {} if options.effort is None else {"effort": options.effort}
    for name in options.on:
        try:
            generator, sets = targets(name, options)
        except FileNotFoundError as error:
            print(f"{name} is passed over: {error}")
            continue
        nearest(generator, sets["real"][:2], random_state=0, progress=False)  # first-call costs
        for seed in options.seeds:
            row = {"generator": name, "label": options.label, "seed": seed}
            for kind, X in sets.items():
                start = time.process_time()
                found = nearest(generator, X, random_state=seed, progress=False, **effort)
                row[kind] = {
                    "seconds": time.process_time() - start,
                    "mse": found.mse.tolist(),
                    "status": found.status_counts,
                }
            with options.rows.open("a") as file:
                print(json.dumps(row), file=file)
            print(name, options.label, seed, *told(row, None), flush=True)


def told(row: dict, best: np.ndarray | None) -> list[str]:
    """Return the cells of a row: what was recovered, errors, and seconds."""
    planted, real = (np.array(row[kind]["mse"]) for kind in ("planted", "real"))
    status = ", ".join(f"{count} {word}" for word, count in row["real"]["status"].items())
    over = "" if best is None else f"{real.mean() / best.mean() - 1:.1%}"
    return [
        f"{(planted < RECOVERED).mean():.0%}", f"{planted.mean():.1e}", f"{real.mean():.5f}", over,
        f"{row['planted']['seconds']:.0f}, {row['real']['seconds']:.0f}", status,
    ]  # fmt: skip


def table(options: argparse.Namespace) -> None:
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()]
    n = len(rows[0]["real"]["mse"])
    lines = [
        f"| generator | search | seed | planted recovered (MSE < {RECOVERED:g}) | planted mean MSE "
        "| real mean MSE | over the best known | CPU s (planted, real) | status of real targets |",
        "|" + "---|" * 9,
    ]
    for name in dict.fromkeys(row["generator"] for row in rows):
        mine = [row for row in rows if row["generator"] == name]
        best = np.min([row["real"]["mse"] for row in mine], axis=0)
        lines += [
            "| " + " | ".join([name, row["label"], str(row["seed"]), *told(row, best)]) + " |"
            for row in mine
        ]
    known = {row["generator"] for row in rows}
    held = ", ".join(
        name if name in known else f"{name} (not measured)" for name in train_generators.HELD_OUT
    )
    text = (
        "# GOoF search on generators it was not tuned on\n\n"
        f"Written by bench/studies/goof_search.py. {n} planted and {n} real targets, one thread, "
        f"float32, torch {torch.__version__} (CPU capability "
        f"{torch.backends.cpu.get_cpu_capability()}). Tuned on "
        f'{", ".join(train_generators.TUNED_ON)}; held out: {held}. "Before" is the search '
        "without restarts, at its defaults. The best known distance of a target is the least that "
        "any line of the table found. Real targets of random networks are their outputs with "
        f"normal noise of standard deviation {NOISE}; of the others, MNIST digits."
        f"{options.note}\n\n"
    )
    options.result.write_text(text + "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("measure")
    one.set_defaults(run=measure)
    one.add_argument("weights", type=Path)
    one.add_argument("data", type=Path)
    one.add_argument("rows", type=Path)
    one.add_argument("--label", required=True)
    one.add_argument("--effort")
    one.add_argument("--n", type=int, default=64)
    one.add_argument("--seeds", type=int, nargs="+", default=[0])
    one.add_argument("--on", nargs="+", default=train_generators.HELD_OUT)
    two = commands.add_parser("table")
    two.set_defaults(run=table)
    two.add_argument("rows", type=Path)
    two.add_argument("result", type=Path)
    two.add_argument("--note", default="", type=lambda text: f" {text}")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
