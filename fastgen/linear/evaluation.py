"""The metrics of a sweep for one's own generator."""

from __future__ import annotations

from typing import Any

from .. import _validate
from .host import given
from .models import GaussianData

__all__ = ["evaluate"]


def evaluate(G: Any, covariance: Any, X: Any = None, Z: Any = None) -> dict[str, float]:
    """Return the metrics of `fastgen.linear.sweep` for a generator ``G(z) = G z``.

    Parameters
    ----------
    G : array (d, k)
        The generator.
    covariance : array (d, d), or object that holds one
        The true covariance, or whatever `GaussianData` takes.
    X : array (d, n_pairs), optional
        Centered data of the pairs, one sample a column.
    Z : array (k, n_pairs), optional
        Their latents, one sample a column.

    Returns
    -------
    dict of str to float
        In squared units of the data but for the gain,

        - ``w2``: squared 2-Wasserstein distance between N(0, G G^T) and N(0, covariance);
        - ``projection_error``: variance of the truth outside the range of G;
        - ``train_error``: ``||X - G Z||^2 / n_pairs``, if X and Z are given;
        - ``gain``: ``||G||^2`` over the trace of the covariance.

    Raises
    ------
    TypeError, ValueError
        For an array that is not numeric, not finite or of another shape, a matrix that is no
        covariance, or only one of X and Z.

    See Also
    --------
    fastgen.linear.sweep : takes functions ``(X, Z) -> G`` as problems.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.linear import evaluate
    >>> found = evaluate(np.eye(3, 1), np.diag([4.0, 1.0, 0.0]))
    >>> {name: round(value, 3) for name, value in found.items()}
    {'w2': 2.0, 'projection_error': 1.0, 'gain': 0.2}
    """
    g = _validate.data_matrix(G, "G", minimum_rows=1)
    truth = covariance if isinstance(covariance, GaussianData) else GaussianData(covariance)
    factor = truth.covariance_factor_
    d, k = g.shape
    if factor.shape[1] != d:
        raise ValueError(
            f"covariance must have shape ({d}, {d}), as G has {d} rows, got "
            f"{truth.covariance_.shape}"
        )
    if len(factor) == 0:
        raise ValueError("covariance must have a positive trace, got zeros")
    if (X is None) != (Z is None):
        raise ValueError(
            f"X and Z must be given together, got only {'Z' if X is None else 'X'}: the training "
            "error is that of pairs"
        )
    w2, outside, gain = given.measure(factor, g)
    found = {"w2": w2, "projection_error": outside}
    if X is not None:
        x = _validate.data_matrix(X, "X", minimum_rows=1)
        z = _validate.data_matrix(Z, "Z", minimum_rows=1)
        if x.shape[0] != d or z.shape != (k, x.shape[1]):
            raise ValueError(
                f"X and Z must have shapes ({d}, n_pairs) and ({k}, n_pairs), a sample a column, "
                f"for G of shape ({d}, {k}); got {x.shape} and {z.shape}"
            )
        found["train_error"] = given.pair_error(g, x, z)
    found["gain"] = gain
    return found
