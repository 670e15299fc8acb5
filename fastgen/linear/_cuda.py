"""Sweeps on a CUDA device: whole batches of trials, every (trial, k) a cell of one array.

The mathematics is that of ``problems.py``; what differs is the order. There a trial goes through
all latent dimensions; here each step goes through all trials, so that few calls have much to do.
The factorizations are the array library's, the paths and the norms of small cells
(``min(K, n_pairs) <= 64``) the kernels of ``kernels/cuda``.

Everything is written against ``xp``, an array library (CuPy on a device), and ``engine``, anything
with the functions ``nuclear_norms``, ``symmetric_eigenvalues``, ``leading_path`` and ``tall_path``
of ``fastgen.kernels.cuda``. The tests run it on a CPU: NumPy as ``xp``, the CUDA kernels through a
shim as ``engine``. Every kernel has also been compiled. Nothing here has yet been run on a device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .problems import METRICS, RANK_TOLERANCE

# The largest matrices that the kernels take.
SIDE = 64
# Latent dimensions that are worth a call of their own: their cells are cut to the largest of them.
_FEWEST = 8
_CELLS = 2048
# Relative error of a nuclear norm from the Gram matrix beyond which the SVD is taken instead.
_GRAM_TOLERANCE = {np.dtype(np.float64): 1e-11, np.dtype(np.float32): 1e-6}


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
    draws: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    ks: np.ndarray,
    n_pairs: Sequence[int],
    names: Sequence[str],
    dtype: np.dtype,
    *,
    xp: ModuleType,
    engine: Any,
    memory: int = 2**30,
) -> np.ndarray:
    """Metrics of a list of trials, in batches on the device of ``xp``.

    Not yet run on a device.

    Parameters
    ----------
    draws : sequence of tuples of arrays (q, d), (d, n) and (K, n)
        For every trial a factor of the truth, the data and the pseudo-latents, K at least
        ``ks[-1]``; q may differ from trial to trial.
    ks : array of int (n_k,)
        Latent dimensions, ascending.
    n_pairs : sequence of int
        Numbers of pairs, each 1 to n.
    names : sequence of str
        Of :data:`PROBLEMS`.
    dtype : numpy.dtype
        float64 or float32, of the cells whose singular values are summed. All that leads to them
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
    array (n_trials, 4, n_problems, n_n_pairs, n_k), float64
        The second axis is ``problems.METRICS``.

    Raises
    ------
    ValueError
        If a name is not in :data:`PROBLEMS`.
    """
    for name in names:
        if name not in PROBLEMS:
            raise ValueError(
                f'device="cuda" solves {", ".join(PROBLEMS)}, got {name}; use device="cpu"'
            )
    ks = np.asarray(ks)
    out = np.empty((len(draws), len(METRICS), len(names), len(n_pairs), len(ks)))
    if out.size == 0:
        return out
    size = _batch_size(draws[0], int(ks[-1]), memory)
    for start in range(0, len(draws), size):
        some = slice(start, start + size)
        batch = _batch(draws[some], ks, np.dtype(dtype), xp, engine, memory // 2)
        for i, name in enumerate(names):
            for j, pairs in enumerate(n_pairs):
                if name == "unsupervised" and j:
                    out[some, :, i, j] = out[some, :, i, 0]
                else:
                    out[some, :, i, j] = PROBLEMS[name](batch, int(pairs))
    return out


def _batch_size(draw, largest: int, memory: int) -> int:
    """Trials whose factorizations take half of the memory and one cell of each the other half."""
    (q, d), n = draw[0].shape, draw[1].shape[1]
    p = min(largest, n)
    numbers = 4 * d * n + 3 * largest * n + 3 * q * d + 8 * p * p
    return max(1, min(memory // (2 * 8 * numbers), memory // (2 * 8 * _Batch.COPIES * p * p)))


@dataclasses.dataclass
class _Batch:
    """Trials on the device: factor (t, q, d), x (t, d, n), z (t, K, n), trace (t, 1)."""

    factor: Any
    x: Any
    z: Any
    trace: Any
    ks: np.ndarray
    dtype: np.dtype
    xp: ModuleType
    engine: Any
    cell_memory: int

    COPIES = 3  # arrays of the size of the cells that exist at one time

    def chunks(self, wanted: np.ndarray, numbers: int, most: int | None = None) -> Iterator:
        """Cut ``wanted`` so that cells of ``numbers`` elements fit the memory."""
        fit = self.cell_memory // (8 * self.COPIES * numbers * len(self.x))
        size = max(1, fit if most is None else min(fit, most))
        for start in range(0, len(wanted), size):
            yield wanted[start : start + size]


def _batch(draws, ks, dtype, xp, engine, cell_memory) -> _Batch:
    factor = np.zeros((len(draws), max(len(f) for f, _, _ in draws), draws[0][0].shape[1]))
    for i, (rows, _, _) in enumerate(draws):
        factor[i, : len(rows)] = rows
    factor = xp.asarray(factor)
    x = xp.asarray(np.stack([x for _, x, _ in draws], dtype=np.float64))
    z = xp.asarray(np.stack([z[: ks[-1]] for _, _, z in draws], dtype=np.float64))
    trace = (factor**2).sum(axis=(1, 2))[:, None]
    return _Batch(factor, x, z, trace, ks, dtype, xp, engine, cell_memory)


def _swap(a):
    return a.swapaxes(-1, -2)


def _to_numpy(xp: ModuleType, a) -> np.ndarray:
    return xp.asnumpy(a) if hasattr(xp, "asnumpy") else np.asarray(a)


def _pick(xp: ModuleType, a, index: np.ndarray):
    return xp.take(a, xp.asarray(index), axis=-1)


def _tail_sums(xp: ModuleType, a):
    """Return the sums of ``a[:, i:]`` for i = 0 .. a.shape[1]."""
    tail = xp.flip(xp.cumsum(xp.flip(a, axis=-1), axis=-1), axis=-1)
    return xp.concatenate([tail, xp.zeros((len(a), 1))], axis=-1)


def _seen(batch: _Batch, basis):
    """Measure the truths on bases (t, d, r): triangular factors, energies, variances outside.

    Columns of zeros in a basis change nothing: that is how a batch holds several ranks.
    """
    image = batch.factor @ basis
    outside = batch.factor - image @ _swap(basis)
    truth = batch.xp.linalg.qr(image, mode="r")
    return truth, (image**2).sum(axis=1), (outside**2).sum(axis=(1, 2))[:, None]


def _projection_error(batch: _Batch, energy, rest):
    tail = _tail_sums(batch.xp, energy)
    return rest + _pick(batch.xp, tail, np.minimum(batch.ks, energy.shape[1]))


def _metrics(batch: _Batch, nuclear, squares, projection_error, train_error) -> np.ndarray:
    """(t, 4, n_k) on the host, in the order of ``METRICS``."""
    w2 = batch.trace + squares - 2 * nuclear
    rows = [w2, projection_error, train_error, squares / batch.trace]
    return _to_numpy(batch.xp, batch.xp.stack(rows, axis=1))


def unsupervised(batch: _Batch, n_pairs: int) -> np.ndarray:
    """P0 of every trial: PCA of all samples (``n_pairs`` plays no part)."""
    del n_pairs
    xp, ks = batch.xp, batch.ks
    u, s, _ = xp.linalg.svd(batch.x / np.sqrt(batch.x.shape[2]), full_matrices=False)
    keep = s > RANK_TOLERANCE * s[:, :1]
    kept = s * keep
    truth, energy, rest = _seen(batch, u * keep[:, None, :])
    capped = np.minimum(ks, s.shape[1])
    distinct, where = np.unique(capped, return_inverse=True)
    nuclear = _pick(xp, _masked_norms(batch, truth * kept[:, None, :], distinct), where)
    none = xp.zeros((len(s), 1))
    variance = xp.concatenate([none, xp.cumsum(kept**2, axis=-1)], axis=-1)
    return _metrics(
        batch,
        nuclear,
        _pick(xp, variance, capped),
        _projection_error(batch, energy, rest),
        _pick(xp, _tail_sums(xp, s**2), capped),
    )


def pseudo_supervised(batch: _Batch, n_pairs: int) -> np.ndarray:
    """P1 of every trial: the minimum-norm least-squares generator of the first pairs."""
    xp, ks = batch.xp, batch.ks
    x, z = batch.x[:, :, :n_pairs], batch.z[:, :, :n_pairs]
    p = min(z.shape[1:])
    q, upper = xp.linalg.qr(_swap(z[:, :p]))
    y = x @ q
    residual = _tail_sums(xp, (y**2).sum(axis=1))
    if p < n_pairs:
        residual = residual + ((x - y @ _swap(q)) ** 2).sum(axis=(1, 2))[:, None]
    basis, coordinates = _nested_range(batch, y)
    truth, energy, rest = _seen(batch, basis)
    target = truth @ coordinates
    inverse = _transposed_inverse(batch, upper)
    nuclear, squares = _leading(batch, target, coordinates, inverse, ks[ks <= p])
    if ks[-1] > p:
        square = xp.linalg.qr(_swap(upper), mode="r")
        more = _tall(batch, square, z[:, p:] @ q, ks[ks > p] - p, target, coordinates)
        nuclear = xp.concatenate([nuclear, more[0]], axis=-1)
        squares = xp.concatenate([squares, more[1]], axis=-1)
    return _metrics(
        batch,
        nuclear,
        squares,
        _projection_error(batch, energy, rest),
        _pick(xp, residual, np.minimum(ks, p)) / n_pairs,
    )


PROBLEMS = {"unsupervised": unsupervised, "pseudo_supervised": pseudo_supervised}


def _nested_range(batch: _Batch, columns):
    """Orthonormalise columns (t, d, p) in their order; what depends on earlier ones becomes zero.

    Returns the bases (t, d, r) and the columns in them (t, r, p), r the smaller of d and p.
    """
    xp = batch.xp
    q, upper = xp.linalg.qr(columns)
    size = abs(xp.diagonal(upper, axis1=-2, axis2=-1))
    small = ~(size > RANK_TOLERANCE * size.max(axis=-1, keepdims=True))
    keep = xp.cumsum(small.astype(np.int64), axis=-1) == 0
    return q * keep[:, None, :], upper * keep[:, :, None]


def _transposed_inverse(batch: _Batch, upper):
    """Transposed inverses of upper triangular matrices (t, n, n): by halves, then by the kernel."""
    xp = batch.xp
    t, n, _ = upper.shape
    if n <= SIDE:
        identity = xp.broadcast_to(xp.eye(n), upper.shape)
        nothing = xp.zeros((t, 0, n))
        cells, _ = batch.engine.tall_path(upper, nothing, [0], identity, nothing, np.float64)
        return cells[:, 0]
    half = n // 2
    first = _transposed_inverse(batch, upper[:, :half, :half])
    last = _transposed_inverse(batch, upper[:, half:, half:])
    below = -(last @ (_swap(upper[:, :half, half:]) @ first))
    above = xp.zeros((t, half, n - half))
    lines = [xp.concatenate([first, above], axis=2), xp.concatenate([below, last], axis=2)]
    return xp.concatenate(lines, axis=1)


def _masked_norms(batch: _Batch, f, ks: np.ndarray):
    """Nuclear norms of ``f[:, :, :k]``, f (t, r, p) upper trapezoidal."""
    xp, found = batch.xp, []
    for some in batch.chunks(ks, f.shape[1] * f.shape[2], max(_FEWEST, _CELLS // len(f))):
        k = int(some[-1])
        mask = xp.asarray(np.arange(k) < some[:, None])
        cells = f[:, None, :k, :k] * mask[None, :, None, :]
        found.append(_nuclear_norms(batch, cells.astype(batch.dtype)))
    return xp.concatenate(found, axis=-1)


def _leading(batch: _Batch, f, y, inverse, ks: np.ndarray):
    """Nuclear norms of ``f[:, :k] inverse[:k, :k]`` and squared norms of the same with y."""
    xp = batch.xp
    nuclear, squares = [xp.zeros((len(f), 0))], [xp.zeros((len(f), 0))]
    numbers = f.shape[1] * f.shape[2]
    state = xp.zeros(f.shape), xp.zeros(y.shape), 0
    for some in batch.chunks(ks, numbers, max(_FEWEST, _CELLS // len(f))):
        k = int(some[-1])
        if f.shape[2] <= SIDE:
            small = f[:, :k, :k], y[:, :k, :k], inverse[:, :k, :k]
            cells, more = batch.engine.leading_path(*small, some, batch.dtype)
        else:
            cells, more, state = _leading_products(batch, f, y, inverse, some, state)
        nuclear.append(_nuclear_norms(batch, cells))
        squares.append(more)
    return xp.concatenate(nuclear, axis=-1), xp.concatenate(squares, axis=-1)


def _leading_products(batch: _Batch, f, y, inverse, ks: np.ndarray, state):
    """Cells of some k by matrix products, each the one before plus the columns between the two."""
    xp = batch.xp
    product_f, product_y, done = state
    k_last = int(ks[-1])
    cells = xp.zeros((len(f), len(ks), *product_f[0, :k_last, :k_last].shape), batch.dtype)
    squares = []
    for v, k in enumerate(int(k) for k in ks):
        product_f[:, :, :k] += f[:, :, done:k] @ inverse[:, done:k, :k]
        product_y[:, :, :k] += y[:, :, done:k] @ inverse[:, done:k, :k]
        cells[:, v] = product_f[:, :k_last, :k_last]
        squares.append((product_y**2).sum(axis=(1, 2)))
        done = k
    return cells, xp.stack(squares, axis=-1), (product_f, product_y, done)


def _tall(batch: _Batch, r, rows, counts: np.ndarray, f, y):
    """Nuclear norms of ``f inv(R)`` and squared norms of ``y inv(R)`` as rows join R's factor."""
    xp, nuclear, squares = batch.xp, [], []
    done = 0
    for some in batch.chunks(counts, f.shape[1] * f.shape[2]):
        last = int(some[-1])
        block = rows[:, done:last]
        if f.shape[2] <= SIDE:
            cells, more = batch.engine.tall_path(r, block, some - done, f, y, batch.dtype)
            if last < counts[-1]:
                r = xp.linalg.qr(xp.concatenate([r, block], axis=1), mode="r")
        else:
            cells, more, r = _tall_quotients(batch, r, block, some - done, f, y)
        nuclear.append(_nuclear_norms(batch, cells))
        squares.append(more)
        done = last
    return xp.concatenate(nuclear, axis=-1), xp.concatenate(squares, axis=-1)


