"""``fastgen stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import outputs
from .errors import reported
from .features import (
    AsJson,
    Batch,
    Device,
    Features,
    Progress,
    Reader,
    Resize,
    Rgb,
    Weights,
    check_stats,
    said,
    write_stats,
)

if TYPE_CHECKING:
    import numpy as np

    from ..metrics.statistics import FeatureStatistics

Source = Annotated[
    str,
    typer.Argument(metavar="A", help="A folder of images, FILE.npy, FILE.npz or FILE.npz:KEY."),
]
Out = Annotated[str, typer.Option("--out", help="Write the statistics to this file, .npz.")]


def stats(
    a: Source,
    out: Out,
    features: Features = None,
    weights: Weights = None,
    resize: Resize = None,
    rgb: Rgb = False,
    batch_size: Batch = 64,
    device: Device = None,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Mean and covariance of features, for later distances: mu and sigma of a .npz file.

    Other FID tools read the file; fastgen finds in it, too, how many samples there were and what
    the features are. For example

    fastgen stats real/ --features inception --out real.npz
    """
    with reported():
        reader = Reader(features, 1, weights, resize, batch_size, device, progress, rgb)
        check_stats(out, features, (a,), option="--out")
        with outputs.warnings_in_a_line():
            (rows,) = reader.sets((a,), moments=True)
        files = write_stats(rows, out, reader.kind)
        n, d = _shape(rows)
        told = {"a": a, "n": n, "n_features": d, "features": reader.kind, "files": files}
        about = said(reader.kind, (n,), d) or f"of {n} rows, {d} features"
        outputs.tell(told, f"statistics {about}", as_json)


def _shape(rows: np.ndarray | FeatureStatistics) -> tuple[int | None, int | None]:
    import numpy as np

    return rows.shape if isinstance(rows, np.ndarray) else (rows.n_samples, rows.n_features)
