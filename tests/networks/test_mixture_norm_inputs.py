"""What mixture normalization takes and refuses: shapes, dtypes, memory layouts, arguments."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
from oracles import mixture_norm as naive

torch = pytest.importorskip("torch")

from fastgen.networks import MixtureNorm1d, MixtureNorm2d


@pytest.fixture(autouse=True)
def _seeded_and_single_threaded():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("shape", "n_components", "message"),
    [
        ((1, 4), 1, r"Expected more than 1 value per channel when training, got input size"),
        ((5, 4), 3, r"Expected more than 1 value per channel when training for each of 3"),
        ((0, 4), 3, r"Expected more than 1 value per channel when training"),
        ((8, 5), 3, r"expected 4 channels in dimension 1 of the input, got 5 of shape \(8, 5\)"),
        ((8, 4, 2, 2), 3, r"MixtureNorm1d expected 2D or 3D input \(got 4D input\)"),
        ((8,), 3, r"expected 2D or 3D input \(got 1D input\)"),
    ],
)
def test_wrong_shapes(shape, n_components, message):
    with pytest.raises(ValueError, match=message):
        MixtureNorm1d(4, n_components)(torch.randn(shape))


def test_wrong_types_and_arguments():
    with pytest.raises(ValueError, match="MixtureNorm2d expected 4D input"):
        MixtureNorm2d(4)(torch.randn(8, 4, 3))
    with pytest.raises(TypeError, match=r"floating-point input, got torch\.int64"):
        MixtureNorm1d(4)(torch.zeros(8, 4, dtype=torch.int64))
    for name, value in {"num_features": 0, "n_components": 0, "em_steps": 0, "start_steps": -1,
                        "fit_size": 5, "eps": -1.0, "momentum": -0.1}.items():  # fmt: skip
        with pytest.raises(ValueError, match=name):
            MixtureNorm1d(**{"num_features": 4, name: value})


def test_smallest_batch_and_empty_evaluation():
    layer = MixtureNorm1d(4, 3)
    assert layer(torch.randn(6, 4)).isfinite().all()
    assert layer.eval()(torch.randn(0, 4)).shape == (0, 4)
    assert layer(torch.randn(1, 4)).shape == (1, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    layer = MixtureNorm2d(4, 2)
    twin = copy.deepcopy(layer)
    x = torch.tensor(naive.clusters((8, 4, 4, 4), 2)).to(dtype)
    torch.manual_seed(1)
    y = layer(x)
    torch.manual_seed(1)
    assert y.dtype == dtype
    assert torch.equal(y, twin(x.float()).to(dtype))


def test_memory_layout_and_views_do_not_matter():
    x = torch.tensor(naive.clusters((8, 4, 4, 6))).float()
    plain = MixtureNorm2d(4, 2)
    outputs = []
    for view in (x, x.to(memory_format=torch.channels_last), torch.stack([x, x], -1)[..., 0]):
        torch.manual_seed(1)
        layer = copy.deepcopy(plain)
        a = view.detach().requires_grad_()
        y = layer(a)
        (y * x).sum().backward()
        outputs.append((y, a.grad))
    for found in outputs[1:]:
        torch.testing.assert_close(found, outputs[0])


def test_import_of_fastgen_networks_waits_for_torch():
    code = (
        "import sys, fastgen, fastgen.networks; assert 'torch' not in sys.modules; "
        "assert 'MixtureNorm2d' in dir(fastgen.networks); "
        "fastgen.networks.MixtureNorm2d; assert 'torch' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.gpu
def test_a_device_gives_what_the_cpu_gives():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x = torch.tensor(naive.clusters((16, 6, 5, 5))).float()
    outputs = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(1)
        layer = MixtureNorm2d(6, 3, device=device)
        a = x.to(device).requires_grad_()
        y = layer(a)
        (y * x.to(device)).sum().backward()
        outputs.append([v.cpu() for v in (y, a.grad, layer.weight.grad, layer.running_means)])
        outputs[-1].append(layer.eval()(a[:1]).cpu())
    for found, expected in zip(*outputs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
