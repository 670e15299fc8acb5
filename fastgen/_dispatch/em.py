"""Chooses the kernels of ``fastgen.mixture`` and shares their rows out among threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .threads import single_blas_thread, thread_pools

# Rows handed to a thread at a time.
_SHARE = 4096
# Numbers of a tile of rows: it stays in the second-level cache together with its whitened twin.
_TILE_NUMBERS = 1 << 17
# The same where triangular factors are applied, whose strips are read again for every tile.
_FULL_TILE_NUMBERS = 1 << 14
# Rows whose outer products are summed at a time.
_BLOCK = 512

Run = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]


@contextlib.contextmanager
def workers() -> Iterator[Run]:
    """As many threads as BLAS has now, with BLAS held at one: yields an ordered ``map``.

    The work is cut without regard to the number of threads, so that it does not change a result.
    """
    pools = thread_pools().select(user_api="blas").info()
    threads = max((pool["num_threads"] for pool in pools), default=1)
    with single_blas_thread():
        if threads == 1:
            yield lambda work, tasks: [work(task) for task in tasks]
        else:
            with ThreadPoolExecutor(threads) as pool:
                yield lambda work, tasks: list(pool.map(work, tasks))


def _spans(n_rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n_rows, _SHARE):
        yield start, min(start + _SHARE, n_rows)


def _tile(n_features: int) -> int:
    return max(256, min(1024, _TILE_NUMBERS // n_features))


def _full_tile(n_features: int) -> int:
    return max(128, min(1024, _FULL_TILE_NUMBERS // n_features))


def full_densities(rows, means, factors, constants, likely, cutoff, run: Run) -> np.ndarray:
    """Weighted log densities (K, N) of full covariances, from ``factors``: their inverse roots.

    Parameters
    ----------
    rows : array (N, d), C-contiguous
    means : array (K, d)
    factors : array (K, d, d)
        Inverses of the Cholesky factors.
    constants : array (K,)
        Log density at the mean plus log weight.
    likely : int64 array (N,)
        The component to evaluate first.
    cutoff : float
        A component so far below the best may be left at minus infinity.
    run : callable
        From `workers`.
    """
    from ..kernels.cpu import em

    n_components, d = means.shape
    numbers = sum((min(s + em.STRIP, d) - s) * min(s + em.STRIP, d) for s in range(0, d, em.STRIP))
    packed = np.empty((n_components, numbers), rows.dtype)
    em.pack(factors, packed)
    means = np.ascontiguousarray(means, rows.dtype)
    if d > em.STRIP:
        order = np.argsort(likely, kind="stable")
    else:  # no component is left out after its only strip
        likely, order = np.zeros_like(likely), np.arange(len(rows))
    joint = np.full((n_components, len(rows)), -np.inf)

    def work(span):
        part = order[span[0] : span[1]]
        args = (rows, part, means, packed, constants, likely, cutoff, _full_tile(d), joint)
        em.full_densities(*args)

    run(work, _spans(len(rows)))
    return joint


def diagonal_densities(rows, means, scales, constants, run: Run) -> np.ndarray:
    """Weighted log densities (K, N) of diagonal covariances, from inverse deviations (K, d)."""
    return _diagonal_densities(rows, means, scales, constants, run, lambda part: part)


def tied_densities(rows, center, means, factor, constants, run: Run) -> np.ndarray:
    """Weighted log densities (K, N) of one covariance, from its inverse root ``factor`` (d, d).

    Rows and means are whitened about ``center`` (d,), rows a few at a time.
    """
    means = (means - center) @ factor.T
    center, factor = center.astype(rows.dtype), factor.astype(rows.dtype)
    scales = np.ones(means.shape)
    return _diagonal_densities(
        rows, means, scales, constants, run, lambda part: (part - center) @ factor.T
    )


def _diagonal_densities(rows, means, scales, constants, run, whiten) -> np.ndarray:
    from ..kernels.cpu import em

    means, scales = (np.ascontiguousarray(a, rows.dtype) for a in (means, scales))
    joint = np.empty((len(means), len(rows)))
    tile = _tile(means.shape[1])

    def work(span):
        part = whiten(rows[slice(*span)])
        em.diagonal_densities(part, span[0], means, scales, constants, tile, joint)

    run(work, _spans(len(rows)))
    return joint


def normalize(joint: np.ndarray, threshold: float, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Responsibilities in place of ``joint``; returns log likelihoods and likely components (N,).

    Those up to ``threshold`` become zero, the others are scaled to the sum one.
    """
    from ..kernels.cpu import em

    log_likelihood = np.empty(joint.shape[1])
    likely = np.empty(joint.shape[1], np.int64)
    run(
        lambda span: em.normalize(joint, *span, threshold, log_likelihood, likely),
        _spans(joint.shape[1]),
    )
    return log_likelihood, likely


def second_moments(rows, share, center) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums (d,) and (d, d) of float64 rows about ``center``, and of outer products."""
    from ..kernels.cpu import blas, em

    chosen = np.flatnonzero(share)
    d = rows.shape[1]
    first, second = np.zeros(d), np.zeros((d, d), order="F")
    store = np.empty((min(_BLOCK, len(chosen)), d))
    for start in range(0, len(chosen), _BLOCK):
        part = chosen[start : start + _BLOCK]
        z = store[: len(part)]
        em.weighted_rows(rows, part, share, center, z, first)
        blas.syrk(z.T, second)
    return first, second + np.tril(second, -1).T
