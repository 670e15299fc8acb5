"""What ``fastgen fid`` and ``fastgen wam`` share: features of what A and B name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from . import arrays, outputs

if TYPE_CHECKING:
    from ..images import ImageArray, ImageFolder
    from ..metrics.statistics import FeatureStatistics

NETWORKS = (
    "inception", "resnet18", "reference_inception", "clip", "dinov2", "efficientnet_lite0",
)  # fmt: skip
FEATURES = ("pixels", "pca", *NETWORKS)

First = Annotated[
    str,
    typer.Argument(
        metavar="A", help="Reference: a folder of images, FILE.npy, FILE.npz or FILE.npz:KEY."
    ),
]
Second = Annotated[str, typer.Argument(metavar="B", help="What is compared with it: the same.")]
Features = Annotated[
    str | None,
    typer.Option(
        "--features",
        help=f"{', '.join(FEATURES[:-1])} or {FEATURES[-1]}.  [default: pixels, or as they are]",
    ),
]
Components = Annotated[
    int, typer.Option("--pca-components", help="Components of --features pca, found on A.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Weights of the network, a file; nothing is downloaded.  [default: where the library "
        "that brings the network keeps them]",
    ),
]
Resize = Annotated[
    int | None,
    typer.Option("--resize", help="Resize all images to squares of this many pixels a side."),
]
Rgb = Annotated[bool, typer.Option("--rgb", help="Read gray images as three channels.")]
Batch = Annotated[int, typer.Option("--batch-size", help="Images at a time.")]
Device = Annotated[
    str | None, typer.Option("--device", help="Device of the network, such as cuda.")
]
SaveStats = Annotated[
    str | None,
    typer.Option("--save-stats", help="Write the statistics of A to this file, .npz."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress on standard error.")
]


def check_stats(
    path: str | None,
    features: str | None,
    inputs: Sequence[str],
    *,
    option: str = "--save-stats",
) -> None:
    """Raise before the work begins if statistics cannot be written to ``path``, or must not be."""
    if path is None:
        return
    outputs.check(path, option, (".npz",))
    for name in inputs:
        if _same_file(path, name) or _same_file(path, name.rpartition(":")[0]):
            raise ValueError(f"{option} {path!r} would replace the input {name!r}; name another")
    if features == "pca":
        raise ValueError(
            f"{option} has no use with --features pca: components are found anew on each A; use "
            "pixels"
        )


def check_network(features: str | None, weights: str | None, device: str | None) -> None:
    """Raise ValueError where an option of networks is given without one.

    Parameters
    ----------
    features, weights, device : str or None
        As the options.
    """
    for value, option in ((weights, "--weights"), (device, "--device")):
        if value is not None and features not in NETWORKS:
            raise ValueError(
                f"{option} belongs to --features {', '.join(NETWORKS[:-1])} or {NETWORKS[-1]}"
            )


def network(name: str, weights: str | None, batch_size: int, device: str | None) -> Any:
    """Return the extractor of a network with published weights.

    Parameters
    ----------
    name : str
        One of ``NETWORKS``.
    weights : str or None
    batch_size : int
    device : str or None
    """
    from ..metrics import pretrained

    return pretrained.NETWORKS[name](weights, batch_size=batch_size, device=device)


def said(kind: str | None, counts: Sequence[int | None], n_features: int | None) -> str:
    """Say what a distance is of, in a line; nothing where features were given.

    Parameters
    ----------
    kind : str or None
        Kind of the features.
    counts : sequence of int or None
        Images of each set, where known.
    n_features : int or None
    """
    if kind is None:
        return ""
    kinds = {
        "pixels": "pixels, not of Inception features",
        "pca": "principal components of pixels, not of Inception features",
        "inception": "features of torchvision's Inception v3, not of the network that published "
        "FIDs use",
        "resnet18": "features of ResNet-18, not of Inception",
        "reference_inception": "features of the Inception that published FIDs use",
        "clip": "features of CLIP, not of Inception",
        "dinov2": "features of DINOv2, not of Inception",
        "efficientnet_lite0": "features of EfficientNet-Lite0, not of Inception",
    }
    images = " and ".join("unknown" if count is None else str(count) for count in counts)
    return f"of {kinds[kind]}; {images} images, {n_features} features"


def write_stats(
    rows: np.ndarray | FeatureStatistics, path: str | None, kind: str | None = None
) -> list[str]:
    """Write the statistics of a set, and return the files written."""
    from ..metrics.statistics import FeatureStatistics

    if path is None:
        return []
    found = rows if isinstance(rows, FeatureStatistics) else FeatureStatistics().update(rows)
    found.features = kind if found.features is None else found.features
    found.save(path)
    return [path]


def _same_file(path: str, other: str) -> bool:
    """Whether both name one file, by links of either kind too."""
    if not other:
        return False
    if os.path.exists(path) and os.path.exists(other):
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)


class Reader:
    """Reads what A and B name and extracts features of one kind from both."""

    def __init__(
        self,
        features: str | None,
        pca_components: int,
        weights: str | None,
        resize: int | None,
        batch_size: int,
        device: str | None,
        progress: bool,
        rgb: bool = False,
    ) -> None:
        from .. import _validate

        if features is not None:
            _validate.one_of(features, "--features", FEATURES)
        self.network = features in NETWORKS
        check_network(features, weights, device)
        if resize is not None:
            _validate.integer(resize, "--resize")
        self.features, self.resize, self.progress = features, resize, progress
        self.rgb = rgb or self.network
        self._asked_rgb = rgb
        self.n_components = _validate.integer(pca_components, "--pca-components")
        self.batch_size = _validate.integer(batch_size, "--batch-size")
        self.weights, self.device = weights, device
        self._extractor: Any = None
        self.kind = features  # of the features that are compared, None where they were given

    def sets(self, names: Sequence[str], *, moments: bool) -> list[Any]:
        """Features (n, d) of what is named, or with ``moments`` what the FID needs of them."""
        from ..metrics.statistics import FeatureStatistics

        sources = [self._source(name) for name in names]
        if self.kind is None and any(hasattr(source, "batches") for source in sources):
            self.kind = "pixels"
        for name, source in zip(names, sources, strict=True):
            own = source.features if isinstance(source, FeatureStatistics) else None
            if None not in (own, self.kind) and own != self.kind:
                raise ValueError(
                    f"{name} holds statistics of {own!r} features, but those of the others are "
                    f"{self.kind!r}; pass --features {own}, or name other statistics"
                )
        if moments and self.features != "pca":
            return [self._moments(source) for source in sources]
        rows = [self._rows(source) for source in sources]
        if self.features != "pca":
            return rows
        from ..metrics.features import PCAFeatures

        components = PCAFeatures(self.n_components).fit(rows[0])
        return [components(part) for part in rows]

    def _source(self, name: str) -> Any:
        """Return an ImageFolder, an ImageArray, FeatureStatistics, or features (n, d)."""
        from ..images import ImageArray, ImageFolder

        if os.path.isdir(name):
            return ImageFolder(name, resize=self.resize, rgb=self.rgb)
        found = read(name)
        if isinstance(found, np.ndarray) and found.ndim > 2:
            return ImageArray(found, resize=self.resize, rgb=self.rgb, name=name)
        asked = {"--resize": self.resize is not None, "--rgb": self._asked_rgb}
        if isinstance(found, np.ndarray):
            asked[f"--features {self.features}"] = self.network
        if any(asked.values()):
            option = next(option for option, given in asked.items() if given)
            raise ValueError(
                f"{option} needs folders or arrays of images, got {name!r}; leave it out if that "
                "holds features"
            )
        return found

    def _rows(self, source: Any) -> np.ndarray:
        from ..metrics.features import Pixels
        from ..metrics.statistics import FeatureStatistics

        if isinstance(source, FeatureStatistics):
            raise ValueError(
                "mixtures and principal components need features, got their mu and sigma; name a "
                "folder of images or an array (n, d)"
            )
        if isinstance(source, np.ndarray):
            return Pixels()(source)
        return np.concatenate(list(self._parts(source)))

    def _moments(self, source: Any) -> np.ndarray | FeatureStatistics:
        """Statistics of a source; its features where there are no more of them than dimensions."""
        from ..metrics.features import Pixels
        from ..metrics.statistics import FeatureStatistics

        if isinstance(source, np.ndarray | FeatureStatistics):
            return Pixels()(source) if isinstance(source, np.ndarray) else source
        found, kept = FeatureStatistics(), []
        for part in self._parts(source):
            if len(source) > part.shape[1]:
                found.update(part)
            else:
                kept.append(part)
        return np.concatenate(kept) if kept else found

    def _parts(self, images: ImageFolder | ImageArray) -> Iterator[np.ndarray]:
        """Features of images, batch by batch."""
        from .. import _progress

        extractor = self._network_features() if self.network else _pixels()
        title = os.path.basename(os.path.normpath(images.name))
        with _progress.reporter(
            self.progress, unit="image", total=len(images), title=title
        ) as report:
            for batch in images.batches(self.batch_size):
                yield extractor(batch)
                report(len(batch))

    def _network_features(self) -> Any:
        if self._extractor is None and self.features is not None:
            self._extractor = network(self.features, self.weights, self.batch_size, self.device)
        return self._extractor


def _pixels() -> Any:
    from ..metrics.features import Pixels

    return Pixels()


def read(name: str) -> np.ndarray | FeatureStatistics:
    """Read an array from FILE.npy, FILE.npz or FILE.npz:KEY, or statistics from FILE.npz.

    Parameters
    ----------
    name : str

    Returns
    -------
    ndarray (n, ...) or FeatureStatistics

    Raises
    ------
    ValueError
        If the file is damaged, of another kind, or holds several arrays and none is chosen.
    OSError
        If it cannot be opened.
    """
    from .._files import read_npz
    from ..metrics.statistics import FeatureStatistics

    path, key = arrays.split(name, "A and B must be folders of images, .npy or .npz files")
    if path.lower().endswith(".npy"):
        array = arrays.read_npy(path)
    else:
        found = read_npz(path)
        if key is None and {"mu", "sigma"} <= set(found):
            return FeatureStatistics.load(path)
        array = arrays.choose(found, key, path)
    if array.ndim < 2:
        raise ValueError(f"{name} must hold features (n, d) or images, got shape {array.shape}")
    return array
