"""fastgen.goof.nearest: generators of all kinds, starts, repeatability, lower bounds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from oracles import goof as naive
from oracles import study

from fastgen.goof import nearest, pca_floor
from fastgen.linear import LinearGAN

torch = pytest.importorskip("torch")
nn = torch.nn

from fastgen._evaluation import evaluation_mode
from fastgen.goof import bounds, search
from fastgen.goof import domains as goof_domains
from fastgen.goof import starts as _starts

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]
QUICK = {"pool_size": 300, "n_starts": 4, "max_iter": 40, "random_state": 0}


def mlp(k=3, h=12, d=16, last=None, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(k, h), nn.ReLU(), nn.Linear(h, d)] + ([last()] if last else [])
    return nn.Sequential(*layers)


def dcgan():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.ConvTranspose2d(4, 8, 4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.ConvTranspose2d(8, 1, 4, 2, 1),
        nn.Tanh(),
    )


class Conditional(nn.Module):
    """Takes (z, label)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.embed, self.body = nn.Embedding(3, 4), mlp(7, 16, 9)

    def forward(self, z, label):
        return self.body(torch.cat([z, 3 * self.embed(label)], 1))


class StyleLike(nn.Module):
    """A mapping network and a synthesis network."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.mapping, self.synthesis = mlp(5, 8, 6), mlp(6, 12, 10, nn.Tanh)

    def forward(self, z):
        return self.synthesis(self.mapping(z))


class SmallStep(nn.Module):
    """Not a chain: a residual network of the user's."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.first, self.second = nn.Linear(4, 12), nn.Linear(12, 12)
        self.last = nn.Linear(12, 2 * 3 * 5)

    def forward(self, z):
        h = torch.tanh(self.first(z))
        return self.last(h + torch.tanh(self.second(h))).reshape(len(z), 2, 3, 5)


