"""``fastgen local-sample``."""

from __future__ import annotations

import os
import pathlib
import secrets
from typing import Annotated, Any

import numpy as np
import typer

from . import generators, outputs
from .errors import reported

Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="module:factory or file.py:factory, naming a function without arguments that returns "
        "a fastgen.diffusion.Denoiser, or a network of noisy images and steps that predicts the "
        "noise. Its code is run.",
    ),
]
Images = Annotated[str, typer.Option("--images", help="A folder of images.")]
Out = Annotated[
    str | None, typer.Option("--out", help="Write the samples to this folder, as .png.")
]
Plot = Annotated[
    str | None,
    typer.Option("--plot", help="Draw images beside their samples in this .png, .pdf or .svg."),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", help="File with the weights of the network; nothing in it is run."),
]
Ratio = Annotated[
    float | None,
    typer.Option("--ratio", help="Strength as a share of the steps, in (0, 1]."),
]
Sigma = Annotated[float | None, typer.Option("--sigma", help="Strength as a noise level.")]
Rms = Annotated[
    float | None,
    typer.Option(
        "--rms",
        help="Strength as the distance wanted: root-mean-square per pixel, for pixels in [-1, 1]. "
        "The model is calibrated on the images first.",
    ),
]
NSamples = Annotated[int, typer.Option("--n-samples", help="Samples of each image.")]
Eta = Annotated[float, typer.Option("--eta", help="Share of fresh noise on the way back, 0 to 1.")]
Steps = Annotated[
    int | None,
    typer.Option("--steps", help="Steps on the way back.  [default: all of the schedule]"),
]
Schedule = Annotated[
    str,
    typer.Option(
        "--schedule", help="Schedule of a plain network: linear, scaled_linear or cosine."
    ),
]
TrainingSteps = Annotated[
    int, typer.Option("--training-steps", help="Steps of the schedule of a plain network.")
]
Prediction = Annotated[
    str,
    typer.Option("--prediction", help="What a plain network predicts: epsilon, v or sample."),
]
Resize = Annotated[
    int | None, typer.Option("--resize", help="Resize images to squares of this many pixels.")
]
Rgb = Annotated[bool, typer.Option("--rgb", help="Read gray images as three channels.")]
Clip = Annotated[
    float | None,
    typer.Option(
        "--clip",
        help="Clip what the model expects behind the noise to this distance from 0 at every step, "
        "such as 1 for pixels in [-1, 1].  [default: no clipping]",
    ),
]
Batch = Annotated[int, typer.Option("--batch-size", help="Samples that are made together.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Repeat the run that printed this seed.  [default: a new one]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress on standard error.")
]
# Images in the picture.
_DRAWN = 12


def local_sample(
    model: Model,
    images: Images,
    out: Out = None,
    plot: Plot = None,
    weights: Weights = None,
    ratio: Ratio = None,
    sigma: Sigma = None,
    rms: Rms = None,
    n_samples: NSamples = 1,
    eta: Eta = 1.0,
    steps: Steps = None,
    schedule: Schedule = "linear",
    training_steps: TrainingSteps = 1000,
    prediction: Prediction = "epsilon",
    clip: Clip = None,
    resize: Resize = None,
    rgb: Rgb = False,
    batch_size: Batch = 64,
    seed: Seed = None,
    as_json: AsJson = False,
    progress: Progress = True,
) -> None:
    """Sample images near given ones with a diffusion model (Boomerang).

    For example

    fastgen local-sample --model models:denoiser --images faces/ --ratio 0.2 --n-samples 8
    --plot grid.png --out near/
    """
    with reported(interrupted="nothing was written"):
        from .. import plotting
        from ..diffusion import Denoiser, alphas_cumprod, calibrate
        from ..diffusion import local_sample as sampled
        from ..images import ImageFolder

        if (ratio is None) + (sigma is None) + (rms is None) != 2:
            raise ValueError("give exactly one of --ratio, --sigma and --rms")
        if clip is not None and not clip > 0:
            raise ValueError(f"--clip must be positive, got {clip:g}")
        if plot is not None:
            outputs.check(plot, "--plot", plotting.SUFFIXES)
        _check_folder(out, images)
        folder = ImageFolder(images, resize=resize, rgb=rgb)
        x = np.concatenate([2 * part.astype(np.float32) - 1 for part in folder.batches(256)])
        network = generators.load(model, weights)
        options: dict[str, Any] = {"batch_size": batch_size, "progress": progress and None}
        options["clip"] = None if clip is None else (-clip, clip)
        if not isinstance(network, Denoiser):
            kept = alphas_cumprod(schedule, training_steps)
            options.update(alphas_cumprod=kept, prediction=prediction)
        seed = secrets.randbits(31) if seed is None else seed
        curve = None if rms is None else calibrate(network, x, random_state=seed, **options)
        with outputs.warnings_in_a_line():
            found = sampled(
                network, x, ratio=ratio, sigma=sigma, rms=rms, calibration=curve, eta=eta,
                steps=steps, n_samples=n_samples, random_state=seed, **options,
            )  # fmt: skip
        files = [] if out is None else _write(found.samples, folder.names, out)
        if plot is not None:
            from ..plotting.diffusion import local_figure

            figure = local_figure(x[:_DRAWN], found.samples[:_DRAWN])
            plotting.save_figure(figure, plot)
            files.append(plot)
        told = {"model": model, "weights": weights, "data": images, **found.to_dict()}
        text = (
            f"{len(x)} images, {n_samples} samples each, noise level {found.sigma:.4g}"
            + ("" if found.t is None else f" (step {found.t})")
            + f", {'stochastic' if found.stochastic else 'deterministic'}\n"
            f"RMS distance {found.rms:.4g} per pixel\nseed {seed}"
        )
        shown = files if len(files) <= 1 else [name for name in (out, plot) if name is not None]
        outputs.tell({**told, "files": files if as_json else shown}, text, as_json)


def _check_folder(out: str | None, images: str) -> None:
    if out is None:
        return
    path = pathlib.Path(out)
    if os.path.realpath(path) == os.path.realpath(images):
        raise ValueError(f"--out must differ from --images, got {out!r} for both")
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"--out must be a folder, but {out!r} is a file")
    if not path.resolve().parent.is_dir():
        raise FileNotFoundError(f"--out {out!r}: folder {path.resolve().parent} does not exist")


def _write(samples: np.ndarray, names: list[str], out: str) -> list[str]:
    """Write samples (n, n_samples, channels, h, w) beside the names of their images."""
    from PIL import Image

    from .._files import replacing

    written = []
    for name, group in zip(names, samples, strict=True):
        stem = pathlib.PurePosixPath(name).with_suffix("").as_posix()
        for number, sample in enumerate(group):
            path = pathlib.Path(out, f"{stem}_{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.rint((np.clip(sample, -1, 1) + 1) * 127.5).astype(np.uint8)
            picture = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
            with replacing(path) as beside:
                Image.fromarray(picture).save(beside)
            written.append(str(path))
    return written
