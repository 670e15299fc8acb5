"""Quantile differences of sorted samples: CPU kernel against a common grid."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import sliced as naive

from fastgen.kernels.cpu import sliced


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (31, 31), (32, 33), (12, 8), (7, 21)])
def test_quantile_gaps(dtype, n, m):
    rng = np.random.default_rng(n * m)
    x = np.sort(rng.standard_normal((3, n)).astype(dtype))
    y = np.sort(rng.standard_normal((3, m)).astype(dtype) + 1)
    x[1] = 2.0  # ties
    found = np.empty(3)
    sliced.quantile_gaps(x, y, found)
    np.testing.assert_allclose(found, naive.quantile_gaps(x, y), rtol=1e-12)
    back = np.empty(3)
    sliced.quantile_gaps(y, x, back)
    np.testing.assert_allclose(back, found, rtol=1e-12)


def test_nan_stays_seen():
    x, y = np.array([[0.0, np.nan]]), np.array([[0.0, 1.0]])
    found = np.empty(1)
    sliced.quantile_gaps(x, y, found)
    assert np.isnan(found[0])
