"""Transport between Gaussian mixtures: golden values, invariants, the lazy program, POT's names."""

from __future__ import annotations

import types
import warnings

import numpy as np
import pytest
from examples.mixtures import FIVE, A, B, D, mixture, pot_arguments
from oracles import bures as naive
from sklearn.mixture import GaussianMixture

from fastgen.metrics import (
    CovarianceFactor,
    _transport,
    bures,
    dist_bures_squared,
    frechet_distance,
    gmm_ot_loss,
    gmm_ot_plan,
    mw2,
)

pytest.importorskip("ot")


def value(first, second, **options):
    return mw2(first, second, **options).squared_distance


# --- golden values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "expected", "mutants"),
    [
        (A, B, 112.7340451793, (9.720873, 6580, 80)),
        (A, D, 110.5572809000, (10.514622, 6480, 80)),
        (B, D, 80.9734785799, (8.111797, 180, 80, 160.973479)),
    ],
)
def test_same_moments_other_laws(first, second, expected, mutants):
    found = mw2(first, second)
    assert found.squared_distance == pytest.approx(expected, rel=1e-9)
    assert value(second, first) == pytest.approx(expected, rel=1e-9)
    for wrong in mutants:
        assert abs(found.squared_distance - wrong) > 0.1
    moments = [
        naive.mixture_moments(np.array(w), np.array(m), np.array(v)[:, None, None])
        for w, m, v in (first, second)
    ]
    assert frechet_distance(*moments[0], *moments[1]) == pytest.approx(0, abs=1e-10)


def test_closed_forms_and_plan():
    expected = 0.2 * (320 + (10 - 2 * np.sqrt(10)) ** 2) + 0.8 * (20 + (10 - np.sqrt(15)) ** 2)
    assert value(A, B) == pytest.approx(expected, rel=1e-13)
    assert value(A, D) == pytest.approx(80 + (10 - 2 * FIVE) ** 2, rel=1e-13)
    found = mw2(B, D)
    np.testing.assert_allclose(found.plan, [[0.2, 0.0], [0.3, 0.5]], atol=1e-15)
    assert found.contributions.sum() == pytest.approx(found.squared_distance, rel=1e-15)
    np.testing.assert_allclose(found.mean_costs, [[80, 720], [180, 20]], rtol=1e-13)
    assert found.bracket == (found.squared_distance,) * 2
    assert found.exact.all()
    assert repr(found) == "MW2Result(squared_distance=80.9735, plan=(2, 2), n_evaluated=2)"


# --- theorems ------------------------------------------------------------------------------------


def quantiles(weights, means, variances, levels):
    from scipy.stats import norm

    grid = np.linspace(-30, 30, 60_001)
    cdf = weights @ norm.cdf((grid - means) / np.sqrt(variances)[:, None])
    return np.interp(levels, cdf, grid)


def test_bounds_on_200_random_mixtures():
    rng = np.random.default_rng(0)
    levels = (np.arange(20_000) + 0.5) / 20_000
    slack = np.inf
    for _ in range(200):
        pair = []
        for _ in range(2):
            k = rng.integers(1, 5)
            pair.append(
                (rng.dirichlet(np.ones(k)), rng.normal(0, 3, (k, 1)), rng.gamma(1, 1, k) + 1e-6)
            )
        moving = [np.sqrt(2 * w @ v) for w, _, v in pair]
        w2 = np.sqrt(np.mean((quantiles(*pair[0], levels) - quantiles(*pair[1], levels)) ** 2))
        moments = [naive.mixture_moments(w, m, v[:, None, None]) for w, m, v in pair]
        fid = frechet_distance(*moments[0], *moments[1])
        squared = value(*pair)
        assert fid <= w2**2 + 2e-3
        assert fid <= squared * (1 + 1e-12) + 1e-12
        assert w2 <= np.sqrt(squared) + 1e-3
        slack = min(slack, w2 + sum(moving) - np.sqrt(squared))
    assert slack > 0.3


def test_fid_is_a_lower_bound_in_any_dimension():
    rng = np.random.default_rng(1)
    for d, k in ((1, 3), (5, 4), (20, 2)):
        first, second = mixture(rng, k, d), mixture(rng, k + 1, d)
        fid = frechet_distance(*naive.mixture_moments(*first), *naive.mixture_moments(*second))
        assert fid <= value(first, second)


