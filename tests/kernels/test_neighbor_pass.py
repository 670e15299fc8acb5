"""The pass over two sets: every list, count and ratio is that of a double loop in float64."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import neighbor_pass as naive

from fastgen._dispatch import neighbor_pass as kernels
from fastgen.metrics import _screen, neighbor_pass

door = importlib.import_module("fastgen.metrics.neighbor_pass")


def check(real, generated, k, **options):
    """Compare a pass with the oracle; return it."""
    found = neighbor_pass(real, generated, k, **options)
    pairs = (
        (found.real_real, real, real, k, True),
        (found.generated_generated, generated, generated, k, True),
        (found.generated_real, generated, real, max(k, 2), False),
        (found.real_generated, real, generated, k, False),
    )
    for lists, x, y, count, same in pairs:
        squares, order = naive.join_lists(x, y, count, same)
        np.testing.assert_array_equal(lists.index, order)
        np.testing.assert_allclose(lists.squared_distance, squares, rtol=1e-12, atol=0)
    radii, others = (naive.join_lists(x, x, k, True)[0][:, -1] for x in (real, generated))
    kept = radii <= np.median(radii)
    in_real, in_generated, ratios, cosines = naive.join_sets(real, generated, radii, others, kept)
    np.testing.assert_array_equal(found.real_balls, in_real)
    np.testing.assert_array_equal(found.generated_balls, in_generated)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found.realism, 1 / np.sqrt(ratios), rtol=1e-12)
    # unit vectors are rounded, so that angles are known to the unit of rounding
    np.testing.assert_allclose(
        np.sqrt(found.cosine_distance), np.sqrt(cosines), rtol=1e-12, atol=1e-15
    )
    return found


@pytest.fixture
def small_tiles(monkeypatch):
    """Several tiles however few the rows are."""
    monkeypatch.setattr(door, "_ROWS", 23)
    monkeypatch.setattr(_screen, "_CHUNK", 64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "m", "d", "k"),
    [(2, 2, 1, 1), (3, 9, 5, 2), (70, 31, 1, 3), (120, 150, 33, 5), (65, 200, 7, 10)],
)
def test_random_rows(small_tiles, n, m, d, k, dtype):
    rng = np.random.default_rng(n + m)
    check(rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((m, d)).astype(dtype), k)


def test_tiles_of_the_usual_size_in_threads():
    rng = np.random.default_rng(0)
    check(rng.standard_normal((1030, 4)), rng.standard_normal((600, 4)), 3, n_jobs=2)


def mixed(seed, n, d):
    """Rows of very unlike lengths, some far from all others."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * 10.0 ** rng.integers(-6, 7, size=(n, 1))


