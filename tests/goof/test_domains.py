"""Domains of latents: projections, and searches that stay inside."""

from __future__ import annotations

import numpy as np
import pytest

from fastgen.goof import Ball, Box, Sphere, nearest
from fastgen.linear import LinearGAN

torch = pytest.importorskip("torch")
nn = torch.nn

# what torch.func does when it is first used
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 8))
    for layer in net[::2]:
        layer.weight.data.mul_(1.5)
    return net.double()


@pytest.mark.parametrize("domain", [Ball(1.3), Sphere(1.3), Box(-0.5, 0.8)])
def test_projection_is_nearest(domain):
    rng = np.random.default_rng(0)
    z = 2 * rng.standard_normal((50, 3))
    held = domain.project(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(domain.project(torch.from_numpy(held)).numpy(), held)
    for _ in range(100):
        other = domain.project(torch.from_numpy(2 * rng.standard_normal((50, 3)))).numpy()
        gap = ((held - z) ** 2).sum(1) - ((other - z) ** 2).sum(1)
        assert (gap <= 1e-12).all()
    assert torch.isfinite(domain.project(torch.zeros(1, 3))).all()


@pytest.mark.parametrize("method", ["lm", "gncg", "lbfgs"])
@pytest.mark.parametrize("domain", [Ball(0.6), Sphere(0.6), Box(-0.4, 0.4)])
def test_latents_stay_in_the_domain(method, domain):
    net = network()
    X = np.random.default_rng(0).standard_normal((8, 8))
    found = nearest(net, X, domain=domain, method=method, pool_size=200, random_state=0)
    norm = np.linalg.norm(found.z, axis=1)
    if isinstance(domain, Box):
        assert np.abs(found.z).max() <= 0.4
    else:
        assert norm.max() <= 0.6 * (1 + 1e-9)
        assert type(domain) is Ball or norm.min() >= 0.6 * (1 - 1e-9)
    free = nearest(net, X, init=found.z, method=method, pool_size=200, random_state=0)
    assert (free.squared_distance <= found.squared_distance * (1 + 1e-9)).all()


def test_bad_domains():
    with pytest.raises(ValueError, match="radius must be positive, got 0"):
        Ball(0)
    with pytest.raises(ValueError, match="radius must be finite"):
        Sphere(np.nan)
    with pytest.raises(ValueError, match=r"low must be less than high, got 1\.0 and 1\.0"):
        Box(1, 1)
    with pytest.raises(TypeError, match=r"domain must be None, Ball\(r\).*got 3"):
        nearest(LinearGAN(1, "unsupervised").fit(np.eye(3)), np.eye(3), domain=3)
    assert [repr(d) for d in (Ball(1), Sphere(2), Box())] == [
        "Ball(radius=1.0)", "Sphere(radius=2.0)", "Box(low=-1.0, high=1.0)",
    ]  # fmt: skip
