"""Generators and discriminators: shapes, counts, refusals, and that goof takes them as they are."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from fastgen import networks
from fastgen.goof import nearest

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]

PAIRS = {
    "dcgan": (networks.DCGANGenerator, networks.DCGANDiscriminator),
    "resnet": (networks.ResNetGenerator, networks.ResNetDiscriminator),
    "biggan": (networks.BigGANGenerator, networks.BigGANDiscriminator),
    "r3": (networks.R3Generator, networks.R3Discriminator),
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("size", [8, 10, 14, 16, 28, 32, 64])
def test_sizes(kind, size):
    generator, discriminator = PAIRS[kind]
    net = generator(5, (2, size, size), width=8)
    assert (net.latent_dim, net.image_shape) == (5, (2, size, size))
    x = net(torch.randn(3, 5))
    assert x.shape == (3, 2, size, size)
    assert discriminator((2, size, size), width=8, n_outputs=4)(x).shape == (3, 4)
    x.square().mean().backward()
    # the gain of attention and the last convolution of a block start at zero
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("size", [4, 18, 30, 60 + 1, 128])
def test_other_sizes_are_refused_by_name(kind, size):
    for net in PAIRS[kind]:
        arguments = (5,) if net is PAIRS[kind][0] else ()
        with pytest.raises(ValueError, match=f"image_shape must have a size of .*got {size}"):
            net(*arguments, image_shape=(1, size, size))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="square images, got 28 x 32"):
        networks.DCGANGenerator(5, (1, 28, 32))
    with pytest.raises(ValueError, match=r"\(channels, height, width\), got 28"):
        networks.ResNetGenerator(5, 28)
    with pytest.raises(ValueError, match="latent_dim must be at least 1, got 0"):
        networks.MLPGenerator(0, 2)
    with pytest.raises(ValueError, match="did you mean 'tanh'"):
        networks.MLPGenerator(2, 2, output="tan")
    with pytest.raises(ValueError, match="group_size must divide twice the width, 20, got 16"):
        networks.R3Generator(5, (1, 8, 8), width=10)
    with pytest.raises(ValueError, match="width must be at least 8 where there is attention"):
        networks.BigGANGenerator(5, (1, 16, 16), width=2)
    with pytest.raises(ValueError, match="n_classes must be at least 2, got 1"):
        networks.MLPGenerator(2, 2, n_classes=1)


@pytest.mark.parametrize(("size", "channels", "count"), [(64, 3, 3_576_704), (32, 3, 1_068_928)])
def test_dcgan_has_the_published_number_of_parameters(size, channels, count):
    net = networks.DCGANGenerator(100, (channels, size, size))
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("kind", [*PAIRS, "mlp"])
def test_goof_takes_them_without_options(kind):
    torch.manual_seed(0)
    if kind == "mlp":
        net = networks.MLPGenerator(3, (1, 8, 8), widths=(16,))
    else:
        net = PAIRS[kind][0](3, (1, 8, 8), width=8)
    net.double().eval()
    targets = net(torch.randn(2, 3, dtype=torch.float64)).detach()
    found = nearest(net, targets, pool_size=500, n_starts=3, random_state=0, progress=False)
    assert found.z.shape == (2, 3)
    assert found.squared_distance.max() < 1e-8 * targets.square().sum(dim=(1, 2, 3)).min()


def test_goof_takes_conditional_ones():
    torch.manual_seed(0)
    net = networks.BigGANGenerator(3, (1, 8, 8), n_classes=4, width=8).double().eval()
    labels = torch.tensor([0, 3])
    targets = net(torch.randn(2, 3, dtype=torch.float64), labels).detach()
    found = nearest(
        net, targets, cond=labels, pool_size=500, n_starts=3, random_state=0, progress=False
    )
    assert found.squared_distance.max() < 1e-8 * targets.square().sum(dim=(1, 2, 3)).min()


@pytest.mark.parametrize("kind", ["mlp", "biggan"])
def test_labels_change_what_conditional_networks_return(kind):
    torch.manual_seed(0)
    if kind == "mlp":
        generator = networks.MLPGenerator(3, (1, 8, 8), n_classes=4)
        discriminator = networks.MLPDiscriminator((1, 8, 8), n_classes=4)
    else:
        generator = networks.BigGANGenerator(3, (1, 8, 8), n_classes=4, width=8)
        discriminator = networks.BigGANDiscriminator((1, 8, 8), n_classes=4, width=8)
    z = torch.randn(1, 3).expand(4, 3)
    generator.eval()
    images = generator(z, torch.arange(4))
    assert images.flatten(1).std(0).max() > 1e-3
    with torch.no_grad():
        scores = discriminator.eval()(images[:1].expand(4, 1, 8, 8), torch.arange(4))
    assert scores.std() > 1e-4
    for net, first in ((generator, z), (discriminator, images)):
        with pytest.raises(ValueError, match=r"y must be labels \(B,\) of this network of 4"):
            net(first)


def test_only_the_score_sees_the_class():
    torch.manual_seed(0)
    net = networks.BigGANDiscriminator((1, 8, 8), n_classes=4, width=8, n_outputs=3).eval()
    out = net(torch.randn(1, 1, 8, 8).expand(4, 1, 8, 8), torch.arange(4))
    assert out[:, 0].std() > 1e-4
    torch.testing.assert_close(out[:, 1:], out[:1, 1:].expand(4, 2))


def test_residual_branches_start_at_zero():
    torch.manual_seed(0)
    net = networks.R3Generator(4, (1, 8, 8), width=8)
    z = torch.randn(3, 4)
    plain = torch.nn.functional.interpolate(net.basis(z), scale_factor=2, mode="bilinear")
    torch.testing.assert_close(net(z), net.last(plain))


def test_spectral_norm_holds_after_some_steps():
    torch.manual_seed(0)
    net = networks.BigGANDiscriminator((1, 8, 8), width=8)
    for _ in range(60):
        net(torch.randn(2, 1, 8, 8))
    for layer in (net.last, net.blocks[0].conv1):
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        assert norm.item() == pytest.approx(1, abs=1e-3)
