"""``fastgen fid``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import outputs
from .errors import reported
from .features import (
    AsJson,
    Batch,
    Components,
    Device,
    Features,
    First,
    Progress,
    Reader,
    Resize,
    Rgb,
    SaveStats,
    Second,
    Weights,
    check_stats,
    said,
    write_stats,
)

if TYPE_CHECKING:
    from ..metrics.statistics import FeatureStatistics


def fid(
    a: First,
    b: Second,
    features: Features = None,
    pca_components: Components = 64,
    weights: Weights = None,
    resize: Resize = None,
    rgb: Rgb = False,
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
        reader = Reader(
            features, pca_components, weights, resize, batch_size, device, progress, rgb
        )
        check_stats(save_stats, features, (a, b))
        from ..metrics import fid_wam

        sets = reader.sets((a, b), moments=True)
        with outputs.warnings_in_a_line():
            value = fid_wam.fid(*sets)
        files = write_stats(sets[0], save_stats, reader.kind)
        n_a, n_b, width = _size(sets[0]), _size(sets[1]), _width(sets[0])
        told = {
            "fid": value,
            "a": a,
            "b": b,
            "n_a": n_a,
            "n_b": n_b,
            "n_features": width,
            "features": reader.kind,
            "files": files,
        }
        about = said(reader.kind, (n_a, n_b), width)
        outputs.tell(told, f"FID: {value:.6g}" + (f"  ({about})" if about else ""), as_json)


def _size(rows: np.ndarray | FeatureStatistics) -> int | None:
    return len(rows) if isinstance(rows, np.ndarray) else rows.n_samples


def _width(rows: np.ndarray | FeatureStatistics) -> int | None:
    return rows.shape[1] if isinstance(rows, np.ndarray) else rows.n_features
