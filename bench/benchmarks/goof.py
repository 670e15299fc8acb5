"""Nearest rows, and nearest points in the range of a network."""

from __future__ import annotations

import importlib.util

import numpy as np

from fastgen.goof import nearest, nearest_rows

from .common import REPOSITORY, OneThread, agree, load

SEED = 3
# Latent coordinates and pixels, and steps of each solver that do not recover every target.
K, D = 22, 256
N_STEPS = {"lm": 25, "lbfgs": 150}


class Rows(OneThread):
    """Rows of low rank with some noise, where a few coordinates bound, and plain noise."""

    param_names = ("n_m_d_kind",)
    params = ([(500, 10_000, 64, "noise"), (100, 10_000, 784, "low rank")],)
    neighbors = 3

    def setup(self, case: tuple[int, int, int, str]) -> None:
        super().setup(case)
        n, m, d, kind = case
        rng = np.random.default_rng(SEED)
        rows = rng.standard_normal((n + m, d))
        if kind == "low rank":
            basis = rng.standard_normal((10, d))
            rows = rng.standard_normal((n + m, 10)) @ basis + 0.1 * rows
        rows = rows.astype(np.float32)
        self.rows, self.pool = rows[:n], rows[n:]
        naive = load(REPOSITORY / "tests" / "oracles" / "nearest_rows.py")
        squared, index = nearest_rows(self.rows, self.pool, self.neighbors)
        few = slice(0, 5)
        expected, order = naive.nearest_rows(self.rows[few], self.pool, self.neighbors)
        agree(float((index[few] != order).sum()), 0.0, "rows of nearest_rows")
        agree(np.abs(squared[few] / expected - 1).max(), 1e-12, "distances of nearest_rows")

    def time_nearest_rows(self, case: tuple[int, int, int, str]) -> None:
        nearest_rows(self.rows, self.pool, self.neighbors)


class Nearest(OneThread):
    """Targets that a network of random weights made: their distance is 0."""

    param_names = ("method",)
    params = (list(N_STEPS),)
    n_targets = 32

    def setup(self, method: str) -> None:
        if importlib.util.find_spec("torch") is None:
            raise NotImplementedError("torch is not installed")
        super().setup(method)
        import torch

        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.manual_seed(SEED)
        self.network = torch.nn.Sequential(
            torch.nn.Linear(K, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, D),
        )
        with torch.no_grad():
            self.targets = self.network(torch.randn(self.n_targets, K)).numpy()
        found = self.search(method)
        with torch.no_grad():
            made = self.network(torch.as_tensor(found.z, dtype=torch.float32)).numpy()
        squares = ((made.astype(float) - self.targets) ** 2).sum(axis=1)
        scale = (self.targets.astype(float) ** 2).sum(axis=1)
        gap = np.abs(squares - np.asarray(found.squared_distance)) / scale
        agree(gap.max(), 1e-6, "distance from nearest at its latent")

    def teardown(self, method: str) -> None:
        import torch

        torch.set_num_threads(self.threads)
        super().teardown(method)

    def search(self, method: str):
        return nearest(
            self.network,
            self.targets,
            pool_size=1000,
            n_starts=4,
            method=method,
            max_iter=N_STEPS[method],
            random_state=SEED,
        )

    def time_nearest(self, method: str) -> None:
        self.search(method)

    def track_recovered(self, method: str) -> float:
        squared = np.asarray(self.search(method).squared_distance, dtype=float)
        return float((squared < 1e-6 * (self.targets.astype(float) ** 2).sum(axis=1)).mean())

    track_recovered.unit = "share of targets"
