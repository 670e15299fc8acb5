"""Linear generative models in closed form: how they generalize as the latent space grows.

``sweep`` computes the errors of unsupervised and pseudo-supervised linear GANs over the latent
dimension, ``theory`` the expectations that are known exactly, ``subspace_sweep`` the errors of
subspace fits that are partly regressions.
"""

from . import theory
from .estimators import LinearGAN
from .models import SpikedGaussian
from .plane import subspace_sweep
from .subspace import SubspaceFit
from .summary import format_table, summarize
from .sweep import sweep

__all__ = [
    "LinearGAN",
    "SpikedGaussian",
    "SubspaceFit",
    "format_table",
    "subspace_sweep",
    "summarize",
    "sweep",
    "theory",
]