def planted_by(call, k, n=6, cond=None, scale=0.7):
    z = scale * torch.randn((n, k), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        return (call(z) if cond is None else call(z, cond)).numpy()


# --- generators of all kinds ---------------------------------------------------------------------


def test_convolutions_on_latents_with_spatial_axes():
    net = dcgan().eval()
    X = planted_by(lambda z: net(z[:, :, None, None]), 4)
    found = nearest(net, X, **QUICK)
    assert found.z.shape == (6, 4)
    assert found.reconstruction.shape == X.shape == (6, 1, 8, 8)
    assert (found.mse < 1e-6).all()
    again = nearest(net, X, latent_dim=(4, 1, 1), **QUICK)
    np.testing.assert_array_equal(again.z, found.z)
    flat = nearest(net, X.reshape(6, -1), **QUICK)
    np.testing.assert_array_equal(flat.squared_distance, found.squared_distance)
    assert flat.reconstruction.shape == (6, 64)


def test_a_conditional_generator():
    net = Conditional().eval()
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    X = planted_by(net, 3, cond=labels)
    found = nearest(net, X, latent_dim=3, cond=labels, **QUICK)
    assert (found.mse < 1e-6).all()
    wrong = nearest(net, X, latent_dim=3, cond=(labels + 1) % 3, **QUICK)
    assert np.median(wrong.mse) > 1e-4
    arrays = nearest(net, X, latent_dim=3, cond=labels.numpy(), **QUICK)
    np.testing.assert_array_equal(arrays.z, found.z)
    with pytest.raises(ValueError, match="cond must have a row per row of X, 6, got 5"):
        nearest(net, X, latent_dim=3, cond=labels[:5], **QUICK)
    with pytest.raises(ValueError, match="latent_dim must be given for a conditional generator"):
        nearest(net, X, cond=labels, **QUICK)


def test_synthesis_through_forward():
    net = StyleLike()
    X = planted_by(lambda w: net.synthesis(w), 6)
    found = nearest(net, X, forward=lambda w: net.synthesis(w), latent_dim=6, **QUICK)
    assert (found.mse < 1e-6).sum() >= 5
    assert nearest(net, X, **QUICK).z.shape == (6, 5)


@pytest.mark.parametrize("method", ["lm", "gncg", "lbfgs"])
def test_a_network_that_is_no_chain(method):
    net = SmallStep()
    X = planted_by(net, 4)
    found = nearest(net, X, method=method, **{**QUICK, "max_iter": 200})
    assert found.reconstruction.shape == (6, 2, 3, 5)
    assert (found.mse < 1e-6).all()


def test_a_mixture_is_the_minimum():
    members = [mlp(3, seed=0), mlp(2, seed=1), LinearGAN(2, "unsupervised")]
    X = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    members[2].fit(X)
    alone = [nearest(member, X, **QUICK) for member in members]
    found = nearest(members, X, **QUICK)
    distances = np.stack([one.squared_distance for one in alone])
    np.testing.assert_array_equal(found.squared_distance, distances.min(axis=0))
    np.testing.assert_array_equal(found.component, distances.argmin(axis=0))
    assert len(set(found.component)) > 1
    for row, which in enumerate(found.component):
        k = alone[which].z.shape[1]
        np.testing.assert_array_equal(found.z[row, :k], alone[which].z[row])
        assert np.isnan(found.z[row, k:]).all()
        np.testing.assert_array_equal(found.reconstruction[row], alone[which].reconstruction[row])
    np.testing.assert_array_equal(
        found.lower_bound, np.min([one.lower_bound for one in alone], axis=0)
    )
    np.testing.assert_allclose(found.n_forward, sum(one.n_forward for one in alone))


def test_a_linear_gan_gives_its_projection():
    X = np.random.default_rng(0).standard_normal((30, 8))
    gan = LinearGAN(3, "unsupervised").fit(X)
    found = nearest(gan, X)
    np.testing.assert_allclose(found.z, gan.transform(X), atol=1e-12)
    assert found.squared_distance.mean() == pytest.approx(study.pca_tail(X, 3))


def test_nothing_of_the_users_changes():
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 6))
    net[0].eval()
    net[3].weight.requires_grad_(False)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [part.training for part in net.modules()]
    X = torch.randn(5, 6)
    with torch.no_grad():
        found = nearest(net, X, **QUICK)
    assert [part.training for part in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == [True, True, True, True, False, True]
    assert (net[0].weight.grad == 1).all()
    assert net[0].bias.grad is None
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    assert np.isfinite(found.mse).all()
    with pytest.raises(ValueError, match="X must have rows of shape"):
        nearest(net, X[:, :5], **QUICK)
    assert [part.training for part in net.modules()] == modes
    with torch.inference_mode():
        inside = nearest(net, X.clone(), **QUICK)
    np.testing.assert_array_equal(inside.z, found.z)


def test_batch_mates_and_chance_are_refused():
    normed = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8, track_running_stats=False))
    X = np.zeros((4, 8), np.float32)
    with pytest.raises(ValueError, match=r"depends on its batch mates .* call \.eval\(\)"):
        nearest(normed, X, **QUICK)
    training = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8)).train()
    with pytest.raises(ValueError, match=r"depends on its batch mates .* batch norm in training"):
        nearest(lambda z: training(z), X, latent_dim=3, **QUICK)
    noisy = nn.Linear(3, 8)
    with pytest.raises(ValueError, match=r"depends on chance .*noise_mode"):
        nearest(lambda z: noisy(z) + torch.randn(8), X, latent_dim=3, **QUICK)


def test_evaluation_mode_restores_after_an_error():
    net = mlp().train()

    def work():
        with evaluation_mode([net]):
            assert not net.training
            assert not any(p.requires_grad for p in net.parameters())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


# --- starts --------------------------------------------------------------------------------------


