"""Where distances of Gaussians are computed: one module for each array library, chosen by `of`.

The modules ``host`` (NumPy) and ``device`` (CuPy), and ``tensors.Tensors`` (torch), have

- ``read(value, name)``: a real, finite array of the library, or an error that names the argument;
- ``covariances(entries, dim)``: the covariances of `covariances.Entry` objects, checked, each
  factored once;
- ``PairParts(left, right, dtype, n_jobs)`` with ``evaluate(rows, columns)``, ``n_evaluated`` and
  ``clamped``: the covariance parts of squared distances;
- ``squared_gap(means1, means2)`` and ``mean_costs(means1, means2)``: their other parts;
- ``weights(value, name, n_components)``: weights, checked;
- ``transport(w_s, w_t, costs)``: value, plan and dual potentials of the transport problem;
- ``result(array, *values)``: what the user gets, in the dtype of what was given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from . import device, host


def of(*values: Any) -> Any:
    """Return the engine for arrays, lists of arrays and factors.

    Torch is imported only where one of them is a tensor.

    Raises
    ------
    TypeError
        If torch tensors and CuPy arrays are mixed.
    """
    if all(type(value) is np.ndarray for value in values):
        return host
    library = _arrays.library(*values)
    if library == "torch":
        from . import tensors

        return tensors.Tensors(values)
    return device if library == "cupy" else host
