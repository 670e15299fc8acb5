"""``fastgen goof``."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from . import arrays, generators, outputs
from .errors import reported

if TYPE_CHECKING:
    import xarray

    from ..goof import GoofScore, NearestResult

Generator = Annotated[
    str,
    typer.Argument(
        metavar="GENERATOR",
        help="module:factory or file.py:factory: a function without arguments, or a class, that "
        "gives a network, any other generator or a list of them. Its code is run.",
    ),
]
Data = Annotated[
    str,
    typer.Option("--data", help="Targets: a folder of images, FILE.npy, FILE.npz or FILE.npz:KEY."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Weights of the network: .safetensors, .npz, or a state_dict saved by torch (.pt, "
        ".pth, .bin, .ckpt). Nothing in the file is run.",
    ),
]
Out = Annotated[str | None, typer.Option("--out", help="Write results per target, .nc.")]
Plot = Annotated[str | None, typer.Option("--plot", help="Draw to this file, .png, .pdf or .svg.")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", help="Keep what is found in this file, .npz: after Ctrl-C the same command "
        "goes on.",
    ),
]  # fmt: skip
Range = Annotated[
    tuple[float, float],
    typer.Option(
        "--range", help="What the generator returns for black and white, such as -1 1 for tanh; "
        "images and 8-bit arrays are scaled to it, other arrays taken as they are.",
    ),
]  # fmt: skip
Resize = Annotated[
    int | None,
    typer.Option("--resize", help="Resize all images to squares of this many pixels a side."),
]
Rgb = Annotated[bool, typer.Option("--rgb", help="Read gray images as three channels.")]
LatentDim = Annotated[
    str | None,
    typer.Option(
        "--latent-dim",
        help="Size of a latent, such as 100 or 100x1x1.  [default: of the first layer]",
    ),
]
Prior = Annotated[str, typer.Option("--prior", help="normal or uniform, on [-1, 1].")]
Domain = Annotated[
    str | None,
    typer.Option(
        "--domain",
        help="Where latents may lie: ball:R, sphere:R or box:LOW:HIGH.  [default: everywhere]",
    ),
]
Pool = Annotated[int, typer.Option("--pool", help="Samples drawn for starts.")]
Starts = Annotated[int, typer.Option("--starts", help="Starts per target.")]
Method = Annotated[str, typer.Option("--method", help="auto, lm, gncg, lbfgs or adam.")]
MaxIter = Annotated[int, typer.Option("--max-iter", help="Most steps of the solver per start.")]
Planted = Annotated[
    int, typer.Option("--planted", help="Targets made by the generator, for the floor.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Repeat a run.  [default: a new one]")]
Device = Annotated[str | None, typer.Option("--device", help="Of the network, such as cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress on standard error.")
]
_SHARE_OF_SEARCH = 0.1


def goof(
    generator: Generator,
    data: Data,
    weights: Weights = None,
    out: Out = None,
    plot: Plot = None,
    store: Store = None,
    range_: Range = (0.0, 1.0),
    resize: Resize = None,
    rgb: Rgb = False,
    latent_dim: LatentDim = None,
    prior: Prior = "normal",
    domain: Domain = None,
    pool: Pool = 20_000,
    starts: Starts = 8,
    method: Method = "auto",
    max_iter: MaxIter = 50,
    planted: Planted = 64,
    seed: Seed = None,
    device: Device = None,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Distance from images to the range of a generator: the nearest point it can produce to each.

    Beside it the floor: the same search on targets that the generator made, whose distance is 0.
    For example

    fastgen goof models:generator --weights w.safetensors --data images/ --range -1 1
    --out goof.nc --plot goof.png
    """
    kept = "nothing was written; with --store finished targets are kept"
    if store is not None:
        kept = f"finished targets are kept in {store}; the same command goes on"
    with reported(interrupted=kept):
        _check_outputs(out, plot, store, (weights, data))
        from .. import _validate

        options = {
            "latent_dim": _latent_dim(latent_dim),
            "prior": prior,
            "domain": _domain(domain),
            "pool_size": pool,
            "n_starts": starts,
            "method": method,
            "max_iter": max_iter,
            "device": device,
        }
        n_planted = _validate.integer(planted, "--planted")
        X, names = _targets(data, range_, resize, rgb)
        made = _on_device(generators.load(generator, weights), device)
        _warn_of_range(made, X)
        fingerprint = _fingerprint(X, [generator, options, seed], weights)
        earlier, seed = _stored(store, fingerprint, seed)

        def keep(found: NearestResult) -> None:
            if store is not None:
                _keep(found, store, fingerprint, seed)

        options = {**options, "random_state": seed, "progress": progress}
        score = _searched(made, X, n_planted, earlier, keep, options)
        told = _told(score, generator, weights, data, seed)
        files = [path for path in (store, out, plot) if path is not None]
        if out is not None:
            outputs.write_netcdf(_dataset(score, told, names, options), out)
        if plot is not None:
            from .. import plotting

            plotting.save_figure(score.plot(), plot)
        outputs.tell({**told, "files": files}, _table(score, told), as_json)


