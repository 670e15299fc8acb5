"""The linear sweep and its nuclear-norm kernel."""

from __future__ import annotations

import functools

import numpy as np

from fastgen.linear import SpikedGaussian, sweep

from .common import REPOSITORY, OneThread, agree, load, oracle

PROBLEMS = ("unsupervised", "pseudo_supervised")
DTYPES = ("float64", "float32")
# (d, n, k_max) -> trials. Past some 160 columns the sweep works with LAPACK instead of kernels.
SIZES = {(64, 40, 120): 16, (512, 200, 600): 1}
SWEEP_TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
KERNEL_TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
SEED = 7


def _sweep(dim: int, n_samples: int, latent_dims, n_trials: int, dtype: str):
    return sweep(
        SpikedGaussian(dim=dim),
        latent_dims=latent_dims,
        n_samples=n_samples,
        problems=PROBLEMS,
        n_trials=n_trials,
        random_state=SEED,
        dtype=dtype,
        n_jobs=1,
        progress=False,
    )


@functools.cache
def sweep_difference(size: tuple[int, int, int], dtype: str) -> float:
    """Largest error against the oracle over metrics, problems and five k, in natural units.

    The unit of a cell is the total variance, true plus generated (1 + gain for the gain).
    """
    naive = oracle()
    peers = load(REPOSITORY / "bench" / "peers" / "linear_peers.py")
    dim, n, k_max = size
    ks = sorted({1, n // 2, n, n + n // 2, k_max})
    ours = _sweep(dim, n, ks, 1, dtype).isel(trial=0, n_supervised=0)
    trial = peers.draw_trial(SpikedGaussian(dim=dim), n, k_max, SEED, 0)
    trace = np.trace(trial.covariance)
    worst = 0.0
    for problem in PROBLEMS:
        for k in ks:
            want = naive.cell(problem, trial.x, trial.z[:k], n, trial.covariance)
            got = ours.sel(problem=problem, latent_dim=k)
            for name, value in want.items():
                scale = (1.0 if name == "gain" else trace) * (1.0 + want["gain"])
                worst = max(worst, abs(float(got[name]) - value) / scale)
    return agree(worst, SWEEP_TOLERANCE[dtype], f"sweep {size} {dtype}")


class Sweep(OneThread):
    """Both problems at every k from 1 to k_max, one thread."""

    param_names = ("d_n_kmax", "dtype")
    params = (list(SIZES), list(DTYPES))
    timeout = 300

    def setup(self, size: tuple[int, int, int], dtype: str) -> None:
        super().setup(size, dtype)
        sweep_difference(size, dtype)
        _sweep(8, 4, range(1, 11), 1, dtype)  # compiles

    def time_sweep(self, size: tuple[int, int, int], dtype: str) -> None:
        dim, n, k_max = size
        _sweep(dim, n, range(1, k_max + 1), SIZES[size], dtype)

    def peakmem_sweep(self, size: tuple[int, int, int], dtype: str) -> None:
        self.time_sweep(size, dtype)


class NuclearNorms(OneThread):
    """Sixteen square matrices at once: the kernel, and beside it LAPACK's singular values."""

    param_names = ("n", "dtype")
    params = ([16, 64, 128], list(DTYPES))

    def setup(self, n: int, dtype: str) -> None:
        super().setup(n, dtype)
        from fastgen.kernels.cpu.nuclear import nuclear_norms
        from fastgen.kernels.quadrature import nodes

        self.kernel = nuclear_norms
        self.nodes = nodes(np.dtype(dtype))
        rng = np.random.default_rng(n)
        self.matrices = rng.standard_normal((16, n, n)).astype(dtype)
        self.stack = np.ascontiguousarray(self.matrices.reshape(2, 8, n, n).transpose(0, 2, 3, 1))
        self.out = np.ones((2, 8), dtype)
        tiny = np.ascontiguousarray(self.stack[:1, :2, :2])
        self.kernel(tiny, *self.nodes, np.ones((1, 8), dtype))
        self.difference(dtype)

    def difference(self, dtype: str) -> float:
        want = oracle().nuclear_norms(self.matrices.astype(np.float64))
        self.kernel(self.stack, *self.nodes, self.out)
        worst = float(np.abs(self.out.ravel() / want - 1).max())
        return agree(worst, KERNEL_TOLERANCE[dtype], "nuclear_norms")

    def time_kernel(self, n: int, dtype: str) -> None:
        self.kernel(self.stack, *self.nodes, self.out)

    def time_lapack(self, n: int, dtype: str) -> None:
        np.linalg.svd(self.matrices, compute_uv=False).sum(axis=1)
