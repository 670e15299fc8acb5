"""The L-BFGS kernel, its twin on a device, and the metric they start from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from oracles import lbfgs as naive

torch = pytest.importorskip("torch")
nn = torch.nn

from fastgen._dispatch import lbfgs as kernels
from fastgen.goof import Ball, Box, Sphere, nearest
from fastgen.goof import domains as goof_domains
from fastgen.goof.generators import adapt
from fastgen.goof.solvers import lbfgs, lbfgs_tensors, typical_metric
from fastgen.goof.solvers import race as _race
from fastgen.goof.solvers.objective import Objective
from fastgen.goof.status import Status

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]
NAMES = "z value slope s y rho head gamma length weak outcome".split()
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-10}


def blank(p, k, history, dtype):
    whole = {"dtype": torch.int64}
    return {
        "z": torch.zeros(p, k, dtype=dtype),
        "value": torch.zeros(p, dtype=dtype),
        "slope": torch.zeros(p, k, dtype=dtype),
        "s": torch.zeros(p, history, k, dtype=dtype),
        "y": torch.zeros(p, history, k, dtype=dtype),
        "rho": torch.zeros(p, history, dtype=dtype),
        "head": torch.zeros(p, **whole),
        "gamma": torch.ones(p, dtype=dtype),
        "length": torch.ones(p, dtype=dtype),
        "weak": torch.zeros(p, **whole),
        "outcome": torch.zeros(p, dtype=torch.int8),
    }


def valley(k, seed, dtype):
    """A quadratic function of half-gradient A z, and A."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((k, k)) / np.sqrt(k)
    matrix = torch.from_numpy(root @ root.T + 0.1 * np.eye(k)).to(dtype)
    return lambda z: ((z * (z @ matrix)).sum(1), z @ matrix), matrix


def as_arrays(state):
    return {name: tensor.numpy().copy() for name, tensor in state.items()}


def trials(state, k, rng, dtype):
    """Trials of every kind: good, bad, uphill, not finite, of length zero."""
    function, _ = valley(k, 1, dtype)
    scale = torch.from_numpy(rng.choice([0.0, 0.05, 0.5, 4.0], size=(len(state["z"]), 1)))
    step = -scale.to(dtype) * state["slope"]
    noise = torch.from_numpy(rng.standard_normal(step.shape)).to(dtype)
    trial = state["z"] + step + 0.02 * noise
    value, slope = function(trial)
    value[::7] = float("nan")
    value[3::11] = float("inf")
    return trial, value, slope


