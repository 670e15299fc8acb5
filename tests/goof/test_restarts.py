"""Restarts around the best latents: what they find, what they depend on, what they say of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn

from fastgen.goof import Ball, nearest
from fastgen.goof.domains import Free
from fastgen.goof.effort import EFFORTS, Effort
from fastgen.goof.generators import adapt
from fastgen.goof.solvers import restarts
from fastgen.goof.solvers.objective import Objective

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]
COMMON = {"pool_size": 400, "random_state": 0, "progress": False}


def rough(k: int = 16, d: int = 60, gain: float = 6.0, seed: int = 0) -> nn.Module:
    """A network whose first weights are large: many local minima."""
    rng = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(k, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, d))
    with torch.no_grad():
        for place, scale in ((0, gain), (2, 1.0), (4, 1.0)):
            layer = net[place]
            layer.weight.normal_(0, scale * (2 / layer.in_features) ** 0.5, generator=rng)
            layer.bias.normal_(0, 0.5 * scale, generator=rng)
    return net.double().eval()


def made_by(net: nn.Module, n: int, noise: float = 0.0) -> np.ndarray:
    rng = torch.Generator().manual_seed(7)
    z = torch.randn(n, net[0].in_features, dtype=torch.float64, generator=rng)
    with torch.no_grad():
        X = net(z).numpy()
    return X + noise * X.std() * np.random.default_rng(1).standard_normal(X.shape)


def test_restarts_find_what_more_starts_do_not():
    net = rough()
    X = made_by(net, 16)
    few = nearest(net, X, n_starts=7, **COMMON)  # too few for restarts
    many = nearest(net, X, n_starts=8, **COMMON)
    solved = [float((found.mse < 1e-6).mean()) for found in (few, many)]
    assert solved[0] < 0.9 < 0.99 < solved[1]


@pytest.fixture
def short(monkeypatch):
    """Fewer rounds than users get."""
    counts = {"quick": (8, (1,)), "standard": (8, (1, 2)), "thorough": (16, (1, 2, 4))}
    for name, effort in counts.items():
        monkeypatch.setitem(EFFORTS, name, Effort(*effort))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "options",
    [{}, {"penalty": 0.1}, {"method": "lbfgs", "max_iter": 30}, {"method": "gncg", "max_iter": 2}],
)
def test_more_effort_never_raises_a_distance(options):
    net, options = rough(), {"max_iter": 6, **options, **COMMON}
    X = made_by(net, 6, noise=0.3)
    first = before = nearest(net, X, effort="quick", **options).squared_distance
    for effort in ("standard", "thorough"):
        found = nearest(net, X, effort=effort, **options)
        assert (found.squared_distance <= before * (1 + 1e-9)).all()
        before = found.squared_distance
    assert (before < first * (1 - 1e-3)).any()
    again = nearest(net, X, effort=effort, **options)
    np.testing.assert_array_equal(again.z, found.z)


def test_the_rounds_of_an_effort_begin_with_those_of_the_one_below():
    names = list(EFFORTS)
    assert names == ["quick", "standard", "thorough"]
    for low, high in itertools.pairwise(EFFORTS.values()):
        assert high.rounds[: len(low.rounds)] == low.rounds
        assert low.n_starts <= high.n_starts


@pytest.mark.usefixtures("short")
def test_more_starts_never_raise_a_distance():
    net = rough()
    X = made_by(net, 6, noise=0.3)
    before = np.full(6, np.inf)
    for count in (7, 8, 15, 16, 24):
        found = nearest(net, X, n_starts=count, max_iter=6, **COMMON)
        assert (found.squared_distance <= before * (1 + 1e-9)).all()
        before = found.squared_distance


@pytest.mark.usefixtures("short")
def test_restarts_of_a_target_do_not_depend_on_its_mates():
    net = rough()
    X = made_by(net, 12, noise=0.3)
    whole = nearest(net, X, **COMMON)
    for rows in ([3], [11, 4, 0]):
        part = nearest(net, X[rows], **COMMON)
        np.testing.assert_allclose(part.squared_distance, whole.squared_distance[rows], rtol=1e-6)


@pytest.mark.usefixtures("short")
def test_restarts_stay_in_the_domain():
    net = rough()
    X = made_by(net, 8, noise=0.3)
    found = nearest(net, X, domain=Ball(1.0), **COMMON)
    assert (np.linalg.norm(found.z, axis=1) <= 1 + 1e-9).all()
    fewer = nearest(net, X, domain=Ball(1.0), n_starts=7, **COMMON)
    assert (found.squared_distance <= fewer.squared_distance * (1 + 1e-9)).all()


def test_directions_do_not_depend_on_how_many_there_are():
    net = adapt(rough(), double=True)
    few = restarts.draw(net, "normal", 5, 8, (2,))
    more = restarts.draw(net, "normal", 5, 24, (2, 9))
    assert few.noise.shape == (2, 2, restarts.COUNT, 16)
    assert torch.equal(few.noise, more.noise[:2, :2])
    assert len({float(part[0, 0, 0]) for part in more.noise}) == 6
    assert restarts.draw(net, "normal", 5, 7, (2,)) is None
    assert few.scale == pytest.approx(1, abs=0.1)
    wide = restarts.draw(net, lambda count, rng: 3 * rng.standard_normal((count, 16)), 5, 8, (2,))
    assert wide.scale == pytest.approx(3 * few.scale)


def test_an_easy_target_is_agreed_upon_at_once_and_a_hard_one_is_local():
    torch.manual_seed(0)
    easy = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 16)).double()
    X = made_by(easy, 10, noise=0.2)
    found = nearest(easy, X, **COMMON)
    assert (found.status == "agreed").mean() > 0.7
    assert set(found.status) <= {"agreed", "local"}
    apart = nearest(easy, X, n_starts=7, **COMMON)  # no second search
    assert set(apart.status) <= {"local", "max_iter"}
    net = rough()
    hard = nearest(net, made_by(net, 6, noise=0.5), effort="quick", **COMMON)
    assert (hard.status == "local").mean() > 0.3


def test_chains_meet_at_a_point_not_at_a_value():
    # the targets lie between the two branches of G(z) = (z, z^2 - 1): equally far from both
    generator = adapt(lambda z: torch.cat([z, z.square() - 1], 1), latent_dim=1, double=True)
    X = torch.tensor([[0.0, 2.0]] * 2, dtype=torch.float64)
    objective = Objective(generator, X, Free())
    chains = restarts.Chains(torch.zeros(2, 8, 1, dtype=torch.float64))
    root = 2.5**0.5
    z = torch.tensor([[root], [-root], [root], [root]], dtype=torch.float64)
    rows, columns = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 4, 1, 7])
    chains.keep(z, objective.value(z, rows), rows, columns)
    chains._look(objective)
    assert chains.met.tolist() == [[False], [True]]
    assert chains.nearest()[1].tolist() == [[0], [0]]


def test_an_effort_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="effort must be"):
        nearest(rough(), made_by(rough(), 2), effort="heroic", **COMMON)
