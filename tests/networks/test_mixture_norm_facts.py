"""What mixture normalization does to modes: measured facts, and mutants that miss them."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import mixture_norm as naive

torch = pytest.importorskip("torch")

from fastgen.networks import MixtureNorm1d, MixtureNorm2d


@pytest.fixture(autouse=True)
def _seeded_and_single_threaded():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("seed", range(5))
def test_measured_facts_of_two_modes(seed):
    torch.manual_seed(seed)
    x, left = naive.bimodal(seed)
    layer = MixtureNorm1d(1, 2, dtype=torch.float64)
    y = layer(torch.tensor(x)).detach().numpy()
    order = layer.running_means[:, 0].argsort()
    weights, means = layer.running_weights[order].numpy(), layer.running_means[order, 0]
    np.testing.assert_allclose(weights, [0.3, 0.7], atol=0.01)
    np.testing.assert_allclose(means, [-3, 3], atol=0.02)
    assert abs(y.mean()) < 1e-13
    assert 1.99 < y.var() < 2.0
    for side, weight in ((left, weights[0]), (~left, weights[1])):
        assert abs(y[side].var() - 1 / weight) < 0.03
        assert abs(y[side].mean()) < 0.01
    bn = torch.nn.BatchNorm1d(1)(torch.tensor(x, dtype=torch.float32)).detach().numpy()
    assert bn[left].mean() == pytest.approx(-1.45, abs=0.03)
    assert bn[~left].mean() == pytest.approx(0.63, abs=0.03)
    kurtosis = [(z**4).mean() / z.var() ** 2 for z in (bn, y)]
    assert kurtosis[0] == pytest.approx(1.78, abs=0.1)
    assert kurtosis[1] == pytest.approx(3.5, abs=0.2)


def test_mutants_fail_the_measured_facts():
    x, _ = naive.bimodal()
    start = (np.array([0.5, 0.5]), np.array([[-2.0], [2.0]]), np.ones((2, 1)))
    nu, weights, means, variances = naive.em(x, *start, 20, 1e-5)
    assert 1.99 < naive.mixture_norm(x, nu).var() < 2.0
    assert naive.without_root_weights(x, nu).var() == pytest.approx(0.998, abs=0.002)
    assert naive.squares_of_shares(x, nu).var() > 1e4
    assert not 1.99 < naive.divided_by_share_mean(x, nu).var() < 2.0
    wrong = naive.shares_without_normalization(x, weights, means, variances + 1e-5)
    assert abs(wrong - nu).max() > 0.05
    for _ in range(20):
        wrong = naive.shares_without_normalization(x, weights, means, variances + 1e-5)
        weights, means, variances = naive.share_moments(x, wrong)
    layer = MixtureNorm1d(1, 2, dtype=torch.float64)
    y = layer(torch.tensor(x)).detach().numpy()
    assert abs(y - naive.mixture_norm(x, nu)).max() < 0.01
    assert abs(y - naive.mixture_norm(x, wrong)).max() > 0.1


@pytest.mark.parametrize("n_components", [2, 3, 5])
def test_batch_mean_is_zero_and_variance_the_number_of_components(n_components):
    x = torch.tensor(naive.clusters((64, 12, 6, 6), n_components))
    y = MixtureNorm2d(12, n_components, dtype=torch.float64)(x).detach()
    assert y.mean((0, 2, 3)).abs().max() < 1e-13
    assert (y.var((0, 2, 3), correction=0) - n_components).abs().max() < 0.01
