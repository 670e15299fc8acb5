"""Diffusion models that need no network: the exact denoiser of a finite set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _validate
from .._dispatch import exact_score

if TYPE_CHECKING:
    from torch import Tensor

    from .denoiser import Denoiser

__all__ = ["ExactSet"]


class ExactSet:
    """A finite set of points whose denoiser is known exactly.

    The best denoiser of noisy points is their mean with the weights of the posterior,
    ``softmax(-||z - x||^2 / (2 sigma^2))``. Sampled with it, local sampling is a Markov chain on
    the set itself: what a network would do that has memorized it. No array of all pairs times the
    dimension is ever made.

    Parameters
    ----------
    points : array (N, ...)
        Finite numbers. float32 is kept, anything else becomes float64.

    Attributes
    ----------
    points : array (N, d)
        The points, flat.
    shape : tuple of int
        What one of them has.

    Raises
    ------
    TypeError, ValueError
        If the points are no finite numbers or there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.diffusion import ExactSet
    >>> ExactSet(np.array([[-1.0], [1.0]])).means(np.array([[0.0], [9.0]]), 1.0).round(3)
    array([[0.],
           [1.]])
    """

    def __init__(self, points: Any) -> None:
        array = _arrays.to_numpy(points)
        if array.ndim < 2:
            raise ValueError(f"points must have shape (N, ...), got {array.shape}")
        self.shape = tuple(array.shape[1:])
        single = array.dtype == np.float32
        rows = _validate.data_matrix(array.reshape(len(array), -1), "points", minimum_rows=1)
        self.points = rows.astype(np.float32) if single else rows
        self._set = exact_score.PointSet(self.points)

    def means(self, z: Any, sigma: Any) -> np.ndarray:
        """Return the expected points behind noisy ones.

        Parameters
        ----------
        z : array (B, ...)
            Points plus ``sigma`` times standard noise.
        sigma : float or array (B,)
            Noise levels, positive.

        Returns
        -------
        array (B, ...)
            In the precision of the points.

        Raises
        ------
        ValueError
            If shapes do not fit or a level is not positive.
        """
        array = _arrays.to_numpy(z)
        if tuple(array.shape[1:]) != self.shape:
            raise ValueError(
                f"z must have shape (B, {', '.join(map(str, self.shape))}), got {array.shape}"
            )
        levels = np.asarray(_arrays.to_numpy(sigma), dtype=np.float64)
        if levels.ndim > 1 or not (np.isfinite(levels).all() and (levels > 0).all()):
            raise ValueError(f"sigma must be one positive number for each row, got {sigma}")
        levels = np.broadcast_to(levels, (len(array),))
        rows = np.ascontiguousarray(array.reshape(len(array), -1), dtype=self.points.dtype)
        found = self._set.weighted_means(rows, np.ascontiguousarray(levels))
        return found.reshape(array.shape)

    def denoiser(self, *, alphas_cumprod: Any = None, sigma_max: float = 80.0) -> Denoiser:
        """Return the set as a model for `local_sample`.

        Parameters
        ----------
        alphas_cumprod : array (T,), optional
            Schedule whose steps the samplers take. Without it they choose noise levels themselves.
        sigma_max : float, default 80.0
            Largest level, where there is no schedule.

        Returns
        -------
        Denoiser

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from fastgen.diffusion import ExactSet
        >>> ExactSet(np.array([[-1.0], [1.0]])).denoiser()(torch.zeros(1, 1), 1.0)
        tensor([[0.]])
        """
        import torch

        from .denoiser import Denoiser
        from .schedules import noise_levels

        def call(y: Tensor, sigma: Tensor) -> Tensor:
            found = self.means(y, sigma.clamp(min=1e-12))
            return torch.as_tensor(found).to(y)

        if alphas_cumprod is None:
            return Denoiser(call, sigma_max=sigma_max, variance_preserving=False)
        return Denoiser(call, levels=noise_levels(_arrays.to_numpy(alphas_cumprod)))