def test_moment_identity_of_a_fit():
    # after an M-step with full covariance the mixture has the sample's biased moments
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 400, 4)) @ np.diag([3, 2, 1, 0.5])
    fits = [
        GaussianMixture(3, random_state=0, reg_covar=1e-6, max_iter=2, tol=1e9).fit(z)
        for z in (x, y)
    ]
    fid = frechet_distance(
        x.mean(0),
        np.cov(x.T, ddof=0) + 1e-6 * np.eye(4),
        y.mean(0),
        np.cov(y.T, ddof=0) + 1e-6 * np.eye(4),
    )
    weights, means = fits[0].weights_, fits[0].means_
    mean, covariance = naive.mixture_moments(weights, means, fits[0].covariances_)
    np.testing.assert_allclose(mean, x.mean(0), atol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(x.T, ddof=0) + 1e-6 * np.eye(4), atol=1e-12)
    assert fid <= value(*fits)


def test_one_component_is_the_frechet_distance():
    rng = np.random.default_rng(3)
    first, second = mixture(rng, 1, 6), mixture(rng, 1, 6)
    expected = frechet_distance(first[1][0], first[2][0], second[1][0], second[2][0])
    assert value(first, second) == pytest.approx(expected, rel=1e-14)
    moved = second[0], second[1] + 5.0, second[2]
    gap = (first[1] - second[1])[0]
    assert value(first, moved) == pytest.approx(expected + 6 * 25 - 10 * gap.sum(), rel=1e-12)


@pytest.mark.parametrize("method", ["dense", "lazy"])
def test_invariances(method):
    rng = np.random.default_rng(4)
    first, second, third = mixture(rng, 3, 4), mixture(rng, 4, 4), mixture(rng, 2, 4)
    squared = value(first, second, method=method)

    assert value(first, first, method=method) == 0
    assert value(first, tuple(x.copy() for x in first), method=method) == 0
    assert value(second, first, method=method) == pytest.approx(squared, rel=1e-13)
    order = [2, 0, 3, 1]
    permuted = tuple(x[order] for x in second)
    assert value(first, permuted, method=method) == pytest.approx(squared, rel=1e-13)
    split = tuple(x[[0, 0, 1, 2]] for x in first)
    split[0][:2] /= 2
    assert value(split, second, method=method) == pytest.approx(squared, rel=1e-13)
    assert value(split, first, method=method) == pytest.approx(0, abs=1e-15)

    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    turned = [(w, m @ turn.T + 3.0, turn @ c @ turn.T) for w, m, c in (first, second)]
    assert value(*turned, method=method) == pytest.approx(squared, rel=1e-12)
    scaled = [(w, 7 * m, 49 * c) for w, m, c in (first, second)]
    assert value(*scaled, method=method) == pytest.approx(49 * squared, rel=1e-12)

    centered = [(w, m - w @ m, c) for w, m, c in (first, second)]
    gap = first[0] @ first[1] - second[0] @ second[1]
    both = (gap**2).sum() + value(*centered, method=method)
    assert squared == pytest.approx(both, rel=1e-12)

    legs = np.sqrt([value(first, third), value(third, second), squared])
    assert legs[2] <= legs[0] + legs[1]
    plan = mw2(first, second, method=method).plan
    assert np.count_nonzero(plan) <= 3 + 4 - 1
    np.testing.assert_allclose(plan.sum(1), first[0], atol=1e-15)
    np.testing.assert_allclose(plan.sum(0), second[0], atol=1e-15)


def test_disjoint_sets():
    rng = np.random.default_rng(5)
    first, second = mixture(rng, 3, 2), mixture(rng, 3, 2)
    far = second[0], second[1] + 1e8, second[2]
    assert value(first, far) == pytest.approx(2e16, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scales(scale):
    rng = np.random.default_rng(6)
    first, second = mixture(rng, 4, 3), mixture(rng, 5, 3)
    scaled = [(w, m * scale, c * scale * scale) for w, m, c in (first, second)]
    for method in ("dense", "lazy"):
        found = value(*scaled, method=method) / scale / scale
        assert found == pytest.approx(value(first, second), rel=1e-12)


# --- the linear program --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "d", "n"), [(2, 1, 3), (6, 3, 2), (6, 3, 9), (15, 8, 5), (12, 5, 40)]
)
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
def test_lazy_is_dense(k, d, n, spread):
    rng = np.random.default_rng(k)
    first, second = mixture(rng, k, d, spread, n), mixture(rng, k + 2, d, spread, n)
    dense, lazy = mw2(first, second, method="dense"), mw2(first, second, method="lazy")
    assert lazy.squared_distance == pytest.approx(dense.squared_distance, rel=1e-13)
    assert lazy.exact[lazy.plan > 0].all()
    np.testing.assert_allclose(lazy.costs[lazy.exact], dense.costs[lazy.exact], rtol=1e-12)
    assert (lazy.costs <= dense.costs * (1 + 1e-12)).all()
    low, high = lazy.bracket
    assert low <= dense.squared_distance * (1 + 1e-12)
    assert dense.squared_distance <= high * (1 + 1e-12)
    assert lazy.n_evaluated == lazy.exact.sum() <= dense.n_evaluated == k * (k + 2)
    expected, _ = naive.transport(first[0], second[0], dense.costs)
    assert dense.squared_distance == pytest.approx(expected, rel=1e-9)


