"""Which noise goes with which image in the training of a diffusion model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import _arrays, _random, _validate

__all__ = ["Pairing", "pairing"]

_KINDS = ("iid", "fixed", "mix", "assignment", "knn")


@dataclasses.dataclass
class Pairing:
    """A rule that gives every image of a batch its noise; made by `pairing`.

    Parameters
    ----------
    kind : str
    share : float
        Probability of the fixed noise, of "mix".
    candidates : int
        Noises drawn for each image, of "knn".
    seed : SeedSequence
    step : int, default 0
        Batches that were paired so far: with the seed it determines the next noise, so that a
        run that is resumed sets it.

    Attributes
    ----------
    independent : bool
        Whether the noise is independent of the image. Where it is not, the network learns another
        function than the score, and stochastic samplers give wrong samples.
    """

    kind: str
    share: float
    candidates: int
    seed: np.random.SeedSequence
    step: int = 0

    @property
    def independent(self) -> bool:
        """Whether the noise is independent of the image it is paired with."""
        return self.kind in ("iid", "fixed", "mix")

    def __call__(self, x: Any, index: Any, *, condition: Any = None) -> np.ndarray:
        """Return the noise of a batch; use it both to noise the images and as the target.

        Parameters
        ----------
        x : array (B, ...)
            Images.
        index : array of int (B,)
            Their rows in the data set: "fixed" and "mix" know their noise by it.
        condition : array (B,), optional
            Noise is assigned only among images of one condition, so that a conditional model's
            noise is distributed alike under all of them.

        Returns
        -------
        float32 array (B, ...)

        Raises
        ------
        ValueError
            If the lengths differ.
        """
        images = _arrays.to_numpy(x)
        rows = np.asarray(_arrays.to_numpy(index))
        if rows.shape != (len(images),) or rows.dtype.kind not in "iu":
            raise ValueError(
                f"index must have one row number for each of {len(images)} images, got shape "
                f"{rows.shape} and dtype {rows.dtype}"
            )
        rng = np.random.default_rng([*self._entropy(), 0, self.step])
        self.step += 1
        if self.kind == "fixed":
            return self._fixed(rows, images.shape[1:])
        fresh = rng.standard_normal(images.shape, dtype=np.float32)
        if self.kind == "iid":
            return fresh
        if self.kind == "mix":
            keep = rng.random(len(images)) < self.share
            fresh[keep] = self._fixed(rows[keep], images.shape[1:])
            return fresh
        if self.kind == "knn":
            return self._nearest(images, fresh, rng)
        groups = np.zeros(len(images), int)
        if condition is not None:
            told = np.asarray(_arrays.to_numpy(condition))
            if told.shape != (len(images),):
                raise ValueError(f"condition must have shape ({len(images)},), got {told.shape}")
            groups = np.unique(told, return_inverse=True)[1]
        for group in range(groups.max(initial=-1) + 1):
            at = np.flatnonzero(groups == group)
            fresh[at] = fresh[at][_assigned(images[at], fresh[at])]
        return fresh

    def _entropy(self) -> list[int]:
        return [int(word) for word in self.seed.generate_state(4)]

    def _fixed(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        out = np.empty((len(rows), *shape), np.float32)
        entropy = self._entropy()
        for noise, row in zip(out, rows, strict=True):
            rng = np.random.default_rng([*entropy, 1, int(row)])
            noise[...] = rng.standard_normal(shape, dtype=np.float32)
        return out

    def _nearest(
        self, images: np.ndarray, first: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        flat = images.reshape(len(images), -1)
        best, nearest = first, ((flat - first.reshape(flat.shape)) ** 2).sum(1)
        for _ in range(self.candidates - 1):
            other = rng.standard_normal(images.shape, dtype=np.float32)
            squares = ((flat - other.reshape(flat.shape)) ** 2).sum(1)
            closer = squares < nearest
            best[closer], nearest[closer] = other[closer], squares[closer]
        return best


def pairing(
    kind: str, *, share: float = 0.5, candidates: int = 4, random_state: Any = 0
) -> Pairing:
    """Return a rule that pairs noise with images in training.

    The loss and the ancestral sampler of diffusion models take noise to be independent of the
    image. With "assignment" and "knn" it is not: the network learns straighter paths, but no score,
    so that only deterministic samplers may be used. "fixed" draws one noise per image and keeps it;
    that this is the pairing of Luzi's thesis (Rice, 2024) is our reading, and it overfits. Paired
    losses are lower by construction: compare rules by the held-out error under "iid", as `fit` logs
    it. On the digits of scikit-learn no rule denoises better than "iid", see
    ``bench/results/pairing.md``.

    Parameters
    ----------
    kind : {"iid", "fixed", "mix", "assignment", "knn"}
        "iid": fresh noise. "fixed": one noise per image for the whole training. "mix": the fixed
        noise with probability ``share``, else fresh. "assignment": fresh noise, permuted within the
        batch to the least sum of squared distances to the images (Li et al., arXiv 2406.12303).
        "knn": the nearest of ``candidates`` fresh ones.
    share : float, default 0.5
        For "mix".
    candidates : int, default 4
        For "knn".
    random_state : int, Generator, SeedSequence or None, default 0

    Returns
    -------
    Pairing

    Raises
    ------
    ValueError
        For another kind, or a share outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.diffusion import pairing
    >>> rule, x = pairing("fixed"), np.zeros((2, 3))
    >>> bool((rule(x, [0, 7]) == rule(x, [0, 7])).all())
    True
    """
    kind = _validate.one_of(kind, "kind", _KINDS)
    share = _validate.number(share, "share")
    if share > 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    candidates = _validate.integer(candidates, "candidates")
    return Pairing(kind, share, candidates, _random.seed_sequence(random_state))


def _assigned(images: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the permutation of the noise with the least sum of squared distances."""
    from scipy.optimize import linear_sum_assignment

    flat = images.reshape(len(images), -1)
    # lengths are the same for all permutations: only the products count
    return linear_sum_assignment(flat @ noise.reshape(flat.shape).T, maximize=True)[1]
