"""What one pass over two sets finds, by double loops over differences in float64."""

from __future__ import annotations

import math

import numpy as np


def squared_distances(x, y):
    """Squared distances (n, m) from differences."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    return np.array([((y - row) ** 2).sum(1) for row in x]).reshape(len(x), len(y))


def start_lists(x, y, count, same):
    """Distance of the count-th nearest row of y, for each of x: no list needs more than that."""
    return join_lists(x, y, count, same)[0][:, -1]


def join_lists(x, y, count, same):
    """Squared distances and indices of the nearest rows of y, for each row of x.

    Ties to the smaller index; no row is in its own list if both sets are the same.
    """
    squares = squared_distances(x, y)
    if same:
        np.fill_diagonal(squares, np.inf)
    order = np.argsort(squares, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(squares, order, 1), order


def join_sets(x, y, radii_x, radii_y, kept):
    """Balls of x about each row of y, balls of y about each row of x, least ratios and cosines.

    ``radii`` are squared. Ratios of squared distance to radius count the rows of x that are kept.
    """
    squares = squared_distances(x, y)
    ratios = np.full(squares.shape, np.inf)
    for i in np.flatnonzero(kept):
        for j, square in enumerate(squares[i]):
            if square == 0:
                ratios[i, j] = 0.0
            elif radii_x[i] > 0:
                ratios[i, j] = square / radii_x[i]
    inside = squares <= np.asarray(radii_x)[:, None]
    within = squares <= np.asarray(radii_y)[None]
    return inside.sum(0), within.sum(1), ratios.min(0), cosine_distances(x, y)


def cosine_distances(x, y):
    """Least ``1 - |cos|`` of each row of y to the rows of x, without cancellation; NaN for zero."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    lengths = np.sqrt((x**2).sum(1))
    units = x[lengths > 0] / lengths[lengths > 0][:, None]
    found = np.full(len(y), np.nan)
    for j, row in enumerate(y):
        length = math.sqrt((row**2).sum())
        if length > 0 and len(units):
            apart = ((units - row / length) ** 2).sum(1)
            together = ((units + row / length) ** 2).sum(1)
            found[j] = np.minimum(apart, together).min() / 2
    return found


def manifold_figures(real, generated, k):
    """Precision, recall, density, coverage and realism, as the papers have them, closed balls."""
    across = squared_distances(real, generated)
    radii = join_lists(real, real, k, True)[0][:, -1]
    others = join_lists(generated, generated, k, True)[0][:, -1]
    kept = radii <= np.median(radii)
    in_real, in_generated, ratios, _ = join_sets(real, generated, radii, others, kept)
    with np.errstate(divide="ignore"):
        realism = 1 / np.sqrt(ratios)
    return {
        "precision": np.mean(in_real > 0),
        "recall": np.mean(in_generated > 0),
        "density": in_real.sum() / (k * len(generated)),
        "coverage": np.mean(across.min(1) <= radii),
        "realism": realism,
    }


def memorization_figures(train, generated):
    """Authenticity, MiFID's distance, ratio of the two nearest distances to different rows."""
    own = join_lists(train, train, 1, True)[0][:, 0]
    across = squared_distances(generated, train)
    nearest = across.argmin(1)
    least = across.min(1)
    ratios = []
    for row, i in zip(across, nearest, strict=True):
        others = row[(np.asarray(train) != np.asarray(train)[i]).any(1)]
        ratios.append(0.0 if row[i] == 0 else math.sqrt(row[i] / others.min()))
    return {
        "authenticity": np.mean(least > own[nearest]),
        "mifid_distance": np.nanmean(cosine_distances(train, generated)),
        "distance_ratio": np.array(ratios),
        "nearest": nearest,
    }


def copying_statistic(generated, holdout, generated_cells, holdout_cells, least):
    """C_T by counting pairs: generated rows that are farther than holdout rows, ties one half."""
    total, weight = 0.0, 0
    for cell in np.unique(holdout_cells):
        mine, held = generated[generated_cells == cell], holdout[holdout_cells == cell]
        if len(mine) < least:
            continue
        farther = sum((a > b) + 0.5 * (a == b) for a in mine for b in held)
        m, h = len(mine), len(held)
        z = (farther - m * h / 2) / math.sqrt(m * h * (m + h + 1) / 12)
        total, weight = total + h * z, weight + h
    return total / weight
