"""``fastgen goof``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from . import arrays, generators, outputs
from .errors import reported, say

if TYPE_CHECKING:
    import xarray

    from ..goof import GoofScore, NearestResult

Generator = Annotated[
    str,
    typer.Argument(
        metavar="GENERATOR",
        help="module:factory or file.py:factory, naming a function without arguments, or a class, "
        "that returns a network, any other generator or a list of them. Its code is run.",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="The targets: a folder of images, FILE.npy, FILE.npz or FILE.npz:KEY.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="File with the weights of the network: .safetensors, .npz, or what torch.save wrote "
        "(.pt, .pth, .bin, .ckpt). Of a checkpoint with several networks, name one: "
        "ckpt.pt:G_ema. Nothing in the file is run.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="Conditions of the targets, row by row, for a generator called as "
        "generator(z, labels): FILE.npy, FILE.npz or FILE.npz:KEY.",
    ),
]
Out = Annotated[
    str | None, typer.Option("--out", help="Write what is found for each target to this .nc file.")
]
Plot = Annotated[
    str | None,
    typer.Option("--plot", help="Draw the results to this .png, .pdf or .svg file."),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", help="Keep what is found in this .npz file: after Ctrl-C the same command goes "
        "on from it.",
    ),
]  # fmt: skip
Range = Annotated[
    tuple[float, float],
    typer.Option(
        "--range", help="The values that the generator returns for black and white, such as -1 1 "
        "for tanh. Images and 8-bit arrays are scaled to them; other arrays are taken as they are.",
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
        help="The size of a latent, such as 100 or 100x1x1.  [default: read off the first layer]",
    ),
]
Prior = Annotated[
    str,
    typer.Option("--prior", help="The distribution of latents: normal, or uniform on [-1, 1]."),
]
Domain = Annotated[
    str | None,
    typer.Option(
        "--domain",
        help="Where latents may lie: ball:R, sphere:R or box:LOW:HIGH.  [default: everywhere]",
    ),
]
Pool = Annotated[
    int, typer.Option("--pool", help="The number of samples among which searches find starts.")
]
Effort = Annotated[
    str, typer.Option("--effort", help="How long to search: quick, standard or thorough.")
]
Starts = Annotated[
    int | None,
    typer.Option(
        "--starts", help="The number of starts of each target.  [default: that of the effort]"
    ),
]
Method = Annotated[str, typer.Option("--method", help="The solver: auto, lm, gncg, lbfgs or adam.")]
MaxIter = Annotated[
    int, typer.Option("--max-iter", help="The most steps that the solver takes from each start.")
]
Penalty = Annotated[
    float,
    typer.Option(
        "--penalty",
        help="Search with this times the squared length of the latent added to the squared "
        "distance, which keeps latents near the prior. Distances are reported without it.",
    ),
]
Polish = Annotated[
    bool, typer.Option("--polish", help="End each search with steps in double precision.")
]
Planted = Annotated[
    int,
    typer.Option(
        "--planted",
        help="The number of targets that the generator makes itself, for the floor.",
    ),
]
Checked = Annotated[
    int,
    typer.Option(
        "--checked",
        help="The number of targets that are searched again, for the error of the search and the "
        "distance to what the prior reaches; 0 for none.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Repeat the run that printed this seed.  [default: a new one]"),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="Where the network runs, such as cuda.  [default: where it is]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress on standard error.")
]
_LARGEST_SEED = 2**63


def goof(
    generator: Generator,
    data: Data,
    weights: Weights = None,
    labels: Labels = None,
    out: Out = None,
    plot: Plot = None,
    store: Store = None,
    range_: Range = (0.0, 1.0),
    resize: Resize = None,
    rgb: Rgb = False,
    latent_dim: LatentDim = None,
    prior: Prior = "normal",
    domain: Domain = None,
    effort: Effort = "standard",
    pool: Pool = 20_000,
    starts: Starts = None,
    method: Method = "auto",
    max_iter: MaxIter = 50,
    penalty: Penalty = 0.0,
    polish: Polish = False,
    planted: Planted = 64,
    checked: Checked = 32,
    seed: Seed = None,
    device: Device = None,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """GOoF: the distance from images to the range of a generator, the nearest it can produce.

    Beside it the floor: the same search on targets that the generator made, whose distance is 0.
    For example

    fastgen goof models:generator --weights w.safetensors --data images/ --range -1 1
    --out goof.nc --plot goof.png
    """
    kept = "nothing was written; with --store finished targets are kept"
    if store is not None:
        kept = f"finished targets are kept in {store}; the same command goes on"
    with reported(interrupted=kept):
        read = (weights, data, labels)
        _check_outputs(out, plot, store, read)
        from .. import _validate

        options = {
            "latent_dim": _latent_dim(latent_dim),
            "prior": prior,
            "domain": _domain(domain),
            "effort": effort,
            "pool_size": pool,
            "n_starts": starts,
            "method": method,
            "max_iter": max_iter,
            "penalty": penalty,
            "polish": polish,
            "device": device,
        }
        n_planted = _validate.integer(planted, "--planted")
        n_checked = _validate.integer(checked, "--checked", minimum=0)
        X, names = _targets(data, range_, resize, rgb)
        cond = None if labels is None else _array(labels, "--labels")
        made = generators.load(generator, weights)
        _check_device(made, device)
        _warn_of_range(made, X)
        seed = _checked_seed(seed)
        run = "" if store is None else _fingerprint(X, cond, made, options)
        earlier, seed = _stored(store, run, seed)
        score = _scored(
            made, X, {**options, "cond": cond, "n_planted": n_planted, "n_checked": n_checked,
                      "progress": progress},
            earlier, seed, store, run,
        )  # fmt: skip
        told = {
            "generator": generator, "weights": weights, "data": data, "seed": seed,
            **score.to_dict(),
        }  # fmt: skip
        if out is not None:
            outputs.write_netcdf(_dataset(score, told, names, options), out)
        if plot is not None:
            from .. import plotting

            plotting.save_figure(score.plot(), plot)
        files = [path for path in (store, out, plot) if path is not None]
        outputs.tell({**told, "files": files}, f"{score.summary()}\nseed {seed}", as_json)


def _scored(
    generator: Any,
    X: np.ndarray,
    options: dict[str, Any],
    earlier: NearestResult | None,
    seed: int,
    store: str | None,
    run: str,
) -> GoofScore:
    """Score, going on from an earlier result, and keep what was found of the data."""
    from ..goof import scores

    def keep(found: NearestResult) -> None:
        if store is not None:
            found.write(store, fingerprint=run, seed=seed)

    try:
        with outputs.warnings_in_a_line(), _ended_by_sigterm():
            return scores.score(
                generator, X, resume=earlier, keep=keep, random_state=seed, **options
            )
    except scores.SearchInterrupted as stop:
        keep(stop.found)
        raise


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, as from a batch system, end the search as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_outputs(
    out: str | None, plot: str | None, store: str | None, inputs: tuple[str | None, ...]
) -> None:
    from .. import plotting

    kinds = ((out, "--out", (".nc",)), (plot, "--plot", plotting.SUFFIXES))
    read = [_path(name) for name in inputs if name is not None]
    for path, option, suffixes in (*kinds, (store, "--store", (".npz",))):
        if path is None:
            continue
        outputs.check(path, option, suffixes)
        if os.path.realpath(path) in map(os.path.realpath, read):
            raise ValueError(f"{option} must differ from what is read, got {path!r} for both")


def _path(name: str) -> str:
    """Return the file of FILE or FILE:KEY."""
    return name if os.path.exists(name) or ":" not in name else name.rpartition(":")[0]


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
    X = _array(data, "--data", "a folder of images, ")
    if X.dtype == np.uint8:
        X = (low + (high - low) * (X / np.float32(255))).astype(np.float32)
    return X, None


def _array(name: str, option: str, others: str = "") -> np.ndarray:
    """Read numbers (n, ...) from FILE.npy, FILE.npz or FILE.npz:KEY, never running code."""
    array = arrays.read(name, f"{option} must be {others}a .npy or a .npz file")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}")
    return array


def _check_device(generator: Any, device: str | None) -> None:
    """Refuse a device that cannot be used, and move networks to one that can."""
    if device is None:
        return
    from ..goof.generators import check_device, members_of

    try:
        check_device(device)
        for member in members_of(generator):
            if hasattr(member, "parameters") and hasattr(member, "to"):
                member.to(device)
    except (ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
        told = str(error).splitlines()[0].rpartition("cannot be used: ")[2]
        raise ValueError(f"--device {device} cannot be used: {told}") from error


def _warn_of_range(generator: Any, X: np.ndarray) -> None:
    """Warn of targets without negative values where the generator ends in tanh."""
    from ..goof.generators import members_of

    for member in members_of(generator):
        modules = list(member.modules()) if hasattr(member, "modules") else []
        if modules and type(modules[-1]).__name__ == "Tanh" and X.min() >= 0:
            say(
                f"warning: the generator ends in Tanh, which returns values from -1 to 1, "
                f"but the targets lie in [{X.min():.3g}, {X.max():.3g}]; pass --range -1 1 if it "
                "was trained on such images"
            )
            return


def _checked_seed(seed: int | None) -> int | None:
    if seed is not None and not 0 <= seed < _LARGEST_SEED:
        raise ValueError(f"--seed must be at least 0 and less than 2^63, got {seed}")
    return seed


def _fingerprint(
    X: np.ndarray, cond: np.ndarray | None, generator: Any, options: dict[str, Any]
) -> str:
    """Return what tells one run from another: data, what was generated with, how it is searched."""
    from ..goof.generators import fingerprint

    digest = hashlib.sha256(repr((X.shape, str(X.dtype), options)).encode())
    digest.update(np.ascontiguousarray(X).data)
    if cond is not None:
        digest.update(repr((cond.shape, str(cond.dtype))).encode())
        digest.update(np.ascontiguousarray(cond).data)
    asked = {name: options[name] for name in ("latent_dim", "device")}
    digest.update(fingerprint(generator, cond=cond, **asked))
    return digest.hexdigest()


def _stored(
    store: str | None, fingerprint: str, seed: int | None
) -> tuple[NearestResult | None, int]:
    """Return what an interrupted run left, and the seed to go on with."""
    from .._files import read_npz
    from ..goof import NearestResult

    if store is None or not os.path.exists(store):
        return None, secrets.randbits(31) if seed is None else seed
    kept = read_npz(store)
    own = int(kept["seed"]) if "seed" in kept else -1
    if str(kept.get("fingerprint", "")) != fingerprint or seed not in (None, own):
        raise ValueError(
            f"--store {store} is not of this command: data, weights, seed or options differ; "
            "delete the file or name another"
        )
    return NearestResult.of(kept, store), own


def _dataset(
    score: GoofScore, told: dict[str, Any], names: list[str] | None, options: dict[str, Any]
) -> xarray.Dataset:
    """Return what ``score.to_xarray()`` does, with the command's own words and file names."""
    dataset = score.to_xarray().assign_attrs(
        settings=json.dumps(options, default=repr, sort_keys=True),
        figures=json.dumps(told, allow_nan=False),
    )
    return dataset if names is None else dataset.assign_coords(file=("target", names))
