"""Images replaced by local samples, with a report of how similar these still are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _arrays, _random
from .._results import Result, plain
from ..neighbors import nearest_rows
from .jitter import jitter
from .sampling import local_sample

__all__ = ["Anonymized", "anonymize"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Anonymized(Result):
    """What `anonymize` made, and how similar it is. It is no guarantee of privacy.

    Attributes
    ----------
    samples : array (n, ...)
        As the images were given.
    rms : float64 array (n,)
        Root-mean-square distance of each to its image, per entry.
    distance : float64 array (n,)
        Distance of the features of each to those of its image.
    apart : float64 array (n,)
        Distance of the features of each image to those of the nearest other image.
    identified : bool array (n,)
        Whether the nearest of all images, by features, is its own.
    control_identified : bool array (n,)
        The same for images with Gaussian jitter of the same mean distance.
    sigma : float
        Noise level of local sampling.
    """

    samples: Any
    rms: np.ndarray
    distance: np.ndarray
    apart: np.ndarray
    identified: np.ndarray
    control_identified: np.ndarray
    sigma: float

    def to_dict(self) -> dict[str, Any]:
        """Return the similarities, as means over the images.

        Returns
        -------
        dict
            ``identified`` is the share whose nearest image is their own; ``chance`` is what it is
            for samples that have nothing to do with their images.
        """
        return plain(
            {
                "images": len(self.rms),
                "sigma": self.sigma,
                "rms": np.sqrt(np.mean(self.rms**2)),
                "distance": self.distance.mean(),
                "apart": self.apart.mean(),
                "identified": self.identified.mean(),
                "control_identified": self.control_identified.mean(),
                "chance": 1 / len(self.rms),
            }
        )


def anonymize(
    model: Any,
    X: Any,
    *,
    features: Callable[[Any], Any] | None = None,
    random_state: Any = None,
    **options: Any,
) -> Anonymized:
    """Replace images by local samples, and report how similar these are to them.

    Luzi et al. (arXiv 2210.12100) change faces so. What comes back is a report of similarity and no
    more: **no claim of privacy follows from it**. Images that these features do not find may be
    found by others, a model may have memorized what it returns, and nothing bounds what a sample
    tells of its image, as differential privacy would.

    Parameters
    ----------
    model : Denoiser or callable
        As for `local_sample`.
    X : array or tensor (n, ...)
        Images in the model's range; two at least.
    features : callable, optional
        Maps images (n, ...) to features (n, k) whose distances tell persons, or what is to be
        hidden, apart; the pixels if not given.
    random_state : int, Generator, SeedSequence or None, default None
    **options : Any
        Strength and the rest, as for `local_sample`.

    Returns
    -------
    Anonymized

    Raises
    ------
    ValueError, TypeError
        If there are fewer than two images, the features have another shape, or as `local_sample`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.diffusion import ExactSet, anonymize
    >>> X = np.random.default_rng(0).standard_normal((20, 2))
    >>> found = anonymize(ExactSet(X).denoiser(), X, sigma=20.0, random_state=0).to_dict()
    >>> found["identified"] < 0.3
    True
    """
    if len(X) < 2:
        raise ValueError(f"X must hold two images at least, to be told apart, got {len(X)}")
    if "n_samples" in options:
        raise TypeError("anonymize makes one sample of each image; leave n_samples out")
    ours, theirs = _random.seed_sequence(random_state).spawn(2)
    found = local_sample(model, X, random_state=ours, **options)
    samples = found.samples[:, 0]
    known = _features(features, X, len(X))
    rows = np.arange(len(known))
    made = _features(features, samples, len(X))
    noisy = _features(features, jitter(X, found.rms, 1, theirs)[:, 0], len(X))
    return Anonymized(
        samples=samples,
        rms=found.distances[:, 0],
        distance=np.linalg.norm(made - known, axis=1),
        apart=np.sqrt(nearest_rows(known, known, 2)[0][:, 1]),
        identified=nearest_rows(made, known)[1][:, 0] == rows,
        control_identified=nearest_rows(noisy, known)[1][:, 0] == rows,
        sigma=found.sigma,
    )


def _features(features: Callable[[Any], Any] | None, x: Any, n: int) -> np.ndarray:
    told = _arrays.to_numpy(x if features is None else features(x))
    if len(told) != n or (features is not None and told.ndim != 2):
        raise ValueError(f"features must return an array ({n}, k), got shape {told.shape}")
    return np.ascontiguousarray(told.reshape(n, -1), dtype=np.float64)
