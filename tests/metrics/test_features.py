"""Feature extractors: values, what they leave as it was, what they refuse."""

from __future__ import annotations

import concurrent.futures

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from fastgen.images import ImageFolder
from fastgen.metrics.features import ModuleFeatures, PCAFeatures, Pixels, inception_v3, resnet18

torch = pytest.importorskip("torch")

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 6, 6), dtype=np.uint8)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Dropout(0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 5),
    )


def test_pixels_are_in_the_unit_interval():
    found = Pixels()(IMAGES)
    np.testing.assert_array_equal(found, IMAGES.reshape(20, -1) / 255)
    np.testing.assert_array_equal(Pixels()(torch.from_numpy(IMAGES)), found)
    floats = np.linspace(-1, 1, 12).reshape(2, 6)
    np.testing.assert_array_equal(Pixels()(floats), floats)


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (np.zeros(5), ValueError, r"pass image\[None\]"),
        (np.zeros((0, 3)), ValueError, "none of them zero"),
        (np.array([[np.nan]]), ValueError, "images must be finite"),
        (np.array([["a"]]), TypeError, "images must be a numeric"),
    ],
)
def test_bad_images_are_named(images, error, match):
    with pytest.raises(error, match=match):
        Pixels()(images)


def test_pca_is_that_of_the_reference():
    reference, other = IMAGES[:15], IMAGES[15:]
    found = PCAFeatures(4).fit(reference)
    expected = PCA(4).fit(reference.reshape(15, -1) / 255)
    for images in (reference, other):
        np.testing.assert_allclose(
            np.abs(found(images)),
            np.abs(expected.transform(images.reshape(len(images), -1) / 255)),
            atol=1e-10,
        )
    with pytest.raises(ValueError, match=r"at most the numbers of rows and columns \(15, 108\)"):
        PCAFeatures(16).fit(reference)
    with pytest.raises(ValueError, match="n_components must be at least 1"):
        PCAFeatures(0).fit(reference)
    with pytest.raises(ValueError, match="call fit"):
        PCAFeatures(2)(other)
    with pytest.raises(ValueError, match="108 pixels and channels like those of fit, got 36"):
        found(IMAGES[:, 0])


def test_module_runs_in_evaluation_mode_and_is_left_as_it_was():
    net = network()
    net[1].eval()  # modes differ inside
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [part.training for part in net.modules()]
    grad = []
    net.register_forward_hook(lambda *args: grad.append(args[2].requires_grad))
    features = ModuleFeatures(net, batch_size=7)
    found = features(IMAGES)
    assert found.shape == (20, 5)
    assert found.dtype == np.float64
    assert grad == [False] * 3  # batches of 7, 7 and 6
    assert [part.training for part in net.modules()] == modes
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    np.testing.assert_array_equal(features(IMAGES), found)  # no dropout
    net.eval()
    with torch.no_grad():
        expected = net(torch.from_numpy(IMAGES).float() / 255).double().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features(torch.from_numpy(IMAGES) / 255), found, rtol=1e-5)


def test_a_module_shared_by_threads_is_left_as_it_was():
    net = network()
    net[0].weight.requires_grad_(False)
    features = ModuleFeatures(net, batch_size=2)
    expected = features(IMAGES)
    for _ in range(8):
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for found in pool.map(features, [IMAGES] * 3):
                np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert all(part.training for part in net.modules())
        assert [p.requires_grad for p in net[0].parameters()] == [False, True]


def test_a_failing_module_is_left_as_it_was():
    net = network().train()
    with pytest.raises(RuntimeError):
        ModuleFeatures(net)(IMAGES[:, :2])
    assert all(part.training for part in net.modules())
    with pytest.raises(RuntimeError):
        ModuleFeatures(net, layer="4")(IMAGES[:, :2])
    assert not net[4]._forward_hooks


def test_module_is_moved_and_brought_back():
    net, calls = network(), []
    net.to = lambda device: calls.append(str(device))
    ModuleFeatures(net, device="cpu")(IMAGES)
    assert not calls  # it is there
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        ModuleFeatures(net, device="meta")(IMAGES)  # a device on which nothing is computed
    assert calls == ["meta", "cpu"]
    bare = torch.nn.Flatten()  # neither parameters nor buffers
    assert ModuleFeatures(bare)(IMAGES).shape == (20, 108)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_module_runs_on_a_device():
    net = network()
    host = ModuleFeatures(net)(IMAGES)
    np.testing.assert_allclose(ModuleFeatures(net, device="cuda")(IMAGES), host, atol=1e-4)
    assert net[0].weight.device.type == "cpu"


def test_a_layer_is_named():
    net = network()
    found = ModuleFeatures(net, layer="0")(IMAGES)
    with torch.no_grad():
        expected = net[0](torch.from_numpy(IMAGES).float() / 255).flatten(1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="layer must be one of 0, 1, 2, 3, 4, got 'fc'"):
        ModuleFeatures(net, layer="fc")(IMAGES)
    net.unused = torch.nn.Identity()
    net.forward = lambda batch: net[0](batch)
    with pytest.raises(ValueError, match="layer 'unused' is not used"):
        ModuleFeatures(net, layer="unused")(IMAGES)


