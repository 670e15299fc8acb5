"""``fastgen report``."""

from __future__ import annotations

import os
from typing import Annotated

import numpy as np
import typer

from . import arrays, comparison, outputs
from .errors import reported
from .features import (
    NETWORKS,
    AsJson,
    Batch,
    Components,
    Device,
    Features,
    Progress,
    Resize,
    Weights,
)
from .goof import Range
from .grammar import names

Out = Annotated[str, typer.Option("--out", help="Write the page to this .html file.")]
Title = Annotated[str | None, typer.Option("--title", help="Headline of the page.")]
Generator = Annotated[
    str | None,
    typer.Option(
        "--generator",
        help="module:factory or file.py:factory of the generator, for GOoF. Its code is run.",
    ),
]
GeneratorWeights = Annotated[
    str | None,
    typer.Option("--generator-weights", help="Weights of the generator, as for fastgen goof."),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", help="Classes of REAL, one a row: FILE.npy, FILE.npz or FILE.npz:KEY."
    ),
]
Targets = Annotated[
    int, typer.Option("--targets", help="Real images that the generator is searched for.")
]


def report(
    real: comparison.Real,
    generated: comparison.Generated,
    out: Out = "report.html",
    holdout: comparison.Holdout = None,
    title: Title = None,
    features: Features = None,
    pca_components: Components = 64,
    weights: Weights = None,
    metrics: comparison.Wanted = None,
    neighbors: comparison.Neighbors = 5,
    labels: Labels = None,
    generator: Generator = None,
    generator_weights: GeneratorWeights = None,
    range_: Range = (0.0, 1.0),
    targets: Targets = 64,
    resize: Resize = None,
    rgb: comparison.Rgb = False,
    batch_size: Batch = 64,
    device: Device = None,
    cache: comparison.Cache = None,
    no_cache: comparison.NoCache = False,
    seed: comparison.Seed = 0,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Make a page of generated samples beside real ones: one HTML file to read, print and send.

    For example

    fastgen report train/ generated/ --holdout test/ --features inception --out page.html
    """
    with reported(interrupted="no page was written; features kept so far are used again"):
        outputs.check(out, "--out", (".html", ".htm"))
        for name in (real, generated, holdout, labels):
            if name is not None and os.path.realpath(name) == os.path.realpath(out):
                raise ValueError(f"--out must differ from what is read, got {out!r} for both")
        if generator is None and generator_weights is not None:
            raise ValueError("--generator-weights needs --generator")
        store = comparison.feature_store(cache, no_cache)
        wanted = None if metrics is None else names(metrics)
        extractor = comparison.extractor(features, pca_components, weights, batch_size, device)
        first, second = comparison.source(real), comparison.source(generated)
        held = None if holdout is None else comparison.source(holdout)
        made = None
        if generator is not None:
            from . import generators

            made = generators.load(generator, generator_weights)
        classes = None if labels is None else _classes(labels)
        from ..report import report as run

        with outputs.warnings_in_a_line():
            page = run(
                first,
                second,
                held,
                out=out,
                title=title or f"{_short(generated)} beside {_short(real)}",
                names=[_short(name) for name in (real, generated, holdout) if name is not None],
                features=extractor,
                metrics=wanted,
                labels=classes,
                generator=made,
                value_range=range_,
                n_targets=targets,
                n_neighbors=neighbors,
                batch_size=batch_size,
                resize=resize,
                rgb=rgb or features in NETWORKS,
                cache=store,
                random_state=seed,
                progress=progress,
            )
        told = {
            "real": real,
            "generated": generated,
            "holdout": holdout,
            "seed": seed,
            "sections": [section.title for section in page.sections],
            "files": [out],
        }
        outputs.tell(told, f"{len(page.sections)} sections", as_json)


def _short(name: str) -> str:
    return os.path.basename(os.path.normpath(name)) or name


def _classes(name: str) -> np.ndarray:
    """Read labels (n,), also where they are a column."""
    found = arrays.read(name, "--labels must be a .npy or a .npz file")
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