def _tall_quotients(batch: _Batch, r, rows, counts: np.ndarray, f, y):
    """Cells of some counts, one QR factorization and one inverse each; also the last factor."""
    xp = batch.xp
    cells = xp.zeros((len(f), len(counts), *f.shape[1:]), batch.dtype)
    squares, done = [], 0
    for v, count in enumerate(int(count) for count in counts):
        r = xp.linalg.qr(xp.concatenate([r, rows[:, done:count]], axis=1), mode="r")
        inverse = _swap(_transposed_inverse(batch, r))
        cells[:, v] = f @ inverse
        squares.append(((y @ inverse) ** 2).sum(axis=(1, 2)))
        done = count
    return cells, xp.stack(squares, axis=-1), r


def _nuclear_norms(batch: _Batch, cells):
    """Nuclear norms (t, m) of cells (t, m, rows, cols), in float64."""
    stack = cells.reshape(-1, *cells.shape[2:])
    if max(stack.shape[1:]) <= SIDE:
        norms = batch.engine.nuclear_norms(stack)
    else:
        norms = _large_nuclear_norms(batch, stack)
    return norms.astype(np.float64).reshape(cells.shape[:2])


def _large_nuclear_norms(batch: _Batch, stack):
    """By the eigenvalues of the smaller Gram matrices, by an SVD where those are too coarse.

    The Gram matrices are float64 whatever the cells: squared float32 would never be fine enough.
    An eigenvalue is wrong by about eps times the largest, its root by that over twice the root.
    """
    xp = batch.xp
    tolerance = _GRAM_TOLERANCE[np.dtype(stack.dtype)]
    stack = stack.astype(np.float64)
    wide = stack.shape[1] <= stack.shape[2]
    gram = stack @ _swap(stack) if wide else _swap(stack) @ stack
    roots = xp.sqrt(xp.maximum(batch.engine.symmetric_eigenvalues(gram), 0))
    limits = np.finfo(np.float64)
    noise = roots[:, -1:] ** 2 * float(4 * limits.eps)
    least = xp.maximum(xp.sqrt(noise) / 2, float(limits.tiny))
    wrong = (noise / (2 * xp.maximum(roots, least))).sum(axis=-1)
    norms = roots.sum(axis=-1)
    coarse = xp.nonzero(~(wrong <= tolerance * norms))[0]
    if coarse.size:
        norms[coarse] = xp.linalg.svd(stack[coarse], compute_uv=False).sum(axis=-1)
    return norms
