"""Nuclear norms of cross-products of factors: the overlap term of Gaussian Wasserstein distances.

For covariances ``A = L L^T`` and ``B = M M^T`` the term ``tr (A^{1/2} B A^{1/2})^{1/2}`` is the
nuclear norm of ``L^T M``, for any factors. Cross-products are formed eight at a time, straight into
the lanes of ``nuclear.nuclear_norms``: there is never an array over all pairs.
"""

from __future__ import annotations

import numpy as np

from .nuclear import nuclear_norms
from .simd import LANES


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
    sizes = (starts[1:] - starts[:-1])[pairs]
    tall, flat = sizes.max(axis=1), sizes.min(axis=1)
    order = np.where((sizes[:, 0] >= sizes[:, 1])[:, None], pairs, pairs[:, ::-1])
    for first in range(0, len(pairs), LANES):
        group = slice(first, min(first + LANES, len(pairs)))
        height, width = tall[group].max(), flat[group].max()
        stack = np.zeros((1, height, width, LANES), rows.dtype)
        _cross_products(rows, starts, order[group], stack)
        value = np.empty((1, LANES), rows.dtype)
        nuclear_norms(stack, gamma, omega, value)
        out[group] = value[0, : group.stop - first]


def _cross_products(rows, starts, pairs, stack):
    """Write ``rows[a] @ rows[b].T`` of up to eight pairs to the lanes of ``stack``."""
    for v, (a, b) in enumerate(pairs.tolist()):
        block = np.dot(rows[starts[a] : starts[a + 1]], rows[starts[b] : starts[b + 1]].T)
        stack[0, : block.shape[0], : block.shape[1], v] = block
