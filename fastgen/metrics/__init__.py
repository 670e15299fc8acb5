"""Distances between distributions: Gaussians (Frechet, Bures) and Gaussian mixtures (MW2)."""

from ._barycenter import MixtureBarycenter, mixture_barycenter
from ._factors import CovarianceFactor
from .gaussian import bures, dist_bures_squared, frechet_distance
from .mixture import (
    MixtureParameters,
    MW2Result,
    gmm_ot_apply_map,
    gmm_ot_loss,
    gmm_ot_plan,
    mw2,
)

__all__ = [
    "CovarianceFactor",
    "MW2Result",
    "MixtureBarycenter",
    "MixtureParameters",
    "bures",
    "dist_bures_squared",
    "frechet_distance",
    "gmm_ot_apply_map",
    "gmm_ot_loss",
    "gmm_ot_plan",
    "mixture_barycenter",
    "mw2",
]