def test_starts_are_the_nearest_of_each_shard():
    rng = np.random.default_rng(0)
    X, pool = torch.from_numpy(rng.standard_normal((9, 5))), torch.from_numpy(rng.random((70, 5)))
    distances, index = _starts.nearest_in_block(X, pool, 3)
    full = ((X.numpy()[:, None] - pool.numpy()) ** 2).sum(2)
    np.testing.assert_array_equal(index, np.argsort(full, axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :3], rtol=1e-12)
    same = _starts.nearest_in_block(pool, pool)
    np.testing.assert_array_equal(same[0], 0)
    net = mlp().double()
    starts = {}
    with evaluation_mode([net]):
        generator = search.adapt(net)
        for count in (1, 5, 8, 20):
            starts[count], _ = _starts.from_pool(
                generator, torch.zeros(4, 16, dtype=torch.float64), prior="normal",
                domain=search.domains.check(None), pool_size=100, n_starts=count,
                rng=np.random.default_rng(0),
            )  # fmt: skip
    for count in (1, 5, 8):
        torch.testing.assert_close(starts[count], starts[20][:, :count], rtol=0, atol=0)
    assert len(torch.unique(starts[20][0], dim=0)) == 20


def test_user_starts_and_encoders():
    net = mlp().double()
    z = torch.randn(6, 3, dtype=torch.float64)
    X = net(z).detach()
    at_once = nearest(net, X, init=z.numpy(), n_starts=0, pool_size=0)
    assert set(at_once.status) == {"exact"}
    np.testing.assert_allclose(at_once.z, z, atol=1e-12)
    several = nearest(net, X, init=torch.stack([z + 5, z], 1), n_starts=0, pool_size=0)
    np.testing.assert_allclose(several.squared_distance, 0, atol=1e-12)
    encoder = nn.Linear(16, 3).double()
    best = nearest(net, X, init=encoder, **QUICK)
    alone = nearest(net, X, init=encoder, n_starts=0, pool_size=0)
    assert (best.squared_distance <= alone.squared_distance + 1e-12).all()
    for bad, message in (
        (np.zeros((6, 2)), r"init must have shape \(6, 3\).* got shape \(6, 2\)"),
        (np.zeros((5, 3)), "init must have shape"),
        (np.full((6, 3), np.nan), "init must be finite, got a start that is not at row 0"),
    ):
        with pytest.raises(ValueError, match=message):
            nearest(net, X, init=bad, **QUICK)
    with pytest.raises(TypeError, match="got a tuple; for a VAE"):
        nearest(net, X, init=lambda x: (x[:, :3], x[:, :3]), **QUICK)


def test_outputs_that_are_not_finite_are_dropped_and_counted():
    net = mlp()

    def generator(z):
        return net(z) + torch.where(z[:, :1] > 0.5, float("nan"), 0.0)

    X = planted_by(net, 3, scale=0.1)
    found = nearest(generator, X, latent_dim=3, **QUICK)
    drawn = goof_domains.draw("normal", 300, 3, np.random.default_rng(0))
    assert 50 < found.n_dropped < 150
    assert len(drawn) == 300
    assert np.isfinite(found.squared_distance).all()
    assert (found.z[:, 0] <= 0.5).all()
    with pytest.raises(ValueError, match="nothing finite for 300 latents"):
        nearest(lambda z: net(z) * float("nan"), X, latent_dim=3, **QUICK)


def test_priors():
    net = mlp()
    X = planted_by(net, 3)
    found = nearest(net, X, prior=lambda count, rng: rng.uniform(-2, 2, (count, 3)), **QUICK)
    assert np.isfinite(found.mse).all()
    assert np.isfinite(nearest(net, X, prior="uniform", **QUICK).mse).all()
    with pytest.raises(
        ValueError, match=r"prior\(count, rng\) must return .* \(38, 3\), got shape"
    ):
        nearest(net, X, prior=lambda count, rng: np.zeros((count, 2)), **QUICK)


def test_the_penalty_steers_but_does_not_rank():
    net = mlp().double()
    X = np.random.default_rng(0).standard_normal((12, 16))
    free = nearest(net, X, **QUICK)
    held = nearest(net, X, penalty=2.0, **QUICK)
    assert np.linalg.norm(held.z, axis=1).mean() < 0.8 * np.linalg.norm(free.z, axis=1).mean()
    exact = ((net(torch.from_numpy(held.z)).detach().numpy() - X) ** 2).sum(axis=1)
    np.testing.assert_allclose(held.squared_distance, exact)
    before = np.full(12, np.inf)
    for count in (1, 2, 4, 9):
        found = nearest(net, X, penalty=2.0, **{**QUICK, "n_starts": count})
        assert (found.squared_distance <= before * (1 + 1e-9)).all()
        before = found.squared_distance


