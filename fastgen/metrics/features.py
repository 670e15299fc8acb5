"""Features of images: pixels, principal components, any network.

An extractor is called with images (n, ...) and returns features (n, d) in float64. Images are uint8
or floats in [0, 1], for networks of shape (n, channels, height, width).
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import pickle
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _validate
from .._evaluation import evaluation_mode

if TYPE_CHECKING:
    import torch

__all__ = ["ModuleFeatures", "PCAFeatures", "Pixels", "inception_v3", "resnet18"]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pixels:
    """The pixels themselves, in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics.features import Pixels
    >>> Pixels()(np.full((5, 3, 8, 8), 255, dtype=np.uint8)).shape
    (5, 192)
    """

    def __call__(self, images: Any) -> np.ndarray:
        """Return the pixels of images in rows.

        Parameters
        ----------
        images : array (n, ...)
            Values 0 to 255 in uint8, or values as they are wanted in another type.

        Returns
        -------
        ndarray (n, d)
            Float64; uint8 divided by 255.

        Raises
        ------
        TypeError, ValueError
            If ``images`` is empty, has one axis only, or is not numeric or not finite.
        """
        array = _arrays.to_numpy(images)
        if array.ndim < 2 or not array.size:
            raise ValueError(
                f"images must have shape (n, ...), none of them zero, got {array.shape}; for one "
                "image pass image[None]"
            )
        rows = _validate.data_matrix(array.reshape(len(array), -1), "images", minimum_rows=1)
        return rows / 255 if array.dtype == np.uint8 else rows


class PCAFeatures:
    """Leading principal components of a reference set.

    Parameters
    ----------
    n_components : int
        At most the numbers of rows and columns of the reference.

    Attributes
    ----------
    pca_ : sklearn.decomposition.PCA

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from fastgen.metrics.features import PCAFeatures
    >>> images = load_digits().images
    >>> PCAFeatures(16).fit(images[:900])(images[900:]).shape
    (897, 16)
    """

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components

    def fit(self, images: Any) -> PCAFeatures:
        """Find the principal components.

        Parameters
        ----------
        images : array (n, ...)
            The reference, as for `Pixels`.

        Returns
        -------
        PCAFeatures
            This object.

        Raises
        ------
        TypeError, ValueError
            If there are fewer rows or columns than components, and as `Pixels`.
        """
        from sklearn.decomposition import PCA

        rows = Pixels()(images)
        n_components = _validate.integer(self.n_components, "n_components")
        if n_components > min(rows.shape):
            raise ValueError(
                f"n_components must be at most the numbers of rows and columns {rows.shape} of the "
                f"reference, got {n_components}"
            )
        self.pca_ = PCA(n_components, random_state=0).fit(rows)
        return self

    def __call__(self, images: Any) -> np.ndarray:
        """Return the coordinates along the components.

        Parameters
        ----------
        images : array (n, ...)
            As for `Pixels`, with as many pixels and channels as those of `fit`.

        Returns
        -------
        ndarray (n, n_components)

        Raises
        ------
        TypeError, ValueError
            Before `fit`, for images of another size, and as `Pixels`.
        """
        if not hasattr(self, "pca_"):
            raise ValueError("PCAFeatures is not fitted; call fit with the reference images first")
        rows = Pixels()(images)
        if rows.shape[1] != self.pca_.n_features_in_:
            raise ValueError(
                f"images must have {self.pca_.n_features_in_} pixels and channels like those of "
                f"fit, got {rows.shape[1]}"
            )
        return self.pca_.transform(rows)


class ModuleFeatures:
    """What a network, or one of its layers, makes of images.

    The network runs in evaluation mode without gradients; afterwards each of its modules is in the
    mode, and the network on the device, that it was.

    Parameters
    ----------
    module : torch.nn.Module
    layer : str, optional
        Name of a submodule, as in ``module.named_modules()``, whose output is taken; the output of
        the whole network by default.
    preprocess : callable, optional
        Applied to each batch, a float32 tensor on the device.
    batch_size : int, default 64
    device : torch.device or str, optional
        Where to run; by default where the first parameter is.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from fastgen.metrics.features import ModuleFeatures
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5), torch.nn.ReLU())
    >>> ModuleFeatures(net, layer="1")(np.zeros((7, 3, 2, 2))).shape
    (7, 5)
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        layer: str | None = None,
        preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
        batch_size: int = 64,
        device: Any = None,
    ) -> None:
        self.module = module
        self.layer = layer
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.device = device

    def __call__(self, images: Any) -> np.ndarray:
        """Return features of images.

        Parameters
        ----------
        images : array (n, ...)
            NumPy or torch; uint8 is divided by 255.

        Returns
        -------
        array (n, d)
            Outputs of more dimensions are flattened.

        Raises
        ------
        TypeError
            If the output is not a tensor with one row per image.
        ValueError
            If there is no such layer, or images or features are not finite.
        """
        images = _arrays.to_tensor(images, "images")
        if images.ndim < 2 or not len(images):
            raise ValueError(
                f"images must have shape (n, ...), none of them zero, got {tuple(images.shape)}; "
                "for one image pass image[None]"
            )
        size = _validate.integer(self.batch_size, "batch_size")
        with _evaluating(self.module, self.device) as device:
            parts = [self._batch(part, device) for part in images.split(size)]
        return _validate.data_matrix(np.concatenate(parts), "features", minimum_rows=1)

    def _batch(self, images: torch.Tensor, device: torch.device) -> np.ndarray:
        import torch

        scale = 255 if images.dtype == torch.uint8 else 1
        batch = images.to(device, torch.float32) / scale
        if not torch.isfinite(batch).all():
            raise ValueError("images must be finite, got NaN or infinity; drop such images")
        if self.preprocess is not None:
            batch = self.preprocess(batch)
        out = self._run(batch)
        if not isinstance(out, torch.Tensor) or out.ndim < 1 or len(out) != len(images):
            found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise TypeError(
                f"the network must return a tensor with a row for each of {len(images)} images, "
                f"got {found}; name the layer whose output is meant"
            )
        return out.reshape(len(images), -1).double().cpu().numpy()

    def _run(self, batch: torch.Tensor) -> Any:
        if self.layer is None:
            return self.module(batch)
        layers = dict(self.module.named_modules())
        if self.layer not in layers:
            names = ", ".join(name for name in layers if name)
            raise ValueError(f"layer must be one of {names}, got {self.layer!r}")
        seen: list[Any] = []
        handle = layers[self.layer].register_forward_hook(lambda *args: seen.append(args[2]))
        try:
            self.module(batch)
        finally:
            handle.remove()
        if not seen:
            raise ValueError(f"layer {self.layer!r} is not used by the network; name another")
        return seen[-1]


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module, device: Any) -> Iterator[torch.device]:
    """Hold a module in evaluation mode on a device, without gradients; give the device."""
    import torch

    tensors = (*module.parameters(), *module.buffers())
    home = tensors[0].device if tensors else torch.device("cpu")
    target = home if device is None else torch.device(device)
    with evaluation_mode([module]):
        try:
            if target != home:
                module.to(target)
            yield target
        finally:
            if target != home:
                module.to(home)