def test_lazy_spares_pairs_and_is_chosen():
    rng = np.random.default_rng(7)
    first = mixture(rng, 50, 6, 2.0)
    second = first[0], first[1] + 0.05 * rng.standard_normal((50, 6)), 1.1 * first[2]
    found = mw2(first, second)
    assert found.n_evaluated < 250
    assert not found.exact.all()
    assert mw2(mixture(rng, 30, 6), mixture(rng, 30, 6)).exact.all()
    spherical = [(w, m, np.arange(1.0, 51)) for w, m, _ in (first, second)]
    assert mw2(*spherical).exact.all()


def test_a_wrong_lower_bound_would_be_seen(monkeypatch):
    # a mutant: bounds that are above the costs
    rng = np.random.default_rng(8)
    first, second = mixture(rng, 8, 3, 0.2), mixture(rng, 8, 3, 0.2)
    dense = value(first, second, method="dense")
    costs = dist_bures_squared(first[1], second[1], first[2], second[2])
    found, _, _ = _transport.solve_lazily(
        first[0], second[0], costs * 1.5 * (costs < costs.mean()), lambda i, j: costs[i, j]
    )
    assert found.value > dense * (1 + 1e-6)


def test_solver_refuses_what_it_cannot_prove(monkeypatch):
    import ot

    p, cost = np.full(2, 0.5), np.array([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="must not be NaN"):
        _transport.solve(p, p, cost * np.nan)
    zeros = {"u": np.zeros(2), "v": np.zeros(2), "warning": None}
    entropic = np.array([[0.4, 0.1], [0.1, 0.4]])
    monkeypatch.setattr(ot, "emd", lambda *a, **k: (entropic, zeros))
    with pytest.raises(RuntimeError, match=r"no optimal plan \(its prices do not prove it\)"):
        _transport.solve(p, p, cost)
    monkeypatch.setattr(ot, "emd", lambda *a, **k: (np.eye(2) / 2, zeros | {"warning": "late"}))
    with pytest.raises(RuntimeError, match=r"no optimal plan \(late\)"):
        _transport.solve(p, p, cost)


def test_one_component_needs_no_solver(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ot", None)
    assert value(A, B) == pytest.approx(112.7340451793, rel=1e-9)
    with pytest.raises(ImportError, match="POT"):
        mw2(B, D)


# --- what is a mixture ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_fitted_mixtures(kind):
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((200, 2)), rng.standard_normal((200, 2)) @ [[1, 1], [0, 2]]
    fits = [GaussianMixture(2, covariance_type=kind, random_state=0).fit(z) for z in (x, y)]
    matrices = {
        "full": lambda c: c,
        "tied": lambda c: np.array([c, c]),
        "diag": lambda c: c[:, :, None] * np.eye(2),
        "spherical": lambda c: c[:, None, None] * np.eye(2),
    }
    dense = [(f.weights_, f.means_, matrices[kind](f.covariances_)) for f in fits]
    found = mw2(*fits)  # two components in the plane: the type tells tied from diagonal
    assert found.squared_distance == pytest.approx(value(*dense), rel=1e-10)
    cost = naive.costs(*dense[0][1:], *dense[1][1:])
    assert found.squared_distance == pytest.approx(
        naive.transport(dense[0][0], dense[1][0], cost)[0], rel=1e-7
    )


def test_factors_and_empty_components():
    rng = np.random.default_rng(10)
    data = rng.standard_normal((4, 30, 7))  # seven samples in dimension 30
    sides = []
    for part in (data[:2], data[2:]):
        moments = [CovarianceFactor.from_samples(x.T) for x in part]
        sides.append(([0.5, 0.5], [m for m, _ in moments], [f for _, f in moments]))
    dense = [(w, m, [f.array @ f.array.T for f in c]) for w, m, c in sides]
    assert value(*sides) == pytest.approx(value(*dense), rel=1e-12)
    weightless = ([0.5, 0.0, 0.5], [*sides[0][1], sides[0][1][0]], [*sides[0][2], sides[0][2][0]])
    order = [0, 1, 1]
    expected = ([0.5, 0.0, 0.5], np.array(sides[0][1])[order], [sides[0][2][i] for i in order])
    assert value(expected, sides[0]) == pytest.approx(0, abs=1e-13)
    assert value(weightless, sides[0]) > 0


def test_weights_are_brought_to_one():
    third = np.full(3, 1 / 3, dtype=np.float32)
    components = np.zeros((3, 1)), np.ones(3)
    found = mw2((third, *components), ([0.2, 0.3, 0.5], *components))
    assert found.plan.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("gmm", "error", "message"),
    [
        (GaussianMixture(2), TypeError, "GaussianMixture without weights_, means_, cov.*fit it"),
        (([1.0], [[0.0]]), ValueError, r"gmm1 must be \(weights, means, covariances\), got 2"),
        (([0.5], [[0.0]], [1.0]), ValueError, r"weights of gmm1 must sum to 1\.0, got 0.5"),
        (([0.5, 0.5], [[0.0]], [1.0]), ValueError, r"weights of gmm1 must have shape \(1,\)"),
        (([2.0, -1.0], [[0.0]] * 2, [1.0] * 2), ValueError, "not be negative, got -1.* position 1"),
        (([np.nan], [[0.0]], [1.0]), ValueError, "weights of gmm1 must be finite"),
        (([1.0], [[np.inf]], [1.0]), ValueError, "means of gmm1 must be finite"),
        (([1.0], [[0.0]], [-1.0]), ValueError, "covariances of gmm1 must hold variances"),
        (([1.0], [[0.0, 1.0]], [1.0]), ValueError, "same number of columns, got 2 and 1"),
        (
            types.SimpleNamespace(
                weights_=[1.0], means_=[[0.0]], covariances_=[1.0], covariance_type="round"
            ),
            ValueError,
            "covariance_type must be one of full, tied, diag, spherical",
        ),
    ],
)
def test_bad_mixtures_are_refused(gmm, error, message):
    with pytest.raises(error, match=message):
        mw2(gmm, A)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"method must be one of.*did you mean 'lazy'"):
        mw2(A, B, method="lazi")


