"""``fastgen wam``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

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
    from ..metrics.fid_wam import WaMResult

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
Regularization = Annotated[
    float, typer.Option("--reg-covar", help="Added to the diagonals of covariances.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Repeat a run.  [default: a new one]")]
Plot = Annotated[str | None, typer.Option("--plot", help="Draw to this file, .png, .pdf or .svg.")]


def wam(
    a: First,
    b: Second,
    components: Mixture = "heldout",
    covariance_type: Covariance = "full",
    separate: Separate = False,
    paper: Paper = False,
    bootstrap: Bootstrap = 0,
    reg_covar: Regularization = 1e-6,
    seed: Seed = None,
    features: Features = None,
    pca_components: Components = 64,
    weights: Weights = None,
    resize: Resize = None,
    rgb: Rgb = False,
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
        reader = Reader(
            features, pca_components, weights, resize, batch_size, device, progress, rgb
        )
        check_stats(save_stats, features, (a, b))
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
        files = write_stats(sets[0], save_stats, reader.kind)
        if plot is not None:
            plotting.save_figure(result.plot(), plot)
            files.append(plot)
        told = {**result.to_dict(), "a": a, "b": b, "features": reader.kind, "files": files}
        about = said(reader.kind, [len(rows) for rows in sets], sets[0].shape[1])
        outputs.tell(told, _table(result) + (f"\n{about}" if about else ""), as_json)


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
