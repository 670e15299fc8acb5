"""``fastgen compile``: prepares the kernels ahead of the first computation."""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator

import typer

from .errors import reported


def _workloads() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield a name and a small computation for every group of kernels."""
    import numpy as np

    from .. import linear, metrics, mixture, neighbors

    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(2, 60, 6)), rng.normal(size=(2, 600, 300))
    problems = (
        *("unsupervised", "pseudo_supervised", "ridge", "procrustes", "reduced_rank"),
        *("free_latents", "lexicographic", "penalized", "constrained"),
    )

    def sweep() -> None:
        options: dict = {"n_trials": 1, "random_state": 0, "progress": False, "n_samples": 12}
        for dtype in ("float64", "float32"):
            linear.sweep(
                latent_dims=[1, 3, 12, 14, 40],
                n_supervised=[4],
                problems=problems,
                dtype=dtype,
                rank=2,
                **options,
            )
        linear.sweep(latent_dims=range(1, 80), **{**options, "n_samples": 40})
        linear.subspace_sweep(
            n_observed=[8], supervision=[0.5, 1.0], dim=8, n_samples=10, n_trials=1, random_state=0,
            progress=False,
        )  # fmt: skip

    def mixtures() -> None:
        for kind in ("full", "diag", "tied"):
            for dtype in (np.float64, np.float32):
                mixture.GaussianMixture(2, covariance_type=kind, random_state=0).fit(
                    small[0].astype(dtype)
                )
        for bandwidth in (None, "S"):
            for method in ("npmsl", "npem"):
                options: dict = {"bandwidth": bandwidth, "method": method, "random_state": 0}
                mixture.NonparametricMixture(2, **options).fit(small[0])

    def evaluations() -> None:
        for dtype in (np.float64, np.float32):
            metrics.evaluate(*rng.normal(size=(3, 300, 4)).astype(dtype))

    def rows() -> None:
        for dtype in (np.float64, np.float32):
            neighbors.nearest_rows(small[0].astype(dtype), small[1].astype(dtype))

    yield "linear", sweep
    yield "fid", lambda: metrics.fid(*large)
    yield "wam", lambda: metrics.wam(*small)
    yield "mixture", mixtures
    yield "nearest_rows", rows
    yield "evaluate", evaluations
    if importlib.util.find_spec("torch") is not None:
        yield "MixtureNorm", _mixture_norm
        yield "nearest", _nearest
        yield "exact score", _exact_score


def _mixture_norm() -> None:
    import torch

    from ..networks import MixtureNorm2d

    layer = MixtureNorm2d(4)
    x = torch.randn(8, 4, 6, 6, requires_grad=True)
    layer(x).square().sum().backward()
    layer.eval()(x)


def _nearest() -> None:
    import torch

    from ..goof import nearest

    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 10))
    nearest(net, torch.randn(6, 10).numpy(), latent_dim=3)


def _exact_score() -> None:
    import numpy as np

    from ..diffusion import ExactSet

    points = np.random.default_rng(0).normal(size=(200, 3))
    for dtype in (np.float64, np.float32):
        ExactSet(points).means(points[:20].astype(dtype), 0.05)


def compile_kernels() -> None:
    """Compile the kernels now, once for this installation, and print where they are kept.

    For containers and clusters: set NUMBA_CACHE_DIR to a folder that all processes can read.
    """
    with reported(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from .._dispatch import compiling

        with compiling.always():
            for name, work in _workloads():
                start = time.perf_counter()
                work()
                typer.echo(f"{name}: {time.perf_counter() - start:.1f} s", err=True)
        folder = compiling.folder()
    typer.echo(f"kernels: {folder}" if folder else "kernels: no folder can be written")
