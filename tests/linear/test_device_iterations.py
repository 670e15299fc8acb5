"""The iterations of the device's sweep against the CPU's, cell by cell, with NumPy for CuPy."""

from __future__ import annotations

import numpy as np
import pytest
from shim.formulas import Formulas as formulas

from fastgen.kernels.cpu import alternating
from fastgen.linear.device import batch as _batch
from fastgen.linear.device import iterations
from fastgen.linear.options import Options


@pytest.fixture
def batch():
    """Whatever lends the solvers its array library and its kernels."""
    rng = np.random.default_rng(0)
    draws = [tuple(rng.standard_normal(shape) for shape in ((5, 5), (5, 4), (3, 4), (3, 5)))]
    return _batch.Batch.of(draws, np.array([1]), Options(), np, formulas, 2**28)


def cells_of(seed, r, n, sizes, held=0):
    """Random cells whose latents have orthogonal rows, and first generators for them."""
    rng = np.random.default_rng(seed)
    c, q = len(sizes), max(sizes)
    b, start = np.zeros((c, q, n)), np.zeros((c, r, q))
    sigma = np.zeros((c, min(n, q)))
    x = rng.standard_normal((c, r, n))
    for i, size in enumerate(sizes):
        p = min(size, n)
        sigma[i, :p] = np.sort(rng.uniform(0.05, 4, p))[::-1]
        b[i, :p, :p] = np.diag(sigma[i, :p])
        start[i, :, :size] = rng.standard_normal((r, size)) / np.sqrt(size)
        if held:
            start[i, :, :held] = x[i, :, :held] / sigma[i, :held]
    root = np.sort(rng.uniform(0.3, 3, (c, r)))[:, ::-1]
    cells = iterations.Cells(
        root=root[:, :, None],
        x=x,
        b=b,
        held=np.broadcast_to(np.arange(q) < held, (c, 1, q)),
        constant=(root**2).sum(axis=1),
        sizes=np.array(sizes),
    )
    return cells, start, sigma


@pytest.mark.parametrize("sizes", [[1, 2, 4, 5, 3, 5], [7, 6, 12, 9, 7, 8]])
@pytest.mark.parametrize("weight", [0.0, 0.3, 50.0, np.inf])
def test_pairs_are_matched_as_on_the_cpu(batch, sizes, weight):
    r, n = 5, 4
    held = n if np.isinf(weight) else 0
    if held and min(sizes) <= n:
        sizes = [size + n for size in sizes]
    cells, start, sigma = cells_of([3, r, len(sizes)], r, n, sizes, held)
    share = 0.0 if held else weight
    g, history, n_iter, converged = iterations.match_pairs(
        batch, cells, start.copy(), share, 1e-13, 400
    )
    assert converged.all()
    for i, size in enumerate(sizes):
        p = min(size, n)
        steps = history[: n_iter[i] + 1, i]
        assert np.isnan(history[n_iter[i] + 1 :, i]).all()
        scale = cells.constant[i] + (cells.root[i] ** 2).sum()
        assert (np.diff(steps) <= 1e-15 * scale).all()
        expected = np.full(401, np.nan)
        lost = 0.0 if held else weight * (cells.x[i, :, p:] ** 2).sum()
        theirs, _, done = alternating.match_pairs(
            np.ascontiguousarray(cells.x[i, :, :p]),
            sigma[i, :p],
            cells.root[i, :, 0],
            np.ascontiguousarray(start[i, :, :size]),
            weight,
            cells.constant[i] + lost,
            1e-13,
            400,
            expected,
        )
        assert done
        np.testing.assert_allclose(steps[0], expected[0], rtol=1e-12)
        np.testing.assert_allclose(steps[-1], np.nanmin(expected), rtol=1e-12, atol=1e-14 * scale)
        # The columns beyond the pairs are known up to a rotation.
        found = g[i, :, :size]
        np.testing.assert_allclose(found[:, :p], theirs[:, :p], atol=1e-6 * abs(theirs).max())
        atol = 1e-6 * (theirs**2).sum()
        np.testing.assert_allclose(found @ found.T, theirs @ theirs.T, atol=atol)
        np.testing.assert_array_equal(g[i, :, size:], 0)
        np.testing.assert_array_equal(g[i, :, :held], start[i, :, :held])


def test_a_cell_does_not_see_its_company(batch):
    sizes = [7, 9, 6, 8]
    cells, start, _ = cells_of(4, 5, 4, sizes)
    together = iterations.match_pairs(batch, cells, start, 2.0, 1e-9, 100)
    for i in range(4):
        one = cells.take(np, np.array([i]))
        alone = iterations.match_pairs(batch, one, start[i : i + 1], 2.0, 1e-9, 100)
        np.testing.assert_allclose(alone[0][0], together[0][i], atol=1e-7)
        np.testing.assert_allclose(alone[1][:3, 0], together[1][:3, i], rtol=1e-13)