# --- POT's names ---------------------------------------------------------------------------------


def test_loss_and_plan_are_pots():
    gmm = pytest.importorskip("ot.gmm")
    for seed, shape in enumerate([(3, 2, 2), (1, 4, 3), (5, 5, 8)]):
        arguments = pot_arguments(seed, *shape)
        loss, log = gmm_ot_loss(*arguments, log=True)
        theirs, their_log = gmm.gmm_ot_loss(*arguments, log=True)
        assert loss == gmm_ot_loss(*arguments)
        assert loss == pytest.approx(float(theirs), rel=1e-8)
        assert set(log) >= {"cost", "u", "v", "warning", "result_code"}
        assert log["result_code"] == their_log["result_code"]
        plan = gmm_ot_plan(*arguments)
        np.testing.assert_allclose(plan, gmm.gmm_ot_plan(*arguments), atol=1e-12)
        assert log["u"] @ arguments[4] + log["v"] @ arguments[5] == pytest.approx(loss)
        assert gmm_ot_plan(*arguments, log=True)[1]["cost"] == loss


def test_behaviours_that_pot_promises():
    # our cases of what ot.gmm's documentation states: symmetry, zero for itself, marginals, the
    # identity plan, unequal numbers of components, a loss that is the plan's cost
    m, n, c, e, w, v = pot_arguments(20, 4, 4, 3)
    assert gmm_ot_loss(m, m, c, c, w, w) == 0
    np.testing.assert_allclose(gmm_ot_plan(m, m, c, c, w, w), np.diag(w), atol=1e-15)
    assert gmm_ot_loss(m, n, c, e, w, v) == pytest.approx(gmm_ot_loss(n, m, e, c, v, w))
    costs, plan = dist_bures_squared(m, n, c, e), gmm_ot_plan(m, n, c, e, w, v)
    assert (plan * costs).sum() == pytest.approx(gmm_ot_loss(m, n, c, e, w, v))
    assert (dist_bures_squared(m, m, c, c).diagonal() == 0).all()
    assert (costs >= 0).all()
    for drop in range(6):
        arguments = [m, n, c, e, w, v]
        arguments[drop] = arguments[drop][:-1]
        with pytest.raises(ValueError, match="must"):
            gmm_ot_loss(*arguments)
    with pytest.raises(ValueError, match="must"):
        gmm_ot_loss(m[:, 1:], n, c[:, 1:, 1:], e, w, v)


def test_right_where_pots_loss_is_zero():
    gmm = pytest.importorskip("ot.gmm")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 128, 64)) / 8
    zero, one = np.zeros((1, 128)), np.ones(1)
    arguments = zero, zero, (x @ x.T)[None], (y @ y.T)[None], one, one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = gmm.gmm_ot_loss(*arguments)
    expected = naive.bures_factors(x, y)
    assert gmm_ot_loss(*arguments) == pytest.approx(expected, rel=1e-12)
    assert theirs == 0 or theirs == pytest.approx(expected, rel=1e-6)
    assert bures(arguments[2][0], arguments[3][0]) > 1
