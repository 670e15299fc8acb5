"""Bandwidths of kernel density estimates, fixed and by component and block."""

from __future__ import annotations

import numpy as np

from ._smoothing import Points

_BINS = 2048
_CANDIDATES = 64
_FOLDS = 5


def normal_reference(rows: np.ndarray) -> float:
    """Silverman's rule on all entries pooled, 0 if they are equal.

    0.9 min(sd, IQR / 1.34) N^(-1/5), or with sd alone where the interquartile range is zero.
    """
    entries = rows.ravel()
    deviation = entries.std(ddof=1)
    spread = np.subtract(*np.percentile(entries, [75, 25])) / 1.34
    return float(0.9 * (min(deviation, spread) or deviation) * entries.size**-0.2)


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted means and standard deviations (K,), without correction."""
    totals = np.maximum(weights.sum(axis=0), np.finfo(float).tiny)
    means = values @ weights / totals
    squares = ((values[:, None] - means) ** 2 * weights).sum(axis=0)
    return means, np.sqrt(squares / totals)


def _quantiles(values: np.ndarray, weights: np.ndarray, level: float) -> np.ndarray:
    """Return the largest of sorted values (N,) whose cumulative weight (N, K) is at most ``level``.

    The sums run in that order in float64; where one should equal ``level``, as with hard labels,
    rounding decides.
    """
    reached = (weights.cumsum(axis=0) <= level).sum(axis=0)
    return values[np.maximum(reached - 1, 0)]


def _effective(points: Points, block: int, posteriors: np.ndarray) -> np.ndarray:
    """Count the entries of each component, at least 1."""
    return np.maximum(points.sizes[block] * posteriors.sum(axis=0), 1.0)


def normal_reference_weighted(
    points: Points, weights: np.ndarray, posteriors: np.ndarray
) -> np.ndarray:
    """Silverman's rule with weights, for each block and component (B, K)."""
    found = np.empty((points.n_blocks, weights.shape[1]))
    for block in range(points.n_blocks):
        here = points.block(block)
        values, mass = points.values[here], weights[here]
        deviation = _moments(values, mass)[1]
        rows = points.sorted_rows[block]
        entries = np.repeat(values, points.counts[here])
        shares = posteriors[rows]
        shares /= np.maximum(shares.sum(axis=0), np.finfo(float).tiny)
        low, high = (_quantiles(entries, shares, level) for level in (0.25, 0.75))
        spread = (high - low) / 1.34
        spread = np.where(spread > 0, np.minimum(spread, deviation), deviation)
        found[block] = 0.9 * spread * _effective(points, block, posteriors) ** -0.2
    return found


def cross_validated(points: Points, weights: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    r"""Bandwidths (B, K) that minimize the weighted least-squares criterion over five folds.

    With weights w of a component that sum to one over its block, and folds of rows in their order,

    .. math:: \int f_h^2 - 2 \sum_{folds} \sum_{i \in fold} w_i f_{h,-fold}(x_i),

    f without a fold being normalized again. h runs from a tenth of 1.144 sd N^(-1/5) to all of it,
    N being the component's number of entries; it is 0 where all entries of a block are equal.
    Entries are spread linearly over 2048 bins; their autocorrelations are taken once, after which a
    bandwidth costs one sum over lags.
    """
    n = len(posteriors)
    folds = np.arange(n) * _FOLDS // n
    found = np.empty((points.n_blocks, weights.shape[1]))
    for block in range(points.n_blocks):
        here = points.block(block)
        values = points.values[here]
        largest = 1.144 * _moments(values, weights[here])[1]
        largest *= _effective(points, block, posteriors) ** -0.2
        step = np.ptp(values) / (_BINS - 1)
        if step == 0:
            found[block] = 0.0
            continue
        columns = points.starts[block] <= points.entries[0]
        columns &= points.entries[0] < points.starts[block + 1]
        entries = points.entries[:, columns] - points.starts[block]
        histograms = _histograms(values, entries, folds, posteriors, step)
        found[block] = _minimizers(*_autocorrelations(histograms), step, largest)
    return found


def _histograms(
    values: np.ndarray, entries: np.ndarray, folds: np.ndarray, posteriors: np.ndarray, step: float
) -> np.ndarray:
    """Return weights of the folds in bins (folds, K, bins), linearly between neighbours."""
    position = (values - values[0]) / step
    left = np.minimum(position.astype(np.int64), _BINS - 2)
    share = position - left
    n_components = posteriors.shape[1]
    out = np.zeros((_FOLDS, n_components, _BINS))
    for fold in range(_FOLDS):
        rows = np.flatnonzero(folds == fold)
        at = entries[rows].ravel()
        for component in range(n_components):
            mass = np.repeat(posteriors[rows, component], entries.shape[1])
            low = np.bincount(left[at], mass * (1 - share[at]), minlength=_BINS)
            high = np.bincount(left[at] + 1, mass * share[at], minlength=_BINS)
            out[fold, component] = low + high
    return out / np.maximum(out.sum(axis=(0, 2))[:, None], np.finfo(float).tiny)


def _autocorrelations(histograms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products at each lag (K, bins): of all with all, and of folds with the others."""
    from scipy import fft

    size = fft.next_fast_len(2 * _BINS, real=True)
    waves = fft.rfft(histograms, size)
    everything = waves.sum(axis=0)
    shares = histograms.sum(axis=2)
    others = np.maximum(1 - shares, np.finfo(float).eps)[:, :, None]
    crossed = (np.conj(waves) * (everything - waves) / others).sum(axis=0)
    products = []
    for wave in (np.abs(everything) ** 2, crossed):
        lags = fft.irfft(wave, size)
        folded = lags[:, :_BINS].copy()
        folded[:, 1:] += lags[:, :-_BINS:-1]
        products.append(folded)
    return products[0], products[1]


def _minimizers(
    squares: np.ndarray, crossed: np.ndarray, step: float, largest: np.ndarray
) -> np.ndarray:
    """Minimize over log-spaced candidates, then through a parabola of the best three."""
    shares = np.geomspace(0.1, 1.0, _CANDIDATES)
    lags = step * np.arange(_BINS)
    found = np.empty(len(largest))
    for component, most in enumerate(largest):
        h = np.maximum(shares * most, step)[:, None]
        wide = np.exp(-0.25 * (lags / h) ** 2) / (np.sqrt(4 * np.pi) * h)
        plain = np.exp(-0.5 * (lags / h) ** 2) / (np.sqrt(2 * np.pi) * h)
        criterion = wide @ squares[component] - 2 * plain @ crossed[component]
        best = int(np.clip(criterion.argmin(), 1, _CANDIDATES - 2))
        low, middle, high = criterion[best - 1 : best + 2]
        bend = low - 2 * middle + high
        move = np.clip(0.5 * (low - high) / bend, -1, 1) if bend > 0 else 0.0
        ratio = shares[1] / shares[0]
        found[component] = h[best, 0] * ratio**move
    return found
