"""Features of every kind of source; the cache: found again, whole or absent, never confused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from samples import normal

from fastgen.images import ImageArray, ImageFolder
from fastgen.metrics import evaluate, extraction
from fastgen.metrics.extraction import Extraction, digest
from fastgen.metrics.features import ModuleFeatures, PCAFeatures

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (9, 6, 6, 3), dtype=np.uint8)
PIXELS = IMAGES.transpose(0, 3, 1, 2).reshape(9, -1) / 255


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


def test_every_source_has_the_same_pixels(folder, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    np.savez(tmp_path / "images.npz", IMAGES)
    sources = (
        folder, str(folder), IMAGES, tmp_path / "images.npy", tmp_path / "images.npz",
        ImageFolder(folder), ImageArray(IMAGES),
    )  # fmt: skip
    for source in sources:
        extract = Extraction(progress=False)
        np.testing.assert_allclose(extract(source, "real"), PIXELS, atol=1e-15)
        assert extract.name == "pixels"
    small = Extraction(resize=3, progress=False)(folder, "real")
    assert small.shape == (9, 27)
    gray = IMAGES[..., :1]
    assert Extraction(rgb=True, progress=False)(gray, "real").shape == (9, 108)


def test_functions_and_components(folder):
    extract = Extraction(lambda batch: batch.mean((2, 3)), batch_size=4, progress=False)
    found = extract(folder, "real")
    np.testing.assert_allclose(found, PIXELS.reshape(9, 3, -1).mean(2))
    rows = Extraction(lambda batch: batch[:, :2], progress=False)(normal(7, 5), "real")
    np.testing.assert_array_equal(rows, normal(7, 5)[:, :2])
    extract = Extraction(PCAFeatures(3), progress=False)
    first = extract(folder, "real")
    np.testing.assert_allclose(extract(folder, "generated"), first, atol=1e-9)
    assert first.shape == (9, 3)
    with pytest.raises(ValueError, match="must return a row for each of 7 samples of real"):
        Extraction(lambda batch: batch[:1], progress=False)(normal(7, 5), "real")
    with pytest.raises(ValueError, match="features of real must be finite"):
        Extraction(lambda batch: batch * np.nan, progress=False)(normal(7, 5), "real")


@pytest.fixture
def network():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.BatchNorm1d(108), torch.nn.Linear(108, 5)
    )


class Counted(ModuleFeatures):
    """Counts the images that the network sees, and stops it like a kill when told to."""

    def __init__(self, module, stop=None):
        super().__init__(module)
        self.seen, self.stop = 0, stop

    def __call__(self, images):
        self.seen += len(images)
        if self.stop is not None and self.seen > self.stop:
            raise KeyboardInterrupt
        return super().__call__(images)


def test_cached_features_are_found_again(folder, tmp_path, network, monkeypatch):
    monkeypatch.setattr(extraction, "_BLOCK", 4)
    cache = tmp_path / "cache"
    plain = Extraction(network, progress=False)(folder, "real")
    stopped = Counted(network, stop=6)
    with pytest.raises(KeyboardInterrupt):
        Extraction(stopped, cache=cache, progress=False)(folder, "real")
    kept = sorted(cache.rglob("*.npy"))
    assert len(kept) == 1
    assert len(np.load(kept[0])) == 4
    resumed = Counted(network)
    np.testing.assert_array_equal(
        Extraction(resumed, cache=cache, progress=False)(folder, "real"), plain
    )
    assert resumed.seen == 5
    again = Counted(network)
    np.testing.assert_array_equal(
        Extraction(again, cache=cache, progress=False)(IMAGES, "generated"), plain
    )
    assert again.seen == 0
    for damage in (b"text", kept[0].read_bytes()[:200]):
        kept[0].write_bytes(damage)
        mended = Counted(network)
        np.testing.assert_array_equal(
            Extraction(mended, cache=cache, progress=False)(folder, "real"), plain
        )
        assert mended.seen == 4
    assert not [path for path in cache.rglob("*") if path.name.startswith(".")]


def test_another_network_layer_or_preprocessing_is_another_digest(network):
    import torch

    def halved(batch):
        return batch / 2

    def thirded(batch):
        return batch / 3

    def shifted(by):
        return lambda batch: batch - by

    extractors = [
        ModuleFeatures(network),
        ModuleFeatures(network, layer="1"),
        ModuleFeatures(network, preprocess=halved),
        ModuleFeatures(network, preprocess=thirded),
        ModuleFeatures(network, preprocess=shifted(1.0)),
        ModuleFeatures(network, preprocess=shifted(2.0)),
        ModuleFeatures(network, preprocess=shifted(torch.ones(1))),
    ]
    found = [digest(one) for one in extractors]
    assert None not in found
    assert len(set(found)) == len(found)
    assert digest(ModuleFeatures(network, batch_size=3)) == found[0]
    network[1].running_mean += 1
    assert digest(ModuleFeatures(network)) not in found
    assert digest(lambda batch: batch) is None
    assert digest(ModuleFeatures(network, preprocess=shifted([]))) is None
    assert digest(ModuleFeatures(network, preprocess=np.sqrt)) is None


def test_evaluation_says_what_the_features_are(folder, tmp_path, network):
    options = {"metrics": ["vendi"], "progress": False, "cache": tmp_path / "cache"}
    found = evaluate(folder, IMAGES, features=network, **options)
    assert found.features.startswith("Sequential, digest ")
    assert found.notes == []
    other = evaluate(folder, IMAGES, features=lambda batch: batch.mean((2, 3)), **options)
    assert "not kept in the cache: those of functions" in other.notes[0]
    for cheap in (None, "pixels"):
        assert evaluate(folder, IMAGES, features=cheap, **options).notes == []