def inception_v3(
    weights: str | os.PathLike | None = None, *, batch_size: int = 64, device: Any = None
) -> ModuleFeatures:
    """Inception-v3's last pooled layer, 2048 features, with torchvision's weights.

    They are another training of the network than the TensorFlow weights of published FIDs: compare
    numbers of one extractor only. Images are resized to 299 x 299.

    Parameters
    ----------
    weights : path, optional
        A state dict, .pth; by default where torchvision keeps it. Nothing is
        downloaded.
    batch_size, device
        As for `ModuleFeatures`.

    Returns
    -------
    ModuleFeatures

    Raises
    ------
    ImportError
        If torchvision is not installed.
    FileNotFoundError
        If there are no weights; says where they were looked for.
    ValueError
        If the file does not hold the weights of this network.
    """
    models = _torchvision()
    path = weights_path(weights, models.Inception_V3_Weights.IMAGENET1K_V1.url, "Inception-v3")
    net = models.inception_v3(
        weights=None, init_weights=False, transform_input=True, aux_logits=True
    )
    return _pretrained(net, path, 299, batch_size, device)


def resnet18(
    weights: str | os.PathLike | None = None, *, batch_size: int = 64, device: Any = None
) -> ModuleFeatures:
    """ResNet-18's last pooled layer, 512 features, with torchvision's weights.

    Images are resized to 224 x 224.

    Parameters
    ----------
    weights, batch_size, device
        As for `inception_v3`.

    Returns
    -------
    ModuleFeatures

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As `inception_v3`.
    """
    models = _torchvision()
    path = weights_path(weights, models.ResNet18_Weights.IMAGENET1K_V1.url, "ResNet-18")
    return _pretrained(models.resnet18(weights=None), path, 224, batch_size, device)


