"""Squared Wasserstein distances between Gaussians: golden values, oracle, extremes, refusals."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from examples.gaussians import A, B, factors
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import bures as naive

from fastgen._dispatch import gaussian as dispatch
from fastgen._dispatch import nuclear
from fastgen.metrics import CovarianceFactor, bures, dist_bures_squared, frechet_distance
from fastgen.metrics.covariances import Covariance, full, of_mixture
from fastgen.metrics.engines import host
from fastgen.metrics.engines.host import bounds, classes


def squares(stack):
    return stack @ stack.transpose(0, 2, 1)


def orthogonal(rng, d):
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def parsed(side):
    k, d = side.shape[:2]
    entries = of_mixture(side, "side", n_components=k, dim=d, read=host.read)
    return host.covariances(entries)


def part_matrix(left, right):
    """Covariance parts of all pairs of a stack of covariances."""
    d = left.shape[1]
    return dist_bures_squared(np.zeros((len(left), d)), np.zeros((len(right), d)), left, right)


# --- golden values and mutants -------------------------------------------------------------------


def test_two_by_two():
    expected = 8 - 2 * np.sqrt(14)
    assert bures(A, B) == pytest.approx(expected, abs=1e-14)
    mutants = {
        "eigenvalues of the product as if symmetric": 0.3493138659,
        "Frobenius distance of the roots": 0.5358983849,
        "sorted eigenvalues": 0.0,
    }
    half_a, half_b = naive.root(A), naive.root(B)
    assert ((half_a - half_b) ** 2).sum() == pytest.approx(
        mutants["Frobenius distance of the roots"], abs=1e-10
    )
    for value in mutants.values():
        assert abs(bures(A, B) - value) > 1e-2


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 9))
@settings(deadline=None, max_examples=25)
def test_isotropic(a, b, d):
    expected = d * (np.sqrt(a) - np.sqrt(b)) ** 2
    assert bures(a * np.eye(d), b * np.eye(d)) == pytest.approx(expected, abs=1e-12 * d * (a + b))


@pytest.mark.parametrize("d", [1, 2, 7, 100])
def test_rank_one(d):
    u, v = np.random.default_rng(d).standard_normal((2, d, 1))
    expected = (u**2).sum() + (v**2).sum() - 2 * abs((u * v).sum())
    assert bures(CovarianceFactor(u), CovarianceFactor(v)) == pytest.approx(expected, rel=1e-13)
    assert bures(u @ u.T, v @ v.T) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("n", [128, 1024])
def test_accuracy_at_dimension_256(n):
    # notes: std i^{-1/2}, centred, 1/n; the roots of eigh lose 5e-8 at n = 128, sqrtm 1.4e-7
    rng = np.random.default_rng(0)
    std = np.arange(1, 257) ** -0.5
    x, y = factors(rng, 2, 256, n, std)
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    expected = naive.bures_factors(x, y)
    total = (x**2).sum() + (y**2).sum()
    assert abs(bures(CovarianceFactor(x), CovarianceFactor(y)) - expected) < 1e-13 * total
    assert abs(bures(x @ x.T, y @ y.T) - expected) < 1e-12 * total
    single = bures(CovarianceFactor(x), CovarianceFactor(y), dtype=np.float32)
    assert abs(single - expected) < 1e-5 * total
    assert bures(CovarianceFactor(x), CovarianceFactor(x.copy())) == 0
    # the same factor in another basis: equal, and not by being the same numbers
    turned = CovarianceFactor(x @ orthogonal(rng, n))
    assert bures(CovarianceFactor(x), turned) < 1e-13 * total


# --- the oracle ----------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 31, 32, 33, 161])
@pytest.mark.parametrize("ratio", [0.5, 3])
def test_pairs_are_the_oracles(d, ratio):
    rng = np.random.default_rng(d)
    n = max(1, int(d * ratio))
    left, right = factors(rng, 3, d, n), factors(rng, 4, d, n + 2)
    m, k = rng.standard_normal((3, d)), rng.standard_normal((4, d))
    expected = np.array([[naive.bures_factors(a, b) for b in right] for a in left])
    expected += ((m[:, None] - k) ** 2).sum(-1)
    from_data = [[CovarianceFactor(f) for f in side] for side in (left, right)]
    for given_as in (from_data, (squares(left), squares(right))):
        found = dist_bures_squared(m, k, *given_as)
        assert found.shape == (3, 4)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(
        frechet_distance(m[:, None], squares(left)[:, None], k, squares(right)),
        expected,
        rtol=1e-12,
    )
    np.testing.assert_allclose(found, naive.costs(m, squares(left), k, squares(right)), rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_kernel_is_its_namesake(dtype):
    from fastgen.kernels.cpu.bures import pair_nuclear_norms
    from fastgen.kernels.quadrature import nodes

    rng = np.random.default_rng(0)
    sizes = np.array([1, 31, 32, 33, 2, 32])
    starts = np.concatenate(([0], np.cumsum(sizes)))
    rows = rng.standard_normal((starts[-1], 40)).astype(dtype)
    rows[starts[5] : starts[6]] = rows[starts[2] : starts[3]]  # a tie
    rows[starts[4] + 1] = rows[starts[4]]  # rank deficiency
    pairs = np.array(list(itertools.product(range(6), repeat=2)))
    out = np.empty(len(pairs), dtype)
    pair_nuclear_norms(rows, starts, pairs, *nodes(np.dtype(dtype)), out)
    expected = naive.pair_nuclear_norms(rows.astype(float), starts, pairs)
    np.testing.assert_allclose(out, expected, rtol=1e-13 if dtype == np.float64 else 1e-5)
    rows[0, 0] = np.nan
    pair_nuclear_norms(rows, starts, pairs, *nodes(np.dtype(dtype)), out)
    assert np.isnan(out[(pairs == 0).any(axis=1)]).all()
    assert np.isfinite(out[(pairs != 0).all(axis=1)]).all()


def test_threads_do_not_change_a_bit():
    rng = np.random.default_rng(1)
    left, right = squares(factors(rng, 9, 12, 20)), squares(factors(rng, 9, 12, 20))
    large = squares(factors(rng, 2, 170, 200))
    alone = part_matrix(left, right)
    zeros = np.zeros((9, 12))
    np.testing.assert_array_equal(dist_bures_squared(zeros, zeros, left, right, n_jobs=2), alone)
    zeros = np.zeros((2, 170))
    np.testing.assert_allclose(
        dist_bures_squared(zeros, zeros, large, large, n_jobs=2),
        part_matrix(large, large),
        rtol=1e-12,
    )


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "factors"])
@pytest.mark.parametrize("other", ["full", "diag", "spherical", "factors"])
def test_shapes_of_covariances(kind, other):
    rng = np.random.default_rng(3)
    d, k = 5, 3
    matrix = squares(factors(rng, 3, d, 7))
    diagonal, spherical = rng.gamma(1, size=(k, d)), rng.gamma(1, size=k)
    forms = {
        "full": (matrix, matrix),
        "tied": (matrix[0], matrix[[0, 0, 0]]),
        "diag": (diagonal, diagonal[:, :, None] * np.eye(d)),
        "spherical": (spherical, spherical[:, None, None] * np.eye(d)),
        "factors": ([CovarianceFactor(np.linalg.cholesky(c)) for c in matrix], matrix),
    }
    (first, first_full), (second, second_full) = forms[kind], forms[other]
    m = rng.standard_normal((2, k, d))
    expected = naive.costs(m[0], first_full, m[1], second_full)
    np.testing.assert_allclose(
        dist_bures_squared(*m, first, second), expected, rtol=1e-9, atol=1e-13
    )


def test_large_diagonal_against_full():
    rng = np.random.default_rng(4)
    matrix, variances = squares(factors(rng, 1, 170, 200)), rng.gamma(1, size=(2, 170))
    found = dist_bures_squared(np.zeros((1, 170)), np.zeros((2, 170)), matrix, variances)
    expected = [naive.bures(matrix[0], np.diag(v)) for v in variances]
    np.testing.assert_allclose(found[0], expected, rtol=1e-10)
    swapped = dist_bures_squared(np.zeros((2, 170)), np.zeros((1, 170)), variances, matrix)
    np.testing.assert_allclose(swapped[:, 0], expected, rtol=1e-10)


def test_broadcasting():
    rng = np.random.default_rng(5)
    stack = squares(factors(rng, 6, 3, 5)).reshape(2, 3, 3, 3)
    one = squares(factors(rng, 1, 3, 5))[0]
    expected = [[naive.bures(c, one) for c in row] for row in stack]
    np.testing.assert_allclose(bures(stack, one), expected, rtol=1e-9)
    np.testing.assert_allclose(bures(one, stack), expected, rtol=1e-9)
    assert bures(stack, stack).max() == 0
    np.testing.assert_allclose(
        bures(stack[:, :1], stack[:1]),
        [[naive.bures(stack[i, 0], stack[0, j]) for j in range(3)] for i in range(2)],
        rtol=1e-9,
        atol=1e-14,
    )
    means = rng.standard_normal((2, 3, 3))
    np.testing.assert_allclose(
        frechet_distance(means, stack, np.zeros(3), one),
        np.array(expected) + (means**2).sum(-1),
        rtol=1e-9,
    )


# --- equal covariances, bounds -------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 3, 200])
@pytest.mark.parametrize("n", [1, 1000])
def test_self_distance_is_exactly_zero(d, n):
    stack = squares(factors(np.random.default_rng(d), 2, d, n))
    found = part_matrix(stack, stack.copy())
    assert (np.diagonal(found) == 0).all()
    np.testing.assert_array_equal(found, found.T)
    assert found[0, 1] > 0


def test_each_distinct_pair_is_computed_once(monkeypatch):
    asked = []
    original = dispatch.overlaps

    def counting(roots, pairs, dtype, n_jobs):
        asked.append(len(pairs))
        return original(roots, pairs, dtype, n_jobs)

    monkeypatch.setattr(dispatch, "overlaps", counting)
    rng = np.random.default_rng(6)
    stack = squares(factors(rng, 5, 4, 9))
    part_matrix(stack, stack)
    assert asked == [10]
    zeros = np.zeros((5, 4))
    dist_bures_squared(zeros, zeros, stack[0], stack[1])  # tied
    assert asked == [10, 1]
    bures(np.stack([stack[0]] * 4), stack[1])
    assert asked == [10, 1, 1]


def test_classes_tell_equal_from_alike():
    a = np.array([[1.0, 0.5], [0.5, 1.0]])
    swapped = np.array([[1.0, 0.25], [0.25, 1.0]]) + np.array([[0, 0.25], [0.25, 0]])
    a, swapped, alike = (np.kron(np.eye(2), m) for m in (a, swapped, np.eye(2)))
    alike[2:, 2:] = a[2:, 2:]
    first, second = full(a, "a"), full(alike, "b")
    assert first.fingerprint == second.fingerprint
    distinct, rows, columns = classes([first, second], [full(swapped, "c")])
    assert len(distinct) == 2
    assert rows.tolist() == [0, 1]
    assert columns.tolist() == [0]
    spherical = Covariance("diagonal", np.ones(2), "d")
    assert not spherical.equals(full(np.eye(2), "e"))
    assert len(classes([spherical], [Covariance("diagonal", np.ones(2), "f")])[0]) == 1


@given(
    st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 20), st.sampled_from([0.0, 1.0, 3.0])
)
@settings(deadline=None, max_examples=60)
def test_bounds_hold(seed, d, n, decay):
    rng = np.random.default_rng(seed)
    std = np.arange(1, d + 1) ** -decay
    left, right = squares(factors(rng, 3, d, n, std)), squares(factors(rng, 2, d, 2 * d, std))
    right[1] = left[2]
    commuting = np.array([np.diag(std**2), np.diag(std[::-1] ** 2), np.zeros((d, d))])
    sides = np.concatenate([left, commuting]), np.concatenate([right, commuting])
    lists = [parsed(side) for side in sides]
    low, high = bounds(*lists)
    found = part_matrix(*sides)
    assert (low <= found + 1e-15).all()
    assert (found <= high + 1e-15).all()
    assert low[2, 1] == high[2, 1] == 0
    assert (low >= 0).all()


def test_bounds_are_those_of_the_note():
    left, right = A[None], B[None]
    lists = [parsed(side) for side in (left, right)]
    low, high = bounds(*lists)
    assert low[0, 0] == pytest.approx(0, abs=1e-13)  # equal eigenvalues
    assert high[0, 0] == pytest.approx(0.5358983849, abs=3e-5)  # single precision


# --- singular, extreme ---------------------------------------------------------------------------


@pytest.mark.parametrize("d", [8, 128, 200])
def test_singular_from_matrix_and_from_data_agree(d):
    rng = np.random.default_rng(d)
    for n1, n2 in ((1, d // 2), (d // 2, d // 2), (d - 1, 2 * d), (d // 2, 1)):
        x, y = factors(rng, 1, d, n1)[0], factors(rng, 1, d, n2)[0]
        expected = naive.bures_factors(x, y)
        total = (x**2).sum() + (y**2).sum()
        assert abs(bures(CovarianceFactor(x), CovarianceFactor(y)) - expected) <= 1e-13 * total
        assert abs(bures(x @ x.T, y @ y.T) - expected) <= 1e-12 * total


@pytest.mark.parametrize("d", [30, 200])
def test_condition_1e16(d):
    rng = np.random.default_rng(d)
    values = np.logspace(0, -16, d)
    turns = orthogonal(rng, d), orthogonal(rng, d)
    exact = [turn * np.sqrt(values) for turn in turns]
    expected = naive.bures_factors(*exact)
    assert bures(*(CovarianceFactor(f) for f in exact)) == pytest.approx(expected, rel=1e-12)
    # rounding of the matrix itself moves a root of 1e-8 by as much
    first, second = ((f @ f.T + (f @ f.T).T) / 2 for f in exact)
    assert bures(first, second) == pytest.approx(expected, rel=1e-6)
    inverse = np.linalg.inv(exact[0]).T
    assert 0 < bures(first, inverse @ inverse.T / 1e16) < np.inf


def test_zero_covariance_of_one_sample():
    mean, factor = CovarianceFactor.from_samples(np.array([[1.0, 2.0]]))
    assert bures(factor, np.eye(2)) == 2
    assert bures(factor, factor) == 0
    assert bures(np.zeros((2, 2)), A) == 4
    assert frechet_distance(mean, factor, [0.0, 0.0], np.zeros((2, 2))) == 5
    assert dist_bures_squared([[0.0]], [[1.0]], [0.0], [0.0])[0, 0] == 1


@pytest.mark.parametrize("scale", [1e-150, 1e-100, 1e100, 1e150])
def test_scales(scale):
    rng = np.random.default_rng(7)
    for d, n in ((3, 2), (3, 9), (170, 180)):
        x, y = factors(rng, 2, d, n)
        m, k = rng.standard_normal((2, 1, d))
        plain = dist_bures_squared(m, k, (x @ x.T)[None], (y @ y.T)[None])
        big = (x * scale) @ (x * scale).T, (y * scale) @ (y * scale).T
        found = dist_bures_squared(m * scale, k * scale, big[0][None], big[1][None])
        np.testing.assert_allclose(found / scale / scale, plain, rtol=1e-12)
        from_data = bures(CovarianceFactor(x * scale), CovarianceFactor(y * scale))
        assert from_data / scale / scale == pytest.approx(bures(x @ x.T, y @ y.T), rel=1e-12)
    mixed = bures(scale**2 * np.eye(2), np.eye(2))
    assert mixed == pytest.approx(2 * (scale - 1) ** 2, rel=1e-12)


def test_what_float64_cannot_hold_is_refused():
    huge, tiny = CovarianceFactor([[1e160]]), CovarianceFactor([[1e-160]])
    for first, second in ((huge, tiny), (tiny, CovarianceFactor([[3e-160]]))):
        with pytest.raises(ValueError, match=r"(above the largest|below the smallest) float64"):
            bures(first, second)
    with pytest.raises(ValueError, match="below the smallest"):
        dist_bures_squared([[1e-170]], [[0.0]], [1.0], [1.0])
    with pytest.raises(ValueError, match="above the largest"):
        frechet_distance([1.5e308], [[1.0]], [-1.5e308], [[1.0]])
    with pytest.raises(ValueError, match=r"cov1 must have its largest entry above .* multiply"):
        bures([[1e-310]], [[1.0]])


def test_invariances():
    rng = np.random.default_rng(8)
    x, y, z = squares(factors(rng, 3, 6, 9))
    turn = orthogonal(rng, 6)
    assert bures(turn @ x @ turn.T, turn @ y @ turn.T) == pytest.approx(bures(x, y), rel=1e-12)
    assert bures(9 * x, 9 * y) == pytest.approx(9 * bures(x, y), rel=1e-12)
    assert bures(x, y) == pytest.approx(bures(y, x), rel=1e-13)
    assert np.sqrt(bures(x, z)) <= np.sqrt(bures(x, y)) + np.sqrt(bures(y, z))
    t = 2.5
    assert bures(x, t * x) == pytest.approx((1 - np.sqrt(t)) ** 2 * np.trace(x), rel=1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_two_dimensions_without_a_decomposition(scale):
    rng = np.random.default_rng(9)
    for x, y in zip(squares(factors(rng, 20, 2, 4)), squares(factors(rng, 20, 2, 4)), strict=True):
        expected = naive.bures_2x2(scale * x, y)
        assert bures(scale * x, y) == pytest.approx(expected, rel=1e-11, abs=1e-13)


# --- beside POT ----------------------------------------------------------------------------------


def test_agrees_with_pot_where_pot_is_right():
    gmm = pytest.importorskip("ot.gmm")
    rng = np.random.default_rng(12)
    for d in (1, 4, 16):
        left, right = squares(factors(rng, 3, d, 3 * d)), squares(factors(rng, 2, d, 3 * d))
        m, k = rng.standard_normal((3, d)), rng.standard_normal((2, d))
        expected = gmm.dist_bures_squared(m, k, left, right)
        np.testing.assert_allclose(dist_bures_squared(m, k, left, right), expected, rtol=1e-8)


def test_right_where_pot_is_not():
    gmm = pytest.importorskip("ot.gmm")
    rng = np.random.default_rng(0)
    d, n = 128, 64
    x, y = factors(rng, 2, d, n)
    zero, one = np.zeros((1, d)), np.ones(1)
    left, right = (x @ x.T)[None], (y @ y.T)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = gmm.dist_bures_squared(zero, zero, left, right)
        loss = gmm.gmm_ot_loss(zero, zero, left, right, one, one)
    if np.isfinite(theirs[0, 0]):
        pytest.skip("this POT clamps its eigenvalues")
    assert loss == 0
    ours = dist_bures_squared(zero, zero, left, right)[0, 0]
    assert ours == pytest.approx(naive.bures_factors(x, y), rel=1e-12)


def test_large_pairs_fall_back_to_singular_values(monkeypatch):
    rng = np.random.default_rng(13)
    std = np.arange(1, 181) ** -3.0
    x, y = factors(rng, 2, 180, 400, std)
    expected = naive.bures_factors(x, y)
    refused = []
    original = nuclear.nuclear_from_gram

    def watched(gram, tolerance):
        refused.append(original(gram, tolerance) is None)
        return original(gram, tolerance)

    monkeypatch.setattr(nuclear, "nuclear_from_gram", watched)
    found = bures(CovarianceFactor(x), CovarianceFactor(y))
    assert refused == [True]
    assert found == pytest.approx(expected, rel=1e-12)
