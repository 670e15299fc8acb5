"""More training images by local sampling, with a check of their labels and a control."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _arrays, _random, _validate
from .._results import Result, plain
from .jitter import jitter as jittered
from .sampling import LocalSamples, local_sample

__all__ = ["Augmented", "augment"]


@dataclasses.dataclass(frozen=True)
class Copies:
    """Copies of labelled images.

    Attributes
    ----------
    samples : array (m, ...)
    labels : array (m,)
        Those of their images.
    index : int array (m,)
        Rows of their images.
    label_kept : float or None
        Share of all copies that the check gives the label of their image; the others were left
        out. None without a check.
    rms : float
        Root-mean-square distance of all copies to their images, per entry.
    """

    samples: Any
    labels: np.ndarray
    index: np.ndarray
    label_kept: float | None
    rms: float


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Augmented(Result):
    """What `augment` made.

    Attributes
    ----------
    copies : Copies
        Local samples: ``samples``, ``labels``, ``index`` of their images, ``label_kept``, ``rms``.
    control : Copies
        Images with Gaussian jitter, as many and checked alike. What the local samples are worth is
        what they do for a classifier beyond it.
    sigma : float
        Noise level of local sampling.
    n : int
        Images that were given.
    """

    copies: Copies
    control: Copies
    sigma: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return how many copies there are, how far they are, and whose labels were kept."""
        told: dict[str, Any] = {"images": self.n, "sigma": self.sigma}
        for name, part in (("copies", self.copies), ("control", self.control)):
            told[name] = {
                "samples": len(part.labels), "rms": part.rms, "label_kept": part.label_kept,
            }  # fmt: skip
        return plain(told)


def augment(
    model: Any,
    X: Any,
    y: Any,
    *,
    n_copies: int = 10,
    check: Any = None,
    jitter: float | None = None,
    random_state: Any = None,
    **options: Any,
) -> Augmented:
    """Make labelled copies of images by local sampling, beside a control of Gaussian jitter.

    Luzi et al. (arXiv 2210.12100) train classifiers on such copies. Labels stay with the copies
    only if the noise level is small, which ``check`` sees to. On the digits of scikit-learn the
    copies help an SVC as much as the jitter does, not more, and a nearest neighbor less
    (``bench/results/local_sampling.md``): train on both before you believe in one.

    Parameters
    ----------
    model : Denoiser or callable
        As for `local_sample`.
    X : array or tensor (n, ...)
        Images in the model's range.
    y : array (n,)
        Their labels. A class-conditional model gets them by
        ``model_kwargs={"class_labels": labels}`` besides.
    n_copies : int, default 10
        Copies of each image, before the check.
    check : classifier or callable, optional
        Names labels: an estimator whose ``predict`` takes flat images (m, d), or a function of
        images (m, ...). Copies that it gives another label than their image's are left out, of the
        control too. It should not have been trained on more than the data to be augmented.
    jitter : float, optional
        Standard deviation of the control's noise; that with the distance of the local samples if
        not given.
    random_state : int, Generator, SeedSequence or None, default None
    **options : Any
        Strength and the rest, as for `local_sample`.

    Returns
    -------
    Augmented

    Raises
    ------
    ValueError, TypeError
        If the labels are not one for each image, the check returns something else, or as
        `local_sample`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.diffusion import ExactSet, augment
    >>> X, y = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
    >>> found = augment(ExactSet(X).denoiser(), X, y, sigma=0.9, n_copies=50, random_state=0,
    ...                 check=lambda x: (x[:, 0] > 0).astype(int))
    >>> bool(0.6 < found.copies.label_kept < 1), len(found.copies.labels) < 100
    (True, True)
    """
    labels = np.asarray(_arrays.to_numpy(y))
    n_copies = _validate.integer(n_copies, "n_copies")
    if labels.shape != (len(X),):
        raise ValueError(
            f"y must have one label for each of {len(X)} images, got shape {labels.shape}"
        )
    if "n_samples" in options:
        raise TypeError("augment takes n_copies in place of n_samples")
    ours, theirs = _random.seed_sequence(random_state).spawn(2)
    found: LocalSamples = local_sample(model, X, n_samples=n_copies, random_state=ours, **options)
    spread = found.rms if jitter is None else _validate.number(jitter, "jitter")
    noisy = jittered(X, spread, n_copies, theirs)
    return Augmented(
        _checked(found.samples, labels, check, found.rms),
        _checked(noisy, labels, check, spread),
        found.sigma,
        len(labels),
    )


def _checked(samples: Any, labels: np.ndarray, check: Any, rms: float) -> Copies:
    """Return the copies (n, n_copies, ...) whose label the check confirms."""
    count = samples.shape[1]
    flat = samples.reshape(-1, *samples.shape[2:])
    index = np.repeat(np.arange(len(labels)), count)
    if check is None:
        return Copies(flat, labels[index], index, None, rms)
    if callable(getattr(check, "predict", None)):
        told = check.predict(_arrays.to_numpy(flat).reshape(len(flat), -1))
    elif callable(check):
        told = check(flat)
    else:
        raise TypeError(
            f"check must be a classifier with predict, or callable, got {type(check).__name__}"
        )
    told = np.asarray(_arrays.to_numpy(told))
    if told.shape != index.shape:
        raise ValueError(f"check must return labels ({len(index)},), got shape {told.shape}")
    kept = told == labels[index]
    chosen = np.flatnonzero(kept)
    return Copies(flat[chosen], labels[index[chosen]], index[chosen], float(kept.mean()), rms)