def test_free_latents_as_on_the_cpu(batch):
    rng = np.random.default_rng(5)
    r, n, n_pairs, sizes = 5, 7, 3, [1, 2, 4, 5, 6, 7]
    c, k = len(sizes), max(sizes)
    x, z = rng.standard_normal((c, r, n)), np.zeros((c, k, n))
    for i, size in enumerate(sizes):
        z[i, :size] = rng.standard_normal((size, n))
    g, history, n_iter, converged = iterations.free_latents(
        batch, x, z[:, :, :n_pairs], z[:, :, n_pairs:], np.array(sizes), 1e-9, 300
    )
    for i, size in enumerate(sizes):
        steps = history[: n_iter[i], i]
        assert np.isnan(history[n_iter[i] :, i]).all()
        assert (np.diff(steps) <= 1e-15 * (x[i] ** 2).sum()).all()
        expected = np.empty(300)
        theirs, count, done = alternating.free_latents(
            np.ascontiguousarray(x[i]),
            np.ascontiguousarray(z[i, :size, :n_pairs]),
            np.ascontiguousarray(z[i, :size, n_pairs:]),
            1e-9,
            300,
            expected,
        )
        assert (count, done) == (n_iter[i], converged[i])
        np.testing.assert_allclose(steps, expected[:count], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(g[i, :, :size], theirs, rtol=1e-8, atol=1e-10)
        np.testing.assert_array_equal(g[i, :, size:], 0)


@pytest.mark.parametrize("sizes", [[2, 4, 3, 4, 1], [6, 9, 7, 6, 8]])
def test_polar_factors_where_the_gram_matrix_is_too_coarse(batch, sizes):
    rng = np.random.default_rng(6)
    m = np.zeros((5, 5, max(sizes)))
    for i, size in enumerate(sizes):
        m[i, :, :size] = rng.standard_normal((5, size)) * np.logspace(0, -3 * (i > 1), size)
    m[3] *= np.logspace(0, -9, 5)[:, None]
    m[4] *= 1e-200
    polar, nuclear = iterations.polar_factors(batch, m, np.array(sizes))
    for i, size in enumerate(sizes):
        u, s, vt = np.linalg.svd(m[i, :, :size], full_matrices=False)
        np.testing.assert_allclose(nuclear[i], s.sum(), rtol=1e-11)
        np.testing.assert_array_equal(polar[i, :, size:], 0)
        if i < 4:
            np.testing.assert_allclose(polar[i, :, :size], u @ vt, atol=1e-8)


def test_polar_factors_of_nothing_and_of_nan(batch):
    m = np.random.default_rng(7).standard_normal((3, 4, 2))
    m[0] = 0
    m[1, 0, 0] = np.nan

    class Blind:
        @staticmethod
        def symmetric_eigen(stack):  # NaN for a matrix that holds one, as the kernel
            values, vectors = np.linalg.eigh(np.nan_to_num(stack))
            wrong = np.isnan(stack).any(axis=(1, 2))
            values[wrong], vectors[wrong] = np.nan, np.nan
            return values, vectors

    batch.engine = Blind
    polar, nuclear = iterations.polar_factors(batch, m, np.array([2, 2, 2]))
    assert nuclear[0] == 0
    assert np.isfinite(polar[[0, 2]]).all()
    assert np.isnan(nuclear[1])


@pytest.mark.parametrize("side", [64, 1])
def test_systems_without_full_rank_are_solved_by_the_pseudo_inverse(batch, monkeypatch, side):
    monkeypatch.setattr(_batch, "SIDE", side)
    rng = np.random.default_rng(8)
    a, b = rng.standard_normal((5, 6, 4)), rng.standard_normal((5, 6, 3))
    a[1, :, 3] = a[1, :, 0]
    a[2] = 0
    a[3, 2:] = 7.0  # not in use
    rows, columns = np.array([6, 6, 6, 2, 5]), np.array([4, 4, 3, 4, 2])
    found = iterations.solve_left(batch, a, b, rows, columns)
    for i, (m, n) in enumerate(zip(rows, columns, strict=True)):
        expected = np.linalg.pinv(a[i, :m, :n]) @ b[i, :m]
        np.testing.assert_allclose(found[i, :n], expected, atol=1e-12)
        np.testing.assert_array_equal(found[i, n:], 0)
