"""fastgen.modes.MultiplicativeWeights: the oracle table, its mutants, the bound, the door."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import modes as naive

from fastgen.modes import MultiplicativeWeights, coverage_guarantee, rounds_needed

N = 1000


def oracle_run(n_rounds, gamma, rule="mwu", slack=1e-12):
    return naive.multiplicative_weights(
        N, n_rounds, lambda p: naive.prefix_generator(p, gamma, slack), rule
    )


def run(n_rounds, gamma, values="ratio"):
    rule = MultiplicativeWeights(N, values=values)
    for _ in range(n_rounds):
        p = rule.probabilities_
        made = naive.prefix_generator(p, gamma)
        rule.update(made * N if values == "ratio" else p / (p + made))
    return rule


# --- the table of the note, section 2.5 ----------------------------------------------------------


@pytest.mark.parametrize(
    ("n_rounds", "gamma", "least", "bound", "most_uncovered", "limit"),
    [
        (50, 0.1, 0.5463, 0.195, 8, 10.98),
        (50, 0.3, 0.3836, 0.1724, 14, 15.53),
        (200, 0.3, 0.3499, 0.2306, 14, None),
    ],
)
@pytest.mark.parametrize("values", ["ratio", "discriminator"])
def test_the_golden_table(n_rounds, gamma, least, bound, most_uncovered, limit, values):
    rule = run(n_rounds, gamma, values)
    assert rule.n_rounds_ == n_rounds
    assert rule.ratio_.min() == pytest.approx(least, abs=6e-5)
    assert rule.guarantee_ == pytest.approx(bound, abs=6e-5 if bound != 0.195 else 6e-4)
    assert rule.uncovered_rounds_.max() == most_uncovered
    if limit is not None:
        spent = math.log2(N) + np.log2(1 + rule.uncovered_mass_).sum()
        assert spent == pytest.approx(limit, abs=0.03)
    assert rule.coverage() == 1
    ratio, expected, counts, rho = oracle_run(n_rounds, gamma)
    np.testing.assert_allclose(rule.ratio_, ratio, rtol=1e-6)
    assert rule.guarantee_ == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(rule.uncovered_rounds_, counts)
    np.testing.assert_allclose(rule.uncovered_mass_, rho, atol=1e-12)


@pytest.mark.parametrize(
    ("fault", "least", "bound"),
    [("never", 0.0, 0.106), ("forgets_share", 0.1497, 0.162), ("doubles_covered", 0.0, 0.131)],
)
def test_the_table_catches_mutants(fault, least, bound):
    ratio, found, _, _ = oracle_run(50, 0.3, fault)
    assert ratio.min() == pytest.approx(least, abs=6e-5)
    assert found == pytest.approx(bound, abs=6e-4)
    assert ratio.min() < found


def test_a_tie_is_the_only_thing_that_rounding_decides():
    assert oracle_run(50, 0.1, slack=0.0)[0].min() == pytest.approx(0.5540, abs=6e-5)
    assert oracle_run(50, 0.3, slack=0.0)[0].min() == pytest.approx(0.3836, abs=6e-5)


def test_ten_rounds_are_too_few():
    assert run(10, 0.3).ratio_.min() == 0
    assert run(10, 0.3).guarantee_ == 0
    assert rounds_needed(N, slack=0.99) > 10


def test_pointwise_coverage_costs_closeness():
    """The price that the docstring names: total variation to the data grows with the rounds."""
    variation = [0.5 * np.abs(run(n, 0.1).ratio_ - 1).mean() for n in (1, 50)]
    assert variation[0] == pytest.approx(0.10, abs=0.005)
    assert variation[1] > 0.3


# --- the guarantee -------------------------------------------------------------------------------


def adversary(kind, rng):
    """A generator that does its worst: whom it leaves out depends on the weights, or on nothing."""

    def generator(p):
        gamma = rng.uniform(0, 0.6)
        order = {
            "heaviest": np.argsort(-p, kind="stable"),
            "lightest": np.argsort(p, kind="stable"),
            "random": rng.permutation(len(p)),
        }[kind]
        dropped = order[np.cumsum(p[order]) <= gamma]
        made = p.copy()
        made[dropped] *= rng.choice([0, 1e-3, 0.2])
        return made / made.sum()

    return generator


@pytest.mark.parametrize("seed", range(100))
def test_no_point_falls_below_the_bound(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 300))
    threshold = float(rng.uniform(0.05, 0.9))
    rule = MultiplicativeWeights(n, threshold=threshold, values="ratio")
    generator = adversary(("heaviest", "lightest", "random")[seed % 3], rng)
    for _ in range(int(rng.integers(1, 120))):
        rule.update(generator(rule.probabilities_) * n)
        assert rule.ratio_.min() >= rule.guarantee_ - 1e-12
        spent = math.log2(n) + np.log2(1 + rule.uncovered_mass_).sum()
        assert rule.uncovered_rounds_.max() <= spent + 1e-9


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(0, 3), min_size=n, max_size=n), min_size=1, max_size=40
        )
    )
)
def test_the_bound_holds_for_any_ratios(rounds):
    rule = MultiplicativeWeights(len(rounds[0]), values="ratio")
    for values in rounds:
        rule.update(values)
    assert rule.ratio_.min() >= rule.guarantee_ - 1e-12
    assert rule.probabilities_.sum() == pytest.approx(1)


@pytest.mark.parametrize("gamma", [0.01, 0.05, 0.1])
def test_the_constants_of_the_guarantee(gamma):
    """Generators that cover all but gamma of their law with ratio psi: psi gamma (1 - 3g - eta)."""
    eta, psi = 0.25, 1.0
    n_rounds = rounds_needed(N, slack=eta)
    rule = MultiplicativeWeights(N, threshold=psi * gamma, values="ratio")
    for _ in range(n_rounds):
        rule.update(naive.prefix_generator(rule.probabilities_, gamma) * N)
    assert (rule.uncovered_mass_ <= 2 * gamma + 1e-12).all()
    promised = psi * gamma * (1 - 3 * gamma - eta)
    assert rule.ratio_.min() >= rule.guarantee_ >= promised - 1e-12


def test_weights_of_a_missed_mode_double_until_it_is_hit():
    rule = MultiplicativeWeights(10_050)
    missed = np.zeros(10_050, bool)
    missed[10_000:] = True
    shares = []
    for _ in range(9):
        p = rule.probabilities_
        shares.append(p[missed].sum())
        rule.update(np.where(missed, 1.0, p / (p + 1 / 10_000)))
    expected = [0.0050, 0.0099, 0.0196, 0.0385, 0.0741, 0.1379, 0.2424, 0.3902, 0.5614]
    np.testing.assert_allclose(shares, expected, atol=6e-5)
    rule.update(np.full(10_050, 0.5))
    np.testing.assert_array_equal(rule.weights_[missed], 2.0**9)


def test_very_many_rounds_do_not_overflow():
    rule = MultiplicativeWeights(2, values="ratio")
    for _ in range(1500):
        rule.update([0.0, 2.0])
    np.testing.assert_array_equal(rule.probabilities_, [1.0, 0.0])


# --- the loop ------------------------------------------------------------------------------------


def trainer(seen):
    def train_round(p):
        seen.append(p)
        return naive.prefix_generator(p, 0.3) * N

    return train_round


def test_fit_is_rounds_of_update():
    seen, counts = [], []
    rule = MultiplicativeWeights(N, values="ratio")
    X = np.zeros((N, 2))
    rule.fit(trainer(seen), X, 20, progress=lambda *count: counts.append(count))
    assert counts[-1] == (20, 20)
    rule.fit(trainer(seen), X, 30, progress=False)
    assert len(seen) == 50
    np.testing.assert_array_equal(rule.ratio_, run(50, 0.3).ratio_)


def test_fit_stops_at_the_target():
    rule = MultiplicativeWeights(N, values="ratio")
    rule.fit(trainer([]), np.zeros(N), 500, target=0.2, progress=False)
    assert rule.n_rounds_ < 500
    assert rule.guarantee_ >= 0.2
    assert run(rule.n_rounds_ - 1, 0.3).guarantee_ < 0.2


def test_an_interrupted_fit_keeps_its_rounds():
    rule = MultiplicativeWeights(N, values="ratio")
    seen = []

    def interrupted(p):
        if len(seen) == 3:
            raise KeyboardInterrupt
        return trainer(seen)(p)

    with pytest.raises(KeyboardInterrupt):
        rule.fit(interrupted, np.zeros(N), 10, progress=False)
    assert rule.n_rounds_ == 3
    again = pickle.loads(pickle.dumps(rule))
    again.fit(trainer([]), np.zeros(N), 47, progress=False)
    np.testing.assert_array_equal(again.ratio_, run(50, 0.3).ratio_)


def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    rule = MultiplicativeWeights(4)
    rule.update(torch.tensor([[0.5], [0.9], [1.0], [0.0]], requires_grad=True))
    np.testing.assert_array_equal(rule.uncovered_rounds_, [0, 1, 1, 0])
    assert repr(rule) == ("MultiplicativeWeights(4 points, 1 rounds: guarantee 0, coverage 50.0%)")


# --- the door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MultiplicativeWeights(0), ValueError, "n_points must be at least 1"),
        (lambda: MultiplicativeWeights(5, threshold=1.0), ValueError, "threshold must be between"),
        (lambda: MultiplicativeWeights(5, values="ratios"), ValueError, "did you mean 'ratio'"),
        (lambda: MultiplicativeWeights(5).coverage(-1), ValueError, "level must be finite and"),
        (lambda: MultiplicativeWeights(5).fit(len, [1, 2], 3), ValueError, "X must have the n_poi"),
        (
            lambda: MultiplicativeWeights(5).fit(len, [1] * 5, 3, target=0.3),
            ValueError,
            "target must be between 0 and the threshold 0.25",
        ),
        (lambda: coverage_guarantee(5, []), ValueError, "uncovered_mass must hold shares"),
        (lambda: coverage_guarantee(5, [1.5]), ValueError, "uncovered_mass must hold shares"),
        (lambda: rounds_needed(5, slack=0.0), ValueError, "slack must be between 0 and 1"),
    ],
)
def test_the_door(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("discriminator", [0.5, 0.5], "one number for each of the 3 data points"),
        ("discriminator", [0.5, 2.0, 0.1], "apply the sigmoid to logits, got 2.0 at position 1"),
        ("discriminator", [0.5, 0.1, np.nan], "got nan at position 2"),
        ("ratio", [-1.0, 0.1, 0.1], "finite and at least 0"),
        ("ratio", [np.inf, 0.1, 0.1], "finite and at least 0"),
    ],
)
def test_a_refused_update_changes_nothing(kind, values, message):
    rule = MultiplicativeWeights(3, values=kind)
    with pytest.raises(ValueError, match=message):
        rule.update(values)
    assert rule.n_rounds_ == 0
    assert rule.guarantee_ == 0
    np.testing.assert_array_equal(rule.weights_, 1)
    np.testing.assert_array_equal(rule.ratio_, 0)
