"""Laws of local sampling and of linear denoisers: the tables of the notes, and Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import diffusion as naive

from fastgen.diffusion import laws
from fastgen.diffusion.schedules import alphas_cumprod, noise_levels

KEPT = alphas_cumprod("linear")
LAMBDAS = np.array([4.0, 1.0, 0.05])

# start index: exact value of the chain and, behind it, its limit; eta = 1, then eta = 0
TABLE = {
    50: ([0.0593, 0.0580, 0.0369, 0.0308, 0.0303, 0.0213],
         [0.0615, 0.0601, 0.0383, 0.0308, 0.0303, 0.0214]),
    100: ([0.2234, 0.2058, 0.0685, 0.1146, 0.1077, 0.0450],
          [0.2276, 0.2097, 0.0701, 0.1146, 0.1078, 0.0453]),
    200: ([0.9171, 0.6807, 0.0896, 0.4771, 0.3793, 0.0700],
          [0.9260, 0.6873, 0.0913, 0.4772, 0.3797, 0.0705]),
    400: ([4.0613, 1.6041, 0.0972, 2.3990, 1.1183, 0.0885],
          [4.0813, 1.6129, 0.0988, 2.4010, 1.1201, 0.0891]),
    600: ([7.2151, 1.9399, 0.0982, 5.5270, 1.6771, 0.0957],
          [7.2401, 1.9489, 0.0999, 5.5344, 1.6802, 0.0964]),
    999: ([7.9735, 1.9910, 0.0984, 7.8864, 1.9836, 0.0992],
          [7.9987, 1.9999, 0.1000, 7.8984, 1.9873, 0.0999]),
}  # fmt: skip

# steps from start 400: deviation from the limit in percent, eta = 1 and 0 for each variance
STRIDES = {
    10: [(-16.4, -3.3), (-16.0, -6.3), (-26.7, -19.6)],
    20: [(-8.9, -1.6), (-9.0, -3.1), (-17.9, -10.6)],
    40: [(-4.6, -0.8), (-4.9, -1.6), (-11.3, -5.5)],
    100: [(-1.9, -0.3), (-2.1, -0.6), (-5.5, -2.3)],
    401: [(-0.5, -0.1), (-0.5, -0.2), (-1.7, -0.7)],
}


def test_schedules():
    table = {"linear": (0.895, 0.656, 0.394, 0.194, 0.078, 0.0015),
             "scaled_linear": (0.894, 0.754, 0.591, 0.425, 0.276, 0.037),
             "cosine": (0.972, 0.898, 0.786, 0.646, 0.492, 0.093)}  # fmt: skip
    at = [100, 200, 300, 400, 500, 800]
    for kind, expected in table.items():
        kept = alphas_cumprod(kind)
        np.testing.assert_allclose(kept[at], expected, atol=6e-4)
        np.testing.assert_allclose(1 / (1 + noise_levels(kept) ** 2), kept, rtol=1e-12)
    np.testing.assert_allclose(alphas_cumprod("linear"), naive.linear_schedule(), rtol=1e-13)
    own = alphas_cumprod("linear", 10, beta_start=0.1, beta_end=0.1)
    np.testing.assert_allclose(own, 0.9 ** np.arange(1, 11))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alphas_cumprod("linaer"), "did you mean 'linear'"),
        (lambda: alphas_cumprod("cosine", beta_end=0.1), "no meaning"),
        (lambda: alphas_cumprod(beta_start=0), r"beta_start must lie in \(0, 1\)"),
        (lambda: noise_levels(np.linspace(1e-4, 0.02, 9)), "must fall from below 1"),
        (lambda: noise_levels(KEPT[::-1]), r"pass numpy.cumprod\(1 - betas\)"),
        (lambda: noise_levels(KEPT[None]), r"shape \(T,\)"),
        (lambda: laws.gaussian_mmse(-1, 1), "variances must be finite and not negative"),
        (lambda: laws.gaussian_distance(1, 1, eta=0.5), "use chain_distance"),
        (lambda: laws.chain_distance(1, KEPT, []), "at least one"),
        (lambda: laws.chain_distance(1, KEPT, [3, 5]), "fall"),
        (lambda: laws.chain_distance(1, KEPT, [1000]), r"0..999, got 1000"),
        (lambda: laws.chain_distance(1, KEPT, [3], eta=2), r"eta must lie in \[0, 1\]"),
        (lambda: laws.intrinsic_dimension([0.0], [1.0]), "positive"),
        (lambda: laws.intrinsic_dimension([1.0], [[1.0]]), "one shape"),
        (lambda: laws.linear_denoiser_error([1.0], 0.0, 3), "sigma must be positive"),
        (lambda: laws.linear_denoiser_error([1.0], 1.0, 3, width=2), "at most the 1 variances"),
        (lambda: laws.linear_denoiser_error([1.0], 1.0, 3, frozen=2), "frozen must lie in"),
    ],
)
def test_doors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("start", TABLE)
def test_chain_and_limit(start):
    chain, limit = TABLE[start]
    steps = range(start, -1, -1)
    sigma = noise_levels(KEPT)[start]
    for eta, part in ((1, slice(3)), (0, slice(3, 6))):
        distance, variance = laws.chain_distance(LAMBDAS, KEPT, steps, eta=eta)
        np.testing.assert_allclose(distance, chain[part], atol=6e-5)
        expected = naive.chain_moments(LAMBDAS, KEPT, steps, eta)
        np.testing.assert_allclose((distance, variance), expected, rtol=1e-9)
        found = laws.gaussian_distance(LAMBDAS, sigma, eta=eta)
        np.testing.assert_allclose(found, limit[part], atol=6e-5)
        np.testing.assert_allclose(
            found, naive.gaussian_limits(LAMBDAS, KEPT[start])[1 - eta], rtol=1e-9
        )
    kept = laws.chain_distance([4, 1, 0.05, 0.01], KEPT, steps)[1] / [4, 1, 0.05, 0.01]
    assert (kept[:2] >= 0.991 - 1e-3).all()
    assert (kept <= 1 + 1e-9).all()


@pytest.mark.parametrize("steps", STRIDES)
def test_strides(steps):
    chosen = np.unique(np.linspace(400, 0, steps).round().astype(int))[::-1]
    for which, eta in enumerate((1, 0)):
        found = laws.chain_distance(LAMBDAS, KEPT, chosen, eta=eta)[0]
        limit = laws.gaussian_distance(LAMBDAS, noise_levels(KEPT)[400], eta=eta)
        expected = [row[which] for row in STRIDES[steps]]
        np.testing.assert_allclose(100 * (found / limit - 1), expected, atol=0.06)


def test_mutants_are_told_apart():
    """Exact values of wrong chains, from the notes; none is within the tolerance of the tests."""
    for start, wrong, right in ((100, (0.1144, 0.3452, 0.2028), 0.2234),
                                (400, (2.0780, 5.6754, 3.9617), 4.0613)):  # fmt: skip
        steps = range(start, -1, -1)
        kept, beta = KEPT[start], 1 - KEPT[start] / KEPT[start - 1]
        starts = [(np.sqrt(1 - beta), beta), (kept, (1 - kept) * (1 + kept)), None]
        for mutant, expected in zip(starts[:2], wrong, strict=False):
            found = naive.chain_moments(4.0, KEPT, steps, 1, mutant)[0]
            assert found == pytest.approx(expected, abs=1e-4)
            assert abs(found / right - 1) > 0.02
        late = (np.sqrt(kept), 1 - kept)
        found = naive.chain_moments(4.0, KEPT, range(start - 10, -1, -1), 1, late)[0]
        assert found != pytest.approx(right, rel=0.005)


def test_moments_agree():
    """The distance is twice the denoising error, which rises to the variance."""
    sigma = np.logspace(-2, 3, 40)
    mmse = laws.gaussian_mmse(LAMBDAS[:, None], sigma)
    assert (np.diff(mmse) > 0).all()
    np.testing.assert_allclose(mmse[:, -1], LAMBDAS, rtol=1e-4)
    stochastic = laws.gaussian_distance(LAMBDAS[:, None], sigma)
    np.testing.assert_array_equal(laws.distance_from_mmse(mmse), stochastic)
    assert (laws.gaussian_distance(LAMBDAS[:, None], sigma, eta=0) <= stochastic).all()
    assert laws.gaussian_distance(0.0, 0.0) == laws.gaussian_distance(0.0, 0.0, eta=0) == 0


def test_intrinsic_dimension_of_a_flat_manifold():
    variances = np.r_[np.full(7, 2.0), np.zeros(40)]
    sigma = np.array([0.01, 0.02])
    squares = [laws.gaussian_distance(variances, s).sum() for s in sigma]
    assert laws.intrinsic_dimension(sigma, squares) == pytest.approx(7, rel=1e-3)


FRESH = {8: 0.416, 16: 0.291, 32: 0.251, 64: 0.237, 512: 0.227}
FROZEN = {8: 1.08, 16: 1.08, 64: 0.449, 512: 0.241}
TENTH = {8: 0.418, 16: 0.295, 32: 0.253, 64: 0.238, 512: 0.228}
HALF = {8: 0.448, 16: 0.334, 32: 0.288, 64: 0.258, 512: 0.231}


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(0)
    drawn = [rng.standard_normal((32, 8)) / 8**0.5 for _ in range(60)]
    return [np.linalg.eigvalsh(w @ w.T + 0.05 * np.eye(32)) for w in drawn]


@pytest.mark.parametrize(("frozen", "table"), [(0, FRESH), (1, FROZEN), (0.1, TENTH), (0.5, HALF)])
def test_linear_denoiser_table(spectra, frozen, table):
    some = spectra if frozen in (0, 1) else spectra[::6]
    found = [laws.linear_denoiser_error(v, 1.0, list(table), frozen=frozen) for v in some]
    # the table is a mean of 30 trials: its own standard error is 1 % for n = 16, frozen 64
    np.testing.assert_allclose(
        np.mean(found, 0), list(table.values()), rtol=0.025 if frozen else 0.02
    )
    best = [laws.linear_denoiser_error(v, 1.0, 10**7) for v in spectra]
    assert np.mean(best) == pytest.approx(0.226, rel=0.01)


@pytest.mark.parametrize("frozen", [False, True, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [4, 8, 16, 24, 28, 48, 64, 200])
def test_linear_denoiser_against_monte_carlo(spectra, frozen, n):
    """Within 2 % of fits to random samples, and three standard errors of them."""
    rng = np.random.default_rng(n)
    v = spectra[0]
    trials = [naive.denoiser_trial(v, 1.0, n, rng, frozen) for _ in range(300)]
    error = np.std(trials) / np.sqrt(len(trials))
    found = laws.linear_denoiser_error(v, 1.0, n, frozen=frozen)
    assert abs(found - np.mean(trials)) < 0.02 * found + 3 * error


def test_double_descent_over_samples_and_width(spectra):
    v = spectra[0]
    frozen = [laws.linear_denoiser_error(v, 1.0, n, frozen=True) for n in range(2, 100)]
    assert np.isinf(frozen[29:32]).sum() == 3
    assert frozen[26] > 1.5 > 1.2 > frozen[5]
    assert frozen[32] > 5
    fresh = [laws.linear_denoiser_error(v, 1.0, n) for n in range(2, 100)]
    assert (np.diff(fresh) < 0).all()
    assert (np.array(frozen) > fresh).all()
    by_width = [laws.linear_denoiser_error(v, 1.0, 16, frozen=True, width=k) for k in range(1, 33)]
    peak = int(np.argmax(np.isinf(by_width)))
    assert peak + 1 in (15, 16, 17)
    assert by_width[7] < by_width[13]
    assert by_width[31] < by_width[17]


def test_width_against_monte_carlo(spectra):
    """Features beyond the width are noise: a fit that does not see them."""
    v, rng = np.sort(spectra[0])[::-1], np.random.default_rng(3)
    for frozen in (1, 0.5, 0):
        sizes = np.array([(5, 20), (12, 20), (30, 14)])
        found = laws.linear_denoiser_error(v, 1.0, sizes[:, 1], frozen=frozen, width=sizes[:, 0])
        for (width, n), value in zip(sizes, found, strict=True):
            trials = [naive.denoiser_trial(v, 1.0, n, rng, frozen, width) for _ in range(300)]
            error = np.std(trials) / np.sqrt(len(trials))
            assert abs(value - np.mean(trials)) < 0.02 * value + 3 * error
