"""Solvers and derivatives of fastgen.goof against plain oracles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from oracles import goof as naive

from fastgen.goof import Ball, Box, Sphere, nearest
from fastgen.goof import domains as goof_domains

torch = pytest.importorskip("torch")
nn = torch.nn

from fastgen.goof import tangents
from fastgen.goof.generators import adapt
from fastgen.goof.solvers import adam, gncg, lbfgs, lm
from fastgen.goof.solvers import race as _race
from fastgen.goof.solvers.objective import Objective
from fastgen.goof.solvers.precision import coarse_products
from fastgen.goof.status import Status

# what torch.func does when it is first used
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]
METHODS = ("lm", "gncg", "lbfgs")


def network(*sizes, activation=nn.Tanh, last=None, seed=0, dtype=torch.float64, scale=1.5):
    """A random MLP and its weights as arrays."""
    torch.manual_seed(seed)
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
        layers[-2].weight.data.mul_(scale)
    layers = layers[:-1] + ([last()] if last else [])
    net = nn.Sequential(*layers).to(dtype)
    weights = [
        (m.weight.detach().double().numpy(), m.bias.detach().double().numpy())
        for m in net
        if isinstance(m, nn.Linear)
    ]
    return net, weights


class Model:
    """A linear model with given weights, as LinearGAN has them."""

    def __init__(self, weight, bias):
        self.components_, self.mean_ = np.asarray(weight, float), np.asarray(bias, float)

    def inverse_transform(self, Z):
        return Z @ self.components_.T + self.mean_


def linear_case(d=7, k=3, n=9, seed=0):
    rng = np.random.default_rng(seed)
    weight, bias = rng.standard_normal((d, k)), rng.standard_normal(d)
    return weight, bias, 2 * rng.standard_normal((n, d))


# --- linear generators ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "expected"), [(None, 16), (Ball(1), 20), (Box(-1, 1), 20), (Sphere(1), 20)]
)
@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_golden_line(domain, expected, method):
    model = Model([[1.0], [0.0]], [0.0, 0.0])
    found = nearest(
        model,
        [[3.0, 4.0]],
        domain=domain,
        method=method,
        pool_size=20,
        max_iter=300,
        random_state=0,
    )
    assert found.squared_distance[0] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_golden_ball(method):
    model = Model([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]], np.zeros(3))
    found = nearest(
        model, [[4.0, 3.0, 1.0]], domain=Ball(1), method=method, pool_size=50, max_iter=500,
        random_state=0,
    )  # fmt: skip
    assert found.squared_distance[0] == pytest.approx(12.392061482170, rel=1e-10)
    np.testing.assert_allclose(found.z[0], [0.873384520500, 0.487031291962], rtol=1e-5)


@pytest.mark.parametrize(("d", "k"), [(7, 3), (3, 3), (2, 5), (1, 1), (31, 8)])
@pytest.mark.parametrize("seed", [0, 1])
def test_closed_form_is_the_projection(d, k, seed):
    weight, bias, X = linear_case(d, k, seed=seed)
    found = nearest(Model(weight, bias), X)
    np.testing.assert_allclose(
        found.squared_distance, naive.linear_free(weight, bias, X), rtol=1e-10, atol=1e-12
    )
    assert set(found.status) == {"exact"}
    np.testing.assert_array_equal(found.lower_bound, found.squared_distance)
    held_to = [(Ball(0.7), False), (Ball(50), False)]
    if k <= d:  # else the sphere has a nearest point for every point of the range
        held_to.append((Sphere(0.7), True))
    for domain, sphere in held_to:
        held = nearest(Model(weight, bias), X, domain=domain)
        oracle = naive.linear_in_ball(weight, bias, X, domain.radius, sphere)
        np.testing.assert_allclose(held.squared_distance, oracle, rtol=1e-10, atol=1e-12)
        assert (np.linalg.norm(held.z, axis=1) <= domain.radius * (1 + 1e-12)).all()


def test_a_rank_deficient_generator():
    weight, bias, X = linear_case(6, 2)
    weight = np.hstack([weight, weight])
    found = nearest(Model(weight, bias), X)
    np.testing.assert_allclose(
        found.squared_distance, naive.linear_free(weight, bias, X), rtol=1e-10
    )
    for domain, sphere in ((Ball(0.5), False), (Sphere(3.0), True)):
        held = nearest(Model(weight, bias), X, domain=domain)
        if not sphere:
            oracle = naive.linear_in_ball(weight, bias, X, 0.5)
            np.testing.assert_allclose(held.squared_distance, oracle, rtol=1e-10)
        else:  # the null space takes what is left of the norm
            np.testing.assert_allclose(np.linalg.norm(held.z, axis=1), 3.0)
            shortest = np.linalg.norm(found.z, axis=1)
            inside = shortest <= 3
            np.testing.assert_allclose(
                held.squared_distance[inside], found.squared_distance[inside], rtol=1e-10
            )
            assert inside.any()
    null = nearest(Model(np.zeros((4, 2)), np.zeros(4)), np.ones((2, 4)))
    np.testing.assert_allclose(null.squared_distance, 4.0)


@pytest.mark.parametrize("domain", [None, Ball(0.9), Sphere(0.9), Box(-0.4, 0.5)])
@pytest.mark.parametrize("method", METHODS)
def test_solvers_reach_the_closed_form(method, domain):
    weight, bias, X = linear_case(9, 4, 12)
    exact = nearest(Model(weight, bias), X, domain=domain)
    found = nearest(
        Model(weight, bias), X, domain=domain, method=method, pool_size=200, n_starts=4,
        max_iter=500, random_state=0,
    )  # fmt: skip
    np.testing.assert_allclose(found.squared_distance, exact.squared_distance, rtol=1e-10)
    assert (found.squared_distance >= exact.squared_distance * (1 - 1e-12)).all()


def test_linear_networks_are_linear():
    net, _ = network(3, 5, 8, activation=nn.Identity)
    X = np.random.default_rng(0).standard_normal((6, 8))
    z = torch.zeros(1, 3, dtype=torch.float64)
    bias = net(z).detach().numpy()[0]
    weight = torch.autograd.functional.jacobian(net, z[0]).numpy()
    found = nearest(net, X)
    np.testing.assert_allclose(
        found.squared_distance, naive.linear_free(weight, bias, X), rtol=1e-9
    )
    assert set(found.status) == {"exact"}


# --- small networks with known weights -----------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("k", [1, 2])
def test_networks_reach_the_grid(method, k):
    net, weights = network(k, 12, 6)
    X = np.random.default_rng(1).standard_normal((10, 6)) * 0.7
    low, high, steps = -4.0, 4.0, 4001 if k == 1 else 301
    grid = naive.nearest_on_grid(lambda z: naive.mlp(weights, z), X, low, high, steps, k)
    found = nearest(
        net, X, domain=Box(low, high), method=method, pool_size=2000, n_starts=8, max_iter=200,
        random_state=0, prior=lambda count, rng: rng.uniform(low, high, (count, k)),
    )  # fmt: skip
    assert (found.squared_distance <= grid + 1e-9).all()
    np.testing.assert_allclose(found.squared_distance, grid, atol=2e-2, rtol=2e-2)
    assert (np.abs(found.z) <= high).all()


def nearest_from_start(function, x, start, low, high):
    """Squared distance that SciPy's trust-region least squares reaches from one start."""
    from scipy.optimize import least_squares

    found = least_squares(
        lambda z: function(z[None])[0] - x, start, bounds=(low, high), xtol=1e-15, ftol=1e-15,
        gtol=1e-15, max_nfev=1000,
    )  # fmt: skip
    return 2 * found.cost


