"""Plain NumPy twins of the kernels in ``kernels/cpu/secular.py``: slow and obvious."""

from __future__ import annotations

import numpy as np


def root_increments(eigenvalues, updates):
    """Differences of ``tr sqrt(diag(eigenvalues) + u_1 u_1^T + .. + u_i u_i^T)``, by SVDs.

    The singular values of ``[sqrt(diag), u_1 .. u_i]`` are the square roots of the eigenvalues.
    """
    half = np.diag(np.sqrt(eigenvalues))
    totals = [
        np.linalg.norm(np.hstack([half, updates[:i].T]), "nuc") for i in range(len(updates) + 1)
    ]
    return np.diff(totals)
