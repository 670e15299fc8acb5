"""How far data are from what a generator can produce: the nearest point in its range.

Every name is loaded when first used: ``import fastgen.goof`` loads neither torch nor SciPy.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Ball": "domains",
    "Box": "domains",
    "Sphere": "domains",
    "nearest": "search",
    "NearestResult": "results",
    "score": "scores",
    "GoofScore": "scores",
    "planted": "scores",
    "PlantedResult": "scores",
    "overfit_test": "overfitting",
    "OverfitTest": "overfitting",
    "pca_floor": "bounds",
    "nearest_rows": "..neighbors",
    "nearest_distributed": "distributed",
    "Subsample": "study",
    "goof_against_size": "study",
    "goof_against_subsampling": "study",
    "goof_of_unions": "study",
    "study_figure": "..plotting.study",
    "subsample": "study",
}

__all__ = [
    "Ball",
    "Box",
    "GoofScore",
    "NearestResult",
    "OverfitTest",
    "PlantedResult",
    "Sphere",
    "Subsample",
    "goof_against_size",
    "goof_against_subsampling",
    "goof_of_unions",
    "nearest",
    "nearest_distributed",
    "nearest_rows",
    "overfit_test",
    "pca_floor",
    "planted",
    "score",
    "study_figure",
    "subsample",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        home = _HOMES[name] if _HOMES[name].startswith("..") else f".{_HOMES[name]}"
        return getattr(importlib.import_module(home, __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
