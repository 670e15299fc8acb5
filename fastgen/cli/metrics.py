"""``fastgen fid`` and ``fastgen wam``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from . import arrays, outputs
from .errors import reported

if TYPE_CHECKING:
    from ..images import ImageFolder
    from ..metrics.fid_wam import WaMResult
    from ..metrics.statistics import FeatureStatistics

_FEATURES = ("pixels", "pca", "inception", "resnet18")

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
        "--features", help="pixels, pca, inception or resnet18.  [default: pixels, or as they are]"
    ),
]
Components = Annotated[
    int, typer.Option("--pca-components", help="Components of --features pca, found on A.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", help="Weights of the network, .pth.  [default: where torchvision keeps them]"
    ),
]
Resize = Annotated[
    int | None,
    typer.Option("--resize", help="Resize all images to squares of this many pixels a side."),
]
Batch = Annotated[int, typer.Option("--batch-size", help="Images at a time.")]
Device = Annotated[str | None, typer.Option("--device", help="Of the network, such as cuda.")]
SaveStats = Annotated[
    str | None,
    typer.Option("--save-stats", help="Write the statistics of A to this file, .npz."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress on standard error.")
]
Mixture = Annotated[
    str,
    typer.Option("--components", help="Components of each mixture: a number, heldout, aic or bic."),
]
Covariance = Annotated[str, typer.Option("--covariance-type", help="full, tied, diag, spherical.")]
Separate = Annotated[
    bool, typer.Option("--separate", help="Fit each set on its own, not one mixture to both.")
]
Paper = Annotated[bool, typer.Option("--paper", help="The paper's setting: separate, no floor.")]
Bootstrap = Annotated[
    int, typer.Option("--bootstrap", help="Resamples for a 95 % interval, such as 200.")
]
Regularisation = Annotated[
    float, typer.Option("--reg-covar", help="Added to the diagonals of covariances.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Repeat a run.  [default: a new one]")]
Plot = Annotated[str | None, typer.Option("--plot", help="Draw to this file, .png, .pdf or .svg.")]


def fid(
    a: First,
    b: Second,
    features: Features = None,
    pca_components: Components = 64,
    weights: Weights = None,
    resize: Resize = None,
    batch_size: Batch = 64,
    device: Device = None,
    save_stats: SaveStats = None,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Squared Frechet distance between the moments of two sets of features.

    A .npz file with mu and sigma, from this or another FID tool, is taken as statistics; other
    arrays are features, one row per sample. For example

    fastgen fid real/ generated/ --features inception --save-stats real.npz
    """
    with reported():
        reader = Reader(features, pca_components, weights, resize, batch_size, device, progress)
        _check_stats(save_stats, features)
        from ..metrics import fid_wam

        sets = reader.sets((a, b), moments=True)
        value = fid_wam.fid(*sets)
        files = _write_stats(sets[0], save_stats)
        told = {
            "fid": value,
            "a": a,
            "b": b,
            "n_a": _size(sets[0]),
            "n_b": _size(sets[1]),
            "n_features": _width(sets[0]),
            "features": features,
            "files": files,
        }
        outputs.tell(told, f"FID: {value:.6g}", as_json)


