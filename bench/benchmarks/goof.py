"""Nearest rows, and nearest points in the range of a network."""

from __future__ import annotations

import importlib.util

import numpy as np

from fastgen.goof import nearest, nearest_rows

from .common import REPOSITORY, OneThread, agree, load

SEED = 3
# Of each solver, at which not all targets of the larger network are recovered.
N_STEPS = {"lm": 25, "lbfgs": 150}


class Rows(OneThread):
    """Rows of low rank with some noise, where a few coordinates bound, and plain noise."""

    param_names = ("n_m_d", "kind")
    params = ([(200, 5000, 64), (100, 10_000, 784)], ["low rank", "noise"])
    neighbors = 3

    def setup(self, size: tuple[int, int, int], kind: str) -> None:
        super().setup(size, kind)
        n, m, d = size
        rng = np.random.default_rng(SEED)
        rows = rng.standard_normal((n + m, d))
        if kind == "low rank":
            basis = rng.standard_normal((10, d))
            rows = rng.standard_normal((n + m, 10)) @ basis + 0.1 * rows
        rows = rows.astype(np.float32)
        self.rows, self.pool = rows[:n], rows[n:]
        naive = load(REPOSITORY / "tests" / "naive_rows.py")
        squared, index = nearest_rows(self.rows, self.pool, self.neighbors)
        few = slice(0, 5)
        expected, order = naive.nearest_rows(self.rows[few], self.pool, self.neighbors)
        agree(float((index[few] != order).sum()), 0.0, "rows of nearest_rows")
        agree(np.abs(squared[few] / expected - 1).max(), 1e-12, "distances of nearest_rows")

    def time_nearest_rows(self, size: tuple[int, int, int], kind: str) -> None:
        nearest_rows(self.rows, self.pool, self.neighbors)

    def peakmem_nearest_rows(self, size: tuple[int, int, int], kind: str) -> None:
        nearest_rows(self.rows, self.pool, self.neighbors)


class Nearest(OneThread):
    """Targets that a network of random weights made: their distance is 0."""

    param_names = ("k_d", "method")
    params = ([(4, 64), (32, 256)], ["lm", "lbfgs"])
    n_targets = 16

    def setup(self, size: tuple[int, int], method: str) -> None:
        if importlib.util.find_spec("torch") is None:
            raise NotImplementedError("torch is not installed")
        super().setup(size, method)
        import torch

        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.manual_seed(SEED)
        k, d = size
        self.network = torch.nn.Sequential(
            torch.nn.Linear(k, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, d),
        )
        with torch.no_grad():
            self.targets = self.network(torch.randn(self.n_targets, k)).numpy()
        found = self.search(method)
        with torch.no_grad():
            made = self.network(torch.as_tensor(found.z, dtype=torch.float32)).numpy()
        squares = ((made.astype(float) - self.targets) ** 2).sum(axis=1)
        scale = (self.targets.astype(float) ** 2).sum(axis=1)
        gap = np.abs(squares - np.asarray(found.squared_distance)) / scale
        agree(gap.max(), 1e-6, "distance from nearest at its latent")

    def teardown(self, size: tuple[int, int], method: str) -> None:
        import torch

        torch.set_num_threads(self.threads)
        super().teardown(size, method)

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

    def errors(self, method: str) -> np.ndarray:
        """Squared distances over squared lengths of targets."""
        found = np.asarray(self.search(method).squared_distance, dtype=float)
        return found / (self.targets.astype(float) ** 2).sum(axis=1)

    def time_nearest(self, size: tuple[int, int], method: str) -> None:
        self.search(method)

    def track_recovered(self, size: tuple[int, int], method: str) -> float:
        return float((self.errors(method) < 1e-6).mean())

    def track_median_error(self, size: tuple[int, int], method: str) -> float:
        return float(np.median(self.errors(method)))

    track_recovered.unit = "share of targets"
    track_median_error.unit = "of the squared length"
