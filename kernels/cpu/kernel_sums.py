"""Sums of a kernel over all pairs of two sets, from tiles of their inner products.

The caller multiplies matrices. What is left is to look at every product once: the kernel's value is
added to the sum of its row and of its column, and nothing is kept.
"""

from __future__ import annotations

import numpy as np

from .compilation import kernel


@kernel(fastmath={"reassoc", "contract", "nsz"})
def _cubes(products, left, right, gamma, coef0, columns):
    """Return the sums of the values and of their squares along one row, for degree 3."""
    total = 0.0
    squares = 0.0
    for j in range(products.size):
        base = gamma * (np.float64(products[j]) + (left + right[j])) + coef0
        value = base * base * base
        total += value
        squares += value * value
        columns[j] += value
    return total, squares


@kernel(fastmath={"reassoc", "contract", "nsz"})
def _powers(products, left, right, gamma, coef0, degree, columns):
    total = 0.0
    squares = 0.0
    for j in range(products.size):
        base = gamma * (np.float64(products[j]) + (left + right[j])) + coef0
        value = base
        for _ in range(degree - 1):
            value *= base
        total += value
        squares += value * value
        columns[j] += value
    return total, squares


@kernel(fastmath={"reassoc", "contract", "nsz"})
def _exponentials(products, left, right, rate, columns):
    total = 0.0
    squares = 0.0
    for j in range(products.size):
        value = np.exp(min(rate * (np.float64(products[j]) + (left + right[j])), 0.0))
        total += value
        squares += value * value
        columns[j] += value
    return total, squares


@kernel
def polynomial_sums(products, left, right, gamma, coef0, degree, rows, columns):
    """Add up ``(gamma * (products[i, j] + left[i] + right[j]) + coef0) ** degree``.

    Parameters
    ----------
    products : array (n, m)
    left, right : float64 arrays (n,), (m,)
    gamma, coef0 : float
    degree : int
        At least 1.
    rows, columns : float64 arrays (n,), (m,)
        The sums along the rows and the columns are added to what they hold.

    Returns
    -------
    squares : float
        Sum of the squares of all values.
    """
    squares = 0.0
    for i in range(products.shape[0]):
        if degree == 3:
            total, more = _cubes(products[i], left[i], right, gamma, coef0, columns)
        else:
            total, more = _powers(products[i], left[i], right, gamma, coef0, degree, columns)
        rows[i] += total
        squares += more
    return squares


@kernel
def gaussian_sums(products, left, right, rate, rows, columns):
    """Add up ``exp(rate * (products[i, j] + left[i] + right[j]))``, exponents at most zero.

    Parameters
    ----------
    products : array (n, m)
    left, right : float64 arrays (n,), (m,)
        Half of the squared lengths of the rows that were multiplied, negative: the sums are minus
        half of the squared distances.
    rate : float
    rows, columns : as for `polynomial_sums`

    Returns
    -------
    squares : float
        Sum of the squares of all values.
    """
    squares = 0.0
    for i in range(products.shape[0]):
        total, more = _exponentials(products[i], left[i], right, rate, columns)
        rows[i] += total
        squares += more
    return squares