@pytest.mark.parametrize(
    ("returned", "error", "match"),
    [
        (lambda x: (x, x), TypeError, "got tuple; name the layer"),
        (lambda x: x.sum(), TypeError, r"a row for each of 20 images, got \(\)"),
        (lambda x: x[:3], TypeError, r"got \(3, 3, 6, 6\)"),
        (lambda x: x / 0, ValueError, "features must be finite"),
    ],
)
def test_what_a_network_returns_is_checked(returned, error, match):
    net = torch.nn.Flatten()
    net.forward = returned
    with pytest.raises(error, match=match):
        ModuleFeatures(net)(IMAGES)


def test_images_for_a_network_are_checked():
    features = ModuleFeatures(torch.nn.Flatten())
    with pytest.raises(ValueError, match=r"pass image\[None\]"):
        features(np.zeros(3))
    with pytest.raises(ValueError, match="images must be finite"):
        features(np.full((2, 3, 4, 4), np.nan))
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        ModuleFeatures(torch.nn.Flatten(), batch_size=0)(IMAGES)


# --- networks of torchvision ---------------------------------------------------------------------


def test_missing_weights_name_the_path_and_nothing_is_downloaded(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    for build, name in ((inception_v3, "inception_v3_google"), (resnet18, "resnet18")):
        with pytest.raises(FileNotFoundError) as caught:
            build()
        assert str(tmp_path / "checkpoints" / name) in str(caught.value)
        assert "nothing is downloaded" in str(caught.value)
        with pytest.raises(FileNotFoundError, match=r"not at .*mine\.pth"):
            build(tmp_path / "mine.pth")
    assert not list(tmp_path.iterdir())


def test_without_torchvision(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(ImportError, match="pip install torchvision"):
        resnet18()


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("inception_v3", 2048)])
def test_pretrained_networks(tmp_path, name, width):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    options = {"init_weights": False, "transform_input": True} if name == "inception_v3" else {}
    net = getattr(models, name)(weights=None, **options)
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    features = {"resnet18": resnet18, "inception_v3": inception_v3}[name](path, batch_size=2)
    images = IMAGES[:3].repeat(8, axis=2).repeat(8, axis=3)
    found = features(images)
    assert found.shape == (3, width)
    side = {"resnet18": 224, "inception_v3": 299}[name]
    net.eval()
    net.fc = torch.nn.Identity()
    batch = torch.nn.functional.interpolate(
        torch.from_numpy(images) / 255, (side, side), mode="bilinear", antialias=True
    )
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = net((batch - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    gray = features(images[:, :1])
    np.testing.assert_allclose(gray, features(images[:, :1].repeat(3, axis=1)), rtol=1e-5)
    with pytest.raises(ValueError, match=r"shape \(n, 1 or 3, height, width\)"):
        features(images[:, :2])
    for damaged in (b"", b"text", path.read_bytes()[:1000]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="does not hold the weights of"):
            {"resnet18": resnet18, "inception_v3": inception_v3}[name](path)
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="does not hold the weights of"):
        {"resnet18": resnet18, "inception_v3": inception_v3}[name](path)


# --- folders -------------------------------------------------------------------------------------


def save(folder, images, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{i:03}.{suffix}")


def test_folders_are_read_with_all_folders_in_them(tmp_path):
    save(tmp_path / "a", IMAGES[:9])
    save(tmp_path / "b" / "c", IMAGES[9:])
    (tmp_path / "notes.txt").write_text("not an image")
    folder = ImageFolder(tmp_path)
    assert len(folder) == 20
    batches = list(folder.batches(8))
    assert [len(batch) for batch in batches] == [8, 8, 4]
    np.testing.assert_allclose(np.concatenate(batches), IMAGES / 255)


def test_gray_images_and_conversion(tmp_path):
    Image.fromarray(IMAGES[0, 0]).save(tmp_path / "gray.png")
    assert next(ImageFolder(tmp_path).batches(1)).shape == (1, 1, 6, 6)
    found = next(ImageFolder(tmp_path, rgb=True).batches(1))
    np.testing.assert_allclose(found[0], np.stack([IMAGES[0, 0] / 255] * 3))
    Image.fromarray(IMAGES[0].transpose(1, 2, 0)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"6x6 with 1 channel, .* 6x6 with 3 channels"):
        list(ImageFolder(tmp_path).batches(2))


def test_mixed_sizes_are_refused_or_resized(tmp_path):
    save(tmp_path, IMAGES[:2])
    Image.fromarray(np.full((12, 9, 3), 51, dtype=np.uint8)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match=r"wide\.png is 9x12 with 3 channels; resize them all"):
        list(ImageFolder(tmp_path).batches(2))
    found = np.concatenate(list(ImageFolder(tmp_path, resize=4).batches(2)))
    assert found.shape == (3, 3, 4, 4)
    np.testing.assert_allclose(found[2], 0.2)
    assert 0 <= found.min() <= found.max() <= 1


def test_empty_folders_and_unreadable_images(tmp_path):
    with pytest.raises(ValueError, match=r"must hold images .* got none"):
        ImageFolder(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG not one")
    with pytest.raises(ValueError, match=r"bad\.png cannot be read: .*; remove it"):
        list(ImageFolder(tmp_path).batches(1))
    (tmp_path / "bad.png").unlink()
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match="8 or 16 bits a channel"):
        list(ImageFolder(tmp_path).batches(1))
