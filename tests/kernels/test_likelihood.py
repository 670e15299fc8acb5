"""Sums for the variances of isotropic mixtures: CPU kernel against the formula."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import likelihood as naive

from fastgen._dispatch import likelihood as dispatch
from fastgen.kernels.cpu import likelihood


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (31, 5), (7, 33)])
@pytest.mark.parametrize("level", [-np.inf, -3.0])
def test_variance_sums(dtype, n, m, level):
    rng = np.random.default_rng(n)
    distances = rng.uniform(0, 9, (n, m)).astype(dtype)
    distances[0, 0] = 0
    variances, base = rng.uniform(0.1, 2, m), np.full(n, level)
    logs, shares, sums = np.empty(n), np.ones(m), np.zeros(m)
    likelihood.variance_sums(distances, variances, 4, base, logs, shares, sums)
    wanted = naive.variance_sums(distances.astype(float), variances, 4, base)
    np.testing.assert_allclose(logs, wanted[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(shares - 1, wanted[1], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(sums, wanted[2], rtol=1e-10, atol=1e-14)


def test_densities_that_exponentials_cannot_hold():
    distances = np.array([[0.0, 4000.0], [4000.0, 0.0]])
    logs, shares, sums = np.empty(2), np.zeros(2), np.zeros(2)
    base = np.full(2, -np.inf)
    likelihood.variance_sums(distances, np.full(2, 1e-6), 100, base, logs, shares, sums)
    np.testing.assert_allclose(logs, 50 * np.log(1e6) - np.log(2))
    np.testing.assert_allclose(shares, 1)
    np.testing.assert_array_equal(sums, 0)


def test_distances_and_densities_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    x, centers = rng.standard_normal((9, 3)), rng.standard_normal((4, 3))
    centers[1] = x[5]
    monkeypatch.setattr(dispatch, "_ROWS", 2)
    found = dispatch.squared_distances(x, centers)
    np.testing.assert_allclose(found, ((x[:, None] - centers) ** 2).sum(-1), atol=1e-6)
    assert found.min() >= 0
    variances = rng.uniform(0.5, 2, 4)
    densities = dispatch.log_densities(x, centers, variances)
    np.testing.assert_allclose(densities, -3 * naive.mixture_nll(x, centers, variances), rtol=1e-6)
