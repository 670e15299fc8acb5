"""Every metric of two sets of samples at once, from one extraction and one pass over the pairs.

Each score stands beside its floor, what new samples of the real law would score, and an interval;
`Evaluation` says in words what follows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _progress, _random, _results, _validate, _warnings
from .._version import __version__
from . import scores
from .extraction import Extraction
from .scores import Score

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["Evaluation", "Score", "evaluate"]

_LIBRARIES = ("numpy", "scipy", "numba", "scikit-learn", "POT", "torch")
_COLUMNS = ("metric", "value", "floor", "95 % interval", "better", "verdict")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Evaluation(_results.Result):
    """What `evaluate` found: ``str`` gives it as a table.

    Attributes
    ----------
    metrics : dict of str to Score
        Value, floor, interval, direction, verdict and n by the metric's name.
    skipped : dict of str to str
        Metrics that were not computed, and why.
    notes : list of str
        What should be known when the figures are read, such as a holdout that overlaps the training
        set.
    n_real, n_generated : int
    n_holdout : int or None
    n_features : int
    features : str
        What the features are.
    parts : dict of str to object
        The results that the scores are read off: ``fid_infinity``, ``wam``, ``kid``, ``cmmd``,
        ``sliced``, ``neighbors``, ``manifold``, ``memorization``, ``vendi``, ``vendi_real`` and
        ``fld``, as far as they were computed.
    versions : dict of str to str
        Versions of this package and of the libraries it used.
    """

    metrics: dict[str, Score]
    skipped: dict[str, str]
    notes: list[str]
    n_real: int
    n_generated: int
    n_holdout: int | None
    n_features: int
    features: str
    parts: dict[str, Any]
    versions: dict[str, str]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={score.value:.4g}" for name, score in self.metrics.items())
        return f"Evaluation({shown})"

    def __str__(self) -> str:
        rows = [_COLUMNS, *self._rows()]
        widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS) - 1)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True)]
                + [row[4].ljust(widths[4]), row[5]]
            ).rstrip()
            for row in rows
        ]
        held = "" if self.n_holdout is None else f", {self.n_holdout} held out"
        lines.append(
            f"{self.n_real} real, {self.n_generated} generated{held}; {self.n_features} features: "
            f"{self.features}"
        )
        lines += [f"not computed: {name}: {why}" for name, why in self.skipped.items()]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, ...]]:
        def shown(value: float | None) -> str:
            return "-" if value is None else f"{value:.4g}"

        return [
            (
                name,
                shown(score.value),
                shown(score.floor),
                "-" if score.interval is None else " to ".join(map(shown, score.interval)),
                score.better or "-",
                score.verdict,
            )
            for name, score in self.metrics.items()
        ]

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in _COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        below = "".join(f"<p>{html.escape(line)}</p>" for line in self._below())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"

    def _below(self) -> list[str]:
        return str(self).splitlines()[len(self.metrics) + 1 :]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain Python, for JSON."""
        return _results.plain(
            {
                "n_real": self.n_real,
                "n_generated": self.n_generated,
                "n_holdout": self.n_holdout,
                "n_features": self.n_features,
                "features": self.features,
                "metrics": {name: score.to_dict() for name, score in self.metrics.items()},
                "skipped": self.skipped,
                "notes": self.notes,
                "versions": self.versions,
            }
        )

    def to_xarray(self) -> xarray.Dataset:
        """Return value, floor, interval and n by the dimension ``metric``; NaN where there is none.

        Returns
        -------
        xarray.Dataset
        """
        import xarray

        found = list(self.metrics.values())
        columns = {
            "value": [score.value for score in found],
            "floor": [np.nan if score.floor is None else score.floor for score in found],
            "low": [np.nan if score.interval is None else score.interval[0] for score in found],
            "high": [np.nan if score.interval is None else score.interval[1] for score in found],
            "n": [score.n for score in found],
            "better": [score.better or "" for score in found],
            "verdict": [score.verdict for score in found],
        }
        attrs = {"n_real": self.n_real, "n_generated": self.n_generated, "features": self.features}
        return xarray.Dataset(
            {name: ("metric", values) for name, values in columns.items()},
            coords={"metric": list(self.metrics)},
            attrs=attrs,
        )

    def plot(self, *, width: float = 7.0) -> Figure:
        """Draw every score with its interval beside its floor.

        Parameters
        ----------
        width : float, default 7.0
            In inches.

        Returns
        -------
        matplotlib.figure.Figure
            Save it with `fastgen.plotting.save_figure`.
        """
        from ..plotting.evaluation import evaluation_figure

        told = {name: dataclasses.asdict(score) for name, score in self.metrics.items()}
        return evaluation_figure(told, width=width)


