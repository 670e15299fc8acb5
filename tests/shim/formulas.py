"""The launchers of `fastgen.kernels.cuda` as formulas read."""

from __future__ import annotations

import numpy as np


class Formulas:
    """An engine for sizes where the shim would be slow."""

    @staticmethod
    def nuclear_norms(stack):
        return np.linalg.svd(stack, compute_uv=False).sum(axis=-1)

    @staticmethod
    def symmetric_eigenvalues(stack):
        return np.linalg.eigvalsh(stack)

    @staticmethod
    def symmetric_eigen(stack):
        return np.linalg.eigh(stack)

    @staticmethod
    def leading_path(f, y, inverse, ks, dtype):
        keep = np.arange(f.shape[2]) < np.asarray(ks)[:, None, None]
        cells, images = (a[:, None] * keep @ (inverse[:, None] * keep) for a in (f, y))
        return cells.swapaxes(-1, -2).astype(dtype), (images**2).sum(axis=(-1, -2))

    @staticmethod
    def tall_path(r, rows, counts, f, y, dtype):
        inverses = []
        for count in counts:
            both = np.concatenate([r, rows[:, :count]], axis=1)
            inverses.append(np.linalg.inv(np.linalg.qr(both, mode="r") if count else r))
        inverse = np.stack(inverses, axis=1)
        cells = (f[:, None] @ inverse).swapaxes(-1, -2)
        return cells.astype(dtype), ((y[:, None] @ inverse) ** 2).sum(axis=(-1, -2))

    @staticmethod
    def solve_left(a, b, rows, columns):
        x, share = np.zeros((len(a), a.shape[2], b.shape[2])), np.zeros(len(a))
        for i, (m, n) in enumerate(zip(rows, columns, strict=True)):
            used = a[i, :m, :n]
            size = abs(np.diag(np.linalg.qr(used if m >= n else used.T, mode="r")))
            share[i] = size.min() / max(size.max(), 1e-300)
            x[i, :n] = np.linalg.lstsq(used, b[i, :m], rcond=None)[0]
        return x, share
