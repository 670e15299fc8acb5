"""Sweeps on a CUDA device: whole batches of trials, every (trial, k) a cell of one array.

The mathematics is that of the CPU's modules; what differs is the order. There a trial goes through
all latent dimensions; here each step goes through all trials, so that few calls have much to do.
The factorizations are the array library's; the paths, the norms, the eigenvectors and the least
squares of small cells (sides up to 64) the kernels of ``kernels/cuda``.

Everything is written against ``xp``, an array library (CuPy on a device), and ``engine``, anything
with the launchers of ``fastgen.kernels.cuda``. The tests run it on a CPU: NumPy as ``xp``, the CUDA
kernels through a shim as ``engine``. Every kernel has also been compiled. Nothing here has yet been
run on a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ..host.semisupervised import ROWS
from ..problems import METRICS, Options
from .batch import Batch, batch_size
from .nested import pseudo_supervised, unsupervised
from .projections import procrustes, reduced_rank
from .regression import lexicographic, ridge
from .semisupervised import constrained, free_latents, penalized
from .source import make_source

__all__ = ["PROBLEMS", "make_source", "require_device", "run_trials"]

PROBLEMS = {
    "unsupervised": unsupervised,
    "pseudo_supervised": pseudo_supervised,
    "ridge": ridge,
    "procrustes": procrustes,
    "reduced_rank": reduced_rank,
    "free_latents": free_latents,
    "lexicographic": lexicographic,
    "penalized": penalized,
    "constrained": constrained,
}


def require_device() -> ModuleType:
    """Return CuPy.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    RuntimeError
        If there is no CUDA device.
    """
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            'device="cuda" needs CuPy: pip install "fastgen[cuda13]" (or "fastgen[cuda12]")'
        ) from error
    if not cupy.cuda.is_available():
        raise RuntimeError(
            'device="cuda" needs a CUDA device, CuPy found no driver or no GPU; use device="cpu"'
        )
    return cupy


def run_trials(
    draws: Sequence[tuple],
    ks: np.ndarray,
    n_pairs: Sequence[int],
    names: Sequence[str],
    options: Options,
    *,
    xp: ModuleType,
    engine: Any,
    memory: int = 2**30,
) -> np.ndarray:
    """Metrics and outcomes of a list of trials, in batches on the device of ``xp``.

    Not yet run on a device.

    Parameters
    ----------
    draws : sequence of tuples of arrays (q, d), (d, n), (K, n) and (K, d)
        For every trial a factor of the truth, the data, the pseudo-latents and, for the iterative
        problems, the first generator (else None), K at least ``ks[-1]``; q may differ from trial to
        trial. The first two may lie on the device already.
    ks : array of int (n_k,)
        Latent dimensions, ascending.
    n_pairs : sequence of int
        Numbers of pairs, each 1 to n.
    names : sequence of str
        Of :data:`PROBLEMS`.
    options : Options
        Its ``dtype`` is that of the cells whose singular values are summed; all that leads to them
        is computed in float64.
    xp : module
        What :func:`require_device` returns.
    engine : object
        ``fastgen.kernels.cuda``.
    memory : int, default 2**30
        About how many bytes of device memory a batch of trials and its cells may take. At least one
        trial and one latent dimension are held, whatever they need.

    Returns
    -------
    array (n_trials, 6, n_problems, n_n_pairs, n_k), float64
        The second axis is ``_alternating.ROWS``.

    Raises
    ------
    ValueError
        If a name is not in :data:`PROBLEMS`.
    """
    for name in names:
        if name not in PROBLEMS:
            raise ValueError(f"names must be of {', '.join(PROBLEMS)}, got {name}")
    ks = np.asarray(ks)
    out = np.empty((len(draws), len(ROWS), len(names), len(n_pairs), len(ks)))
    out[:, len(METRICS) :] = np.array([1.0, 0.0])[:, None, None, None]  # closed forms
    if out.size == 0:
        return out
    size = batch_size(draws[0], int(ks[-1]), names, memory)
    for start in range(0, len(draws), size):
        some = slice(start, start + size)
        batch = Batch.of(draws[some], ks, options, xp, engine, memory // 2)
        for j, pairs in enumerate(n_pairs):
            for i, name in enumerate(names):
                if name == "unsupervised" and j:
                    out[some, :, i, j] = out[some, :, i, 0]
                else:
                    rows = PROBLEMS[name](batch, int(pairs))
                    out[some, : rows.shape[1], i, j] = rows
    return out