@pytest.mark.parametrize(
    ("real", "generated"),
    [
        (lambda r: r((90, 6)) + 1e6, lambda r: r((80, 6)) + 1e6),
        (lambda r: r((90, 6)), lambda r: r((80, 6)) + 1e9),
        (lambda r: 1e-9 * r((90, 6)) + 1, lambda r: 1e-9 * r((80, 6)) + 1),
        (lambda r: 1e-120 * r((90, 6)), lambda r: 1e-120 * r((80, 6))),
        (lambda r: 1e120 * r((90, 6)), lambda r: 1e120 * r((80, 6))),
        (lambda r: mixed(0, 90, 6), lambda r: mixed(1, 80, 6)),
        (lambda r: r((90, 6)), lambda r: 1e-7 * r((80, 6))),
        (lambda r: r((90, 6)), lambda r: 1e-9 * r((80, 6)) - 3),
    ],
    ids=["offset", "far", "close", "tiny", "huge", "mixed", "collapsed", "collapsed away"],
)
def test_scales_and_offsets(small_tiles, real, generated):
    normal = np.random.default_rng(0).standard_normal
    check(real(normal), generated(normal), 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_offset_of_float32(small_tiles, dtype):
    rng = np.random.default_rng(0)
    sets = [(rng.standard_normal((n, 9)) + 300).astype(dtype) for n in (90, 70)]
    check(*sets, 4)


@pytest.mark.parametrize("d", [1, 8, 37, 300])
def test_copies_lie_on_spheres(small_tiles, d):
    """Rows at exactly the radius are inside: balls are closed."""
    real = np.random.default_rng(d).standard_normal((60, d)).astype(np.float32)
    found = check(real, real[::-1].copy(), 3)
    counts = np.bincount(found.real_real.index.ravel(), minlength=60)
    np.testing.assert_array_equal(found.real_balls[::-1], counts + 1)
    assert np.isinf(found.realism).sum() >= 30


def test_duplicates(small_tiles):
    rng = np.random.default_rng(0)
    few = rng.standard_normal((7, 4))
    check(few[rng.integers(7, size=90)], few[rng.integers(7, size=80)], 5)
    check(few[rng.integers(7, size=90)], np.repeat(few[:1], 80, 0), 5)
    check(rng.standard_normal((90, 4)), np.repeat(few[:2], 40, 0), 5)
    check(np.zeros((50, 3)), np.zeros((60, 3)), 2)
    check(np.full((50, 3), 0.1), np.full((60, 3), 0.1), 2)
    check(np.full((50, 3), 0.1), rng.standard_normal((60, 3)), 2)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_ties_of_whole_numbers(small_tiles, d):
    rng = np.random.default_rng(d)
    check(rng.integers(-2, 3, size=(90, d)), rng.integers(-2, 3, size=(85, d)), 4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(2, 60), st.integers(1, 6))
def test_any_lattice(seed, n, m, d):
    rng = np.random.default_rng(seed)
    width = int(rng.integers(1, 6))
    real, generated = (
        rng.integers(-width, width + 1, size=(rows, d)) / 4 + rng.integers(3) for rows in (n, m)
    )
    check(real, generated, min(n, m, 4) - 1 or 1)


def test_opposite_and_absent_directions(small_tiles):
    """Cosines of opposite rows count as alike, rows of zeros have none."""
    rng = np.random.default_rng(0)
    real, generated = rng.standard_normal((60, 5)), rng.standard_normal((50, 5))
    generated[:5] = -3 * real[7:12]
    generated[9] = 0
    real[20:23] = 0
    found = check(real, generated, 2)
    assert np.isnan(found.cosine_distance[9])
    np.testing.assert_allclose(found.cosine_distance[:5], 0, atol=1e-30)
    check(real + 1e5, generated - 1e5, 2)
    assert np.isnan(neighbor_pass(np.zeros((9, 2)), generated[:, :2], 1).cosine_distance).all()


def low_rank(n, d, rank, seed, noise=0.05):
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).standard_normal((rank, d))
    return rng.standard_normal((n, rank)) @ basis + noise * rng.standard_normal((n, d))


@pytest.mark.parametrize("case", ["usual", "offset", "float32", "duplicates", "narrow", "exact"])
def test_screening_by_leading_coordinates(small_tiles, monkeypatch, case):
    for name, value in {
        "SMALL": 0,
        "_FITTED": 15,
        "_SAMPLE": 30,
        "_WIDTHS": (4, 8),
        "_EVALUATION": 1.0,
    }.items():
        monkeypatch.setattr(_screen, name, value)
    widths = []
    real_screen = _screen.ScreenedSet.__init__

    def seen(self, rows, screen, count):
        real_screen(self, rows, screen, count)
        widths.append(self.vectors.shape[1])

    monkeypatch.setattr(_screen.ScreenedSet, "__init__", seen)
    noise = 0.0 if case == "exact" else 0.05
    real, generated = low_rank(130, 60, 4, 0, noise), low_rank(120, 60, 4, 1, noise)
    if case == "offset":
        real, generated = real + 1e6, generated + 1e6
    if case == "float32":
        real, generated = real.astype(np.float32), generated.astype(np.float32)
    if case == "duplicates":
        real[50:90], generated[::3] = real[3], real[:40]
    if case == "narrow":
        generated *= 0.1
    check(real, generated, 3)
    assert len(widths) == 4
    assert max(widths) <= 9  # of 60 columns
    check(generated, -3 * generated, 2)
    further = low_rank(100, 60, 4, 7)
    lists = door.nearest_real(neighbor_pass(real, generated, 2), further, 2)
    squares, order = naive.join_lists(further, real, 2, False)
    np.testing.assert_array_equal(lists.index, order)
    np.testing.assert_allclose(lists.squared_distance, squares, rtol=1e-12)


