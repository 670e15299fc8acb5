"""``fastgen evaluate``."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Annotated

import typer

from . import outputs
from .comparison import (
    Cache,
    Generated,
    Holdout,
    Neighbors,
    NoCache,
    Real,
    Rgb,
    Seed,
    Wanted,
    extractor,
    feature_store,
    source,
)
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
from .grammar import names

if TYPE_CHECKING:
    from ..metrics.evaluate import Evaluation

FAILED = 1
_COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_CONDITION = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*(\S+)\s*")

FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="CONDITION",
        help='Exit with 1 if a metric is beyond a bound: "fid>30", "recall<0.5".  [repeatable]',
    ),
]
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
        store = feature_store(cache, no_cache)
        wanted = _wanted(metrics, conditions)
        extract = extractor(features, pca_components, weights, batch_size, device)
        first, second = source(real), source(generated)
        held = None if holdout is None else source(holdout)
        from ..metrics.evaluate import evaluate as run

        found = run(
            first,
            second,
            held,
            features=extract,
            metrics=wanted,
            n_neighbors=neighbors,
            batch_size=batch_size,
            resize=resize,
            rgb=rgb or features in NETWORKS,
            cache=store,
            random_state=seed,
            progress=progress,
        )
        files = []
        if plot is not None:
            plotting.save_figure(found.plot(), plot)
            files.append(plot)
        known = [one for one in conditions if one[0] in found.metrics]
        failures = [text for text in (_failure(found, *one) for one in known) if text]
        told = {
            **found.to_dict(),
            "real": real,
            "generated": generated,
            "holdout": holdout,
            "failures": failures,
            "files": files,
        }
        outputs.tell(told, str(found), as_json)
        for name, _, _ in conditions:  # last, for what was computed is not lost
            if name not in found.metrics:
                why = found.skipped.get(name, "it is not there")
                raise ValueError(f"--fail-if: {name} was not computed: {why}")
    for text in failures:
        typer.echo(f"fastgen: failed: {text}", err=True)
    if failures:
        raise typer.Exit(FAILED)


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
    value = found.metrics[name].value
    if _COMPARISONS[sign](value, bound):
        return f"{name} is {value:.6g}, {sign} {bound:g}"
    return None
