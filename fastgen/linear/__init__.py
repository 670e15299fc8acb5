"""Linear generative models in closed form: how they generalise as the latent space grows.

``sweep`` computes the errors of unsupervised and pseudo-supervised linear GANs over the latent
dimension, ``theory`` the expectations that are known exactly.
"""

from . import theory
from .estimators import LinearGAN
from .models import SpikedGaussian
from .subspace import SubspaceFit, subspace_sweep
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
