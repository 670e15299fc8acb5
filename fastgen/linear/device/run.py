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

from ..options import CLOSED_FORM, METRICS, ROWS, Options
from ..problems import Problem
from .batch import Batch, batch_size


def run_trials(
    draws: Sequence[tuple],
    ks: np.ndarray,
    n_pairs: Sequence[int],
    problems: Sequence[Problem],
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
    problems : sequence of Problem
        Each with a solver on the device.
    options : Options
        Its ``dtype`` is that of the cells whose singular values are summed; all that leads to them
        is computed in float64.
    xp : module
        What ``_arrays.require_device`` returns.
    engine : object
        ``fastgen.kernels.cuda``.
    memory : int, default 2**30
        About how many bytes of device memory a batch of trials and its cells may take. At least one
        trial and one latent dimension are held, whatever they need.

    Returns
    -------
    array (n_trials, 6, n_problems, n_n_pairs, n_k), float64
        The second axis is ``options.ROWS``.

    Raises
    ------
    ValueError
        If a problem has no solver on the device.
    """
    solvers = []
    for problem in problems:
        if problem.device is None:
            raise ValueError(
                f"problems must have a solver on the device, {problem.name!r} has none"
            )
        solvers.append(problem.device)
    ks = np.asarray(ks)
    out = np.empty((len(draws), len(ROWS), len(problems), len(n_pairs), len(ks)))
    out[:, len(METRICS) :] = np.array(CLOSED_FORM)[:, None, None, None]
    if out.size == 0:
        return out
    size = batch_size(
        draws[0],
        int(ks[-1]),
        memory,
        iterative=any(problem.iterative for problem in problems),
        wide=any(problem.wide for problem in problems),
    )
    for start in range(0, len(draws), size):
        some = slice(start, start + size)
        batch = Batch.of(draws[some], ks, options, xp, engine, memory // 2)
        for j, pairs in enumerate(n_pairs):
            for i, problem in enumerate(problems):
                if j and not problem.paired:
                    out[some, :, i, j] = out[some, :, i, 0]
                else:
                    rows = solvers[i](batch, int(pairs))
                    out[some, : rows.shape[1], i, j] = rows
    return out