def evaluate(
    real: Any,
    generated: Any,
    holdout: Any = None,
    *,
    features: Any = None,
    metrics: Sequence[str] | None = None,
    n_neighbors: int = 5,
    batch_size: int = 64,
    resize: int | None = None,
    rgb: bool = False,
    cache: str | os.PathLike | None = None,
    random_state: Any = 0,
    progress: Any = None,
    n_jobs: int | None = None,
) -> Evaluation:
    """Compare generated samples with real ones by every metric of this package.

    Features are extracted once, and one exact pass over all pairs serves precision, recall,
    density, coverage and the figures of memorization.

    Parameters
    ----------
    real, generated : array, path, ImageFolder or ImageArray
        What the generator was trained on and what it makes: rows (n, d), images (n, ...), a folder
        of images, or a .npy or .npz file. At least four samples each.
    holdout : as ``real``, optional
        Real samples that the generator has not seen: needed for FLD and the copying test.
    features : str, callable or nn.Module, optional
        As for `fastgen.metrics.extraction.Extraction`; by default rows as they are, and the pixels
        of images, which say little of what people see.
    metrics : sequence of str, optional
        Names of those wanted, among ``fid``, ``fid_infinity``, ``wam``, ``kid``, ``cmmd``,
        ``sliced_w2``, ``precision``, ``recall``, ``density``, ``coverage``, ``authenticity``,
        ``copying_z``, ``near_copies``, ``mifid``, ``vendi``, ``fld`` and ``fld_gap``; all by
        default.
    n_neighbors : int, default 5
        The k of precision, recall, density and coverage.
    batch_size : int, default 64
        Images that are given to the extractor at a time.
    resize : int, optional
        Resize all images to so many pixels a side.
    rgb : bool, default False
        Convert all images to three channels.
    cache : path, optional
        Folder that features of networks are kept in: a later call with the same images and network,
        or one after a kill, reads them.
    random_state : int, numpy.random.Generator, RandomState or None, default 0
        Seed of everything that is drawn.
    progress : bool, callable or None
        As everywhere in this package.
    n_jobs : int, optional
        Number of threads of the pass over the pairs, as in joblib.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError, ValueError
        If a set is of another kind, too small, not finite, holds images of different sizes or
        modes, or an argument is out of its range.
    OSError
        If a file or folder cannot be opened.

    Warns
    -----
    UserWarning
        If samples of the holdout are exact duplicates of real ones.

    Notes
    -----
    Floors are what new samples of the real law would score: 0 for unbiased metrics; from random
    halves of the real set for the others, scaled to the sizes where the metric's law is known. The
    width of CMMD's kernel is the median distance of real samples, since its 10 is made for CLIP.
    Metrics that the sets are too small for are left out, and ``skipped`` says why. No known metric
    isolates memorization: what the features do not see, the figures do not see either.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.metrics import evaluate
    >>> rng = np.random.default_rng(0)
    >>> real, fresh, holdout = rng.standard_normal((3, 300, 4))
    >>> found = evaluate(real, real[:200], holdout, metrics=["fid", "authenticity"])
    >>> found.metrics["authenticity"].value, found.metrics["authenticity"].verdict
    (0.0, 'copies: closer to the training data than new samples are')
    """
    wanted = _wanted(metrics)
    k = _validate.integer(n_neighbors, "n_neighbors")
    extract = Extraction(
        features,
        batch_size=batch_size,
        resize=resize,
        rgb=rgb,
        cache=cache,
        progress=progress,
    )
    sets = {"real": extract(real, "real"), "generated": extract(generated, "generated")}
    if holdout is not None:
        sets["holdout"] = extract(holdout, "holdout")
    _check(sets)
    notes = []
    overlap = _duplicates(sets)
    if overlap:
        notes.append(overlap)
        _warnings.warn(overlap)
    if cache is not None and extract.costly and extract.digest is None:
        notes.append(
            "features were not kept in the cache: those of functions, or of networks whose input "
            "a function changes, cannot be told apart"
        )
    context = scores.Context(
        sets["real"],
        sets["generated"],
        sets.get("holdout"),
        n_neighbors=k,
        n_jobs=n_jobs,
        seed=_random.seed_sequence(random_state),
    )
    families = [one for one in scores.FAMILIES if set(one.names) & set(wanted)]
    found: dict[str, Score] = {}
    with (
        _progress.reporter(progress, unit="family", total=len(families), title="metrics") as report,
        _warnings.silenced(),
    ):
        for family in families:
            report.note(", ".join(family.names))
            found.update(context.scored(family))
            report()
    held = sets.get("holdout")
    return Evaluation(
        metrics={name: found[name] for name in wanted if name in found},
        skipped={name: why for name, why in context.skipped.items() if name in wanted},
        notes=notes,
        n_real=len(sets["real"]),
        n_generated=len(sets["generated"]),
        n_holdout=None if held is None else len(held),
        n_features=sets["real"].shape[1],
        features=extract.description,
        parts=context.parts,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    """Versions of what the figures depend on, without paths: an evaluation is sent to others."""
    found = {"fastgen": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _wanted(metrics: Sequence[str] | None) -> list[str]:
    """Names of the metrics asked for, in the order of the table."""
    if metrics is None:
        return list(scores.NAMES)
    asked = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in asked:
        _validate.one_of(name, "metrics", scores.NAMES)
    if not asked:
        raise ValueError(f"metrics must hold at least one of {', '.join(scores.NAMES)}, got none")
    return [name for name in scores.NAMES if name in asked]


def _check(sets: dict[str, np.ndarray]) -> None:
    width = sets["real"].shape[1]
    for name, rows in sets.items():
        if len(rows) < scores.LEAST:
            raise ValueError(
                f"{name} must have at least {scores.LEAST} samples, got {len(rows)}; a law is not "
                "seen in fewer"
            )
        if rows.shape[1] != width:
            raise ValueError(
                f"all sets must have the same features, got {width} of real and {rows.shape[1]} of "
                f"{name}: where these are pixels, the images differ in size or channels; pass "
                "resize= or rgb=True"
            )


def _duplicates(sets: dict[str, np.ndarray]) -> str | None:
    """Say how many samples of the holdout are real ones, bit for bit."""
    if "holdout" not in sets:
        return None
    known = {row.tobytes() for row in sets["real"] + 0.0}
    count = sum(row.tobytes() in known for row in sets["holdout"] + 0.0)
    if not count:
        return None
    return (
        f"{count} of {len(sets['holdout'])} samples of holdout are exact duplicates of real ones: "
        "what the holdout says of memorization is too good; take them out"
    )
