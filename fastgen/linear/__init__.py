"""Linear generative models in closed form: how they generalize as the latent space grows.

``sweep`` computes the errors of unsupervised and pseudo-supervised linear GANs over the latent
dimension, ``evaluate`` those of a generator of one's own, ``theory`` the expectations that are
known exactly, ``subspace_sweep`` the errors of subspace fits that are partly regressions.
"""

from . import theory
from .estimators import LinearGAN
from .evaluation import evaluate
from .models import GaussianData, SpikedGaussian, power_law
from .plane import subspace_sweep
from .subspace import SubspaceFit
from .summary import format_table, summarize
from .sweep import sweep

__all__ = [
    "GaussianData",
    "LinearGAN",
    "SpikedGaussian",
    "SubspaceFit",
    "evaluate",
    "format_table",
    "power_law",
    "subspace_sweep",
    "summarize",
    "sweep",
    "theory",
]
