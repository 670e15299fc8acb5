"""Data sets whose modes are known: the ones that papers on mode collapse use.

Each function returns a `ModeData`, whose centers, scales and weights `mode_report` takes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _random, _validate
from ..neighbors import nearest_rows


@dataclasses.dataclass(frozen=True, eq=False)
class ModeData:
    """Rows of data, and the modes that they come from.

    Attributes
    ----------
    X : ndarray (n, d), float64
    labels : ndarray (n,) of int64
        Mode of each row.
    centers : ndarray (n_modes, d)
    scale : ndarray (n_modes,)
        Standard deviation about a center: of each coordinate where modes are Gaussian, of the
        distance to the center otherwise, as the function that made the data says.
    weights : ndarray (n_modes,)
        Share of each mode; their sum is 1.
    """

    X: np.ndarray
    labels: np.ndarray
    centers: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def __repr__(self) -> str:
        n, d = self.X.shape
        return f"ModeData({n} rows, {d} columns, {len(self.centers)} modes)"


def ring(
    n_modes: int = 8,
    n_per_mode: int = 250,
    *,
    radius: float = 2.0,
    scale: float = 0.05,
    random_state: Any = None,
) -> ModeData:
    """Gaussians on a circle.

    Parameters
    ----------
    n_modes : int, default 8
    n_per_mode : int, default 250
    radius : float, default 2.0
        Radius of the circle of centers.
    scale : float, default 0.05
        Standard deviation of each coordinate.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    ModeData
        In the plane. The defaults are those of the code of S. Liu et al., "Normalized
        diversification", CVPR 2019.

    Examples
    --------
    >>> from fastgen.modes import ring
    >>> ring(random_state=0)
    ModeData(2000 rows, 2 columns, 8 modes)
    """
    count = _validate.integer(n_modes, "n_modes")
    centers = _validate.number(radius, "radius") * _circle(count)
    return _gaussians(centers, n_per_mode, scale, random_state)


def grid(
    side: int = 5,
    n_per_mode: int = 50,
    *,
    extent: float = 4.0,
    scale: float = 0.1,
    random_state: Any = None,
) -> ModeData:
    """Gaussians on a square grid.

    Parameters
    ----------
    side : int, default 5
        There are ``side ** 2`` modes.
    n_per_mode : int, default 50
    extent : float, default 4.0
        Coordinates of the centers are spread evenly over [-extent, extent].
    scale : float, default 0.1
        Standard deviation of each coordinate.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    ModeData
        In the plane. The defaults are those of the code of BourGAN (NeurIPS 2018).

    Examples
    --------
    >>> from fastgen.modes import grid
    >>> grid(random_state=0)
    ModeData(1250 rows, 2 columns, 25 modes)
    """
    return _gaussians(_lattice(side, extent, 2), n_per_mode, scale, random_state)


def cube(
    side: int = 3,
    n_per_mode: int = 50,
    *,
    extent: float = 4.0,
    scale: float = 0.1,
    random_state: Any = None,
) -> ModeData:
    """Gaussians on a cubic grid, in three dimensions.

    Parameters
    ----------
    side : int, default 3
        There are ``side ** 3`` modes.
    n_per_mode, extent, scale, random_state
        As for `grid`.

    Returns
    -------
    ModeData
        In space. BourGAN shows such data; side, extent and scale are our choice.

    Examples
    --------
    >>> from fastgen.modes import cube
    >>> cube(random_state=0)
    ModeData(1350 rows, 3 columns, 27 modes)
    """
    return _gaussians(_lattice(side, extent, 3), n_per_mode, scale, random_state)


def spiral(
    n_modes: int = 20,
    n_per_mode: int = 50,
    *,
    radius: float = 4.0,
    n_turns: float = 2.0,
    scale: float = 0.1,
    random_state: Any = None,
) -> ModeData:
    """Gaussians along an Archimedean spiral, evenly spaced along the curve.

    Parameters
    ----------
    n_modes : int, default 20
    n_per_mode : int, default 50
    radius : float, default 4.0
        Distance of the last center from the origin, where the first one is.
    n_turns : float, default 2.0
    scale : float, default 0.1
        Standard deviation of each coordinate.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    ModeData
        In the plane. BourGAN shows such data; all constants are our choice.

    Examples
    --------
    >>> from fastgen.modes import spiral
    >>> spiral(random_state=0)
    ModeData(1000 rows, 2 columns, 20 modes)
    """
    count = _validate.integer(n_modes, "n_modes", minimum=2)
    turns, reach = _validate.number(n_turns, "n_turns"), _validate.number(radius, "radius")
    t = np.linspace(0, 1, 20_001)
    angle = 2 * math.pi * turns * t
    curve = reach * t[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _gaussians(_evenly(curve, count), n_per_mode, scale, random_state)


def circles(
    radii: Sequence[float] = (1.0, 2.0, 3.0),
    n_modes: int = 8,
    n_per_mode: int = 50,
    *,
    scale: float = 0.05,
    random_state: Any = None,
) -> ModeData:
    """Gaussians on concentric circles.

    Parameters
    ----------
    radii : sequence of float, default (1.0, 2.0, 3.0)
    n_modes : int, default 8
        Number of centers on each circle.
    n_per_mode : int, default 50
    scale : float, default 0.05
        Standard deviation of each coordinate.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    ModeData
        In the plane. BourGAN shows such data; all constants are our choice.

    Raises
    ------
    TypeError, ValueError
        If there is no radius, or an argument is out of its range.

    Examples
    --------
    >>> from fastgen.modes import circles
    >>> circles(random_state=0)
    ModeData(1200 rows, 2 columns, 24 modes)
    """
    lengths = [_validate.number(radius, "radii") for radius in radii]
    if not lengths:
        raise ValueError("radii must hold at least one radius, got none")
    around = _circle(_validate.integer(n_modes, "n_modes"))
    centers = np.concatenate([length * around for length in lengths])
    return _gaussians(centers, n_per_mode, scale, random_state)


def helix(
    n_modes: int = 20, n_per_mode: int = 50, *, scale: float = 1.0, random_state: Any = None
) -> ModeData:
    """Gaussians at (i^2 cos(i / 3), i^2 sin(i / 3)), ever farther apart.

    Parameters
    ----------
    n_modes : int, default 20
    n_per_mode : int, default 50
    scale : float, default 1.0
        Standard deviation of each coordinate.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    ModeData
        In the plane. The defaults are those of the code of P. Zhong, Y. Mo, C. Xiao, P. Chen and
        C. Zheng, "Rethinking generative mode coverage", NeurIPS 2019. Its evaluator counts samples
        within sqrt(3) scales of a center: ``quality=3 ** 0.5`` of `mode_report`.

    Examples
    --------
    >>> from fastgen.modes import helix
    >>> helix(random_state=0)
    ModeData(1000 rows, 2 columns, 20 modes)
    """
    i = np.arange(_validate.integer(n_modes, "n_modes"))
    centers = i[:, None] ** 2 * np.stack([np.cos(i / 3), np.sin(i / 3)], axis=1)
    return _gaussians(centers, n_per_mode, scale, random_state)


def sine_with_rare_mode(
    n_curve: int = 100_000,
    n_rare: int = 250,
    *,
    n_segments: int = 200,
    random_state: Any = None,
) -> ModeData:
    """Points of the curve y = x sin(4 pi x) on [-10, 10], and a few about (0, 10).

    Parameters
    ----------
    n_curve : int, default 100000
        Number of points of the curve, uniform in x.
    n_rare : int, default 250
        Number of points of the rare mode, which is the last one.
    n_segments : int, default 200
        Modes of the curve: what is nearest to each of as many points, evenly along its length.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    ModeData
        In the plane. The scale of a segment is a quarter of the distance to the next along the
        curve, so that three scales reach all of it. Constants of the code of "Rethinking generative
        mode coverage" (NeurIPS 2019), whose coordinates are divided by 1000: a standard deviation
        of sqrt(0.05) / 1000 for the rare mode.

    Examples
    --------
    >>> from fastgen.modes import sine_with_rare_mode
    >>> data = sine_with_rare_mode(random_state=0)
    >>> print(data, round(data.weights[-1], 5))
    ModeData(100250 rows, 2 columns, 201 modes) 0.00249
    """
    rng = _random.generator(random_state)
    n_curve = _validate.integer(n_curve, "n_curve")
    n_rare = _validate.integer(n_rare, "n_rare")
    n_segments = _validate.integer(n_segments, "n_segments", minimum=2)
    fine = _sine(np.linspace(-10, 10, 400_001))
    length = _lengths(fine)[-1]
    centers = _evenly(fine, 2 * n_segments + 1)[1::2]
    deviation = math.sqrt(0.05) / 1000
    curve = _sine(rng.uniform(-10, 10, n_curve))
    spike = np.array([0.0, 10.0]) + deviation * rng.standard_normal((n_rare, 2))
    even = nearest_rows(_sine(np.linspace(-10, 10, 40_001)), centers)[1][:, 0]
    shares = np.bincount(even, minlength=n_segments) / len(even) * n_curve
    return ModeData(
        X=np.concatenate([curve, spike]),
        labels=np.append(nearest_rows(curve, centers)[1], np.full(n_rare, n_segments)),
        centers=np.concatenate([centers, [[0.0, 10.0]]]),
        scale=np.append(np.full(n_segments, length / n_segments / 4), deviation),
        weights=np.append(shares, n_rare) / (n_curve + n_rare),
    )


def box_with_spike(
    n_box: int = 100_000,
    n_spike: int = 250,
    *,
    half_width: float = 0.05,
    center: float = 2.0,
    scale: float = math.sqrt(0.05) / 2000,
    random_state: Any = None,
) -> ModeData:
    """Points uniform in a square about the origin, and a few about one point far away.

    Parameters
    ----------
    n_box : int, default 100000
        Number of points in the square.
    n_spike : int, default 250
        Number of points about the far point.
    half_width : float, default 0.05
        The square is [-half_width, half_width]^2.
    center : float, default 2.0
        Both coordinates of the far point.
    scale : float, default math.sqrt(0.05) / 2000
        Standard deviation of each coordinate about it.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    ModeData
        In the plane, two modes. The scale of the square is the standard deviation of a coordinate;
        three of them reach its corners. The defaults are those of the code of "Rethinking
        generative mode coverage" (NeurIPS 2019).

    Examples
    --------
    >>> from fastgen.modes import box_with_spike
    >>> box_with_spike(random_state=0)
    ModeData(100250 rows, 2 columns, 2 modes)
    """
    rng = _random.generator(random_state)
    counts = [_validate.integer(n_box, "n_box"), _validate.integer(n_spike, "n_spike")]
    half, far = _validate.number(half_width, "half_width"), _validate.number(center, "center")
    deviation = _validate.number(scale, "scale")
    box = rng.uniform(-half, half, (counts[0], 2))
    return ModeData(
        X=np.concatenate([box, far + deviation * rng.standard_normal((counts[1], 2))]),
        labels=np.repeat([0, 1], counts),
        centers=np.array([[0.0, 0.0], [far, far]]),
        scale=np.array([half / math.sqrt(3), deviation]),
        weights=np.array(counts) / sum(counts),
    )


def stacked_digits(n: int = 25_000, *, random_state: Any = None) -> ModeData:
    """Three handwritten digits as three channels: a thousand modes that everybody has.

    Parameters
    ----------
    n : int, default 25000
        Number of images, each of three digits drawn independently, uniform over the classes.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    ModeData
        Rows of 192 numbers in [0, 1], images of (3, 8, 8) once reshaped. Label
        ``c0 + 10 c1 + 100 c2``. Centers are the means of the classes, stacked; a scale is the root
        mean squared distance of a mode to its center.

    Notes
    -----
    The stacked MNIST of mode-collapse papers, made of the 1797 digits of 8 x 8 pixels of
    ``sklearn.datasets.load_digits``. The nearest center names 9 in 10 digits, and so 3 in 4 images,
    as their label does: figures by nearest center are no figures of a trained classifier.

    Examples
    --------
    >>> from fastgen.modes import stacked_digits
    >>> stacked_digits(2000, random_state=0)
    ModeData(2000 rows, 192 columns, 1000 modes)
    """
    from sklearn.datasets import load_digits

    count = _validate.integer(n, "n")
    rng = _random.generator(random_state)
    images, digits = load_digits(return_X_y=True)
    images = images / 16
    order = np.argsort(digits, kind="stable")
    sizes = np.bincount(digits)
    starts = np.cumsum(sizes) - sizes
    means = np.stack([images[digits == c].mean(axis=0) for c in range(10)])
    squares = np.array(
        [((images[digits == c] - means[c]) ** 2).sum(axis=1).mean() for c in range(10)]
    )
    classes = rng.integers(10, size=(count, 3))
    picked = order[starts[classes] + rng.integers(sizes[classes])]
    modes = np.arange(1000)[:, None] // [1, 10, 100] % 10
    return ModeData(
        X=images[picked].reshape(count, -1),
        labels=classes @ np.array([1, 10, 100]),
        centers=means[modes].reshape(1000, -1),
        scale=np.sqrt(squares[modes].sum(axis=1)),
        weights=np.full(1000, 1e-3),
    )


def _gaussians(centers: np.ndarray, n_per_mode: Any, scale: Any, random_state: Any) -> ModeData:
    """Draw as many rows about each center, mode by mode."""
    count = _validate.integer(n_per_mode, "n_per_mode")
    deviation = _validate.number(scale, "scale")
    rng = _random.generator(random_state)
    n_modes = len(centers)
    labels = np.repeat(np.arange(n_modes), count)
    rows = centers[labels]
    return ModeData(
        X=rows + deviation * rng.standard_normal(rows.shape),
        labels=labels,
        centers=centers,
        scale=np.full(n_modes, deviation),
        weights=np.full(n_modes, 1 / n_modes),
    )


def _circle(count: int) -> np.ndarray:
    angles = 2 * math.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _lattice(side: Any, extent: Any, d: int) -> np.ndarray:
    reach = _validate.number(extent, "extent")
    axis = np.linspace(-reach, reach, _validate.integer(side, "side", minimum=2))
    return np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)


def _sine(x: np.ndarray) -> np.ndarray:
    return np.stack([x, x * np.sin(4 * math.pi * x)], axis=1)


def _lengths(curve: np.ndarray) -> np.ndarray:
    """Length of a polygon up to each of its corners."""
    steps = np.sqrt((np.diff(curve, axis=0) ** 2).sum(axis=1))
    return np.concatenate([[0.0], np.cumsum(steps)])


def _evenly(curve: np.ndarray, count: int) -> np.ndarray:
    """Points of a polygon at even distances along it, both ends included."""
    along = _lengths(curve)
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, axis) for axis in curve.T], axis=1)
