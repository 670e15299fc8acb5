"""Theory and evaluation of generative models at compiled speed.

``linear``
    Linear GANs and PCA over the latent dimension, in closed form: ``sweep``, ``LinearGAN``,
    ``SubspaceFit``, and what ``theory`` knows exactly.
``metrics``
    Distances between distributions: Frechet and FID, distances of Gaussian mixtures, WaM, and
    features of images; ``evaluate`` has every metric of two sets of samples at once.
``mixture``
    Gaussian and nonparametric mixtures, as scikit-learn's estimators.
``diffusion``
    Local sampling with diffusion models, and laws that predict how far it goes.
``gan``
    Ensembles of generators under one sharing knob, and how they are trained.
``goof``
    The nearest point that a generator can produce to each data point, and scores made of it.
``modes``
    Which modes of the data a generator covers, and methods that make it cover them all.
``networks``
    Layers for torch, such as mixture normalization, and weights on disk.
``plotting``
    Figures of all of these.
``report``
    Pages of generated samples beside real ones, with every metric and the images behind them.

Submodules load when first used, so that importing fastgen costs nothing and needs neither torch nor
CuPy. The same work is done from the command line by ``fastgen``, or ``python -m fastgen``.

Examples
--------
>>> import fastgen
>>> fastgen.linear.theory.expected_gain(20, 41)
1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import attach

if TYPE_CHECKING:
    from . import diffusion, gan, goof, linear, metrics, mixture, modes, networks, plotting, report
    from ._show_versions import show_versions
    from ._version import __version__

_HOMES = {"__version__": "_version", "show_versions": "_show_versions"}

__all__ = [
    "__version__",
    "diffusion",
    "gan",
    "goof",
    "linear",
    "metrics",
    "mixture",
    "modes",
    "networks",
    "plotting",
    "report",
    "show_versions",
]

__getattr__, __dir__ = attach(
    __name__,
    _HOMES,
    submodules=(
        "diffusion",
        "gan",
        "goof",
        "linear",
        "metrics",
        "mixture",
        "modes",
        "networks",
        "plotting",
        "report",
    ),
)
