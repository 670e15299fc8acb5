"""Figures beside those of the packages prdc and vendi-score, where they are right."""

from __future__ import annotations

import numpy as np
import pytest
from samples import normal

from fastgen.metrics import manifold, memorization, vendi


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m", "d"), [(90, 90, 4), (70, 110, 30)])
def test_prdc(n, m, d, k):
    prdc = pytest.importorskip("prdc")
    real, generated = normal(n, d), 1.2 * normal(m, d, seed=1)
    expected = prdc.compute_prdc(real, generated, nearest_k=k)
    found = manifold(real, generated, n_neighbors=k)
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-6), name


def test_prdc_has_open_balls():
    """Rows on a sphere: copies of real rows are outside of prdc's balls, and inside of ours."""
    prdc = pytest.importorskip("prdc")
    real = np.arange(8.0)[:, None]
    expected = prdc.compute_prdc(real, real.copy(), nearest_k=1)
    found = manifold(real, real.copy(), n_neighbors=1)
    assert expected["density"] < found.density


@pytest.mark.parametrize(("n", "d"), [(40, 90), (90, 12)])
def test_vendi(n, d):
    peer = pytest.importorskip("vendi_score.vendi")
    rows = normal(n, d) + 1
    assert vendi(rows).value == pytest.approx(peer.score_dual(rows, q=1), rel=1e-6)
    assert vendi(rows, q=2).value == pytest.approx(peer.score_dual(rows, q=2), rel=1e-6)


def test_duplicates_cost_little():
    """Of 4000 rows with one half twice, the ratios are found in the time of the pass."""
    import time

    rng = np.random.default_rng(0)
    real, generated = rng.standard_normal((2, 2000, 32))
    sets = [np.concatenate([rows[:1000], rows[:1000]]) for rows in (real, generated)]
    memorization(real[:50], generated[:50], n_jobs=1)

    def cost(a, b):
        start = time.process_time()
        memorization(a, b, n_jobs=1)
        return time.process_time() - start

    plain = min(cost(real, generated) for _ in range(3))
    assert min(cost(*sets) for _ in range(3)) < 4 * plain + 0.05
