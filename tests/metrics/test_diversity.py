"""Vendi score: the whole matrix, both sides, planted truths, its standard error."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import vendi as naive
from samples import normal

from fastgen.metrics import vendi

ORDERS = (0.5, 1.0, 2.0, 5.0, np.inf)


@pytest.mark.parametrize("q", ORDERS)
@pytest.mark.parametrize(("n", "d"), [(60, 5), (5, 60), (12, 12), (40, 1)])
def test_is_the_formula(q, n, d):
    X = normal(n, d, shift=0.3)
    assert vendi(X, q=q).value == pytest.approx(naive.vendi_score(X, q), rel=1e-9)


@pytest.mark.parametrize("q", ORDERS)
def test_standard_error_is_that_of_repetitions(q):
    found = [vendi(normal(200, 6, seed=s, shift=0.2), q=q) for s in range(120)]
    values = np.array([one.value for one in found])
    assert np.mean([one.standard_error for one in found]) == pytest.approx(values.std(), rel=0.3)
    X = normal(40, 6, shift=0.2)
    wide = np.pad(X, ((0, 0), (0, 60)))  # the same similarities, by the other side
    assert vendi(wide, q=q).standard_error == pytest.approx(vendi(X, q=q).standard_error, rel=1e-9)


@pytest.mark.parametrize("q", ORDERS)
def test_planted_truths(q):
    real = normal(400, 8)
    reference = vendi(real, q=q).value
    assert vendi(np.repeat(real[:1], 400, axis=0), q=q).value == pytest.approx(1)
    fresh = vendi(normal(400, 8, seed=1), q=q)
    assert abs(fresh.value - reference) < 5 * fresh.standard_error
    line = real * np.eye(8)[0] + 1e-3 * real
    assert vendi(line, q=q).value < 0.5 * reference
    noise = np.random.default_rng(2).standard_normal((400, 8))
    assert vendi(real + 3 * noise, q=q).value > reference  # noise is diverse
    parts = np.repeat(np.eye(5), [20] * 5, axis=0)
    assert vendi(parts, q=q).value == pytest.approx(5, rel=1e-9)
    copied = vendi(np.concatenate([real, real]), q=q)
    assert copied.value == pytest.approx(reference, rel=1e-9)  # copies are not seen


def test_result():
    found = vendi(normal(50, 3), q=np.inf)
    assert found.to_dict()["q"] == "inf"
    assert found.interval[0] < found.value < found.interval[1]
    assert "VendiScore(value=" in repr(found)


@pytest.mark.parametrize(
    ("X", "q", "match"),
    [
        (np.ones((1, 3)), 1.0, "X must have at least 2 rows"),
        (np.eye(4) * [1, 1, 0, 1], 1.0, "got length 0 at row 2"),
        (np.full((3, 2), 1e200), 1.0, "divide all by their scale"),
        (np.eye(3), 0, "q must be positive"),
        (np.eye(3), -1.0, "q must be finite and at least 0"),
        (np.eye(3), np.nan, "q must be finite"),
    ],
)
def test_bad_input_is_named(X, q, match):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=match):
        vendi(X, q=q)
