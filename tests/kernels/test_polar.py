"""The polar factor with a warm start, against the SVD."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen.kernels.cpu.polar import polar, root_near_diagonal, solve_positive


def matrix(rows, cols, condition, seed=0):
    rng = np.random.default_rng(seed)
    u, _, vt = np.linalg.svd(rng.standard_normal((rows, cols)), full_matrices=False)
    return np.ascontiguousarray((u * np.geomspace(1, 1 / condition, min(rows, cols))) @ vt)


def check(m, factor, nuclear):
    """Within what the Gram matrix leaves: eps * condition in the norm, its square in the factor."""
    u, s, vt = np.linalg.svd(m, full_matrices=False)
    condition = s[0] / s[-1]
    np.testing.assert_allclose(factor, u @ vt, rtol=0, atol=1e-14 + 1e-15 * condition**2)
    np.testing.assert_allclose(nuclear, s.sum(), rtol=1e-14 + 1e-15 * condition)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 5), (5, 1), (31, 33), (33, 31), (40, 40)])
@pytest.mark.parametrize("step", [1e-6, 1e-3, 1e-1, 1.0])
def test_polar_follows_a_changing_matrix(rows, cols, step):
    rng = np.random.default_rng(1)
    m = matrix(rows, cols, 20.0)
    basis = np.empty((min(rows, cols),) * 2)
    known = False
    for _ in range(4):
        factor, nuclear, known = polar(m, basis, known)
        assert known
        check(m, factor, nuclear)
        m = m + step * rng.standard_normal(m.shape) / np.sqrt(m.size)


def test_polar_keeps_a_basis_that_serves_and_drops_one_that_does_not():
    m = matrix(20, 30, 10.0)
    basis = np.empty((20, 20))
    _, _, known = polar(m, basis, False)
    first = basis.copy()
    polar(m + 1e-4 * matrix(20, 30, 1.0, seed=2), basis, known)
    np.testing.assert_array_equal(basis, first)
    other = matrix(20, 30, 10.0, seed=3)
    factor, nuclear, _ = polar(other, basis, known)
    assert not np.array_equal(basis, first)
    check(other, factor, nuclear)


@pytest.mark.parametrize("condition", [1e3, 1e5])
def test_polar_of_ill_conditioned_matrices(condition):
    m = matrix(12, 15, condition)
    basis = np.empty((12, 12))
    known = False
    for _ in range(2):
        factor, nuclear, known = polar(m, basis, known)
        check(m, factor, nuclear)


def test_polar_of_singular_matrices_takes_the_svd():
    m = matrix(12, 15, 1e7)
    basis = np.empty((12, 12))
    factor, nuclear, known = polar(m, basis, False)
    assert not known
    check(m, factor, nuclear)
    u, _, vt = np.linalg.svd(m, full_matrices=False)
    np.testing.assert_allclose(factor, u @ vt, atol=1e-8)
    factor, nuclear, known = polar(np.zeros((4, 6)), np.empty((4, 4)), False)
    assert not known
    assert nuclear == 0
    np.testing.assert_allclose(factor @ factor.T, np.eye(4), atol=1e-14)


@pytest.mark.parametrize("size", [1, 2, 31, 40])
def test_root_near_diagonal(size):
    rng = np.random.default_rng(size)
    noise = rng.standard_normal((size, size))
    true = np.diag(rng.uniform(1, 10, size)) + 0.01 * (noise + noise.T)
    root = np.empty((size, size))
    assert root_near_diagonal(true @ true, root)
    np.testing.assert_allclose(root, true, rtol=0, atol=1e-13)


def test_root_near_diagonal_refuses():
    root = np.empty((3, 3))
    assert not root_near_diagonal(np.diag([1.0, 1.0, 1e-12]), root)
    assert not root_near_diagonal(np.full((3, 3), np.nan), root)
    assert not root_near_diagonal(np.ones((3, 3)) + 0.1 * np.eye(3), root)


@pytest.mark.parametrize(("size", "columns"), [(1, 1), (3, 7), (31, 2), (33, 40)])
def test_solve_positive(size, columns):
    rng = np.random.default_rng(0)
    half = rng.standard_normal((size, size))
    a, b = half @ half.T + np.eye(size), rng.standard_normal((size, columns))
    found = b.copy()
    solve_positive(a.copy(), found)
    np.testing.assert_allclose(a @ found, b, rtol=0, atol=1e-11)