def _searched(
    generator: Any,
    X: np.ndarray,
    n_planted: int,
    earlier: NearestResult | None,
    keep: Callable[[NearestResult], None],
    options: dict[str, Any],
) -> GoofScore:
    """Search the targets, going on from an earlier result, and planted ones."""
    from ..goof import nearest, planted
    from ..goof.scores import aggregate

    with outputs.warnings_in_a_line():
        # the command has its own advice
        warnings.filterwarnings("ignore", "interrupted", RuntimeWarning)
        found = nearest(generator, X, resume=earlier, **options)
        keep(found)
        if (found.status == "interrupted").any():
            raise KeyboardInterrupt
        floor = planted(generator, n_planted, **options)
    if (floor.nearest.status == "interrupted").any():
        raise KeyboardInterrupt
    return aggregate(found, X, floor)


def _check_outputs(
    out: str | None, plot: str | None, store: str | None, inputs: tuple[str | None, ...]
) -> None:
    from .. import plotting

    kinds = ((out, "--out", (".nc",)), (plot, "--plot", plotting.SUFFIXES))
    for path, option, suffixes in (*kinds, (store, "--store", (".npz",))):
        if path is None:
            continue
        outputs.check(path, option, suffixes)
        for name in inputs:
            if name is not None and os.path.realpath(path) == os.path.realpath(name):
                raise ValueError(f"{option} must differ from what is read, got {path!r} for both")


def _latent_dim(text: str | None) -> int | tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.split("x")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--latent-dim must be a size such as 100 or 100x1x1, got {text!r}")
    sizes = tuple(int(part) for part in parts)
    return sizes[0] if len(sizes) == 1 else sizes


def _domain(text: str | None) -> Any:
    """Read ball:R, sphere:R or box:LOW:HIGH."""
    if text is None:
        return None
    from ..goof import Ball, Box, Sphere

    kind, *parts = text.split(":")
    kinds = {"ball": (Ball, 1), "sphere": (Sphere, 1), "box": (Box, 2)}
    try:
        make, count = kinds[kind]
        numbers = [float(part) for part in parts]
        if len(numbers) != count:
            raise ValueError
    except (KeyError, ValueError):
        raise ValueError(
            f"--domain must be ball:R, sphere:R or box:LOW:HIGH, got {text!r}"
        ) from None
    return make(*numbers)


def _targets(
    data: str, value_range: tuple[float, float], resize: int | None, rgb: bool
) -> tuple[np.ndarray, list[str] | None]:
    """Return targets (n, ...) in the units of the generator, and the names of image files."""
    from ..images import ImageFolder

    low, high = value_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"--range must be two finite numbers that rise, got {low:g} {high:g}")
    if os.path.isdir(data):
        folder = ImageFolder(data, resize=resize, rgb=rgb)
        X = np.concatenate([part.astype(np.float32) for part in folder.batches(256)])
        return (low + (high - low) * X).astype(np.float32), folder.names
    if resize is not None or rgb:
        raise ValueError(f"--resize and --rgb need a folder of images, got {data!r}")
    X = _array(data)
    if X.dtype == np.uint8:
        X = (low + (high - low) * (X / np.float32(255))).astype(np.float32)
    return X, None


def _array(name: str) -> np.ndarray:
    """Read numbers (n, ...) from FILE.npy, FILE.npz or FILE.npz:KEY, never running code."""
    from .._files import read_npz

    path, key = arrays.split(name, "--data must be a folder of images, a .npy or a .npz file")
    if path.lower().endswith(".npy"):
        array = arrays.read_npy(path)
    else:
        array = arrays.choose(read_npz(path), key, path)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}")
    return array


def _on_device(generator: Any, device: str | None) -> Any:
    """Move networks where they are wanted."""
    if device is None:
        return generator
    import torch

    for member in generator if isinstance(generator, list | tuple) else [generator]:
        if isinstance(member, torch.nn.Module):
            try:
                member.to(device)
            except (RuntimeError, AssertionError) as error:
                told = str(error).splitlines()[0]
                raise ValueError(f"--device {device} cannot be used: {told}") from error
    return generator


def _warn_of_range(generator: Any, X: np.ndarray) -> None:
    """Warn of targets without negative values where the generator ends in tanh."""
    for member in generator if isinstance(generator, list | tuple) else [generator]:
        modules = list(member.modules()) if hasattr(member, "modules") else []
        if modules and type(modules[-1]).__name__ == "Tanh" and X.min() >= 0:
            typer.echo(
                f"fastgen: warning: the generator ends in Tanh, which returns values from -1 to 1, "
                f"but the targets lie in [{X.min():.3g}, {X.max():.3g}]; pass --range -1 1 if it "
                "was trained on such images",
                err=True,
            )
            return


