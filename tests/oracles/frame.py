"""Factorizations that sweeps and projections start from: each as the definition reads."""

import numpy as np


def seen(basis, factor):
    """Truth ``factor.T @ factor`` on an orthonormal basis, its diagonal, and its trace outside."""
    truth = factor.T @ factor
    inside = basis.T @ truth @ basis
    outside = np.eye(len(basis)) - basis @ basis.T
    return inside, np.diag(inside), np.trace(outside @ truth @ outside)


def nested_range(columns, tolerance):
    """Gram and Schmidt, up to the first column that depends on earlier ones: the basis (d, r)."""
    basis = np.zeros((len(columns), 0))
    sizes = []
    for column in columns.T:
        rest = column - basis @ (basis.T @ column)
        rest = rest - basis @ (basis.T @ rest)
        sizes.append(np.linalg.norm(rest))
        if sizes[-1] <= tolerance * max(sizes):
            break
        basis = np.column_stack([basis, rest / sizes[-1]])
    return basis


def principal_frame(x, tolerance):
    """Standard deviations along principal axes of known zero mean, and the variance beyond each."""
    values = np.linalg.eigvalsh(x @ x.T / x.shape[1])[::-1].clip(0)[: min(x.shape)]
    beyond = np.array([values[k:].sum() for k in range(len(values) + 1)])
    deviations = np.sqrt(values)
    return deviations[deviations > tolerance * deviations[0]], beyond


def upper_inverse(upper):
    """Inverse of a triangular matrix."""
    return np.linalg.inv(upper)


def symmetric_eigenvalues(a):
    """Roots of the characteristic polynomial, ascending."""
    return np.sort(np.roots(np.poly(a)).real)


def solve_positive(a, b):
    """Inverse of a times b."""
    return np.linalg.inv(a) @ b


def polar(m):
    """Polar factor and nuclear norm."""
    left, values, right = np.linalg.svd(m, full_matrices=False)
    return left @ right, values.sum()
