"""Chooses how nuclear norms are computed: eight small matrices at once, LAPACK, or a band."""

from __future__ import annotations

import numpy as np

# Above this many columns eight interleaved matrices leave the second-level cache and LAPACK's
# blocked reductions win (asv: NuclearNorms).
LANE_COLUMNS = 160
LANES = 8
# Above this many columns the square roots of eigenvalues are summed from a band (asv: RootTraces).
BAND_COLUMNS = 256
# Subdiagonals of that band, for matrices of so many columns and more.
_WIDTHS = {1500: 64, 800: 48, 0: 32}
# Relative error of a nuclear norm from the Gram matrix beyond which the SVD is taken instead.
GRAM_TOLERANCE = 1e-11
_EPS = np.finfo(np.float64).eps


def nuclear_lanes(stack: np.ndarray) -> np.ndarray:
    """Nuclear norms (groups, 8) of a stack (groups, rows, cols, 8), rows >= cols."""
    from ..kernels.cpu.nuclear import nuclear_norms
    from ..kernels.quadrature import nodes

    out = np.empty((stack.shape[0], LANES), stack.dtype)
    nuclear_norms(stack, *nodes(stack.dtype), out)
    return out.astype(np.float64)


def root_trace(matrix: np.ndarray, noise: float = 0.0) -> tuple[float, float]:
    """Sum of the square roots of the eigenvalues of a symmetric matrix, and a bound of its error.

    Both infinite where an eigenvalue may be rounding: one below ``noise`` or some eps times the
    largest one. ``matrix``, in Fortran order, is overwritten; its lower triangle is read.
    """
    from ..kernels.cpu import band

    width = next(width for least, width in _WIDTHS.items() if len(matrix) >= least)
    return band.root_trace(band.to_band(matrix, width), noise)


def nuclear_from_gram(gram: np.ndarray, tolerance: float = GRAM_TOLERANCE) -> float | None:
    """Trace of the square root of a Gram matrix, or None where squaring cost too many digits."""
    n = len(gram)
    if n > BAND_COLUMNS:
        total, error = root_trace(gram.T.copy(order="F"))
        if total < np.inf:
            return total if error <= tolerance * total else None
        # the root of one lost eigenvalue against the most that all roots can add up to
        variances = gram.diagonal()
        if 4 * _EPS * variances.max() > tolerance**2 * n * variances.sum():
            return None
    from ..kernels.cpu import linear_frame as frame

    roots = np.sqrt(np.clip(frame.symmetric_eigenvalues(gram), 0, None))
    total = float(roots.sum())
    return total if total == 0 or frame.gram_error(roots) <= tolerance * total else None


def nuclear_lapack(matrix: np.ndarray, tolerance: float = GRAM_TOLERANCE) -> float:
    """Nuclear norm of one matrix by its Gram matrix, by its SVD where the Gram is too coarse."""
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    total = nuclear_from_gram(gram, tolerance)
    return float(np.linalg.svd(matrix, compute_uv=False).sum()) if total is None else total


def nuclear_norms(matrices: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Nuclear norms of matrices of any shapes; large ones in float64 whatever ``dtype``."""
    if max(min(m.shape) for m in matrices) > LANE_COLUMNS:
        return np.array([nuclear_lapack(m) for m in matrices])
    out = np.empty(len(matrices))
    for start in range(0, len(matrices), LANES):
        group = [m if m.shape[0] >= m.shape[1] else m.T for m in matrices[start : start + LANES]]
        shape = max(m.shape[0] for m in group), max(m.shape[1] for m in group)
        stack = np.zeros((1, *shape, LANES), dtype)
        for v, m in enumerate(group):
            stack[0, : m.shape[0], : m.shape[1], v] = m
        out[start : start + LANES] = nuclear_lanes(stack)[0, : len(group)]
    return out
