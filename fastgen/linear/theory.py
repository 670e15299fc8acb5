"""What is known exactly, or in the limit, of linear generators: the formulas of `fastgen.gains`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..gains import (
    asymptotic_gain,
    condition_number,
    expected_gain,
    gain_variance,
    law_curve,
    ridge_gain,
    spectrum_edges,
    training_steps,
)
from .problems import PROBLEMS

__all__ = [
    "asymptotic_gain",
    "condition_number",
    "expected_gain",
    "gain_curve",
    "gain_variance",
    "ridge_gain",
    "spectrum_edges",
    "training_steps",
]


def gain_curve(
    problem: str, n: int, latent_dims: ArrayLike, *, ridge: float = 0.1
) -> tuple[np.ndarray, bool]:
    """Return what is known of the mean gain of a problem of `fastgen.linear.sweep`.

    Parameters
    ----------
    problem : str
        A name from `fastgen.linear.sweep`.
    n : int
        Number of pairs.
    latent_dims : array of int, shape (n_dims,)
    ridge : float, default 0.1
        As in the sweep, for "ridge".

    Returns
    -------
    gain : ndarray, shape (n_dims,)
        NaN where nothing is known. "constrained" and "lexicographic" are "pseudo_supervised" up to
        ``latent_dims = n``; the gains of the others depend on the data.
    exact : bool
        Whether it is the exact mean (`expected_gain`) or its limit (`ridge_gain`).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> from fastgen.linear.theory import gain_curve
    >>> gain_curve("constrained", 10, [5, 10, 30])
    (array([1.25,  inf,  nan]), True)
    """
    found = PROBLEMS.get(problem)
    return law_curve(None if found is None else found.theory, n, latent_dims, ridge)
