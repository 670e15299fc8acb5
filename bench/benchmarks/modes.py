"""Embeddings of metric spaces, and a report on modes."""

from __future__ import annotations

import numpy as np

from fastgen.modes import BourgainEmbedding, grid, mode_report

from .common import REPOSITORY, OneThread, agree, load

SEED = 7


class Bourgain(OneThread):
    """The embedding of the authors' code and the classical one, with their distortion."""

    param_names = ("n_per_mode_variant_metric",)
    params = (
        [
            (50, "official", "precomputed"),
            (50, "classical", "euclidean"),
            (200, "official", "euclidean"),
        ],
    )

    def setup(self, case: tuple[int, str, str]) -> None:
        super().setup(case)
        n_per_mode, variant, metric = case
        naive = load(REPOSITORY / "tests" / "oracles" / "modes.py")
        self.rows = grid(n_per_mode=n_per_mode, random_state=SEED).X
        self.model = BourgainEmbedding(variant, metric=metric, random_state=SEED)
        few = self.rows[:: len(self.rows) // 100]
        distances = naive.pairwise(few)
        found = self.model.fit(distances if metric == "precomputed" else few)
        ratios = naive.pair_ratios(found.embedding_, distances)
        agree(abs(found.distortion_ / (ratios.max() / ratios.min()) - 1), 1e-9, "the distortion")
        g = naive.set_distances(distances, found.sets_)
        agree(
            abs(found.lipschitz_ / naive.lipschitz_ratio(g, distances) - 1), 1e-9, "the coordinates"
        )
        self.given = naive.pairwise(self.rows) if metric == "precomputed" else self.rows

    def time_fit(self, case: tuple[int, str, str]) -> None:
        self.model.fit(self.given)


class Report(OneThread):
    """Shares of modes and the energy distance; the assignment is SciPy's."""

    def setup(self) -> None:
        super().setup()
        self.data = grid(n_per_mode=2000, random_state=SEED)
        rng = np.random.default_rng(SEED)
        self.samples = self.data.X + 0.1 * rng.standard_normal(self.data.X.shape)
        naive = load(REPOSITORY / "tests" / "oracles" / "modes.py")
        few = self.samples[:500]
        found = mode_report(few, self.data.centers, self.data.scale)
        expected = naive.mode_shares(few, self.data.centers, self.data.scale)
        agree(abs(found.total_variation - expected[3]), 1e-12, "the total variation")

    def time_shares(self) -> None:
        mode_report(self.samples, self.data.centers, self.data.scale)
