"""The kernels of nonparametric mixtures and the bandwidth rules against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import smoothing as naive

from fastgen._dispatch import smoothing
from fastgen.mixture import _bandwidths, _smoothing

kernels = smoothing.backend("cpu").kernels
NOTHING = np.empty((0, 8))
N_GRID = 60


def problem(n, n_components, seed, *, ties=False, spread=1.0):
    """Points of two blocks of 2 and 1 columns, weights, a grid and one bandwidth for all."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 3)) * [1, 1, spread]
    rows[: n // 3] += 6
    if ties:
        rows = np.round(rows)
    points = _smoothing.sort_points(rows, np.array([0, 0, 1]))
    z = rng.dirichlet(np.ones(n_components), size=n)
    grid = _smoothing.make_grid(points, N_GRID, 0.1, False, 0.0)
    return points, z, grid


def padded(array):
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % 8)])


def widths_of(kind, grid, n_components, rng):
    """Bandwidths (2, K) in grid steps: equal, from the least allowed to wide, or all different."""
    if kind == "mixed":
        return grid.steps[:, None] * rng.uniform(0.5, 9, (2, n_components))
    return np.repeat(grid.steps[:, None] * kind, n_components, axis=1)


SIZES = [(1, 1), (2, 3), (9, 8), (31, 2), (33, 9), (100, 17)]
KINDS = [0.5, 1.7, 20.0, "mixed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "n_components"), SIZES)
@pytest.mark.parametrize("ties", [False, True])
def test_sums_are_the_oracles(n, n_components, kind, ties):
    points, z, grid = problem(n, n_components, seed=n, ties=ties)
    if n == 1:
        grid = grid._replace(steps=np.full(2, 0.3))
    h = widths_of(kind, grid, n_components, np.random.default_rng(n))
    weights = np.full((len(points.values), -(-n_components // 8) * 8), np.nan)
    rows = np.concatenate(points.sorted_rows)
    kernels.block_weights(z, rows, np.concatenate([[0], points.counts.cumsum()]), weights)
    expected = naive.block_weights(z, points.entries, len(points.values))
    np.testing.assert_allclose(weights[:, :n_components], expected, rtol=1e-14)
    assert (weights[:, n_components:] == 0).all()

    place = points.values, points.starts
    on_grid = np.full((2, N_GRID, weights.shape[1]), np.nan)
    kernels.grid_sums(*place, weights, grid.origins, grid.steps, h, NOTHING, on_grid)
    found = on_grid[:, :, :n_components]
    wanted = naive.grid_sums(*place, expected, grid.origins, grid.steps, h, N_GRID)
    seen = wanted > 1e-210  # a kernel sum below exp(-500) may lose terms
    np.testing.assert_allclose(found[seen], wanted[seen], rtol=1e-12)
    assert (found[~seen] <= 1.1e-210).all()

    logs = padded(np.random.default_rng(0).uniform(-500, 5, (2, N_GRID, n_components)))
    at_points = np.full_like(weights, np.nan)
    kernels.smoothed_logs(*place, logs, grid.origins, grid.steps, h, NOTHING, at_points)
    wanted = naive.smoothed_logs(*place, logs[:, :, :n_components], grid.origins, grid.steps, h)
    np.testing.assert_allclose(at_points[:, :n_components], wanted, rtol=1e-13, atol=1e-11)

    kernels.pair_sums(*place, weights, h, at_points)
    wanted = naive.pair_sums(*place, expected, h)
    np.testing.assert_allclose(at_points[:, :n_components], wanted, rtol=1e-13)
    assert (at_points[:, n_components:] == 0).all()


def test_far_tails_keep_their_digits():
    """Densities are followed down to exp(-500): 31 bandwidths from the only point."""
    values, starts = np.array([0.03]), np.array([0, 1])
    origins, steps, h = np.array([0.0]), np.array([0.5]), np.ones((1, 1))
    out = np.empty((1, 70, 8))
    weights = padded(np.ones((1, 1)))
    kernels.grid_sums(values, starts, weights, origins, steps, h, NOTHING, out)
    x = 0.5 * np.arange(64) - 0.03
    np.testing.assert_allclose(np.log(out[0, :64, 0]), -0.5 * x**2, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("spread", [1e-3, 1e6])
def test_points_far_from_each_other(spread):
    """Groups hold few points where they are sparse, and strips reach past underflow."""
    points, z, _ = problem(60, 3, seed=4, spread=spread)
    weights = padded(naive.block_weights(z, points.entries, len(points.values)))
    h = np.full((2, 3), 0.2)
    out = np.empty_like(weights)
    kernels.pair_sums(points.values, points.starts, weights, h, out)
    wanted = naive.pair_sums(points.values, points.starts, weights[:, :3], h)
    np.testing.assert_allclose(out[:, :3], wanted, rtol=1e-13)
    values = np.array([0.0, 0.1, 5.0, 900.0, 1000.0])
    steps, origins = np.array([2.0]), np.array([-100.0])
    found = np.empty((1, 600, 8))
    w, h = padded(np.ones((5, 2))), np.full((1, 2), 1.5)
    kernels.grid_sums(values, np.array([0, 5]), w, origins, steps, h, NOTHING, found)
    wanted = naive.grid_sums(values, [0, 5], w[:, :2], origins, steps, h, 600)
    seen = wanted > 1e-210
    np.testing.assert_allclose(found[:, :, :2][seen], wanted[seen], rtol=1e-12)


@pytest.mark.parametrize("n_components", [2, 9])
def test_cached_kernels_change_no_bit(n_components):
    points, z, grid = problem(80, n_components, seed=5, ties=True)
    h = widths_of(1.7, grid, n_components, None)
    weights = padded(naive.block_weights(z, points.entries, len(points.values)))
    place = points.values, points.starts
    where = grid.origins, grid.steps, h
    cache = np.full((kernels.cache_rows(*place, *where, N_GRID), 8), np.nan)
    kernels.fill_cache(*place, *where, N_GRID, cache)
    assert np.isfinite(cache).all()
    found = np.empty((2, 2, N_GRID, weights.shape[1]))
    logs = np.random.default_rng(1).uniform(-9, 0, found[0].shape)
    at_points = np.empty((2, *weights.shape))
    for turn, kept in enumerate((cache, NOTHING)):
        kernels.grid_sums(*place, weights, *where, kept, found[turn])
        kernels.smoothed_logs(*place, logs, *where, kept, at_points[turn])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(at_points[0], at_points[1], rtol=1e-14)


def test_posteriors_are_the_oracles():
    rng = np.random.default_rng(6)
    logs = padded(rng.uniform(-500, 0, (20, 3)))  # products would underflow
    index = rng.integers(0, 20, (15, 40))
    with np.errstate(divide="ignore"):
        log_weights = np.log([0.5, 0.5, 0.0])
    out, rows = np.empty((15, 3)), np.empty(15)
    kernels.posteriors(logs, index, log_weights, out, rows)
    expected, expected_rows = naive.posteriors(logs[:, :3], index, log_weights)
    np.testing.assert_allclose(out, expected, rtol=1e-11)
    np.testing.assert_allclose(rows, expected_rows, rtol=1e-14)
    assert (out[:, 2] == 0).all()


def test_sorting_collapses_equal_values():
    rows = np.array([[1.0, 2.0, 5.0], [2.0, 1.0, 5.0], [1.0, 3.0, 4.0]])
    points = _smoothing.sort_points(rows, np.array([0, 0, 1]))
    np.testing.assert_array_equal(points.values, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(points.values[points.entries], rows)
    np.testing.assert_array_equal(points.counts, [3, 2, 1, 1, 2])
    np.testing.assert_array_equal(points.sorted_rows[0], [0, 2, 1, 1, 0, 2])
    np.testing.assert_array_equal(points.sizes, [2, 1])


def test_grid_covers_the_data_and_is_widened_for_the_bandwidth():
    points = _smoothing.sort_points(np.array([[0.0, 0.0], [10.0, 1.0]]), np.array([0, 1]))
    shared = _smoothing.make_grid(points, 200, 0.1, True, 0.1)
    np.testing.assert_allclose(shared.positions[:, [0, -1]], [[-1, 11], [-1, 11]])
    own = _smoothing.make_grid(points, 200, 0.1, False, 0.0)
    np.testing.assert_allclose(own.positions[:, [0, -1]], [[-1, 11], [-0.1, 1.1]])
    wide = _smoothing.make_grid(points, 200, 0.1, True, 0.6)
    np.testing.assert_allclose(wide.positions[:, [0, -1]], [[-2.4, 12.4]] * 2)


# --- bandwidths ----------------------------------------------------------------------------------


def entries_of(rows, blocks, block, z):
    columns = np.flatnonzero(blocks == block)
    mass = np.tile(z, (len(columns), 1))
    return rows[:, columns].T.ravel(), mass / mass.sum(axis=0), len(columns)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (np.arange(1.0, 11.0) ** 2, 19.4058621928846),
        ([0.0] * 9 + [1.0], 0.179573608347199),
        ([1.0, 2, 2, 3, 7.5], 0.486792311425318),
    ],
)
def test_normal_reference_is_that_of_r(entries, expected):
    """Values that bw.nrd0 of R 4.2 printed."""
    rows = np.array(entries)[:, None]
    assert _bandwidths.normal_reference(rows) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_rule_is_the_oracles(ties):
    rng = np.random.default_rng(8)
    rows = rng.gamma(2.0, size=(50, 3))
    rows = np.round(rows, 1) if ties else rows
    blocks = np.array([0, 1, 0])
    points = _smoothing.sort_points(rows, blocks)
    z = rng.dirichlet(np.ones(4), size=50)
    weights = naive.block_weights(z, points.entries, len(points.values))
    found = _bandwidths.normal_reference_weighted(points, weights, z)
    for block in range(2):
        entries, shares, size = entries_of(rows, blocks, block, z)
        for j in range(4):
            expected = naive.silverman(entries, shares[:, j], size * z[:, j].sum())
            assert found[block, j] == pytest.approx(expected, rel=1e-12)


def test_cross_validation_finds_the_minimum():
    rng = np.random.default_rng(9)
    rows = np.where(
        rng.random((150, 2)) < 0.5, rng.normal(0, 1, (150, 2)), rng.normal(6, 0.5, (150, 2))
    )
    blocks = np.array([0, 0])
    points = _smoothing.sort_points(rows, blocks)
    z = rng.dirichlet([5, 1], size=150)
    weights = naive.block_weights(z, points.entries, len(points.values))
    found = _bandwidths.cross_validated(points, weights, z)
    entries, shares, size = entries_of(rows, blocks, 0, z)
    folds = np.tile(np.arange(150) * 5 // 150, 2)
    for j in range(2):
        deviation = np.sqrt((shares[:, j] * (entries - shares[:, j] @ entries) ** 2).sum())
        most = 1.144 * deviation * (size * z[:, j].sum()) ** -0.2
        tried = np.geomspace(0.1, 1, 200) * most
        values = [naive.cross_validation(entries, shares[:, j], folds, h) for h in tried]
        reached = naive.cross_validation(entries, shares[:, j], folds, found[0, j])
        assert reached <= min(values) + 1e-5 * np.ptp(values)
