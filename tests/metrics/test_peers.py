"""Figures beside those of prdc, torch-fidelity and vendi-score, where they are right."""

from __future__ import annotations

import numpy as np
import pytest
from samples import normal

from fastgen.metrics import fid, kid, manifold, memorization, vendi


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


def test_torch_fidelity():
    """On features; its precision and recall take closed balls as ours do."""
    pytest.importorskip("torch_fidelity")
    import torch
    from torch_fidelity import metric_fid, metric_kid, metric_prc

    real, generated = normal(120, 8), 1.2 * normal(120, 8, seed=1)
    first, second = torch.tensor(generated), torch.tensor(real)
    moments = [metric_fid.fid_features_to_statistics(rows) for rows in (first, second)]
    expected = metric_fid.fid_statistics_to_metric(*moments, False)
    assert fid(real, generated) == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    options = {"kid_subsets": 1, "kid_subset_size": 120, "verbose": False}
    expected = metric_kid.kid_features_to_metric(first, second, **options)
    assert kid(real, generated).value == pytest.approx(
        expected["kernel_inception_distance_mean"], rel=1e-6
    )
    precision, recall = metric_prc.calculate_precision_recall_full(first, second, 3)
    found = manifold(real, generated, n_neighbors=3)
    assert (found.precision, found.recall) == pytest.approx((precision, recall), abs=1e-6)


def _pass_cost(a, b):
    import time

    start = time.process_time()
    manifold(a, b, n_jobs=1)
    return time.process_time() - start


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
    one = [
        np.concatenate([rows[:1000], rows[:1].repeat(1000, axis=0)]) for rows in (real, generated)
    ]
    assert min(_pass_cost(*one) for _ in range(3)) < 3 * _pass_cost(real, generated) + 0.1
    assert min(cost(*sets) for _ in range(3)) < 4 * plain + 0.05
