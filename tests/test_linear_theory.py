"""Exact expectations, against the definition and against simulation."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from fastgen.linear import SpikedGaussian, sweep
from fastgen.linear.theory import expected_gain


def test_expected_gain_values():
    n = 20
    assert expected_gain(n, 5) == pytest.approx(5 / 14)
    assert expected_gain(n, 30) == pytest.approx(20 / 9)
    assert all(np.isinf(expected_gain(n, k)) for k in (19, 20, 21))
    assert expected_gain(n, 2 * n + 1) == 1
    assert expected_gain(21, 10) == 1
    assert isinstance(expected_gain(n, 5), float)


def test_expected_gain_broadcasts():
    table = expected_gain(np.array([[10], [20]]), [1, 9, 10, 50])
    assert table.shape == (2, 4)
    assert table[1, 3] == expected_gain(20, 50)


@pytest.mark.parametrize("bad", [0, -1, 2.5, [3, 0], "x"])
def test_expected_gain_refuses(bad):
    with pytest.raises(ValueError, match=r"k must be positive integers, got"):
        expected_gain(10, bad)
    with pytest.raises(ValueError, match=r"n must be positive integers, got"):
        expected_gain(bad, 10)


def test_entries_of_the_inverse_moments():
    rng = np.random.default_rng(0)
    wide, tall = np.zeros((12, 12)), np.zeros((12, 12))
    for _ in range(4000):
        z = rng.standard_normal((5, 12))
        inner = np.linalg.inv(z @ z.T)
        wide += z.T @ inner @ inner @ z / 4000
        z = rng.standard_normal((30, 12))
        tall += np.linalg.inv(z.T @ z) / 4000
    # E||G||^2 = tr(S n c) with c the diagonal entry: the gain over n
    assert np.diagonal(wide).mean() == pytest.approx(expected_gain(12, 5) / 12, rel=0.03)
    assert np.diagonal(tall).mean() == pytest.approx(expected_gain(12, 30) / 12, rel=0.03)
    assert expected_gain(12, 5) / 12 == pytest.approx(5 / 72)
    assert expected_gain(12, 30) / 12 == pytest.approx(1 / 17)


def test_simulated_gain_has_the_exact_mean():
    n = 20
    ks = [k for k in range(1, 121) if abs(k - n) >= 6]
    result = sweep(
        SpikedGaussian(),
        latent_dims=ks,
        n_samples=n,
        n_trials=200,
        problems="pseudo_supervised",
        random_state=0,
    )
    mean = result.gain.mean("trial").squeeze().values
    np.testing.assert_allclose(mean, expected_gain(n, ks), rtol=0.1)


def test_pca_is_where_the_alternation_on_w2_ends():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 4)) @ rng.standard_normal((4, 9)) + 0.3 * rng.standard_normal(
        (12, 9)
    )
    sample = x @ x.T / 9
    root = naive.sqrtm_psd(sample)
    for k in (2, 5, 9, 15):
        g = rng.standard_normal((12, k))
        for _ in range(3000):
            u, _, vt = np.linalg.svd(root @ g, full_matrices=False)
            g = root @ u @ vt
        tail = naive.unsupervised_train_error(x, k)
        assert naive.w2(g, sample) == pytest.approx(tail, rel=1e-9, abs=1e-9)
        assert naive.w2(naive.unsupervised(x, k), sample) == pytest.approx(tail, rel=1e-9, abs=1e-9)


def test_gradient_descent_from_zero_ends_at_the_minimum_norm_generator():
    rng = np.random.default_rng(1)
    x, z = rng.standard_normal((6, 8)), rng.standard_normal((30, 8))
    g = np.zeros((6, 30))
    step = 1 / np.linalg.norm(z, 2) ** 2
    for _ in range(3000):
        g -= step * (g @ z - x) @ z.T
    np.testing.assert_allclose(g, naive.pseudo_supervised(x, z), atol=1e-12)
