"""Distances between distributions: Gaussians (Frechet, Bures, FID), Gaussian mixtures (MW2, WaM).

``fid`` and ``wam`` compare two sets of features, ``FeatureStatistics`` collects their moments from
a stream, ``features`` computes them from images; ``torchmetrics`` has both metrics as torchmetrics
classes.
"""

from __future__ import annotations

import importlib
from typing import Any

from .barycenter import MixtureBarycenter, mixture_barycenter
from .covariances import CovarianceFactor
from .fid_wam import WaMResult, fid, wam
from .floor import FloorLaw, floor_law
from .gaussian import bures, dist_bures_squared, frechet_distance
from .mixture import MixtureParameters, MW2Result, mw2
from .pot import gmm_ot_apply_map, gmm_ot_loss, gmm_ot_plan
from .ratio import ratio_study
from .statistics import FeatureStatistics

_SUBMODULES = ("features", "torchmetrics")

__all__ = [
    "CovarianceFactor",
    "FeatureStatistics",
    "FloorLaw",
    "MW2Result",
    "MixtureBarycenter",
    "MixtureParameters",
    "WaMResult",
    "bures",
    "dist_bures_squared",
    "features",
    "fid",
    "floor_law",
    "frechet_distance",
    "gmm_ot_apply_map",
    "gmm_ot_loss",
    "gmm_ot_plan",
    "mixture_barycenter",
    "mw2",
    "ratio_study",
    "torchmetrics",
    "wam",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_SUBMODULES))
