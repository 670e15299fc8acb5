"""``fastgen train``."""

from __future__ import annotations

import json
import pathlib
import pprint
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import run_file
from .errors import printable, reported

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from .run_file import RunFile

Config = Annotated[str, typer.Option("--config", help="The run, a TOML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a key: --set train.steps=100. May be repeated."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in its folder, if there is one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress on standard error.")
]

_MODULE = '''"""Generator of a run, for fastgen goof; written by fastgen train."""

import pathlib

import torch

from fastgen.networks import {name}, read_weights

HERE = pathlib.Path(__file__).resolve().parent
OPTIONS = {options}


class WithLabel(torch.nn.Module):
    """A conditional generator with one label."""

    def __init__(self, net, label):
        super().__init__()
        self.net, self.label, self.latent_dim = net, label, net.latent_dim

    def forward(self, z):
        return self.net(z, torch.full((len(z),), self.label, device=z.device))


def network():
    """The network, with weights of its own making."""
    return {name}(**OPTIONS)


def make():
    """The generator with its trained weights; a list where it is a mixture of several."""
    files = sorted(HERE.glob("member-*.safetensors")) or [HERE / "generator.safetensors"]
    found = []
    for file in files:
        net = network()
        net.load_state_dict(read_weights(file))
        classes = net.n_classes if getattr(net, "n_classes", None) else None
        found += [net] if classes is None else [WithLabel(net, k) for k in range(classes)]
    return found[0] if len(found) == 1 else found
'''


def train(
    config: Config,
    set_: Set = None,
    resume: Resume = False,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Train a generator as a file describes it.

    The file has the tables [data] (path, labels, shape, range), [generator] and [discriminator]
    (kind, and what its constructor takes), [train] (steps, out, and other options of
    fastgen.gan.fit), and may have [objective], [[terms]], [pairs] and [ensemble]. For example

    fastgen train --config run.toml --set train.steps=20000 --resume
    """
    with reported(
        interrupted="the last checkpoint is kept; the same command with --resume goes on"
    ):
        run = run_file.read(config, set_ or ())
        options = run_file.fit_options(run)
        X, labels = run_file.samples(run)
        generator, made = _generator(run, X, labels)
        discriminator = _discriminator(run, X, labels, generator)
        device = options.pop("device", None)
        for net in (generator, discriminator):
            if net is not None and device is not None:
                net.to(device)
        parts = _parts(run)
        if not as_json:
            for line in _plan(options, X, generator, discriminator, parts):
                typer.echo(line)
        found = _fitted(generator, discriminator, X, labels, parts, options, resume, progress)
        commands = _scoring(pathlib.Path(options["out"]), X, made)
        if as_json:
            told = {**found.to_dict(), "out": str(options["out"]), "commands": commands}
            typer.echo(json.dumps(told))
        else:
            typer.echo(printable(f"wrote {options['out']}; to score it:"))
            for command in commands:
                typer.echo(printable(f"  {command}"))


def _generator(
    run: RunFile, X: np.ndarray, labels: np.ndarray | None
) -> tuple[nn.Module, tuple[str, dict[str, Any]]]:
    """Return the generator or ensemble, and the class and options of one member."""
    kind = run_file.kind_of(run, "generator")
    cls = run_file.network_class(kind, "Generator")
    given = {"image_shape": list(X.shape[1:]), **run.table("generator")}
    if labels is not None and "n_classes" in run_file.accepted(cls):
        given.setdefault("n_classes", int(labels.max()) + 1)
    from ..gan.ensemble import Ensemble, seeded

    seed = run.table("train").get("random_state", 0)
    net = seeded(lambda: run_file.built(run, "generator", cls, given), int(seed))
    options = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if name != "kind"
    }
    made = (cls.__name__, options)
    table = run.table("ensemble")
    if not table:
        return net, made
    table.setdefault("random_state", seed)

    def factory() -> nn.Module:
        return run_file.built(run, "generator", cls, given)

    names = [name for name in run_file.accepted(Ensemble) if name != "factory"]
    for name in table:
        run_file.known(name, names, f"{run.name}: [ensemble]")
    if "n_members" not in table:
        raise ValueError(f"{run.name}: [ensemble] must have the key 'n_members'")
    return Ensemble(factory, **table), made


def _discriminator(
    run: RunFile, X: np.ndarray, labels: np.ndarray | None, generator: nn.Module
) -> nn.Module | None:
    if run.table("objective").get("kind") == "quadratic":
        return None
    kind = run_file.kind_of(run, "discriminator", run_file.kind_of(run, "generator"))
    cls = run_file.network_class(kind, "Discriminator")
    given = {"image_shape": list(X.shape[1:]), **run.table("discriminator")}
    if labels is not None and "n_classes" in run_file.accepted(cls):
        given.setdefault("n_classes", int(labels.max()) + 1)
    members = int(getattr(generator, "n_members", 1))
    if members > 1:
        given.setdefault("n_outputs", 1 + members)
    from ..gan.ensemble import seeded

    seed = int(run.table("train").get("random_state", 0))
    return seeded(lambda: run_file.built(run, "discriminator", cls, given), seed + 1)


def _parts(run: RunFile) -> dict[str, Any]:
    """Return objective, terms and pairs."""
    from ..gan.objectives import OBJECTIVES
    from ..gan.terms import TERMS, PseudoSupervision

    table = run.table("objective")
    kind = run_file.known(
        str(table.get("kind", "non_saturating")), list(OBJECTIVES), f"{run.name}: [objective]",
        "kind",
    )  # fmt: skip
    parts: dict[str, Any] = {
        "objective": run_file.built(run, "objective", OBJECTIVES[kind], table),
        "terms": [],
    }
    for term in run.tables.get("terms", []):
        if "kind" not in term:
            raise ValueError(f"{run.name}: each of [[terms]] must have a kind: {', '.join(TERMS)}")
        name = run_file.known(str(term["kind"]), list(TERMS), f"{run.name}: [[terms]]", "kind")
        parts["terms"].append(run_file.built(run, "[terms]", TERMS[name], term))
    if "pairs" in run.tables:
        parts["pairs"] = run_file.built(run, "pairs", PseudoSupervision, run.table("pairs"))
    return parts


def _plan(
    options: dict[str, Any],
    X: np.ndarray,
    generator: nn.Module,
    discriminator: nn.Module | None,
    parts: dict[str, Any],
) -> list[str]:
    """Return lines that say what will be done."""
    images = options["steps"] * options.get("batch_size", 64)
    lines = [f"data: {len(X)} samples of shape {X.shape[1:]}"]
    for name, net in (("generator", generator), ("discriminator", discriminator)):
        if net is None:
            continue
        kind = type(net).__name__
        if hasattr(net, "n_members"):
            kind = f"{net.n_members} x {type(net.member(0)).__name__}"  # type: ignore[operator]
        count = sum(p.numel() for p in net.parameters())
        lines.append(f"{name}: {kind}, {count:,} parameters")
    lines.append(f"objective: {parts['objective']!r}")
    lines += [f"term: {term!r}" for term in parts["terms"]]
    if "pairs" in parts:
        lines.append(f"pairs: {parts['pairs']!r}")
    lines.append(
        f"{options['steps']} steps, {images:,} images, {images / len(X):.3g} epochs; writes to "
        f"{options['out']}"
    )
    return lines


def _fitted(
    generator: nn.Module,
    discriminator: nn.Module | None,
    X: np.ndarray,
    labels: np.ndarray | None,
    parts: dict[str, Any],
    options: dict[str, Any],
    resume: bool,
    progress: bool,
) -> Any:
    """Train with a bar that shows the losses."""
    from .._progress import reporter
    from ..gan import NotFiniteError, fit

    if not any(getattr(n, "n_classes", None) for n in (generator, discriminator)):
        labels = None
    seen = 0
    with reporter(progress, unit="step", total=options["steps"]) as report:

        def count(done: int, total: int) -> None:
            nonlocal seen
            report(done - seen)
            seen = done

        def show(row: dict[str, Any], nets: Any) -> None:
            losses = {k: v for k, v in row.items() if k not in ("step", "images")}
            report.note(", ".join(f"{name}={value:.3g}" for name, value in losses.items()))

        try:
            return fit(
                generator, discriminator, X, labels=labels, resume=resume, progress=count,
                callback=show, **parts, **options,
            )  # fmt: skip
        except NotFiniteError as error:
            raise ValueError(f"{error}; the last checkpoint is kept in {options['out']}") from error


def _scoring(out: pathlib.Path, X: np.ndarray, made: tuple[str, dict[str, Any]]) -> list[str]:
    """Write what scores the run needs, and return the commands."""
    import numpy as np

    from .._files import replacing

    name, options = made
    text = _MODULE.format(name=name, options=pprint.pformat(options, sort_dicts=False))
    shown = X[:256]
    if shown.dtype == np.uint8:
        shown = (shown / np.float32(127.5) - 1).astype(np.float32)
    with replacing(out / "generator.py") as beside:
        beside.write_text(text)
    with replacing(out / "targets.npy") as beside:
        np.save(beside, shown)
    return [f"fastgen goof {out / 'generator.py'}:make --data {out / 'targets.npy'}"]