# --- repeatability -------------------------------------------------------------------------------


def test_order_and_batch_do_not_matter():
    net = mlp(4, 24, 16).double()
    X = np.random.default_rng(0).standard_normal((40, 16))
    whole = nearest(net, X, **QUICK)
    again = nearest(net, X, **QUICK)
    np.testing.assert_array_equal(again.z, whole.z)
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(
        nearest(net, X[order], **QUICK).squared_distance, whole.squared_distance[order], rtol=1e-5
    )
    for rows in (slice(0, 1), slice(7, 20)):
        part = nearest(net, X[rows], **QUICK)
        np.testing.assert_allclose(part.squared_distance, whole.squared_distance[rows], rtol=1e-5)


def test_chunks_do_not_matter(monkeypatch):
    net = mlp().double()
    X = np.random.default_rng(0).standard_normal((20, 16))
    whole = nearest(net, X, **QUICK)
    monkeypatch.setattr(search, "_CHUNK", 7)
    seen = []
    parts = nearest(net, X, progress=lambda done, total: seen.append((done, total)), **QUICK)
    np.testing.assert_allclose(parts.squared_distance, whole.squared_distance, rtol=1e-5)
    assert seen == [(7, 20), (14, 20), (20, 20)]
    passes, distance = whole.history[-1]
    # a search that ends where rounding decides may take a step more beside other mates
    np.testing.assert_allclose(parts.history[-1, 0], passes, rtol=0.02)
    np.testing.assert_allclose(parts.history[-1, 1], distance, rtol=1e-5)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_interrupted_searches_go_on(monkeypatch, stop):
    net = mlp().double()
    X = np.random.default_rng(0).standard_normal((20, 16))
    monkeypatch.setattr(search, "_CHUNK", 7)
    whole = nearest(net, X, **QUICK)
    calls = []
    real = search.race.search

    def interrupted(*args):
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(search.race, "search", interrupted)
    with pytest.warns(
        RuntimeWarning, match=f"after {7 * (stop - 1)} of 20 targets; pass .* resume"
    ):
        first = nearest(net, X, **QUICK)
    assert (first.status == "interrupted").sum() == 20 - 7 * (stop - 1)
    assert np.isnan(first.z[first.status == "interrupted"]).all()
    assert np.isinf(first.squared_distance[first.status == "interrupted"]).all()
    monkeypatch.setattr(search.race, "search", real)
    rest = nearest(net, X, resume=first, **QUICK)
    np.testing.assert_array_equal(rest.z, whole.z)
    np.testing.assert_array_equal(rest.squared_distance, whole.squared_distance)
    np.testing.assert_allclose(rest.history[-1], whole.history[-1], rtol=1e-6)
    assert nearest(net, X, resume=rest, **QUICK) is rest
    with pytest.raises(ValueError, match="resume must be the NearestResult of an earlier search"):
        nearest(net, X[:3], resume=first, **QUICK)


def test_interrupted_mixtures_go_on(monkeypatch):
    members = [mlp(3, seed=0).double(), mlp(3, seed=1).double()]
    X = np.random.default_rng(0).standard_normal((20, 16))
    monkeypatch.setattr(search, "_CHUNK", 7)
    whole = nearest(members, X, **QUICK)
    calls = []
    real = search.race.search

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(search.race, "search", interrupted)
    with pytest.warns(RuntimeWarning, match="interrupted after 7 of 20 targets"):
        first = nearest(members, X, **QUICK)
    assert list(first.status == "interrupted") == [False] * 7 + [True] * 13
    assert np.isfinite(first.squared_distance).all()
    assert (first.squared_distance >= whole.squared_distance).all()
    monkeypatch.setattr(search.race, "search", real)
    rest = nearest(members, X, resume=first, **QUICK)
    np.testing.assert_array_equal(rest.squared_distance, whole.squared_distance)
    np.testing.assert_array_equal(rest.component, whole.component)