def _torchvision() -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError(
            "features of Inception-v3 and ResNet-18 need torchvision: pip install torchvision"
        ) from error
    return models


def weights_path(
    given: str | os.PathLike | None, url: str, name: str, file: str | None = None
) -> pathlib.Path:
    """Return where weights are on disk.

    Parameters
    ----------
    given : path, optional
        By default the file that torch's hub would keep.
    url : str
        Where they are published, for the message.
    name : str
        What the message calls the network.
    file : str, optional
        Name of the file that the hub would keep; by default the last part of the URL.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If there is no such file; says what to fetch, and which option names it.
    """
    import torch

    if given is None:
        path = pathlib.Path(torch.hub.get_dir(), "checkpoints", file or url.rpartition("/")[2])
    else:
        path = pathlib.Path(given)
    if not path.is_file():
        raise FileNotFoundError(
            f"weights of {name} are not at {path}, and nothing is downloaded; fetch {url} there, "
            "or name the file (weights=, on the command line --weights)"
        )
    return path


@contextlib.contextmanager
def loading(path: pathlib.Path, name: str) -> Iterator[None]:
    """Turn what is raised for a file of other or damaged weights into a ValueError in words."""
    try:
        yield
    except (
        AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError,
        pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} does not hold the weights of {name}: "
            f"{' '.join(str(error).split())[:200] or type(error).__name__}; fetch it again"
        ) from error


def read_weights(path: pathlib.Path) -> dict[str, Any]:
    """Read a state dict, of which nothing is run."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _pretrained(
    net: torch.nn.Module, path: pathlib.Path, side: int, batch_size: int, device: Any
) -> ModuleFeatures:
    """Load weights into a network of torchvision and take its classifier away."""
    import torch

    with loading(path, type(net).__name__):
        net.load_state_dict(read_weights(path))
    net.fc = torch.nn.Identity()
    preprocess = normalization(side, _IMAGENET_MEAN, _IMAGENET_STD)
    return ModuleFeatures(net, preprocess=preprocess, batch_size=batch_size, device=device)


def normalization(
    side: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that resizes images in [0, 1] and normalizes their three channels.

    Parameters
    ----------
    side : int
        Pixels a side.
    mean, std : tuple of 3 float

    Returns
    -------
    callable
    """
    import torch

    center = torch.tensor(mean).view(3, 1, 1)
    scale = torch.tensor(std).view(3, 1, 1)

    def preprocess(batch: torch.Tensor) -> torch.Tensor:
        batch = torch.nn.functional.interpolate(
            three_channels(batch), (side, side), mode="bilinear", antialias=True
        )
        return (batch - center.to(batch)) / scale.to(batch)

    return preprocess


def three_channels(batch: torch.Tensor) -> torch.Tensor:
    """Give gray images their channel three times.

    Parameters
    ----------
    batch : torch.Tensor (n, 1 or 3, height, width)

    Returns
    -------
    torch.Tensor (n, 3, height, width)

    Raises
    ------
    ValueError
        If ``batch`` has another shape.
    """
    if batch.ndim != 4 or batch.shape[1] not in (1, 3):
        raise ValueError(
            f"images must have shape (n, 1 or 3, height, width), got {tuple(batch.shape)}"
        )
    return batch.expand(-1, 3, -1, -1)
