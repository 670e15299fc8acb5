"""MixtureNorm where its operations are read off: traced, exported, compiled, transformed."""

from __future__ import annotations

import copy
import io
import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.autograd import forward_ad

from fastgen.networks import MixtureNorm1d, MixtureNorm2d, convert_batchnorm

# torch itself scripts what it needs for forward derivatives.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

KINDS = ["rows", "images"]
K = [1, 3]


def trained(kind, k, dtype=torch.float32, **options):
    """A layer in evaluation, and two batches of different size."""
    torch.manual_seed(k)
    shape = (4, 5, 3, 3) if kind == "images" else (40, 5)
    layer = (MixtureNorm2d if kind == "images" else MixtureNorm1d)(5, k, dtype=dtype, **options)
    for _ in range(6):
        x = torch.randn(shape, dtype=dtype)
        x[::2] += 3
        layer(x)
    if layer.weight is not None:
        with torch.no_grad():
            layer.weight.uniform_(0.5, 2)
    first, second = (torch.randn((n, *shape[1:]), dtype=dtype) * 2 for n in (6, 9))
    return layer.eval(), first, second


def close(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def saved_and_loaded(module):
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", K)
def test_trace_and_script_are_right_on_a_second_input(kind, k):
    layer, first, second = trained(kind, k)
    net = nn.Sequential(layer, nn.ReLU())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for module in (torch.jit.trace(net, first), torch.jit.script(net)):
            close(saved_and_loaded(module)(second), net(second))


def test_tracing_warns_of_nothing():
    layer, first, _ = trained("rows", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        torch.jit.trace(layer, first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", K)
def test_export_and_compile_are_right_on_a_second_input(kind, k):
    layer, first, second = trained(kind, k)
    batch = {0: torch.export.Dim("batch", min=2, max=100)}
    program = torch.export.export(layer, (first,), dynamic_shapes=(batch,))
    close(program.module()(second), layer(second))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    compiled(first)
    close(compiled(second), layer(second))


@pytest.mark.parametrize("dynamo", [True, False])
def test_onnx(dynamo):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    if dynamo:
        pytest.importorskip("onnxscript")
    layer, first, second = trained("images", 2)
    buffer = io.BytesIO()
    names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    torch.onnx.export(layer, (first,), buffer, dynamo=dynamo, **names)
    session = runtime.InferenceSession(buffer.getvalue())
    (found,) = session.run(None, {"x": second.numpy()})
    close(torch.from_numpy(found), layer(second))


@pytest.mark.parametrize("k", K)
def test_transforms_of_functions(k):
    layer, first, second = trained("rows", k, torch.float64)
    expected = torch.autograd.functional.jacobian(layer, first)
    close(torch.func.jacrev(layer)(first), expected, 1e-9)
    close(torch.func.jacfwd(layer)(first), expected, 1e-9)
    close(torch.vmap(layer)(torch.stack([first, first + 1]))[1], layer(first + 1), 1e-9)
    direction = torch.randn_like(first)
    value, change = torch.func.jvp(layer, (first,), (direction,))
    close(value, layer(first), 1e-9)
    close(change, torch.einsum("abcd,cd->ab", expected, direction), 1e-9)
    gradients = torch.func.grad(lambda p: torch.func.functional_call(layer, p, (second,)).sum())
    layer.zero_grad()
    layer(second).sum().backward()
    found = gradients(dict(layer.named_parameters()))
    close(found["weight"], layer.weight.grad, 1e-9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("k", K)
def test_batched_gradients_and_forward_derivatives(k, training):
    layer, first, _ = trained("rows", k, torch.float64, momentum=0.0)
    layer.train(training)
    jacobian = torch.autograd.functional.jacobian
    plain = jacobian(layer, first)
    close(jacobian(layer, first, vectorize=True), plain, 1e-9)
    direction = torch.randn_like(first)
    with forward_ad.dual_level():
        out = layer(forward_ad.make_dual(first, direction))
        change = forward_ad.unpack_dual(out).tangent
    close(change, torch.einsum("abcd,cd->ab", plain, direction), 1e-8)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_evaluation_are_those_of_what_is_computed(kind, k):
    layer, first, _ = trained(kind, k, torch.float64)
    x = first[:2].requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,), eps=1e-6, atol=1e-7)
    assert torch.autograd.gradgradcheck(layer, (x,), eps=1e-6, atol=1e-5)


def test_other_tensors():
    layer, first, _ = trained("images", 2)
    assert copy.deepcopy(layer).to("meta")(first.to("meta")).shape == first.shape
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        assert layer(torch.empty(7, 5, 3, 3)).shape == (7, 5, 3, 3)
    traced = torch.fx.symbolic_trace(nn.Sequential(layer, nn.ReLU()))
    close(traced(first), layer(first).relu())


REFUSED = {
    "torch.jit.trace": torch.jit.trace,
    "torch.export": lambda layer, x: torch.export.export(layer, (x,)),
    "torch.func": lambda layer, x: torch.vmap(layer)(x[None]),
    "torch.fx": lambda layer, x: torch.fx.symbolic_trace(nn.Sequential(layer)),
    "scripted": lambda layer, x: torch.jit.script(layer),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_training_the_fit_is_not_recorded(name):
    layer, first, _ = trained("rows", 2)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(Exception, match=r"call eval\(\) on the network first"):
        REFUSED[name](layer.train(), first)
    for key, value in layer.state_dict().items():
        torch.testing.assert_close(value, before[key])


# Where BatchNorm works -------------------------------------------------------------------------


@pytest.mark.parametrize("k", K)
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_is_kept(k, training):
    layer, first, _ = trained("images", k)
    layer.train(training)
    last = torch.channels_last
    twin = copy.deepcopy(layer)
    plain = first.clone().requires_grad_()
    images = first.contiguous(memory_format=last).requires_grad_()
    out, expected = layer(images), twin(plain)
    assert out.is_contiguous(memory_format=last)
    assert expected.is_contiguous()
    weights = torch.randn_like(out)
    (layer(images) * weights).sum().backward()
    assert images.grad.is_contiguous(memory_format=last)
    close(out, expected)


@pytest.mark.parametrize(("k", "training"), [(1, True), (1, False), (3, False)])
def test_empty_batches(k, training):
    layer = MixtureNorm2d(3, k).train(training)
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(0, 3, 4, 4, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.shape == x.grad.shape
    assert torch.equal(layer.weight.grad, torch.zeros(3))
    assert torch.equal(layer.running_means, before["running_means"])


def test_statistics_that_are_frozen_later():
    layer, first, second = trained("rows", 2)
    expected = layer(first)
    layer.track_running_stats = False
    close(layer(first), expected)
    means = layer.running_means.clone()
    layer.train()(second)
    assert torch.equal(layer.running_means, means)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_nan_stays_in_its_channel_with_one_component(training, dtype):
    layer = MixtureNorm1d(3, 1).train(training)
    x = torch.randn(8, 3, dtype=dtype)
    x[0, 1] = float("nan")
    bad = layer(x).isnan().any(0)
    assert bad.tolist() == [False, True, False]
    assert layer.running_means.isfinite().all()


@pytest.mark.parametrize("k", K)
def test_without_bias(k):
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    net[1].bias = None
    net(torch.randn(8, 3, 6, 6))
    twin = convert_batchnorm(copy.deepcopy(net), k)
    assert twin[1].bias is None
    x = torch.randn(2, 3, 6, 6)
    close(twin.eval()(x), net.eval()(x))
    loaded = MixtureNorm2d(5, k).eval()
    loaded.load_state_dict(net[1].state_dict())
    twin.train()(torch.randn(8, 3, 6, 6)).sum().backward()
    assert MixtureNorm1d(3, bias=False).bias is None


def test_checkpoints_from_before_batches_were_counted():
    norm = nn.BatchNorm2d(4)
    norm(torch.randn(8, 4, 6, 6))
    old = {k: v for k, v in norm.state_dict().items() if k != "num_batches_tracked"}
    twin = MixtureNorm2d(4, 3).eval()
    twin.load_state_dict(old)
    x = torch.randn(2, 4, 6, 6)
    close(twin(x), norm.eval()(x))


def test_weight_averaging_finds_the_layer():
    layer = MixtureNorm1d(3, 2)
    layer(torch.randn(64, 3) + 100)
    net = nn.Sequential(layer)
    torch.optim.swa_utils.update_bn([torch.randn(64, 3) for _ in range(4)], net)
    assert layer.running_means.abs().max() < 5
    assert layer.momentum == 0.1


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.SyncBatchNorm(3), "0: SyncBatchNorm .convert before"),
        (nn.BatchNorm3d(3), "0: BatchNorm3d .there is no MixtureNorm3d"),
        (nn.LazyBatchNorm2d(), "0: LazyBatchNorm2d .run a batch"),
        (MixtureNorm1d(3), "0: MixtureNorm1d .already converted"),
    ],
)
def test_layers_without_a_twin_are_named(layer, message):
    with pytest.raises(ValueError, match=message):
        convert_batchnorm(nn.Sequential(layer))
