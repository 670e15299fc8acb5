"""Maps along the plan, interpolation and barycenters of Gaussian mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from examples.mixtures import A, B, D, mixture, pot_arguments
from oracles import bures as naive

from fastgen.metrics import (
    CovarianceFactor,
    _maps,
    gmm_ot_apply_map,
    gmm_ot_plan,
    mixture_barycenter,
    mw2,
)
from fastgen.metrics.covariances import full

pytest.importorskip("ot")


def singular(rng, rank, d=8):
    factor = rng.standard_normal((d, rank))
    return factor @ factor.T


# --- Gaussian maps -------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 7])
def test_map_is_the_oracles_and_pushes(d):
    rng = np.random.default_rng(d)
    (_, _, (a, b)) = mixture(rng, 2, d)
    found = _maps.gaussian_map(full(a, "a"), full(b, "b"))
    np.testing.assert_allclose(found, naive.gaussian_map(a, b), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found @ a @ found.T, b, atol=1e-12 * np.trace(b))


@pytest.mark.parametrize(("first", "second"), [(5, 3), (5, 5), (8, 3), (3, 1)])
def test_map_between_singular_covariances_pushes(first, second):
    rng = np.random.default_rng(first)
    a, b = singular(rng, first), singular(rng, second)
    found = _maps.gaussian_map(full(a, "a"), full(b, "b"))
    np.testing.assert_allclose(found @ a @ found.T, b, atol=1e-12 * np.trace(b))
    gap = np.eye(8) - found
    cost = np.trace(gap @ a @ gap.T)
    assert cost == pytest.approx(naive.bures(a, b), rel=1e-6)
    # mutant: pseudo-inverse roots reach the projection of b only
    if first < 8:
        inverse = np.linalg.pinv(naive.root(a), rcond=1e-6)
        half = naive.root(a)
        mutant = inverse @ naive.root(half @ b @ half) @ inverse
        assert np.linalg.norm(mutant @ a @ mutant.T - b) > 0.1


def test_no_map_raises_the_rank():
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="no map takes a of rank 3 to b of rank 5"):
        _maps.gaussian_map(full(singular(rng, 3), "a"), full(singular(rng, 5), "b"))
    with pytest.warns(UserWarning, match="of rank 0"):
        found = _maps.gaussian_map(full(np.zeros((2, 2)), "a"), full(np.eye(2), "b"))
    assert not found.any()


# --- maps between mixtures -----------------------------------------------------------------------


def test_numbers_of_the_pair():
    # notes 1.4: Var T_rand = 100, Var T_mean = 39.479693, E|X - T_mean|^2 = 20.453172
    from scipy.stats import norm

    result = mw2(B, D)
    x = np.linspace(-60, 50, 60_001)[:, None]
    weights, means, variances = (np.array(v) for v in B)
    density = norm.pdf(x, means.T, np.sqrt(variances)) @ weights
    mass = density / density.sum()
    image = result.transport(x)[:, 0]
    assert mass @ image == pytest.approx(0, abs=1e-5)
    assert mass @ image**2 == pytest.approx(39.479693, rel=1e-6)
    assert mass @ (x[:, 0] - image) ** 2 == pytest.approx(20.453172, rel=1e-6)
    assert mass @ (x[:, 0] - image) ** 2 <= result.squared_distance

    rng = np.random.default_rng(0)
    label = rng.random(200_000) < 0.2
    samples = np.where(label, -8 * 5**0.5, 2 * 5**0.5)
    samples = samples + rng.standard_normal(200_000) * np.where(label, 40, 15) ** 0.5
    moved = result.transport(samples[:, None], method="random", random_state=1)[:, 0]
    assert moved.mean() == pytest.approx(0, abs=0.1)
    assert moved.var() == pytest.approx(100, rel=0.01)
    assert ((samples - moved) ** 2).mean() == pytest.approx(80.973479, rel=0.01)
    again = result.transport(samples[:, None], method="random", random_state=1)[:, 0]
    np.testing.assert_array_equal(moved, again)


@pytest.mark.parametrize("kind", ["full", "diagonal", "root"])
def test_mean_map_is_the_oracles(kind):
    rng = np.random.default_rng(1)
    first, second = mixture(rng, 3, 2), mixture(rng, 4, 2)
    given = first
    if kind == "diagonal":
        variances = rng.gamma(2, size=(3, 2))
        first = first[0], first[1], variances[:, :, None] * np.eye(2)
        given = first[0], first[1], variances
    if kind == "root":
        given = first[0], first[1], [CovarianceFactor(naive.root(c)) for c in first[2]]
    x = rng.standard_normal((50, 2)) * 2
    result = mw2(given, second)
    expected = naive.mean_map(x, result.plan, first, second)
    np.testing.assert_allclose(result.transport(x), expected, rtol=1e-7, atol=1e-9)


def test_far_samples_are_not_lost():
    # densities underflow there; their ratios do not
    image = mw2(B, D).transport([[1e4], [-1e4]])
    assert np.isfinite(image).all()
    assert image[0, 0] > 1e3
    assert image[1, 0] < -1e3


def test_map_to_itself_is_the_identity():
    rng = np.random.default_rng(2)
    gmm = mixture(rng, 3, 4)
    x = rng.standard_normal((20, 4))
    for method in ("mean", "random"):
        np.testing.assert_allclose(mw2(gmm, gmm).transport(x, method=method), x, atol=1e-9)


def test_transport_refuses():
    result = mw2(B, D)
    with pytest.raises(ValueError, match="X and the mixtures must have the same number of col"):
        result.transport([[1.0, 2.0]])
    with pytest.raises(ValueError, match="X must be finite"):
        result.transport([[np.nan]])
    with pytest.raises(ValueError, match="method must be one of"):
        result.transport([[1.0]], method="median")
    flat = [0.5, 0.5], [[0.0], [1.0]], [0.0, 1.0]
    with pytest.raises(ValueError, match=r"covariances of gmm1\[0\] must be invertible, got rank"):
        mw2(flat, D).transport([[1.0]])
    matrices = np.array([np.diag([1.0, 0.0]), np.eye(2)])
    with pytest.raises(ValueError, match="must be invertible, got rank 1 in dimension 2"):
        mw2(([0.5, 0.5], np.eye(2), matrices), ([1.0], [[0, 0]], [[[1, 0], [0, 1]]])).transport(
            [[1.0, 2.0]]
        )
    alone = [1.0], [[0.0]], [[[4.0]]]
    np.testing.assert_allclose(mw2(alone, A).transport([[1.0]]), [[5.0]])


@pytest.mark.parametrize("method", ["bary", "rand"])
def test_apply_map_is_pots(method):
    gmm = pytest.importorskip("ot.gmm")
    m, n, c, e, w, v = pot_arguments(3, 3, 2, 2)
    x = np.random.default_rng(0).standard_normal((400, 2))
    theirs = gmm.gmm_ot_apply_map(x, m, n, c, e, w, v, method=method, seed=5)
    found = gmm_ot_apply_map(x, m, n, c, e, w, v, method=method, seed=5)
    np.testing.assert_allclose(found, theirs, rtol=1e-7, atol=1e-9)
    plan = gmm_ot_plan(m, n, c, e, w, v)
    given = gmm_ot_apply_map(x, m, n, c, e, w, v, plan=plan, method=method, seed=5)
    np.testing.assert_array_equal(given, found)


def test_apply_map_refuses():
    arguments = pot_arguments(4)
    with pytest.raises(ValueError, match="method must be one of 'bary', 'rand'"):
        gmm_ot_apply_map(np.zeros((1, 2)), *arguments, method="mean")
    with pytest.raises(ValueError, match=r"plan must be nonnegative of shape \(3, 2\)"):
        gmm_ot_apply_map(np.zeros((1, 2)), *arguments, plan=np.ones((2, 3)))


# --- interpolation -------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [(None, None), (2, 3), (3, 1)])
def test_interpolation_is_a_geodesic(ranks):
    rng = np.random.default_rng(5)
    first, second = mixture(rng, 3, 4, n=ranks[0]), mixture(rng, 2, 4, n=ranks[1])
    result = mw2(first, second)
    length = np.sqrt(result.squared_distance)
    times = [0.0, 0.3, 0.5, 1.0]
    path = [result.interpolate(t) for t in times]
    for s, one in zip(times, path, strict=True):
        assert one.weights_.sum() == pytest.approx(1)
        for t, other in zip(times, path, strict=True):
            between = np.sqrt(mw2(one, other).squared_distance)
            assert between == pytest.approx(abs(s - t) * length, rel=1e-9, abs=1e-6 * length)
    assert mw2(path[0], first).squared_distance == pytest.approx(0, abs=1e-12)
    assert mw2(path[-1], second).squared_distance == pytest.approx(0, abs=1e-12)


def test_interpolation_refuses():
    with pytest.raises(ValueError, match=r"t must be between 0 and 1, got 1\.5"):
        mw2(B, D).interpolate(1.5)
    with pytest.raises(ValueError, match="t must be finite and at least 0"):
        mw2(B, D).interpolate(-0.1)


# --- barycenters ---------------------------------------------------------------------------------


def test_gaussian_barycenter_is_the_oracles_fixed_point():
    rng = np.random.default_rng(6)
    _, _, covs = mixture(rng, 3, 3)
    weights = np.array([0.2, 0.3, 0.5])
    found = _maps.barycenter([full(c, "c").root for c in covs], weights, 1e-13, 500)
    assert found.converged
    np.testing.assert_allclose(
        found.covariance, naive.gaussian_barycenter(covs, weights), rtol=1e-9
    )
    cost = sum(w * naive.bures(found.covariance, c) for w, c in zip(weights, covs, strict=True))
    assert found.cost == pytest.approx(cost, rel=1e-9)


def test_barycenter_of_two_is_on_the_geodesic():
    rng = np.random.default_rng(7)
    first, second = mixture(rng, 2, 3), mixture(rng, 3, 3)
    found = mixture_barycenter([first, second], [0.6, 0.4])
    assert found.converged_
    squared = mw2(first, second).squared_distance
    assert mw2(found, first).squared_distance == pytest.approx(0.16 * squared, rel=1e-6)
    assert mw2(found, second).squared_distance == pytest.approx(0.36 * squared, rel=1e-6)
    assert mw2(found, mw2(first, second).interpolate(0.4)).squared_distance < 1e-9
    assert found.objective_ == pytest.approx(0.6 * 0.4 * squared, rel=1e-8)
    assert "n_components=" in repr(found)


def test_barycenter_of_three_beats_its_neighbours():
    rng = np.random.default_rng(8)
    mixtures = [mixture(rng, k, 2) for k in (2, 3, 2)]
    found = mixture_barycenter(mixtures)

    def objective(gmm):
        return np.mean([mw2(gmm, one).squared_distance for one in mixtures])

    assert objective(found) == pytest.approx(found.objective_, rel=1e-8)
    np.testing.assert_allclose(found.weights_.sum(), 1)
    assert found.members_.shape == (len(found.weights_), 3)
    for _ in range(5):
        moved = found.weights_, found.means_ + 0.05 * rng.standard_normal(found.means_.shape)
        assert objective((*moved, found.covariances_)) > found.objective_
        assert objective((*moved, found.covariances_ * 1.1)) > found.objective_


def test_barycenter_of_one_and_of_points():
    gmm = ([0.5, 0.5], [[0.0], [2.0]], [1.0, 4.0])
    alone = mixture_barycenter([gmm])
    assert mw2(alone, gmm).squared_distance == pytest.approx(0, abs=1e-13)
    points = [([0.5, 0.5], [[0.0], [2.0]], [0.0, 0.0]), ([1.0], [[4.0]], [0.0])]
    found = mixture_barycenter(points)
    np.testing.assert_allclose(sorted(found.means_[:, 0]), [2.0, 3.0])
    assert not found.covariances_.any()


def test_barycenter_says_when_it_did_not_converge():
    rng = np.random.default_rng(9)
    mixtures = [mixture(rng, 1, 3) for _ in range(3)]
    with pytest.warns(UserWarning, match="did not converge in 1 steps to 1e-10; raise"):
        assert not mixture_barycenter(mixtures, max_iter=1).converged_


@pytest.mark.parametrize(
    ("mixtures", "weights", "message"),
    [
        ([], None, "at least one mixture"),
        ([A, B], [1.0], r"weights must have shape \(2,\)"),
        ([A, B], [0.0, 0.0], "sum to more than 0"),
        ([A, ([1.0], [[0.0, 0.0]], [1.0])], None, "same number of columns"),
        ([(np.full(200, 0.005), np.zeros((200, 1)), np.ones(200))] * 2, None, "at most 20000"),
    ],
)
def test_barycenter_refuses(mixtures, weights, message):
    with pytest.raises(ValueError, match=message):
        mixture_barycenter(mixtures, weights)
