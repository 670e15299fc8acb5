"""Features of whatever holds samples: arrays, files, folders of images; kept on disk if wanted."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import _arrays, _files, _progress, _validate
from .._version import __version__
from ..images import ImageArray, ImageFolder
from .features import ModuleFeatures, PCAFeatures, Pixels
from .pretrained import NETWORKS

__all__ = ["Extraction", "FeatureCache"]

_NAMES = ("pixels", "pca", *NETWORKS)
_COMPONENTS = 64
# Images whose features are one file of the cache: what a kill may cost.
_BLOCK = 256


class FeatureCache:
    """Features on disk, found again by the digest of the images, the extractor and its options.

    A file holds the features of one block of images; it is whole or absent, so that extraction
    that was killed goes on after the last whole block. Files are never removed: delete the folder
    to empty it.

    Parameters
    ----------
    folder : path
        Made when the first features are kept.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from fastgen.metrics.extraction import FeatureCache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = FeatureCache(folder)
    ...     key = cache.key("my extractor", np.zeros((2, 1, 4, 4)))
    ...     before = cache.get(key, 2)
    ...     cache.put(key, np.ones((2, 5)))
    ...     print(before, cache.get(key, 2).shape)
    None (2, 5)
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = pathlib.Path(folder)

    def key(self, extractor: str, images: np.ndarray) -> str:
        """Return the name of the features that an extractor makes of images.

        Parameters
        ----------
        extractor : str
            Digest of the extractor and its options.
        images : ndarray (n, ...)

        Returns
        -------
        str
        """
        found = hashlib.sha256(f"{extractor} {images.shape} {images.dtype.str}".encode())
        found.update(np.ascontiguousarray(images).data)
        return found.hexdigest()

    def get(self, key: str, n: int) -> np.ndarray | None:
        """Return features that were kept, None where there are none or the file is damaged.

        Parameters
        ----------
        key : str
        n : int
            Rows that are expected.

        Returns
        -------
        ndarray (n, d) or None
        """
        path = self._path(key)
        try:
            found = _files.read_npy(path)
        except FileNotFoundError:
            return None
        except ValueError:  # damaged: written anew
            return None
        whole = found.ndim == 2 and len(found) == n and found.dtype.kind == "f"
        return found.astype(np.float64) if whole else None

    def put(self, key: str, features: np.ndarray) -> None:
        """Keep features: the file is whole or absent.

        Parameters
        ----------
        key : str
        features : ndarray (n, d)
            Kept in float32 where that holds them exactly.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        single = features.astype(np.float32)
        with _files.replacing(path) as beside:
            np.save(beside, single if (single == features).all() else features)

    def _path(self, key: str) -> pathlib.Path:
        return self.folder / key[:2] / f"{key}.npy"


class Extraction:
    """Extracts features of one kind from several sets.

    Parameters
    ----------
    features : str, callable or nn.Module, optional
        "pixels", "pca" (64 principal components of the first set's pixels), or a network of
        `fastgen.metrics.pretrained.NETWORKS`: "inception" and "resnet18" of torchvision,
        "reference_inception", "clip" and "dinov2" of torch-fidelity, "efficientnet_lite0"; a
        network; an extractor of `fastgen.metrics.features`; any function from images (b, channels,
        height, width), values in [0, 1], or from rows (b, d), to features (b, d'). By default rows
        are taken as they are, and images by their pixels.
    batch_size : int, default 64
        Images at a time.
    resize : int, optional
        Resize all images to so many pixels a side.
    rgb : bool, default False
        Convert all images to three channels; named networks always do.
    cache : path, optional
        Folder that features of networks are kept in.
    progress : bool, callable or None
        As everywhere in this package.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics.extraction import Extraction
    >>> images = np.zeros((10, 1, 8, 8), dtype=np.uint8)
    >>> Extraction("pixels")(images, "images").shape
    (10, 64)
    """

    def __init__(
        self,
        features: Any = None,
        *,
        batch_size: int = 64,
        resize: int | None = None,
        rgb: bool = False,
        cache: str | os.PathLike | None = None,
        progress: Any = None,
    ) -> None:
        self.batch_size = _validate.integer(batch_size, "batch_size")
        self.resize = None if resize is None else _validate.integer(resize, "resize")
        self.rgb = rgb or (isinstance(features, str) and features in NETWORKS)
        self.progress = progress
        self.cache = None if cache is None else FeatureCache(cache)
        self.extractor, self.name = _resolved(features, self.batch_size)
        self.digest = None if self.extractor is None else digest(self.extractor)

    @property
    def costly(self) -> bool:
        """Whether features take more than reading pixels."""
        return self.extractor is not None and not isinstance(self.extractor, Pixels | PCAFeatures)

    @functools.cached_property
    def description(self) -> str:
        """What the features are, with the digests of a network and of its weights alone."""
        shown = self.name or "as given"
        if isinstance(self.extractor, ModuleFeatures):
            if self.digest is not None:
                shown += f", digest {self.digest[:12]}"
            shown += f", weights {weights_digest(self.extractor.module)[:12]}"
        return shown

    def __call__(self, source: Any, name: str) -> np.ndarray:
        """Return the features of a set.

        Parameters
        ----------
        source : array, path, ImageFolder or ImageArray
            Rows (n, d), images (n, ...), a .npy or .npz file that holds one array of either kind,
            or a folder of images.
        name : str
            What messages and progress call the set.

        Returns
        -------
        ndarray (n, d)
            Float64.

        Raises
        ------
        TypeError, ValueError
            If the set is of none of these kinds, is empty, holds images of different sizes or
            modes, or its features are not finite.
        OSError
            If a file or folder cannot be opened.
        """
        opened = self.open(source, name)
        if isinstance(opened, np.ndarray):
            if self.extractor is None:
                return _validate.data_matrix(opened, name, minimum_rows=1)
            batches = self._batches_of(opened)
        else:
            batches = opened.batches(_BLOCK)
        self.name = self.name or "pixels"
        extractor = self.extractor or Pixels()
        if isinstance(extractor, PCAFeatures) and not hasattr(extractor, "pca_"):
            images = np.concatenate(list(batches))
            return extractor.fit(images)(images)
        parts = []
        with _progress.reporter(
            self.progress, unit="image", total=len(opened), title=f"features of {name}"
        ) as report:
            for block in batches:
                parts.append(self._block(extractor, block, name))
                report(len(block))
        return np.concatenate(parts)

    def open(self, source: Any, name: str) -> Any:
        """Return rows as an array, and images as an object with ``batches`` and ``take``.

        Parameters
        ----------
        source, name
            As for a call; what is returned may be given to the call.

        Returns
        -------
        ndarray (n, d), ImageFolder or ImageArray

        Raises
        ------
        TypeError, ValueError, OSError
            As a call, but nothing is extracted.
        """
        if hasattr(source, "batches"):
            return source
        if isinstance(source, str | os.PathLike):
            if os.path.isdir(source):
                return ImageFolder(source, resize=self.resize, rgb=self.rgb)
            source = _read(os.fspath(source), name)
        array = _arrays.to_numpy(source)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"{name} must be an array of numbers, a folder of images, or a .npy or .npz file, "
                f"got {type(source).__name__} of dtype {array.dtype}"
            )
        if not len(array) or array.ndim < 2:
            raise ValueError(
                f"{name} must have shape (n, d) or (n, ...), n at least 1, got {array.shape}"
            )
        if array.ndim == 2:
            if self.resize is not None:
                raise ValueError(
                    f"resize is for images, but {name} has shape {array.shape}; leave it out"
                )
            return array
        return ImageArray(array, resize=self.resize, rgb=self.rgb, name=name)

    def _batches_of(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(rows), _BLOCK):
            yield rows[start : start + _BLOCK]

    def _block(self, extractor: Callable, block: np.ndarray, name: str) -> np.ndarray:
        key = None
        if self.cache is not None and self.digest is not None:
            key = self.cache.key(self.digest, block)
            found = self.cache.get(key, len(block))
            if found is not None:
                return found
        size = self.batch_size
        parts = [
            _arrays.to_numpy(extractor(block[start : start + size]))
            for start in range(0, len(block), size)
        ]
        features = _validate.data_matrix(
            np.concatenate(parts), f"features of {name}", minimum_rows=1
        )
        if len(features) != len(block):
            raise ValueError(
                f"features must return a row for each of {len(block)} samples of {name}, got "
                f"{len(features)} rows"
            )
        if key is not None and self.cache is not None:
            self.cache.put(key, features)
        return features


def _resolved(features: Any, batch_size: int) -> tuple[Callable | None, str | None]:
    """Return the extractor, None where there is none for rows, and what it is called."""
    if features is None:
        return None, None
    if isinstance(features, str):
        _validate.one_of(features, "features", _NAMES)
        if features == "pixels":
            return Pixels(), "pixels"
        if features == "pca":
            return PCAFeatures(_COMPONENTS), f"pca ({_COMPONENTS} components of real)"
        return NETWORKS[features](batch_size=batch_size), features
    if not callable(features):
        raise TypeError(
            f"features must be one of {', '.join(map(repr, _NAMES))}, a network or a function from "
            f"images to features, got {type(features).__name__}"
        )
    if hasattr(features, "named_modules"):
        return ModuleFeatures(features, batch_size=batch_size), type(features).__name__
    if isinstance(features, ModuleFeatures):
        layer = "" if features.layer is None else f", layer {features.layer}"
        return features, f"{type(features.module).__name__}{layer}"
    if isinstance(features, PCAFeatures):
        return features, f"pca ({features.n_components} components)"
    return features, getattr(features, "__qualname__", type(features).__name__)


def _read(path: str, name: str) -> np.ndarray:
    if path.lower().endswith(".npy"):
        return _files.read_npy(path)
    if not path.lower().endswith(".npz"):
        there = "" if os.path.exists(path) else ", and no such file or folder exists"
        raise ValueError(
            f"{name} must be a folder of images, a .npy or a .npz file, got {path!r}{there}"
        )
    found = _files.read_npz(path)
    if len(found) != 1:
        raise ValueError(
            f"{name}: {path} must hold one array, got {', '.join(sorted(found)) or 'none'}; pass "
            "the array itself"
        )
    return next(iter(found.values()))


def digest(extractor: Any) -> str | None:
    """Digest of a network with its weights, its code and what is done to its input.

    Parameters
    ----------
    extractor : callable

    Returns
    -------
    str or None
        None for what cannot be told apart from another one, such as a function: its features are
        not kept.
    """
    if not isinstance(extractor, ModuleFeatures):
        return None
    before = "" if extractor.preprocess is None else _function(extractor.preprocess)
    if before is None:
        return None
    import torch

    module = extractor.module
    found = hashlib.sha256(
        f"{__version__} {torch.__version__} {extractor.layer} {before} {module!r}".encode()
    )
    for kind in sorted({type(part) for part in module.modules()}, key=str):
        if not kind.__module__.startswith("torch."):
            found.update(_source(kind).encode())
    found.update(weights_digest(module).encode())
    return found.hexdigest()


def weights_digest(module: Any) -> str:
    """Digest of a network's weights, the same whatever versions of torch and of this package.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    str
        SHA-256 of the entries of the state dict in order: name, type, shape and bytes.
    """
    found = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(np.ascontiguousarray(_arrays.to_numpy(tensor)).data)
    return found.hexdigest()


def _function(function: Any) -> str | None:
    """Text of a function and of the constants that it closes over."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    constants = [cell for cell in cells if isinstance(cell, int | float | str | tuple)]
    tensors = [cell for cell in cells if _arrays.is_tensor(cell)]
    if len(constants) + len(tensors) < len(cells):
        return None
    shown = [_arrays.to_numpy(tensor).tolist() for tensor in tensors]
    return f"{function.__qualname__} {_instructions(code)} {constants} {shown}"


def _instructions(code: Any) -> str:
    """Text of compiled code, and of the functions in it, whose addresses are no part of it."""
    inner = [_instructions(part) if hasattr(part, "co_code") else part for part in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {inner}"


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made in a session: its name must do
        return kind.__qualname__
