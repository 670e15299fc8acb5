"""Images of few pixels brought to the size of a model by passes of local sampling."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from .. import _arrays, _random, _validate
from .._results import Result, plain
from .sampling import local_sample

__all__ = ["Enhanced", "enhance"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Enhanced(Result):
    """What `enhance` made.

    Attributes
    ----------
    images : array (n, channels, H, W)
        As the images were given.
    upsampled : array (n, channels, H, W)
        The images that the first pass began with: the control.
    consistency : float64 array (n,)
        Root-mean-square difference, per entry, of the enhanced images, averaged to the size that
        was given, to what was given: what the passes made up against the evidence.
    control_consistency : float64 array (n,)
        The same of the upsampled images.
    sigma : float
        Noise level of every pass.
    passes : int
    """

    images: Any
    upsampled: Any
    consistency: np.ndarray
    control_consistency: np.ndarray
    sigma: float
    passes: int

    def to_dict(self) -> dict[str, Any]:
        """Return passes, noise level, and consistency with what was given."""
        n, _, height, width = self.images.shape
        gaps = (self.consistency, self.control_consistency)
        rms, control = (np.sqrt(np.mean(gap**2)) for gap in gaps)
        told = {"images": n, "height": height, "width": width, "passes": self.passes}
        told |= {"sigma": self.sigma, "consistency": rms, "control_consistency": control}
        return plain(told)


def enhance(
    model: Any,
    X: Any,
    size: int,
    *,
    passes: int = 1,
    random_state: Any = None,
    **options: Any,
) -> Enhanced:
    """Bring images of few pixels to the size of a model, with details that the model knows.

    Images are upsampled linearly, then go through local sampling: once ("vanilla") or several
    times, each pass beginning with what the last one made ("cascaded"), at a smaller strength then
    (Luzi et al., arXiv 2210.12100; the lengths and strengths of its cascades are open to us). The
    details are likely ones, not those that were there: judge them by distances of distributions
    and by ``consistency``, rather than by the error to a truth that is not known.

    Parameters
    ----------
    model : Denoiser or callable
        As for `local_sample`.
    X : array or tensor (n, channels, h, w)
        Images in the model's range.
    size : int
        Height of the images to be made; the width keeps its proportion.
    passes : int, default 1
        Passes of local sampling, all of one strength.
    random_state : int, Generator, SeedSequence or None, default None
    **options : Any
        Strength and the rest, as for `local_sample`.

    Returns
    -------
    Enhanced

    Raises
    ------
    ValueError, TypeError
        If the images are no images, ``size`` is smaller than they are or not in proportion, or as
        `local_sample`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.diffusion import ExactSet, enhance
    >>> low = np.sign(np.random.default_rng(0).standard_normal((30, 1, 4, 4)))
    >>> known = low.repeat(2, axis=2).repeat(2, axis=3)
    >>> found = enhance(ExactSet(known).denoiser(), low, 8, sigma=0.5, random_state=0)
    >>> bool((found.images.round() == known).mean() > 0.99)
    True
    """
    given = _arrays.to_tensor(X, "X")
    if given.ndim != 4 or not len(given) or not given.is_floating_point():
        raise ValueError(
            "X must be images (n, channels, height, width) of floats, got shape "
            f"{tuple(given.shape)} and {given.dtype}"
        )
    size, passes = _validate.integer(size, "size"), _validate.integer(passes, "passes")
    height, width = given.shape[2:]
    if size < height or size * width % height:
        raise ValueError(
            f"size must be at least the height {height}, and keep the width {width} in proportion, "
            f"got {size}"
        )
    if "n_samples" in options:
        raise TypeError("enhance makes one image of each; leave n_samples out")
    large = (size, size * width // height)
    upsampled = functional.interpolate(given, large, mode="bilinear")
    images, sigma = upsampled, 0.0
    for seed in _random.seed_sequence(random_state).spawn(passes):
        found = local_sample(model, _inside(model, images), random_state=seed, **options)
        images, sigma = found.samples[:, 0], found.sigma
    tensors = isinstance(X, Tensor)
    return Enhanced(
        images=images if tensors else images.cpu().numpy(),
        upsampled=upsampled if tensors else upsampled.cpu().numpy(),
        consistency=_gaps(images, given),
        control_consistency=_gaps(upsampled, given),
        sigma=sigma,
        passes=passes,
    )


def _inside(model: Any, images: Tensor) -> Tensor:
    """Return what the next pass takes: the last may have left the range of the model a little."""
    span = getattr(model, "span", (-1.0, 1.0))
    return images if span is None else images.clamp(*span)


def _gaps(images: Tensor, given: Tensor) -> np.ndarray:
    small = functional.interpolate(images.to(given), given.shape[2:], mode="area")
    return (small - given).double().square().flatten(1).mean(1).sqrt().cpu().numpy()