@pytest.mark.parametrize("engine", ["kernel", "tensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("p", "k", "history"), [(1, 1, 1), (31, 5, 3), (33, 64, 10), (0, 3, 2)])
def test_steps_and_loops_are_the_oracles(engine, dtype, p, k, history):
    engine = kernels if engine == "kernel" else lbfgs_tensors
    rng = np.random.default_rng(p + k)
    function, _ = valley(k, 1, dtype)
    state = blank(p, k, history, dtype)
    state["z"] = torch.from_numpy(3 * rng.standard_normal((p, k))).to(dtype)
    state["value"], state["slope"] = function(state["z"])
    tolerance = TOLERANCE[dtype]
    seen = set()
    for _ in range(3 * history + 4):
        trial, value, slope = trials(state, k, rng, dtype)
        expected = as_arrays(state)
        naive.take_steps(
            trial.numpy(), value.numpy(), slope.numpy(), *(expected[n] for n in NAMES[:-1]),
            1e-2, expected["outcome"],
        )  # fmt: skip
        engine.take_steps(trial, value, slope, state, 1e-2)
        for name in NAMES:
            np.testing.assert_allclose(
                state[name].numpy(), expected[name], rtol=tolerance, atol=tolerance, err_msg=name
            )
        seen |= set(state["outcome"].tolist())
        q, weights = state["slope"].clone(), state["rho"].new_zeros(state["rho"].shape)
        engine.first_loop(state, q, weights)
        q = 0.7 * q
        engine.second_loop(state, q, weights)
        arrays = as_arrays(state)
        for i in range(p):
            memory = naive.remembered(*(arrays[n][i].astype(float) for n in ("s", "y", "rho")),
                                      arrays["head"][i])  # fmt: skip
            product = naive.inverse_product(memory, 0.7 * np.eye(k), arrays["slope"][i])
            np.testing.assert_allclose(
                q[i].numpy(), product, rtol=50 * tolerance, atol=50 * tolerance * abs(product).max()
            )
    assert p < 10 or {naive.REJECTED, naive.MOVED} <= seen


@pytest.mark.parametrize("engine", [kernels, lbfgs_tensors])
def test_an_exhausted_step_clears_the_memory_once(engine):
    state = blank(2, 3, 2, torch.float64)
    state["value"] += 1
    state["slope"] += 1
    state["rho"][0, 1] = 5
    state["length"] *= 2e-10
    trial = state["z"] - 1e-10
    worse = torch.full((2,), 9.0, dtype=torch.float64)
    engine.take_steps(trial, worse, state["slope"].clone(), state, 1e-9)
    assert state["outcome"].tolist() == [naive.RESTARTED, naive.STUCK]
    assert not state["rho"].any()
    assert (state["length"] == 1).all()
    assert (state["z"] == 0).all()


def test_oracle_loops_are_the_formed_matrix():
    rng = np.random.default_rng(0)
    _, matrix = valley(4, 3, torch.float64)
    s = rng.standard_normal((1, 3, 4))
    y = s @ matrix.numpy()
    rho, head = 1 / (s * y).sum(2), np.array([1])
    slope = rng.standard_normal(4)
    q, weights = slope[None].copy(), np.zeros((1, 3))
    naive.first_loop(s, y, rho, head, q, weights)
    naive.second_loop(s, y, rho, head, q, weights)
    memory = naive.remembered(s[0], y[0], rho[0], head[0])
    np.testing.assert_allclose(q[0], naive.inverse_product(memory, np.eye(4), slope))


# --- searches ------------------------------------------------------------------------------------


def network(*sizes, last=None, seed=0, dtype=torch.float64, scale=1.5):
    torch.manual_seed(seed)
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
        layers[-2].weight.data.mul_(scale)
    net = nn.Sequential(*layers[:-1], *([last] if last else [])).to(dtype)
    return net.eval().requires_grad_(False)


def objective(net, X, domain=None, **options):
    adapter = adapt(net, **options)
    return Objective(adapter, torch.as_tensor(X).to(adapter.dtype), domain or goof_domains.Free())


def metric_of(found):
    stream = np.random.default_rng(0)
    return typical_metric.typical_metric(
        found.generator, "normal", found.domain, found.penalty, stream
    )


@pytest.mark.parametrize("domain", [None, Ball(1.5), Sphere(1.5), Box(-0.5, 0.5)])
def test_tensors_search_as_the_kernel_does(domain, monkeypatch):
    net = network(5, 20, 20, 12, last=nn.Tanh())
    X = np.random.default_rng(0).uniform(-1, 1, (20, 12))
    found = objective(net, X, domain)
    found.metric = metric_of(found)
    z, rows = torch.randn(20, 5, dtype=torch.float64), torch.arange(20)
    first = lbfgs.solve(found, z, rows, max_iter=40)
    monkeypatch.setattr(lbfgs, "kernels", lbfgs_tensors)
    second = lbfgs.solve(found, z, rows, max_iter=40)
    np.testing.assert_allclose(second.value, first.value, rtol=1e-8)
    assert (first.value < found.value(found.domain.project(z), rows)).all()


def test_a_search_goes_on_as_if_it_had_not_stopped():
    net = network(5, 20, 12)
    found = objective(net, np.random.default_rng(0).standard_normal((9, 12)))
    z, rows = torch.randn(9, 5, dtype=torch.float64), torch.arange(9)
    whole = lbfgs.Descent(found, z, rows).run(30)
    parts = lbfgs.Descent(found, z, rows)
    for sweeps in (1, 4, 10, 15):
        ended = parts.run(sweeps)
    np.testing.assert_array_equal(ended.value, whole.value)
    np.testing.assert_array_equal(ended.n_iter, whole.n_iter)


def test_a_search_is_left_alone_by_those_that_are_dropped():
    net = network(5, 20, 12)
    found = objective(net, np.random.default_rng(0).standard_normal((9, 12)))
    z, rows = torch.randn(9, 5, dtype=torch.float64), torch.arange(9)
    whole = lbfgs.Descent(found, z, rows).run(30)
    parts = lbfgs.Descent(found, z, rows)
    parts.run(15)
    dropped = torch.arange(9) % 3 == 0
    parts.drop(dropped)
    ended = parts.run(15)
    # products of fewer rows are summed in another order on some processors
    np.testing.assert_allclose(ended.value[~dropped], whole.value[~dropped], rtol=1e-13)
    np.testing.assert_array_equal(ended.n_iter[~dropped], whole.n_iter[~dropped])
    assert (ended.n_iter[dropped] == 15).all()


def test_the_callers_latents_stay():
    net = network(3, 10, 8)
    found = objective(net, np.zeros((4, 8)))
    z = torch.randn(4, 3, dtype=torch.float64)
    before = z.clone()
    lbfgs.solve(found, z, torch.arange(4), max_iter=10)
    assert torch.equal(z, before)


def test_reduced_precision_finds_nothing_by_itself():
    net = network(8, 64, 64, 32, dtype=torch.float32)
    z = torch.randn(16, 8)
    found = objective(net, net(z))  # the starts are the answer
    descent = lbfgs.Descent(found, z + 1e-4, torch.arange(16), coarse=True)
    descent.run(5)
    assert descent.coarse
    assert not descent.pairs.done.any()
    descent.refine()
    assert not descent.coarse
    exact = found.value(descent.pairs.z, descent.pairs.rows)
    np.testing.assert_allclose(descent.pairs.value, exact, rtol=1e-6)
    ended = descent.run(200)
    assert (ended.value <= exact).all()
    assert ended.value.max() < 1e-6 * found.targets.square().sum(1).min()


# --- the metric ----------------------------------------------------------------------------------


def test_the_metric_of_a_linear_generator_is_its_gram_matrix():
    weight = np.random.default_rng(0).standard_normal((7, 3))
    layer = nn.Linear(3, 7).double().requires_grad_(False)
    layer.weight.copy_(torch.from_numpy(weight))
    found = objective(layer, np.zeros((2, 7)))
    metric = metric_of(found)
    gram = weight.T @ weight
    for damping in (0.0, 0.03, 1.0):
        damped = gram + damping * gram.trace() / 3 * np.eye(3)
        np.testing.assert_allclose(metric.inverse(damping), np.linalg.inv(damped), rtol=1e-10)


def test_the_metric_takes_a_linear_search_home_in_one_step():
    layer = nn.Linear(4, 9).double().requires_grad_(False)
    layer.weight[:, 0] *= 100
    found = objective(layer, np.random.default_rng(1).standard_normal((5, 9)))
    z, rows = torch.randn(5, 4, dtype=torch.float64), torch.arange(5)
    best = lbfgs.solve(found, z, rows, max_iter=200).value
    found.metric = metric_of(found)
    one = lbfgs.Descent(found, z, rows, damping=0.0).run(1)
    np.testing.assert_allclose(one.value, best, rtol=1e-7)


def test_generators_without_a_metric():
    flat = objective(lambda z: 0 * z.sum(1, keepdim=True) + torch.zeros(len(z), 3), np.ones((2, 3)),
                     latent_dim=2)  # fmt: skip
    assert metric_of(flat) is None
    wide = objective(nn.Linear(257, 4), np.ones((2, 4)))
    assert metric_of(wide) is None
    singular = typical_metric.Metric(torch.diag(torch.tensor([1.0, 0.0])))
    assert singular.inverse(0.0) is None
    assert singular.inverse(0.1) is not None


def test_conditions_are_all_seen_once_there_are_few():
    class Conditional(nn.Module):
        def forward(self, z, label):
            return z * (1.0 + label[:, None])

    for labels, expected in (([2, 0, 2], {0, 1}), (list(range(200)), None)):
        found = objective(
            Conditional().eval(), np.zeros((len(labels), 3)), latent_dim=3,
            cond=torch.tensor(labels),
        )  # fmt: skip
        rows = typical_metric._spread(found.generator.cond)
        if expected is None:
            assert len(set(rows.tolist())) == typical_metric._COUNT
        else:
            assert set(rows.tolist()) == expected  # the first row of each label
        assert metric_of(found) is not None


@pytest.mark.parametrize("sweeps", [1, 5, 20, 21, 60, 400])
def test_a_race_ends_where_it_is_told(sweeps):
    for race in (_race._RACE, _race._SHORT_RACE):
        cut = _race._cut(race, sweeps)
        assert cut[-1][0] == sweeps
        assert [part[0] for part in cut] == sorted({part[0] for part in cut})
        assert cut[:-1] == race[: len(cut) - 1]


def test_lbfgs_is_bounded_by_its_gradients():
    net = network(6, 30, 30, 20, last=nn.Tanh(), dtype=torch.float32)
    X = np.random.default_rng(0).uniform(-1, 1, (10, 20)).astype(np.float32)
    before = np.full(10, np.inf)
    for sweeps in (3, 10, 40, 150):
        found = nearest(
            net, X, method="lbfgs", max_iter=sweeps, n_starts=1, pool_size=50, random_state=0
        )
        assert (found.n_iter <= sweeps).all()
        # the reduced precision of a long race takes another path than a short one
        assert found.squared_distance.sum() <= before.sum() * 1.02
        before = found.squared_distance
    assert set(found.status) <= {Status.LOCAL.name.lower(), "exact", "max_iter"}