def test_lm_ends_where_scipy_does():
    net, weights = network(4, 10, 8)
    X = np.random.default_rng(2).standard_normal((5, 8))
    start = np.random.default_rng(3).standard_normal((5, 4))
    found = nearest(
        net, X, init=start, n_starts=0, pool_size=0, max_iter=300, method="lm", domain=Box(-3, 3)
    )
    for row in range(5):
        inside = np.clip(found.z[row], -3 + 1e-9, 3 - 1e-9)
        reached = nearest_from_start(lambda z: naive.mlp(weights, z), X[row], inside, -3.0, 3.0)
        assert found.squared_distance[row] == pytest.approx(reached, rel=1e-6)  # its tolerance


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.LeakyReLU])
def test_planted_latents_come_back(method, activation):
    net, _ = network(5, 24, 24, 30, activation=activation, dtype=torch.float32)
    z0 = torch.randn(20, 5, generator=torch.Generator().manual_seed(9))
    X = net(z0).detach()
    found = nearest(
        net, X, method=method, pool_size=2000, max_iter=200, random_state=0, n_starts=16
    )
    assert (found.mse < 1e-6).mean() >= 0.9


# --- derivatives ---------------------------------------------------------------------------------


class Straight(nn.Module):
    """A module of the user's whose graph is a chain."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(3, 8), nn.BatchNorm1d(8)
        self.second = nn.ConvTranspose2d(2, 3, 3)

    def forward(self, z):
        h = torch.relu(self.norm(self.first(z))).view(-1, 2, 2, 2)
        return torch.tanh(self.second(h)).flatten(1)


class Forked(Straight):
    """One with a skip: not a chain."""

    def forward(self, z):
        h = self.first(z)
        return torch.tanh(h) + h


def objective(net, targets, domain=None, **options):
    adapter = adapt(net.eval().requires_grad_(False), **options)
    rows = torch.as_tensor(np.asarray(targets)).to(adapter.dtype)
    return Objective(adapter, rows, domain or goof_domains.Free())


def randomised(net, seed=0):
    torch.manual_seed(seed)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
            part.weight.data.normal_()
    return net.double().eval()


def convolutional():
    return nn.Sequential(
        nn.ConvTranspose2d(3, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(True),
        nn.ConvTranspose2d(6, 2, 4, 2, 1),
        nn.Sigmoid(),
    )


NETS = {
    "mlp": lambda: network(3, 7, 5)[0],
    "custom": Straight,
    "convolutions": convolutional,
    "in place": lambda: nn.Sequential(nn.Linear(3, 6), nn.ReLU(inplace=True), nn.Linear(6, 4)),
    "linear": lambda: nn.Linear(3, 4),
    "starts elementwise": lambda: nn.Sequential(nn.Tanh(), nn.Linear(3, 4), nn.ELU()),
}


@pytest.mark.parametrize("name", NETS)
def test_chain_jacobians(name):
    net = randomised(NETS[name]())
    found = objective(net, np.zeros((1, 1)), latent_dim=3)
    assert found.generator.chain is not None
    z = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    oracle = naive.finite_difference_jacobian(
        lambda a: found.generator(torch.from_numpy(a)).numpy(), z.numpy()
    )
    np.testing.assert_allclose(found.jacobian(z, None), oracle, atol=1e-8)
    found.generator.chain = None
    np.testing.assert_allclose(found.jacobian(z, None), oracle, atol=1e-8)
    found._forward_mode = False
    np.testing.assert_allclose(found.jacobian(z, None), oracle, atol=1e-8)


def test_only_chains_are_chains():
    assert tangents.straight(Forked()) is None
    assert tangents.straight(nn.Sequential(nn.Linear(3, 3), nn.Softmax(1))) is None
    assert tangents.straight(lambda z: z) is None
    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda module, args, output: 2 * output)
    assert tangents.straight(nn.Sequential(hooked)) is None
    normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    assert tangents.straight(nn.Sequential(normed)) is None
    assert len(tangents.straight(nn.Sequential(nn.Sequential(nn.Linear(3, 3)), nn.ReLU()))) == 2


class OnceOnly(torch.autograd.Function):
    """No forward mode and no second derivative."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