def test_without_balls():
    rng = np.random.default_rng(0)
    real, generated = rng.standard_normal((40, 3)), rng.standard_normal((1, 3))
    found = neighbor_pass(real, generated, 1, balls=False)
    assert found.generated_generated is None
    np.testing.assert_array_equal(
        found.generated_real.index, naive.join_lists(generated, real, 2, False)[1]
    )
    np.testing.assert_allclose(
        found.cosine_distance, naive.cosine_distances(real, generated), rtol=1e-12
    )
    assert not found.real_balls.any()
    assert not found.realism.any()


def test_screening_spares_nearly_all_evaluations(monkeypatch):
    counted = []
    for name in ("join_lists", "join_sets"):
        real = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *a, real=real, **b: counted.append(real(*a, **b)))
    rng = np.random.default_rng(0)
    sets = [rng.standard_normal((1500, 64), dtype=np.float32) + 5 for _ in range(2)]
    neighbor_pass(*sets, 3)
    assert sum(counted) < 0.03 * 2 * 1500**2
    # one row far out does not keep the others from being told apart
    counted.clear()
    sets[0][7] *= 1e6
    neighbor_pass(sets[0], sets[1], 3)
    assert sum(counted) < 0.05 * 2 * 1500**2
    sets[0][7] = sets[0][8]
    # all rows of one set in all balls of the other: nothing is left open
    counted.clear()
    neighbor_pass(sets[0], (sets[1] - 5) * np.float32(0.01) + 5, 3)
    assert sum(counted) < 0.05 * 2 * 1500**2


def test_first_bounds_are_above_the_lists():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 6)).astype(np.float32)
    screen = _screen.screen_of(None, rows, rows, [_screen.Extent.of(rows)], "rows")
    part = _screen.ScreenedSet(rows, screen, 3)
    every = part.lists(slice(0, 40))
    kernels.start_lists(part.vectors @ part.vectors.T, every, every, screen.unit, same=True)
    wanted = naive.start_lists(rows, rows, 3, True) * screen.unit
    assert (part.need >= wanted).all()
    np.testing.assert_allclose(part.need, wanted, rtol=1e-4)


def test_the_rounds_hold_every_pair_once_and_no_block_twice():
    for count in range(1, 9):
        rounds = list(door._rounds_within(count))
        pairs = [pair for group in rounds for pair in group]
        assert sorted(pairs) == [(i, j) for i in range(count) for j in range(i, count)]
        for group in rounds[1:]:
            assert len({block for pair in group for block in pair}) == 2 * len(group)
        for other in range(1, 9):
            rounds = list(door._rounds_across(count, other))
            pairs = [pair for group in rounds for pair in group]
            assert sorted(pairs) == [(i, j) for i in range(count) for j in range(other)]
            for group in rounds:
                for side in zip(*group, strict=True):
                    assert len(set(side)) == len(group)


GOOD = np.random.default_rng(0).standard_normal((8, 3))


@pytest.mark.parametrize(
    ("real", "generated", "k", "error", "message"),
    [
        (GOOD, GOOD[:, :2], 2, ValueError, "same number of columns, got 3 and 2"),
        (GOOD[:5], GOOD, 5, ValueError, "real must have more than n_neighbors=5 rows"),
        (GOOD, GOOD[:1], 1, ValueError, "generated must have more than n_neighbors=1 rows"),
        (GOOD[:0], GOOD, 1, ValueError, "real must have rows and columns"),
        (GOOD, GOOD * np.nan, 1, ValueError, "generated must be finite, got nan at row 0"),
        (GOOD, GOOD[0], 1, ValueError, "generated must be two-dimensional"),
        (GOOD, GOOD * 1e200, 1, ValueError, "generated must have rows shorter than 1e"),
        (GOOD * 1e-200, GOOD * 1e-200, 1, ValueError, "real must have rows that differ by more"),
        (GOOD, GOOD, 0, ValueError, "n_neighbors must be at least 1, got 0"),
        (GOOD, GOOD, 2.0, TypeError, "n_neighbors must be an integer"),
        (GOOD.astype(complex), GOOD, 1, TypeError, "real must hold real numbers"),
    ],
)
def test_bad_input(real, generated, k, error, message):
    with pytest.raises(error, match=message):
        neighbor_pass(real, generated, k)


def test_any_library(backend):
    real, generated = np.random.default_rng(0).standard_normal((2, 40, 3))
    found = neighbor_pass(backend.array(real), backend.array(generated), 2)
    expected = neighbor_pass(real, generated, 2)
    assert type(found.realism) is np.ndarray
    np.testing.assert_allclose(found.realism, expected.realism, rtol=1e-12)
