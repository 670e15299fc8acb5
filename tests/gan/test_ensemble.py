"""The sharing knob: its identities, its members, its gradients."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from fastgen import networks
from fastgen.gan import Ensemble
from fastgen.gan.ensemble import seeded
from fastgen.goof import nearest

pytestmark = pytest.mark.usefixtures("one_torch_thread")

K, B = 3, 4
FACTORIES = {
    "mlp": lambda: networks.MLPGenerator(5, (1, 8, 8), widths=(16, 16)).double(),
    "dcgan": lambda: networks.DCGANGenerator(5, (2, 14, 14), width=4).double(),
    "resnet": lambda: networks.ResNetGenerator(5, (1, 8, 8), width=4).double(),
    "biggan": lambda: networks.BigGANGenerator(5, (1, 8, 8), width=8).double(),
    "r3": lambda: networks.R3Generator(5, (1, 8, 8), width=8).double(),
    "odd": lambda: Odd().double(),
}
SEEDS = [11, 22, 33]


class Odd(nn.Module):
    """Layers of kinds without a path of their own."""

    def __init__(self):
        super().__init__()
        self.latent_dim = 5
        self.first = nn.Linear(5, 12)
        self.norm = nn.LayerNorm(12)
        self.act = nn.PReLU(12)
        self.average = nn.BatchNorm1d(12, momentum=None)
        self.conv = nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular")
        self.up = nn.ConvTranspose1d(4, 2, 3, stride=2, groups=2, output_padding=1)

    def forward(self, z):
        x = self.average(self.act(self.norm(self.first(z)))).unflatten(1, (3, 4))
        return self.up(self.conv(x))


def latents(*shape):
    return torch.randn(*shape, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def train(net, z, target, steps=100):
    """Train towards a target with Adam; the losses of members are added."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for step in range(steps):
        optimizer.zero_grad()
        loss = (net(z + 0.01 * step) - target).square()
        loss.flatten(1).mean(1).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", FACTORIES)