def wam(
    a: First,
    b: Second,
    components: Mixture = "heldout",
    covariance_type: Covariance = "full",
    separate: Separate = False,
    paper: Paper = False,
    bootstrap: Bootstrap = 0,
    reg_covar: Regularisation = 1e-6,
    seed: Seed = None,
    features: Features = None,
    pca_components: Components = 64,
    weights: Weights = None,
    resize: Resize = None,
    batch_size: Batch = 64,
    device: Device = None,
    save_stats: SaveStats = None,
    plot: Plot = None,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Squared distance between Gaussian mixtures fitted to two sets of features.

    Beside it: its floor, what two sets of A's law would give, and the FID. For example

    fastgen wam real/ generated/ --features resnet18 --components 10 --bootstrap 200
    """
    with reported():
        reader = Reader(features, pca_components, weights, resize, batch_size, device, progress)
        _check_stats(save_stats, features)
        if plot is not None:
            from .. import plotting

            outputs.check(plot, "--plot", plotting.SUFFIXES)
        from ..metrics import fid_wam as module

        sets = reader.sets((a, b), moments=False)
        with outputs.warnings_in_a_line():
            result = module.wam(
                *sets,
                n_components=int(components) if components.isdigit() else components,
                covariance_type=covariance_type,
                shared_fit=False if separate else None,
                setting="paper" if paper else None,
                n_bootstrap=bootstrap,
                reg_covar=reg_covar,
                random_state=seed,
            )
        files = _write_stats(sets[0], save_stats)
        if plot is not None:
            plotting.save_figure(result.plot(), plot)
            files.append(plot)
        told = {**result.to_dict(), "a": a, "b": b, "features": features, "files": files}
        outputs.tell(told, _table(result), as_json)


def _check_stats(path: str | None, features: str | None) -> None:
    """Raise before the work begins if statistics cannot be written to ``path``."""
    if path is None:
        return
    outputs.check(path, "--save-stats", (".npz",))
    if features == "pca":
        raise ValueError(
            "--save-stats has no use with --features pca: components are found anew on each A; use "
            "pixels"
        )


def _write_stats(rows: np.ndarray | FeatureStatistics, path: str | None) -> list[str]:
    """Write the statistics of a set, and return the files written."""
    from ..metrics.statistics import FeatureStatistics

    if path is None:
        return []
    found = rows if isinstance(rows, FeatureStatistics) else FeatureStatistics().update(rows)
    found.save(path)
    return [path]


def _table(result: WaMResult) -> str:
    rows: list[tuple[str, float | None, float | None, float | None]] = [
        ("WaM^2", result.wam2, result.floor, result.debiased),
        ("FID", result.fid, result.fid_floor, result.fid_debiased),
    ]
    lines = [f"{'':6}{'value':>12}{'floor':>12}{'difference':>12}"]
    for name, *values in rows:
        cells = ("-" if value is None else f"{value:.6g}" for value in values)
        lines.append(f"{name:6}" + "".join(f"{cell:>12}" for cell in cells))
    if result.interval is not None:
        low, high = result.interval
        lines.append(f"95 % interval of WaM^2 less its sampling bias: {low:.6g} to {high:.6g}")
    settings, plural = result.settings, "s" if result.n_components > 1 else ""
    lines.append(
        f"{result.n_components} component{plural}, {settings['covariance_type']} covariances, "
        f"{'one fit to both sets' if settings['shared_fit'] else 'separate fits'}, "
        f"reg_covar {settings['reg_covar']:g}, at least "
        f"{result.samples_per_dimension.min():.3g} samples per component and dimension"
    )
    return "\n".join(lines)


def _size(rows: np.ndarray | FeatureStatistics) -> int | None:
    return len(rows) if isinstance(rows, np.ndarray) else rows.n_samples


def _width(rows: np.ndarray | FeatureStatistics) -> int:
    return rows.shape[1] if isinstance(rows, np.ndarray) else rows.n_features


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
    ) -> None:
        from .. import _validate

        if features is not None:
            _validate.one_of(features, "--features", _FEATURES)
        self.network = features in ("inception", "resnet18")
        for value, option in ((weights, "--weights"), (device, "--device")):
            if value is not None and not self.network:
                raise ValueError(f"{option} belongs to --features inception or resnet18")
        if resize is not None:
            _validate.integer(resize, "--resize")
        self.features, self.resize, self.progress = features, resize, progress
        self.n_components = _validate.integer(pca_components, "--pca-components")
        self.batch_size = _validate.integer(batch_size, "--batch-size")
        self.weights, self.device = weights, device
        self._extractor: Any = None

    def sets(self, names: Sequence[str], *, moments: bool) -> list[Any]:
        """Features (n, d) of what is named, or with ``moments`` what the FID needs of them."""
        sources = [self._source(name) for name in names]
        if moments and self.features != "pca":
            return [self._moments(source) for source in sources]
        rows = [self._rows(source) for source in sources]
        if self.features != "pca":
            return rows
        from ..metrics.features import PCAFeatures

        components = PCAFeatures(self.n_components).fit(rows[0])
        return [components(part) for part in rows]

    def _source(self, name: str) -> Any:
        """Return an ImageFolder, FeatureStatistics, or an array (n, ...)."""
        from ..images import ImageFolder

        if os.path.isdir(name):
            return ImageFolder(name, resize=self.resize, rgb=self.network)
        found = read(name)
        if self.resize is not None or (isinstance(found, np.ndarray) and self.network):
            option = "--resize" if self.resize is not None else f"--features {self.features}"
            raise ValueError(
                f"{option} needs folders of images, got {name!r}; leave it out if that holds "
                "features"
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
        from ..images import ImageFolder
        from ..metrics.features import Pixels
        from ..metrics.statistics import FeatureStatistics

        if not isinstance(source, ImageFolder):
            return Pixels()(source) if isinstance(source, np.ndarray) else source
        found, kept = FeatureStatistics(), []
        for part in self._parts(source):
            if len(source) > part.shape[1]:
                found.update(part)
            else:
                kept.append(part)
        return np.concatenate(kept) if kept else found

    def _parts(self, folder: ImageFolder) -> Iterator[np.ndarray]:
        """Features of a folder, batch by batch."""
        from tqdm import tqdm

        extractor = self._network_features() if self.network else _pixels()
        title = os.path.basename(os.path.normpath(folder.folder))
        with tqdm(total=len(folder), desc=title, unit="image", disable=not self.progress) as bar:
            for batch in folder.batches(self.batch_size):
                yield extractor(batch)
                bar.update(len(batch))

    def _network_features(self) -> Any:
        if self._extractor is None:
            from ..metrics import features

            build = features.inception_v3 if self.features == "inception" else features.resnet18
            self._extractor = build(self.weights, batch_size=self.batch_size, device=self.device)
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
