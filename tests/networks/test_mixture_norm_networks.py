"""Mixture normalization inside networks: training, checkpoints, conversion, several processes."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from fastgen.networks import MixtureNorm1d, MixtureNorm2d, convert_batchnorm

NAMES = ["weight", "bias", "running_means", "running_vars", "running_weights"]


@pytest.fixture(autouse=True)
def _seeded_and_single_threaded():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(norm=nn.BatchNorm2d, flat=nn.BatchNorm1d):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        norm(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 9, 16),
        flat(16),
        nn.ReLU(),
        nn.Linear(16, 2),
    )


def task(n=96):
    """Images whose bright half is the label."""
    labels = torch.arange(n) % 2
    images = torch.randn(n, 1, 8, 8)
    images[labels == 1, :, :, 4:] += 1
    images[labels == 0, :, :, :4] += 1
    return images, labels


def train(model, steps=25):
    images, labels = task()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("where", ["torch", "safetensors"])
def test_a_network_trains_saves_loads_and_runs_on_one_sample(where, tmp_path):
    model = network(MixtureNorm2d)
    losses = train(model)
    assert losses[-1] < 0.2 * losses[0]
    model.eval()
    images, labels = task()
    assert (model(images).argmax(1) == labels).float().mean() > 0.9
    path = tmp_path / "model"
    if where == "torch":
        torch.save(model.state_dict(), path)
        state = torch.load(path, weights_only=True)
    else:
        safe = pytest.importorskip("safetensors.torch")
        safe.save_file(model.state_dict(), path)
        state = safe.load_file(path)
    again = network(MixtureNorm2d).eval()
    again.load_state_dict(state)
    assert torch.equal(again(images), model(images))
    one = again(images[:1])
    torch.testing.assert_close(one, model(images)[:1], atol=1e-5, rtol=1e-5)
    assert train(again.train(), 3)[-1] < 0.2


def test_components_that_are_the_classes_hide_them():
    # Each is moved to mean zero: what told them apart is gone from the means.
    images, labels = task(400)
    flat = images.reshape(400, 8, 8).mean(1)
    wide = torch.cat([flat, 8 * labels[:, None] + torch.zeros(400, 4)], 1)
    gaps = [
        (y[labels == 1].mean(0) - y[labels == 0].mean(0)).abs().max().item()
        for y in (nn.BatchNorm1d(12)(wide), MixtureNorm1d(12, 2)(wide))
    ]
    assert gaps[0] > 1.5
    assert gaps[1] < 1e-3


def test_resumed_training_is_uninterrupted_training():
    layer = MixtureNorm2d(4, 3)
    batches = [torch.randn(8, 4, 5, 5) + torch.randint(2, (8, 1, 5, 5)) for _ in range(6)]
    for batch in batches[:3]:
        layer(batch)
    again = MixtureNorm2d(4, 3)
    again.load_state_dict(layer.state_dict())
    for batch in batches[3:]:
        assert torch.equal(layer(batch), again(batch))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_state_dict_has_batchnorms_habits():
    layer = MixtureNorm1d(5, 2)
    assert list(layer.state_dict()) == [*NAMES, "num_batches_tracked"]
    assert layer.running_means.shape == layer.running_vars.shape == (2, 5)
    assert layer.running_weights.tolist() == [0.5, 0.5]
    assert layer.num_batches_tracked.dtype == torch.long
    assert list(MixtureNorm1d(5, affine=False).state_dict())[:2] == NAMES[2:4]
    assert list(MixtureNorm1d(5, track_running_stats=False).state_dict()) == NAMES[:2]
    layer(torch.randn(20, 5))
    layer.reset_parameters()
    assert layer.num_batches_tracked == 0
    assert layer.running_means.abs().sum() == 0
    half = MixtureNorm2d(5, dtype=torch.float64, device="meta")
    assert half.running_vars.dtype == torch.float64
    assert half.weight.is_meta
    assert "n_components=3" in repr(half)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_momentum(momentum):
    layer = MixtureNorm1d(3, 2, momentum=momentum, dtype=torch.float64)
    means = []
    newest = MixtureNorm1d(3, 2, momentum=1.0, dtype=torch.float64)
    for _ in range(3):
        x = 10 * torch.randint(2, (200, 1)) + torch.randn(200, 3, dtype=torch.float64)
        layer(x)
        newest(x)
        order = newest.running_means[:, 0].argsort()
        means.append(newest.running_means[order])
    first, second, third = means
    expected = (first + second + third) / 3
    if momentum:
        expected = 0.9 * (0.9 * first + 0.1 * second) + 0.1 * third
    found = layer.running_means[layer.running_means[:, 0].argsort()]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_momentum_zero_keeps_the_components():
    layer = MixtureNorm1d(3, 2, momentum=0.0)
    layer(torch.randn(20, 3))
    assert layer.running_means.abs().sum() == 0
    assert layer.num_batches_tracked == 1


def trained_batchnorm(features=6):
    bn = nn.BatchNorm2d(features)
    with torch.no_grad():
        bn.weight.uniform_(0.5, 2)
        bn.bias.uniform_(-1, 1)
    for _ in range(5):
        bn(2 * torch.randn(8, features, 4, 4) + 1)
    return bn


@pytest.mark.parametrize("n_components", [1, 2, 5])
def test_a_batchnorm_checkpoint_loads(n_components):
    bn = trained_batchnorm()
    state = bn.state_dict()
    before = copy.deepcopy(state)
    layer = MixtureNorm2d(6, n_components)
    layer.load_state_dict(state)
    assert list(state) == list(before)
    x = torch.randn(4, 6, 3, 3)
    torch.testing.assert_close(layer.eval()(x), bn.eval()(x))
    assert layer.num_batches_tracked == 5
    y = layer.train()(x)
    assert y.isfinite().all()
    if n_components > 1:
        assert (layer.running_means[0] - layer.running_means[1]).abs().max() > 0.01


def test_other_numbers_of_components_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch for running_means"):
        MixtureNorm2d(6, 2).load_state_dict(MixtureNorm2d(6, 3).state_dict())


# --- convert_batchnorm ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize(
    ("layers", "kinds"),
    [
        (None, (MixtureNorm2d, MixtureNorm1d)),
        (["1"], (MixtureNorm2d, nn.BatchNorm1d)),
        ([-1], (nn.BatchNorm2d, MixtureNorm1d)),
        ([0, "6"], (MixtureNorm2d, MixtureNorm1d)),
        (lambda name, layer: layer.num_features == 16, (nn.BatchNorm2d, MixtureNorm1d)),
    ],
)
def test_conversion_keeps_the_function(layers, kinds, n_components):
    model = network()
    train(model, 5)
    model.eval()
    images, _ = task()
    expected = model(images)
    model[6].weight.requires_grad_(False)
    same = convert_batchnorm(model, n_components, layers, em_steps=3)
    assert same is model
    assert (type(model[1]), type(model[6])) == kinds
    torch.testing.assert_close(model(images), expected, atol=1e-5, rtol=1e-5)
    assert not model[6].weight.requires_grad
    assert model[6].bias.requires_grad
    assert not model[1].training
    for layer in model.modules():
        if isinstance(layer, MixtureNorm1d | MixtureNorm2d):
            assert layer.em_steps == 3
    assert train(model.train(), 10)[-1] < 0.7


def test_conversion_of_a_bare_layer_and_its_settings():
    bn = nn.BatchNorm1d(4, eps=1e-3, momentum=None, affine=False, dtype=torch.float64)
    twin = convert_batchnorm(bn, 2)
    assert type(twin) is MixtureNorm1d
    assert (twin.eps, twin.momentum, twin.weight) == (1e-3, None, None)
    assert twin.running_means.dtype == torch.float64
    bn = nn.BatchNorm2d(4, track_running_stats=False)
    twin = convert_batchnorm(bn, 4)
    assert twin.running_means is None
    assert twin.weight.tolist() == [0.5] * 4


def test_a_shared_layer_stays_shared():
    bn = nn.BatchNorm1d(4)
    model = convert_batchnorm(nn.Sequential(bn, nn.Linear(4, 4), bn))
    assert model[0] is model[2]
    assert type(model[0]) is MixtureNorm1d


def test_a_cumulative_average_starts_with_the_components():
    bn = nn.BatchNorm1d(2, momentum=None)
    for _ in range(100):
        bn(torch.randn(20, 2))
    layer = convert_batchnorm(bn, 2)
    layer(10 * torch.randint(2, (100, 1)) + torch.randn(100, 2))
    assert layer.num_batches_tracked == 1
    assert (layer.running_means[0] - layer.running_means[1]).abs().min() > 8


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (["7"], ValueError, "'7' is no BatchNorm1d or BatchNorm2d layer"),
        (["6x"], ValueError, "did you mean '6'"),
        ([2], ValueError, "indices below 2, .* got 2"),
        ([-3], ValueError, "layers must be at least -2, got -3"),
        ([1.5], TypeError, "layers must be an integer"),
        ([], ValueError, "selects none of the 2"),
        (lambda name, layer: False, ValueError, "selects none of the 2"),
        ("1", TypeError, "list of names or indices"),
        (1, TypeError, "list of names or indices"),
    ],
)
def test_wrong_selections(layers, error, message):
    model = network()
    with pytest.raises(error, match=message):
        convert_batchnorm(model, layers=layers)
    assert type(model[1]) is nn.BatchNorm2d


# --- several processes ---------------------------------------------------------------------------


RANK = """
import sys
import torch
from torch import distributed, nn
from fastgen.networks import MixtureNorm1d

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.manual_seed(rank)
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank,
                               world_size=2)
layer = MixtureNorm1d(3, 2)
model = nn.parallel.DistributedDataParallel(nn.Sequential(layer, nn.Linear(3, 1)))
for _ in range(4):
    x = 10 * torch.randint(2, (50, 1)) + torch.randn(50, 3)
    model(x).square().mean().backward()
before = layer.running_means.clone()
layer.eval()
model(x)  # buffers are broadcast before each forward pass
state = {"before": before, **layer.state_dict(), "gradient": layer.weight.grad}
torch.save(state, f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)])
        for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in (0, 1))
    # Own batches: after a step the components differ a little, but not their order ...
    distance = (first["before"] - second["before"]).abs().max()
    assert 0 < distance < 1
    # ... and the next forward pass gives all ranks those of rank 0.
    for name in (*NAMES, "num_batches_tracked", "gradient"):
        assert torch.equal(first[name], second[name]), name
