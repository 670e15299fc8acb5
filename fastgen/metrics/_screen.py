"""What pairs of rows are screened by before they are looked at: a few numbers of each row.

With u, v rows minus a mean, B an orthonormal basis, a = B^T u and r_u the length of what B leaves
out, ``u.v`` lies between ``a.b - r_u r_v`` and ``a.b + r_u r_v`` by Cauchy and Schwarz. The number
of coordinates is the one that costs least on a sample; where none pays, all are taken, without a
basis.
"""

from __future__ import annotations

import dataclasses

import numpy as np

LARGE = np.float32(3e38)  # the kernels' infinity
# Numbers that are centered in float64 at a time.
_CHUNK = 2**18
_UNIT = 2.0**-24  # unit of rounding of float32
# Below this part of the largest distance to the mean, the inverse of a length is not screened with.
_SHORT = 1e-15
# Rows whose squares are tiny in the units of the screen.
SMALLEST = 1e-150
# Rows of each set that a basis is found from, and others that tell what it saves.
_FITTED, _SAMPLE = 256, 512
# Fewer multiplications than this are over before a basis is found.
SMALL = 1e10
# Rows that the middle is the mean of. One that is so many times farther from their median than half
# of them has no part in it.
_MIDDLE, _FAR_OUT = 128, 4.0
_WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768)
# Cost of evaluating one coordinate of one pair, in coordinates of the matrix product: rows come
# from memory one by one (bench/peers/manifold.py).
_EVALUATION = 20.0

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Screen:
    """Mean, scale and basis (d, q), or None for all coordinates, of one relation."""

    mean: np.ndarray
    scale: float
    basis: np.ndarray | None

    @property
    def unit(self) -> float:
        """Half of a squared distance in the units of the products, over a squared distance."""
        return self.scale**2 / 2


class ScreenedSet:
    """One set as the kernels read it: bounds of a common scale, and lists to be filled."""

    def __init__(self, rows: np.ndarray, screen: Screen, count: int) -> None:
        n, d = rows.shape
        basis = screen.basis
        width = d if basis is None else basis.shape[1] + 1
        self.rows, self.screen = rows, screen
        self.vectors = np.empty((n, width), np.float32)
        self.squares, left_out = np.empty(n), np.zeros(n)
        self.along = np.empty(n)  # inner products with the mean, in units of the rows
        step = max(1, _CHUNK // d)
        for start in range(0, n, step):
            part = slice(start, start + step)
            centered = rows[part].astype(np.float64) - screen.mean
            self.along[part] = centered @ screen.mean
            centered *= screen.scale
            self.squares[part] = np.einsum("ij,ij->i", centered, centered)
            if basis is None:
                self.vectors[part] = centered
                continue
            inside = centered @ basis
            self.vectors[part, :-1] = inside
            # what float64 loses in the squares is added before the root
            beyond = self.squares[part] - np.einsum("ij,ij->i", inside, inside)
            lost = 8 * (d + width) * 2.0**-53 * self.squares[part]
            left_out[part] = np.sqrt(np.maximum(beyond, 0) + lost) * (1 + 4 * _UNIT)
            self.vectors[part, -1] = left_out[part]
        error, tiny = _error(width)
        self.low = (self.squares * (0.5 - error) - tiny).astype(np.float32)
        self.error = (self.squares * (2 * error) + 2 * tiny).astype(np.float32)
        self.rest = (left_out * (np.sqrt(2) * (1 + 4 * _UNIT))).astype(np.float32)
        self.need = np.full(n, LARGE)
        self.distances = np.full((n, count), np.inf)
        self.indices = np.full((n, count), -1, np.int64)

    def lists(self, part: slice) -> Arrays:
        """Return the fields of the kernels' ``Lists`` for some rows."""
        fields = (
            self.rows, self.low, self.error, self.rest, self.need, self.distances, self.indices
        )  # fmt: skip
        return tuple(field[part] for field in fields)

    def angles(self) -> Arrays:
        """Return the fields of the kernels' ``Angles``.

        A length minus that of the mean is computed from their difference, which keeps its digits
        however far from the origin the rows are.
        """
        mean, scale = self.screen.mean, self.screen.scale
        middle = float(np.sqrt(mean @ mean))
        beyond = self.squares / scale**2 + 2 * self.along
        length = np.sqrt(np.einsum("ij,ij->i", self.rows, self.rows, dtype=np.float64))
        total = length + middle
        part = np.divide(beyond, total, out=np.zeros_like(beyond), where=total > 0)
        scaled = length * scale
        inverse = np.divide(1, scaled, out=np.zeros_like(scaled), where=scaled > _SHORT)
        return length, (part * scale * np.sqrt(0.5)).astype(np.float32), inverse.astype(np.float32)


def _error(width: int) -> tuple[float, float]:
    """Bound the error of half a squared distance, relative to the sum of both squares, and least.

    A product of so many terms in float32, in any order, of vectors that were rounded; and some
    dozen roundings in the kernels.
    """
    product = (width + 2) * _UNIT
    relative = product / (1 - product) if product < 0.5 else 1e6
    return 0.505 * relative + 16 * _UNIT, (width + 64) * 2.5e-38


@dataclasses.dataclass(frozen=True, eq=False)
class Extent:
    """Number of the rows of a set, their middle, and their least and largest entries (d,).

    The middle is the mean of some rows without those far out, which would move it so far that
    float32 did not tell the others apart.
    """

    n: int
    middle: np.ndarray
    least: np.ndarray
    largest: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Extent:
        """Take the extent of rows (n, d)."""
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MIDDLE)).astype(int)]
        some = some.astype(np.float64)
        with np.errstate(over="ignore"):  # what is out of range is refused by its extent
            gaps = np.linalg.norm(some - np.median(some, axis=0), axis=1)
            middle = some[gaps <= _FAR_OUT * np.median(gaps)].mean(0)
        return cls(len(rows), middle, rows.min(0), rows.max(0))


