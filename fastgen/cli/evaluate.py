"""``fastgen evaluate``."""

from __future__ import annotations

import operator
import os
import pathlib
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import outputs
from .errors import reported
from .features import (
    AsJson,
    Batch,
    Components,
    Device,
    Features,
    Progress,
    Resize,
    Weights,
    read,
)
from .grammar import names

if TYPE_CHECKING:
    from ..metrics.evaluate import Evaluation

FAILED = 1
_FEATURES = ("pixels", "pca", "inception", "resnet18")
_COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_CONDITION = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*(\S+)\s*")

Real = Annotated[
    str,
    typer.Argument(
        metavar="REAL",
        help="Training data: a folder of images, FILE.npy, FILE.npz or FILE.npz:KEY.",
    ),
]
Generated = Annotated[
    str, typer.Argument(metavar="GENERATED", help="What the generator made: the same.")
]
Holdout = Annotated[
    str | None,
    typer.Option("--holdout", help="Real data that the generator has not seen: the same."),
]
Wanted = Annotated[
    str | None, typer.Option("--metrics", help="Only these, such as fid,kid,recall.")
]
Neighbors = Annotated[
    int, typer.Option("--neighbors", help="The k of precision, recall, density and coverage.")
]
Rgb = Annotated[bool, typer.Option("--rgb", help="Convert all images to three channels.")]
Cache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        help="Folder that features of networks are kept in.  "
        "[default: fastgen/features in $XDG_CACHE_HOME or ~/.cache]",
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no features.")]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="CONDITION",
        help='Exit with 1 if a metric is beyond a bound: "fid>30", "recall<0.5".  [repeatable]',
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")]
Plot = Annotated[str | None, typer.Option("--plot", help="Draw to this file, .png, .pdf or .svg.")]


def evaluate(
    real: Real,
    generated: Generated,
    holdout: Holdout = None,
    features: Features = None,
    pca_components: Components = 64,
    weights: Weights = None,
    metrics: Wanted = None,
    neighbors: Neighbors = 5,
    resize: Resize = None,
    rgb: Rgb = False,
    batch_size: Batch = 64,
    device: Device = None,
    cache: Cache = None,
    no_cache: NoCache = False,
    fail_if: FailIf = None,
    seed: Seed = 0,
    plot: Plot = None,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Compare generated samples with real ones by every metric, with floors and verdicts.

    Features of networks are kept on disk: a command that was stopped goes on where it was. For
    example

    fastgen evaluate train/ generated/ --holdout test/ --features inception --fail-if "fid>30"
    """
    with reported(interrupted="features kept so far are used by the next call"):
        conditions = [_condition(text) for text in fail_if or []]
        if plot is not None:
            from .. import plotting

            outputs.check(plot, "--plot", plotting.SUFFIXES)
        if cache is not None and no_cache:
            raise ValueError("--cache and --no-cache contradict each other; leave one out")
        wanted = _wanted(metrics, conditions)
        extractor = _extractor(features, pca_components, weights, batch_size, device)
        first, second = _source(real), _source(generated)
        held = None if holdout is None else _source(holdout)
        from ..metrics.evaluate import evaluate as run

        found = run(
            first,
            second,
            held,
            features=extractor,
            metrics=wanted,
            n_neighbors=neighbors,
            batch_size=batch_size,
            resize=resize,
            rgb=rgb or features in ("inception", "resnet18"),
            cache=None if no_cache else cache or _cache_folder(),
            random_state=seed,
            progress=progress,
        )
        files = []
        if plot is not None:
            plotting.save_figure(found.plot(), plot)
            files.append(plot)
        failures = [text for text in (_failure(found, *one) for one in conditions) if text]
        told = {
            **found.to_dict(),
            "real": real,
            "generated": generated,
            "holdout": holdout,
            "failures": failures,
            "files": files,
        }
        outputs.tell(told, str(found), as_json)
    for text in failures:
        typer.echo(f"fastgen: failed: {text}", err=True)
    if failures:
        raise typer.Exit(FAILED)


def _source(name: str) -> Any:
    """Return a path of a folder, or the array that is named."""
    if os.path.isdir(name):
        return name
    from ..metrics.statistics import FeatureStatistics

    found = read(name)
    if isinstance(found, FeatureStatistics):
        raise ValueError(
            f"{name} holds mu and sigma, from which the FID alone can be computed (fastgen fid); "
            "name a folder of images or an array (n, d)"
        )
    return found


def _extractor(
    features: str | None,
    n_components: int,
    weights: str | None,
    batch_size: int,
    device: str | None,
) -> Any:
    from .. import _validate

    if features is not None:
        _validate.one_of(features, "--features", _FEATURES)
    if features not in ("inception", "resnet18"):
        for value, option in ((weights, "--weights"), (device, "--device")):
            if value is not None:
                raise ValueError(f"{option} belongs to --features inception or resnet18")
    if features == "pca":
        from ..metrics.features import PCAFeatures

        return PCAFeatures(_validate.integer(n_components, "--pca-components"))
    if features in ("inception", "resnet18"):
        from ..metrics import features as module

        build = module.inception_v3 if features == "inception" else module.resnet18
        size = _validate.integer(batch_size, "--batch-size")
        return build(weights, batch_size=size, device=device)
    return features


def _cache_folder() -> pathlib.Path:
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home, "fastgen", "features")


def _condition(text: str) -> tuple[str, str, float]:
    """Read NAME>NUMBER and the like."""
    from .. import _validate

    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(
            f'--fail-if must be a metric, one of > >= < <=, and a number, such as "fid>30", got '
            f"{text!r}"
        )
    name, sign, number = match.groups()
    from ..metrics.scores import NAMES

    _validate.one_of(name, "--fail-if", NAMES)
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"--fail-if must compare with a number, got {number!r}") from None
    if bound != bound:
        raise ValueError("--fail-if must compare with a number, got nan")
    return name, sign, bound


def _wanted(text: str | None, conditions: list[tuple[str, str, float]]) -> list[str] | None:
    """Return the metrics that are asked for, those of conditions among them."""
    if text is None:
        return None
    return [*names(text), *(name for name, _, _ in conditions)]


def _failure(found: Evaluation, name: str, sign: str, bound: float) -> str | None:
    """Say how a condition is met; None if it is not."""
    if name not in found.metrics:
        raise ValueError(
            f"--fail-if: {name} was not computed: {found.skipped.get(name, 'it is not there')}"
        )
    value = found.metrics[name].value
    if _COMPARISONS[sign](value, bound):
        return f"{name} is {value:.6g}, {sign} {bound:g}"
    return None
