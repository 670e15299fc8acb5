"""Square roots of eigenvalues from a band, and the BLAS on parts of matrices that it rests on."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import bures as naive

from fastgen._dispatch import gaussian as dispatch
from fastgen._dispatch import nuclear
from fastgen.kernels.cpu import band, blas, linear_frame
from fastgen.metrics import CovarianceFactor, bures, frechet_distance
from fastgen.metrics import covariances as _factors

SIZES = [1, 2, 31, 32, 33, 34, 63, 64, 65, 66, 97, 300]


def symmetric(rng, spectrum):
    """Symmetric matrix in Fortran order with these eigenvalues, its upper triangle NaN."""
    n = len(spectrum)
    q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    full = (q * spectrum) @ q.T
    full = full / 2 + full.T / 2
    lower = np.asfortranarray(np.tril(full) + np.triu(np.full((n, n), np.nan), 1))
    return full, lower


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("width", [4, 32, 48])
def test_a_band_keeps_the_eigenvalues(n, width):
    rng = np.random.default_rng(n)
    values = rng.standard_normal(n)
    full, lower = symmetric(rng, values)
    found = band.to_band(lower, width)
    assert found.shape == (n, width + 1)
    expected = naive.dense(naive.to_band(full, width))
    np.testing.assert_allclose(
        np.linalg.eigvalsh(naive.dense(found)), np.linalg.eigvalsh(expected), atol=1e-13
    )
    np.testing.assert_allclose(
        np.linalg.eigvalsh(naive.dense(found)), np.sort(values), atol=1e-14 * np.sqrt(n)
    )
    for i in range(width + 1):
        assert not found[max(n - i, 0) :, i].any()


def test_a_tied_spectrum_has_a_band():
    for values in (np.ones(100), np.zeros(100), np.repeat([0.0, 1.0, 2.0], 33)):
        found = band.to_band(symmetric(np.random.default_rng(0), values)[1], 8)
        np.testing.assert_allclose(np.linalg.eigvalsh(naive.dense(found)), values, atol=1e-14)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("width", [4, 32])
def test_log_determinants(n, width):
    rng = np.random.default_rng(n)
    matrix = band.to_band(symmetric(rng, np.linspace(-0.5, 2, n))[1], width)
    scales = np.array([1.0, 1, 2, -1, 0.1, 1e-8, 1, 0])
    shifts = np.array([0.75, 3, 1.5, 2.5, 1, 1, 0.1, 1])
    found = np.empty(8)
    band.log_determinants(matrix, scales, shifts, found)
    expected = naive.log_determinants(matrix, scales, shifts)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    assert np.isnan(found).sum() >= 1


SPECTRA = {
    "equal": lambda n: np.ones(n),
    "linear": lambda n: np.arange(1.0, n + 1),
    "hyperbola": lambda n: 1 / np.arange(1.0, n + 1),
    "steep": lambda n: np.geomspace(1, 1e-10, n),
    "one large": lambda n: np.r_[1e6, np.ones(n - 1)],
    "one small": lambda n: np.r_[1e-8, np.ones(n - 1)],
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("scale", [1.0, 1e140, 1e-140])
def test_root_trace(n, name, scale):
    spectrum = scale * SPECTRA[name](n)
    full, lower = symmetric(np.random.default_rng(n), spectrum)
    total, error = band.root_trace(band.to_band(lower, 32), 0.0)
    expected = np.sqrt(spectrum).sum()
    # forming the matrix moves its eigenvalues too
    assert abs(total - expected) <= max(4 * error, 2e-14 * expected)
    # not below the bound from the eigenvalues, nor far above it
    bound = linear_frame.gram_error(np.sqrt(np.linalg.eigvalsh(full)))
    assert 0.99 * bound <= error <= 3 * bound + 4e-16 * expected


@pytest.mark.parametrize("n", [2, 33, 65, 300])
@pytest.mark.parametrize("lost", [0.0, 1e-16, 1e-17, -1e-16, -1e-3])
def test_eigenvalues_that_are_rounding_are_not_summed(n, lost):
    spectrum = np.r_[np.ones(n - 1), lost]
    lower = symmetric(np.random.default_rng(n), spectrum)[1]
    assert band.root_trace(band.to_band(lower, 32), 0.0) == (np.inf, np.inf)


def test_root_trace_knows_of_noise():
    lower = symmetric(np.random.default_rng(0), np.linspace(1e-6, 1, 50))[1]
    found = band.to_band(lower, 8)
    assert band.root_trace(found, 1e-5)[1] == np.inf
    small, large = (band.root_trace(found, noise)[1] for noise in (1e-12, 1e-10))
    assert large == pytest.approx(100 * small, rel=1e-3)


@pytest.mark.parametrize("n", [1, 5, 40])
def test_of_nothing_and_of_nan(n):
    assert band.root_trace(np.zeros((n, 9)), 0.0) == (0, 0)
    for bad in (np.nan, np.inf):
        broken = np.zeros((n, 9))
        broken[:, 0] = 1
        broken[n // 2, 0] = bad
        assert not np.isfinite(band.root_trace(broken, 0.0)).any()


# --- the dispatcher -------------------------------------------------------------------------------


def test_large_gram_matrices():
    rng = np.random.default_rng(1)
    n = nuclear.BAND_COLUMNS + 5
    well = symmetric(rng, np.linspace(1, 4, n))[0]
    before = well.copy()
    assert nuclear.nuclear_from_gram(well) == pytest.approx(
        np.sqrt(np.linspace(1, 4, n)).sum(), rel=1e-14
    )
    np.testing.assert_array_equal(well, before)
    for spectrum in (np.r_[np.ones(n - 1), 0], np.geomspace(1, 1e-13, n), np.eye(n)[0]):
        assert nuclear.nuclear_from_gram(symmetric(rng, spectrum)[0]) is None
    assert nuclear.nuclear_from_gram(np.zeros((n, n))) == 0
    # a tolerance that one lost eigenvalue meets
    almost = symmetric(rng, np.r_[np.ones(n - 1), 0])[0]
    assert nuclear.nuclear_from_gram(almost, 1e-8) == pytest.approx(n - 1, rel=1e-9)


@pytest.mark.parametrize("n", [900, 1600])
def test_every_width(n):
    spectrum = np.linspace(1, 2, n) ** 2
    q = np.eye(n) - 2 / n  # a reflection
    matrix = np.asfortranarray((q * spectrum) @ q)
    total, error = nuclear.root_trace(matrix)
    assert total == pytest.approx(np.sqrt(spectrum).sum(), rel=1e-13)
    assert error < 1e-13 * total


# --- BLAS where the matrix lies -------------------------------------------------------------------


def part(rng, m, n):
    """View of a larger Fortran-ordered matrix."""
    return np.asfortranarray(rng.standard_normal((m + 7, n + 3)))[5 : 5 + m, 2 : 2 + n]


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 2), (256, 3), (257, 40), (600, 33)])
def test_symmetric_products(n, k):
    rng = np.random.default_rng(n)
    a, b, c = part(rng, n, n), part(rng, n, k), part(rng, n, k)
    full = np.tril(a) + np.tril(a, -1).T
    kept = c.copy()
    blas.symm(a, b, c, beta=2.0)
    np.testing.assert_allclose(c, full @ b + 2 * kept, atol=1e-12)
    blas.symm(a, b, c)
    np.testing.assert_allclose(c, full @ b, atol=1e-12)
    kept = a.copy()
    blas.syr2k(b, c, a)
    change = b @ c.T + c @ b.T
    np.testing.assert_allclose(a, kept - np.tril(change), rtol=1e-12, atol=1e-10)
    blas.syr2k(b.T.copy(order="F"), c.T.copy(order="F"), a, alpha=1.0, transposed=True)
    np.testing.assert_allclose(a, kept, rtol=1e-12, atol=1e-10)
    blas.syrk(b, a, alpha=-2.0)
    np.testing.assert_allclose(a, kept - 2 * np.tril(b @ b.T), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("n", [1, 33, 256, 257, 513, 800])
def test_congruent_and_cholesky(n):
    rng = np.random.default_rng(n)
    a, b = part(rng, n, n), part(rng, n, n)
    x = rng.standard_normal((n, n + 10))
    b[:] = np.tril(x @ x.T) + np.triu(np.full((n, n), np.nan), 1)
    definite = np.tril(b) + np.tril(b, -1).T
    lower = np.linalg.cholesky(definite)
    assert blas.cholesky(b)
    np.testing.assert_allclose(np.tril(b), lower, atol=1e-10)
    full = np.tril(a) + np.tril(a, -1).T
    expected = lower.T @ full @ lower
    blas.congruent(a, b)
    np.testing.assert_allclose(np.tril(a), np.tril(expected), atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("n", [2, 40, 520, 1100])
def test_cholesky_refuses(n):
    for at in (0, n // 2, n - 1):
        values = np.ones(n)
        values[at] = -1e-3
        assert not blas.cholesky(np.asfortranarray(np.diag(values)))
        values[at] = 1e-3
        assert blas.cholesky(np.asfortranarray(np.diag(values)), 1e-4)
        assert not blas.cholesky(np.asfortranarray(np.diag(values)), 1e-2)
    assert dispatch.cholesky(-np.eye(n)) is None
    np.testing.assert_array_equal(dispatch.cholesky(4 * np.eye(n)), 2 * np.eye(n))


@pytest.mark.parametrize("d", [20, 257, 400])
@pytest.mark.parametrize("rank", [1, 19, 63, 64, 65, 130, 256])
def test_pivoted_cholesky_stops_at_the_rank(d, rank):
    rank = min(rank, d)
    x = rng_factor(d, rank)
    matrix = x @ x.T
    matrix = np.tril(matrix) + np.tril(matrix, -1).T
    noise = 8 * d * np.finfo(float).eps * matrix.diagonal().max()
    found = dispatch.pivoted_cholesky(matrix, noise)
    assert found.shape == (d, rank)
    assert found.flags.f_contiguous
    np.testing.assert_allclose(found @ found.T, matrix, atol=noise)


def rng_factor(d, rank):
    rng = np.random.default_rng(d + rank)
    return rng.standard_normal((d, rank)) * np.geomspace(1, 1e-3, rank)


@pytest.mark.parametrize("d", [200, 300])
def test_pivoted_cholesky_of_matrices_it_cannot_finish(d):
    negative = -np.eye(d)
    assert dispatch.pivoted_cholesky(negative, 1e-12).shape == (d, 0)
    mixed = np.diag(np.r_[np.ones(5), -np.ones(d - 5)])
    assert dispatch.pivoted_cholesky(mixed, 1e-12).shape == (d, 5)
    # positive diagonal, not definite: what is found is not the matrix, and its caller sees that
    swapped = np.kron(np.eye(d // 2), [[1.0, 2.0], [2.0, 1.0]])
    found = dispatch.pivoted_cholesky(swapped, 1e-12)
    assert _factors._rest(swapped, found) > 0.1


@pytest.mark.parametrize("d", [30, 300])
def test_the_rest_is_seen_through_noise(d):
    rng = np.random.default_rng(d)
    x = rng.standard_normal((d, d // 2))
    matrix = x @ x.T
    assert _factors._rest(matrix, x) < 1e-13 * np.abs(matrix).max() * d
    matrix[3, 7] += 1.0
    assert 0.5 < _factors._rest(matrix, x) < 1.5


# --- distances of two large matrices --------------------------------------------------------------


def pair(rng, d, n, power):
    std = np.arange(1, d + 1) ** -power
    return [std[:, None] * rng.standard_normal((d, n)) / np.sqrt(n) for _ in range(2)]


@pytest.mark.parametrize("d", [161, 192, 256, 257, 400])
@pytest.mark.parametrize("scale", [1.0, 1e-100, 3e60])
def test_two_matrices_of_full_rank(d, scale, monkeypatch):
    x, y = (scale * z for z in pair(np.random.default_rng(d), d, 2 * d, 0.5))
    taken = []
    original = dispatch.factored_overlap

    def watched(*args):
        taken.append(original(*args))
        return taken[-1]

    monkeypatch.setattr(dispatch, "factored_overlap", watched)
    covariances = x @ x.T, y @ y.T
    before = [c.copy() for c in covariances]
    assert bures(*covariances) == pytest.approx(naive.bures_factors(x, y), rel=1e-11)
    assert taken[0] is not None
    for kept, c in zip(before, covariances, strict=True):
        np.testing.assert_array_equal(kept, c)
    assert bures(covariances[0], covariances[0]) == 0
    assert bures(covariances[0], 4 * covariances[0]) == pytest.approx((x**2).sum(), rel=1e-12)


@pytest.mark.parametrize("ranks", [(99, 120), (299, 600), (600, 299), (1, 299)])
def test_two_larger_matrices_that_may_be_singular(ranks):
    rng = np.random.default_rng(ranks[0])
    x, y = (pair(rng, 300, n, 0.5)[0] for n in ranks)
    assert bures(x @ x.T, y @ y.T) == pytest.approx(naive.bures_factors(x, y), rel=1e-11)


@pytest.mark.parametrize("ranks", [(50, 400), (400, 50), (50, 60), (199, 400), (400, 1)])
def test_two_matrices_that_may_be_singular(ranks):
    rng = np.random.default_rng(ranks[0])
    x, y = (pair(rng, 200, n, 0.5)[0] for n in ranks)
    expected = naive.bures_factors(x, y)
    assert bures(x @ x.T, y @ y.T) == pytest.approx(expected, rel=1e-11)
    assert bures(CovarianceFactor(x), y @ y.T) == pytest.approx(expected, rel=1e-11)
    assert bures(x @ x.T, np.zeros((200, 200))) == pytest.approx((x**2).sum(), rel=1e-13)


@pytest.mark.parametrize("scale", [1.0, 1e-100])
@pytest.mark.parametrize("ranks", [(100, 600), (600, 100), (250, 600), (600, 250), (100, 120)])
def test_nothing_is_factored_twice(ranks, scale, monkeypatch):
    """Of one that is singular and one of full rank the factor of the latter is kept."""
    rng = np.random.default_rng(ranks[1])
    x, y = (scale * pair(rng, 300, n, 0.5)[0] for n in ranks)
    factored, overlapped = [], []
    for name, calls in (("full_factor", factored), ("factored_overlap", overlapped)):
        original = getattr(dispatch, name)

        def watched(*args, original=original, calls=calls, **options):
            calls.append(original(*args, **options))
            return calls[-1]

        monkeypatch.setattr(dispatch, name, watched)
    given = x @ x.T, y @ y.T
    kept = [c.copy() for c in given]
    assert bures(*given) == pytest.approx(naive.bures_factors(x, y), rel=1e-11)
    np.testing.assert_array_equal(kept, given)
    assert sum(factor is not None for factor in factored) == sum(n > 300 for n in ranks)
    # only what leading halves do not tell is seen from the products
    assert len(overlapped) == (ranks[0] == 250)


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 64, 65, 300, 513])
def test_factors_of_leading_halves(n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, n + 10))
    matrix = x @ x.T
    np.testing.assert_allclose(
        np.tril(dispatch.full_factor(matrix).T), np.linalg.cholesky(matrix), atol=1e-10
    )
    half = blas.leading(n)
    assert 0 < half <= n
    leading = dispatch.leading_factor(matrix).T[:half, :half]
    np.testing.assert_allclose(
        np.tril(leading), np.linalg.cholesky(matrix[:half, :half]), atol=1e-10
    )
    matrix[-1, -1] = -1.0
    assert dispatch.full_factor(matrix) is None
    assert (dispatch.leading_factor(matrix) is None) == (half == n)
    matrix[0, 0] = -1.0
    assert dispatch.leading_factor(matrix) is None


@pytest.mark.parametrize("d", [20, 200, 300])
@pytest.mark.parametrize("ratio", [0.4, 2.0])
def test_matrices_as_they_lie_in_memory(d, ratio):
    x, y = pair(np.random.default_rng(d), d, int(ratio * d), 0.5)
    given = x @ x.T, y @ y.T
    expected = bures(*given)
    spread = np.zeros((2, 2 * d, 2 * d))
    spread[:, ::2, ::2] = given
    for a, b in (
        [np.asfortranarray(c) for c in given],
        spread[:, ::2, ::2],
        spread[:, ::2, ::2].mT,
    ):
        assert bures(a, b) == expected


def test_two_ill_conditioned_matrices():
    rng = np.random.default_rng(4)
    x, y = pair(rng, 200, 400, 3.5)  # of condition 1e16
    assert bures(x @ x.T, y @ y.T) == pytest.approx(naive.bures_factors(x, y), rel=1e-6)
    x, y = pair(rng, 200, 400, 2.0)
    assert bures(x @ x.T, y @ y.T) == pytest.approx(naive.bures_factors(x, y), rel=1e-9)


def test_negative_eigenvalues_are_refused_or_rounding():
    rng = np.random.default_rng(5)
    y = pair(rng, 200, 400, 0.5)[1]
    good = y @ y.T
    q = np.linalg.qr(rng.standard_normal((200, 200)))[0]
    for smallest in (-1e-9, -1e-3):
        bad = (q * np.r_[np.ones(199), smallest]) @ q.T
        bad = bad / 2 + bad.T / 2
        for given in ((bad, good), (good, bad)):
            if smallest < -1e-6:
                with pytest.raises(ValueError, match=r"cov\d must be positive semidefinite"):
                    bures(*given)
            else:
                clipped = (q * np.r_[np.ones(199), 0.0]) @ q.T
                expected = naive.bures(clipped, good)
                assert bures(*given) == pytest.approx(expected, rel=1e-8)


def test_slightly_asymmetric_matrices_are_symmetrised():
    rng = np.random.default_rng(6)
    x, y = pair(rng, 200, 400, 0.5)
    skew = rng.standard_normal((200, 200)) * 1e-9
    given = x @ x.T + skew - skew.T
    zero = np.zeros(200)
    found = frechet_distance(zero, given, zero, y @ y.T)
    assert found == pytest.approx(naive.bures_factors(x, y), rel=1e-12)
