"""Pairing of noise with data: what each rule promises, and its bias in one dimension, exactly."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fastgen.diffusion import pairing

X = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
INDEX = np.arange(64)


def cost(x, noise):
    return ((x - noise) ** 2).sum()


def test_fresh_noise_is_fresh_and_resumes():
    rule = pairing("iid")
    first, second = rule(X, INDEX), rule(X, INDEX)
    assert first.dtype == np.float32
    assert np.abs(first - second).max() > 1
    again = pairing("iid")
    again.step = 1
    np.testing.assert_array_equal(again(X, INDEX), second)
    assert np.abs(pairing("iid", random_state=1)(X, INDEX) - first).max() > 1


def test_fixed_noise_belongs_to_the_image():
    rule = pairing("fixed", random_state=4)
    first = rule(X, INDEX)
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_array_equal(rule(X[order], INDEX[order]), first[order])
    worker = pairing("fixed", random_state=4)  # another process
    np.testing.assert_array_equal(worker(X[:3], INDEX[:3]), first[:3])
    big = rule(np.zeros((2000, 5)), np.arange(2000))
    assert big.mean() == pytest.approx(0, abs=0.03)
    assert big.std() == pytest.approx(1, abs=0.03)


def test_mixture_is_between():
    fixed = pairing("fixed")(X, INDEX)
    np.testing.assert_array_equal(pairing("mix", share=0)(X, INDEX), pairing("iid")(X, INDEX))
    np.testing.assert_array_equal(pairing("mix", share=1)(X, INDEX), fixed)
    same = (pairing("mix", share=0.3)(np.zeros((1000, 5)), np.arange(1000))
            == pairing("fixed")(np.zeros((1000, 5)), np.arange(1000))).all(1)  # fmt: skip
    assert same.mean() == pytest.approx(0.3, abs=0.05)


def test_assignment_is_the_best_permutation():
    fresh = pairing("iid")(X, INDEX)
    found = pairing("assignment")(X, INDEX)
    order = np.lexsort(fresh.T), np.lexsort(found.T)
    np.testing.assert_array_equal(fresh[order[0]], found[order[1]])
    assert cost(X, found) < cost(X, fresh)
    small = pairing("iid")(X[:6], INDEX[:6])
    best = min(cost(X[:6], small[list(p)]) for p in itertools.permutations(range(6)))
    assert cost(X[:6], pairing("assignment")(X[:6], INDEX[:6])) == pytest.approx(best, rel=1e-5)


def test_assignment_keeps_to_conditions():
    labels = INDEX % 4
    fresh = pairing("iid")(X, INDEX)
    found = pairing("assignment")(X, INDEX, condition=labels)
    for label in range(4):
        one, other = fresh[labels == label], found[labels == label]
        np.testing.assert_array_equal(one[np.lexsort(one.T)], other[np.lexsort(other.T)])
    whole = pairing("assignment")(X, INDEX)
    assert cost(X, whole) < cost(X, found) < cost(X, fresh)


def test_nearest_candidates():
    one = pairing("knn", candidates=1)(X, INDEX)
    np.testing.assert_array_equal(one, pairing("iid")(X, INDEX))
    costs = [cost(X, pairing("knn", candidates=k)(X, INDEX)) for k in (1, 4, 64)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("batch", [2, 8, 64])
def test_bias_of_assignment_in_one_dimension(batch):
    """Sorted noise goes to sorted data: E x e is the mean of (sum of order statistics)^2 / B.

    For Gaussian data E x e = sum_i (E e_(i))^2 / B, 1 / pi at B = 2, and tends to 1.
    """
    rng = np.random.default_rng(batch)
    scores = np.sort(rng.standard_normal((20_000, batch)), 1).mean(0)
    exact = 1 / math.pi if batch == 2 else (scores**2).mean()
    rule, total, rounds = pairing("assignment"), 0.0, 16_000 // batch
    for _ in range(rounds):
        x = rng.standard_normal((batch, 1))
        total += (x * rule(x, np.arange(batch))).mean()
    assert total / rounds == pytest.approx(exact, abs=0.02)
    assert exact > 0.3


def test_bias_of_nearest_candidates_in_one_dimension():
    """Selection changes the variance of the noise itself; a permutation does not."""
    x = np.zeros((20_000, 1))
    rows = np.arange(len(x))
    assert pairing("knn", candidates=4)(x, rows).var() < 0.3
    assert pairing("assignment")(x[:1000], rows[:1000]).var() == pytest.approx(1, abs=0.1)
    assert [pairing(k).independent for k in ("iid", "fixed", "mix", "assignment", "knn")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_permuting_a_copy_is_found():
    """The mutant that noises with permuted noise and regresses on the other one."""
    rule = pairing("assignment")
    noise = rule(X, INDEX)
    share = 0.3
    noised = np.sqrt(share) * X + np.sqrt(1 - share) * noise
    np.testing.assert_allclose((noised - np.sqrt(share) * X) / np.sqrt(1 - share), noise, atol=1e-5)
    other = pairing("iid")(X, INDEX)
    assert np.abs((noised - np.sqrt(share) * X) / np.sqrt(1 - share) - other).max() > 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairing("asignment"), "did you mean 'assignment'"),
        (lambda: pairing("mix", share=1.5), r"share must lie in \[0, 1\]"),
        (lambda: pairing("knn", candidates=0), "at least 1"),
        (lambda: pairing("iid")(X, INDEX[:3]), "one row number for each of 64"),
        (lambda: pairing("assignment")(X, INDEX, condition=[1]), r"shape \(64,\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
