"""What two sets of samples have in common: distances, shared ground, diversity, copies, likelihood.

``evaluate`` computes every metric of two sets at once, each with its floor and an interval; the
metrics are functions of their own as well. ``fid`` and ``wam`` compare Gaussians and Gaussian
mixtures, ``FeatureStatistics`` collects moments from a stream, ``features`` computes features from
images; ``torchmetrics`` has the metrics whose state merges as torchmetrics classes. Names load when
first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import features, torchmetrics
    from .barycenter import MixtureBarycenter, mixture_barycenter
    from .covariances import CovarianceFactor
    from .diversity import VendiScore, vendi
    from .evaluate import Evaluation, evaluate
    from .extrapolation import ExtrapolatedFID, fd_infinity
    from .fid_wam import WaMResult, fid, wam
    from .floor import FloorLaw, floor_law
    from .gaussian import bures, dist_bures_squared, frechet_distance
    from .kernel_distances import KernelDistance, cmmd, kid
    from .likelihood import FeatureLikelihood, fld
    from .manifold import Manifold, manifold
    from .memorization import Memorization, memorization
    from .mixture import MixtureParameters, MW2Result, mw2
    from .neighbor_pass import NeighborPass, neighbor_pass
    from .pot import gmm_ot_apply_map, gmm_ot_loss, gmm_ot_plan
    from .ratio import ratio_study
    from .sliced import SlicedDistance, sliced_wasserstein
    from .statistics import FeatureStatistics

_HOMES = {
    "CovarianceFactor": "covariances",
    "Evaluation": "evaluate",
    "ExtrapolatedFID": "extrapolation",
    "FeatureLikelihood": "likelihood",
    "FeatureStatistics": "statistics",
    "FloorLaw": "floor",
    "KernelDistance": "kernel_distances",
    "MW2Result": "mixture",
    "Manifold": "manifold",
    "Memorization": "memorization",
    "MixtureBarycenter": "barycenter",
    "MixtureParameters": "mixture",
    "NeighborPass": "neighbor_pass",
    "SlicedDistance": "sliced",
    "VendiScore": "diversity",
    "WaMResult": "fid_wam",
    "bures": "gaussian",
    "cmmd": "kernel_distances",
    "dist_bures_squared": "gaussian",
    "evaluate": "evaluate",
    "fd_infinity": "extrapolation",
    "fid": "fid_wam",
    "fld": "likelihood",
    "floor_law": "floor",
    "frechet_distance": "gaussian",
    "gmm_ot_apply_map": "pot",
    "gmm_ot_loss": "pot",
    "gmm_ot_plan": "pot",
    "kid": "kernel_distances",
    "manifold": "manifold",
    "memorization": "memorization",
    "mixture_barycenter": "barycenter",
    "mw2": "mixture",
    "neighbor_pass": "neighbor_pass",
    "ratio_study": "ratio",
    "sliced_wasserstein": "sliced",
    "vendi": "diversity",
    "wam": "fid_wam",
}

__all__ = [
    "CovarianceFactor",
    "Evaluation",
    "ExtrapolatedFID",
    "FeatureLikelihood",
    "FeatureStatistics",
    "FloorLaw",
    "KernelDistance",
    "MW2Result",
    "Manifold",
    "Memorization",
    "MixtureBarycenter",
    "MixtureParameters",
    "NeighborPass",
    "SlicedDistance",
    "VendiScore",
    "WaMResult",
    "bures",
    "cmmd",
    "dist_bures_squared",
    "evaluate",
    "fd_infinity",
    "features",
    "fid",
    "fld",
    "floor_law",
    "frechet_distance",
    "gmm_ot_apply_map",
    "gmm_ot_loss",
    "gmm_ot_plan",
    "kid",
    "manifold",
    "memorization",
    "mixture_barycenter",
    "mw2",
    "neighbor_pass",
    "ratio_study",
    "sliced_wasserstein",
    "torchmetrics",
    "vendi",
    "wam",
]

__getattr__, __dir__ = attach(
    __name__,
    _HOMES,
    submodules=("features", "torchmetrics"),
    needs={"torchmetrics": "torchmetrics"},
)