@pytest.mark.parametrize("function", [OnceOnly, NoForwardMode])
@pytest.mark.parametrize("method", ["lm", "gncg"])
def test_without_forward_mode(function, method):
    net, _ = network(2, 6, 5)

    def generator(z):
        return net(function.apply(z))

    if function is OnceOnly and method == "gncg":
        pytest.skip("needs J v, which takes a second derivative where forward mode is missing")
    X = net(torch.tensor([[0.3, -0.5], [1.1, 0.2]], dtype=torch.float64)).detach()
    found = nearest(
        generator, X, latent_dim=2, method=method, pool_size=400, max_iter=100, random_state=0
    )
    np.testing.assert_allclose(found.squared_distance, 0, atol=1e-16)


def test_gradients_and_products():
    net, _ = network(3, 7, 5)
    X = np.random.default_rng(0).standard_normal((4, 5))
    found = objective(net, X)
    found.penalty = 0.3
    z = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = torch.arange(4)
    value, slope = found.gradient(z, rows)
    np.testing.assert_allclose(value, found.value(z, rows))
    step = naive.finite_difference_jacobian(
        lambda a: found.value(torch.from_numpy(a), rows).numpy()[:, None], z.numpy()
    )
    np.testing.assert_allclose(2 * slope, step[:, :, 0], atol=1e-7)
    matrix = found.normal_matrix(z, rows, coarse=False)
    v = torch.randn_like(z)
    expected = (matrix @ v[:, :, None]).squeeze(2)
    np.testing.assert_allclose(found.curvature_product(z, rows, v), expected, atol=1e-10)
    found._forward_mode = False
    np.testing.assert_allclose(found.curvature_product(z, rows, v), expected, atol=1e-10)


def test_coarse_products_restore_the_setting():
    before = torch.get_float32_matmul_precision()

    def work():
        with coarse_products(True):
            assert torch.get_float32_matmul_precision() == "medium"
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    assert torch.get_float32_matmul_precision() == before


# --- each pair on its own ------------------------------------------------------------------------

SOLVERS = {"lm": lm.solve, "gncg": gncg.solve, "lbfgs": lbfgs.solve, "adam": adam.solve}


