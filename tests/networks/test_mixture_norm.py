"""Mixture normalization: the oracle, the note's measured facts, BatchNorm's habits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from oracles import mixture_norm as naive

torch = pytest.importorskip("torch")

from fastgen._dispatch import mixture_norm as dispatch
from fastgen.networks import MixtureNorm1d, MixtureNorm2d, _mixture_fit, _mixture_transform
from fastgen.networks._mixture_fit import Components

EPS = 1e-5
ENGINES = ["kernels", "torch"]


@pytest.fixture(autouse=True)
def _seeded_and_single_threaded():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def engine(request, monkeypatch):
    """Run what follows in kernels, or in the torch operations that other devices use."""
    if request.param == "torch":
        for module in (_mixture_fit, _mixture_transform):
            monkeypatch.setattr(module, "compiled", lambda x: False)
    return request.param


both_engines = pytest.mark.parametrize("engine", ENGINES, indirect=True)


def clusters(shape, n_components=3, dtype=torch.float64):
    return torch.tensor(naive.clusters(shape, n_components), dtype=dtype)


def rows(x):
    """(N, C) of (B, C, ...), as NumPy."""
    return x.detach().movedim(1, -1).reshape(-1, x.shape[1]).numpy().astype(float)


def layer_with(mixture, like=MixtureNorm2d, dtype=torch.float64, **options):
    """A layer whose running components are these."""
    weights, means, variances = (torch.tensor(value, dtype=dtype) for value in mixture)
    layer = like(means.shape[1], len(means), dtype=dtype, **options)
    layer.running_weights.copy_(weights)
    layer.running_means.copy_(means)
    layer.running_vars.copy_(variances)
    return layer


# --- the oracle ----------------------------------------------------------------------------------


def test_oracle_gradient_is_the_finite_difference():
    x = np.random.default_rng(0).standard_normal((7, 2))
    nu = np.random.default_rng(1).dirichlet(np.ones(3), 7)
    g = np.random.default_rng(2).standard_normal((7, 2))
    found = naive.mixture_norm_gradient(x, nu, g)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-6
        rise = (g * (naive.mixture_norm(x + step, nu) - naive.mixture_norm(x - step, nu))).sum()
        assert found[index] == pytest.approx(rise / 2e-6, rel=1e-6, abs=1e-8)


SHAPES = [(4, 3, 5, 5), (1, 1, 4, 8), (3, 7, 1, 33), (2, 4, 16, 17), (31, 5, 1, 1), (33, 9, 2, 1)]


@both_engines
@pytest.mark.parametrize("n_components", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_step_is_the_oracles(shape, n_components, engine):
    start = naive.mixture(n_components, shape[1], spread=0.3)
    layer = layer_with(start, em_steps=3)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
    gain, shift = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    x = torch.randn(shape, dtype=torch.float64).requires_grad_()
    y = layer(x)
    g = torch.randn_like(y)
    y.backward(g)
    nu, weights, means, variances = naive.em(rows(x), *start, 3, EPS)
    assert (nu.sum(0) > 1.5).all()  # else the layer seeds again
    plain = naive.mixture_norm(rows(x), nu)
    np.testing.assert_allclose(rows(y), plain * gain + shift, rtol=1e-9, atol=1e-10)
    expected = naive.mixture_norm_gradient(rows(x), nu, rows(g) * gain)
    np.testing.assert_allclose(rows(x.grad), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(layer.weight.grad, (rows(g) * plain).sum(0), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(layer.bias.grad, rows(g).sum(0), rtol=1e-9, atol=1e-10)
    # Running components: unbiased variances, momentum 0.1, matched to the start.
    shares = nu / nu.sum(0)
    variances = variances / (1 - (shares**2).sum(0))[:, None]
    order = best_order(start, (weights, means, variances))
    for name, old, new in zip(("weights", "means", "vars"), start, (weights, means, variances)):  # noqa: B905
        found = getattr(layer, f"running_{name}")
        np.testing.assert_allclose(found, 0.9 * old + 0.1 * new[order], rtol=1e-9, atol=1e-10)


def best_order(first, second):
    """Assignment of smallest total squared 2-Wasserstein distance, by trying all."""
    import itertools

    def cost(order):
        means = ((first[1] - second[1][list(order)]) ** 2).sum()
        return means + ((np.sqrt(first[2]) - np.sqrt(second[2][list(order)])) ** 2).sum()

    return list(min(itertools.permutations(range(len(first[0]))), key=cost))


@both_engines
def test_evaluation_is_the_oracles(engine):
    weights, means, variances = naive.mixture(3, 4)
    layer = layer_with((weights, means, variances)).eval()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64).requires_grad_()
    y = layer(x)
    g = torch.randn_like(y)
    y.backward(g)

    def normalized(points):
        nu = naive.shares(points, weights, means, variances + EPS)
        scaled = (nu / np.sqrt(weights))[..., None] / np.sqrt(variances + EPS)
        return (scaled * (points[:, None] - means)).sum(1)

    expected = normalized(rows(x))
    np.testing.assert_allclose(rows(y), expected, rtol=1e-10, atol=1e-12)
    slopes = np.empty_like(expected)
    for c, step in enumerate(1e-6 * np.eye(4)):
        change = normalized(rows(x) + step) - normalized(rows(x) - step)
        slopes[:, c] = (rows(g) * change).sum(1) / 2e-6
    np.testing.assert_allclose(rows(x.grad), slopes, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(layer.weight.grad, (rows(g) * expected).sum(0), rtol=1e-9)


def test_output_is_the_normalised_fisher_vector():
    weights, means, variances = naive.mixture(3, 4)
    layer = layer_with((weights, means, variances), MixtureNorm1d, affine=False).eval()
    x = np.random.default_rng(5).normal(0, 2, (20, 4))
    expected, step = np.zeros_like(x), 1e-5
    for k, c in np.ndindex(means.shape):
        up, down = means.copy(), means.copy()
        up[k, c] += step
        down[k, c] -= step
        slope = naive.log_density(x, weights, up, variances + EPS)
        slope = (slope - naive.log_density(x, weights, down, variances + EPS)) / (2 * step)
        # The Fisher information of m_kc is about lambda_k / v_kc.
        expected[:, c] += slope / np.sqrt(weights[k] / (variances[k, c] + EPS))
    assert abs(layer(torch.tensor(x)).numpy() - expected).max() < 1e-8


@pytest.mark.parametrize("n_components", [1, 2, 3, 4])
def test_float32_is_float64_to_rounding(n_components):
    start = naive.mixture(n_components, 8)
    x = torch.randn(16, 8, 9, 9)
    g = torch.randn_like(x)
    found = []
    for dtype in (torch.float32, torch.float64):
        layer = layer_with(start, dtype=dtype)
        a = x.to(dtype, copy=True).requires_grad_()
        y = layer(a)
        y.backward(g.to(dtype))
        found.append((y, a.grad, layer.weight.grad / 100, layer.running_vars))
    for single, double in zip(*found, strict=True):
        assert single.dtype == torch.float32
        assert (single - double).abs().max() < 5e-5  # posteriors magnify rounding


@pytest.mark.parametrize("n_threads", [2, 5])
def test_threads_do_not_change_a_bit(n_threads):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 260, 128, 33)).astype(np.float32)
    weights, means, variances = naive.mixture(3, 128)

    def everything(threads):
        nu, counts, sums = dispatch.em_sums(x, means, variances, np.log(weights), threads)
        products = dispatch.gradient_sums(x, g, nu, means, threads)
        outputs = np.empty_like(x), np.empty_like(x)
        dispatch.transform(x, nu, means, variances, means[0], outputs[0], threads)
        args = (x, g, nu, means, variances, means, variances, outputs[1])
        dispatch.input_gradient(*args, threads)
        again = dispatch.posteriors(x, means, variances, np.log(weights), threads)
        return nu, counts, sums, products, *outputs, again

    for one, many in zip(everything(1), everything(n_threads), strict=True):
        np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_posterior_is_subnormal(dtype):
    x = np.linspace(-300, 300, 6001, dtype=dtype)[None, None]
    weights, means, variances = np.full(2, 0.5), np.array([[-1.0], [1.0]]), np.ones((2, 1))
    nu = dispatch.posteriors(x, means, variances, np.log(weights))[0, :2].T
    assert nu[nu > 0].min() > 1e-27
    expected = naive.shares(x[0].T.astype(float), weights, means, variances)
    np.testing.assert_allclose(nu, expected, atol=10 * np.finfo(dtype).eps)


# --- the gradient --------------------------------------------------------------------------------


def fixed_posteriors(engine, training=True):
    """The transform as a function of x, weight and bias; in training posteriors are fixed."""
    start = naive.mixture(3, 4)
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    running = Components(*map(torch.tensor, start))
    fit = _mixture_fit.em_step(x, running, EPS)

    def function(x, weight, bias):
        components, counts = running, None
        nu = fit.nu
        if not training:
            nu = _mixture_fit.posteriors(x.detach(), running, EPS)
        else:
            counts = fit.counts
            components = naive.share_moments(rows(x), rows(fit.nu)[:, :3])
            components = Components(*map(torch.tensor, components))
        return _mixture_transform.normalize(x, weight, bias, nu, components, counts, EPS)

    affine = [torch.rand(4, dtype=torch.float64).requires_grad_() for _ in range(2)]
    return function, (x.requires_grad_(), *affine)


@both_engines
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck_with_posteriors_constant_in_training(engine, training):
    function, inputs = fixed_posteriors(engine, training)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_gradient_of_one_input_at_a_time():
    function, inputs = fixed_posteriors("kernels")
    everything = torch.autograd.grad(function(*inputs).pow(3).sum(), inputs)
    for chosen in range(3):
        alone = [v if i == chosen else v.detach() for i, v in enumerate(inputs)]
        (found,) = torch.autograd.grad(function(*alone).pow(3).sum(), alone[chosen])
        torch.testing.assert_close(found, everything[chosen])


def test_gradient_penalty():
    layer = MixtureNorm2d(4)
    x = torch.randn(4, 4, 3, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert layer.weight.grad.abs().sum() > 0


# --- K = 1 is BatchNorm --------------------------------------------------------------------------


@both_engines
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-6)])
@pytest.mark.parametrize("momentum", [0.1, None, 0.0, 1.0])
@pytest.mark.parametrize("shape", [(64, 6), (5, 6, 7), (9, 6, 4, 5), (2, 6)])
def test_one_component_is_batchnorm(shape, momentum, dtype, tolerance, engine):
    peer = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    ours = MixtureNorm2d if len(shape) == 4 else MixtureNorm1d
    bn = peer(6, momentum=momentum, dtype=dtype)
    mn = ours(6, 1, momentum=momentum, dtype=dtype)
    for layer in (bn, mn):
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 1.5, 6))
            layer.bias.copy_(torch.linspace(-1, 1, 6))
    scale = torch.linspace(0.5, 3, 6).reshape(6, *[1] * (len(shape) - 2))
    for training in (True, True, True, False):
        x = (scale * torch.randn(shape) + scale / 2).to(dtype)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        u, v = bn.train(training)(a), mn.train(training)(b)
        g = torch.randn_like(u)
        # Two rows differ by little in some channel: rounding grows with the slope.
        slope = max(1.0, float(a.detach().std(0).min()) ** -1) if shape[0] == 2 else 1.0
        u.backward(g)
        v.backward(g)
        assert (u - v).abs().max() < tolerance * slope
        assert (a.grad - b.grad).abs().max() < tolerance * slope**2
        assert (bn.running_mean - mn.running_means[0]).abs().max() < tolerance
        assert (bn.running_var - mn.running_vars[0]).abs().max() < 4 * tolerance
        assert bn.num_batches_tracked == mn.num_batches_tracked
    assert mn.running_weights.tolist() == [1.0]
    np.testing.assert_allclose(bn.weight.grad, mn.weight.grad, atol=100 * tolerance)
    np.testing.assert_allclose(bn.bias.grad, mn.bias.grad, atol=100 * tolerance)


def test_a_large_mean_costs_no_more_than_in_batchnorm():
    x = torch.randn(32, 4, 5, 5, dtype=torch.float64) + 1000
    truth = torch.nn.BatchNorm2d(4, dtype=torch.float64)(x)
    errors = [(layer(x.float()) - truth).abs().max() for layer in
              (torch.nn.BatchNorm2d(4), MixtureNorm2d(4, 1))]  # fmt: skip
    assert errors[1] < 2 * errors[0]


def test_running_means_are_exact_for_float32_input():
    x = torch.randn(32, 4, 5, 5) + 1000
    layer = MixtureNorm2d(4, 1, momentum=1.0, dtype=torch.float64)
    layer(x)
    mean = x.double().mean((0, 2, 3))
    assert (layer.running_means[0] - mean).abs().max() < 1e-8  # float32 moves in steps of 6e-5
    variance = x.double().var((0, 2, 3))
    assert (layer.running_vars[0] / variance - 1).abs().max() < 1e-5


def test_coinciding_components_have_that_variance_too():
    start = (np.full(3, 1 / 3), np.zeros((3, 2)), np.ones((3, 2)))
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    y = layer_with(start, eps=0.0).eval()(x)
    torch.testing.assert_close(y, 3**0.5 * x)


# --- the fit and the running components ----------------------------------------------------------


def test_components_are_found_from_seeds_and_followed():
    layer = MixtureNorm2d(6, 3)
    for seed in range(30):
        x = clusters((8, 6, 5, 5), dtype=torch.float32) + 0.1 * torch.randn(1, 6, 1, 1)
        layer(x)
        if seed == 0:
            first = layer.running_means.clone()
        # Labels never switch: an average of two clusters would be far from both.
        assert (layer.running_means - first).square().sum(1).max() < 1
    assert layer.num_batches_tracked == 30


def test_seeds_find_overlapping_unequal_clusters():
    # One k-means++ draw without Lloyd steps finds all five in a third of the trials.
    centers = torch.tensor([[0.0, 0], [6, 0], [0, 6], [6, 6], [40, 40]])
    labels = torch.repeat_interleave(torch.arange(5), torch.tensor([400, 50, 400, 50, 30]))
    x = centers[labels] + torch.randn(len(labels), 2)
    for seed in range(10):
        torch.manual_seed(seed)
        layer = MixtureNorm1d(2, 5, start_steps=0)
        layer(x)
        distances = torch.cdist(centers, layer.running_means).min(1).values
        assert distances.max() < 1, seed


@pytest.mark.parametrize("seed", range(4))
def test_matching_undoes_a_permutation(seed):
    start = naive.mixture(4, 3, seed)
    order = torch.randperm(4)
    components = Components(*map(torch.tensor, start))
    other = Components(*(value[order] for value in components))
    assert torch.equal(order[_mixture_fit.match(components, other)], torch.arange(4))


def test_fresh_seeds_are_matched_to_the_running_components(monkeypatch):
    layer = MixtureNorm1d(1, 2, dtype=torch.float64)
    x = torch.tensor(naive.bimodal(n=2000)[0])
    layer(x)
    before = layer.running_means.clone()
    real = _mixture_fit.fit

    def swapped(*args, **options):
        fit = real(*args, **options)
        return fit._replace(
            components=Components(*(value.flip(0) for value in fit.components)),
            nu=fit.nu[:, [1, 0]],
            counts=fit.counts.flip(0),
            squares=fit.squares.flip(0),
        )

    monkeypatch.setattr(_mixture_fit, "fit", swapped)
    layer(x)
    torch.testing.assert_close(layer.running_means, before, atol=0.02, rtol=0)


def test_a_component_that_empties_is_seeded_again():
    start = (np.array([0.5, 0.5]), np.array([[0.0], [500.0]]), np.ones((2, 1)))
    layer = layer_with(start, MixtureNorm1d, momentum=1.0)
    layer(torch.tensor(naive.bimodal(n=3000)[0]))
    found = layer.running_means[:, 0]
    np.testing.assert_allclose(found, [-3, 3], atol=0.1)  # the far one takes the nearer mode


@both_engines
def test_fewer_distinct_rows_than_components(engine):
    x = torch.tensor([[0.0, 1.0], [4.0, 1.0]], dtype=torch.float64).repeat(20, 1).requires_grad_()
    layer = MixtureNorm1d(2, 3, dtype=torch.float64)
    for _ in range(3):
        y = layer(x)
    y.sum().backward()
    for value in (y, x.grad, *layer.buffers()):
        assert value.isfinite().all()
    assert y.abs().max() < 1e-6  # both rows are the mean of their component
    assert layer.running_weights.sum() == pytest.approx(1)
    assert layer.eval()(x).isfinite().all()


@both_engines
def test_constant_channel_and_constant_input(engine):
    x = clusters((4, 3, 4, 4))
    x[:, 1] = 7.0
    layer = MixtureNorm2d(3, 2, dtype=torch.float64)
    y = layer(x)
    assert y[:, 1].abs().max() < 1e-9
    assert y[:, 0].var() > 1.5
    whole = MixtureNorm2d(3, 2, dtype=torch.float64)
    for _ in range(2):
        y = whole(torch.full((4, 3, 2, 2), 5.0, dtype=torch.float64))
    assert y.abs().max() < 1e-9
    assert whole.running_means.isfinite().all()


@both_engines
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_input_that_is_not_finite_gives_nan_and_leaves_the_components(bad, warm, engine):
    layer = MixtureNorm1d(2, 2)
    if warm:
        layer(torch.randn(50, 2))
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(50, 2)
    x[3, 1] = bad
    assert layer(x).isnan().any()
    for name, value in layer.state_dict().items():
        if name != "num_batches_tracked":
            assert torch.equal(value, before[name]), name
    assert layer(torch.randn(50, 2)).isfinite().all()


def test_same_seed_same_result_and_no_random_numbers_afterwards():
    x = clusters((8, 4, 4, 4), dtype=torch.float32)
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        layer = MixtureNorm2d(4, 3)
        outputs.append(layer(x))
    assert torch.equal(*outputs)
    state = torch.get_rng_state()
    layer(x)
    assert torch.equal(state, torch.get_rng_state())


def test_fit_size_and_steps_bound_the_start(monkeypatch):
    sizes = []
    real = _mixture_fit.em_step

    def watched(x, *args):
        sizes.append(x.shape[0] * x.shape[2])
        return real(x, *args)

    monkeypatch.setattr(_mixture_fit, "em_step", watched)
    layer = MixtureNorm2d(4, 2, fit_size=100, start_steps=7, em_steps=3)
    x = clusters((8, 4, 6, 6), 2, dtype=torch.float32)
    layer(x)
    assert sizes == [100] * 7 + [288] * 3
    layer(x)
    assert sizes[10:] == [288] * 3


def test_without_running_stats_the_batch_is_used_in_evaluation():
    layer = MixtureNorm1d(1, 2, affine=False, track_running_stats=False, dtype=torch.float64)
    assert list(layer.buffers()) == []
    x = torch.tensor(naive.bimodal(n=4000)[0])
    for training in (True, False):
        assert layer.train(training)(x).var().item() == pytest.approx(2.0, abs=0.01)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer.eval()(x[:1])
