"""Nuclear norms of cross-products of factors: the overlap term of Gaussian Wasserstein distances.

For covariances ``A = L L^T`` and ``B = M M^T`` the term ``tr (A^{1/2} B A^{1/2})^{1/2}`` is the
nuclear norm of ``L^T M``, for any factors. Cross-products are formed eight at a time, straight into
the lanes of ``nuclear.nuclear_norms``: there is never an array over all pairs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .nuclear import nuclear_norms
from .simd import LANES


@njit(nogil=True, cache=True, error_model="numpy")
def pair_nuclear_norms(rows, starts, pairs, gamma, omega, out):
    """Nuclear norm of ``rows[a] @ rows[b].T`` for each pair (a, b) of row blocks.

    Parameters
    ----------
    rows : array (n_rows, d), C order
        Transposed factors, one below the other.
    starts : int64 array (n_factors + 1,)
        Factor ``a`` is ``rows[starts[a] : starts[a + 1]]``; none that is paired is empty.
    pairs : int64 array (n_pairs, 2)
        Eight neighbours share a padded shape: sort by size where sizes differ.
    gamma, omega : array (n_nodes,)
        From ``kernels.quadrature.nodes(rows.dtype)``.
    out : array (n_pairs,)
    """
    sizes = starts[1:] - starts[:-1]
    value = np.empty((1, LANES), rows.dtype)
    for first in range(0, len(pairs), LANES):
        count = min(LANES, len(pairs) - first)
        height = 0
        width = 0
        for v in range(count):
            a = sizes[pairs[first + v, 0]]
            b = sizes[pairs[first + v, 1]]
            height = max(height, max(a, b))
            width = max(width, min(a, b))
        stack = np.zeros((1, height, width, LANES), rows.dtype)
        for v in range(count):
            tall, flat = pairs[first + v]
            if sizes[tall] < sizes[flat]:
                tall, flat = flat, tall
            block = np.dot(
                rows[starts[tall] : starts[tall + 1]], rows[starts[flat] : starts[flat + 1]].T
            )
            for i in range(block.shape[0]):
                for j in range(block.shape[1]):
                    stack[0, i, j, v] = block[i, j]
        nuclear_norms(stack, gamma, omega, value)
        for v in range(count):
            out[first + v] = value[0, v]
