"""What ``fastgen evaluate`` and ``fastgen report`` share: what is compared, by which features."""

from __future__ import annotations

import os
import pathlib
from typing import Annotated, Any

import typer

from .features import FEATURES, NETWORKS, check_network, network, read

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
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")]


def source(name: str) -> Any:
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


def extractor(
    features: str | None,
    n_components: int,
    weights: str | None,
    batch_size: int,
    device: str | None,
) -> Any:
    """Return the extractor that options name, None where features are as they are."""
    from .. import _validate

    if features is not None:
        _validate.one_of(features, "--features", FEATURES)
    check_network(features, weights, device)
    if features == "pca":
        from ..metrics.features import PCAFeatures

        return PCAFeatures(_validate.integer(n_components, "--pca-components"))
    if features in NETWORKS:
        size = _validate.integer(batch_size, "--batch-size")
        return network(features, weights, size, device)
    return features


def feature_store(cache: str | None, no_cache: bool) -> str | pathlib.Path | None:
    """Return the folder that features are kept in, None where they are not."""
    if no_cache:
        if cache is not None:
            raise ValueError("--cache and --no-cache contradict each other; leave one out")
        return None
    if cache is not None:
        return cache
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home, "fastgen", "features")
