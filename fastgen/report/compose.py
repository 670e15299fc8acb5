"""The page of a generator: every metric, and the images behind the figures."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random, _validate
from ..images import ImageArray, ImageFolder
from . import sections
from .page import Page

if TYPE_CHECKING:
    from ..metrics import Evaluation

__all__ = ["report"]

_TITLES = {
    "fid": "FID",
    "fid_infinity": "FID of infinitely many samples",
    "wam": "WaM, squared",
    "kid": "KID",
    "cmmd": "CMMD (Gaussian kernel)",
    "sliced_w2": "Sliced W2, squared",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "authenticity": "AuthPct",
    "copying_z": "Copying test C_T",
    "near_copies": "Near copies",
    "mifid": "MiFID",
    "vendi": "Vendi score",
    "fld": "FLD",
    "fld_gap": "FLD, generalization gap",
}


@dataclasses.dataclass
class _Set:
    """Samples of one kind: features, and the images where there are any."""

    name: str
    rows: np.ndarray
    images: ImageFolder | ImageArray | None


def report(
    real: Any,
    generated: Any,
    holdout: Any = None,
    *,
    out: str | os.PathLike | None = None,
    title: str = "Generated samples beside real ones",
    names: Sequence[str] = ("real", "generated", "holdout"),
    features: Any = None,
    metrics: Sequence[str] | None = None,
    labels: Any = None,
    generator: Any = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    search: dict[str, Any] | None = None,
    n_targets: int = 64,
    n_neighbors: int = 5,
    batch_size: int = 64,
    resize: int | None = None,
    rgb: bool = False,
    cache: str | os.PathLike | None = None,
    random_state: Any = 0,
    progress: Any = None,
    n_jobs: int | None = None,
) -> Page:
    """Make a page of generated samples beside real ones: one HTML file to read, print and send.

    It holds every metric of `fastgen.metrics.evaluate` with its floor, images of both sets, the
    nearest real neighbors of generated images and the real images that nothing generated comes
    near, the components between which WaM moves mass, and the FID against the number of samples;
    with a generator, what it can produce of the real images (GOoF); with labels, which classes it
    covers. Every part says how it is read and what it does not show.

    Parameters
    ----------
    real, generated : array, path, ImageFolder or ImageArray
        What the generator was trained on and what it makes: images (n, ...), rows (n, d), a folder
        of images, or a .npy file. Images are shown where there are any.
    holdout : as ``real``, optional
        Real samples that the generator has not seen.
    out : path, optional
        Where the page is written, .html; whole or not at all.
    title : str, default "Generated samples beside real ones"
        Headline of the page.
    names : sequence of str, default ("real", "generated", "holdout")
        What the sets are called on the page, such as their folders.
    features, metrics, n_neighbors, batch_size, resize, rgb, cache, n_jobs
        As for `fastgen.metrics.evaluate`.
    labels : array (n,), optional
        Classes of the real samples: adds the report of modes.
    generator : nn.Module, callable, LinearGAN or list, optional
        The generator itself: adds GOoF, with the overfit test where there is a holdout.
    value_range : (float, float), default (0.0, 1.0)
        What the generator returns for black and white.
    search : dict, optional
        Further arguments of `fastgen.goof.nearest`, such as ``latent_dim``.
    n_targets : int, default 64
        Real images, and as many held-out and planted ones, that are searched for.
    random_state : int, numpy.random.Generator, RandomState or None, default 0
        Seed of everything that is drawn.
    progress : bool, callable or None
        As everywhere in this package.

    Returns
    -------
    Page
        It is shown by notebooks, and takes further sections.

    Raises
    ------
    TypeError, ValueError
        As `fastgen.metrics.evaluate` and `fastgen.goof.score`; or if ``labels`` are not one for
        each real sample.
    OSError
        If a file or folder cannot be opened, or the page cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.report import report
    >>> rng = np.random.default_rng(0)
    >>> real, generated = rng.integers(0, 256, (2, 60, 8, 8), dtype=np.uint8)
    >>> page = report(real, generated, metrics=["fid", "precision"])
    >>> [section.title for section in page.sections]
    ['All figures', 'Samples', 'Nearest neighbors']
    """
    from ..metrics.extraction import Extraction

    n_targets = _validate.integer(n_targets, "n_targets", minimum=2)
    if out is not None:
        Page.check(out)
    extract = Extraction(
        features, batch_size=batch_size, resize=resize, rgb=rgb, cache=cache, progress=progress
    )
    given = {"real": real, "generated": generated}
    if holdout is not None:
        given["holdout"] = holdout
    sets = []
    for (role, source), name in zip(given.items(), names, strict=False):
        opened = extract.open(source, role)
        images = opened if hasattr(opened, "take") and hasattr(opened, "batches") else None
        sets.append(_Set(name, extract(opened, role), images))
    classes = None if labels is None else _labels(labels, len(sets[0].rows))
    evaluation = _evaluated(
        sets, extract.description, random_state,
        metrics=metrics, n_neighbors=n_neighbors, progress=progress, n_jobs=n_jobs,
    )  # fmt: skip
    page = Page(title, _facts(sets, evaluation))
    rng = _random.generator(random_state)
    _add_sets(page, sets, evaluation, n_neighbors, rng)
    if classes is not None:
        _add_modes(page, sets, classes)
    if generator is not None:
        options = {"progress": progress, **(search or {})}
        _add_recovery(page, sets, generator, value_range, n_targets, options, rng)
    if out is not None:
        page.save(out)
    return page


def _labels(labels: Any, n: int) -> np.ndarray:
    found = np.asarray(_arrays.to_host(labels))
    if found.shape != (n,):
        raise ValueError(f"labels must be one for each of {n} real samples, got {found.shape}")
    return found


def _evaluated(sets: list[_Set], features: str, random_state: Any, **options: Any) -> Evaluation:
    from ..metrics import evaluate

    found = evaluate(*(one.rows for one in sets), random_state=random_state, **options)
    return dataclasses.replace(found, features=features)


def _facts(sets: list[_Set], evaluation: Evaluation) -> list[tuple[str, str]]:
    roles = ("real", "generated", "holdout")
    facts = [
        (role, f"{one.name}: {len(one.rows)} samples")
        for role, one in zip(roles, sets, strict=False)
    ]
    return [*facts, ("features", f"{evaluation.features} ({evaluation.n_features} numbers)")]


def _add_sets(
    page: Page,
    sets: list[_Set],
    evaluation: Evaluation,
    n_neighbors: int,
    rng: np.random.Generator,
) -> None:
    """Add what the sets alone show."""
    from ..metrics import neighbor_pass

    told = evaluation.to_dict()
    table = sections.metrics(told["metrics"], _TITLES)
    table.lines += told["notes"]
    table.lines += [
        f"{_TITLES.get(name, name)} was not computed: {why}"
        for name, why in told["skipped"].items()
    ]
    page.add(table)
    real, generated = sets[:2]
    parts = evaluation.parts
    if real.images is not None and generated.images is not None:
        take = real.images.take, generated.images.take
        page.add(sections.samples(*take, len(real.rows), len(generated.rows), rng))
        found = parts.get("neighbors")
        if found is None:
            k = min(n_neighbors, len(real.rows) - 1, len(generated.rows) - 1)
            found = neighbor_pass(real.rows, generated.rows, k)
        page.add(sections.neighbors(found, *take))
    if "wam" in parts and real.rows.shape[1] > 1:
        page.add(sections.components(parts["wam"], real.rows, generated.rows, rng))
    if "fid_infinity" in parts:
        page.add(sections.extrapolation(parts["fid_infinity"]))


def _add_modes(page: Page, sets: list[_Set], classes: np.ndarray) -> None:
    from ..modes import mode_report

    real, generated = sets[:2]
    known, where = np.unique(classes, return_inverse=True)
    members = [real.rows[where == number] for number in range(len(known))]
    centers = np.stack([rows.mean(axis=0) for rows in members])
    # a sample is good within three scales
    spread = [
        np.sqrt(((rows - center) ** 2).sum(axis=1).mean())
        for rows, center in zip(members, centers, strict=True)
    ]
    scale = np.maximum(spread, np.finfo(float).tiny) * 2 / 3
    found = mode_report(generated.rows, centers, scale, weights=np.bincount(where))
    page.add(sections.modes(found, [str(name) for name in known]))


def _add_recovery(
    page: Page,
    sets: list[_Set],
    generator: Any,
    value_range: tuple[float, float],
    n_targets: int,
    options: dict[str, Any],
    rng: np.random.Generator,
) -> None:
    """Add GOoF: of rows as they are, of images in the units of the generator."""
    from ..goof import overfit_test, score
    from ..goof.scores import aggregate

    low, high = value_range
    chosen = []
    for one in (sets[0], *sets[2:]):
        rows = np.sort(rng.permutation(len(one.rows))[:n_targets])
        if one.images is None:
            chosen.append(one.rows[rows])
        else:
            chosen.append((low + (high - low) * one.images.take(rows)).astype(np.float32))
    seed = int(rng.integers(2**63))
    test = None
    if len(chosen) > 1:
        test = overfit_test(generator, *chosen, n_planted=n_targets, random_state=seed, **options)
        found = aggregate(test.train, chosen[0], test.planted)
    else:
        found = score(generator, chosen[0], n_planted=n_targets, random_state=seed, **options)
    shape = chosen[0].shape[1:]

    def shown(outputs: np.ndarray) -> np.ndarray:
        return (outputs.reshape(len(outputs), *shape) - low) / (high - low)

    page.add(sections.recovery(found, None if sets[0].images is None else shown, test))