def test_polish_reaches_float64():
    net = mlp(3, 24, 16, nn.Sigmoid)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    z = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    X = net.double()(z).detach().numpy()
    net.float()
    plain, polished = nearest(net, X, **QUICK), nearest(net, X, polish=True, **QUICK)
    assert polished.z.dtype == np.float64
    assert np.median(polished.mse) < 1e-24 < np.median(plain.mse) < 1e-12
    assert all(torch.equal(net.state_dict()[name], weights[name]) for name in weights)
    with pytest.raises(ValueError, match=r"polish needs an nn\.Module"):
        nearest(lambda z: net(z), X.astype(np.float32), latent_dim=3, polish=True, **QUICK)


# --- lower bounds --------------------------------------------------------------------------------


def test_lower_bounds():
    rng = np.random.default_rng(0)
    X = 3 * rng.standard_normal((12, 16))
    net = mlp(3, 6, 16).double()
    found = nearest(net, X, **QUICK)
    weight, bias = (p.detach().numpy() for p in net[2].parameters())
    np.testing.assert_allclose(
        found.lower_bound, naive.cone_distance(weight, X - bias), rtol=1e-6, atol=1e-6
    )
    assert (found.lower_bound <= found.squared_distance).all()
    assert (found.lower_bound > 0.1).all()
    hull = bounds.lower_bounds([nn.Linear(3, 6), nn.Tanh(), net[2]], X)
    np.testing.assert_allclose(hull, naive.linear_free(weight, bias, X), rtol=1e-6)
    box = nearest(mlp(3, 6, 16, nn.Sigmoid).double(), np.clip(X, 0, 1), **QUICK)
    np.testing.assert_array_equal(box.lower_bound, 0)
    np.testing.assert_allclose(
        bounds.lower_bounds([nn.Linear(3, 16), nn.Tanh()], X),
        (np.maximum(np.abs(X) - 1, 0) ** 2).sum(axis=1),
    )
    assert (bounds.lower_bounds(None, X) == 0).all()
    assert (nearest(SmallStep(), np.zeros((2, 2, 3, 5)), **QUICK).lower_bound == 0).all()


def test_golden_cone():
    weight, target = np.array([[1.0], [0.0]]), np.array([[-3.0, 4.0]])
    assert bounds.cone_bound(weight, target)[0] == pytest.approx(25, rel=1e-8)
    assert bounds.cone_bound(weight, target)[0] <= 25
    line = nn.Linear(1, 2).double()
    line.weight.data, line.bias.data = torch.from_numpy(weight), torch.zeros(2).double()
    assert bounds.lower_bounds([nn.Tanh(), line], target)[0] == pytest.approx(16)
    wide = np.random.default_rng(0).standard_normal((3, 9))
    targets = np.random.default_rng(1).standard_normal((20, 3))
    assert (bounds.cone_bound(wide, targets) <= naive.cone_distance(wide, targets) + 1e-12).all()


@pytest.mark.parametrize("short", [1 - 1e-4, 1.0])
def test_cone_bounds_hold_for_any_certificate(monkeypatch, short):
    weight = np.abs(np.random.default_rng(0).standard_normal((9, 4)))
    targets = 2 + np.random.default_rng(1).standard_normal((20, 9))
    exact = naive.cone_distance(weight, targets)
    real = scipy.optimize.nnls
    monkeypatch.setattr(scipy.optimize, "nnls", lambda a, b: (short * real(a, b)[0], 0.0))
    found = bounds.cone_bound(weight, targets)
    assert (found <= exact).all()
    np.testing.assert_allclose(found, exact, rtol=1e-2)

    def fails(a, b):
        raise RuntimeError("no convergence")

    monkeypatch.setattr(scipy.optimize, "nnls", fails)
    assert (bounds.cone_bound(weight, targets) == 0).all()


def test_pca_floor():
    X = np.random.default_rng(0).standard_normal((15, 6))
    for k in range(1, 8):
        assert pca_floor(X, k) == pytest.approx(study.pca_tail(X, k), abs=1e-12)
        gan = LinearGAN(k, "unsupervised").fit(X)
        assert nearest(gan, X).squared_distance.mean() == pytest.approx(pca_floor(X, k), abs=1e-12)
    assert pca_floor(X[:4], 3) == 0
    assert pca_floor(X[:5], 3) > 0.01
