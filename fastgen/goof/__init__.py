"""GOoF: how far data are from what a generator can produce.

Every data point is compared with the nearest point in the range of the generator, found by
``nearest``; ``score`` averages over the points, ``planted`` shows the floor that the search itself
leaves, ``overfit_test`` compares training with validation data. Names load when first used:
``import fastgen.goof`` loads neither torch nor SciPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ..neighbors import nearest_rows
    from ..plotting.study import study_figure
    from .bounds import pca_floor
    from .displaced import DisplacedResult, displaced
    from .distributed import nearest_distributed
    from .domains import Ball, Box, Sphere
    from .overfitting import OverfitTest, overfit_test
    from .results import NearestResult
    from .scores import GoofScore, PlantedResult, planted, score
    from .search import nearest
    from .study import (
        Subsample,
        goof_against_size,
        goof_against_subsampling,
        goof_of_unions,
        subsample,
    )

_HOMES = {
    "Ball": "domains",
    "Box": "domains",
    "DisplacedResult": "displaced",
    "GoofScore": "scores",
    "NearestResult": "results",
    "OverfitTest": "overfitting",
    "PlantedResult": "scores",
    "Sphere": "domains",
    "Subsample": "study",
    "displaced": "displaced",
    "goof_against_size": "study",
    "goof_against_subsampling": "study",
    "goof_of_unions": "study",
    "nearest": "search",
    "nearest_distributed": "distributed",
    "nearest_rows": "..neighbors",
    "overfit_test": "overfitting",
    "pca_floor": "bounds",
    "planted": "scores",
    "score": "scores",
    "study_figure": "..plotting.study",
    "subsample": "study",
}

__all__ = [
    "Ball",
    "Box",
    "DisplacedResult",
    "GoofScore",
    "NearestResult",
    "OverfitTest",
    "PlantedResult",
    "Sphere",
    "Subsample",
    "displaced",
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

__getattr__, __dir__ = attach(__name__, _HOMES)