def _fingerprint(X: np.ndarray, arguments: list, weights: str | None) -> str:
    """Return what tells one run from another."""
    digest = hashlib.sha256(repr((X.shape, str(X.dtype), arguments)).encode())
    digest.update(np.ascontiguousarray(X).data)
    if weights is not None:
        with open(weights, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def _stored(
    store: str | None, fingerprint: str, seed: int | None
) -> tuple[NearestResult | None, int]:
    """Return what an interrupted run left, and the seed to go on with."""
    from .._files import read_npz
    from ..goof import NearestResult

    if seed is not None and seed < 0:
        raise ValueError(f"--seed must be at least 0, got {seed}")
    if store is None or not os.path.exists(store):
        return None, secrets.randbits(31) if seed is None else seed
    kept = read_npz(store)
    if str(kept.get("fingerprint", "")) != fingerprint:
        raise ValueError(
            f"--store {store} is not of this command: data, weights or options differ; delete the "
            "file or name another"
        )
    return NearestResult.load(store), int(kept["seed"])


def _keep(found: NearestResult, store: str, fingerprint: str, seed: int) -> None:
    """Write a result with what tells the run."""
    import dataclasses

    from .._files import replacing

    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    with replacing(store) as beside:
        np.savez_compressed(beside, **fields, fingerprint=fingerprint, seed=seed)


def _told(
    score: GoofScore, generator: str, weights: str | None, data: str, seed: int
) -> dict[str, Any]:
    """Return all figures, for JSON."""
    names, counts = np.unique(score.nearest.status, return_counts=True)
    squared = score.planted.nearest.squared_distance
    mse = score.planted.mse
    planted = {
        "mse": mse.mean(),
        "median": np.median(mse),
        "rms": math.sqrt(squared.mean()),
        "mean": np.sqrt(squared).mean(),
        "recovered": score.planted.recovered,
        "n": len(mse),
    }
    figures = {name: getattr(score, name) for name in ("mse", "median", "rms", "mean", "relative")}
    return {
        "generator": generator,
        "weights": weights,
        "data": data,
        "seed": seed,
        "n": len(score.nearest),
        "n_pixels": int(score.targets[0].size),
        "least_value": float(score.targets.min()),
        "greatest_value": float(score.targets.max()),
        **{name: _finite(value) for name, value in figures.items()},
        "quantiles": {f"{level:g}": _finite(v) for level, v in score.quantiles.items()},
        "lower_bound_mse": _finite(score.nearest.lower_bound.mean() / score.targets[0].size),
        "planted": {name: _finite(value) for name, value in planted.items()},
        "search_error_share": _finite(score.search_error_share),
        "status": dict(zip(names.tolist(), counts.tolist(), strict=True)),
    }


def _finite(value: float) -> float | int | None:
    """Return what JSON can hold."""
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def _table(score: GoofScore, told: dict[str, Any]) -> str:
    planted = told["planted"]
    lines = [f"{'':30}{'data':>12}{'planted floor':>16}"]
    rows = (
        ("squared distance per pixel", "mse"),
        ("  median", "median"),
        ("distance, root mean square", "rms"),
        ("  mean", "mean"),
        ("relative to the mean image", "relative"),
    )
    for label, name in rows:
        cells = (_cell(told[name]), _cell(planted.get(name)))
        lines.append(f"{label:30}{cells[0]:>12}{cells[1]:>16}")
    status = ", ".join(f"{count} {name}" for name, count in told["status"].items())
    lines.append(
        f"{told['n']} targets of {told['n_pixels']} values in [{told['least_value']:.3g}, "
        f"{told['greatest_value']:.3g}]: {status}; seed {told['seed']}"
    )
    low, high = score.planted.interval[1]
    lines.append(
        f"{planted['recovered']:.0%} ({low:.0%} to {high:.0%}) of {planted['n']} planted targets "
        "found to 1e-06 per pixel"
    )
    share = told["search_error_share"]
    if share is not None and share > _SHARE_OF_SEARCH:
        lines.append(
            f"the floor is {share:.0%} of the figure, which measures the search too: raise "
            "--starts, --pool or --max-iter"
        )
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _dataset(
    score: GoofScore, told: dict[str, Any], names: list[str] | None, options: dict[str, Any]
) -> xarray.Dataset:
    """Return results per target."""
    import xarray

    found = score.nearest
    target = {
        name: ("target", getattr(found, name))
        for name in (
            "squared_distance", "mse", "lower_bound", "status", "n_iter", "n_forward", "component",
        )
    }  # fmt: skip
    dataset = xarray.Dataset(
        {
            **target,
            "z": (("target", "latent"), found.z),
            "planted_mse": ("planted", score.planted.mse),
        },
        attrs={
            "settings": json.dumps(options, default=repr, sort_keys=True),
            "figures": json.dumps(told, allow_nan=False),
        },
    )
    return dataset if names is None else dataset.assign_coords(file=("target", names))
