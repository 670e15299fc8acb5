"""The kernels of ``fastgen.diffusion.exact_means``."""

from __future__ import annotations

from typing import Any

import numpy as np

# Entries of a block of scores.
_ENTRIES = 2**23
# Points that tell whether most weights count.
_PROBES = 128
# Rows with more weights that count than one in so many points are left to matrix products.
_SHARE = {np.dtype(np.float32): 48, np.dtype(np.float64): 24}


class PointSet:
    """A finite set, prepared for many calls of `weighted_means`.

    Parameters
    ----------
    points : float32 or float64 array (N, d)

    Attributes
    ----------
    points : array (N, d)
    """

    def __init__(self, points: np.ndarray) -> None:
        self.points = np.ascontiguousarray(points)
        self._center = points.mean(0, dtype=np.float64)
        centered = self.points - self._center
        self._halves = 0.5 * np.einsum("ij,ij->i", centered, centered)
        self._centered = centered.astype(self.points.dtype)
        self._radius = float(np.sqrt(2 * self._halves.max()))
        self._single = self._centered.astype(np.float32, copy=False)

    def weighted_means(self, z: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Return the means of the points with weights ``exp(-||z - x||^2 / (2 sigma^2))``.

        Parameters
        ----------
        z : array (B, d)
            In the dtype of the points.
        sigma : float64 array (B,)
            Positive.

        Returns
        -------
        array (B, d)
        """
        out = np.empty_like(z)
        height = max(1, _ENTRIES // len(self.points))
        for first in range(0, len(z), height):
            rows = slice(first, first + height)
            out[rows] = self._block(np.ascontiguousarray(z[rows]), sigma[rows])
        return out

    def _block(self, z: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        n, d = self.points.shape
        moved = z - self._center
        single = moved.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", moved, moved))
        # what rounding can do to a score, and the difference beyond which weights do not count
        unit = float(np.finfo(np.float32).eps)
        rounding = unit * (d + 2) * (lengths + self._radius) * self._radius
        cut = np.log(n) - np.log(np.finfo(z.dtype).eps)
        window = cut * sigma**2 + 2 * rounding
        dense = self._probed(single, window)
        means = np.empty(z.shape, z.dtype)
        if not dense.all():
            rest = ~dense
            means[rest] = self._screened(z[rest], single[rest], sigma[rest], window[rest])
        if dense.any():
            means[dense] = self._by_products(moved[dense], None, sigma[dense], z.dtype)
        return means

    def _probed(self, single: np.ndarray, window: np.ndarray) -> np.ndarray:
        """Return for which rows most weights seem to count, so that screening is wasted."""
        every = max(1, len(self.points) // _PROBES)
        scores = single @ self._single[::every].T - self._halves[::every].astype(np.float32)
        return (scores >= scores.max(1, keepdims=True) - window[:, None]).mean(1) > 0.5

    def _screened(
        self, z: np.ndarray, single: np.ndarray, sigma: np.ndarray, window: np.ndarray
    ) -> np.ndarray:
        """Return means of rows, most of them with few weights that count."""
        from ..kernels.cpu import exact_score

        scores = single @ self._single.T
        scores -= self._halves.astype(np.float32)
        means = np.empty(z.shape)
        dense = np.empty(len(z), bool)
        few = max(8, len(self.points) // _SHARE[z.dtype])
        exact_score.weighted_means(scores, z, self.points, sigma, window, means, few, dense)
        if dense.any():
            moved = z[dense] - self._center
            means[dense] = self._by_products(moved, scores[dense], sigma[dense], z.dtype)
        return means.astype(z.dtype, copy=False)

    def _by_products(
        self, moved: np.ndarray, single: np.ndarray | None, sigma: np.ndarray, dtype: np.dtype
    ) -> np.ndarray:
        """Return means of rows with many weights, by two products of matrices.

        ``single`` holds their scores in float32, where they are known.
        """
        if dtype == np.float32 and single is not None:
            scores = single
        else:
            scores = moved.astype(dtype) @ self._centered.T
            scores -= self._halves.astype(dtype)
        scores -= scores.max(1, keepdims=True)
        scores /= (sigma[:, None] ** 2).astype(dtype)
        weights = np.exp(scores, out=scores)
        return (weights @ self.points) / weights.sum(1, keepdims=True)


def weighted_means_on_device(z: Any, points: Any, sigma: Any) -> Any:
    """Run ``kernels.cuda.exact_score.weighted_means`` on arrays of CuPy.

    Parameters
    ----------
    z, points, sigma : cupy arrays (B, d), (N, d), (B,)
        All of one dtype.

    Returns
    -------
    cupy array (B, d)
    """
    from ..kernels.cuda import exact_score

    return exact_score.weighted_means(z, points, sigma)
