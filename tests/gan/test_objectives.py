"""Objectives and terms against closed forms."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from fastgen import networks
from fastgen.gan import Ensemble, objectives, terms
from fastgen.gan.steps import Batch, NotFiniteError, discriminator_step, generator_step

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def laws(count, atoms=7, seed=0):
    """Discrete laws (count, atoms) with an atom that one of them misses."""
    raw = torch.rand(
        count, atoms, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    raw[0, 0] = 0
    return raw / raw.sum(1, keepdim=True)


def entropy(p):
    return -(p * torch.where(p > 0, p, 1).log()).sum()


def jsd(weights, ps):
    return entropy(weights @ ps) - (weights * torch.stack([entropy(p) for p in ps])).sum()


def optimal_batch(data, members, weights):
    """Every atom once for every member, with the outputs of the best discriminator."""
    count, atoms = members.shape
    mixture = weights @ members
    score = (data / mixture).clamp_min(1e-300).log()  # logit of data / (data + mixture)
    joint = weights[:, None] * members
    logits = (joint / joint.sum(0)).clamp_min(1e-300).log()
    out = torch.cat([score[None], logits]).T
    batch = Batch(nn.Identity(), out, torch.zeros(count * atoms, 1), n_members=count)
    batch.out = out.repeat(count, 1)
    return batch, out, joint.flatten()


@pytest.mark.parametrize("seed", range(3))
def test_mgan_value_at_the_optimum(seed, monkeypatch):
    beta, count = 0.3, 3
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    data, members = laws(1, seed=seed)[0].roll(3), laws(count, seed=10 + seed)
    batch, out, joint = optimal_batch(data, members, weights)
    monkeypatch.setattr(Batch, "weight", joint)
    loss = objectives.NonSaturating().discriminator(
        out, batch.out, real_weight=data, fake_weight=joint
    )
    value = -loss + terms.GeneratorClassifier(beta)(_with_fake(batch))
    expected = (
        -math.log(4)
        + 2 * jsd(torch.tensor([0.5, 0.5]).double(), torch.stack([data, weights @ members]))
        - beta * jsd(weights, members)
        + beta * entropy(weights)
    )
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)


def _with_fake(batch):
    batch.fake = batch.out
    return batch


@pytest.mark.parametrize("count", [2, 3, 5])
def test_mad_value_at_the_optimum(count):
    members = laws(count)
    data = members.mean(0)
    out = torch.cat([data[None], members]).clamp_min(1e-300).log().T
    mad = objectives.MADSoftmax()
    share = mad.score(out).sigmoid()
    torch.testing.assert_close(share, torch.full_like(share, 1 / (count + 1)))
    fake = out.repeat(count, 1)
    softplus = torch.nn.functional.softplus
    value = -objectives.mean(softplus(-mad.score(out)), data) - count * objectives.mean(
        softplus(mad.score(fake)), members.flatten()
    )
    expected = count * math.log(count) - (count + 1) * math.log(count + 1)
    assert value.item() == pytest.approx(expected, abs=1e-12)
    assert mad.generator(fake, weight=members.flatten()).item() == pytest.approx(
        math.log(count + 1), abs=1e-12
    )
    # the cross-entropy over the classes at its optimum: sum of all, each against the total
    member = torch.arange(count).repeat_interleave(data.numel())
    loss = mad.discriminator(
        out, fake, member=member, real_weight=data, fake_weight=members.flatten()
    )
    every = torch.cat([data[None], members])
    expected = (count + 1) * jsd(
        torch.full((count + 1,), 1 / (count + 1), dtype=torch.float64), every
    )
    expected = (count + 1) * math.log(count + 1) - expected
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_losses_by_hand():
    real = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    fake = torch.tensor([[-1.5], [0.0]], dtype=torch.float64)
    sp = lambda x: math.log1p(math.exp(x))  # noqa: E731
    cases = {
        "non_saturating": (
            (sp(-0.5) + sp(-2) + sp(-1.5) + sp(0)) / 2,
            (sp(1.5) + sp(0)) / 2,
        ),
        "hinge": ((0.5 + 0 + 0 + 1) / 2, 0.75),
        "wgan_gp": (-0.75 - 1.25, 0.75),
        "relativistic": ((sp(-2) + sp(-2)) / 2, (sp(2) + sp(2)) / 2),
    }
    for name, (first, second) in cases.items():
        one = objectives.objective(name)
        assert one.discriminator(real, fake).item() == pytest.approx(first, abs=1e-12), name
        assert one.generator(fake, real).item() == pytest.approx(second, abs=1e-12), name
    weight = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert objectives.Hinge().generator(fake, weight=weight).item() == pytest.approx(1.5 / 4)


def penalty_of(objective, weight=(3.0, 4.0)):
    """Penalty for a linear critic, whose slope is known everywhere."""
    w = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
    real, fake = (torch.randn(6, 2, dtype=torch.float64).requires_grad_() for _ in range(2))

    def critic(x):
        return (x @ w)[:, None]

    mix = torch.rand(6, dtype=torch.float64)
    found = objective.penalty(critic, real, fake, critic(real), critic(fake), mix)
    (slope,) = torch.autograd.grad(found, w)
    return found.item(), slope


def test_penalties_of_a_linear_critic():
    found, slope = penalty_of(objectives.NonSaturating(r1=2.0))
    assert found == pytest.approx(25.0)
    torch.testing.assert_close(slope, torch.tensor([6.0, 8.0], dtype=torch.float64))
    assert penalty_of(objectives.Relativistic(r1=2.0, r2=1.0))[0] == pytest.approx(37.5)
    assert penalty_of(objectives.Hinge(r2=2.0, every=4))[0] == pytest.approx(100.0)
    found, slope = penalty_of(objectives.WassersteinGP())
    assert found == pytest.approx(160.0)
    torch.testing.assert_close(slope, torch.tensor([48.0, 64.0], dtype=torch.float64))
    assert penalty_of(objectives.WassersteinGP(penalty_weight=0.0, r1=2.0))[0] == pytest.approx(25)
    lazy = objectives.NonSaturating(r1=1.0, every=4)
    assert [lazy.penalizes(step) for step in range(5)] == [True, False, False, False, True]
    assert not objectives.NonSaturating().penalizes(0)
    assert objectives.WassersteinGP(every=2).penalizes(2)


def test_an_objective_says_its_losses():
    class Half(objectives.Objective):
        def generator(self, fake, real=None, *, weight=None):
            return fake.mean()

    with pytest.raises(TypeError, match="discriminator"):
        Half()
    with pytest.raises(TypeError, match="trains no discriminator"):
        objectives.Quadratic().discriminator(torch.ones(2, 1), torch.ones(2, 1))


def test_quadratic_is_the_distance_of_gaussians():
    from fastgen.metrics import bures

    torch.manual_seed(0)
    real, fake = torch.randn(9, 4).double(), torch.randn(7, 4).double().requires_grad_()
    found = objectives.Quadratic().generator(fake, real)
    moments = [(x.T @ x / len(x)).detach().numpy() for x in (real, fake)]
    assert found.item() == pytest.approx(bures(*moments), abs=1e-10)
    found.backward()
    assert torch.isfinite(fake.grad).all()


# --- terms ---------------------------------------------------------------------------------------


def test_pairwise_distance():
    z, other = torch.randn(2, 5, 3, dtype=torch.float64)

    def generator(z):
        return 2.5 * z.repeat(1, 2)

    def batch(**options):
        made = Batch(generator, torch.zeros(5, 6).double(), z, draw=lambda name: other, **options)
        made.fake = generator(z)
        return made

    scale = 2.5 * math.sqrt(2)
    assert terms.PairwiseDistance(scale)(batch()).item() == pytest.approx(0, abs=1e-20)
    found = terms.PairwiseDistance(2 * scale, weight=0.3)(batch())
    assert found.item() == pytest.approx(0.3 * math.log(2) ** 2)
    assert terms.PairwiseDistance(5.0, norm=1)(batch()).item() == pytest.approx(0, abs=1e-20)
    fades = terms.PairwiseDistance(2 * scale, weight=0.3, schedule=1000)
    assert fades(batch(images=750)).item() == pytest.approx(0.25 * found.item())
    assert fades(batch(images=2000)).item() == 0
    same = batch(images=0)
    same.fake = generator(other)  # all pairs coincide: no logarithm of zero
    assert terms.PairwiseDistance(1.0)(same).item() == 0
    same.fake = torch.cat([generator(other)[:2], 2 * generator(z)[2:]]).requires_grad_()
    terms.PairwiseDistance(1.0)(same).backward()
    assert torch.isfinite(same.fake.grad).all()
    with pytest.raises(ValueError, match="scale must be positive and norm 1 or 2"):
        terms.PairwiseDistance(0.0)


def classified(logits, count=2):
    batch = Batch(nn.Identity(), torch.zeros(4, 1), torch.zeros(4, 1), n_members=count)
    batch.out = torch.cat([torch.zeros(4, 1), torch.tensor(logits)], 1)
    batch.adversarial = torch.tensor(0.25)
    return batch


def test_classifier_and_balance():
    sure = classified([[50.0, 0.0]] * 2 + [[0.0, 50.0]] * 2)
    unsure = classified([[0.0, 0.0]] * 4)
    term = terms.GeneratorClassifier(0.5)
    assert term(unsure).item() == pytest.approx(0.5 * math.log(2))
    assert term.discriminator(unsure).item() == pytest.approx(math.log(2))
    assert term(sure).item() == pytest.approx(0, abs=1e-12)
    balance = terms.Balanced(0.4, decay=0.5, memory=0.5)
    assert balance.share(0, 2) == 0
    balance.discriminator(unsure)
    assert balance.share(0, 2) == pytest.approx(0.4)
    assert balance.share(2, 2) == pytest.approx(0.1)
    # (1 - w) of the adversarial loss, w of the classifier's
    total = unsure.adversarial + balance(unsure)
    assert total.item() == pytest.approx(0.6 * 0.25 + 0.4 * math.log(2))
    balance.discriminator(sure)  # remembers half
    assert balance.share(0, 2) == pytest.approx(0.2)
    for _ in range(40):
        balance.discriminator(sure)
    assert balance.share(0, 2) < 1e-10
    with pytest.raises(ValueError, match=r"decay must be from 0 to 1, got 1\.5"):
        terms.Balanced(decay=1.5)
    with pytest.raises(ValueError, match=r"discriminator must have 5 outputs.*n_outputs=5"):
        term(classified([[0.0, 0.0]] * 4, count=4))


def test_even_weights_pull_towards_equal_ones():
    ensemble = Ensemble(lambda: nn.Linear(1, 1), 2, weights="learned")
    with torch.no_grad():
        ensemble.logits.copy_(torch.tensor([2.0, 0.0]))
    batch = Batch(ensemble, torch.zeros(2, 1), torch.zeros(2, 1), n_members=2)
    loss = terms.EvenWeights(0.1)(batch)
    expected = -0.1 * sum(math.log(w + 1e-6) for w in torch.tensor([2.0, 0.0]).softmax(0)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert ensemble.logits.grad[0] > 0 > ensemble.logits.grad[1]
    plain = Batch(nn.Identity(), torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="needs an Ensemble with weights='learned'"):
        terms.EvenWeights()(plain)


# --- steps ---------------------------------------------------------------------------------------


def test_a_step_of_the_generator_leaves_the_discriminator_alone():
    generator, discriminator = networks.MLPGenerator(2, 2), networks.MLPDiscriminator(2)
    optimizers = [torch.optim.Adam(net.parameters()) for net in (generator, discriminator)]
    batch = Batch(generator, torch.randn(8, 2), torch.randn(8, 2))
    before = [p.clone() for p in generator.parameters()]
    one = objectives.Relativistic()
    discriminator_step(discriminator, optimizers[1], batch, one)
    assert all(torch.equal(p, q) for p, q in zip(generator.parameters(), before, strict=True))
    before = [p.clone() for p in discriminator.parameters()]
    generator_step(discriminator, optimizers[0], batch, one)
    assert all(torch.equal(p, q) for p, q in zip(discriminator.parameters(), before, strict=True))
    assert all(p.requires_grad for p in discriminator.parameters())


def test_a_loss_that_is_not_finite_changes_nothing():
    generator, discriminator = networks.MLPGenerator(2, 2), networks.MLPDiscriminator(2)
    optimizer = torch.optim.SGD(generator.parameters(), lr=1.0)
    before = [p.clone() for p in generator.parameters()]
    batch = Batch(generator, torch.randn(8, 2), torch.randn(8, 2), step=7, images=56)
    with pytest.raises(NotFiniteError, match=r"generator is nan at step 7 \(56 images\); lower"):
        generator_step(
            discriminator,
            optimizer,
            batch,
            objectives.Hinge(),
            [lambda b: b.fake.mean() * math.nan],
        )
    assert all(torch.equal(p, q) for p, q in zip(generator.parameters(), before, strict=True))


def test_weights_of_members_weigh_their_samples():
    ensemble = Ensemble(lambda: nn.Linear(2, 2), 2, weights=[3, 1], seeds=[0, 1])
    discriminator = networks.MLPDiscriminator(2)
    z = torch.randn(4, 2)
    batch = Batch(ensemble, torch.randn(4, 2), z, n_members=2)
    torch.testing.assert_close(batch.weight, torch.tensor([1.5, 1.5, 0.5, 0.5]))
    optimizer = torch.optim.SGD(ensemble.parameters(), lr=0.0)
    found = generator_step(discriminator, optimizer, batch, objectives.Hinge())
    score = discriminator(ensemble(z)).flatten()
    expected = -(0.75 * score[:2].mean() + 0.25 * score[2:].mean())
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_names():
    with pytest.raises(ValueError, match="did you mean 'hinge'"):
        objectives.objective("hing")
    with pytest.raises(ValueError, match="r1 must be finite and at least 0"):
        objectives.Hinge(r1=-1)
    with pytest.raises(ValueError, match=r"mad needs a discriminator with 1 \+ K outputs"):
        objectives.MADSoftmax().discriminator(torch.zeros(2, 1), torch.zeros(2, 1))
