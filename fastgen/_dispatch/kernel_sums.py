"""Sums of a kernel over all pairs of two sets, streamed through tiles of inner products."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol

import numpy as np

from .precision import blocks, common_center, product_type

# Rows of a tile on either side: its products stay in the second-level cache
# (bench/peers/evaluate.py).
_ROWS, _COLUMNS = 512, 1024


class Side(NamedTuple):
    """One set, prepared: centered rows, and what each row adds to all of its products."""

    rows: np.ndarray
    terms: np.ndarray


class Kernel(Protocol):
    """A kernel that depends on an inner product and on a number of either point."""

    def side(self, rows: np.ndarray, center: np.ndarray) -> Side: ...

    def add(
        self, products: np.ndarray, left: np.ndarray, right: np.ndarray, rows: np.ndarray,
        columns: np.ndarray,
    ) -> float: ...  # fmt: skip

    def values(self, scores: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """``(gamma * x.y + coef0) ** degree``."""

    degree: int
    gamma: float
    coef0: float

    def side(self, rows: np.ndarray, center: np.ndarray) -> Side:
        """Center the rows: what is taken off their products is added again in float64."""
        return Side(rows - center, rows @ center - center @ center / 2)

    def add(self, products, left, right, rows, columns) -> float:
        """Run ``kernels.cpu.kernel_sums.polynomial_sums``."""
        from ..kernels.cpu import kernel_sums

        return kernel_sums.polynomial_sums(
            products, left, right, self.gamma, self.coef0, self.degree, rows, columns
        )

    def values(self, scores: np.ndarray) -> np.ndarray:
        """Return the kernel's values for products whose terms are added."""
        return (self.gamma * scores + self.coef0) ** self.degree


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """``exp(-|x - y|^2 / (2 sigma^2))``."""

    sigma: float

    def side(self, rows: np.ndarray, center: np.ndarray) -> Side:
        """Center the rows, which moves no distance, and take half of their squared lengths."""
        centered = rows - center
        return Side(centered, -0.5 * np.einsum("ij,ij->i", centered, centered))

    def add(self, products, left, right, rows, columns) -> float:
        """Run ``kernels.cpu.kernel_sums.gaussian_sums``."""
        from ..kernels.cpu import kernel_sums

        return kernel_sums.gaussian_sums(products, left, right, self.sigma**-2, rows, columns)

    def values(self, scores: np.ndarray) -> np.ndarray:
        """Return the kernel's values for minus half of the squared distances."""
        return np.exp(np.minimum(scores * self.sigma**-2, 0.0))


class PairSums(NamedTuple):
    """Sums over pairs: for each row, for each column, and of the squares of all values."""

    rows: np.ndarray
    columns: np.ndarray
    squares: float


def prepared(kernel: Kernel, x: np.ndarray, y: np.ndarray) -> tuple[Side, Side]:
    """Prepare two sets of rows about their common mean, in the type that they are multiplied in.

    All sums are in float64.
    """
    center, dtype = common_center(x, y), product_type(x, y)
    return _side(kernel, x, center, dtype), _side(kernel, y, center, dtype)


def _side(kernel: Kernel, rows: np.ndarray, center: np.ndarray, dtype: type) -> Side:
    out: np.ndarray = np.empty(rows.shape, dtype)
    terms = np.empty(len(rows))
    for some in blocks(rows):
        out[some], terms[some] = kernel.side(rows[some].astype(np.float64), center)
    return Side(out, terms)


def sums_between(kernel: Kernel, x: Side, y: Side) -> PairSums:
    """Add up the kernel over all pairs of a row of ``x`` and a row of ``y``."""
    rows, columns, squares = np.zeros(len(x.rows)), np.zeros(len(y.rows)), 0.0
    for i in range(0, len(x.rows), _ROWS):
        a = slice(i, i + _ROWS)
        for j in range(0, len(y.rows), _COLUMNS):
            b = slice(j, j + _COLUMNS)
            products = x.rows[a] @ y.rows[b].T
            squares += kernel.add(products, x.terms[a], y.terms[b], rows[a], columns[b])
    return PairSums(rows, columns, squares)


def sums_within(kernel: Kernel, x: Side) -> PairSums:
    """Add up the kernel over all ordered pairs of different rows of ``x``: ``columns`` is ``rows``.

    Half of the products are taken, and squares on the diagonal.
    """
    sums, squares = np.zeros(len(x.rows)), 0.0
    for i in range(0, len(x.rows), _ROWS):
        a = slice(i, i + _ROWS)
        some, terms = x.rows[a], x.terms[a]
        products = some @ some.T
        own = kernel.values(products.diagonal() + 2 * terms)
        squares += kernel.add(products, terms, terms, sums[a], np.zeros(len(some)))
        sums[a] -= own
        squares -= float(own @ own)
        for j in range(i + _ROWS, len(x.rows), _COLUMNS):
            b = slice(j, j + _COLUMNS)
            products = some @ x.rows[b].T
            squares += 2 * kernel.add(products, terms, x.terms[b], sums[a], sums[b])
    return PairSums(sums, sums, squares)