def moments(parts: list[Extent], names: str) -> tuple[np.ndarray, float]:
    """Middle of all rows, and a power of two that brings them, centered, into the unit ball."""
    total = sum(part.n for part in parts)
    mean = np.zeros(len(parts[0].middle))
    for part in parts:
        mean += part.middle * (part.n / total)
    ends = np.stack([end for part in parts for end in (part.least, part.largest)])
    ends = np.abs(ends.astype(np.float64) - mean).max(0)
    longest = float(ends.max())
    reach = longest * float(np.linalg.norm(ends / longest)) if longest else 0.0
    if 0 < reach < SMALLEST:
        raise ValueError(
            f"{names} must have rows that differ by more than {SMALLEST:g}, whose squared "
            "distances float64 tells from 0; divide by their scale"
        )
    return mean, 1.0 if reach == 0 else 2.0 ** min(-float(np.ceil(np.log2(reach))), 490.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Principal directions of some rows of both sets, nearly orthonormal, and other rows of each.

    The rows that directions are found from lie closer to them than other rows do, so that what a
    screen saves is told by others.
    """

    basis: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Sample | None:
        """Take samples of both sets; None where all is over soon, or there are too few rows."""
        work = float(len(x)) * max(len(x), len(y)) * x.shape[1]
        if work < SMALL or min(len(x), len(y)) < 2 * (_FITTED + _SAMPLE):
            return None
        # every third one for the directions, the others to tell what they save
        firsts, seconds = (
            np.linspace(0, len(rows) - 1, _FITTED + _SAMPLE).astype(int) for rows in (x, y)
        )
        some = np.concatenate([x[firsts[::3]], y[seconds[::3]]]).astype(np.float64)
        some -= some.mean(0)
        largest = np.abs(some).max()
        if largest == 0:
            return None
        some = (some / largest).astype(np.float32)
        values, vectors = np.linalg.eigh(some @ some.T)
        keep = values > 1e-6 * values[-1]
        leading = vectors[:, keep][:, ::-1][:, : _WIDTHS[-1]]
        directions = some.T @ (leading / np.sqrt(values[keep])[::-1][: _WIDTHS[-1]])
        others = np.arange(len(firsts)) % 3 > 0
        return cls(directions.astype(np.float64), firsts[others], seconds[others])


def screen_of(
    sample: Sample | None,
    x: np.ndarray,
    y: np.ndarray,
    extents: list[Extent],
    names: str,
    radii: tuple[np.ndarray, np.ndarray] | None = None,
) -> Screen:
    """Choose the mean, the scale and the number of coordinates of one relation.

    Parameters
    ----------
    sample : Sample or None
        What `Sample.of` has taken of ``x`` and ``y``; where they are the same, ``first`` alone is
        read.
    x, y : ndarray (n, d), (m, d)
        The same array for the pairs within a set.
    extents : list of Extent
        Extents of the one set or of both.
    names : str
        Name of the sets in messages.
    radii : (ndarray (n,), ndarray (m,)), optional
        Squared radii of the balls about the rows.
    """
    same = x is y
    mean, scale = moments(extents, names)
    if sample is None:
        return Screen(mean, scale, None)
    rows = (sample.first, sample.first if same else sample.second)
    u, v = (
        ((whole[some].astype(np.float64) - mean) * scale).astype(np.float32)
        for whole, some in zip((x, y), rows, strict=True)
    )
    balls = None
    if radii is not None:
        balls = radii[0][rows[0]] * scale**2, radii[1][rows[1]] * scale**2
    width = _cheapest(u, v, sample.basis, balls, 1 / len(x) + 1 / len(y))
    return Screen(mean, scale, np.linalg.qr(sample.basis[:, :width])[0] if width else None)


def _cheapest(
    u: np.ndarray, v: np.ndarray, basis: np.ndarray, balls: Arrays | None, share: float
) -> int:
    """Return the number of coordinates that costs least, 0 for all of them.

    ``share`` of the cost of a projection falls on a pair.
    """
    d = u.shape[1]
    squares = np.einsum("ij,ij->i", u, u)[:, None] + np.einsum("ij,ij->i", v, v)
    distances = squares - 2 * u @ v.T
    own = np.eye(len(u), dtype=bool) if balls is None else np.zeros(distances.shape, bool)
    distances[own] = np.inf
    need = np.maximum(distances.min(1)[:, None], distances.min(0))
    if balls is not None:
        need = np.maximum(need, np.maximum(balls[0][:, None], balls[1]))
        least = (distances / np.maximum(balls[0], 1e-30)[:, None]).min(0)
        need = np.maximum(need, np.minimum(least, 1e30) * balls[0][:, None])
    basis = basis.astype(np.float32)
    best, width, done = 0.8 * d, 0, 0
    products = np.zeros_like(distances)
    left, right = np.einsum("ij,ij->i", u, u), np.einsum("ij,ij->i", v, v)
    for q in _WIDTHS:
        if q > basis.shape[1] or q >= best:
            break
        a, b = u @ basis[:, done:q], v @ basis[:, done:q]
        products += a @ b.T
        left -= np.einsum("ij,ij->i", a, a)
        right -= np.einsum("ij,ij->i", b, b)
        beyond, rest = np.sqrt(np.maximum(left, 0)), np.sqrt(np.maximum(right, 0))
        bound = squares - 2 * (products + np.outer(beyond, rest))
        hits = float(((bound <= need) & ~own).mean())
        cost = q + 2 * q * d * share + hits * _EVALUATION * d
        if cost < best:
            best, width = cost, q
        done = q
    return width
