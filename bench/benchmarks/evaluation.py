"""Metrics of samples: the pass over all pairs, kernels, diversity."""

from __future__ import annotations

import numpy as np

from fastgen.metrics import kid, manifold, vendi

from .common import REPOSITORY, OneThread, agree, load

SEED = 3
N, D = 2000, 256
FEW = 150


class Samples(OneThread):
    """Two sets of features of which the second is a little displaced."""

    def setup(self) -> None:
        super().setup()
        rng = np.random.default_rng(SEED)
        self.real = rng.standard_normal((N, D))
        self.made = rng.standard_normal((N, D)) + 0.1
        few = self.real[:FEW, :4], self.made[:FEW, :4]
        oracles = REPOSITORY / "tests" / "oracles"
        naive = load(oracles / "neighbor_pass.py").manifold_figures(*few, 5)
        found = manifold(*few)
        agree(abs(found.precision - naive["precision"]), 1e-12, "precision")
        kernels = load(oracles / "kernel_distances.py")
        inside = [kernels.polynomial_kernel(a, b) for a, b in (few[:1] * 2, few[1:] * 2, few)]
        agree(abs(kid(*few).value - kernels.unbiased_mmd2(*inside)), 1e-9, "KID")
        score = load(oracles / "vendi.py").vendi_score(few[0])
        agree(abs(vendi(few[0]).value / score - 1), 1e-9, "the Vendi score")
        self.time_manifold()

    def time_manifold(self) -> None:
        manifold(self.real, self.made)

    def time_kid(self) -> None:
        kid(self.real, self.made)

    def time_vendi(self) -> None:
        vendi(self.made)