def test_members_are_lone_generators_before_and_after_training(kind):
    # Adam divides by the size of gradients: where batch norm cancels them, rounding is magnified
    steps = {"biggan": 10, "resnet": 10, "odd": 30, "dcgan": 50}.get(kind, 100)
    ensemble = Ensemble(FACTORIES[kind], K, seeds=SEEDS)
    z = latents(K, B)
    target = torch.randn_like(ensemble.each(z).detach())
    ensemble = Ensemble(FACTORIES[kind], K, seeds=SEEDS)
    lone = [seeded(FACTORIES[kind], seed) for seed in SEEDS]
    outputs = ensemble.each(z)
    for k in range(K):
        torch.testing.assert_close(outputs[k], lone[k](z[k]), rtol=0, atol=1e-12)
    train(ensemble, z.flatten(0, 1), target.flatten(0, 1), steps)
    for k in range(K):
        train(lone[k], z[k], target[k], steps)
        member = ensemble.member(k)
        for name, tensor in lone[k].state_dict().items():
            torch.testing.assert_close(
                member.state_dict()[name], tensor, rtol=1e-9, atol=1e-9, msg=f"{kind} {name}"
            )
        member.eval(), lone[k].eval()
        torch.testing.assert_close(member(z[k]), lone[k](z[k]), rtol=0, atol=1e-9)
    outputs = ensemble.eval().each(z)
    for k in range(K):
        torch.testing.assert_close(outputs[k], lone[k](z[k]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", FACTORIES)
def test_all_shared_is_a_single_generator(kind):
    ensemble = Ensemble(FACTORIES[kind], K, 0, seeds=SEEDS)
    single = seeded(FACTORIES[kind], SEEDS[0])
    z = latents(K * B)
    for mode in (True, False):
        torch.testing.assert_close(ensemble.train(mode)(z), single.train(mode)(z), rtol=0, atol=0)
    assert [n for n, _ in ensemble.body.named_parameters()] == [
        n for n, _ in single.named_parameters()
    ]


def test_private_first_bias_is_a_conditional_generator():
    conditional = networks.MLPGenerator(5, 7, widths=(16,), n_classes=K).double()
    ensemble = Ensemble(
        lambda: networks.MLPGenerator(5, 7, widths=(16,)).double(), K, ["layers.0.bias"]
    )
    weight, bias = conditional.layers[0].weight, conditional.layers[0].bias
    first = ensemble.body.layers[0].layer
    with torch.no_grad():
        first.weight.copy_(weight[:, :5])
        first.bias.copy_(bias + weight[:, 5:].T)
        ensemble.body.layers[2].load_state_dict(conditional.layers[2].state_dict())
    z, y = latents(K * B), torch.arange(K).repeat_interleave(B)
    torch.testing.assert_close(ensemble(z), conditional(z, y), rtol=0, atol=1e-12)
    mixed = torch.randperm(K * B)
    torch.testing.assert_close(
        ensemble.eval()(z, member=y[mixed]), conditional(z, y[mixed]), rtol=0, atol=1e-12
    )


def test_private_first_weight_and_bias_contain_a_gaussian_mixture_latent():
    net = networks.DCGANGenerator(5, (1, 8, 8), width=4).double().eval()
    plain = networks.MLPGenerator(5, 7, widths=(16,)).double()
    scale = torch.randn(K, 5, 5, dtype=torch.float64)
    mean = torch.randn(K, 5, dtype=torch.float64)
    u = latents(K, B)
    z = (u @ scale.transpose(1, 2) + mean[:, None]).flatten(0, 1)
    ensemble = Ensemble(lambda: copy.deepcopy(plain), K, 1)
    first = ensemble.body.layers[0].layer
    with torch.no_grad():
        first.weight.copy_(plain.layers[0].weight @ scale)
        first.bias.copy_(mean @ plain.layers[0].weight.T + plain.layers[0].bias)
    torch.testing.assert_close(ensemble(u.flatten(0, 1)), plain(z), rtol=0, atol=1e-12)
    # a transposed convolution without bias: means vanish
    ensemble = Ensemble(lambda: copy.deepcopy(net), K, 1).eval()
    first = ensemble.body.layers[1].layer
    with torch.no_grad():
        first.weight.copy_(torch.einsum("iohw,kij->kjohw", net.layers[1].weight, scale))
    z = (u @ scale.transpose(1, 2)).flatten(0, 1)
    torch.testing.assert_close(ensemble(u.flatten(0, 1)), net(z), rtol=0, atol=1e-12)


@pytest.mark.parametrize("private", [0, 1, 3, "all", ["layers.1"]])
def test_gradients_of_shared_parameters_are_sums_over_members(private):
    factory = FACTORIES["dcgan"]
    ensemble = Ensemble(factory, K, private, seeds=SEEDS).eval()
    members = ensemble.members()
    z = latents(K, B)
    ensemble.each(z).square().sum().backward()
    for k in range(K):
        members[k](z[k]).square().sum().backward()
    grads = {name: p.grad for name, p in ensemble.body.named_parameters()}
    for name, _ in members[0].named_parameters():
        alone = torch.stack([m.get_parameter(name).grad for m in members])
        key, stacked = ensemble._entries[name]
        expected = alone if stacked else alone.sum(0)
        torch.testing.assert_close(grads[key], expected, rtol=1e-10, atol=1e-12)
    assert len(grads) == len(list(members[0].parameters()))


def test_numbers_of_parameters():
    single, first = 3_576_704, 819_200
    for private, count in ((0, single), (1, single + 9 * first), ("all", 10 * single)):
        with torch.device("meta"):
            ensemble = Ensemble(networks.DCGANGenerator, 10, private, random_state=0)
        assert sum(p.numel() for p in ensemble.parameters()) == count


def test_shared_batch_norm_is_over_all_members_or_each():
    factory = FACTORIES["dcgan"]
    z = latents(K, B)
    mixed = Ensemble(factory, K, 1, seeds=SEEDS)
    alone = Ensemble(factory, K, 1, seeds=SEEDS, statistics="member")
    assert not torch.allclose(mixed.each(z), alone.each(z))
    for k in range(K):
        member = alone.member(k)
        torch.testing.assert_close(alone.each(z)[k], member(z[k]), rtol=0, atol=1e-12)
    assert sum(p.numel() for p in mixed.parameters()) == sum(p.numel() for p in alone.parameters())
    assert alone.body.layers[2].layer.running_mean.shape == (K, 4)


def test_a_private_bias_before_batch_norm_needs_mixed_statistics():
    def factory():
        layers = nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)
        return nn.Sequential(*layers).double()

    z = latents(B)
    for statistics, differ in (("mixed", True), ("member", False)):
        ensemble = Ensemble(factory, K, ["0.bias"], seeds=SEEDS, statistics=statistics)
        outputs = ensemble.each(z)
        assert (outputs[0] - outputs[1]).abs().max().item() > 1e-3 or not differ
        assert torch.allclose(outputs[0], outputs[1]) != differ
    # a private shift of the norm is not cancelled either way
    for statistics in ("mixed", "member"):
        ensemble = Ensemble(factory, K, ["1.bias"], seeds=SEEDS, statistics=statistics)
        with torch.no_grad():
            ensemble.body[1].layer.bias.copy_(torch.arange(3.0)[:, None].expand(3, 6))
        outputs = ensemble.each(z)
        assert not torch.allclose(outputs[0], outputs[1])


@pytest.mark.parametrize("kind", ["mlp", "dcgan", "biggan"])
@pytest.mark.parametrize("private", [1, "all"])
def test_members_go_out_and_come_back(kind, private):
    ensemble = Ensemble(FACTORIES[kind], K, private, seeds=SEEDS)
    ensemble.each(latents(B))  # statistics of batch norm move
    before = copy.deepcopy(ensemble)
    member = ensemble.member(1)
    assert type(member) is type(FACTORIES[kind]())
    with torch.no_grad():
        for name, parameter in member.named_parameters():
            if name in ensemble.private_parameters:
                parameter.add_(1)
    torch.testing.assert_close(ensemble.state_dict(), before.state_dict(), rtol=0, atol=0)
    ensemble.put(1, member)
    torch.testing.assert_close(ensemble.member(1).state_dict(), member.state_dict(), rtol=0, atol=0)
    for k in (0, 2):
        torch.testing.assert_close(
            ensemble.member(k).state_dict(), before.member(k).state_dict(), rtol=0, atol=0
        )
    if private == 1:
        with torch.no_grad():
            list(member.parameters())[-1].add_(1)
        with pytest.raises(ValueError, match="that all members share"):
            ensemble.put(1, member)
    with pytest.raises(ValueError, match="module must have the tensors of a member"):
        ensemble.put(1, nn.Linear(2, 2))


def test_chosen_members():
    ensemble = Ensemble(FACTORIES["dcgan"], K, seeds=SEEDS)
    z = latents(9)
    member = torch.tensor([2, 0, 0, 2, 2, 0, 2, 2, 0])
    with pytest.raises(ValueError, match=r"equally often in training mode.*\[4, 0, 5\]"):
        ensemble(z, member=member)
    ensemble.eval()
    out = ensemble(z, member=member)
    for k in (0, 2):
        expected = ensemble.member(k)(z[member == k])
        torch.testing.assert_close(out[member == k], expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="member must be 9 numbers from 0 to 2"):
        ensemble(z, member=member + 1)
    with pytest.raises(ValueError, match=r"z must have a multiple of 3 rows.*got 4"):
        ensemble(latents(4))
    with pytest.raises(ValueError, match=r"z must be latents \(B, k\) or \(3, B, k\)"):
        ensemble.each(latents(4, 2))


def test_conditional_members():
    def factory():
        return networks.BigGANGenerator(5, (1, 8, 8), n_classes=4, width=8).double()

    ensemble = Ensemble(factory, K, seeds=SEEDS).eval()
    assert ensemble.n_classes == 4
    z, y = latents(K * B), torch.arange(K * B) % 4
    out = ensemble(z, y).unflatten(0, (K, B))
    for k in range(K):
        part = slice(k * B, (k + 1) * B)
        torch.testing.assert_close(out[k], ensemble.member(k)(z[part], y[part]), rtol=0, atol=1e-12)


def test_weights():
    factory = FACTORIES["mlp"]
    torch.testing.assert_close(
        Ensemble(factory, K).weights, torch.full((K,), 1 / 3, dtype=torch.float64)
    )
    given = Ensemble(factory, K, weights=[1, 2, 1], seeds=SEEDS)
    torch.testing.assert_close(given.weights, torch.tensor([0.25, 0.5, 0.25]).double())
    learned = Ensemble(factory, K, weights="learned")
    assert learned.logits.requires_grad
    (learned.weights * torch.arange(3.0)).sum().backward()
    torch.testing.assert_close(learned.logits.grad, torch.tensor([-1.0, 0.0, 1.0]) / 3)
    samples, member = given.sample(4000, seed=1)
    assert samples.shape == (4000, 1, 8, 8)
    assert abs((member == 1).double().mean() - 0.5) < 0.03
    assert given.training
    again, _ = given.sample(4000, seed=1)
    torch.testing.assert_close(samples, again, rtol=0, atol=0)
    for bad in ([1, 2], [1, 0, 1], "learnt"):
        with pytest.raises(ValueError, match="weights must be"):
            Ensemble(factory, K, weights=bad)


def test_seeds_leave_the_global_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = Ensemble(FACTORIES["mlp"], K, random_state=5)
    torch.testing.assert_close(torch.rand(1), expected)
    second = Ensemble(FACTORIES["mlp"], K, random_state=5)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert len(set(first.seeds)) == K


def test_wrong_arguments_are_named():
    factory = FACTORIES["mlp"]
    for private, message in (
        (["layers.0.biass"], "'layers.0.biass' is no layer or parameter; did you mean 'layers.0.b"),
        (7, "private_layers must be at most 3, the number of layers, got 7"),
        ("layers.0", r"did you mean \['layers.0'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            Ensemble(factory, K, private)
    with pytest.raises(TypeError, match=r"factory must return an nn\.Module, got int"):
        Ensemble(lambda: 3, K)
    with pytest.raises(ValueError, match="seeds must be 3, one for each member, got 2"):
        Ensemble(factory, K, seeds=[1, 2])
    with pytest.raises(ValueError, match="k must be below 3, the number of members, got 3"):
        Ensemble(factory, K).member(3)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_members_are_a_mixture_for_goof():
    ensemble = Ensemble(FACTORIES["mlp"], K, 1, seeds=SEEDS).eval()
    targets = ensemble(latents(K)).detach()
    found = nearest(
        ensemble.members(), targets, pool_size=200, n_starts=3, random_state=0, progress=False
    )
    assert found.squared_distance.max() < 1e-10
    assert found.component.tolist() == [0, 1, 2]
