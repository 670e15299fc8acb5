"""Kernels that other tests meet only inside of larger ones, against their oracles."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import bures, frame
from oracles import linear as naive
from oracles import mixture_norm as naive_norm

from fastgen.kernels.cpu import linear_frame, mixture_norm, polar

SIZES = (1, 2, 31, 33)


def close(found, expected, tolerance=1e-10):
    scale = np.abs(expected).max(initial=1e-300)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("n", SIZES)
def test_triangles(n):
    rng = np.random.default_rng(n)
    upper = np.triu(rng.standard_normal((n, n))) + 4 * np.eye(n)
    inverse = np.empty((n, n))
    linear_frame.upper_inverse(upper, inverse)
    close(inverse, frame.upper_inverse(upper))
    rows = rng.standard_normal((7, n))
    expected = naive.add_rows(upper, rows)
    found = upper.copy()
    linear_frame.absorb_rows(found, rows.copy())
    close(found.T @ found, expected.T @ expected)
    close(np.abs(np.diag(found)), np.abs(np.diag(expected)))


@pytest.mark.parametrize(("d", "r"), [(1, 1), (9, 9), (12, 5), (5, 0)])
def test_seen(d, r):
    rng = np.random.default_rng(d)
    basis = np.ascontiguousarray(np.linalg.qr(rng.standard_normal((d, r)))[0])
    factor = rng.standard_normal((d, d))
    truth, energy, rest = linear_frame.seen(basis, factor)
    inside, expected_energy, expected_rest = frame.seen(basis, factor)
    close(truth.T @ truth, inside)
    close(energy, expected_energy)
    assert rest == pytest.approx(expected_rest, abs=1e-10 * np.trace(factor.T @ factor))


@pytest.mark.parametrize("dependent", [None, 0, 3])
def test_nested_range(dependent):
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((11, 6))
    if dependent is not None:
        columns[:, dependent] = columns[:, :dependent] @ np.ones(dependent)
    if dependent == 0:
        columns[:, 0] = 1e-14
    factor = rng.standard_normal((11, 11))
    found, inside, *measured = linear_frame.nested_range(columns, factor, 1e-9)
    expected = frame.nested_range(columns, 1e-9) if dependent != 0 else np.zeros((11, 0))
    assert found.shape == expected.shape
    close(found @ found.T, expected @ expected.T)
    close(found @ inside[:, : found.shape[1]], columns[:, : found.shape[1]])
    for one, other in zip(measured, linear_frame.seen(found, factor), strict=True):
        close(one, other)


@pytest.mark.parametrize(("d", "n"), [(6, 9), (9, 6), (1, 1)])
def test_principal_frame(d, n):
    x = np.random.default_rng(d).standard_normal((d, n))
    deviations, beyond, *_ = linear_frame.principal_frame(x, np.eye(d), 1e-7)
    expected, expected_beyond = frame.principal_frame(x, 1e-7)
    close(deviations, expected)
    close(beyond, expected_beyond)


@pytest.mark.parametrize("n", [1, 2, 6])
def test_symmetric_matrices(n):
    rng = np.random.default_rng(n)
    half = rng.standard_normal((n, n))
    a = half @ half.T + np.eye(n)
    close(linear_frame.symmetric_eigenvalues(a), frame.symmetric_eigenvalues(a), 1e-8)
    b = rng.standard_normal((n, 3))
    solved = b.copy()
    polar.solve_positive(a.copy(), solved)
    close(solved, frame.solve_positive(a, b))
    near = np.diag(rng.uniform(1, 2, n)) + 1e-3 * (half + half.T)
    root = np.empty((n, n))
    assert polar.root_near_diagonal(near, root)
    close(root, bures.root(near))


@pytest.mark.parametrize("shape", [(1, 1), (4, 9), (9, 4)])
def test_polar(shape):
    m = np.random.default_rng(0).standard_normal(shape)
    basis = np.empty((min(shape), min(shape)))
    known = False
    for step in range(3):  # the second call starts from the eigenvectors of the first
        factor, nuclear, known = polar.polar(m + 1e-3 * step, basis, known)
        expected, expected_nuclear = frame.polar(m + 1e-3 * step)
        close(factor, expected)
        assert nuclear == pytest.approx(expected_nuclear, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sums_of_mixture_norm(dtype):
    rng = np.random.default_rng(0)
    batch, channels, positions, group = 3, 5, 37, mixture_norm.GROUP
    x, gradient = rng.standard_normal((2, batch, channels, positions)).astype(dtype)
    nu = rng.dirichlet(np.ones(group), (batch, positions)).transpose(0, 2, 1)
    nu = np.ascontiguousarray(nu, dtype)
    means, scales, offsets, slopes = rng.standard_normal((4, group, channels)).astype(dtype)
    blocks = batch * (-(-positions // mixture_norm.TILE))
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    wide = [a.astype(float) for a in (x, gradient, nu, means, scales, offsets, slopes)]
    bias = rng.standard_normal(channels).astype(dtype)
    out = np.empty_like(x)
    mixture_norm.transform(x, nu, means, scales, bias, out, 0, blocks)
    close(out, naive_norm.transform(wide[0], wide[2], wide[3], wide[4], bias), tolerance)
    sums = np.zeros((2, channels, group))
    mixture_norm.gradient_sums(x, gradient, nu, means, sums, 0, blocks)
    close(sums, naive_norm.gradient_sums(*wide[:4]), tolerance)
    mixture_norm.input_gradient(x, gradient, nu, *(means, scales, offsets, slopes), out, 0, blocks)
    close(out, naive_norm.input_gradient(*wide), tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_em_sums_of_mixture_norm(dtype):
    rng = np.random.default_rng(1)
    batch, channels, positions, group = 2, 3, 41, mixture_norm.GROUP
    x = rng.standard_normal((batch, channels, positions)).astype(dtype)
    means = rng.standard_normal((group, channels)).astype(dtype)
    variances = rng.uniform(0.5, 2, (group, channels)).astype(dtype)
    weights = rng.dirichlet(np.ones(group))
    constants = np.log(weights) - 0.5 * np.log(2 * np.pi * variances).sum(1)
    nu = np.empty((batch, group, positions), dtype)
    counts, sums = np.zeros((2, group)), np.zeros((2, channels, group))
    blocks = batch * (-(-positions // mixture_norm.TILE))
    arguments = (x, means, (0.5 / variances).astype(dtype), constants.astype(dtype), nu)
    mixture_norm.em_sums(*arguments, counts, sums, 0, blocks)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    rows = np.moveaxis(x, 1, -1).reshape(-1, channels).astype(float)
    shares = naive_norm.shares(rows, weights, means, variances)
    shares = shares.reshape(batch, positions, group).transpose(0, 2, 1)
    close(nu, shares, tolerance)
    expected = naive_norm.em_sums(x.astype(float), shares, means.astype(float))
    close(counts, expected[0], tolerance)
    close(sums, expected[1], tolerance)