@pytest.mark.parametrize("name", SOLVERS)
def test_more_steps_are_never_worse(name):
    net, _ = network(4, 16, 10, scale=3.0)
    X = np.random.default_rng(0).standard_normal((6, 10))
    found = objective(net, X)
    z, rows = torch.randn(6, 4, dtype=torch.float64), torch.arange(6)
    before = found.value(z, rows)
    for steps in (1, 2, 3, 5, 10, 30, 80):
        outcome = SOLVERS[name](found, z, rows, max_iter=steps)
        assert (outcome.value <= before).all()
        # what is returned is where the value was seen
        np.testing.assert_allclose(found.value(outcome.z, rows), outcome.value, rtol=1e-12)
        assert (outcome.n_iter <= steps).all()
        before = outcome.value


@pytest.mark.parametrize("name", SOLVERS)
def test_a_pair_does_not_depend_on_its_mates(name):
    net, _ = network(4, 16, 10)
    X = np.random.default_rng(0).standard_normal((40, 10))
    X[::2] *= 100  # other scales, other steps
    found = objective(net, X)
    z, rows = torch.randn(40, 4, dtype=torch.float64), torch.arange(40)
    whole = SOLVERS[name](found, z, rows, max_iter=25)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = SOLVERS[name](found, z[order], rows[order], max_iter=25)
    np.testing.assert_allclose(shuffled.value, whole.value[order], rtol=1e-5)
    for row in (0, 1, 17):
        alone = SOLVERS[name](found, z[row : row + 1], rows[row : row + 1], max_iter=25)
        np.testing.assert_allclose(alone.value, whole.value[row : row + 1], rtol=1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_starts_that_are_not_finite_fail_alone(name):
    net, _ = network(2, 8, 5)

    def generator(z):
        return net(z) + torch.where(z[:, :1] > 10, float("nan"), 0.0)

    X = np.zeros((3, 5))
    adapter = adapt(generator, latent_dim=2, double=True)
    found = Objective(adapter, torch.zeros(3, 5, dtype=torch.float64), goof_domains.Free())
    z = torch.tensor([[0.1, 0.2], [11.0, 0.0], [-0.3, 0.4]], dtype=torch.float64)
    outcome = SOLVERS[name](found, z, torch.arange(3), max_iter=10)
    assert outcome.status[1] == Status.FAILED
    assert outcome.value[[0, 2]].isfinite().all()
    assert len(X) == 3


def test_a_search_that_stands_at_a_minimum_ends():
    # a matrix kept from an earlier step gets one fresh chance, not one a step
    net, _ = network(3, 10, 8)
    found = objective(net, np.random.default_rng(0).standard_normal((20, 8)), domain=Ball(0.5))
    rows = torch.arange(20)
    ended = lm.solve(found, torch.randn(20, 3, dtype=torch.float64), rows, max_iter=400)
    again = lm.solve(found, ended.z, rows, max_iter=50)
    assert (again.status == Status.LOCAL).all()
    assert (again.n_iter < 10).all()


def test_saddle_points_and_flat_generators_end():
    X = np.ones((2, 3))
    for method in METHODS:
        found = nearest(
            lambda z: torch.zeros(len(z), 3, dtype=z.dtype) + 0 * z.sum(1, keepdim=True),
            X, latent_dim=2, method=method, pool_size=10, random_state=0,
        )  # fmt: skip
        np.testing.assert_allclose(found.squared_distance, 3.0)
        assert set(found.status) == {"agreed"}


# --- the race ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "lbfgs"])
@pytest.mark.parametrize("keep", [(4, 4, 1), (1, 1, 1), (2, 2, 2)])
def test_more_starts_never_raise_a_distance(keep, method, monkeypatch):
    for name in ("_RACE", "_SHORT_RACE"):
        race = [
            heat._replace(survivors=k) for heat, k in zip(getattr(_race, name), keep, strict=True)
        ]
        monkeypatch.setattr(_race, name, tuple(race))
    net, _ = network(6, 20, 20, 12, activation=nn.ReLU, scale=2.0)
    X = np.random.default_rng(0).standard_normal((30, 12))
    before = np.full(30, np.inf)
    for count in (1, 2, 3, 5, 8, 16):
        found = nearest(
            net, X, n_starts=count, pool_size=400, random_state=0, max_iter=20, method=method
        )
        assert (found.squared_distance <= before * (1 + 1e-9)).all()
        before = found.squared_distance
    one = nearest(net, X, n_starts=1, pool_size=400, random_state=0, max_iter=20, method=method)
    assert (before < one.squared_distance * (1 - 1e-9)).any()


def test_rounds_cover_all_starts_once():
    for count in (1, 3, 4, 5, 8, 33, 100):
        for size in (1, 4, 8):
            ranges = [range(a, b) for a, b in _race._rounds(count, size)]
            assert [i for r in ranges for i in r] == list(range(count))
            assert len(ranges[0]) == min(size, count)
