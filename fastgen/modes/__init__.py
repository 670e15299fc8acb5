"""Which modes of the data a generator covers, and two ways to make it cover them all.

Names load when first used. Nothing here needs torch: generators and discriminators are given as
functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .coverage import MultiplicativeWeights, coverage_guarantee, rounds_needed
    from .data import (
        ModeData,
        box_with_spike,
        circles,
        cube,
        grid,
        helix,
        ring,
        sine_with_rare_mode,
        spiral,
        stacked_digits,
    )
    from .embedding import BourgainEmbedding
    from .latents import LatentMixture
    from .pairwise import log_pairwise_distances, lpdd_distance, subsampling_bound
    from .report import ModeReport, mode_report

_HOMES = {
    "BourgainEmbedding": "embedding",
    "LatentMixture": "latents",
    "log_pairwise_distances": "pairwise",
    "lpdd_distance": "pairwise",
    "subsampling_bound": "pairwise",
    "MultiplicativeWeights": "coverage",
    "coverage_guarantee": "coverage",
    "rounds_needed": "coverage",
    "ModeReport": "report",
    "mode_report": "report",
    "ModeData": "data",
    "box_with_spike": "data",
    "circles": "data",
    "cube": "data",
    "grid": "data",
    "helix": "data",
    "ring": "data",
    "sine_with_rare_mode": "data",
    "spiral": "data",
    "stacked_digits": "data",
}

__all__ = [
    "BourgainEmbedding",
    "LatentMixture",
    "ModeData",
    "ModeReport",
    "MultiplicativeWeights",
    "box_with_spike",
    "circles",
    "coverage_guarantee",
    "cube",
    "grid",
    "helix",
    "log_pairwise_distances",
    "lpdd_distance",
    "mode_report",
    "ring",
    "rounds_needed",
    "sine_with_rare_mode",
    "spiral",
    "stacked_digits",
    "subsampling_bound",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
